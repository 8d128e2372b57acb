"""The base class of data sets of images."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ssvae.data.hierarchy import Hierarchy
from ssvae.data.observations import Data, check_labels, describe

_ITEM = "image"


class ImageData(Data):
    """A data set of images, and the labels that are known.

    Unlabelled training images have the label -1, as in ``sklearn.semi_supervised``; their classes are not stored in
    this object. Validation and test images are labelled; either set may be empty.

    Args:
        name: The name in printed lines.
        train_images: Images, uint8 (N, C, H, W), with 1 channel (grey), 2 (a stereo pair) or 3 (RGB).
        train_labels: Classes, int64 (N,), -1 for unlabelled images. Either all are -1, or every class of
            ``class_names`` has a label.
        class_names: The names of the classes that have labels.
        validation_images: Images, uint8 (N_v, C, H, W), or None for no validation images.
        validation_labels: Classes, int64 (N_v,), or None.
        test_images: Images, uint8 (N_t, C, H, W), or None for no test images.
        test_labels: Classes, int64 (N_t,), or None.
        binarise: Whether ``observe`` draws each pixel from a Bernoulli distribution with the pixel's value as its
            probability (dynamic binarisation). Grey images need this for a Bernoulli likelihood.
        train_candidates: The candidate classes of each training image, booleans (N, K): the class alone for a labelled
            image, all classes for an unlabelled one, and some for a partially labelled one. None if there are no
            partial labels.
        hierarchy: Main classes, for which accuracy is also reported; or None.
        train_weights: The weight of each training image in the objective's sums, float64 (N,), positive: 2 has the same
            effect as including the image twice. None for weights of 1.
        num_new_classes: The number of further classes, of which no training image has a label; see `Data`.
        hidden_class_names: The names of the classes of validation and test images without a label in training.

    Raises:
        TypeError: If images are not uint8 tensors, labels not int64, candidate classes not boolean or weights not
            float64 tensors.
        ValueError: If shapes, sizes or label values do not fit together.

    Attributes:
        memory_mapped: Whether the training images are on disk, mapped into memory.

    References:
        Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks" (binarisation).
    """

    argument: ClassVar[str] = "images"
    item: ClassVar[str] = _ITEM

    def __init__(
        self,
        name: str,
        train_images: Tensor,
        train_labels: Tensor,
        *,
        class_names: Sequence[str],
        validation_images: Tensor | None = None,
        validation_labels: Tensor | None = None,
        test_images: Tensor | None = None,
        test_labels: Tensor | None = None,
        binarise: bool = False,
        train_candidates: Tensor | None = None,
        hierarchy: Hierarchy | None = None,
        train_weights: Tensor | None = None,
        num_new_classes: int = 0,
        hidden_class_names: Sequence[str] = (),
    ) -> None:
        super().__init__(
            name,
            train_images,
            train_labels,
            class_names=class_names,
            validation_x=validation_images,
            validation_labels=validation_labels,
            test_x=test_images,
            test_labels=test_labels,
            train_candidates=train_candidates,
            hierarchy=hierarchy,
            train_weights=train_weights,
            num_new_classes=num_new_classes,
            hidden_class_names=hidden_class_names,
        )
        self.binarise = binarise

    @property
    def train_images(self) -> Tensor:
        """The training images, uint8 (N, C, H, W): ``train_x``."""
        return self.train_x

    @property
    def validation_images(self) -> Tensor:
        """The validation images, uint8 (N_v, C, H, W): ``validation_x``."""
        return self.validation_x

    @property
    def test_images(self) -> Tensor:
        """The test images, uint8 (N_t, C, H, W): ``test_x``."""
        return self.test_x

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.event_shape
        return channels, height, width

    def preprocess(self, x: Tensor) -> Tensor:
        """Convert 8-bit images to floats in [0, 1].

        Args:
            x: A uint8 tensor of any shape.

        Returns:
            x / 255 in [0, 1], in torch's default floating-point type, on the same device.

        Raises:
            TypeError: If ``x`` is not a uint8 tensor.
        """
        if not isinstance(x, Tensor) or x.dtype != torch.uint8:
            raise TypeError(f"x: expected a uint8 tensor; got {describe(x)}.")
        return x.to(torch.get_default_dtype()) / 255

    def observe(self, preprocessed: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the pixels as a model gets them: unchanged, or newly drawn zeros and ones if ``binarise`` is set.

        Args:
            preprocessed: Floats in [0, 1] of any shape.
            generator: The random generator of the draw; None for torch's global generator.

        Returns:
            Floats of the same shape.
        """
        return torch.bernoulli(preprocessed, generator=generator) if self.binarise else preprocessed

    def _size(self) -> str:
        return super()._size().replace("numbers", "pixels") + (", binarised at every batch" if self.binarise else "")

    @classmethod
    def _check_x(cls, argument: str, x: Tensor) -> None:
        _check_images(argument, x)


def check_part(part: str, images: Tensor, labels: Tensor, num_classes: int, *, lowest_label: int) -> None:
    """Refuse a part of a data set, such as "train", whose images or labels are not as `ImageData` expects them.

    Raises:
        TypeError: If they are not tensors of their types.
        ValueError: If a shape does not fit, or a label is out of its range.
    """
    _check_images(f"{part}_images", images)
    check_labels(f"{part}_labels", labels, len(images), num_classes, lowest=lowest_label, item=_ITEM)


def _check_images(argument: str, images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise TypeError(f"{argument}: expected a uint8 tensor; got {describe(images)}.")
    if images.dim() != 4 or images.shape[1] not in (1, 2, 3) or 0 in images.shape[1:]:
        raise ValueError(f"{argument}: expected shape (N, C, H, W) with 1 to 3 channels; got {tuple(images.shape)}.")
