"""Real numbers."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods.base import Likelihood, bounded


class Gaussian(Likelihood):
    """Real numbers: p(x | ·) = Π N(x; μ, σ²), μ from the decoder, one learned σ for all entries of x.

    The squared error of ordinary autoencoders, with a learned weight.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.5))

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Normal(parameters, σ)."""
        return dist.Normal(parameters, bounded(self.log_scale).exp()).to_event(self.event_dim)
