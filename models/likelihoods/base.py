"""Likelihoods p(x | ·): a decoder's output in, the distribution of an image out.

A likelihood is a module whose `forward(parameters)` returns a Pyro distribution with
``event_shape == (channels, height, width)``. To write one: inherit from `Likelihood`, say how many parameters a
pixel takes, return the distribution from `forward`, and say in `check` which pixels have a density. To keep it, add it
to ``__all__``: the tests, `ssvae fit --help` and ``--model.likelihood`` take it from there; a package of your own
registers it by the entry point group ``ssvae.likelihoods``.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.part import Part

PIXEL_LEVELS = 256


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
