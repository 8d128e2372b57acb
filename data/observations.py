"""The base class of data sets: observations, and the labels that are known."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ssvae.data.hierarchy import Hierarchy
from ssvae.data.random_order import random_order


class Data:
    """A data set: observations of any shape, and the labels that are known.

    Observations are stored as they are, uint8 for images and float32 for vectors, ``(N, *event_shape)``. NaN is a
    missing entry. ``preprocess`` converts them to what a model gets. Unlabelled training observations have the label
    -1, as in ``sklearn.semi_supervised``; their classes are not stored in this object. Validation and test observations
    are labelled; either set may be empty.

    Args:
        name: The name in printed lines.
        train_x: Training observations, uint8 or float32 ``(N, *event_shape)``.
        train_labels: Classes, int64 (N,), -1 if unlabelled. Either all are -1, or every class of ``class_names`` has a
            label.
        class_names: The names of the classes that have labels.
        validation_x: Validation observations ``(N_v, *event_shape)`` of the same type, or None for none.
        validation_labels: Classes, int64 (N_v,), or None.
        test_x: Test observations ``(N_t, *event_shape)`` of the same type, or None for none.
        test_labels: Classes, int64 (N_t,), or None.
        train_candidates: The candidate classes of each training observation, booleans (N, K): the class alone if it is
            labelled, all classes if it is unlabelled, and some if it is partially labelled. None if there are no
            partial labels.
        hierarchy: Main classes, for which accuracy is also reported; or None.
        train_weights: The weight of each training observation in the objective's sums, float64 (N,), positive: 2 has
            the same effect as including the observation twice. None for weights of 1.
        num_new_classes: The number of further classes that a model distinguishes, of which no training observation has
            a label. They are called "new 1", "new 2", …; if there are no labels at all, so are all classes.
        hidden_class_names: The names of the classes of validation and test observations that have no label in training;
            their labels are the numbers after those of ``class_names``.

    Raises:
        TypeError: If observations are not uint8 or float32 tensors, labels not int64, candidate classes not boolean or
            weights not float64 tensors.
        ValueError: If shapes, sizes or label values do not fit together.

    Attributes:
        memory_mapped: Whether the training observations are on disk, mapped into memory.
        binarise: Whether ``observe`` draws zeros and ones; see `ImageData`.
        argument: The word for observations in the names of arguments: "x" of "train_x".
        item: The word for an observation in printed lines: "1000 training observations".
        class_names: The names of the K classes that a model distinguishes: those with labels, then the new ones.
        true_class_names: The names of the classes of validation and test labels: those with labels have the same
            numbers in ``class_names``; the number of another one says nothing about the model's new classes.
        num_known_classes: The number of classes that have labels; 0 if there are no labels.
    """

    memory_mapped: bool = False
    binarise: bool = False
    argument: ClassVar[str] = "x"
    item: ClassVar[str] = "observation"

    def __init__(
        self,
        name: str,
        train_x: Tensor,
        train_labels: Tensor,
        *,
        class_names: Sequence[str],
        validation_x: Tensor | None = None,
        validation_labels: Tensor | None = None,
        test_x: Tensor | None = None,
        test_labels: Tensor | None = None,
        train_candidates: Tensor | None = None,
        hierarchy: Hierarchy | None = None,
        train_weights: Tensor | None = None,
        num_new_classes: int = 0,
        hidden_class_names: Sequence[str] = (),
    ) -> None:
        item = self.item
        check_num_new_classes(num_new_classes)
        if isinstance(class_names, str):
            raise TypeError(f"class_names: expected a sequence of strings; got {class_names!r}.")
        _check_class_names((*class_names, *hidden_class_names), num_new_classes)
        num_known = len(class_names)
        self._check_x(f"train_{self.argument}", train_x)
        check_labels("train_labels", train_labels, len(train_x), num_known, lowest=-1, item=item)
        if len(train_x) == 0:
            raise ValueError(f"train_{self.argument}: expected at least one {item}; got none.")
        _check_every_class_known(train_labels, class_names)
        if num_new_classes and (train_candidates is not None or hierarchy is not None):
            raise ValueError(
                f"num_new_classes: expected 0 beside main classes and partial labels, which name all classes; got "
                f"{num_new_classes} new classes."
            )
        if train_candidates is not None:
            _check_candidates(train_candidates, train_labels, num_known, item)
        if train_weights is not None:
            _check_weights(train_weights, len(train_x), item)
        validation = self._part_or_empty("validation", validation_x, validation_labels, train_x)
        test = self._part_or_empty("test", test_x, test_labels, train_x)
        for part, (x, labels) in {"validation": validation, "test": test}.items():
            self._check_x(f"{part}_{self.argument}", x)
            check_labels(f"{part}_labels", labels, len(x), num_known + len(hidden_class_names), lowest=0, item=item)
            if x.dtype != train_x.dtype:
                raise TypeError(
                    f"{part}_{self.argument}: expected {_dtype(train_x)} as in train_{self.argument}; got {_dtype(x)}."
                )
            if x.shape[1:] != train_x.shape[1:]:
                raise ValueError(
                    f"{part}_{self.argument}: expected {item}s of shape {tuple(train_x.shape[1:])} as in "
                    f"train_{self.argument}; got {tuple(x.shape[1:])}."
                )
        if num_known + num_new_classes == 1 and (train_labels >= 0).any():
            raise ValueError(f"class_names: expected two classes or more, as labels are known; got {class_names[0]!r}.")
        self.name = name
        self.train_x = train_x
        self.train_labels = train_labels
        self.validation_x, self.validation_labels = validation
        self.test_x, self.test_labels = test
        self.true_class_names = (*class_names, *hidden_class_names)
        self.train_candidates = train_candidates
        self.hierarchy = hierarchy
        self.train_weights = train_weights
        self.num_new_classes = num_new_classes
        self.num_known_classes = num_known if self.has_labels else 0
        names = class_names[: self.num_known_classes]
        self.class_names = (*names, *new_class_names(num_known + num_new_classes - len(names)))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of an observation: (channels, height, width) of an image, (features,) of a vector."""
        return tuple(self.train_x.shape[1:])

    @property
    def has_missing(self) -> bool:
        """Whether an entry of some observation is missing, which is NaN."""
        parts = (self.train_x, self.validation_x, self.test_x)
        return self.train_x.is_floating_point() and any(bool(part.isnan().any()) for part in parts)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def has_new_classes(self) -> bool:
        """Whether some of the K classes have no label: the last ones of ``class_names``, or all."""
        return self.num_known_classes < self.num_classes

    @property
    def num_labelled(self) -> int:
        """Number of training observations whose class is known."""
        return len(self.labelled_index)

    @property
    def num_partially_labelled(self) -> int:
        """Number of training observations with a partial label: some, but not all classes are candidates."""
        return len(self.partially_labelled_index)

    @property
    def num_unlabelled(self) -> int:
        """Number of unlabelled training observations."""
        return len(self.unlabelled_index)

    @property
    def has_labels(self) -> bool:
        """Whether any training observation has a label or a partial label."""
        return self.num_labelled + self.num_partially_labelled > 0

    @property
    def labelled_index(self) -> Tensor:
        """Ascending int64 indices (num_labelled,) of the labelled training observations."""
        return (self.train_labels >= 0).nonzero().squeeze(1)

    @property
    def partially_labelled_index(self) -> Tensor:
        """Ascending int64 indices (num_partially_labelled,) of the partially labelled training observations."""
        if self.train_candidates is None:
            return torch.empty(0, dtype=torch.int64)
        return ((self.train_labels < 0) & ~self.train_candidates.all(-1)).nonzero().squeeze(1)

    @property
    def unlabelled_index(self) -> Tensor:
        """Ascending int64 indices (num_unlabelled,) of the unlabelled training observations."""
        unknown = self.train_labels < 0
        if self.train_candidates is not None:
            unknown = unknown & self.train_candidates.all(-1)
        return unknown.nonzero().squeeze(1)

    def some_unlabelled(self, number: int) -> Tensor:
        """Return the indices of some unlabelled training observations, at random, since files are in order of class.

        Args:
            number: The number of observations; all of them if there are fewer.

        Returns:
            int64 (at most number,), the same ones at each call.
        """
        return self.unlabelled_index[random_order(len(self.unlabelled_index))[:number]]

    def known_validation(self) -> tuple[Tensor, Tensor]:
        """Return the validation observations of the classes that have labels, and their classes.

        Training looks at these alone: the labels of the others would choose among models that discover them.
        """
        if not self.has_new_classes:
            return self.validation_x, self.validation_labels
        known = self.validation_labels < self.num_known_classes
        return self.validation_x[known], self.validation_labels[known]

    def weight_of(self, index: Tensor) -> float:
        """Return the sum of the weights of some training observations.

        Args:
            index: Indices of training observations, int64.

        Returns:
            The sum; the number of the observations if the data set has no weights.
        """
        return len(index) if self.train_weights is None else float(self.train_weights[index].sum())

    def preprocess(self, x: Tensor) -> Tensor:
        """Convert observations to what a model gets.

        Args:
            x: Observations as they are stored, ``(N, *event_shape)``.

        Returns:
            Floats of the same shape, in torch's default floating-point type, on the same device.
        """
        return x.to(torch.get_default_dtype())

    def log_volume(self, x: Tensor) -> Tensor:
        """Return what log p(x) in the data's own units has more than log p(preprocess(x)), in nats.

        It is the log-determinant of the Jacobian of ``preprocess``: minus the sum of the logarithms of the scales of
        standardised vectors, and 0 for images, whose log p(x) is stated for pixels in [0, 1]. Missing entries have no
        scale.

        Args:
            x: Observations, preprocessed or not, ``(N, *event_shape)``.

        Returns:
            (N,).
        """
        return torch.zeros(len(x), device=x.device)

    def observe(self, preprocessed: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return preprocessed observations as a model gets them in a step: unchanged, unless the data set is random.

        Args:
            preprocessed: What ``preprocess`` returned.
            generator: The random generator, if there is something to draw; None for torch's global generator.

        Returns:
            Floats of the same shape.
        """
        return preprocessed

    def summary(self) -> str:
        """Return a line with the numbers of observations and labels, and a warning for each part that lacks a class."""
        partial = f"{self.num_partially_labelled} partially labelled, " if self.num_partially_labelled else ""
        return (
            f"{self.name}: {len(self.train_x)} training {self.item}s ({self.num_labelled} labelled, {partial}"
            f"{self.num_unlabelled} unlabelled), {len(self.validation_x)} validation, "
            f"{len(self.test_x)} test, {self.num_classes} classes{self._new_in_words()}, {self._size()}"
            + self._warning("validation", self.validation_labels)
            + self._warning("test", self.test_labels)
        )

    def _new_in_words(self) -> str:
        """Return how many classes have no label, in words; "" if all have one."""
        number = self.num_classes - self.num_known_classes
        return f" ({number} of them without labels)" if number else ""

    def _size(self) -> str:
        """Return the size of an observation in words."""
        return "×".join(map(str, self.event_shape)) + " numbers"

    @classmethod
    def _check_x(cls, argument: str, x: Tensor) -> None:
        """Refuse observations that are not of the type and shape of this class."""
        if not isinstance(x, Tensor) or x.dtype not in (torch.uint8, torch.float32):
            raise TypeError(f"{argument}: expected a uint8 or float32 tensor; got {describe(x)}.")
        if x.dim() < 2 or 0 in x.shape[1:]:
            raise ValueError(f"{argument}: expected shape (N, *event_shape); got {tuple(x.shape)}.")

    def _part_or_empty(
        self, part: str, x: Tensor | None, labels: Tensor | None, train_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        if x is None and labels is None:
            return torch.empty(0, *train_x.shape[1:], dtype=train_x.dtype), torch.empty(0, dtype=torch.int64)
        if x is None or labels is None:
            given, absent = ("labels", self.argument) if x is None else (self.argument, "labels")
            raise ValueError(f"{part}_{absent}: expected a tensor as {part}_{given} is given; got None.")
        return x, labels

    def _warning(self, part: str, labels: Tensor) -> str:
        """Return a warning that names the classes of which a part has no observations; "" if there are none."""
        counts = torch.bincount(labels, minlength=len(self.true_class_names)).tolist()
        absent = [repr(name) for name, count in zip(self.true_class_names, counts, strict=True) if count == 0]
        if not len(labels) or not absent:
            return ""
        names = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        return f"\nWarning: there is no {part} {self.item} of {names}, so the {part} accuracy does not include it."


def new_class_names(number: int) -> tuple[str, ...]:
    """Return the names of classes that have no label: "new 1", "new 2" and so on.

    Args:
        number: The number of such classes.
    """
    return tuple(f"new {k}" for k in range(1, number + 1))


def check_num_new_classes(number: int) -> None:
    """Refuse a number of new classes that is not an integer of 0 or more.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is negative.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"num_new_classes: expected an integer; got {number!r}.")
    if number < 0:
        raise ValueError(f"num_new_classes: expected 0 or more; got {number}.")


