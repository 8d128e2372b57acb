"""Real numbers with outliers."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods.base import Likelihood, bounded, for_each_entry


class StudentT(Likelihood):
    """Real numbers with outliers: p(x | ·) = Π t_ν((x - μ) / σ) / σ, μ from the decoder, σ and ν learned.

    The tails fall like ``|x|^-(ν + 1)``: an outlier costs about (ν + 1) log ``|x - μ|`` instead of a square. ν, the
    degrees of freedom, is 2 + e^a > 2, so that the mean μ and the variance σ² ν / (ν - 2) exist. Takahashi et al. 2018,
    "Student-t variational autoencoder for robust density estimation".

    Args:
        per_feature: Whether each entry of x has a scale and degrees of freedom of its own.
    """

    def __init__(self, per_feature: bool = False) -> None:
        super().__init__()
        self.per_feature = per_feature
        self.log_scale = nn.Parameter(torch.tensor(-1.5))
        # log(ν - 2): ν is about 5 at first.
        self.log_excess = nn.Parameter(torch.tensor(1.0))

    def set_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Set the shape of x, and make σ and ν for each entry if ``per_feature``; see `Likelihood.set_event_shape`."""
        super().set_event_shape(event_shape)
        if self.per_feature:
            self.log_scale = for_each_entry(self.log_scale, event_shape)
            self.log_excess = for_each_entry(self.log_excess, event_shape)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return StudentT(ν, parameters, σ)."""
        degrees = 2 + bounded(self.log_excess).exp()
        return dist.StudentT(degrees, parameters, bounded(self.log_scale).exp()).to_event(self.event_dim)
