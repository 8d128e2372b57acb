"""Likelihoods p(x | ·): a decoder's output in, the distribution of an image out.

A likelihood is a module whose `forward(parameters)` returns a Pyro distribution with
``event_shape == (channels, height, width)``. To write one: inherit from `Likelihood`, say how many parameters a
pixel takes, return the distribution from `forward`, and say in `check` which pixels have a density. To keep it, add it
to ``__all__``: the tests, `ssvae fit --help` and ``--model.likelihood`` take it from there; a package of your own
registers it by the entry point group ``ssvae.likelihoods``.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.part import Part

__all__ = ["Bernoulli", "ContinuousBernoulli", "DiscretizedLogistic", "ExpectedBernoulli", "Gaussian", "Likelihood"]

PIXEL_LEVELS = 256
_PIXELS_AT_ONCE = 4096


def bounded(log_scale: Tensor, bound: float = 6.0) -> Tensor:
    """Keep a log-scale within (-bound, bound): bound · tanh(log_scale / bound), the identity near zero."""
    return bound * torch.tanh(log_scale / bound)


class Likelihood(Part, nn.Module, ABC):
    """The distribution of an image given the decoder's output.

    Attributes:
        parameters_per_pixel: How many numbers the decoder gives for each pixel and channel.
        is_discrete: Whether log p(x) is the logarithm of a probability (bits per dimension then need no
            correction for the size of a grey level) rather than of a density on [0, 1].
    """

    parameters_per_pixel: int = 1
    is_discrete: bool = False

    @classmethod
    def example(cls) -> Self:
        """Return one for the tests; say here what the constructor needs."""
        return cls()

    @abstractmethod
    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return p(x | ·).

        Args:
            parameters: (..., parameters_per_pixel · channels, height, width), the decoder's output.

        Returns:
            A distribution with event_shape (channels, height, width).
        """

    def check(self, pixels: Tensor) -> None:
        """Refuse pixels that have no density here, in one sentence, before any training.

        Args:
            pixels: Any number of pixels as the model will see them.

        Raises:
            ValueError: If a pixel lies outside the support.
        """
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(f"pixels: expected values in [0, 1]; got values in [{low:.4g}, {high:.4g}].")


class _LogBernoulli(torch.autograd.Function):
    """Σ_pixels x l - softplus(l), and its gradient (x - σ(l)).

    With the classes summed over, the logits are by far the largest tensor of a training step, so that every pass over
    them counts. softplus(l) = max(l, 0) - log σ(|l|) without the common log(1 + e^-|l|): pixels that are always black
    have logits of -20 and below, whose e^-|l| takes a processor's slow path of numbers near the smallest there are.
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
    """Return Σ_pixels x l - softplus(l), the log-density of Bernoulli images, in nats.

    Args:
        logits: l, (..., channels, height, width).
        pixels: x, broadcastable with the logits.

    Returns:
        (...), summed over channels, height and width.
    """
    logits, pixels = torch.broadcast_tensors(logits, pixels)
    return _LogBernoulli.apply(logits, pixels)  # type: ignore[no-untyped-call]


class _BernoulliImages(dist.Independent):
    """Independent Bernoulli pixels, whose log-density is summed over the pixels as it is computed."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return log_bernoulli(self.base_dist.logits, value)


class Bernoulli(Likelihood):
    """Black and white pixels: p(x | ·) = Π σ(l)^x σ(-l)^(1-x), for x in {0, 1} and the decoder's logits l.

    The pixel model of Kingma et al. 2014 (arXiv 1406.5298), for images that are binarised (``binarise=True``).
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters)."""
        return _BernoulliImages(dist.Bernoulli(logits=parameters), 3)

    def check(self, pixels: Tensor) -> None:
        """Refuse pixels that are neither 0 nor 1; see `Likelihood.check`."""
        super().check(pixels)
        grey = (pixels != 0) & (pixels != 1)
        if grey.any():
            raise ValueError(
                f"likelihood: Bernoulli expected pixels that are 0 or 1; got grey ones such as {pixels[grey][0]:.3g}. "
                "Binarise the data (binarise=True), or choose the likelihood ContinuousBernoulli."
            )


class _ExpectedBernoulliImages(_BernoulliImages):
    """Its log-density takes pixels in [0, 1], each the probability of a one."""

    support = constraints.independent(constraints.unit_interval, 3)


