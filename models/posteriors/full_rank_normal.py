"""q(z | ·) = N(μ, T Tᵀ)."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods import bounded
from ssvae.models.normal import HALF_LOG_TWO_PI
from ssvae.models.posteriors.base import Posterior


class _TriangularNormal(dist.MultivariateNormal):
    """N(μ, T Tᵀ) that stores the noise of its last sample, whose density then needs no triangular solve.

    The noise is drawn without torch's check of its scale, for which a GPU would have to wait.
    """

    _drawn: tuple[Tensor, Tensor] | None = None

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        z = _transform(self, noise)
        self._drawn = z, noise
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is None or value is not self._drawn[0]:
            log_prob: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]
            return log_prob
        if self._validate_args:
            self._validate_sample(value)
        noise = self._drawn[1]
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * noise.square().sum(-1) - log_det - HALF_LOG_TWO_PI * noise.shape[-1]


def _transform(q: TorchDistribution, noise: Tensor) -> Tensor:
    """Return μ + T ε."""
    z: Tensor = q.loc + (q.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return z


class FullRankNormal(Posterior):
    """A Gaussian with a full covariance: q(z | ·) = N(z; μ, T Tᵀ), T lower triangular.

    Kingma and Welling 2019, arXiv 1906.02691, section 2.5.1::

        z = μ + T ε,    ε ~ N(0, I),    log q(z | ·) = log N(ε; 0, I) - Σ_j log T_jj

    The encoder outputs μ, log T_jj, bounded to (-6, 6), and the entries below the diagonal, row by row. If these are 0
    it is `DiagonalNormal`. Latent dimensions that explain the same pixels are correlated given the image; a diagonal
    Gaussian cannot represent this. The number of parameters is L (L + 3) / 2 for each image, with L = ``latent_dim``:
    suitable for tens of dimensions, not for hundreds.

    Example:
        >>> from ssvae.models import M2, posteriors, priors
        >>> m2 = M2((1, 8, 8), 10, prior=priors.StandardNormal(5), posterior=posteriors.FullRankNormal())
        >>> m2.posterior.num_parameters(latent_dim=5)
        20
    """

    def num_parameters(self, latent_dim: int) -> int:
        """Return latent_dim (latent_dim + 3) / 2: μ, log T_jj, and T's entries below the diagonal."""
        return latent_dim * (latent_dim + 3) // 2

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return N(μ, T Tᵀ); see `Posterior.forward`."""
        latent_dim = (math.isqrt(9 + 8 * parameters.shape[-1]) - 3) // 2  # of L (L + 3) / 2 numbers
        loc, log_diagonal, below = parameters.split(
            [latent_dim, latent_dim, latent_dim * (latent_dim - 1) // 2], dim=-1
        )
        triangle = torch.diag_embed(bounded(log_diagonal).exp())
        rows, columns = torch.tril_indices(latent_dim, latent_dim, offset=-1, device=parameters.device)
        triangle[..., rows, columns] = below
        return _TriangularNormal(loc, scale_tril=triangle)

    def transform(self, q: TorchDistribution, noise: Tensor) -> Tensor:
        """Return μ + T ε; see `Posterior.transform`."""
        return _transform(q, noise)
