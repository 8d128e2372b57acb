"""Reading labels: which rows are unlabelled, and the number of each class."""

from collections.abc import Mapping, Sequence
from itertools import compress
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssvae.data.class_names import check_distinct, class_of
from ssvae.data.observations import describe

Values = np.ndarray[tuple[int, ...], np.dtype[Any]]
Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


def known_classes(argument: str, labels: npt.ArrayLike | Tensor) -> tuple[Values, Mask]:
    """Return labels as one array of integers, floats, booleans or strings, and which of them are known.

    Unknown are -1, NaN, None, pandas' NA, "", and strings for which ``class_of`` returns None.

    Args:
        argument: The name of the labels in error messages.
        labels: Labels of any shape.

    Returns:
        The labels, strings in an array of ``dtype=object``, and booleans of the same shape.

    Raises:
        TypeError: If they are neither numbers nor strings, or a mixture of both.
        ValueError: If strings such as "nan" may be classes or mean that the image is unlabelled.
    """
    values: Values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    is_list, is_pandas = (
        isinstance(labels, list | tuple),
        not isinstance(getattr(labels, "dtype", None), np.dtype | None),
    )
    if (is_list and values.dtype.kind in "US") or (is_pandas and not isinstance(labels, Tensor)):
        # As objects: otherwise NaN and numbers beside strings become strings, and pandas' integers beside NA floats.
        values = np.asarray(labels, dtype=object)
    if values.ndim == 0:
        raise TypeError(f"{argument}: expected a class for each row; got {labels!r}.")
    if values.dtype.kind in "iuf":
        return values, ~(np.isnan(values) | (values == -1))
    if values.dtype.kind == "b":
        return values, np.ones(values.shape, dtype=bool)
    if values.dtype.kind not in "OUST":
        raise TypeError(f"{argument}: expected numbers, booleans or strings; got {describe(values)}.")
    flat = [label.decode() if isinstance(label, bytes) else label for label in values.ravel().tolist()]
    is_known = [not _is_missing(argument, label) for label in flat]
    classes = list(compress(flat, is_known))
    kinds = {_kind_of(label) for label in classes}
    if object in kinds or (len(kinds) > 1 and kinds != {int, float}):
        named = " and ".join(sorted({type(label).__name__ for label in classes}))
        raise TypeError(
            f"{argument}: expected classes of one type, strings or numbers, and -1 or None where the class is not "
            f"known; got {named} (Unknown label type)."  # scikit-learn's words, which its checks look for
        )
    # The placeholder of unknown labels has the type of the known ones.
    blank: Any = next(iter(classes)) if classes else -1
    filled = np.array(
        [label if known else blank for label, known in zip(flat, is_known, strict=True)],
        dtype=object if kinds == {str} else None,
    )
    return filled.reshape(values.shape), np.array(is_known, dtype=bool).reshape(values.shape)


