"""Drift of the predicted classes: a classifier predicts some classes far more often than the labels have them."""

from dataclasses import dataclass

from torch import Tensor

SMALLEST_DISTANCE = 0.15
"""Drift is reported from this distance on: less costs little accuracy, however many images show it."""

_SIGNIFICANCE = 0.001


@dataclass(frozen=True)
class Drift:
    """The distance of predicted classes from the classes of the labels.

    With the share m_k of class k among M predictions, and its share p_k among N labels::

        distance = 1/2 Σ_k | m_k - p_k |, the total variation distance, in [0, 1]

    The p-value is that of Pearson's chi-squared test of homogeneity for the 2 × classes table of counts. It is the
    probability of a statistic at least as large if both are random draws from the same distribution of classes.

    Attributes:
        distance: The total variation distance.
        p_value: The p-value of the test.
        changed_class: The class whose share differs most.
        predicted_share: m_k of that class.
        label_share: p_k of that class.
    """

    distance: float
    p_value: float
    changed_class: int
    predicted_share: float
    label_share: float

    @property
    def is_beyond_chance(self) -> bool:
        """Whether p < 0.001 and the distance is at least 0.15."""
        return self.p_value < _SIGNIFICANCE and self.distance >= SMALLEST_DISTANCE


def drift(predicted: Tensor, labels: Tensor, num_classes: int) -> Drift:
    """Compare the classes that are predicted for unlabelled images with those of the labels.

    Args:
        predicted: Most probable classes of M unlabelled images, (M,), integers in [0, num_classes).
        labels: Classes of the N labelled images, (N,), of the same kind.
        num_classes: The number of classes.

    Returns:
        The drift; see `Drift` for the formulas.

    Raises:
        ValueError: If there is no prediction or no label.

    Example:
        >>> import torch
        >>> from ssvae.inference.evaluation.drift import drift
        >>> found = drift(torch.zeros(100, dtype=torch.int64), torch.arange(40) % 4, num_classes=4)
        >>> found.distance, found.changed_class, found.is_beyond_chance
        (0.75, 0, True)
    """
    for name, classes in (("predicted", predicted), ("labels", labels)):
        if not len(classes):
            raise ValueError(f"{name}: expected at least one class; got none.")
    from scipy.stats import chi2_contingency  # takes half a second to import

    counts = [classes.cpu().bincount(minlength=num_classes).double() for classes in (predicted, labels)]
    m, p = (count / count.sum() for count in counts)  # (classes,) each
    seen = (counts[0] + counts[1]) > 0
    table = [count[seen].numpy() for count in counts]
    changed = int((m - p).abs().argmax())
    return Drift(
        distance=0.5 * (m - p).abs().sum().item(),
        p_value=float(chi2_contingency(table, correction=False).pvalue) if seen.sum() > 1 else 1.0,
        changed_class=changed,
        predicted_share=m[changed].item(),
        label_share=p[changed].item(),
    )
