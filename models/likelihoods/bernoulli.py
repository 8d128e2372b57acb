"""Black and white pixels."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood, is_channels_last


class _LogBernoulli(torch.autograd.Function):
    """Σ_pixels x l - softplus(l), and its gradient (x - σ(l)).

    If classes are summed over, the logits are by far the largest tensor of a training step, so that every pass over
    them counts. softplus(l) is computed as max(l, 0) - log σ(|l|) instead of by log(1 + e^-|l|): pixels that are always
    black have logits of -20 and below, for which e^-|l| is slow on processors (subnormal numbers).
    """

    @staticmethod
    def forward(context: Any, logits: Tensor, pixels: Tensor) -> Tensor:  # noqa: ANN401
        context.save_for_backward(logits, pixels)
        log_prob = logits.abs().sigmoid_().log_().addcmul_(logits, pixels).sub_(logits.clamp(min=0))
        return log_prob.sum((-3, -2, -1))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        logits, pixels = context.saved_tensors
        return (pixels - logits.sigmoid()) * gradient[..., None, None, None], None


def log_bernoulli(logits: Tensor, pixels: Tensor) -> Tensor:
    """Return Σ_pixels x l - softplus(l), the log-probability of Bernoulli images, in nats.

    Args:
        logits: l, (..., channels, height, width).
        pixels: x in [0, 1], broadcastable with the logits.

    Returns:
        (...), summed over channels, height and width.
    """
    if is_channels_last(logits):
        # A pass over two tensors takes several times as long where their pixels lie in different orders.
        logits, pixels = logits.movedim(-3, -1), pixels.movedim(-3, -1).contiguous()
    logits, pixels = torch.broadcast_tensors(logits, pixels)
    return _LogBernoulli.apply(logits, pixels)  # type: ignore[no-untyped-call]


class BernoulliImages(dist.Independent):
    """Independent Bernoulli pixels, whose log-probability is computed and summed over the pixels in one function."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x), summed over the pixels."""
        if self._validate_args:
            self._validate_sample(value)
        return log_bernoulli(self.base_dist.logits, value)


class Bernoulli(Likelihood):
    """Black and white pixels: p(x | ·) = Π σ(l)^x σ(-l)^(1-x), for x in {0, 1} and the decoder's logits l.

    The likelihood of Kingma et al. 2014, arXiv 1406.5298, for binarised images (a data set with ``binarise=True``).
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters)."""
        return BernoulliImages(dist.Bernoulli(logits=parameters), 3)

    def check(self, pixels: Tensor) -> None:
        """Refuse pixels that are neither 0 nor 1; see `Likelihood.check`."""
        super().check(pixels)
        grey = (pixels != 0) & (pixels != 1)
        if grey.any():
            raise ValueError(
                f"likelihood: Bernoulli expected pixels that are 0 or 1; got grey ones such as {pixels[grey][0]:.3g}. "
                "Binarise the data (binarise=True), or choose the likelihood ContinuousBernoulli."
            )
