"""The base class of data sets: images, and the labels that are known."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssvae.data.hierarchy import Hierarchy


class ImageData:
    """A data set: images, and the labels that are known.

    Unlabelled training images have the label -1, as in ``sklearn.semi_supervised``; their classes are not stored in
    this object. Validation and test images are labelled; either set may be empty.

    Args:
        name: The name in printed lines.
        train_images: Images, uint8 (N, C, H, W), with 1 channel (grey), 2 (a stereo pair) or 3 (RGB).
        train_labels: Classes, int64 (N,), -1 for unlabelled images. Either all are -1, or every class has a label.
        class_names: The names of the K classes.
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

    Raises:
        TypeError: If images are not uint8 tensors, labels not int64, candidate classes not boolean or weights not
            float64 tensors.
        ValueError: If shapes, sizes or label values do not fit together.

    Attributes:
        memory_mapped: Whether the training images are on disk, mapped into memory.

    References:
        Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks" (binarisation).
    """

    memory_mapped: bool = False

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
    ) -> None:
        _check_class_names(class_names)
        num_classes = len(class_names)
        check_part("train", train_images, train_labels, num_classes, lowest_label=-1)
        if len(train_images) == 0:
            raise ValueError("train_images: expected at least one image; got none.")
        _check_every_class_known(train_labels, class_names)
        if train_candidates is not None:
            _check_candidates(train_candidates, train_labels, num_classes)
        if train_weights is not None:
            _check_weights(train_weights, len(train_images))
        image_shape = train_images.shape[1:]
        validation = _part_or_empty("validation", validation_images, validation_labels, image_shape)
        test = _part_or_empty("test", test_images, test_labels, image_shape)
        for part, (images, labels) in {"validation": validation, "test": test}.items():
            check_part(part, images, labels, num_classes, lowest_label=0)
            if images.shape[1:] != image_shape:
                raise ValueError(
                    f"{part}_images: expected images of shape {tuple(image_shape)} as in train_images; "
                    f"got {tuple(images.shape[1:])}."
                )
        if num_classes == 1 and (train_labels >= 0).any():
            raise ValueError(f"class_names: expected two classes or more, as labels are known; got {class_names[0]!r}.")
        self.name = name
        self.train_images = train_images
        self.train_labels = train_labels
        self.validation_images, self.validation_labels = validation
        self.test_images, self.test_labels = test
        self.class_names = tuple(class_names)
        self.binarise = binarise
        self.train_candidates = train_candidates
        self.hierarchy = hierarchy
        self.train_weights = train_weights

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_labelled(self) -> int:
        """Number of training images whose class is known."""
        return len(self.labelled_index)

    @property
    def num_partially_labelled(self) -> int:
        """Number of training images with a partial label: some, but not all classes are candidates."""
        return len(self.partially_labelled_index)

    @property
    def num_unlabelled(self) -> int:
        """Number of unlabelled training images."""
        return len(self.unlabelled_index)

    @property
    def has_labels(self) -> bool:
        """Whether any training image has a label or a partial label."""
        return self.num_labelled + self.num_partially_labelled > 0

    @property
    def labelled_index(self) -> Tensor:
        """Ascending int64 indices (num_labelled,) of the labelled training images."""
        return (self.train_labels >= 0).nonzero().squeeze(1)

    @property
    def partially_labelled_index(self) -> Tensor:
        """Ascending int64 indices (num_partially_labelled,) of the partially labelled training images."""
        if self.train_candidates is None:
            return torch.empty(0, dtype=torch.int64)
        return ((self.train_labels < 0) & ~self.train_candidates.all(-1)).nonzero().squeeze(1)

    @property
    def unlabelled_index(self) -> Tensor:
        """Ascending int64 indices (num_unlabelled,) of the unlabelled training images."""
        unknown = self.train_labels < 0
        if self.train_candidates is not None:
            unknown = unknown & self.train_candidates.all(-1)
        return unknown.nonzero().squeeze(1)

    def some_unlabelled(self, number: int) -> Tensor:
        """Return the indices of some unlabelled training images, at random, since a folder's are in order of class.

        Args:
            number: The number of images; all of them if there are fewer.

        Returns:
            int64 (at most number,), the same ones at each call.
        """
        order = torch.randperm(len(self.unlabelled_index), generator=torch.Generator().manual_seed(0))
        return self.unlabelled_index[order[:number]]

    def weight_of(self, index: Tensor) -> float:
        """Return the sum of the weights of some training images.

        Args:
            index: Indices of training images, int64.

        Returns:
            The sum; the number of the images if the data set has no weights.
        """
        return len(index) if self.train_weights is None else float(self.train_weights[index].sum())

    def pixels(self, images: Tensor) -> Tensor:
        """Convert 8-bit images to floats in [0, 1].

        Args:
            images: A uint8 tensor of any shape.

        Returns:
            images / 255 in [0, 1], in torch's default floating-point type, on the same device.

        Raises:
            TypeError: If ``images`` is not a uint8 tensor.
        """
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            raise TypeError(f"images: expected a uint8 tensor; got {describe(images)}.")
        return images.to(torch.get_default_dtype()) / 255

    def observe(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the pixels as a model gets them: unchanged, or newly drawn zeros and ones if ``binarise`` is set.

        Args:
            pixels: Floats in [0, 1] of any shape.
            generator: The random generator of the draw; None for torch's global generator.

        Returns:
            Floats of the same shape.
        """
        return torch.bernoulli(pixels, generator=generator) if self.binarise else pixels

    def summary(self) -> str:
        """Return a line with the numbers of images and labels, and a warning for each part that lacks a class."""
        channels, height, width = self.image_shape
        partial = f"{self.num_partially_labelled} partially labelled, " if self.num_partially_labelled else ""
        return (
            f"{self.name}: {len(self.train_images)} training images ({self.num_labelled} labelled, {partial}"
            f"{self.num_unlabelled} unlabelled), {len(self.validation_images)} validation, "
            f"{len(self.test_images)} test, {self.num_classes} classes, {channels}×{height}×{width} pixels"
            + (", binarised at every batch" if self.binarise else "")
            + _warning("validation", self.validation_labels, self.class_names)
            + _warning("test", self.test_labels, self.class_names)
        )


