"""Quality of predicted probabilities: accuracy, negative log-likelihood, calibration error, Brier score."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

NUM_BINS = 15
"""The number of confidence bins for the expected calibration error, as in Guo et al. 2017."""


@dataclass(frozen=True)
class Calibration:
    """Accuracy and calibration of N predicted probabilities p(y | x_n), given the true classes y_n.

    The measures are::

        accuracy = 1/N Σ_n 1[argmax_y p(y|x_n) = y_n]
        nll      = 1/N Σ_n -log p(y_n|x_n)
        ece      = Σ_b |B_b|/N · |acc(B_b) - conf(B_b)|,   15 bins of equal width
        brier    = 1/N Σ_n Σ_y (p(y|x_n) - 1[y = y_n])²

    where B_b is the set of images whose confidence max_y p(y|x) is in bin b.

    Sources: Brier 1950, "Verification of forecasts expressed in terms of probability"; Guo et al. 2017 (arXiv
    1706.04599) for the expected calibration error.

    Attributes:
        accuracy: Fraction of images whose most probable class is the true one, in [0, 1].
        nll: Negative log-likelihood of the true classes, in nats per image; 0 is perfect. A probability of zero counts
            as 2e-308, the smallest normal number, so that the mean stays finite.
        ece: Expected calibration error, in [0, 1]; 0 is perfect.
        brier: Brier score, in [0, 2]; 0 is perfect.
    """

    accuracy: float
    nll: float
    ece: float
    brier: float

    def to_dict(self) -> dict[str, float]:
        """Return the measures by name."""
        return asdict(self)


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions in bins of equal width by their confidence, max_y p(y|x).

    Attributes:
        confidence: Mean confidence in each bin, (bins,); 0 for an empty bin.
        accuracy: Fraction of correct predictions in each bin, (bins,); 0 for an empty bin.
        count: Number of predictions in each bin, integers (bins,).
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def ece(self) -> float:
        """The expected calibration error, see `Calibration`."""
        gap = (self.accuracy - self.confidence).abs()
        return float((self.count * gap).sum() / self.count.sum())


def reliability_bins(probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> ReliabilityBins:
    """Sort predictions by confidence into the bins ((b - 1) / num_bins, b / num_bins], as Guo et al. 2017.

    A confidence of exactly 1, which p(y|x) often reaches, is in the last bin. (The bins of torchmetrics are closed on
    the left, so that it is in an additional bin.)

    Args:
        probabilities: p(y|x), (N, classes).
        labels: True classes, integers (N,).
        num_bins: Number of bins.

    Returns:
        Mean confidence, accuracy and count of each bin.

    Raises:
        ValueError: If num_bins is not positive, or as in `calibrate`.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins: expected a positive number; got {num_bins}.")
    check_probabilities(probabilities, labels)
    probabilities, labels = probabilities.detach().cpu().double(), labels.cpu()
    confidence, prediction = probabilities.max(-1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1]
    bins = torch.bucketize(confidence, edges)
    count = torch.bincount(bins, minlength=num_bins)
    at_least_one = count.clamp(min=1)
    right = (prediction == labels).double()
    return ReliabilityBins(
        confidence=torch.bincount(bins, confidence, minlength=num_bins) / at_least_one,
        accuracy=torch.bincount(bins, right, minlength=num_bins) / at_least_one,
        count=count,
    )


def calibrate(probabilities: Tensor, labels: Tensor) -> Calibration:
    """Compare predicted probabilities with the true classes; see `Calibration` for the formulas.

    Args:
        probabilities: p(y|x), (N, classes).
        labels: True classes, integers (N,) in [0, classes).

    Returns:
        Accuracy, negative log-likelihood, expected calibration error and Brier score.

    Raises:
        ValueError: If there are no predictions, shapes or classes do not fit, or rows are not probabilities.

    Example:
        >>> import torch
        >>> from ssvae.inference.evaluation import calibrate
        >>> calibration = calibrate(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0]))
        >>> calibration.accuracy, round(calibration.nll, 3)
        (0.5, 0.511)
    """
    bins = reliability_bins(probabilities, labels)
    probabilities, labels = probabilities.detach().cpu().double(), labels.cpu()
    true_class_probabilities = probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # (N,)
    one_hot = torch.nn.functional.one_hot(labels, probabilities.shape[-1])  # (N, classes)
    return Calibration(
        accuracy=(probabilities.argmax(-1) == labels).double().mean().item(),
        nll=-true_class_probabilities.clamp(min=torch.finfo(torch.float64).tiny).log().mean().item(),
        ece=bins.ece,
        brier=(probabilities - one_hot).square().sum(-1).mean().item(),
    )


def check_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    """Raise ValueError unless there are predictions (N, classes) that are probabilities, and a class (N,) for each."""
    if probabilities.dim() != 2 or 0 in probabilities.shape:
        raise ValueError(
            f"probabilities: expected shape (images, classes), none zero; got {tuple(probabilities.shape)}."
        )
    num_images, num_classes = probabilities.shape
    if labels.shape != (num_images,):
        raise ValueError(f"labels: expected one class for each of {num_images} images; got {tuple(labels.shape)}.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels: expected classes from 0 to {num_classes - 1}; got {labels.min()} to {labels.max()}.")
    sums = probabilities.sum(-1)
    # Negated, so that NaN is refused as well.
    if not ((probabilities >= 0).all() and ((sums - 1).abs() < 1e-3).all()):
        raise ValueError("probabilities: expected rows that are not negative and sum to 1; got others.")
