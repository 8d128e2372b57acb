"""Numbering of classes of which some have no label in training, and hiding those of some classes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssvae.data.classes import known_classes, number_classes
from ssvae.data.observations import check_num_new_classes


class NumberedClasses(NamedTuple):
    """Classes of the parts of a data set as numbers, those with a label in training first.

    Attributes:
        labels: Classes by the name of the argument, int64, -1 for what is unlabelled.
        known: The names of the classes that have a label in training, the first numbers.
        hidden: The names of the other classes of validation and test labels, the numbers after them.
    """

    labels: dict[str, Tensor]
    known: list[str]
    hidden: list[str]


def number_known_classes(
    labels: Mapping[str, np.typing.ArrayLike | Tensor], class_names: Sequence[str] | None, num_new_classes: int
) -> NumberedClasses:
    """Number the classes of all parts of a data set, as `ssvae.data.classes.number_classes` does.

    Args:
        labels: Labels by the name of the argument, those of the training part first.
        class_names: The names of the classes, or None.
        num_new_classes: The number of classes that have no label. If it is 0, classes keep the order of
            ``number_classes``, also those without a label.

    Raises:
        TypeError: If labels are neither numbers nor strings.
        ValueError: If labels are ambiguous, or no class is known and ``num_new_classes`` is 0.
    """
    check_num_new_classes(num_new_classes)
    if not num_new_classes:
        return NumberedClasses(*number_classes(labels, class_names), [])
    if class_names is None and not any(known_classes(name, values)[1].any() for name, values in labels.items()):
        return NumberedClasses({name: torch.full((len(values),), -1) for name, values in labels.items()}, [], [])  # type: ignore[arg-type]
    numbered, names = number_classes(labels, class_names)
    train = next(iter(numbered.values()))
    known = train[train >= 0].unique().tolist()
    hidden = [number for number in range(len(names)) if number not in known]
    position = torch.tensor([*known, *hidden]).argsort()
    placed = {name: torch.where(each >= 0, position[each], each) for name, each in numbered.items()}
    return NumberedClasses(placed, [names[number] for number in known], [names[number] for number in hidden])


def check_hidden(hidden_classes: Sequence[int], class_names: Sequence[str]) -> list[int]:
    """Return the numbers of the classes whose labels are hidden, in ascending order.

    Args:
        hidden_classes: The numbers.
        class_names: The names of all classes.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not different classes of the data set, of which at least one other remains.
    """
    if isinstance(hidden_classes, str) or not all(
        isinstance(label, int) and not isinstance(label, bool) for label in hidden_classes
    ):
        raise TypeError(f"hidden_classes: expected a list of the numbers of classes; got {hidden_classes!r}.")
    for label in hidden_classes:
        if not 0 <= label < len(class_names):
            raise ValueError(f"hidden_classes: expected numbers from 0 to {len(class_names) - 1}; got {label}.")
    hidden = sorted(set(hidden_classes))
    if len(hidden) < len(hidden_classes):
        raise ValueError(f"hidden_classes: expected each class once; got {list(hidden_classes)}.")
    if len(hidden) == len(class_names):
        raise ValueError(
            "hidden_classes: expected at least one class to keep its labels (num_labels=0 hides all); got all classes."
        )
    return hidden


def renumber(labels: Tensor, order: Sequence[int]) -> Tensor:
    """Return the position of each label in an order of all classes.

    Args:
        labels: Classes (N,), none unknown.
        order: All classes, each once.
    """
    return torch.tensor(order).argsort()[labels]
