"""The base class of families of posteriors."""

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

    1. Inherit from `Posterior` in a file of its own. Return the number of the encoder's outputs for each image from
       ``num_parameters``.
    2. Return a distribution with ``event_shape == (latent_dim,)`` from ``forward``. Its batch_shape is the shape of the
       parameters without the last dimension: (batch,), or (classes, batch) if the class is enumerated. It needs
       ``mean`` and ``rsample``, through which the gradient reaches the encoder. The parameters are unbounded: keep
       scales positive and bounded by `ssvae.models.likelihoods.bounded`.
    3. Return the sample that belongs to a given noise from ``transform``.
    4. Override ``mixture`` if the log-density of a mixture can be computed faster than one component after the other,
       and ``example`` if the constructor needs arguments.
    5. Add it to ``models/posteriors/__init__.py``. The tests, ``ssvae fit --help`` and ``--model.posterior`` then
       include it. A package of your own registers it under the entry point group ``ssvae.posteriors``.
    """

    @classmethod
    def example(cls) -> Self:
        """Return an instance for the tests."""
        return cls()

    @abstractmethod
    def num_parameters(self, latent_dim: int) -> int:
        """Return the number of the encoder's outputs for each image.

        Args:
            latent_dim: The dimension of z.

        Returns:
            The size of the last dimension of ``forward``'s argument.
        """

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
        """Return z ~ q(z | ·) as a function of ε ~ N(0, I): the sample of q that belongs to this noise.

        Args:
            q: A distribution returned by ``forward``.
            noise: ε, (..., latent_dim), broadcastable with q's samples.

        Returns:
            z, of the broadcast shape.
        """

    def mixture(self, logits: Tensor, parameters: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """Return Σ_k w_k q_k(z), the w_k proportional to exp(logits_k).

        Args:
            logits: (components,).
            parameters: (components, num_parameters); with y, (classes, components, num_parameters).
            y: Classes of any shape; each class has its own components.

        Returns:
            A distribution with batch_shape () or y's shape, and event_shape (latent_dim,).
        """
        components = self(parameters if y is None else parameters[y])
        weights = dist.Categorical(logits=logits.expand(components.batch_shape))
        return dist.MixtureSameFamily(weights, components)


class AmortizedPosterior(NamedTuple):
    """A model's q(z | x, y), which it gives to priors that mix posteriors, such as `~ssvae.models.priors.VampPrior`.

    Attributes:
        encode: The encoder, a function from images and classes to the family's parameters, (..., num_parameters).
        family: The `Posterior`, which maps these parameters to the distribution.
    """

    encode: Callable[[Tensor, Tensor], Tensor]
    family: Posterior

    def __call__(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """Return q(z | x, y) for images and classes that broadcast with them."""
        return self.family(self.encode(x, y))
