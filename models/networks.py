"""Architecture: how x, y and z are joined, and broadcast when y is enumerated.

A `Architecture` object is a recipe: it makes the encoders (an image, and perhaps a class, to a vector) and the
decoders (a vector, and perhaps a class, to an image) of a model. Swap it with one argument:
``M2(..., networks=networks.Convolutional(channels=(32, 64)))``.

The class enters by an embedding that is added to the first dense layer's pre-activation,

    W [v; onehot(y)] + b  =  W_v v + b + E[y],

which is the same map as concatenating a one-hot vector; but when y is enumerated, shape (classes, 1), the
image's share W_v v is computed once, (batch, hidden), instead of once per class, and broadcast in the sum. A
second vector beside the first, such as a latent variable beside the image, enters in the same way. In place of
a class there may be probabilities of the classes, (..., classes), whose embeddings are then averaged.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ssvae.models.part import Part

__all__ = ["MLP", "Architecture", "Convolutional", "ImageShape", "Network"]

ImageShape = tuple[int, int, int]

SMALLEST_IMAGE = 8


class Network(nn.Module, ABC):
    """A network whose inside may run in reduced precision and whose output is in full precision.

    Densities need all their digits, matrix products do not: with `compute_dtype` set (training does so),
    autocast reigns inside the network only, and what leaves it is float again.
    """

    compute_dtype: torch.dtype | None = None

    def forward(self, inputs: Tensor, y: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """Map the inputs, and the class and the vector beside them if the network takes one, to float outputs.

        Args:
            inputs: An image (..., channels, height, width) or a vector (..., num_inputs).
            y: Classes, integers that broadcast with the leading dimensions, or floats with one more dimension:
                probabilities of the classes.
            beside: (..., num_beside), leading dimensions that broadcast.
        """
        if self.compute_dtype is None:
            return self.compute(inputs, y, beside)
        with torch.autocast(inputs.device.type, dtype=self.compute_dtype):
            outputs = self.compute(inputs, y, beside)
        return outputs.float()

    @abstractmethod
    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        """Map the inputs to the outputs, in whatever precision is in force."""


class Architecture(Part, ABC):
    """The recipe for the networks of a model.

    To write one: inherit, make encoders and decoders that accept any leading dimensions in z and y (under
    enumeration z is (classes, batch, latent), y is (classes, 1)), and flatten them before layers that want
    exactly one batch dimension.
    """

    @abstractmethod
    def encoder(self, image_shape: ImageShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Make a network from x (batch, channels, height, width), and y if num_classes > 0, to vectors.

        Args:
            image_shape: Channels, height and width.
            num_outputs: Size of the vector that comes out.
            num_classes: How many classes y may take; 0 for a network that does not look at y.
            num_beside: Size of a vector beside the image; 0 for none.

        Returns:
            A network whose output is (..., batch, num_outputs).
        """

    @abstractmethod
    def decoder(self, num_inputs: int, image_shape: ImageShape, num_classes: int = 0) -> Network:
        """Make a network from z (..., batch, num_inputs), and y if num_classes > 0, to (..., batch, *image_shape)."""

    @abstractmethod
    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Make a network from vectors (..., batch, num_inputs) to vectors; arguments otherwise as of `encoder`."""


class _FirstLayer(nn.Module):
    """The first dense layer, where the class and a vector u beside are added: W_v v + b + E[y] + W_u u."""

    def __init__(self, num_inputs: int, num_outputs: int, num_classes: int, num_beside: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs)
        self.embedding = nn.Embedding(num_classes, num_outputs) if num_classes else None
        self.beside = nn.Linear(num_beside, num_outputs, bias=False) if num_beside else None
        if num_classes or num_beside:
            # As if the vectors had been concatenated: the same range for all weights.
            bound = (num_inputs + num_classes + num_beside) ** -0.5
            for part in (self.linear, self.embedding, self.beside):
                if part is not None:
                    nn.init.uniform_(part.weight, -bound, bound)

    def forward(self, vector: Tensor, y: Tensor | None, beside: Tensor | None = None) -> Tensor:
        hidden = self.linear(vector)  # (..., batch, hidden)
        if self.beside is not None:
            if beside is None:
                raise ValueError("beside: expected a vector for a network that takes one beside its input; got None.")
            hidden = hidden + self.beside(beside)
        if self.embedding is None:
            return hidden
        if y is None:
            raise ValueError("y: expected a class for a network that is conditioned on the class; got None.")
        embedded = y @ self.embedding.weight if y.is_floating_point() else self.embedding(y)
        # Under autocast the linear layer answers in bfloat16; an embedding in float32 would widen it again.
        return hidden + embedded.to(hidden.dtype)  # (classes, batch, hidden) if y is (classes, 1)


class _Activated(nn.Module):
    """[Batch norm,] activation[, dropout] of a pre-activation with any leading dimensions."""

    def __init__(self, size: int, activation: type[nn.Module], batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(size) if batch_norm else None
        self.activation = activation()
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, hidden: Tensor) -> Tensor:
        if self.norm is not None:
            # BatchNorm1d would take dimension 1 for the channels: with (classes, batch, hidden), the wrong one.
            hidden = self.norm(hidden.flatten(end_dim=-2)).view(hidden.shape)
        hidden = self.activation(hidden)
        return hidden if self.dropout is None else self.dropout(hidden)


class _Perceptron(nn.Module):
    """Dense layers; the class enters the first one."""

    def __init__(
        self,
        sizes: Sequence[int],
        num_classes: int,
        activation: type[nn.Module],
        batch_norm: bool,
        dropout: float,
        num_beside: int = 0,
    ) -> None:
        super().__init__()
        self.first = _FirstLayer(sizes[0], sizes[1], num_classes, num_beside)
        self.rest = nn.Sequential()
        for size, next_size in pairwise(sizes[1:]):
            self.rest.append(_Activated(size, activation, batch_norm, dropout))
            self.rest.append(nn.Linear(size, next_size))

    def forward(self, vector: Tensor, y: Tensor | None, beside: Tensor | None = None) -> Tensor:
        return self.rest(self.first(vector, y, beside))


class _Dense(Network):
    def __init__(self, perceptron: _Perceptron) -> None:
        super().__init__()
        self.perceptron = perceptron

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        return self.perceptron(inputs, y, beside)


class _MLPEncoder(Network):
    def __init__(self, perceptron: _Perceptron) -> None:
        super().__init__()
        self.perceptron = perceptron

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        return self.perceptron(inputs.flatten(start_dim=-3), y, beside)


class _MLPDecoder(Network):
    def __init__(self, perceptron: _Perceptron, image_shape: ImageShape) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.image_shape = image_shape

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        return self.perceptron(inputs, y).unflatten(-1, self.image_shape)


@dataclass(frozen=True, repr=False)
class MLP(Architecture):
    """Multilayer perceptrons, as in Kingma et al. 2014 (arXiv 1406.5298): one layer of 500 softplus units.

    Attributes:
        hidden: Sizes of the hidden layers, any number of them.
        activation: The non-linearity's class.
        batch_norm: Normalise each hidden layer over the batch (and over the classes that are summed over).
        dropout: Probability with which a hidden unit is dropped in training.
        initial_scale: s, where weights are to start from N(0, s²) and biases from 0, with 0.001 as in the paper; None
            for PyTorch's own start, uniform within ±1 / √inputs.

    Raises:
        ValueError: If there is no hidden layer, a size or the initial scale is not positive, or dropout is outside
            [0, 1).
    """

    hidden: tuple[int, ...] = (500,)
    activation: type[nn.Module] = nn.Softplus
    batch_norm: bool = False
    dropout: float = 0.0
    initial_scale: float | None = None

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden: expected one or more positive layer sizes; got {self.hidden}.")
        _check_dropout(self.dropout)
        if self.initial_scale is not None and not 0 < self.initial_scale < math.inf:
            raise ValueError(f"initial_scale: expected a positive number; got {self.initial_scale}.")

    def _perceptron(self, num_inputs: int, num_outputs: int, num_classes: int, num_beside: int = 0) -> _Perceptron:
        sizes = (num_inputs, *self.hidden, num_outputs)
        made = _Perceptron(sizes, num_classes, self.activation, self.batch_norm, self.dropout, num_beside)
        if self.initial_scale is not None:
            for layer in made.modules():
                if isinstance(layer, nn.Linear | nn.Embedding):
                    nn.init.normal_(layer.weight, std=self.initial_scale)
                if isinstance(layer, nn.Linear) and layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return made

    def encoder(self, image_shape: ImageShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.encoder`."""
        channels, height, width = image_shape
        return _MLPEncoder(self._perceptron(channels * height * width, num_outputs, num_classes, num_beside))

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.dense`."""
        return _Dense(self._perceptron(num_inputs, num_outputs, num_classes, num_beside))

    def decoder(self, num_inputs: int, image_shape: ImageShape, num_classes: int = 0) -> Network:
        """See `Architecture.decoder`."""
        channels, height, width = image_shape
        return _MLPDecoder(self._perceptron(num_inputs, channels * height * width, num_classes), image_shape)


class _ConvolutionalEncoder(Network):
    """Strided convolutions of the image alone, once for all classes; the class enters the dense layer on top."""

    def __init__(self, convolutions: nn.Sequential, perceptron: _Perceptron) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.perceptron = perceptron

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        leading = inputs.shape[:-3]
        features = self.convolutions(inputs.flatten(end_dim=-4))  # (images, channels, height / 4, width / 4)
        return self.perceptron(features.flatten(start_dim=1).unflatten(0, leading), y, beside)


class _ConvolutionalDecoder(Network):
    """A dense layer where the class enters, then upsampling and convolutions up to the image's size."""

    def __init__(self, perceptron: _Perceptron, seed_shape: ImageShape, convolutions: nn.Sequential) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.seed_shape = seed_shape
        self.convolutions = convolutions

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        seed = self.perceptron(inputs, y)  # (..., batch, channels · height / 4 · width / 4)
        # Convolutions want exactly one batch dimension: (classes · batch, channels, height, width).
        images = self.convolutions(seed.flatten(end_dim=-2).unflatten(-1, self.seed_shape))
        return images.unflatten(0, seed.shape[:-1])


@dataclass(frozen=True, repr=False)
class Convolutional(Architecture):
    """Convolutions with stride 2 down, upsampling and convolutions up; any image from 8×8.

    Attributes:
        channels: Channels after each halving of the image.
        hidden: Size of the dense layer where the class enters.
        activation: The non-linearity's class.
        batch_norm: Normalise each hidden layer over the batch.
        dropout: Probability with which a unit of the dense layer is dropped in training.
        convolutions_per_size: How many convolutions there are at each size, one of which halves or doubles it; two are
            the beginning of a VGG network (Simonyan and Zisserman 2015, arXiv 1409.1556).

    Raises:
        ValueError: If there are no channels, a size or number is not positive, dropout is outside [0, 1), or (when a
            network is made) the image is smaller than 8×8.
    """

    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    activation: type[nn.Module] = nn.ReLU
    batch_norm: bool = False
    dropout: float = 0.0
    convolutions_per_size: int = 1

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels: expected one or more positive numbers; got {self.channels}.")
        if self.hidden < 1:
            raise ValueError(f"hidden: expected a positive layer size; got {self.hidden}.")
        _check_dropout(self.dropout)
        if self.convolutions_per_size < 1:
            raise ValueError(f"convolutions_per_size: expected a positive number; got {self.convolutions_per_size}.")

    def _sizes(self, image_shape: ImageShape) -> list[tuple[int, int]]:
        """Return height and width before and after each halving, the image's own first."""
        _, height, width = image_shape
        if min(height, width) < SMALLEST_IMAGE:
            raise ValueError(
                f"image_shape: Convolutional expected images of at least {SMALLEST_IMAGE}×{SMALLEST_IMAGE} pixels; "
                f"got {height}×{width}."
            )
        sizes = [(height, width)]
        for _ in self.channels:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        return sizes

    def _block(self, convolution: nn.Module, num_channels: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(num_channels)] if self.batch_norm else []
        return [convolution, *norm, self.activation()]

    def _same_size(self, num_channels: int) -> list[nn.Module]:
        """Return the blocks of a size beside the one that comes from another size."""
        blocks = (
            self._block(nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1), num_channels)
            for _ in range(self.convolutions_per_size - 1)
        )
        return [layer for block in blocks for layer in block]

    def _perceptron(self, sizes: Sequence[int], num_classes: int, num_beside: int = 0) -> _Perceptron:
        return _Perceptron(sizes, num_classes, self.activation, self.batch_norm, self.dropout, num_beside)

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.dense`: one hidden layer."""
        return _Dense(self._perceptron((num_inputs, self.hidden, num_outputs), num_classes, num_beside))

    def encoder(self, image_shape: ImageShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.encoder`."""
        height, width = self._sizes(image_shape)[-1]
        convolutions = nn.Sequential()
        previous = image_shape[0]
        for channels in self.channels:
            convolution = nn.Conv2d(previous, channels, kernel_size=3, stride=2, padding=1)
            convolutions.extend([*self._block(convolution, channels), *self._same_size(channels)])
            previous = channels
        features = previous * height * width
        perceptron = self._perceptron((features, self.hidden, num_outputs), num_classes, num_beside)
        return _ConvolutionalEncoder(_channels_last(convolutions), perceptron)

    def decoder(self, num_inputs: int, image_shape: ImageShape, num_classes: int = 0) -> Network:
        """See `Architecture.decoder`."""
        *larger, seed_size = self._sizes(image_shape)
        seed_shape = (self.channels[-1], *seed_size)
        perceptron = self._perceptron(
            (num_inputs, self.hidden, seed_shape[0] * seed_shape[1] * seed_shape[2]), num_classes
        )
        convolutions = nn.Sequential(self.activation())
        outputs = [*reversed(self.channels[:-1]), image_shape[0]]
        previous = self.channels[-1]
        for size, channels in zip(reversed(larger), outputs, strict=True):
            convolutions.extend([nn.Upsample(size=size), *self._same_size(previous)])
            convolution = nn.Conv2d(previous, channels, kernel_size=3, padding=1)
            last = size == larger[0]
            convolutions.extend([convolution] if last else self._block(convolution, channels))
            previous = channels
        return _ConvolutionalDecoder(perceptron, seed_shape, _channels_last(convolutions))


def _channels_last(convolutions: nn.Sequential) -> nn.Sequential:
    """Lay the weights out so that a pixel's channels lie side by side: on a CPU that saves a third of the time."""
    return convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a probability in [0, 1); got {dropout}.")