def number_classes(
    labels: Mapping[str, npt.ArrayLike | Tensor], class_names: Sequence[str] | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the classes of all parts of a data set as numbers 0 … K - 1, -1 for unlabelled images, and their names.

    Columns (N, 1) are read as (N,), and one-hot rows (N, K) as the number of the column with the 1. Strings are names
    of classes, by default in alphabetical order, or in numerical order if all are numbers. Numbers count from 0, or
    from 1 if none is 0 and the highest is K. All parts of the data set are read together, so that they agree.

    Args:
        labels: The labels of each part, by the name of the argument in error messages.
        class_names: The names of the classes. Default: the numbers or strings that occur.

    Returns:
        int64 classes (N,) of each part, and the names. Numbers outside 0 … K - 1 are not changed.

    Raises:
        TypeError: If labels are neither numbers nor strings, or numbers in one part and strings in another.
        ValueError: If they have other shapes, are no classes, or are ambiguous.
    """
    parts = {argument: _as_column(argument, *known_classes(argument, given)) for argument, given in labels.items()}
    known_values = {argument: values[known] for argument, (values, known) in parts.items() if known.any()}
    words = [argument for argument, values in known_values.items() if values.dtype == object]
    if not words:
        integers = {argument: _as_integers(argument, values) for argument, values in known_values.items()}
        is_boolean = bool(known_values) and all(values.dtype == bool for values in known_values.values())
        if class_names is None and is_boolean:
            class_names = ["False", "True"]
        unlabelled = any(not known.all() for _, known in parts.values())
        codes, names = _from_0(integers, class_names, unlabelled)
    elif len(words) < len(known_values):
        first, *others = known_values
        kinds = {argument: "strings" if argument in words else "numbers" for argument in known_values}
        other = next(argument for argument in others if kinds[argument] != kinds[first])
        raise TypeError(f"{other}: expected {kinds[first]}, as in {first}; got {kinds[other]}.")
    else:
        names = list(class_names) if class_names is not None else _names_of(words[0], known_values)
        codes = {argument: _positions(argument, values, names) for argument, values in known_values.items()}
    numbered = {}
    for argument, (_, known) in parts.items():
        numbered[argument] = torch.full(known.shape, -1)
        numbered[argument][torch.from_numpy(known)] = torch.from_numpy(codes.get(argument, np.empty(0, np.int64)))
    return numbered, names


def check_range(labels: Mapping[str, Tensor], num_classes: int, item: str) -> None:
    """Refuse classes outside of 0 … K - 1, and unlabelled rows in a part that is not for training.

    Args:
        labels: Classes by the name of the argument; -1 is allowed in the first, the training labels.
        num_classes: The number of classes K.
        item: The word for an observation.

    Raises:
        ValueError: If a class is out of its range.
    """
    for number, (argument, classes) in enumerate(labels.items()):
        lowest = -1 if number == 0 else 0
        outside = classes[(classes < lowest) | (classes >= num_classes)]
        if len(outside):
            unknown = f", an unlabelled {item}" if outside[0] == -1 else ""
            raise ValueError(
                f"{argument}: expected labels from {lowest} to {num_classes - 1}; got {int(outside[0])}{unknown}."
            )


def _as_column(argument: str, values: Values, known: Mask) -> tuple[Values, Mask]:
    """Return classes (N,) for (N,), (N, 1) or one-hot rows (N, K)."""
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0], known[:, 0]
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype != object:
        if not (np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all()):
            raise ValueError(
                f"{argument}: expected shape (N,), or (N, K) with a 1 among zeros in each row; got other values "
                f"of shape {values.shape}."
            )
        return values.argmax(1), np.ones(len(values), dtype=bool)
    if values.ndim != 1:
        raise ValueError(f"{argument}: expected shape (N,); got {values.shape}.")
    return values, known


def _as_integers(argument: str, values: Values) -> Integers:
    if values.dtype.kind == "f" and not (whole := np.isfinite(values) & (values == np.rint(values))).all():
        raise ValueError(f"{argument}: expected whole numbers, or NaN for unknown classes; got {values[~whole][0]:g}.")
    return np.asarray(values.astype(np.int64))


def _from_0(
    numbers: Mapping[str, Integers], class_names: Sequence[str] | None, unlabelled: bool
) -> tuple[dict[str, Integers], list[str]]:
    """Return numbers that count from 0, and the names of all classes."""
    distinct: list[int] = np.unique(np.concatenate([np.empty(0, np.int64), *numbers.values()])).tolist()
    if class_names is None and not distinct:
        raise ValueError("class_names: expected the names of the classes as no label is known; got None.")
    if class_names is None and distinct == [1] and unlabelled:
        raise ValueError(
            f"{next(iter(numbers))}: expected two classes or more; got -1 and 1, where -1 marks what is unlabelled: "
            "write 0 and 1 if these are the classes."
        )
    names = None if class_names is None else list(class_names)
    if distinct and distinct[0] == 1 and distinct[-1] == len(distinct if names is None else names):
        return {argument: codes - 1 for argument, codes in numbers.items()}, names or [str(label) for label in distinct]
    if names is None and distinct[0] >= 0 and len(distinct) <= distinct[-1]:
        raise ValueError(
            f"{next(iter(numbers))}: expected each class from 0 to {distinct[-1]}, or class_names; got "
            f"{_some(distinct)}: write them as strings if these are all classes."
        )
    return dict(numbers), names or [str(label) for label in range(distinct[-1] + 1)]


def _names_of(argument: str, values: Mapping[str, Values]) -> list[str]:
    """Return the strings that occur, numbers before words."""
    names: list[str] = sorted(set().union(*values.values()), key=_order)
    check_distinct(names, argument)
    return names


def _positions(argument: str, words: Values, names: Sequence[str]) -> Integers:
    positions = {name: number for number, name in enumerate(names)}
    unknown = next((word for word in words if word not in positions), None)
    if unknown is not None:
        raise ValueError(f"{argument}: expected classes among {_some(names)}; got {unknown!r}.")
    return np.array([positions[word] for word in words], dtype=np.int64)


def _order(name: str) -> tuple[float, str]:
    """Sort numbers by their value, before words."""
    return (int(name), name) if name.isdecimal() else (np.inf, name)


def _is_missing(argument: str, value: object) -> bool:
    if isinstance(value, str):
        return not value.strip() or class_of(value, argument) is None
    if isinstance(value, Real):
        return bool(value == -1 or value != value)
    # pandas' NA and NaT, without importing pandas, which may not be installed.
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _kind_of(value: object) -> type:
    if isinstance(value, bool | np.bool_):
        return bool
    kinds = ((str, str), (Integral, int), (Real, float))
    return next((kind for abstract, kind in kinds if isinstance(value, abstract)), object)


def _some(values: Sequence[object]) -> str:
    """Return the values as text, only the first few if there are many."""
    shown = ", ".join(repr(value) for value in values[:6])
    return shown if len(values) <= 6 else f"{shown}, … ({len(values)} in all)"
