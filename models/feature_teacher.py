"""A classifier fitted to features of a frozen encoder snapshot, as a teacher."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvae.models.feature_classifiers import FeatureBank, FeatureClassifier
from ssvae.models.networks import Network


class FeatureTeacher(nn.Module):
    """A classifier c(y; h̄(x)), fitted to features ``h̄(x) = h(x) / |h(x)|`` of a frozen snapshot of a network h.

    The snapshot is needed because the features of h change when h is trained further, and c is fitted to the old ones.

    Args:
        h_encoder: The network h, of which a copy is kept.
        classifier: The options of c.
        feature_dim: The dimension of h(x).
        num_classes: The number of classes.
    """

    def __init__(self, h_encoder: Network, classifier: FeatureClassifier, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.h_encoder = copy.deepcopy(h_encoder).requires_grad_(False)
        self.feature_bank = FeatureBank(classifier, feature_dim, num_classes)

    def train(self, mode: bool = True) -> "FeatureTeacher":
        """Stay in evaluation mode: the snapshot is not trained."""
        return super().train(False)

    def fit(self, h_encoder: Network, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Take a snapshot of h, and fit c to its features of labelled images x, y and of unlabelled ones."""
        self.h_encoder.load_state_dict(h_encoder.state_dict())
        self.feature_bank.keep_features(self._features, x, y, unlabelled)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Return log c(y; h̄(x)), (batch, classes); finite even if c gives a class probability 0."""
        return finite_log(self.feature_bank.probabilities(self._features(x)))

    def _features(self, x: Tensor) -> Tensor:
        return F.normalize(self.h_encoder(x), dim=-1)  # (batch, feature_dim)


def finite_log(probabilities: Tensor) -> Tensor:
    """Return the logarithm; for 0, that of the smallest positive number instead of minus infinity."""
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()


def should_refit(progress: float, fitted_at: tuple[float, ...], num_fits: int) -> bool:
    """Return whether a further share in ``fitted_at`` has passed since c was fitted the ``num_fits``-th time."""
    return sum(progress >= share for share in fitted_at) > num_fits


def check_stages(feature_dim: int, fitted_at: tuple[float, ...]) -> None:
    """Refuse a dimension that is not positive, and shares of training that do not increase.

    Raises:
        ValueError: If either is out of its range.
    """
    if feature_dim < 1:
        raise ValueError(f"feature_dim: expected a positive integer; got {feature_dim}.")
    if not fitted_at or list(fitted_at) != sorted(set(fitted_at)) or not 0 <= fitted_at[0] <= fitted_at[-1] < 1:
        raise ValueError(f"fitted_at: expected increasing shares of training in [0, 1); got {fitted_at}.")