def describe(value: object) -> str:
    """Describe a value in a few words, for an error message.

    Args:
        value: Any value.

    Returns:
        The type and shape of a tensor or array; of anything else, the name of its type.
    """
    if isinstance(value, Tensor):
        return f"{_dtype(value)} of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of {value.dtype} and shape {value.shape}"
    return type(value).__name__


def check_labels(argument: str, labels: Tensor, number: int, num_classes: int, *, lowest: int, item: str) -> None:
    """Refuse labels of a part of a data set that do not fit its observations and classes.

    Args:
        argument: The name of the labels in error messages.
        labels: The labels.
        number: The number of observations.
        num_classes: The number of classes K.
        lowest: The lowest label: -1 if observations may be unlabelled, 0 if not.
        item: The word for an observation.

    Raises:
        TypeError: If they are not an int64 tensor.
        ValueError: If there is not one for each observation, or one is out of its range.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"{argument}: expected an int64 tensor; got {describe(labels)}.")
    if labels.shape != (number,):
        raise ValueError(
            f"{argument}: expected shape ({number},), one label for each {item}; got {tuple(labels.shape)}."
        )
    if len(labels) and not lowest <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{argument}: expected labels from {lowest} to {num_classes - 1}; "
            f"got labels from {int(labels.min())} to {int(labels.max())}."
        )


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _check_class_names(class_names: Sequence[str], num_new_classes: int) -> None:
    if not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"class_names: expected a sequence of strings; got {class_names!r}.")
    if len(class_names) + num_new_classes == 0 or len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names: expected one or more different names; got {tuple(class_names)}.")
    taken = set(class_names) & set(new_class_names(num_new_classes))
    if taken:
        raise ValueError(f"class_names: expected other names than those of the new classes; got {sorted(taken)[0]!r}.")


def _check_candidates(candidates: Tensor, labels: Tensor, num_classes: int, item: str) -> None:
    if not isinstance(candidates, Tensor) or candidates.dtype != torch.bool:
        raise TypeError(f"train_candidates: expected a boolean tensor; got {describe(candidates)}.")
    if candidates.shape != (len(labels), num_classes):
        raise ValueError(
            f"train_candidates: expected shape ({len(labels)}, {num_classes}), a row of candidate classes for each "
            f"training {item}; got {tuple(candidates.shape)}."
        )
    if not candidates.any(-1).all():
        number = int((~candidates.any(-1)).nonzero()[0])
        raise ValueError(f"train_candidates: expected a candidate class for each {item}; got none for {item} {number}.")
    known = labels >= 0
    one_hot = torch.nn.functional.one_hot(labels[known], num_classes).bool()
    if not torch.equal(candidates[known], one_hot):
        number = int(known.nonzero().squeeze(1)[(candidates[known] != one_hot).any(-1)][0])
        raise ValueError(
            f"train_candidates: expected a labelled {item}'s class as its only candidate; got others for {item} "
            f"{number}."
        )


def _check_weights(weights: Tensor, number: int, item: str) -> None:
    if not isinstance(weights, Tensor) or weights.dtype != torch.float64:
        raise TypeError(f"train_weights: expected a float64 tensor; got {describe(weights)}.")
    if weights.shape != (number,):
        raise ValueError(f"train_weights: expected shape ({number},), one for each {item}; got {tuple(weights.shape)}.")
    wrong = weights[~((weights > 0) & weights.isfinite())]
    if len(wrong):
        raise ValueError(f"train_weights: expected positive numbers; got {float(wrong[0])}.")


def _check_every_class_known(train_labels: Tensor, class_names: Sequence[str]) -> None:
    counts = torch.bincount(train_labels[train_labels >= 0], minlength=len(class_names)).tolist()
    if any(counts) and 0 in counts:
        label = counts.index(0)
        raise ValueError(
            f"train_labels: expected a label of every class (or of none at all); "
            f"got none of class {label} ({class_names[label]!r}). If nobody has labelled it, leave it out and add "
            f"num_new_classes=1; hidden_classes=[{label}] hides a class of a data set that knows all labels."
        )
