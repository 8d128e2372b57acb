"""8-bit pixels, with a probability for each of the 256 levels."""

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ssvae.models.likelihoods.base import PIXEL_LEVELS, bounded
from ssvae.models.likelihoods.pixels import PixelLikelihood

_PIXELS_AT_ONCE = 4096


class _DiscretizedLogistic(TorchDistribution):
    """A logistic distribution, discretised to the 256 grey levels k / 255; the tails belong to the outer two levels."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_DiscretizedLogistic":  # noqa: ANN401
        return _DiscretizedLogistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 / (PIXEL_LEVELS - 1)
        above = (value - self.loc + half) / self.scale
        below = (value - self.loc - half) / self.scale
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)): without the difference of two nearly equal numbers.
        width = 2 * half / self.scale
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-width))
        lowest, highest = value < half, value > 1 - half
        return torch.where(lowest, F.logsigmoid(above), torch.where(highest, F.logsigmoid(-below), inside))

    @property
    def mean(self) -> Tensor:
        """Σ_k P(x >= k / 255) / 255, k = 1 … 255, where P(x >= k / 255) = σ((μ - (k - 1/2) / 255) / s).

        Computed in chunks, and again in the backward pass: each pixel needs 255 numbers.
        """
        chunks = zip(
            self.loc.flatten().split(_PIXELS_AT_ONCE), self.scale.flatten().split(_PIXELS_AT_ONCE), strict=True
        )
        means = [checkpoint(_mean, loc, scale, use_reentrant=False, preserve_rng_state=False) for loc, scale in chunks]
        return torch.cat(means).view(self.loc.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            logistic = self.loc + self.scale * torch.logit(uniform, eps=1e-7)
            return (logistic.clamp(0, 1) * (PIXEL_LEVELS - 1)).round() / (PIXEL_LEVELS - 1)


def _mean(loc: Tensor, scale: Tensor) -> Tensor:
    """Return the mean of each discretised logistic, (pixels,)."""
    levels = torch.arange(1, PIXEL_LEVELS, dtype=loc.dtype, device=loc.device)
    rate = scale.reciprocal()
    reached = torch.addcmul((loc * rate).unsqueeze(-1), rate.unsqueeze(-1), (0.5 - levels) / (PIXEL_LEVELS - 1))
    return reached.sigmoid_().mean(-1)


class DiscretizedLogistic(PixelLikelihood):
    """8-bit pixels: P(x = k / 255 | ·) = σ((x + 1/510 - μ) / s) - σ((x - 1/510 - μ) / s), tails at both ends.

    The decoder outputs the location μ and the scale s of every pixel and channel. The 256 probabilities sum to one, so
    that bits per dimension need no correction. Kingma et al. 2016, "Improving variational inference with inverse
    autoregressive flow", arXiv 1606.04934.
    """

    parameters_per_entry = 2
    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the discretised logistic; the first half of the channels are locations, the second log-scales."""
        loc, log_scale = parameters.chunk(2, dim=-self.event_dim)
        # Decoder outputs of zero give the middle of the range and a scale of about a tenth of it.
        return dist.Independent(_DiscretizedLogistic(loc + 0.5, bounded(log_scale - 2).exp()), self.event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse pixels that are not one of the 256 levels k / 255; see `Likelihood.check`."""
        super().check(x)
        levels = x * (PIXEL_LEVELS - 1)
        between = (levels - levels.round()).abs() > 1e-3
        if between.any():
            raise ValueError(
                f"likelihood: DiscretizedLogistic expected 8-bit pixels, multiples of 1/255; got {x[between][0]:.6g}."
            )
