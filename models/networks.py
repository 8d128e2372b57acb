"""Architectures, and the encoders and decoders that they make.

An `Architecture` makes the networks of a model: encoders (from x, an image or a vector, and perhaps a class, to a
vector) and decoders (from a vector, and perhaps a class, to the parameters of p(x | ·)). Swap it with one argument:
``M2(..., networks=networks.Convolutional(channels=(32, 64)))``.

The class enters a network as an embedding that is added to the first dense layer's pre-activation::

    W [v; onehot(y)] + b  =  W_v v + b + E[y]

This is the same map as concatenating a one-hot vector. If y is enumerated, with shape (classes, 1), the image's share
W_v v is computed once, (batch, hidden), instead of once per class, and broadcast in the sum. A second vector beside the
first, such as a latent variable beside the image, enters in the same way. Probabilities of the classes,
(..., classes), may stand in place of a class; then the embeddings are averaged. In these descriptions the image may be
a vector of features as well.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from ssvae.models.part import Part

__all__ = [
    "MLP",
    "Architecture",
    "Convolutional",
    "EventShape",
    "ImageShape",
    "Network",
    "WithMask",
    "require_image",
]

EventShape = tuple[int, ...]
"""The shape of one x: (channels, height, width) of an image, or (features,) of a vector."""

ImageShape = tuple[int, int, int]
"""Channels, height and width."""

SMALLEST_IMAGE = 8

_FEW_OUTPUTS = 16
"""Floats in a vector of a CPU: with fewer output channels, a convolution leaves a part of it empty."""


class Network(nn.Module, ABC):
    """A network that may compute in reduced precision and returns its output in full precision.

    Matrix products tolerate reduced precision, log-densities do not. With ``compute_dtype`` set, as in training,
    autocast is on inside the network only, and the output is converted to float32.

    Attributes:
        compute_dtype: The type of the matrix products, such as ``torch.bfloat16``; None for the weights' own.
        features: What an encoder sees of x, in full precision: the ``features`` of the likelihood. None for x itself.
    """

    compute_dtype: torch.dtype | None = None
    features: Callable[[Tensor], Tensor] | None = None

    def forward(self, inputs: Tensor, y: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """Map the inputs, the class and the second vector, if the network takes them, to float outputs.

        Args:
            inputs: x ``(..., *event_shape)`` of an encoder, or a vector (..., num_inputs).
            y: Classes, integers that broadcast with the leading dimensions; or probabilities of the classes, floats
                with one more dimension.
            beside: A second vector (..., num_beside), whose leading dimensions broadcast.

        Returns:
            A vector (..., num_outputs), or ``(..., *event_shape)`` of a decoder.
        """
        if self.features is not None:
            inputs = self.features(inputs)
        if self.compute_dtype is None:
            return self.compute(inputs, y, beside)
        with torch.autocast(inputs.device.type, dtype=self.compute_dtype):
            outputs = self.compute(inputs, y, beside)
        return outputs.float()

    @abstractmethod
    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        """Return the outputs in the precision that autocast sets; arguments as for ``forward``."""


def require_image(event_shape: EventShape, architecture: str) -> ImageShape:
    """Return channels, height and width, for an architecture of images alone.

    Args:
        event_shape: The shape of x.
        architecture: The architecture's name.

    Raises:
        ValueError: If x is not an image.
    """
    if len(event_shape) != 3:
        raise ValueError(
            f"networks: expected an image (channels, height, width) for {architecture}; got event_shape {event_shape}. "
            "Use MLP."
        )
    channels, height, width = event_shape
    return channels, height, width


class Architecture(Part, ABC):
    """The architecture of a model's networks: makes encoders, decoders and dense networks of given sizes.

    To write one: inherit, and make encoders and decoders that accept any leading dimensions of z and y. Under
    enumeration z is (classes, batch, latent) and y is (classes, 1). Flatten them before layers that take exactly one
    batch dimension. An architecture for images alone refuses vectors by `require_image`.

    Attributes:
        takes_mask: Whether its encoders take a mask beside x, which doubles the features or channels; see `WithMask`.
    """

    takes_mask: ClassVar[bool] = True

    @abstractmethod
    def encoder(self, event_shape: EventShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Make a network from x ``(batch, *event_shape)``, and y if num_classes > 0, to vectors.

        Args:
            event_shape: (channels, height, width) of images, or (features,) of vectors.
            num_outputs: The size of the output vector.
            num_classes: The number of classes; 0 for a network without y.
            num_beside: The size of a second vector beside x; 0 for none.

        Returns:
            A network whose output is (..., batch, num_outputs).
        """

    @abstractmethod
    def decoder(self, num_inputs: int, event_shape: EventShape, num_classes: int = 0) -> Network:
        """Make a network from z, and y if num_classes > 0, to the parameters of p(x | ·).

        Args:
            num_inputs: The size of z.
            event_shape: The shape of the output, (channels, height, width) or (features,).
            num_classes: The number of classes; 0 for a network without y.

        Returns:
            A network from z (..., batch, num_inputs) to ``(..., batch, *event_shape)``.
        """

    @abstractmethod
    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """Make a network from vectors to vectors.

        Args:
            num_inputs: The size of the input vector.
            num_outputs: The size of the output vector.
            num_classes: The number of classes; 0 for a network without y.
            num_beside: The size of a second vector beside the first; 0 for none.

        Returns:
            A network from (..., batch, num_inputs) to (..., batch, num_outputs).
        """


