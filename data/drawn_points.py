"""Data sets of points that are drawn from a distribution, most labels of which ``num_labels`` hides."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssvae.data.labels import check_count, draw_labels
from ssvae.data.new_classes import check_hidden, renumber
from ssvae.data.vector_data import VectorData

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Points (N, features) and their classes (N,)."""


class DrawnPoints(VectorData):
    """Points drawn from a distribution: some to train with, of which a few keep their label, some to validate and test.

    The parts are independent draws: the number of points of one changes no other.

    Args:
        name: The name in printed lines.
        class_names: The names of the classes.
        draw: A function of a number of points and a random generator that returns points and their classes; called
            after the other arguments have been checked.
        num_points: The number of training points.
        num_labels: The number of training points that keep their label; None for all, 0 for none.
        num_validation: The number of validation points.
        num_test: The number of test points.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the points and of the choice of labelled points.
        hidden_classes: The numbers of classes of which no training point keeps its label. Their points stay, and a
            model has to discover them: it calls them "new 1", "new 2", …; only the evaluation knows their names.
        standardise: Whether ``preprocess`` standardises; otherwise a model gets points as they are.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer points than labels or classes, or the hidden classes are not different classes,
            of which at least one other remains.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        draw: Callable[[int, np.random.RandomState], Points],
        *,
        num_points: int,
        num_labels: int | None,
        num_validation: int,
        num_test: int,
        balanced: bool,
        seed: int,
        hidden_classes: Sequence[int],
        standardise: bool = True,
    ) -> None:
        numbers = {"num_points": num_points, "num_validation": num_validation, "num_test": num_test}
        for argument, number in {**numbers, "num_labels": num_labels or 0, "seed": seed}.items():
            check_count(argument, number)
        if num_points < len(class_names):
            raise ValueError(
                f"num_points: expected at least one point for each of the {len(class_names)} classes; got {num_points}."
            )
        hidden = check_hidden(hidden_classes, class_names)
        known = [label for label in range(len(class_names)) if label not in hidden]
        # A RandomState, whose numbers are the same with every version of NumPy, unlike those of a Generator.
        generators = [
            np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed, spawn_key=(part,))))
            for part in range(3)
        ]
        (train_x, labels), (validation_x, validation_labels), (test_x, test_labels) = (
            _tensors(*draw(number, generator), known + hidden)
            for number, generator in zip(numbers.values(), generators, strict=True)
        )
        labels = labels.masked_fill(labels >= len(known), -1)
        super().__init__(
            name,
            train_x,
            draw_labels(labels, num_labels, len(known), balanced=balanced, seed=seed),
            class_names=[class_names[label] for label in known],
            validation_x=validation_x,
            validation_labels=validation_labels,
            test_x=test_x,
            test_labels=test_labels,
            standardise=standardise,
            num_new_classes=len(hidden),
            hidden_class_names=[class_names[label] for label in hidden],
        )
        self.num_points = num_points
        self.num_labels = num_labels
        self.num_validation = num_validation
        self.num_test = num_test
        self.balanced = balanced
        self.seed = seed
        self.hidden_classes = tuple(hidden)


def check_scale(argument: str, value: float) -> None:
    """Refuse a standard deviation or radius that is not a number of 0 or more.

    Args:
        argument: Its name in the error message.
        value: The value.

    Raises:
        ValueError: If it is negative, infinite or no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{argument}: expected a number of 0 or more; got {value!r}.")


def class_counts(number: int, num_classes: int) -> list[int]:
    """Return numbers of points of each class that differ by one at most."""
    return [number // num_classes + (label < number % num_classes) for label in range(num_classes)]


def _tensors(
    points: npt.NDArray[np.float64], classes: npt.NDArray[np.int64], order: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return points and the position of their class in an order of all classes."""
    return torch.from_numpy(points.astype(np.float32)), renumber(torch.from_numpy(classes.astype(np.int64)), order)
