"""The text of `ssvae fit --help`: every option of what is chosen, and what it is where nothing else is said."""

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from inspect import getdoc
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from docstring_parser import parse
from torch import nn

from ssvae.inference.command_line.options import Choices, Option, option_name

_KINDS: Mapping[object, str] = {
    int: "INTEGER",
    float: "NUMBER",
    bool: "true|false",
    NoneType: "null",
    dict: "MAPPING",
    type: "CLASS",
}


def fit_help(
    description: str,
    of_run: Sequence[argparse.Action],
    options: Sequence[Option],
    values: Mapping[str, Any],
    choices: Choices,
) -> argparse.ArgumentParser:
    """Return a parser that only prints help, with the options grouped by their classes.

    Args:
        description: What stands above the options.
        of_run: The options that belong to no class.
        options: Those of the data, the model and the recipe, for the classes that are chosen.
        values: What they are, by the options; nothing where they have to be given.
        choices: The classes that can be named.
    """
    shown = argparse.ArgumentParser("ssvae fit", "ssvae fit [OPTION VALUE] …", description, add_help=False)
    run = shown.add_argument_group("the run")
    for action in of_run:
        default = "" if action.default in (None, argparse.SUPPRESS) else f" (default: {_format_value(action.default)})"
        name = "NAME" if action.dest in choices else action.metavar or action.dest.upper()
        run.add_argument(*action.option_strings, metavar=name, help=_escaped(f"{action.help}{default}"))
    groups: dict[str, Any] = {}
    for option in options:
        if option.group and NoneType not in get_args(option.parameter.annotation):
            continue  # a group has no value of its own
        path = option.path.rpartition(".")[0]
        if path not in groups:
            groups[path] = shown.add_argument_group(_title(path, option.owner))
        said = [_documentation(option.owner).get(option.parameter.name, ""), *_offered(option, choices)]
        text = " ".join([*filter(None, said), f"({_default(option, values)})"])
        groups[path].add_argument(option.path, metavar=_kind(option), help=_escaped(text))
    return shown


def _title(path: str, owner: type) -> str:
    summary = (owner.__doc__ or "").strip().partition("\n")[0].rstrip(".:")
    return f"{path}, {owner.__name__}: {summary}" if path else f"training: {summary}"


def _offered(option: Option, choices: Choices) -> list[str]:
    names = [each.__name__ for each in choices.get(option_name(option.path), ())] if option.part else []
    return [f"One of {', '.join(names)}."] if names else []


@cache
def _documentation(owner: type) -> dict[str, str]:
    """Return what a class's documentation says of its arguments, before that of a constructor that it may inherit."""
    sources = getdoc(owner.__init__), owner.__doc__  # type: ignore[misc]
    found = [each for source in sources for each in parse(source or "").params]
    # Double backticks of docstrings become single ones on a terminal.
    return {each.arg_name: " ".join((each.description or "").split()).replace("``", "`") for each in found}


def _kind(option: Option) -> str:
    """Return the kind of an option's value in a word: "INTEGER|null"."""
    return "NAME|null" if option.part else "null" if option.group else _kind_of(option.parameter.annotation)


def _kind_of(annotation: Any) -> str:  # noqa: ANN401
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, inner))
    if origin in (tuple, list):
        return f"[{_kind_of(inner[0])},…]"
    if origin is not None and origin not in _KINDS:  # a union
        return "|".join(map(_kind_of, inner))
    return _KINDS.get(origin or annotation, "TEXT")


def _default(option: Option, values: Mapping[str, Any]) -> str:
    default = option.parameter.default
    if option.group and any(path.startswith(f"{option.path}.") for path in values):
        return "default: as its options say"
    if option.path not in values and default is option.parameter.empty:
        return "needed"
    value = values.get(option.path, default)
    return f"default: {str(value).rpartition('.')[2] if option.part and value else _format_value(value)}"


def _format_value(value: object) -> str:
    """Return a value as it would be typed."""
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, type):
        name = value.__name__
        return f"torch.nn.{name}" if getattr(nn, name, None) is value else name
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse puts values in such places
