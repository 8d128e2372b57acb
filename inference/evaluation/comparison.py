"""Paired comparison of two classifiers on the same images, by McNemar's test."""

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from ssvae.inference.evaluation.calibration import check_probabilities

SIGNIFICANCE = 0.05
"""A difference with a smaller p-value is called beyond chance."""


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two classifiers on the same N test images.

    Let b be the number of images that only the first classifier classifies correctly, c the number that only the second
    one does, and d_n in {-1, 0, 1} the difference for image n. Then::

        difference     = 1/N Σ_n d_n = (b - c) / N, the difference of the accuracies
        standard error = sqrt( Σ_n (d_n - difference)² / (N (N - 1)) )
        p              = P( |B - (b + c) / 2| >= |b - c| / 2 ),   B ~ Binomial(b + c, 1/2)

    p is McNemar's test in its exact form (McNemar 1947, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12; Dietterich 1998, "Approximate statistical tests for
    comparing supervised classification learning algorithms", Neural Computation 10). It accounts for the random choice
    of test images only, not for that of the labels and the seed.

    Attributes:
        difference: The first accuracy minus the second, from -1 to 1.
        standard_error: The standard error of that difference over test images; NaN if there is one image.
        p_value: The probability that two equally good classifiers differ at least as much.
        num_images: N, the number of test images.
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
        """Return the attributes by name; None for NaN."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def compare(probabilities: Tensor, others: Tensor, labels: Tensor) -> Comparison:
    """Compare two classifiers by the most probable class of each image; see `Comparison` for the formulas.

    Args:
        probabilities: p(y|x) of the first classifier, (N, classes).
        others: p(y|x) of the second one for the same images, (N, classes).
        labels: True classes (N,), integers in [0, classes).

    Returns:
        The comparison. Its difference is positive if the first classifier is better.

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
