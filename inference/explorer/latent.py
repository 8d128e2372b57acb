"""A two-dimensional map of the latent space: from images to points, and from points back to z."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.data.random_order import random_order
from ssvae.inference.predict import device_of, evaluating, latent_means, seeded
from ssvae.inference.principal_plane import PrincipalPlane, principal_plane
from ssvae.inference.runs.run import Run

MAPPED_IMAGES = 2000


@dataclass(frozen=True)
class LatentMap:
    """The plane through latent codes along their two directions of largest variance; float64, on the CPU.

    Attributes:
        plane: The plane, with the coordinates of the codes.
        labels: The classes of the images, (N,), -1 if unknown or none of the model's classes with labels.
        part: The part of the data set that has the images: "test", "validation" or "training".
    """

    plane: PrincipalPlane
    labels: Tensor
    part: str


def latent_map(run: Run) -> LatentMap:
    """Map images of a run: the point of an image is the mean of q(z | x, y) at the most probable y.

    The images are at most 2000 test images, the same ones as in the run's report. Without test images they are
    validation images, and without these training images.

    Raises:
        ValueError: If there are fewer than two images.
    """
    model, data = run.model, run.image_data
    images, labels, part = shown_part(data)
    if len(images) < 2:
        raise ValueError(f"run: expected at least two images to map; got {len(images)}.")
    chosen = random_order(len(images))[:MAPPED_IMAGES]
    z = latent_means(model, data.preprocess(images[chosen]))
    # The number of a true class without labels says nothing about the model's new classes.
    known = labels[chosen].masked_fill(labels[chosen] >= data.num_known_classes, -1)
    return LatentMap(principal_plane(z), known, part)


def shown_part(data: ImageData) -> tuple[Tensor, Tensor, str]:
    """Return the images of the part of a data set that is shown, their labels, and the part's name.

    These are test images; without test images validation images, and without these training images.
    """
    parts = {
        "test": (data.test_images, data.test_labels),
        "validation": (data.validation_images, data.validation_labels),
        "training": (data.train_images, data.train_labels),
    }
    part = next((name for name, (images, _) in parts.items() if len(images)), "training")
    return (*parts[part], part)


def decode_point(run: Run, mapped: LatentMap, point: tuple[float, float]) -> Tensor:
    """Return the mean of p(x | y, z) for every class at a point of the map, (classes, channels, height, width)."""
    model = run.model
    z = mapped.plane.codes(torch.tensor([point])).to(device_of(model), torch.get_default_dtype())  # (1, latent)
    classes = torch.arange(model.num_classes, device=z.device).unsqueeze(-1)  # (classes, 1)
    with evaluating(model):
        return model.p_x(z.expand(model.num_classes, *z.shape), classes).mean[:, 0].cpu()


def sample_class(run: Run, y: int, number: int, seed: int) -> Tensor:
    """Return the mean of p(x | y, z) for z drawn from the prior, (number, channels, height, width)."""
    with evaluating(run.model), seeded(seed):
        classes = torch.tensor([y], device=device_of(run.model))
        return run.model.sample(classes, number)[:, 0].cpu()
