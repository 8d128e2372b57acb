"""What a prior is, and how to write one."""

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
    """A prior p(z) or p(z | y): a module whose `forward(y=None)` returns a Pyro distribution.

    To write a prior:

    1. Inherit from `Prior` in a file of its own; take `latent_dim` and set it as an attribute.
    2. Return from `forward` a distribution with ``event_shape == (latent_dim,)``. A prior p(z) ignores y and
       has batch_shape (). A prior p(z | y) looks up its parameters by y, so that its batch_shape is y's shape
       whatever that is: (batch,) where the class is known, (classes, 1) where it is enumerated; without y it
       returns the mixture over the classes, Σ_y p(y) p(z | y), by `log_p_y`. Say so: ``is_class_conditional = True``.
    3. If it depends on the model (the number of classes, the posterior), take it from `attach`.
    4. If it is to start from the data, say so by `start_size` and `start_from`.
    5. Let `ssvae.inference.contracts.check_prior` say whether it keeps the contract, also in a notebook: it samples
    what
       it scores, its density integrates to one, every parameter learns.
    6. To keep it, say in `example` how a small one is made, and add it to ``models/priors/__init__.py``. The tests,
       `ssvae fit --help` and ``--model.prior`` take it from there; a package of your own registers it by the entry
       point group ``ssvae.priors``.

    Attributes:
        latent_dim: The dimension of z.
        is_class_conditional: Whether it is a p(z | y), which looks at the class.
        log_prob_error: The standard error of log p(z), in nats, of a prior whose normaliser is estimated, such as a
            resampled one (Bauer and Mnih 2019, arXiv 1810.11428); 0 where log p(z) is exact.
    """

    latent_dim: int
    is_class_conditional: bool = False
    log_prob_error: float = 0.0

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small one, for the tests; say here which further arguments make it small."""
        return cls(latent_dim)

    @property
    def density(self) -> str:
        """Which density it is, for people to read: "p(z)" or "p(z | y)"."""
        return "p(z | y)" if self.is_class_conditional else "p(z)"

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return p(z | y), or p(z).

        Args:
            y: Classes, integers of any shape.

        Returns:
            A distribution with event_shape (latent_dim,) and a batch_shape that broadcasts with y's shape.
        """

    def attach(self, num_classes: int, image_shape: tuple[int, int, int], posterior: AmortizedPosterior | None) -> None:
        """Tell the prior about its model. The model calls it once; most priors have no use for it.

        Args:
            num_classes: How many classes y may take.
            image_shape: Channels, height and width of x.
            posterior: The model's own q(z | x, y), for a prior that is made of posteriors: a function of images and
                classes. None of a model whose guide has no density. Keep it in ``self.__dict__``, outside the registry
                of sub-modules, or its parameters are saved twice.
        """

    def mix_by(self, class_prior: ClassPrior | None) -> None:
        """Take the p(y) by which p(z) = Σ_y p(y) p(z | y) is mixed; the constructor of every model calls it.

        It stays the model's, outside this module's registry of sub-modules, or it would be saved and trained twice. A
        copy of the model mixes by the copy's p(y); a copy of the prior alone by one of its own.

        Args:
            class_prior: The model's p(y); None where its story has no class.

        Raises:
            ValueError: If this is a p(z | y) that is mixed by another p(y) in another model already.
        """
        held = self.__dict__.setdefault("class_prior", class_prior)
        if self.is_class_conditional and not _same(held, class_prior):
            raise ValueError(
                f"prior: expected a {type(self).__name__} of its own for each model, or one p(y) in both, by which the "
                f"classes are mixed; got one of a model with {held or 'no p(y)'} for a model with "
                f"{class_prior or 'no p(y)'}."
            )

    def log_p_y(self, num_classes: int) -> Tensor:
        """Return log p(y) of the model as it stands, with its gradient if it is learned, (classes,).

        Equal parts where the model's story has no class, and without a model.
        """
        class_prior: ClassPrior | None = self.__dict__.get("class_prior")
        if class_prior is None:
            return torch.full((num_classes,), -math.log(num_classes))
        log_p_y: Tensor = class_prior().logits
        return log_p_y

    @property
    def start_size(self) -> int:
        """How many training images `start_from` has a use for before the first step; 0 for most priors."""
        return 0

    def start_from(self, x: Tensor, y: Tensor | None = None) -> None:
        """Start from training images, once before the first step; most priors have no use for them.

        `ssvae.inference.training.train` calls it, but not where a run goes on from a checkpoint. A training loop of
        your own calls ``model.prior.start_from(x, y)``.

        Args:
            x: Images (images, channels, height, width), pixels in [0, 1].
            y: Their classes (images,), -1 where it is not known; None where none is.
        """

    def nodes(self, y: Tensor) -> Tensor | None:
        """Return the nodes of the map that this prior is, by class; most priors are none.

        Args:
            y: Classes, integers of any shape.

        Returns:
            Points in latent space, (*y's shape, rows, columns, latent), neighbours on the grid beside each other; or
            None.
        """
        return None


def _same(first: ClassPrior | None, second: ClassPrior | None) -> bool:
    """Say whether two p(y) are one and the same, or are given and equal; None is uniform."""
    if first is second:
        return True
    both = [of for of in (first, second) if of is not None]
    if any(of.learned for of in both):
        return False
    one, *another = (of().probs for of in both)
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
