"""Black and white pixels."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods.base import is_channels_last
from ssvae.models.likelihoods.pixels import PixelLikelihood


class _LogBernoulli(torch.autograd.Function):
    """Σ_pixels x l - softplus(l), and its gradient (x - σ(l)).

    If classes are summed over, the logits are by far the largest tensor of a training step, so that every pass over
    them counts. softplus(l) is computed as max(l, 0) - log σ(|l|) instead of by log(1 + e^-|l|): pixels that are always
    black have logits of -20 and below, for which e^-|l| is slow on processors (subnormal numbers).
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, pixels: Tensor, event_dim: int) -> Tensor:  # noqa: ANN401
        context.save_for_backward(logits, pixels)
        context.event_dim = event_dim
        log_prob = logits.abs().sigmoid_().log_().addcmul_(logits, pixels).sub_(logits.clamp(min=0))
        return log_prob.sum(tuple(range(-event_dim, 0)))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        logits, pixels = context.saved_tensors
        gradient = gradient[(..., *[None] * context.event_dim)]
        return (pixels - logits.sigmoid()) * gradient, None, None


def log_bernoulli(logits: Tensor, pixels: Tensor, event_dim: int = 3) -> Tensor:
    """Return Σ_pixels x l - softplus(l), the log-probability of Bernoulli images, in nats.

    Args:
        logits: l, (..., channels, height, width), or (..., features).
        pixels: x in [0, 1], broadcastable with the logits.
        event_dim: The number of dimensions of x: 3 for images, 1 for vectors.

    Returns:
        (...), summed over the dimensions of x.
    """
    if event_dim == 3 and is_channels_last(logits):
        # A pass over two tensors takes several times as long where their pixels lie in different orders.
        logits, pixels = logits.movedim(-3, -1), pixels.movedim(-3, -1).contiguous()
    logits, pixels = torch.broadcast_tensors(logits, pixels)
    return _LogBernoulli.apply(logits, pixels, event_dim)  # type: ignore[no-untyped-call]


class IndependentBernoulli(dist.Independent):
    """Independent Bernoulli pixels, whose log-probability is computed and summed over the pixels in one function."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), summed over the pixels."""
        if self._validate_args:
            self._validate_sample(value)
        return log_bernoulli(self.base_dist.logits, value, self.reinterpreted_batch_ndims)


class Bernoulli(PixelLikelihood):
    """Black and white pixels: p(x | ·) = Π σ(l)^x σ(-l)^(1-x), for x in {0, 1} and the decoder's logits l.

    The likelihood of Kingma et al. 2014, arXiv 1406.5298, for binarised images (a data set with ``binarise=True``).
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters)."""
        return IndependentBernoulli(dist.Bernoulli(logits=parameters), self.event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse pixels that are neither 0 nor 1; see `Likelihood.check`."""
        super().check(x)
        grey = (x != 0) & (x != 1)
        if not grey.any():
            return
        if not self._is_image:
            raise ValueError(f"likelihood: Bernoulli expected features that are 0 or 1; got {x[grey][0]:.3g}.")
        raise ValueError(
            f"likelihood: Bernoulli expected pixels that are 0 or 1; got grey ones such as {x[grey][0]:.3g}. "
            "Binarise the data (binarise=True), or choose the likelihood ContinuousBernoulli."
        )
