"""p(z) = N(0, I)."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.normal import UnitNormal
from ssvae.models.priors.base import Prior, check_latent_dim


class StandardNormal(Prior):
    """The standard normal prior p(z) = N(0, I): Kingma and Welling 2013, arXiv 1312.6114.

    Example:
        >>> from ssvae.models.priors import StandardNormal
        >>> StandardNormal(latent_dim=2)().sample((1000,)).shape
        torch.Size([1000, 2])

    Args:
        latent_dim: The dimension of z.

    Raises:
        ValueError: If ``latent_dim`` is not positive.
    """

    zero: Tensor

    def __init__(self, latent_dim: int = 50) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        self.latent_dim = latent_dim
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return N(0, I); see `Prior.forward`."""
        return dist.Independent(UnitNormal(self.zero), 1)
