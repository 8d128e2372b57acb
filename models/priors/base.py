"""The base class of priors."""

import math
from abc import ABC, abstractmethod
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.part import Part
from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.classes import ClassPrior


class Prior(Part, nn.Module, ABC):
    """A prior p(z) or p(z | y): a module whose ``forward(y=None)`` returns a Pyro distribution.

    To write a prior:

    1. Inherit from `Prior` in a file of its own. Take ``latent_dim``. Keep every constructor argument as an attribute
       of the same name: run folders describe a prior by them.
    2. Return a distribution with ``event_shape == (latent_dim,)`` from ``forward``. A prior p(z) ignores y and has
       batch_shape (). A prior p(z | y) looks up its parameters by y, so that its batch_shape is y's shape: (batch,) for
       known classes, (classes, 1) for enumerated ones. Without y it returns the mixture over the classes,
       Σ_y p(y) p(z | y), with log p(y) from ``log_p_y``. It sets ``is_class_conditional = True``.
    3. If the prior depends on the model (the number of classes, the posterior), implement ``attach``.
    4. If the prior is initialised by training images, implement ``start_size`` and ``start_from``.
    5. Check the contract with `ssvae.inference.contracts.check_prior`, in a notebook too: samples agree with the
       density, the density integrates to one, every parameter has a gradient.
    6. To contribute it, return a small instance from ``example``, and add the class to ``models/priors/__init__.py``.
       The tests, ``ssvae fit --help`` and ``--model.prior`` then include it. A package of your own registers it under
       the entry point group ``ssvae.priors``.

    Example:
        >>> import torch
        >>> from ssvae.models.priors import GaussianMixture
        >>> prior = GaussianMixture(latent_dim=2, num_components=5)
        >>> z = prior().sample((1000,))
        >>> prior().log_prob(z).shape
        torch.Size([1000])

    Attributes:
        latent_dim: The dimension of z.
        is_class_conditional: Whether the prior is p(z | y) instead of p(z).
        log_prob_error: The standard error of log p(z), in nats, of a prior with an estimated normaliser, such as a
            resampled one (Bauer and Mnih 2019, arXiv 1810.11428); 0 if log p(z) is exact.
    """

    latent_dim: int
    is_class_conditional: bool = False
    log_prob_error: float = 0.0

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance for the tests; override it if further arguments make the instance small."""
        return cls(latent_dim)

    @property
    def density(self) -> str:
        """The name of the density: "p(z)" or "p(z | y)"."""
        return "p(z | y)" if self.is_class_conditional else "p(z)"

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return p(z | y), or p(z).

        Args:
            y: Classes, integers of any shape.

        Returns:
            A distribution with event_shape (latent_dim,) and a batch_shape that broadcasts with y's shape.
        """

    def attach(self, num_classes: int, event_shape: tuple[int, ...], posterior: AmortizedPosterior | None) -> None:
        """Give the prior the properties of its model. The model calls it once; most priors do not need it.

        Args:
            num_classes: The number of classes.
            event_shape: The shape of x: (channels, height, width) or (features,).
            posterior: The model's q(z | x, y), a function of images and classes, for a prior that mixes posteriors;
                None if the model's guide has no density. Store it in ``self.__dict__``, outside the registry of
                sub-modules: otherwise its parameters are saved twice.
        """

    def set_class_prior(self, class_prior: ClassPrior | None) -> None:
        """Set p(y) for the mixture p(z) = Σ_y p(y) p(z | y). The constructor of every model calls it.

        p(y) belongs to the model. It is stored outside this module's registry of sub-modules: otherwise it would be
        saved and trained twice. The prior of a copied model uses the copied p(y).

        Args:
            class_prior: The model's p(y); None if the model has no class.

        Raises:
            ValueError: If this prior is class-conditional and belongs to a model with another p(y) already.
        """
        held = self.__dict__.setdefault("class_prior", class_prior)
        if self.is_class_conditional and not _same(held, class_prior):
            raise ValueError(
                f"prior: expected a separate {type(self).__name__} for each model, or models with the same p(y); got a "
                f"prior of a model with {held or 'no p(y)'} for a model with {class_prior or 'no p(y)'}."
            )

    def log_p_y(self, num_classes: int) -> Tensor:
        """Return the current log p(y) of the model, with a gradient if p(y) is learned.

        It is uniform if the model has no p(y), or if the prior belongs to no model yet.

        Args:
            num_classes: The number of classes.

        Returns:
            Log-probabilities, (classes,).
        """
        class_prior: ClassPrior | None = self.__dict__.get("class_prior")
        if class_prior is None:
            return torch.full((num_classes,), -math.log(num_classes))
        log_p_y: Tensor = class_prior().logits
        return log_p_y

    @property
    def start_size(self) -> int:
        """The number of training images that ``start_from`` needs before the first step; 0 for most priors."""
        return 0

    def start_from(self, x: Tensor, y: Tensor | None = None) -> None:
        """Initialise the prior by training images, once before the first step; most priors do not need it.

        `ssvae.inference.training.train` calls it, except when a run is resumed. A training loop of your own calls
        ``model.prior.start_from(x, y)``.

        Args:
            x: Training images or vectors, ``(images, *event_shape)``.
            y: Their classes (images,), -1 for unlabelled images; None if all are unlabelled.
        """

    def nodes(self, y: Tensor) -> Tensor | None:
        """Return the nodes of a prior that is a map, such as `GenerativeTopographicMapping`; None for other priors.

        Args:
            y: Classes, integers of any shape.

        Returns:
            Points in latent space, (..., rows, columns, latent) with y's shape first, ordered as on the grid; or None.
        """
        return None


def _same(first: ClassPrior | None, second: ClassPrior | None) -> bool:
    """Return whether two p(y) are the same object, or fixed and equal; None is uniform."""
    if first is second:
        return True
    class_priors = [class_prior for class_prior in (first, second) if class_prior is not None]
    if any(class_prior.learned for class_prior in class_priors):
        return False
    one, *another = (class_prior().probs for class_prior in class_priors)
    other = another[0] if another else torch.full_like(one, 1 / len(one))
    return one.shape == other.shape and torch.allclose(one, other)


def check_latent_dim(latent_dim: int, at_least: int = 1) -> None:
    """Raise ValueError unless latent_dim is an integer of at least the given size."""
    if latent_dim < at_least:
        raise ValueError(f"latent_dim: expected an integer of at least {at_least}; got {latent_dim}.")


def check_components(num_components: int) -> None:
    """Raise ValueError unless num_components is positive."""
    if num_components < 1:
        raise ValueError(f"num_components: expected a positive integer; got {num_components}.")


def check_grid(rows: int, columns: int) -> None:
    """Raise ValueError unless a grid has rows and columns."""
    for name, number in (("rows", rows), ("columns", columns)):
        if number < 1:
            raise ValueError(f"{name}: expected a positive integer; got {number}.")
