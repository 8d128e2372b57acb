"""Error messages: one sentence in place of the paragraphs that jsonargparse writes."""

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from inspect import isabstract
from pathlib import Path

from ssvae.data import Data, ImageData
from ssvae.inference.command_line.options import Choices, Option, accepted, option_name, suggest
from ssvae.inference.nearest import did_you_mean, hint, one_of

_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")

_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list such as [500,500]",
    "list": "a list such as [0.5,0.5]",
    "collections.abc.Sequence": "a list such as '[NAME]'",
    "collections.abc.Mapping": "a mapping such as '{NAME: VALUE}'",
    "NoneType": "null",
}


def unknown_class(option: str, value: str, choices: Choices) -> str:
    """Return the message for a name that is no class of this option."""
    names = [each.__name__ for each in choices[option_name(option)]]
    name = value.rpartition(".")[2]
    return (
        f"{option}: expected one of {', '.join(names)}, or the import path of another class; got {value!r}."
        f"{hint(name, names) or did_you_mean(_after_another(name, choices) or data_at(option, value))}"
    )


def _after_another(name: str, choices: Choices) -> list[str]:
    """Return the option, --data or --model, that accepts a name, followed by the name."""
    return [
        f"--{kind} {each.__name__}" for kind in ("data", "model") for each in choices[kind] if each.__name__ == name
    ]


def data_at(option: str, path: str) -> list[str]:
    """Return the options that read a user's folder of images, or table, whose path was typed after --data."""
    if option == "--data" and os.path.isdir(path):
        return [f"--data ImageFolder --data.root {shlex.quote(path)}"]
    if option == "--data" and os.path.isfile(path) and Path(path).suffix.lower() in _TABLES:
        return [f"--data Table --data.file {shlex.quote(path)} --data.label COLUMN"]
    return []


def explain(message: str, options: Sequence[Option], choices: Choices, typed: Mapping[str, str]) -> str:
    """Turn a message of jsonargparse into one sentence.

    Args:
        message: The message: a chain of keys and classes that ends with the error.
        options: All options, including those of classes that are not chosen.
        choices: The classes that can be named, by the last part of the option.
        typed: The options that the user typed, with all words after each.

    Returns:
        The sentence; the first 300 characters of the message if its kind is unknown.
    """
    keys = re.findall(r"Parser key \"([\w.]+)\"", message)
    option = "--" + ".".join(dict.fromkeys(keys))
    leaf = re.split(r"Parser key \"[\w.]+\":", message)[-1]
    return (
        _unknown_option(message, option, options, choices)
        or _missing_option(message, option, options, typed)
        or _bad_file(message)
        or _bad_class(leaf, option, options, choices)
        or _bad_value(leaf, option, options, typed)
        or " ".join(([f"{option}:"] if keys else []) + message.split())[:300]
    )


def _unknown_option(message: str, option: str, options: Sequence[Option], choices: Choices) -> str:
    match = re.search(
        r"Option '(?P<one>[\w.-]+)' is not accepted|Group '(?P<group>[\w.]+)' does not accept option '(?P<in>[\w.-]+)'"
        r"|unrecognized arguments: (?P<word>[^\s=]+)|Key '(?P<key>[\w.-]+)' is not expected",
        message,
        re.IGNORECASE,
    )
    if not match:
        return ""
    owner = re.findall(r"class_path '([\w.]+)'", message[: match.start()])
    if owner:
        name = (match["one"] or match["word"] or match["in"]).removeprefix("--")
        return _unknown_in(owner[-1], option, name, options)
    name = match["word"] or f"--{match['one'] or match['key'] or ''}"
    if match["group"]:
        name = f"--{match['group']}.{match['in']}"
    if name[0] not in "-–—":
        hinted = _instead_of(name, options, choices)
        return f"{name}: expected an option, which begins with --; got a word without one.{hinted}"
    return f"{name}: expected an option that --help lists; got an unknown one.{suggest(name, options)}"


def _unknown_in(owner: str, option: str, name: str, options: Sequence[Option]) -> str:
    module, _, class_name = owner.rpartition(".")
    owner_class = getattr(import_module(module), class_name)
    if isabstract(owner_class) or owner_class in (Data, ImageData):
        return _class_needed(option, name)
    names = ", ".join(f"{option}.{each.name}" for each in accepted(owner_class)) or "it has none"
    return (
        f"{option}.{name}: expected an option of {class_name} ({names}); got an unknown one."
        f"{suggest(f'{option}.{name}', options)}"
    )


def _class_needed(option: str, name: str) -> str:
    return f"{option}: expected a class, whose option {option}.{name} is; got none."


def _instead_of(word: str, options: Sequence[Option], choices: Choices) -> str:
    """Return a suggestion for a word without an option before it."""
    if (Path(word) / "config.yaml").is_file():
        return did_you_mean([f"--resume {word}"])
    top_level = [option.path for option in options if "." not in option.path]
    named = [f"--{name}" for name in (word,) if f"--{name}" in top_level]
    return did_you_mean(
        _after_another(word, choices) or named or data_at("--data" if "--data" in top_level else "", word)
    )


def _missing_option(message: str, option: str, options: Sequence[Option], typed: Mapping[str, str]) -> str:
    if match := re.search(r"argument (--[\w.]+): expected one argument", message):
        # jsonargparse names the outermost option only.
        empty = [name for name, value in typed.items() if name.startswith(match[1]) and value[:2] in ("", "--")]
        return f"{empty[0] if empty else match[1]}: expected a value after it; got none."
    if match := re.search(r"the following arguments are required: (.*)", message):
        names = [name if option == "--" else f"{option}.{name}" for name in match[1].split(", ")]
        return f"{', '.join(names)}: expected a value; got none.{_meaning(names, options)}"
    if match := re.search(r"argument (--[\w.]+): invalid choice: '(.*)' \(choose from (.*)\)", message):
        names = re.findall(r"'?([\w-]+)'?", match[3])
        return f"{match[1]}: expected {one_of(names)}; got {match[2]!r}.{hint(match[2], names)}"
    return ""


