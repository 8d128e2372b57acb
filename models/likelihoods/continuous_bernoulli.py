"""Grey or colour pixels in [0, 1]: binary cross-entropy with its normaliser."""

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ssvae.models.likelihoods.base import is_channels_last
from ssvae.models.likelihoods.pixels import PixelLikelihood

_NEAR_ZERO = 0.02
"""Logits for which quotients such as l / tanh(l / 2) are replaced by their series."""


class _LogContinuousBernoulli(torch.autograd.Function):
    """Σ_pixels x l + log(l / (e^l - 1)), and its gradient x - E[x], in a third of the passes of `_ContinuousBernoulli`.

    log(l / (e^l - 1)) = log C(l) - softplus(l) is computed as log(|l| / (1 - e^-|l|)) - max(l, 0), where nothing
    overflows or cancels.
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, pixels: Tensor) -> Tensor:  # noqa: ANN401
        context.save_for_backward(logits, pixels)
        # At l = 0 the quotient is 0 / 0; at the smallest number it is 1, its limit.
        negative = logits.abs().neg_().clamp_(max=-torch.finfo(logits.dtype).tiny)
        log_prob = negative.div_(negative.expm1()).log_().addcmul_(logits, pixels).sub_(logits.clamp(min=0))
        return log_prob.sum((-3, -2, -1))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        logits, pixels = context.saved_tensors
        gradient = gradient[..., None, None, None]
        # E[x] - 1/2, whose two terms cancel near zero.
        mean = torch.where(logits.abs() < _NEAR_ZERO, logits / 12, 0.5 / torch.tanh(logits / 2) - 1 / logits)
        of_pixels = logits * gradient if context.needs_input_grad[1] else None
        return ((pixels - 0.5) - mean) * gradient, of_pixels


class _ContinuousBernoulli(TorchDistribution):
    """The continuous Bernoulli, parametrised by logits: exact where the usual form, by probabilities, saturates.

    log p(x) = x l - softplus(l) + log C(l),    C(l) = l / tanh(l / 2),    C(0) = 2.
    """

    arg_constraints: ClassVar = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_ContinuousBernoulli":  # noqa: ANN401
        return _ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    def _away_from_zero(self) -> tuple[Tensor, Tensor]:
        """Return a mask of the l near zero, and l with ones in their place.

        Quotients such as l / tanh(l / 2) are 0 / 0 at zero, in value and gradient. Near zero their series, such as
        2 + l² / 6, is used instead.
        """
        near_zero = self.logits.abs() < _NEAR_ZERO
        return near_zero, torch.where(near_zero, torch.ones_like(self.logits), self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        near_zero, far = self._away_from_zero()
        log_normaliser = torch.where(
            near_zero,
            math.log(2) + self.logits.square() / 12,
            (far / torch.tanh(far / 2)).log(),
        )
        return value * self.logits - F.softplus(self.logits) + log_normaliser

    @property
    def mean(self) -> Tensor:
        """σ(l) / (2 σ(l) - 1) + 1 / (2 artanh(1 - 2 σ(l))) = 1/2 + (coth(l / 2) - 2 / l) / 2."""
        near_zero, far = self._away_from_zero()
        return 0.5 + torch.where(near_zero, self.logits / 12, (1 / torch.tanh(far / 2) - 2 / far) / 2)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        shape = self._extended_shape(sample_shape)
        uniform = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        near_zero, far = self._away_from_zero()
        # Invert F(x) = (e^(l x) - 1) / (e^l - 1), by symmetry always for l < 0, where nothing overflows.
        quantile = torch.where(far > 0, 1 - uniform, uniform)
        x = torch.log1p(quantile * torch.expm1(-far.abs())) / -far.abs()
        x = torch.where(far > 0, 1 - x, x)
        return torch.where(near_zero, uniform, x).clamp(0, 1)


class _IndependentContinuousBernoulli(dist.Independent):
    """Independent continuous Bernoulli pixels.

    Colour logits of convolutional decoders are scored in fewer passes. Others keep the pixels' own expression, so that
    runs of dense networks stay the same to the last bit.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), summed over the pixels."""
        logits = self.base_dist.logits
        if self.reinterpreted_batch_ndims != 3 or not is_channels_last(logits):
            return super().log_prob(value)  # type: ignore[no-untyped-call]
        if self._validate_args:
            self._validate_sample(value)
        pixels = value.movedim(-3, -1).contiguous()
        logits, pixels = torch.broadcast_tensors(logits.movedim(-3, -1), pixels)
        return _LogContinuousBernoulli.apply(logits, pixels)  # type: ignore[no-untyped-call]


class ContinuousBernoulli(PixelLikelihood):
    """Grey or colour pixels in [0, 1]: p(x | ·) = Π C(l) σ(l)^x σ(-l)^(1-x), C the normaliser.

    l are the decoder's logits and C(l) = l / tanh(l / 2). Without C it is the common "binary cross-entropy on grey
    pixels", which is not a density. Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders", arXiv 1907.06845.

    Where a pixel is exactly 0 or 1, the density grows without limit as l does. If many are, as with a black or white
    background, log p(x | y, z) differs between classes by so much that it may outweigh the labels; `ExpectedBernoulli`
    is at most 0 there.
    """

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the continuous Bernoulli with logits=parameters."""
        return _IndependentContinuousBernoulli(_ContinuousBernoulli(parameters), self.event_dim)
