"""What was wrong with a command, in one sentence: what jsonargparse says in paragraphs, and nearest names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import signature

Choices = Mapping[str, Sequence[type]]

_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list such as [500,500]",
    "list": "a list such as [0.5,0.5]",
    "NoneType": "null",
}


def hint(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" with the nearest name, or nothing where none is near."""
    near = get_close_matches(name, list(names), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def unknown_class(option: str, value: str, choices: Sequence[type]) -> str:
    """Return the sentence for a name that is none of the classes that an option can take."""
    names = [each.__name__ for each in choices]
    return (
        f"{option}: expected one of {', '.join(names)}, or the import path of another class; got {value!r}."
        f"{hint(value.rpartition('.')[2], names)}"
    )


def explain(message: str, options: Sequence[str], choices: Choices) -> str:
    """Find the sentence in what jsonargparse says.

    Args:
        message: Its message: a chain of keys and classes, and at its end what is wrong.
        options: The options there are at the top, as "--objective.alpha".
        choices: The classes that can be named, by the last part of the option.
    """
    keys = re.findall(r"Parser key \"([\w.]+)\"", message)
    option = "--" + ".".join(dict.fromkeys(keys))
    leaf = re.split(r"Parser key \"[\w.]+\":", message)[-1]
    return (
        _unknown_option(message, option, options)
        or _missing_option(message, option)
        or _bad_file(message)
        or _bad_class(leaf, option, choices)
        or _bad_value(leaf, option)
        or " ".join(([f"{option}:"] if keys else []) + message.split())[:300]
    )


def _unknown_option(message: str, option: str, options: Sequence[str]) -> str:
    found = re.search(
        r"Option '(?P<one>[\w.]+)' is not accepted|Group '(?P<group>[\w.]+)' does not accept option '(?P<in>[\w.]+)'"
        r"|unrecognized arguments: (?P<word>[^\s=]+)|Key '(?P<key>[\w.]+)' is not expected",
        message,
        re.IGNORECASE,
    )
    if not found:
        return ""
    owner = re.findall(r"class_path '([\w.]+)'", message[: found.start()])
    if owner:
        name = (found["one"] or found["word"] or found["in"]).removeprefix("--")
        kind = owner[-1].rpartition(".")[2]
        accepted = [f"{option}.{each}" for each in _arguments(owner[-1])]
        return (
            f"{option}.{name}: expected an option of {kind} ({', '.join(accepted) or 'it has none'}); got an unknown "
            f"one.{hint(f'{option}.{name}', accepted)}"
        )
    name = found["word"] or found["one"] or found["key"] or f"{found['group']}.{found['in']}"
    name = name if found["word"] else f"--{name}"
    return f"{name}: expected an option that --help lists; got an unknown one.{hint(name, options)}"


def _arguments(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    parameters = signature(getattr(import_module(module), name)).parameters.values()
    # The two are taken from the data.
    names = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [each for each in names if each not in ("image_shape", "num_classes")]


def _missing_option(message: str, option: str) -> str:
    if found := re.search(r"argument (--[\w.]+): expected one argument", message):
        return f"{found[1]}: expected a value after it; got none."
    if found := re.search(r"the following arguments are required: (.*)", message):
        name = found[1] if option == "--" else f"{option}.{found[1]}"
        return f"{name}: expected a value; got none."
    return ""


def _bad_file(message: str) -> str:
    if found := re.search(r"(?:File does not exist|Path is not a file): '(.*)'", message):
        return f"--config: expected a file; got {found[1]!r}, which is none."
    if "Problems parsing config" in message or "Unexpected config" in message:
        return "--config: expected a file of options in YAML, such as a run's config.yaml; got one that is not."
    return ""


def _bad_class(leaf: str, option: str, choices: Choices) -> str:
    value = re.search(
        r"dot import path string: (\S+)|class_path '([\w.]+)':\s+(?:No module named|module '[\w.]+' has no attribute)"
        r"|does not correspond to a subclass of[^G]*Given value[^:]*:[^:]*: (\S+)",
        leaf,
    )
    if found := re.search(r"module '(torch\.nn[\w.]*)' has no attribute '(\w+)'", leaf):
        return f"{option}.activation: expected a class of torch.nn's; got '{found[1]}.{found[2]}'."
    if not value:
        return ""
    name = next(group for group in value.groups() if group)
    kind = option.rpartition(".")[2].removeprefix("--")
    if kind in choices:
        return unknown_class(option, name, choices[kind])
    if kind == "activation":
        return f"{option}: expected the import path of an activation, such as torch.nn.ReLU; got {name!r}."
    return f"{option}: expected options by their names, as in {option}.NAME; got {name!r}."


def _bad_value(leaf: str, option: str) -> str:
    if "Unable to load config" in leaf:
        value = re.search(r"Unable to load config [\"'](.*?)[\"']", leaf)
        return f"{option}: expected options by their names, as in {option}.NAME; got {value[1] if value else ''!r}."
    expected = re.findall(r"Expected an? (?:<class '([\w.]+)'>|[\w.]*Literal\[(.*?)\])", leaf)
    value = re.search(r"(?:Got|Given) value: (.*)", leaf)
    if not expected or not value:
        return ""
    if not leaf.lstrip().startswith("Does not validate against any of the Union"):
        expected = expected[:1]  # what follows is of the outer option
    kinds = dict.fromkeys(_TYPES.get(kind, kind) if kind else literal.replace("'", "") for kind, literal in expected)
    if list(kinds) == ["null"]:
        if nested := re.search(r"NestedArg\(key='(\w+)'", value[1]):
            return f"{option}: expected a class, whose option {option}.{nested[1]} is; got none."
        return f"{option}: expected a class and its options; got {value[1]!r}."
    return f"{option}: expected {' or '.join(kinds)}; got {value[1]!r}."
