"""All options: those of the chosen classes, and those of the classes that could be chosen."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import UnionType
from typing import Union, get_args, get_origin

from ssvae.inference.nearest import MOST, did_you_mean, likeness, one_of
from ssvae.inference.storage.description import KINDS
from ssvae.models import SemiSupervisedModel

Choices = Mapping[str, Sequence[type]]
"""The classes that can be named, by the last part of the option: "prior" of --model.prior."""
Chosen = Mapping[str, type]
"""The chosen classes, by the option."""

_NEAR_ELSEWHERE, _NEAR_IN_GROUP = 0.8, 0.6
_FROM_DATA = ("event_shape", "num_classes")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        path: The option as it is typed: "--model.prior.latent_dim".
        owner: The class that has the argument.
        parameter: The argument.
        group: The dataclass of a group of options, such as KLWeight for --objective.kl_weight; None for others.
        part: The kind of class that can be named after the option, such as Prior for --model.prior; None for others.
        needs: Pairs of an option and a class that must be chosen first; empty if the option is accepted now.
    """

    path: str
    owner: type
    parameter: inspect.Parameter
    group: type | None = None
    part: type | None = None
    needs: tuple[tuple[str, str], ...] = ()


def accepted(owner: type) -> list[inspect.Parameter]:
    """Return the arguments of a class that are options. A model's sizes are not, since the data determine them."""
    parameters = inspect.signature(owner).parameters.values()
    from_data = _FROM_DATA if issubclass(owner, SemiSupervisedModel) else ()
    return [
        each
        for each in parameters
        if each.name not in from_data and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def options_of(
    owner: type, path: str, chosen: Chosen, choices: Choices | None = None, needs: tuple[tuple[str, str], ...] = ()
) -> Iterator[Option]:
    """Yield the options of a class, each followed by those of the class that it takes.

    Args:
        owner: The class.
        path: The prefix of its options, such as "--model"; "" for options without a prefix.
        chosen: The chosen classes, by the option.
        choices: The classes that could be chosen, to yield their options too; None for chosen classes only.
        needs: The choices that all of these options need.

    Yields:
        The options, in the order of the arguments.
    """
    for parameter in accepted(owner):
        inner = f"{path}.{parameter.name}" if path else f"--{parameter.name}"
        kinds = [each for each in _alternatives(parameter.annotation) if isinstance(each, type)]
        group = next((each for each in kinds if is_dataclass(each)), None)
        part = next((each for each in kinds if issubclass(each, KINDS)), None)
        yield Option(inner, owner, parameter, group, part, needs)
        if group:
            yield from options_of(group, inner, chosen, choices, needs)
        if part:
            yield from options_of_choice(inner, chosen, choices, needs, inside=(owner,))


def _alternatives(annotation: object) -> tuple[object, ...]:
    """Return the members of a union, or the annotation alone: not the items of a sequence, which no option chooses."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def options_of_choice(
    path: str,
    chosen: Chosen,
    choices: Choices | None = None,
    needs: tuple[tuple[str, str], ...] = (),
    inside: tuple[type, ...] = (),
) -> Iterator[Option]:
    """Yield the options of the class chosen at a path, then of its alternatives in ``choices``; see `options_of`."""
    now = chosen.get(path)
    if now is not None:
        yield from options_of(now, path, chosen, choices, needs)
    for other in (choices or {}).get(option_name(path), ()):
        if other is not now and other not in inside:  # DomainAdaptation cannot be a part of itself
            yield from options_of(other, path, chosen, choices, (*needs, (path, other.__name__)))


def suggest(typed: str, options: Sequence[Option]) -> str:
    """Return " Did you mean …?" with the options most similar to the typed one; "" if none is similar.

    The last part of the name counts most: ``--num_labels`` is similar to ``--data.num_labels``. Options that are
    accepted now precede those that need another choice, which is named too.
    """
    *above, last = typed.lstrip("-–—").split(".")
    ranked: dict[tuple[float, ...], dict[str, list[Option]]] = {}
    for option in options:
        *groups, name = option.path.removeprefix("--").split(".")
        in_group, in_order = groups == above, _in_order(above, groups)
        near = likeness(last, name, _NEAR_IN_GROUP if in_group else _NEAR_ELSEWHERE)
        if near and (in_order or near == 1):
            exact = near == 1
            needs = len(option.needs)
            rank = (exact, in_order, not needs, exact and in_group, -needs, near, 0 if exact else -len(groups))
            ranked.setdefault(rank, {}).setdefault(option.path, []).append(option)
    best = max(ranked, default=())
    suggestions = [path + _with_choices(options) for path, options in ranked.get(best, {}).items()]
    # A long list of guesses does not help. An option of exactly this name is always shown.
    return did_you_mean(suggestions[:MOST] if len(suggestions) <= MOST or best[0] else [])


def _in_order(above: Sequence[str], groups: Sequence[str]) -> bool:
    """Return whether the typed groups are among the option's groups in the same order, up to typing errors."""
    left = iter(groups)
    return all(any(likeness(each, group) for group in left) for each in above)


def _with_choices(options: Sequence[Option]) -> str:
    """Return the choices that an option needs: " with --model.prior GaussianMixture or VampPrior"."""
    needs: dict[str, dict[str, None]] = {}
    for option in options:
        for path, name in option.needs:
            needs.setdefault(path, {})[name] = None
    choices = [f"{path} {one_of(list(names))}" for path, names in needs.items()]
    return f" with {' and '.join(choices)}" if choices else ""


def chosen_in(description: object, choices: Choices, path: str = "") -> dict[str, type]:
    """Return the classes that a description names, by the option of each.

    Args:
        description: A description as of `ssvae.inference.storage.description`. It may contain unknown names.
        choices: The classes that can be named.
        path: The option of the description itself.

    Returns:
        The classes, without unknown names.
    """
    classes: dict[str, type] = {}
    if not isinstance(description, Mapping):
        return classes
    inner = description.get("init_args") if "class_path" in description else description
    kind = class_named(description.get("class_path"), path, choices)
    if kind is not None:
        classes[path] = kind
    for name, value in inner.items() if isinstance(inner, Mapping) else ():
        classes |= chosen_in(value, choices, f"{path}.{name}" if path else f"--{name}")
    return classes


def option_name(path: str) -> str:
    """Return the last part of an option: "prior" of --model.prior."""
    return path.rpartition(".")[2].removeprefix("--")


def class_named(name: object, path: str, choices: Choices) -> type | None:
    """Return the class of a name or an import path; None if it is neither a choice of the option nor imported yet."""
    module, _, last = str(name).rpartition(".")
    offered = {each.__name__: each for each in choices.get(option_name(path), ())}
    if last in offered and module in ("", offered[last].__module__, offered[last].__module__.partition(".")[0]):
        return offered[last]
    imported = getattr(sys.modules.get(module), last, None)
    return imported if isinstance(imported, type) else None
