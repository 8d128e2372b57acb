"""Grey or colour pixels in [0, 1]: binary cross-entropy with its normaliser."""

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood


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
        near_zero = self.logits.abs() < 0.02
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


class ContinuousBernoulli(Likelihood):
    """Grey or colour pixels in [0, 1]: p(x | ·) = Π C(l) σ(l)^x σ(-l)^(1-x), C the normaliser.

    l are the decoder's logits and C(l) = l / tanh(l / 2). Without C it is the common "binary cross-entropy on grey
    pixels", which is not a density. Loaiza-Ganem and Cunningham 2019, "The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders", arXiv 1907.06845.
    """

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the continuous Bernoulli with logits=parameters."""
        return dist.Independent(_ContinuousBernoulli(parameters), 3)