def describe(value: object) -> str:
    """Describe a value in a few words, for an error message.

    Args:
        value: Any value.

    Returns:
        The type and shape of a tensor or array; of anything else, the name of its type.
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of {value.dtype} and shape {value.shape}"
    return type(value).__name__


def _check_class_names(class_names: Sequence[str]) -> None:
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError(f"class_names: expected a sequence of strings; got {class_names!r}.")
    if len(class_names) == 0 or len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names: expected one or more different names; got {tuple(class_names)}.")


def check_part(part: str, images: Tensor, labels: Tensor, num_classes: int, *, lowest_label: int) -> None:
    """Refuse a part of a data set, such as "train", whose images or labels are not as `ImageData` expects them.

    Raises:
        TypeError: If they are not tensors of their types.
        ValueError: If a shape does not fit, or a label is out of its range.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise TypeError(f"{part}_images: expected a uint8 tensor; got {describe(images)}.")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"{part}_labels: expected an int64 tensor; got {describe(labels)}.")
    if images.dim() != 4 or images.shape[1] not in (1, 2, 3) or 0 in images.shape[1:]:
        raise ValueError(f"{part}_images: expected shape (N, C, H, W) with 1 to 3 channels; got {tuple(images.shape)}.")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{part}_labels: expected shape ({len(images)},), one label for each image; got {tuple(labels.shape)}."
        )
    if len(labels) and not lowest_label <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{part}_labels: expected labels from {lowest_label} to {num_classes - 1}; "
            f"got labels from {int(labels.min())} to {int(labels.max())}."
        )


def _check_candidates(candidates: Tensor, labels: Tensor, num_classes: int) -> None:
    if not isinstance(candidates, Tensor) or candidates.dtype != torch.bool:
        raise TypeError(f"train_candidates: expected a boolean tensor; got {describe(candidates)}.")
    if candidates.shape != (len(labels), num_classes):
        raise ValueError(
            f"train_candidates: expected shape ({len(labels)}, {num_classes}), a row of candidate classes for each "
            f"training image; got {tuple(candidates.shape)}."
        )
    if not candidates.any(-1).all():
        image = int((~candidates.any(-1)).nonzero()[0])
        raise ValueError(f"train_candidates: expected a candidate class for each image; got none for image {image}.")
    known = labels >= 0
    one_hot = torch.nn.functional.one_hot(labels[known], num_classes).bool()
    if not torch.equal(candidates[known], one_hot):
        image = int(known.nonzero().squeeze(1)[(candidates[known] != one_hot).any(-1)][0])
        raise ValueError(
            f"train_candidates: expected a labelled image's class as its only candidate; got others for image {image}."
        )


def _check_weights(weights: Tensor, number: int) -> None:
    if not isinstance(weights, Tensor) or weights.dtype != torch.float64:
        raise TypeError(f"train_weights: expected a float64 tensor; got {describe(weights)}.")
    if weights.shape != (number,):
        raise ValueError(f"train_weights: expected shape ({number},), one for each image; got {tuple(weights.shape)}.")
    wrong = weights[~((weights > 0) & weights.isfinite())]
    if len(wrong):
        raise ValueError(f"train_weights: expected positive numbers; got {float(wrong[0])}.")


def _check_every_class_known(train_labels: Tensor, class_names: Sequence[str]) -> None:
    counts = torch.bincount(train_labels[train_labels >= 0], minlength=len(class_names)).tolist()
    if any(counts) and 0 in counts:
        label = counts.index(0)
        raise ValueError(
            f"train_labels: expected a label of every class (or of none at all); "
            f"got none of class {label} ({class_names[label]!r})."
        )


def _warning(part: str, labels: Tensor, class_names: Sequence[str]) -> str:
    """Return a warning that names the classes of which a part has no images; "" if there are none."""
    counts = torch.bincount(labels, minlength=len(class_names)).tolist()
    absent = [repr(name) for name, count in zip(class_names, counts, strict=True) if count == 0]
    if not len(labels) or not absent:
        return ""
    names = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
    return f"\nWarning: there is no {part} image of {names}, so the {part} accuracy does not include it."


def _part_or_empty(
    part: str, images: Tensor | None, labels: Tensor | None, image_shape: torch.Size
) -> tuple[Tensor, Tensor]:
    if images is None and labels is None:
        return torch.empty(0, *image_shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
    if images is None or labels is None:
        given, absent = ("labels", "images") if images is None else ("images", "labels")
        raise ValueError(f"{part}_{absent}: expected a tensor as {part}_{given} is given; got None.")
    return images, labels
