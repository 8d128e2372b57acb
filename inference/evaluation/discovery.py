"""Discovery: how the classes that nobody has labelled are told apart, and from the known ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ssvae.inference.evaluation.calibration import check_probabilities


@dataclass(frozen=True)
class Discovery:
    """The agreement of predicted with true classes, where some classes have no label in training.

    The known classes of a model are the true ones. Its new classes have no names: each is assigned to at most one of
    the true classes without a label, so that as many of their images as possible are right (Hungarian assignment, Kuhn
    1955). With ŷ_n the most probable class of image n and a the assignment, t_n is the class that would be right:
    y_n for a known class, a(y_n) for another one. Then::

        known_accuracy      = share of images of known classes with ŷ_n = t_n
        new_accuracy        = share of images of the other classes with ŷ_n = t_n
        accuracy            = share of all images with ŷ_n = t_n
        share_among_known   = share of images of the other classes that are put into a known class
        nmi                 = 2 I(ŷ; y) / ( H(ŷ) + H(y) ) over all images

    The assignment is found on the same images, so that even random new classes have an accuracy above 0. A new class
    into which none of these images is put is empty: it is assigned to no true class, since nothing says to which.

    Sources: Xie, Girshick and Farhadi 2016 (arXiv 1511.06335) for the accuracy by assignment; Willetts et al. 2019
    (arXiv 1901.08560) for classes of which some have no label.

    Attributes:
        num_known_classes: The number of classes that have labels; 0 if there are no labels.
        known_accuracy: Accuracy on the images of known classes, in [0, 1]; None if there are none.
        share_among_known: Share of the other images that are put into a known class; None if there are none.
        new_accuracy: Accuracy by assignment on the images of the other classes; None if there are none.
        accuracy: Accuracy on all images, in [0, 1].
        nmi: Normalised mutual information of predicted and true classes, in [0, 1].
        assigned: The model's class for each true class without a label; None for one that is left over.
        empty: The model's new classes that hold none of the images, in ascending order.
    """

    num_known_classes: int
    known_accuracy: float | None
    share_among_known: float | None
    new_accuracy: float | None
    accuracy: float
    nmi: float
    assigned: tuple[int | None, ...]
    empty: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for JSON."""
        return {**asdict(self), "assigned": list(self.assigned), "empty": list(self.empty)}

    def class_of(self, true_class: int) -> int | None:
        """Return the model's class for a true class; None if there is none."""
        known = self.num_known_classes
        return true_class if true_class < known else self.assigned[true_class - known]

    def reorder(self, probabilities: Tensor) -> Tensor:
        """Return class probabilities in the order of the true classes.

        Args:
            probabilities: q(y|x), (N, classes), in the order of the model's classes.

        Returns:
            (N, true classes + new classes that are left over). A true class that no class is assigned to has the
            probability of an empty class, as long as there are some, and then 0.
        """
        classes = self._columns(probabilities.shape[-1])
        columns = torch.tensor([-1 if y is None else y for y in classes])
        return probabilities[:, columns].masked_fill(columns < 0, 0.0)

    def names(self, class_names: Sequence[str], true_class_names: Sequence[str]) -> list[str]:
        """Return names for the columns of ``reorder``.

        A true class 5 to which "new 2" is assigned is "5 (new 2)", or "5" if no class is. A new class that is left over
        is "new 3".

        Args:
            class_names: The names of the model's classes.
            true_class_names: The names of the true classes.
        """
        named = list(true_class_names)
        for true_class, y in enumerate(self.assigned, start=self.num_known_classes):
            if y is not None and class_names[y] != named[true_class]:
                named[true_class] = f"{named[true_class]} ({class_names[y]})"
        return named + [class_names[y] for y in self._columns(len(class_names))[len(named) :] if y is not None]

    def _columns(self, num_classes: int) -> list[int | None]:
        """Return the model's class of each column of ``reorder``; None for a column of zeros."""
        empty = iter(self.empty)
        true_classes = range(self.num_known_classes + len(self.assigned))
        # Without the probability of an empty class, the negative log-likelihood would not be finite.
        classes = [y if (y := self.class_of(each)) is not None else next(empty, None) for each in true_classes]
        return [*classes, *(y for y in range(num_classes) if y not in classes)]


def discover(probabilities: Tensor, labels: Tensor, num_known_classes: int, num_true_classes: int) -> Discovery:
    """Assign the new classes of a model to the true classes without a label, and count what is right.

    Args:
        probabilities: q(y|x), (N, classes). The first ``num_known_classes`` classes are known.
        labels: True classes (N,), integers in [0, num_true_classes); the first ones are the known ones.
        num_known_classes: The number of classes that have labels in training.
        num_true_classes: The number of true classes; it may differ from the model's number of classes.

    Returns:
        The measures; see `Discovery` for the formulas.

    Raises:
        ValueError: If there are no predictions, a label is out of its range, or rows are not probabilities.

    Example:
        >>> import torch
        >>> from ssvae.inference.evaluation.discovery import discover
        >>> q = torch.eye(3)[[0, 2, 2, 1]]  # class 0 is known; 1 and 2 are new
        >>> found = discover(q, torch.tensor([0, 1, 1, 2]), num_known_classes=1, num_true_classes=3)
        >>> found.accuracy, found.assigned
        (1.0, (2, 1))
    """
    from scipy.optimize import linear_sum_assignment  # takes half a second to import
    from sklearn.metrics import normalized_mutual_info_score

    num_classes = probabilities.shape[-1]
    # As many columns as classes of either kind, so that every label has one.
    padding = max(num_true_classes - num_classes, 0)
    check_probabilities(torch.nn.functional.pad(probabilities, (0, padding)), labels)
    predicted, labels = probabilities.cpu().argmax(-1), labels.cpu()
    is_known = labels < num_known_classes
    counts = torch.bincount(labels * num_classes + predicted, minlength=num_true_classes * num_classes)
    counts = counts.view(num_true_classes, num_classes)
    held = counts.sum(0)  # (classes,)
    empty = [y for y in range(num_known_classes, num_classes) if not held[y]]
    hidden, new = linear_sum_assignment(counts[num_known_classes:, num_known_classes:].numpy(), maximize=True)
    assigned: list[int | None] = [None] * (num_true_classes - num_known_classes)
    for true_class, y in zip(hidden.tolist(), (new + num_known_classes).tolist(), strict=True):
        assigned[true_class] = None if y in empty else y
    right_class = torch.tensor([*range(num_known_classes), *(-1 if y is None else y for y in assigned)])
    is_right = predicted == right_class[labels]
    return Discovery(
        num_known_classes=num_known_classes,
        known_accuracy=_share(is_right[is_known]),
        share_among_known=_share(predicted[~is_known] < num_known_classes),
        new_accuracy=_share(is_right[~is_known]),
        accuracy=is_right.double().mean().item(),
        nmi=float(normalized_mutual_info_score(labels.numpy(), predicted.numpy())),
        assigned=tuple(assigned),
        empty=tuple(empty),
    )


def _share(flags: Tensor) -> float | None:
    """Return the share of flags that are set; None if there are none."""
    return flags.double().mean().item() if len(flags) else None
