"""Counts whose variance is their mean."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods.counts import CountLikelihood, bounded_log_mean


class Poisson(CountLikelihood):
    """Counts whose variance is their mean: p(x | ·) = Π λ^x e^-λ / x!, log λ from the decoder.

    log λ is bounded to (-12, 12), close to the identity near zero: λ is below 160,000. As for counts in Nazábal et al.
    2020, "Handling incomplete heterogeneous data using VAEs", arXiv 1807.03653, whose rate is a softplus.
    """

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Poisson(λ)."""
        return dist.Poisson(bounded_log_mean(parameters).exp()).to_event(self.event_dim)
