"""Whether one classifier is better than another on the same images, or only luckier."""

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from ssvae.inference.evaluation.calibration import check_probabilities

SIGNIFICANCE = 0.05
"""Below which p-value a difference is called beyond chance."""


@dataclass(frozen=True)
class Comparison:
    """How two classifiers' answers to the same N test images differ.

    With b the images that only the first one gets right, c those that only the second one does, and d_n in {-1, 0, 1}
    the difference of an image::

        difference     = 1/N Σ_n d_n = (b - c) / N, the difference of the accuracies
        standard error = sqrt( Σ_n (d_n - difference)² / (N (N - 1)) )
        p              = P( |B - (b + c) / 2| >= |b - c| / 2 ),   B ~ Binomial(b + c, 1/2)

    p is McNemar's test in its exact form (McNemar 1947, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12; Dietterich 1998, "Approximate statistical tests for
    comparing supervised classification learning algorithms", Neural Computation 10). It is about the draw of the test
    images alone: another draw of the labels, or another seed, gives other classifiers.

    Attributes:
        difference: The first accuracy minus the second, from -1 to 1.
        standard_error: The standard error of that difference over test images; NaN if there is one image.
        p_value: The probability of a difference as large between two equally good classifiers.
        num_images: N.
    """

    difference: float
    standard_error: float
    p_value: float
    num_images: int

    @property
    def is_beyond_chance(self) -> bool:
        """Whether p < 0.05."""
        return self.p_value < SIGNIFICANCE

    def to_dict(self) -> dict[str, float | None]:
        """Return the numbers by their names; None where a number is not defined."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def compare(probabilities: Tensor, others: Tensor, labels: Tensor) -> Comparison:
    """Compare two classifiers' answers, each image's most probable class; see `Comparison` for the formulas.

    Args:
        probabilities: p(y|x) of the first classifier, (N, classes).
        others: p(y|x) of the second one for the same images, (N, classes).
        labels: True classes (N,), integers in [0, classes).

    Returns:
        The comparison: its difference is positive where the first classifier is the better one.

    Raises:
        ValueError: If shapes or classes do not fit, or rows are not probabilities.

    Example:
        >>> import torch
        >>> labels = torch.zeros(10, dtype=torch.int64)
        >>> always, never = torch.tensor([[1.0, 0.0]]).repeat(10, 1), torch.tensor([[0.0, 1.0]]).repeat(10, 1)
        >>> comparison = compare(always, never, labels)
        >>> comparison.difference, comparison.p_value  # p = 2 / 2^10
        (1.0, 0.001953125)
    """
    from scipy.stats import binomtest  # takes half a second to import

    for each in (probabilities, others):
        check_probabilities(each, labels)
    labels = labels.cpu()
    right, other = ((each.cpu().argmax(-1) == labels).double() for each in (probabilities, others))
    differences = right - other  # (N,), each in {-1, 0, 1}
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        difference=differences.mean().item(),
        standard_error=differences.std().item() / len(labels) ** 0.5 if len(labels) > 1 else math.nan,
        p_value=float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
        num_images=len(labels),
    )
