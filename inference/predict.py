"""What everything asks of a trained model: its device, its evaluation mode, class probabilities, latent means."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.models import SemiSupervisedModel

# Pixels computed at once, over images, classes and samples. On a CPU 2 MiB in float32, which with the copies
# on the way is some 50 MiB for an MLP and 300 for convolutions; an accelerator wants more work at a time.
_PIXELS_AT_ONCE = 2**19
_PIXELS_AT_ONCE_ON_ACCELERATORS = 2**22


def predict_probabilities(model: SemiSupervisedModel, data: ImageData, images: Tensor) -> Tensor:
    """Return q(y|x) for 8-bit images in grey or colour, not binarised; float64, on the CPU.

    Args:
        model: The model, on any device.
        data: Whose `pixels` turns bytes into numbers.
        images: uint8 (N, channels, height, width).

    Returns:
        (N, classes).
    """
    chunks = torch.split(images, images_per_chunk(model))
    return torch.cat([class_probabilities(model, data.pixels(chunk)) for chunk in chunks])


def class_probabilities(model: SemiSupervisedModel, pixels: Tensor) -> Tensor:
    """Return q(y|x) for images (N, channels, height, width) in [0, 1]; (N, classes), float64, on the CPU."""
    with evaluating(model):
        chunks = torch.split(pixels, images_per_chunk(model))
        logits = [model.classify(chunk.to(device_of(model))).logits.cpu() for chunk in chunks]
    # In float64 a probability that is nearly 1 keeps a distance to it, and one that is nearly 0 is not yet 0.
    return torch.cat(logits).double().softmax(-1)


def latent_means(model: SemiSupervisedModel, pixels: Tensor) -> Tensor:
    """Return `model.encode` of images (N, channels, height, width) in [0, 1]; (N, latent), float64, on the CPU."""
    with evaluating(model):
        chunks = torch.split(pixels, images_per_chunk(model))
        return torch.cat([model.encode(chunk.to(device_of(model))).cpu() for chunk in chunks]).double()


def device_of(model: SemiSupervisedModel) -> torch.device:
    """Return where the model is; the CPU for one without parameters."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def evaluating(model: SemiSupervisedModel) -> Iterator[None]:
    """Switch gradients, dropout and the like off for a while; every part's mode comes back afterwards."""
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
    """Draw from a seed for a while; torch's random state, also of every GPU, comes back afterwards."""
    # A list of all GPUs: without one torch warns where there are many.
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        torch.manual_seed(seed)
        yield


def images_per_chunk(model: SemiSupervisedModel, copies: int = 1) -> int:
    """Return how many images to compute at once, each of them so many times over."""
    pixels = _PIXELS_AT_ONCE if device_of(model).type == "cpu" else _PIXELS_AT_ONCE_ON_ACCELERATORS
    return max(1, pixels // (copies * math.prod(model.image_shape)))
