"""The base class of likelihoods."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.part import Part

PIXEL_LEVELS = 256
"""The number of grey levels of an 8-bit pixel."""


def bounded(log_scale: Tensor, bound: float = 6.0) -> Tensor:
    """Return bound · tanh(log_scale / bound), which is close to the identity near zero.

    Args:
        log_scale: Real numbers of any shape.
        bound: The bound, positive.

    Returns:
        Numbers in (-bound, bound), of the same shape.
    """
    return bound * torch.tanh(log_scale / bound)


def is_channels_last(images: Tensor) -> bool:
    """Return whether a pixel's channels lie side by side in memory, as convolutional decoders leave colour images.

    Args:
        images: (..., channels, height, width).
    """
    return images.movedim(-3, -1).is_contiguous() and not images.is_contiguous()


class Likelihood(Part, nn.Module, ABC):
    """The distribution p(x | ·) of an image, given the decoder's output.

    A likelihood is a module whose ``forward(parameters)`` returns a Pyro distribution with
    ``event_shape == (channels, height, width)``. To write a likelihood:

    1. Inherit from `Likelihood` in a file of its own. Set ``parameters_per_pixel`` and ``is_discrete``.
    2. Return the distribution from ``forward``.
    3. Refuse pixels without a density in ``check``, if there are any in [0, 1].
    4. Add it to ``models/likelihoods/__init__.py``. The tests, ``ssvae fit --help`` and ``--model.likelihood`` then
       include it. A package of your own registers it under the entry point group ``ssvae.likelihoods``.

    Example:
        >>> import torch
        >>> from ssvae.models.likelihoods import Bernoulli
        >>> p_x = Bernoulli()(torch.zeros(4, 1, 8, 8))  # logits
        >>> p_x.batch_shape, p_x.event_shape
        (torch.Size([4]), torch.Size([1, 8, 8]))

    Attributes:
        parameters_per_pixel: The number of the decoder's outputs for each pixel and channel.
        is_discrete: Whether log p(x) is the logarithm of a probability instead of a density on [0, 1]. Bits per
            dimension of a density are corrected for the width of a grey level.
    """

    parameters_per_pixel: int = 1
    is_discrete: bool = False

    @classmethod
    def example(cls) -> Self:
        """Return an instance for the tests; override it if the constructor needs arguments."""
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
        """Refuse pixels outside the support, before training.

        Args:
            pixels: Any number of the pixels that the model will be trained on, of any shape.

        Raises:
            ValueError: If a pixel lies outside the support.
        """
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(f"pixels: expected values in [0, 1]; got values in [{low:.4g}, {high:.4g}].")