class ExpectedBernoulli(Likelihood):
    """Black and white pixels b whose probabilities x are seen: the mean over them of `Bernoulli`'s log p(b | ·).

        E_{b ~ Bernoulli(x)} log p(b | ·) = Σ x log σ(l) + (1 - x) log σ(-l),    x in [0, 1]

    Dynamic binarisation (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks") without
    its noise: the story is of black and white images, while guide and classifier see the image in grey that they are
    drawn from. L and U are bounds of the mean of log p(b) over the draws, and so is what importance sampling finds,

        log ∫ p(z) exp( E_b log p(b | z) ) dz  <=  E_b log ∫ p(z) p(b | z) dz,

    by Jensen's inequality. Of pixels that are 0 or 1 it is `Bernoulli`; of grey ones it is no density.
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters), whose log-density is the mean over what is drawn from the pixels."""
        return _ExpectedBernoulliImages(dist.Bernoulli(logits=parameters), 3)


class _ContinuousBernoulli(TorchDistribution):
    """The continuous Bernoulli by its logits, exact where the common form by probabilities saturates.

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
        """Return where l is nearly zero, and l with ones there.

        Quotients such as l / tanh(l / 2) are 0 / 0 at zero, in value and gradient; their series, 2 + l² / 6, are not.
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
        # Invert F(x) = (e^(l x) - 1) / (e^l - 1); by symmetry only for l < 0, where nothing overflows.
        quantile = torch.where(far > 0, 1 - uniform, uniform)
        x = torch.log1p(quantile * torch.expm1(-far.abs())) / -far.abs()
        x = torch.where(far > 0, 1 - x, x)
        return torch.where(near_zero, uniform, x).clamp(0, 1)


class ContinuousBernoulli(Likelihood):
    """Grey or colour pixels in [0, 1]: p(x | ·) = Π C(l) σ(l)^x σ(-l)^(1-x), C the normaliser.

    The density that "binary cross-entropy on grey pixels" leaves out the normaliser of: Loaiza-Ganem and
    Cunningham 2019, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders",
    arXiv 1907.06845.
    """

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the continuous Bernoulli with logits=parameters."""
        return dist.Independent(_ContinuousBernoulli(parameters), 3)


class Gaussian(Likelihood):
    """Pixels as real numbers: p(x | ·) = N(x; μ, σ²), μ from the decoder, one learned σ for all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.5))

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Normal(parameters, σ)."""
        return dist.Normal(parameters, bounded(self.log_scale).exp()).to_event(3)


class _DiscretizedLogistic(TorchDistribution):
    """A logistic distribution collected into the 256 grey levels k / 255; the outer two take the tails."""

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
        # σ(b) - σ(a) = σ(b) σ(-a) (1 - e^(a - b)): no difference of two numbers that are nearly the same.
        width = 2 * half / self.scale
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-width))
        lowest, highest = value < half, value > 1 - half
        return torch.where(lowest, F.logsigmoid(above), torch.where(highest, F.logsigmoid(-below), inside))

    @property
    def mean(self) -> Tensor:
        """Σ_k P(x >= k / 255) / 255, k = 1 … 255, where P(x >= k / 255) = σ((μ - (k - 1/2) / 255) / s).

        A few pixels at a time, which the backward pass computes anew: 255 numbers for each are many.
        """
        pixels = zip(
            self.loc.flatten().split(_PIXELS_AT_ONCE), self.scale.flatten().split(_PIXELS_AT_ONCE), strict=True
        )
        means = [checkpoint(_mean, *of, use_reentrant=False, preserve_rng_state=False) for of in pixels]
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


class DiscretizedLogistic(Likelihood):
    """8-bit pixels: P(x = k / 255 | ·) = σ((x + 1/510 - μ) / s) - σ((x - 1/510 - μ) / s), tails at the ends.

    Location μ and scale s of every pixel and channel come from the decoder. The 256 probabilities sum to one,
    so that -log p(x) is a number of nats, and bits per dimension need no correction. Kingma et al. 2016,
    "Improving variational inference with inverse autoregressive flow", arXiv 1606.04934.
    """

    parameters_per_pixel = 2
    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the discretised logistic; the first half of the channels are locations, the second log-scales."""
        loc, log_scale = parameters.chunk(2, dim=-3)
        # Zero outputs mean the middle of the range and a scale of about a tenth of it.
        return dist.Independent(_DiscretizedLogistic(loc + 0.5, bounded(log_scale - 2).exp()), 3)

    def check(self, pixels: Tensor) -> None:
        """Refuse pixels that are not one of the 256 levels k / 255; see `Likelihood.check`."""
        super().check(pixels)
        levels = pixels * (PIXEL_LEVELS - 1)
        between = (levels - levels.round()).abs() > 1e-3
        if between.any():
            raise ValueError(
                "likelihood: DiscretizedLogistic expected 8-bit pixels, multiples of 1/255; "
                f"got {pixels[between][0]:.6g}."
            )
