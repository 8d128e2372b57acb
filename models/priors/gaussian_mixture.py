"""p(z) = Σ_k w_k N(z; μ_k, diag σ_k²)."""

from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods import bounded
from ssvae.models.mixture import NormalMixture
from ssvae.models.priors.base import Prior, check_components, check_latent_dim


class GaussianMixture(Prior):
    """A mixture of Gaussians with learned weights, means and scales: p(z) = Σ_k w_k N(z; μ_k, diag σ_k²).

    Dilokthanakul et al. 2016, arXiv 1611.02648, and Jiang et al. 2017 (VaDE), arXiv 1611.05148, use it for clustering.

    Args:
        latent_dim: The dimension of z.
        num_components: The number of Gaussians.

    Raises:
        ValueError: If ``latent_dim`` or ``num_components`` is not positive.
    """

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance; see `Prior.example`."""
        return cls(latent_dim, num_components=4)

    def __init__(self, latent_dim: int = 50, num_components: int = 10) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_components(num_components)
        self.latent_dim = latent_dim
        self.num_components = num_components
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_components, latent_dim))

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture; see `Prior.forward`."""
        return NormalMixture(self.logits, self.loc, bounded(self.log_scale).exp())