class _FirstLayer(nn.Module):
    """The first dense layer, to which the class and a second vector u are added: W_v v + b + E[y] + W_u u."""

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
        # Under autocast the linear layer returns bfloat16; adding a float32 embedding would return float32.
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
            # Flatten, because BatchNorm1d takes dimension 1 for the channels: wrong with (classes, batch, hidden).
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
    def __init__(self, perceptron: _Perceptron, event_dim: int) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.event_dim = event_dim

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        return self.perceptron(inputs.flatten(start_dim=-self.event_dim), y, beside)


class _MLPDecoder(Network):
    def __init__(self, perceptron: _Perceptron, event_shape: EventShape) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.event_shape = event_shape

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        return self.perceptron(inputs, y).unflatten(-1, self.event_shape)


@dataclass(frozen=True, repr=False)
class MLP(Architecture):
    """Multilayer perceptrons, as in Kingma et al. 2014, arXiv 1406.5298. Default: one layer of 500 softplus units.

    Example:
        >>> import torch
        >>> from ssvae.models.networks import MLP
        >>> encoder = MLP(hidden=(300, 200)).encoder(event_shape=(1, 28, 28), num_outputs=20, num_classes=10)
        >>> x, y = torch.rand(4, 1, 28, 28), torch.arange(10).unsqueeze(-1)  # (batch, ...), (classes, 1)
        >>> encoder(x, y).shape  # (classes, batch, outputs)
        torch.Size([10, 4, 20])

    Attributes:
        hidden: The sizes of the hidden layers, one or more.
        activation: The non-linearity's class.
        batch_norm: Whether each hidden layer is normalised over the batch (and over the enumerated classes).
        dropout: The probability with which a hidden unit is dropped in training.
        initial_scale: s. Weights are drawn from N(0, s²) and biases start at 0; 0.001 in the paper. None for PyTorch's
            initialisation, uniform within ±1 / √inputs.

    Raises:
        ValueError: If there is no hidden layer, a size or the initial scale is not positive, or dropout is not in [0,
            1).
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
        perceptron = _Perceptron(sizes, num_classes, self.activation, self.batch_norm, self.dropout, num_beside)
        if self.initial_scale is not None:
            for layer in perceptron.modules():
                if isinstance(layer, nn.Linear | nn.Embedding):
                    nn.init.normal_(layer.weight, std=self.initial_scale)
                if isinstance(layer, nn.Linear) and layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return perceptron

    def encoder(self, event_shape: EventShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.encoder`."""
        perceptron = self._perceptron(math.prod(event_shape), num_outputs, num_classes, num_beside)
        return _MLPEncoder(perceptron, len(event_shape))

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.dense`."""
        return _Dense(self._perceptron(num_inputs, num_outputs, num_classes, num_beside))

    def decoder(self, num_inputs: int, event_shape: EventShape, num_classes: int = 0) -> Network:
        """See `Architecture.decoder`."""
        return _MLPDecoder(self._perceptron(num_inputs, math.prod(event_shape), num_classes), event_shape)


class _ConvolutionalEncoder(Network):
    """Strided convolutions of the image, computed once for all classes; the class enters the dense layer on top."""

    def __init__(self, convolutions: nn.Sequential, perceptron: _Perceptron) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.perceptron = perceptron

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        leading = inputs.shape[:-3]
        features = self.convolutions(inputs.flatten(end_dim=-4))  # (images, channels, height / 4, width / 4)
        return self.perceptron(features.flatten(start_dim=1).unflatten(0, leading), y, beside)


class _Doubling(torch.autograd.Function):
    """Convolve by four 2×2 kernels and let their outputs alternate: the image is twice as high and wide.

    The kernels are given as one of 4×4 taps. Even pixels have its taps 0 and 2, of x[i-1] and x[i]; odd ones the taps 1
    and 3, of x[i] and x[i+1]; likewise along the other axis. This is a transposed convolution of stride 2, whose
    gradients are those of a convolution. On a CPU PyTorch's own takes twice as long if outputs are few, and its
    gradient of the bias takes as long as that of the kernel.
    """

    @staticmethod
    def forward(context: Any, inputs: Tensor, taps: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401
        mirrored = taps.flip(-2, -1).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        context.save_for_backward(inputs, mirrored)
        num_outputs = len(bias)
        if not inputs.is_cpu or 4 * num_outputs > _FEW_OUTPUTS:
            return F.conv_transpose2d(inputs, mirrored, stride=2, padding=1).add_(bias[:, None, None])
        images, _, height, width = inputs.shape
        kernels = taps.unflatten(-1, (2, 2)).unflatten(-3, (2, 2)).permute(3, 5, 0, 1, 2, 4).flatten(0, 2)
        kernels = kernels.contiguous(memory_format=torch.channels_last)  # (4 · out_channels, in_channels, 2, 2)
        pixels = F.conv2d(inputs, kernels, bias.repeat(4), padding=1)  # (images, ..., height + 1, width + 1)
        outputs = torch.empty(
            images,
            num_outputs,
            2 * height,
            2 * width,
            dtype=pixels.dtype,
            device=pixels.device,
            memory_format=torch.channels_last,
        )
        for (row, column), shifted in zip(product((0, 1), repeat=2), pixels.split(num_outputs, dim=1), strict=True):
            outputs[..., row::2, column::2] = shifted[..., row : row + height, column : column + width]
        return outputs

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # noqa: ANN401
        inputs, mirrored = context.saved_tensors
        need_inputs, need_taps, need_bias = context.needs_input_grad
        of_inputs = F.conv2d(gradient, mirrored, stride=2, padding=1) if need_inputs else None
        of_taps = None
        if need_taps:
            of_mirrored = conv2d_weight(gradient, mirrored.shape, inputs, stride=2, padding=1)
            of_taps = of_mirrored.transpose(0, 1).flip(-2, -1)
        return of_inputs, of_taps, gradient.sum((0, 2, 3)) if need_bias else None


class _DoublingConvolution(nn.Conv2d):
    """A 3×3 convolution of an image upsampled to twice its size, without the upsampled image.

    In nearest-neighbour upsampling a pixel stands four times, so that the 3×3 kernel meets the same input more than
    once. Along one axis, with the taps w₀, w₁, w₂ and the input x, zero outside the image::

        even pixels    y[2i]     = w₀ x[i-1] + (w₁ + w₂) x[i]
        odd pixels     y[2i + 1] = (w₀ + w₁) x[i] + w₂ x[i+1]

    In two dimensions these are 16 multiply-adds for four pixels in place of 36. The parameters are those of the 3×3
    convolution.

    Args:
        in_channels: The number of channels of the input.
        out_channels: The number of channels of the output.
        size: Height and width of the output: twice the input's, or one less.
    """

    bias: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        """Return images (images, out_channels, *size) of inputs (images, in_channels, ⌈height / 2⌉, ⌈width / 2⌉)."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            # Autocast would convert the forward pass only, which is a function of its own.
            dtype = torch.get_autocast_dtype(device)
            inputs, weight, bias = inputs.to(dtype), weight.to(dtype), bias.to(dtype)
        height, width = self.size
        padded = F.pad(weight, (1, 1, 1, 1))
        rows = padded[..., 1:, :] + padded[..., :-1, :]  # w₀, w₀ + w₁, w₁ + w₂, w₂
        taps = rows[..., 1:] + rows[..., :-1]  # (out_channels, in_channels, 4, 4)
        images: Tensor = _Doubling.apply(inputs, taps, bias)  # type: ignore[no-untyped-call]
        # Where the size is odd, the last pixel stands once, not twice, and zeros are next to it.
        if width % 2:
            right = self._upsampled(inputs[..., -2:], (2 * inputs.shape[-2], min(width, 3)))[..., -1:]
            images = torch.cat([images[..., : width - 1], right], dim=-1)
        if height % 2:
            bottom = self._upsampled(inputs[..., -2:, :], (min(height, 3), width))[..., -1:, :]
            images = torch.cat([images[..., : height - 1, :], bottom], dim=-2)
        return images

    def _upsampled(self, inputs: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the convolution of the upsampled inputs, as it is written."""
        return F.conv2d(F.interpolate(inputs, size), self.weight, self.bias, padding=1)


class _ConvolutionalDecoder(Network):
    """A dense layer where the class enters, then upsampling and convolutions up to the image's size."""

    def __init__(self, perceptron: _Perceptron, seed_shape: ImageShape, convolutions: nn.Sequential) -> None:
        super().__init__()
        self.perceptron = perceptron
        self.seed_shape = seed_shape
        self.convolutions = convolutions

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        seed = self.perceptron(inputs, y)  # (..., batch, channels · height / 4 · width / 4)
        # Convolutions take exactly one batch dimension: (classes · batch, channels, height, width). Channels last, as
        # they compute, or else the backward pass would convert its gradients.
        images = seed.flatten(end_dim=-2).unflatten(-1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        return self.convolutions(images).unflatten(0, seed.shape[:-1])


@dataclass(frozen=True, repr=False)
class Convolutional(Architecture):
    """Convolutional networks for images of at least 8×8 pixels.

    Encoders are convolutions with stride 2 and a dense layer; decoders are a dense layer, upsampling and convolutions.
    The class enters the dense layer of each. In an encoder this is after the convolutions, which are computed once for
    all classes; in a decoder before them, so that a sum over classes computes them once for each class. A class that
    entered a decoder later would save nothing, since q(z | x, y) gives another z for each class.

    Example:
        >>> import torch
        >>> from ssvae.models.networks import Convolutional
        >>> decoder = Convolutional(channels=(32, 64)).decoder(num_inputs=20, event_shape=(1, 28, 28), num_classes=10)
        >>> decoder(torch.randn(4, 20), torch.tensor([3, 1, 4, 1])).shape
        torch.Size([4, 1, 28, 28])

    Attributes:
        channels: The number of channels after each halving of the image.
        hidden: The size of the dense layer where the class enters.
        activation: The non-linearity's class.
        batch_norm: Whether each hidden layer is normalised over the batch.
        dropout: The probability with which a unit of the dense layer is dropped in training.
        convolutions_per_size: The number of convolutions at each size, one of which halves or doubles it. Two are a
            small VGG network (Simonyan and Zisserman 2015, arXiv 1409.1556).

    Raises:
        ValueError: If there are no channels, a size or number is not positive, or dropout is not in [0, 1); and, when a
            network is made, if x is not an image of at least 8×8 pixels.
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

    def _sizes(self, event_shape: EventShape) -> list[tuple[int, int]]:
        """Return height and width before and after each halving, those of the image first."""
        _, height, width = require_image(event_shape, "Convolutional")
        if min(height, width) < SMALLEST_IMAGE:
            raise ValueError(
                f"event_shape: Convolutional expected images of at least {SMALLEST_IMAGE}×{SMALLEST_IMAGE} pixels; "
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

    def _doubling(self, num_inputs: int, num_outputs: int, size: tuple[int, int]) -> list[nn.Conv2d]:
        """Return the decoder's convolutions at a size, the first of which doubles the image."""
        first, *rest = pairwise([num_inputs] * self.convolutions_per_size + [num_outputs])
        return [_DoublingConvolution(*first, size), *(nn.Conv2d(*pair, kernel_size=3, padding=1) for pair in rest)]

    def _perceptron(self, sizes: Sequence[int], num_classes: int, num_beside: int = 0) -> _Perceptron:
        return _Perceptron(sizes, num_classes, self.activation, self.batch_norm, self.dropout, num_beside)

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.dense`: one hidden layer."""
        return _Dense(self._perceptron((num_inputs, self.hidden, num_outputs), num_classes, num_beside))

    def encoder(self, event_shape: EventShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.encoder`."""
        height, width = self._sizes(event_shape)[-1]
        convolutions = nn.Sequential()
        previous = event_shape[0]
        for channels in self.channels:
            convolution = nn.Conv2d(previous, channels, kernel_size=3, stride=2, padding=1)
            convolutions.extend([*self._block(convolution, channels), *self._same_size(channels)])
            previous = channels
        features = previous * height * width
        perceptron = self._perceptron((features, self.hidden, num_outputs), num_classes, num_beside)
        return _ConvolutionalEncoder(_channels_last(convolutions), perceptron)

    def decoder(self, num_inputs: int, event_shape: EventShape, num_classes: int = 0) -> Network:
        """See `Architecture.decoder`."""
        *larger, seed_size = self._sizes(event_shape)
        seed_shape = (self.channels[-1], *seed_size)
        perceptron = self._perceptron(
            (num_inputs, self.hidden, seed_shape[0] * seed_shape[1] * seed_shape[2]), num_classes
        )
        convolutions = nn.Sequential(self.activation())
        outputs = [*reversed(self.channels[:-1]), event_shape[0]]
        previous = self.channels[-1]
        for size, channels in zip(reversed(larger), outputs, strict=True):
            # The doubling is in the convolution; an empty place before it keeps the names of saved weights.
            convolutions.append(nn.Identity())
            *inner, final = self._doubling(previous, channels, size)
            for convolution in inner:
                convolutions.extend(self._block(convolution, previous))
            convolutions.extend([final] if size == larger[0] else self._block(final, channels))
            previous = channels
        return _ConvolutionalDecoder(perceptron, seed_shape, _channels_last(convolutions))


