"""The base class of likelihoods."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.part import Part

PIXEL_LEVELS = 256
"""The number of grey levels of an 8-bit pixel."""

_IMAGE_DIM = 3


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


def for_each_entry(parameter: nn.Parameter, event_shape: tuple[int, ...]) -> nn.Parameter:
    """Return a parameter with a value for each entry of x, each that of the given one, or the given one if it has them.

    Args:
        parameter: A scalar, or a tensor of the event_shape.
        event_shape: The shape of x.
    """
    if parameter.shape == torch.Size(event_shape):
        return parameter
    return nn.Parameter(parameter.detach().expand(event_shape).clone())


class Likelihood(Part, nn.Module, ABC):
    """The distribution p(x | ·) of x, an image or a vector, given the decoder's output.

    A likelihood is a module whose ``forward(parameters)`` returns a Pyro distribution with the model's ``event_shape``:
    (channels, height, width) or (features,). To write a likelihood:

    1. Inherit from `Likelihood` in a file of its own, or from `PixelLikelihood` if x is in [0, 1]. Set
       ``parameters_per_entry`` and ``is_discrete``.
    2. Return ``dist.Independent(base, self.event_dim)`` from ``forward``, where the batch_shape of ``base`` ends with
       the event_shape: log p of each entry is ``base.log_prob(x)``. Set ``has_independent_entries = False`` if there is
       no such distribution.
    3. Refuse x outside the support in ``check_input``; refuse x that a model may see but that has no density, such as
       grey pixels of a binarised image, in ``check``.
    4. Parameters of its own with a value for each entry are created in ``set_event_shape``, by `for_each_entry`.
    5. If the numbers of x are no good inputs of a network, as codes of categories and large counts are not, return
       others from ``features``, and their shape from ``features_shape``. All encoders of a model then see those.
    6. Add it to ``models/likelihoods/__init__.py``. The tests, ``ssvae fit --help`` and ``--model.likelihood`` then
       include it. A package of your own registers it under the entry point group ``ssvae.likelihoods``.

    Example:
        >>> import torch
        >>> from ssvae.models.likelihoods import Bernoulli
        >>> p_x = Bernoulli()(torch.zeros(4, 1, 8, 8))  # logits
        >>> p_x.batch_shape, p_x.event_shape
        (torch.Size([4]), torch.Size([1, 8, 8]))

    Attributes:
        parameters_per_entry: The number of the decoder's outputs for each entry of x: each pixel and channel of an
            image, each feature of a vector.
        is_discrete: Whether log p(x) is the logarithm of a probability instead of a density. Bits per dimension of a
            density on [0, 1] are corrected for the width of a grey level.
        has_independent_entries: Whether log p(x) is a sum over the entries of x.
        admits_missing: Whether entries of x may be NaN, which means that they were not seen: that of `MissingEntries`.
        event_shape: The shape of x, which the model sets; None before.
    """

    parameters_per_entry: int = 1
    is_discrete: bool = False
    has_independent_entries: bool = True
    admits_missing: bool = False
    event_shape: tuple[int, ...] | None = None

    @classmethod
    def example(cls) -> Self:
        """Return an instance for the tests; override it if the constructor needs arguments."""
        return cls()

    @property
    def event_dim(self) -> int:
        """The number of dimensions of x: 1 for a vector, 3 for an image and before a model sets the event_shape."""
        return _IMAGE_DIM if self.event_shape is None else len(self.event_shape)

    def set_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Set the shape of x. The constructor of every model calls it.

        Args:
            event_shape: (channels, height, width), or (features,).

        Raises:
            ValueError: If the likelihood belongs to a model with another event_shape already, or is not for this one.
        """
        if self.event_shape not in (None, tuple(event_shape)):
            raise ValueError(
                f"likelihood: expected a separate {type(self).__name__} for each shape of x; got one for "
                f"{self.event_shape}, for a model of event_shape {tuple(event_shape)}."
            )
        self.event_shape = tuple(event_shape)

    def decoder_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the decoder's output for one x: all parameters of p(x | ·).

        An image's are channels. The first parameter of all entries comes first.

        Args:
            event_shape: (channels, height, width), or (features,).
        """
        first, *others = event_shape
        return (first * self.parameters_per_entry, *others)

    def features_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of ``features`` of one x. Default: that of x.

        Args:
            event_shape: (channels, height, width), or (features,).
        """
        return tuple(event_shape)

    def features(self, x: Tensor) -> Tensor:
        """Return what encoders see of x. Default: x itself.

        Counts are shown by their logarithms, categories as one-hot vectors. Learned pseudo-inputs of a prior come here
        too: any real number is admitted, and the gradient is that of a continuous function.

        Args:
            x: ``(..., *event_shape)``; NaN where an entry was not seen.

        Returns:
            ``(..., *features_shape(event_shape))``; NaN for all features of an entry that was not seen.
        """
        return x

    @abstractmethod
    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return p(x | ·).

        Args:
            parameters: The decoder's output, (..., parameters_per_entry · channels, height, width) of images or
                (..., parameters_per_entry · features) of vectors.

        Returns:
            A distribution with the event_shape of x.
        """

    def mixture_mean(self, p_x: TorchDistribution, weights: Tensor) -> Tensor:
        """Return the mean of a mixture Σ_k w_k p_k(x), which is Σ_k w_k E_k[x]; of categories the most probable one.

        Args:
            p_x: The components p_k, as ``forward`` returns them; their batch_shape broadcasts with the weights.
            weights: w_k (..., batch), with sum 1 over all dimensions but the last.

        Returns:
            ``(batch, *event_shape)``.
        """
        by_component = weights[(..., *[None] * len(p_x.event_shape))] * p_x.mean
        return by_component.sum(tuple(range(weights.dim() - 1)))

    def check(self, x: Tensor) -> None:
        """Refuse x without a density, before training. Default: what ``check_input`` refuses.

        Args:
            x: Some of the x that the model will be trained on, ``(..., *event_shape)``.

        Raises:
            ValueError: If an entry has no density.
        """
        self.check_input(x)

    def check_input(self, x: Tensor) -> None:
        """Refuse x that no method of a model takes, the classifier's input included. Default: any finite number passes.

        Args:
            x: A batch of observations, ``(..., *event_shape)``.

        Raises:
            ValueError: If an entry is not of the kind that the likelihood is for.
        """
        wrong = ~x.isfinite()
        if wrong.any():
            raise ValueError(f"x: expected finite numbers; got {x[wrong][0]}.")
