"""Real numbers."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods.base import Likelihood, bounded, for_each_entry


class Gaussian(Likelihood):
    """Real numbers: p(x | ·) = Π N(x; μ, σ²), μ from the decoder, one learned σ for all entries of x, or one for each.

    The squared error of ordinary autoencoders, with a learned weight.

    Args:
        per_feature: Whether each entry of x has a scale of its own. It suits features of different units.
    """

    def __init__(self, per_feature: bool = False) -> None:
        super().__init__()
        self.per_feature = per_feature
        self.log_scale = nn.Parameter(torch.tensor(-1.5))

    def set_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Set the shape of x, and make a scale for each entry if ``per_feature``; see `Likelihood.set_event_shape`."""
        super().set_event_shape(event_shape)
        if self.per_feature:
            self.log_scale = for_each_entry(self.log_scale, event_shape)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Normal(parameters, σ)."""
        return dist.Normal(parameters, bounded(self.log_scale).exp()).to_event(self.event_dim)
