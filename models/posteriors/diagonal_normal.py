"""q(z | ·) = N(μ, diag σ²)."""

from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods import bounded
from ssvae.models.mixture import NormalMixture
from ssvae.models.normal import diagonal_normal
from ssvae.models.posteriors.base import Posterior


class DiagonalNormal(Posterior):
    """A Gaussian with a diagonal covariance: q(z | ·) = N(z; μ, diag σ²), μ and log σ from the encoder.

    Kingma and Welling 2013, arXiv 1312.6114. log σ is bounded to (-6, 6).

    Example:
        >>> import torch
        >>> from ssvae.models.posteriors import DiagonalNormal
        >>> posterior = DiagonalNormal()
        >>> q = posterior(torch.zeros(4, posterior.num_parameters(latent_dim=2)))
        >>> q.batch_shape, q.event_shape
        (torch.Size([4]), torch.Size([2]))
    """

    def num_parameters(self, latent_dim: int) -> int:
        """Return 2 · latent_dim: μ, then log σ."""
        return 2 * latent_dim

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return N(μ, diag σ²); see `Posterior.forward`."""
        return diagonal_normal(parameters)

    def transform(self, q: TorchDistribution, noise: Tensor) -> Tensor:
        """Return μ + σ ε; see `Posterior.transform`."""
        return q.base_dist.loc + q.base_dist.scale * noise

    def mixture(self, logits: Tensor, parameters: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture, whose log-density is one matrix product; see `Posterior.mixture`."""
        loc, log_scale = parameters.chunk(2, dim=-1)
        scale = bounded(log_scale).exp()  # before the lookup by y, which repeats the parameters
        return NormalMixture(logits, loc, scale) if y is None else NormalMixture(logits, loc[y], scale[y])
