"""Parsing: from the words of a command to options."""

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
from ssvae.inference.command_line.error_messages import data_at, explain, unknown_class
from ssvae.inference.command_line.options import (
    Option,
    chosen_in,
    class_named,
    option_name,
    options_of,
    options_of_choice,
)
from ssvae.inference.nearest import did_you_mean
from ssvae.inference.training.recipe import Recipe

# jsonargparse imports a class before it checks its type, and some standard modules have side effects on import.
set_parsing_settings(import_path_denylist=sorted(sys.stdlib_module_names))
_GROUPS = ("objective", "kl_weight", "consistency", "augmentation", "trainer")
"""Groups of options. A group itself can only have the value null."""


class UsageError(Exception):
    """An invalid command. The message is one sentence for the user."""


def given_options(arguments: list[str]) -> dict[str, str]:
    """Return the options among the words, each with its value: the next word, or the text after "="."""
    options = {}
    for word, next_word in zip_longest(arguments, arguments[1:], fillvalue=""):
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            options[option] = value if equals else next_word
    return options


def run_parser(command: str, description: str, *, has_checkpoint: bool = True) -> ArgumentParser:
    """Return the parser of a command on a run, with the arguments that these commands have."""
    parser = ArgumentParser(prog=f"ssvae {command}", description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("run", help="the run folder")
    if has_checkpoint:
        parser.add_argument(
            "--checkpoint",
            choices=["last", "best"],
            default="last",
            help="weights of the last epoch, or of the epoch with the best validation accuracy",
        )
    return parser


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse the words of a command.

    Raises:
        UsageError: If an option or a value is invalid.
    """
    for option, value in given_options(arguments).items():
        _check_choice(option, value)
    try:
        return parser.parse_args(_deep_nulls(_choices_first(arguments)))
    except Exception as error:  # jsonargparse raises ArgumentError and others, with long messages
        known = known_options(parser, chosen_by(arguments))
        raise UsageError(explain(str(error), known, CHOICES, _typed(arguments))) from error


def _typed(arguments: list[str]) -> dict[str, str]:
    """Return the options among the words, each with all words up to the next option."""
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
    """Raise UsageError if there is a space on either side of an option's "="."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option = word.rstrip("=")
        if word.startswith("--") and (
            following.startswith("=") or (word != option and following[:2] not in ("", "--"))
        ):
            raise UsageError(f"{option}: expected no space beside =, as in {option}=VALUE; got one.")


def _choices_first(arguments: list[str]) -> list[str]:
    """Sort the words: --config first, since other options override it, and a class before its own options.

    The order matters because jsonargparse applies the words one after the other.
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
    """Return the classes that the words and the --config file choose, by the option."""
    given = given_options(arguments)
    config = given.get("--config", "")
    description = read_yaml(config, "--config") if os.path.isfile(config) else yaml.safe_load(config)
    chosen = {"--model": models.M2, **chosen_in(description, CHOICES)}
    named = {option.replace(".init_args", ""): value for option, value in given.items()}
    return {path: kind for path, kind in chosen.items() if path not in named} | classes_named(named)


def classes_named(values: Mapping[str, Any]) -> dict[str, type]:
    """Return the classes among the values of options."""
    named = {path: class_named(value, path, CHOICES) for path, value in values.items() if option_name(path) in CHOICES}
    return {path: kind for path, kind in named.items() if kind is not None}


def known_options(parser: ArgumentParser, chosen: Mapping[str, type], others: bool = True) -> list[Option]:
    """Return the options of a parser: those of the chosen classes, then, with ``others``, of all classes."""
    choices = CHOICES if others else None
    own = [path.removeprefix("--") for action in parser._actions for path in action.option_strings]
    options = [_top(name) for name in own if name.isidentifier()]
    for name in own:
        if name in CHOICES:
            options += options_of_choice(f"--{name}", chosen, choices)
    return options + (list(options_of(Recipe, "", chosen, choices)) if parser.prog == "ssvae fit" else [])


def _top(name: str) -> Option:
    return Option(f"--{name}", ArgumentParser, Parameter(name, Parameter.KEYWORD_ONLY))


def check_config(path: str) -> None:
    """Check a file of options before jsonargparse reads it, since jsonargparse expands aliases without a limit.

    Raises:
        UsageError: If it is no file, or a name of an option is no text.
        ValueError: If it is not a YAML file of plain values, or too large.
    """
    if not path:
        return
    if not os.path.isfile(path):  # also refuses a pipe, which may never end; Path.is_file raises on some names
        raise UsageError(f"--config: expected a file; got {path!r}, which is not a file.")
    not_text = next((name for name in _keys(read_yaml(path, "--config")) if not isinstance(name, str)), "")
    if not_text != "":
        raise UsageError(f"--config: expected the names of options in {path}; got {not_text!r}.")


def _keys(content: object) -> Iterator[object]:
    """Yield the keys of all mappings in a file's content, at every depth."""
    if isinstance(content, dict):
        yield from content
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _keys(inner)


def _deep_nulls(arguments: list[str]) -> list[str]:
    """Write `--data.source.num_labels null` as `--data.source {"init_args": {"num_labels": null}}`.

    jsonargparse (4.53) reads null as the string "None" if it belongs to a part of a part. The word None, which the
    documentation of the arguments uses, is replaced by null too.
    """
    rewritten: list[str] = []
    for given in arguments:
        word = re.sub(r"^(--[\w.]+=|)None$", r"\1null", given)
        if word == "null" and rewritten and re.fullmatch(r"--(data|model)\.[\w.]+", rewritten[-1]):
            word = f"{rewritten.pop()}=null"
        deep = re.fullmatch(r"(--(?:data|model)\.[\w.]+?)(?:\.init_args)?\.(\w+)=null", word)
        rewritten.append(f'{deep[1]}={{"init_args": {{"{deep[2]}": null}}}}' if deep else word)
    return rewritten


def _check_choice(option: str, value: str) -> None:
    """Raise UsageError for an unknown name of a class, with the most similar known ones."""
    kind = option.removeprefix("--").rpartition(".")[2]
    if kind in (*CHOICES, *_GROUPS) and os.path.lexists(value) and not os.path.isdir(value):
        # jsonargparse would read any file.
        raise UsageError(
            f"{option}: expected a name (a file of options follows --config); got the file {value!r}."
            f"{did_you_mean(data_at(option, value))}"
        )
    if kind not in CHOICES or not re.fullmatch(r"[A-Za-z_]\w*", value):
        return
    if value not in [*(each.__name__ for each in CHOICES[kind]), "null"]:
        raise UsageError(unknown_class(option, value, CHOICES))


def names_of(kind: str) -> str:
    """Return the names that an option can take, for its help."""
    return ", ".join(each.__name__ for each in CHOICES[kind])
