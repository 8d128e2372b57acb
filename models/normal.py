"""The normal distribution by the logarithm of its scale, which is what networks give."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class LogScaleNormal(dist.Normal):
    """N(loc, exp(log_scale)²): log p(z) = -½ ((z - loc) / scale)² - log_scale - ½ log 2π.

    The logarithm is not taken back from the scale, and z meets half as many passes as in `Normal`; with y
    enumerated, z is (classes, batch, latent).

    Args:
        loc: The mean.
        log_scale: The logarithm of the standard deviation, of loc's shape.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, validate_args: bool | None = None) -> None:
        self.log_scale = log_scale
        super().__init__(loc, log_scale.exp(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LogScaleNormal":  # noqa: ANN401
        """Return the same distribution with leading dimensions broadcast."""
        return LogScaleNormal(self.loc.expand(batch_shape), self.log_scale.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        if self._validate_args:
            self._validate_sample(value)
        standardised = (value - self.loc) / self.scale
        return -_HALF_LOG_TWO_PI - torch.addcmul(self.log_scale, standardised, standardised, value=0.5)
