"""q(z | ·) = N(μ, s² I), s fixed."""

import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.mixture import NormalMixture
from ssvae.models.normal import LogScaleNormal
from ssvae.models.posteriors.base import Posterior


class FixedScaleNormal(Posterior):
    """A Gaussian with a fixed scale: q(z | ·) = N(z; μ, s² I), μ from the encoder.

    The default of `~ssvae.models.GMVAE`, as in Ghosh, Losalka and Black 2019, arXiv 1806.00081.

    Example:
        >>> import torch
        >>> from ssvae.models.posteriors import FixedScaleNormal
        >>> posterior = FixedScaleNormal(scale=0.3)
        >>> posterior(torch.zeros(4, posterior.num_parameters(latent_dim=2))).mean.shape
        torch.Size([4, 2])

    Args:
        scale: s, the standard deviation in every dimension.

    Raises:
        ValueError: If the scale is not positive.
    """

    log_scale: Tensor

    def __init__(self, scale: float = 0.3) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale: expected a positive number; got {scale}.")
        self.scale = scale
        self.register_buffer("log_scale", torch.tensor(math.log(scale)), persistent=False)

    def num_parameters(self, latent_dim: int) -> int:
        """Return latent_dim: μ."""
        return latent_dim

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return N(μ, s² I); see `Posterior.forward`."""
        return dist.Independent(LogScaleNormal(parameters, self.log_scale.expand_as(parameters)), 1)

    def transform(self, q: TorchDistribution, noise: Tensor) -> Tensor:
        """Return μ + s ε; see `Posterior.transform`."""
        return q.mean + self.log_scale.exp() * noise

    def mixture(self, logits: Tensor, parameters: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture, whose log-density is one matrix product; see `Posterior.mixture`."""
        return NormalMixture(logits, parameters if y is None else parameters[y], self.log_scale.exp())
