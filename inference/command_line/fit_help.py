"""The text of `ssvae fit --help`: all options of the chosen classes, with their defaults."""

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
    run_actions: Sequence[argparse.Action],
    options: Sequence[Option],
    values: Mapping[str, Any],
    choices: Choices,
) -> argparse.ArgumentParser:
    """Return a parser that only prints help, with the options grouped by their classes.

    Args:
        description: The text above the options.
        run_actions: The options that belong to no class.
        options: The options of the data, the model and the recipe, for the chosen classes.
        values: The current defaults by option. Required options are missing.
        choices: The classes that can be named.

    Returns:
        The parser, whose ``print_help`` prints the text.
    """
    shown = argparse.ArgumentParser("ssvae fit", "ssvae fit [OPTION VALUE] …", description, add_help=False)
    run = shown.add_argument_group("the run") if run_actions else shown
    for action in run_actions:
        value = action.default
        if action.dest in choices and value:
            value = value["class_path"].rpartition(".")[2]
        default = "" if value in (None, argparse.SUPPRESS) else f" (default: {_format_value(value)})"
        name = "NAME" if action.dest in choices else action.metavar or action.dest.upper()
        run.add_argument(*action.option_strings, metavar=name, help=_escaped(f"{action.help}{default}"))
    groups: dict[str, Any] = {}
    for option in options:
        if option.group and NoneType not in get_args(option.parameter.annotation):
            continue  # a group has no value of its own
        path = option.path.rpartition(".")[0]
        if path not in groups:
            groups[path] = shown.add_argument_group(_title(path, option.owner))
        sentences = [documentation(option.owner).get(option.parameter.name, ""), *_offered(option, choices)]
        text = " ".join([*filter(None, sentences), f"({_default(option, values)})"])
        groups[path].add_argument(option.path, metavar=_kind(option), help=_escaped(text))
    return shown


def _title(path: str, owner: type) -> str:
    summary = (owner.__doc__ or "").strip().partition("\n")[0].rstrip(".:")
    return f"{path}, {owner.__name__}: {summary}" if path else f"training: {summary}"


def _offered(option: Option, choices: Choices) -> list[str]:
    names = [each.__name__ for each in choices.get(option_name(option.path), ())] if option.part else []
    return [f"One of {', '.join(names)}."] if names else []


@cache
def documentation(owner: type) -> dict[str, str]:
    """Return the description of each argument of a class: from its docstring, or else from that of its constructor."""
    sources = getdoc(owner.__init__), owner.__doc__  # type: ignore[misc]
    parameters = [each for source in sources for each in parse(source or "").params]
    # An attribute may have the name of an argument, which is meant; dataclasses have attributes alone.
    arguments = sorted(parameters, key=lambda each: each.args[0] == "param")
    # On a terminal single backticks are easier to read than the double ones of docstrings.
    return {each.arg_name: " ".join((each.description or "").split()).replace("``", "`") for each in arguments}


def _kind(option: Option) -> str:
    """Return the type of an option's value as it is shown in the help, such as "INTEGER|null"."""
    return "NAME|null" if option.part else "null" if option.group else _kind_of(option.parameter.annotation)


def _kind_of(annotation: Any) -> str:  # noqa: ANN401
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, inner))
    if origin in (tuple, list, Sequence):
        return f"[{_kind_of(inner[0])},…]"
    if origin is not None and origin not in _KINDS:  # a union
        return "|".join(map(_kind_of, inner))
    return _KINDS.get(origin or annotation, "TEXT")


def _default(option: Option, values: Mapping[str, Any]) -> str:
    default = option.parameter.default
    if option.group and any(path.startswith(f"{option.path}.") for path in values):
        return "default: the options below"
    if option.path not in values and default is option.parameter.empty:
        return "required"
    value = values.get(option.path, default)
    return f"default: {str(value).rpartition('.')[2] if option.part and value else _format_value(value)}"


def _format_value(value: object) -> str:
    """Return a value as a user types it."""
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_format_value, value))}]"
    if isinstance(value, type):
        name = value.__name__
        return f"torch.nn.{name}" if getattr(nn, name, None) is value else name
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse replaces %(default)s and the like