class _MaskedEncoder(Network):
    """An encoder of x, 0 where it is NaN, and of the mask of what was seen."""

    def __init__(self, encoder: Network, event_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.event_dim = event_dim

    def compute(self, inputs: Tensor, y: Tensor | None, beside: Tensor | None) -> Tensor:
        missing = inputs.isnan()
        seen = (~missing).to(inputs)
        return self.encoder(torch.cat([inputs.masked_fill(missing, 0), seen], dim=-self.event_dim), y, beside)


@dataclass(frozen=True, repr=False)
class WithMask(Architecture):
    """Networks of another architecture, whose encoders take x with missing entries (NaN) as zeros, and a mask.

    An encoder gets the features or channels of x, with 0 for each entry that was not seen, and as many of the mask: 1
    for each entry that was seen, 0 for the others (Nazábal et al. 2020, arXiv 1807.03653). Decoders are unchanged. A
    model whose likelihood is `~ssvae.models.likelihoods.MissingEntries` wraps its networks by itself.

    Example:
        >>> import torch
        >>> from ssvae.models.networks import MLP, WithMask
        >>> encoder = WithMask(MLP(hidden=(16,))).encoder((3,), num_outputs=2)
        >>> encoder(torch.tensor([[0.5, torch.nan, -1.0]])).isfinite().all().item()
        True

    Attributes:
        networks: The architecture of encoders with twice the features or channels, of decoders and of dense networks.

    Raises:
        ValueError: If the encoders of the architecture take no mask.
    """

    networks: Architecture

    def __post_init__(self) -> None:
        if not self.networks.takes_mask:
            raise ValueError(
                "networks: expected an architecture whose encoders take a mask of missing entries beside x; got "
                f"{self.networks}, which takes images alone."
            )

    def encoder(self, event_shape: EventShape, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.encoder`."""
        first, *others = event_shape
        encoder = self.networks.encoder((2 * first, *others), num_outputs, num_classes, num_beside)
        return _MaskedEncoder(encoder, len(event_shape))

    def dense(self, num_inputs: int, num_outputs: int, num_classes: int = 0, num_beside: int = 0) -> Network:
        """See `Architecture.dense`."""
        return self.networks.dense(num_inputs, num_outputs, num_classes, num_beside)

    def decoder(self, num_inputs: int, event_shape: EventShape, num_classes: int = 0) -> Network:
        """See `Architecture.decoder`."""
        return self.networks.decoder(num_inputs, event_shape, num_classes)


def _channels_last(convolutions: nn.Sequential) -> nn.Sequential:
    """Store a pixel's channels side by side: on a CPU this saves a third of the time."""
    return convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a probability in [0, 1); got {dropout}.")
