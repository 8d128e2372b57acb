"""Words to options: what can be named, and how it is read."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import Parameter
from itertools import zip_longest
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from ssvae import models
from ssvae.data.yaml_files import read_yaml
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.error_messages import explain, unknown_class
from ssvae.inference.command_line.options import (
    Option,
    chosen_in,
    class_named,
    option_name,
    options_of,
    options_of_choice,
)
from ssvae.inference.training.recipe import Recipe

# jsonargparse imports a class before it checks its type, and some standard modules have side effects on import.
set_parsing_settings(import_path_denylist=sorted(sys.stdlib_module_names))
_GROUPS = ("objective", "kl_weight", "consistency", "augmentation", "trainer")
"""Groups of options; their only own value is null."""


class UsageError(Exception):
    """A command that cannot be understood: one sentence for the user."""


def given_options(arguments: list[str]) -> dict[str, str]:
    """Return the options among the words, with the words that follow them."""
    found = {}
    for word, next_word in zip_longest(arguments, arguments[1:], fillvalue=""):
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            found[option] = value if equals else next_word
    return found


def run_parser(command: str, description: str) -> ArgumentParser:
    """Return the parser of a command on a run, with what all of them take."""
    parser = ArgumentParser(prog=f"ssvae {command}", description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("run", help="the run folder")
    parser.add_argument(
        "--checkpoint", choices=["last", "best"], default="last", help="best: of the highest validation accuracy"
    )
    return parser


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Return the options that the words give; what is wrong with them becomes one sentence."""
    for option, value in given_options(arguments).items():
        _check_choice(option, value)
    try:
        return parser.parse_args(_deep_nulls(_choices_first(arguments)))
    except Exception as error:  # jsonargparse answers in paragraphs, and not always with an ArgumentError
        known = known_options(parser, chosen_by(arguments))
        raise UsageError(explain(str(error), known, CHOICES, _typed(arguments))) from error


def _typed(arguments: list[str]) -> dict[str, str]:
    """Return the options among the words, with all words that stand before the next option."""
    typed: dict[str, list[str]] = {}
    last: list[str] = []
    for word in arguments:
        if word.startswith("--"):
            option, _, value = word.partition("=")
            typed[option] = last = [value] if value else []
        else:
            last.append(word)
    return {option: " ".join(words) for option, words in typed.items()}


def check_spaces(arguments: list[str]) -> None:
    """Refuse a space on either side of an option's =."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option = word.rstrip("=")
        if word.startswith("--") and (
            following.startswith("=") or (word != option and following[:2] not in ("", "--"))
        ):
            raise UsageError(f"{option}: expected no space beside =, as in {option}=VALUE; got one.")


def _choices_first(arguments: list[str]) -> list[str]:
    """Put the file of options before all others, which override it, and a class before its own options.

    jsonargparse reads them in their order.
    """
    ordered: list[tuple[int, list[str]]] = []
    for word in arguments:
        if ordered and len(ordered[-1][1]) == 1 and re.fullmatch(r"--[\w.]+", ordered[-1][1][0]) and word[:2] != "--":
            ordered[-1][1].append(word)
            continue
        option = word.partition("=")[0]
        is_choice = option.startswith("--") and option_name(option) in CHOICES
        ordered.append((0 if option == "--config" else 1 + option.count(".") if is_choice else 99, [word]))
    return [word for _, words in sorted(ordered, key=lambda each: each[0]) for word in words]


def chosen_by(arguments: list[str]) -> dict[str, type]:
    """Return the classes that the words and their file of options name, by their options."""
    given = given_options(arguments)
    config = given.get("--config", "")
    description = read_yaml(config, "--config") if os.path.isfile(config) else yaml.safe_load(config)
    found = {"--model": models.M2, **chosen_in(description, CHOICES)}
    named = {option.replace(".init_args", ""): value for option, value in given.items()}
    return {path: kind for path, kind in found.items() if path not in named} | classes_named(named)


def classes_named(values: Mapping[str, Any]) -> dict[str, type]:
    """Return the classes among the values of options."""
    found = {path: class_named(value, path, CHOICES) for path, value in values.items() if option_name(path) in CHOICES}
    return {path: kind for path, kind in found.items() if kind is not None}


def known_options(parser: ArgumentParser, chosen: Mapping[str, type], others: bool = True) -> list[Option]:
    """Return the options that a parser has, for what is chosen and, after it, for what else could be."""
    choices = CHOICES if others else None
    own = [path.removeprefix("--") for action in parser._actions for path in action.option_strings]
    found = [_top(name) for name in own if name.isidentifier()]
    for name in own:
        if name in CHOICES:
            found += options_of_choice(f"--{name}", chosen, choices)
    return found + (list(options_of(Recipe, "", chosen, choices)) if parser.prog == "ssvae fit" else [])


def _top(name: str) -> Option:
    return Option(f"--{name}", ArgumentParser, Parameter(name, Parameter.KEYWORD_ONLY))


def check_config(path: str) -> None:
    """Refuse a file of options before jsonargparse reads it, which would write out all that its aliases stand for."""
    if not path:
        return
    if not os.path.isfile(path):  # of a pipe, whose end might never come, neither; Path's own raises on odd names
        raise UsageError(f"--config: expected a file; got {path!r}, which is not a file.")
    odd = next((name for name in _keys(read_yaml(path, "--config")) if not isinstance(name, str)), "")
    if odd != "":
        raise UsageError(f"--config: expected the names of options in {path}; got {odd!r}.")


def _keys(read: object) -> Iterator[object]:
    """Yield the keys of mappings, and of all that are inside of them."""
    if isinstance(read, dict):
        yield from read
    for inner in read.values() if isinstance(read, dict) else read if isinstance(read, list) else ():
        yield from _keys(inner)


def _deep_nulls(arguments: list[str]) -> list[str]:
    """Write `--data.source.num_labels null` as `--data.source {"init_args": {"num_labels": null}}`.

    jsonargparse (4.53) reads a null of a part's part as the string "None". None, as the documentation of the arguments
    has it, is null too.
    """
    written: list[str] = []
    for given in arguments:
        word = re.sub(r"^(--[\w.]+=|)None$", r"\1null", given)
        if word == "null" and written and re.fullmatch(r"--(data|model)\.[\w.]+", written[-1]):
            word = f"{written.pop()}=null"
        deep = re.fullmatch(r"(--(?:data|model)\.[\w.]+?)(?:\.init_args)?\.(\w+)=null", word)
        written.append(f'{deep[1]}={{"init_args": {{"{deep[2]}": null}}}}' if deep else word)
    return written


def _check_choice(option: str, value: str) -> None:
    """Refuse an unknown name, and suggest the nearest known one."""
    kind = option.removeprefix("--").rpartition(".")[2]
    if kind in (*CHOICES, *_GROUPS) and os.path.lexists(value) and not os.path.isdir(value):
        # jsonargparse would read it, whatever it is.
        raise UsageError(f"{option}: expected no file, for which there is --config; got {value!r}, which is one.")
    if kind not in CHOICES or not re.fullmatch(r"[A-Za-z_]\w*", value):
        return
    if value not in [*(each.__name__ for each in CHOICES[kind]), "null"]:
        raise UsageError(unknown_class(option, value, CHOICES))


def names_of(kind: str) -> str:
    """Return the names that an option can take, for its help."""
    return ", ".join(each.__name__ for each in CHOICES[kind])
