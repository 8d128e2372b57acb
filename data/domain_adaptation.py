"""Labelled images of one set, unlabelled images of another."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ssvae.data.images import ImageData
from ssvae.data.labels import check_count


class DomainAdaptation(ImageData):
    """Two data sets with the same classes: labelled images of the source, unlabelled images of the target.

    The training images are the source's labelled images and all training images of the target, without their labels.
    Validation images are the source's, so that no label of the target is used before the test. Test images are the
    target's. The target's images are converted to the source's size and number of channels.

    Example:
        >>> from ssvae.data import Digits, DomainAdaptation, MNIST5k
        >>> data = DomainAdaptation(MNIST5k(num_labels=None), Digits(), margin=4)  # doctest: +SKIP
        >>> data.num_labelled, data.num_unlabelled, data.image_shape  # doctest: +SKIP
        (3500, 1197, (1, 28, 28))

    Args:
        source: The data set of the labelled images.
        target: The data set of the unlabelled images.
        margin: The width of a border around the target's images, in pixels of the source's size, filled with the
            darkest of the image's corners; negative to crop instead. MNIST's digits have a margin of 4 pixels,
            scikit-learn's have none.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
            The options of the two data sets are ignored.

    Raises:
        TypeError: If the margin is not an integer.
        ValueError: If the classes differ, the source has no labels or the margin leaves nothing of an image.
    """

    def __init__(self, source: ImageData, target: ImageData, *, margin: int = 0, binarise: bool = False) -> None:
        check_count("margin", abs(margin) if isinstance(margin, int) else margin)
        if source.true_class_names != target.true_class_names:
            raise ValueError(
                f"target: expected the source's classes {', '.join(source.true_class_names)}; "
                f"got {', '.join(target.true_class_names)}."
            )
        if source.num_labelled == 0:
            raise ValueError("source: expected labelled images; got none.")
        if source.has_new_classes:
            raise ValueError(
                f"source: expected a label of every class; got {source.num_classes - source.num_known_classes} classes "
                "without one."
            )
        if 2 * margin >= min(source.image_shape[1:]):
            raise ValueError(
                f"margin: expected less than half of the source's {min(source.image_shape[1:])} pixels; got {margin}."
            )
        labelled = source.labelled_index
        unlabelled = like(target.train_images, source.image_shape, margin)
        super().__init__(
            f"{source.name} to {target.name}",
            torch.cat([source.train_images[labelled], unlabelled]),
            torch.cat([source.train_labels[labelled], torch.full((len(unlabelled),), -1)]),
            class_names=source.class_names,
            validation_images=source.validation_images,
            validation_labels=source.validation_labels,
            test_images=like(target.test_images, source.image_shape, margin),
            test_labels=target.test_labels,
            binarise=binarise,
            hierarchy=source.hierarchy,
        )
        self.source = source
        self.target = target
        self.margin = margin


def like(images: Tensor, image_shape: tuple[int, int, int], margin: int = 0) -> Tensor:
    """Convert uint8 images (N, C, H, W) to another shape (channels, height, width), with a margin."""
    channels, height, width = image_shape
    size = (height - 2 * margin, width - 2 * margin)
    # In chunks, because floats take four times the memory.
    return torch.cat([_fitted(chunk, channels, size, margin) for chunk in images.split(1000)])


def _fitted(images: Tensor, channels: int, size: tuple[int, int], margin: int) -> Tensor:
    pixels = images.float()
    if channels != images.shape[1]:
        pixels = pixels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    # Without antialiasing a smaller image would depend on a few of the pixels only.
    scaled = interpolate(pixels, size=size, mode="bilinear", antialias=True)
    corners = scaled[..., [0, 0, -1, -1], [0, -1, 0, -1]].amin(-1)  # (N, channels)
    padded = pad(scaled - corners[..., None, None], (margin,) * 4) + corners[..., None, None]
    return padded.round().clamp(0, 255).to(torch.uint8)
