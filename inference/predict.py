"""Predictions of a trained model: class probabilities and latent means, in evaluation mode and in chunks."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ssvae.data import Data
from ssvae.models import SemiSupervisedModel
from ssvae.models.networks import ImageShape

# Pixels in a chunk, over images, classes and samples. On a CPU they take 2 MiB in float32; with intermediate results
# some 50 MiB for an MLP and 300 MiB for convolutions. Accelerators need larger chunks to be busy.
_PIXELS_AT_ONCE = 2**19
_PIXELS_AT_ONCE_ON_ACCELERATORS = 2**22
_HIDDEN = 500


def predict_probabilities(model: SemiSupervisedModel, data: Data, images: Tensor) -> Tensor:
    """Return q(y|x) for 8-bit images, without binarisation.

    Args:
        model: The model, on any device.
        data: The data set, whose ``preprocess`` method converts bytes to numbers in [0, 1].
        images: uint8 (N, channels, height, width).

    Returns:
        (N, classes), float64, on the CPU.
    """
    chunks = torch.split(images, images_per_chunk(model))
    return torch.cat([class_probabilities(model, data.preprocess(chunk)) for chunk in chunks])


def class_probabilities(model: SemiSupervisedModel, pixels: Tensor) -> Tensor:
    """Return q(y|x).

    Args:
        model: The model, on any device.
        pixels: Images (N, channels, height, width), pixels in [0, 1].

    Returns:
        (N, classes), float64, on the CPU.
    """
    with evaluating(model):
        chunks = torch.split(pixels, images_per_chunk(model))
        logits = [model.classify(chunk.to(device_of(model))).logits.cpu() for chunk in chunks]
    # In float64, since probabilities near 0 and 1 would be rounded to 0 and 1 in float32.
    return torch.cat(logits).double().softmax(-1)


def latent_means(model: SemiSupervisedModel, pixels: Tensor) -> Tensor:
    """Return the latent means of images, ``model.encode(x)``.

    Args:
        model: The model, on any device.
        pixels: Images (N, channels, height, width), pixels in [0, 1].

    Returns:
        (N, latent), float64, on the CPU.
    """
    with evaluating(model):
        chunks = torch.split(pixels, images_per_chunk(model))
        return torch.cat([model.encode(chunk.to(device_of(model))).cpu() for chunk in chunks]).double()


def device_of(model: SemiSupervisedModel) -> torch.device:
    """Return the device of the model's parameters; the CPU if it has none."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def evaluating(model: SemiSupervisedModel) -> Iterator[None]:
    """Switch to evaluation mode without gradients inside a ``with`` block; every module's mode is restored after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside a ``with`` block; its random state, also that of every GPU, is restored after it."""
    # All GPUs are listed, since torch warns otherwise if there are several.
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield


def image_shape(model: SemiSupervisedModel) -> ImageShape:
    """Return channels, height and width of a model's images.

    Raises:
        ValueError: If it is not a model of images.
    """
    if len(model.event_shape) != 3:
        raise ValueError(
            f"model: expected one of images (channels, height, width); got one of event_shape {model.event_shape}."
        )
    channels, height, width = model.event_shape
    return channels, height, width


def images_per_chunk(model: SemiSupervisedModel, copies: int = 1) -> int:
    """Return the number of images in a chunk if each is computed ``copies`` times, for classes and samples."""
    pixels = _PIXELS_AT_ONCE if device_of(model).type == "cpu" else _PIXELS_AT_ONCE_ON_ACCELERATORS
    size = math.prod(model.event_shape)
    if len(model.event_shape) == 1:
        size = max(size, _HIDDEN)  # more numbers are in the hidden layers than in a short vector
    return max(1, pixels // (copies * size))
