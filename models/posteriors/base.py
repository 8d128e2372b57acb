"""What a family of posteriors is, and how to write one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.part import Part


class Posterior(Part, nn.Module, ABC):
    """The family of q(z | x, y): a module from the encoder's output to a distribution over z.

    To write a posterior:

    1. Inherit from `Posterior` in a file of its own. Say in `num_parameters` how many numbers it takes for each image.
    2. Return from `forward` a distribution with ``event_shape == (latent_dim,)`` whose batch_shape is that of the
       numbers but the last: (batch,), or (classes, batch) where the class is enumerated. It has a `mean` and `rsample`,
       through which the gradient reaches the encoder. The encoder's numbers are any real ones: keep scales positive
       and bounded by `ssvae.models.likelihoods.bounded`.
    3. Return from `transform` what that distribution draws for a given noise.
    4. Write `mixture` too, if many components are scored faster than one by one, and `example`, if the constructor
       needs arguments.
    5. Add it to ``models/posteriors/__init__.py``. The tests, `ssvae fit --help` and ``--model.posterior`` take it from
       there; a package of your own registers it by the entry point group ``ssvae.posteriors``.
    """

    @classmethod
    def example(cls) -> Self:
        """Return a small one, for the tests."""
        return cls()

    @abstractmethod
    def num_parameters(self, latent_dim: int) -> int:
        """Return how many numbers the encoder gives for each image, for z in so many dimensions."""

    @abstractmethod
    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return q(z | ·).

        Args:
            parameters: (..., num_parameters), the encoder's output.

        Returns:
            A distribution with batch_shape (...) and event_shape (latent_dim,).
        """

    @abstractmethod
    def transform(self, q: TorchDistribution, noise: Tensor) -> Tensor:
        """Return z ~ q(z | ·) as a function of ε ~ N(0, I): the z that q draws for this ε.

        Args:
            q: What `forward` returned.
            noise: ε, (..., latent_dim), broadcastable with q's samples.
        """

    def mixture(self, logits: Tensor, parameters: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Return Σ_k w_k q_k(z), the w_k proportional to exp(logits_k).

        Args:
            logits: (components,).
            parameters: (components, num_parameters); with y, (classes, components, num_parameters).
            y: Classes of any shape, each with components of its own.

        Returns:
            A distribution with batch_shape () or y's shape, and event_shape (latent_dim,).
        """
        components = self(parameters if y is None else parameters[y])
        weights = dist.Categorical(logits=logits.expand(components.batch_shape))
        return dist.MixtureSameFamily(weights, components)


class AmortizedPosterior(NamedTuple):
    """q(z | x, y) of a model, as priors see it that are made of posteriors.

    Attributes:
        encode: The encoder: from images and classes to the family's parameters, (..., num_parameters).
        family: From these to the distribution.
    """

    encode: Callable[[Tensor, Tensor], Tensor]
    family: Posterior

    def __call__(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """Return q(z | x, y) for images and classes that broadcast with them."""
        return self.family(self.encode(x, y))