def _meaning(names: Sequence[str], options: Sequence[Option]) -> str:
    """Return what options are, in the first sentence of the documentation of each; "" for those without one."""
    from ssvae.inference.command_line.fit_help import documentation

    chosen = {option.path: option for option in options if not option.needs}
    described = {
        name: documentation(chosen[name].owner).get(chosen[name].parameter.name, "") for name in names if name in chosen
    }
    return "".join(
        f" {name} is {text[0].lower()}{text[1:].partition('. ')[0].rstrip('.')}."
        for name, text in described.items()
        if text
    )


def _bad_file(message: str) -> str:
    if match := re.search(r"(?:File does not exist|Path is not a file): '(.*)'", message):
        return f"--config: expected a file; got {match[1]!r}, which is not a file."
    if "Problems parsing config" in message or "Unexpected config" in message:
        return "--config: expected a file of options in YAML, such as a run's config.yaml; got one that is not."
    return ""


def _bad_class(leaf: str, option: str, options: Sequence[Option], choices: Choices) -> str:
    value = re.search(
        r"dot import path string: (\S+)|class_path '([\w.]+)':\s+(?:No module named|module '[\w.]+' has no attribute)"
        r"|does not correspond to a subclass of[^G]*Given value[^:]*:[^:]*: (\S+)",
        leaf,
    )
    if match := re.search(r"module '(torch\.nn[\w.]*)' has no attribute '(\w+)'", leaf):
        return f"{option}.activation: expected a class of torch.nn; got '{match[1]}.{match[2]}'."
    if not value:
        return ""
    name = next(group for group in value.groups() if group)
    kind = option.rpartition(".")[2].removeprefix("--")
    if kind in choices:
        return unknown_class(option, name, choices)
    if kind == "activation":
        return f"{option}: expected the import path of an activation, such as torch.nn.ReLU; got {name!r}."
    return _by_names(option, name, options)


def _by_names(option: str, value: str, options: Sequence[Option]) -> str:
    """Return the message for a value of a group of options, which has no value itself."""
    inner = list(dict.fromkeys(each.path for each in options if each.path.rpartition(".")[0] == option))
    null = any(each.path == option and each.parameter.default is None for each in options)
    return (
        f"{option}: expected options by their names, as in {option}.NAME{', or null' if null else ''}; got {value!r}."
        f"{' There are ' if inner else ''}{', '.join(inner)}{'.' if inner else ''}"
    )


def _bad_value(leaf: str, option: str, options: Sequence[Option], typed: Mapping[str, str]) -> str:
    if "Unable to load config" in leaf:
        value = re.search(r"Unable to load config [\"'](.*?)[\"']", leaf)
        return _by_names(option, value[1] if value else "", options)
    expected = re.findall(r"Expected an? (?:<class '([\w.]+)'>|[\w.]*Literal\[(.*?)\])", leaf)
    value = re.search(r"(?:Got|Given) value: (.*)", leaf)
    if not expected or not value:
        return ""
    if not leaf.lstrip().startswith("Does not validate against any of the Union"):
        expected = expected[:1]  # the others are those of the outer option
    kinds = dict.fromkeys(_TYPES.get(kind, kind) if kind else literal.replace("'", "") for kind, literal in expected)
    nested = re.match(r"NestedArg\(key='([\w.-]+)'", value[1])
    if list(kinds) == ["null"]:
        if nested:
            return _class_needed(option, nested[1].partition(".")[0])
        return f"{option}: expected a class and its options; got {value[1]!r}."
    if nested:
        name = f"{option}.{nested[1]}"
        return f"{name}: expected an option that --help lists; got an unknown one.{suggest(name, options)}"
    got = typed.get(option) or value[1]  # as typed: jsonargparse converts 1e3 to 1000.0
    if not {_TYPES["tuple"], _TYPES["collections.abc.Sequence"]} & {*kinds}:
        got = got.partition(" ")[0]  # only a list may consist of several words
    names = [name for _, literal in expected for name in re.findall(r"'([^']+)'", literal)]
    return (
        f"{option}: expected {' or '.join(kinds)}; got {got!r}.{hint(got, names) or did_you_mean(_meant(got, kinds))}"
    )


def _meant(value: str, kinds: Iterable[str]) -> list[str]:
    """Return the accepted spelling of a number or a list that is written in another way, such as "1,000" for 1000."""
    number = r"\d+(?:\.\d+)?(?:e-?\d+)?"
    if _TYPES["tuple"] in kinds:
        numbers = re.findall(number, value)
        return (
            [f"[{','.join(numbers)}]"]
            if re.fullmatch(rf"[\[(]?\s*{number}([\s,;]+{number})*,?\s*[\])]?", value)
            else []
        )
    if _TYPES["collections.abc.Sequence"] in kinds:
        names = re.split(r"[\s,;]+", value.strip("[](), "))
        return [f"'[{','.join(names)}]'"]
    if _TYPES["int"] in kinds:
        whole = re.sub(r"(?<=\d)[,_' ](?=\d{3}\b)", "", value)
        parsed = re.fullmatch(number, whole) and float(whole)
        return [f"{parsed:.0f}"] if parsed and parsed.is_integer() else []
    return [value.replace(",", ".")] if _TYPES["float"] in kinds and re.fullmatch(r"\d*,\d+", value) else []
