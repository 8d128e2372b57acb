"""Images that are in memory already."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.hierarchy import Tree, draw_main_labels, read_hierarchy
from data.images import ImageData, describe
from data.labels import check_count, draw_labels

Array = npt.NDArray[np.generic] | Tensor


class Arrays(ImageData):
    """Images and labels from numpy arrays or tensors.

    Pixels are 8-bit (uint8, 0 … 255) or floats in [0, 1], which are rounded to multiples of 1/255. Shapes:

    * three dimensions: (N, H, W), grey;
    * four dimensions, tensor: (N, C, H, W);
    * four dimensions, numpy: (N, H, W, C) if the last is 1 or 3, else (N, C, H, W).

    Everything is copied. The attributes `images` and `labels` are the training images and labels as training
    sees them: of the classes that `num_labels` hides, nothing is kept.

    Args:
        images: training images.
        labels: integers (N,), -1 where the class is not known.
        test_images: test images, of the same size.
        test_labels: integers (N_t,).
        validation_images: validation images, or None for none.
        validation_labels: integers (N_v,), or None.
        class_names: one name for each class; None for "0" … up to the highest label there is.
        num_labels: how many training images keep their label; None for all that have one, 0 for none.
        balanced: whether every class keeps equally many labels, rather than its share; of no effect if
            `num_labels` is None.
        seed: which images keep their label.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.
        tree: main classes with their classes, `{"footwear": ["Sandal", …], …}` or a YAML file of them, at which
            accuracy is reported too; or None.
        num_coarse_labels: how many of the other training images keep their main class.
        admissible: booleans (N, K), which classes each training image may have, for images whose class is not
            known: some of them, or all; or None. Where `num_labels` hides a class, all.

    Raises:
        TypeError: if an argument is not an array, or not of the type stated.
        ValueError: if shapes, lengths, pixels or labels are not as stated.
    """

    def __init__(
        self,
        images: Array,
        labels: Array,
        *,
        test_images: Array,
        test_labels: Array,
        validation_images: Array | None = None,
        validation_labels: Array | None = None,
        class_names: Sequence[str] | None = None,
        num_labels: int | None = None,
        balanced: bool = True,
        seed: int = 0,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
        admissible: Array | None = None,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        given_labels = {
            "labels": _class_labels("labels", labels),
            "test_labels": _class_labels("test_labels", test_labels),
        }
        if validation_labels is not None:
            given_labels["validation_labels"] = _class_labels("validation_labels", validation_labels)
        if class_names is None:
            highest = max((int(part.max()) for part in given_labels.values() if len(part)), default=-1)
            if highest < 0:
                raise ValueError("class_names: expected the names of the classes as no label is known, got None.")
            class_names = [str(label) for label in range(highest + 1)]
        _check_range(given_labels, len(class_names))
        train_images = _eight_bit("images", images)
        if len(train_images) != len(labels):
            raise ValueError(f"labels: expected {len(train_images)} labels, one for each image, got {len(labels)}.")
        hierarchy = None if tree is None else read_hierarchy(tree, class_names)
        known = given_labels["labels"]
        kept = draw_labels(known, num_labels, len(class_names), balanced=balanced, seed=seed)
        partly = draw_main_labels(known, kept, hierarchy, num_coarse_labels, balanced=balanced, seed=seed)
        if admissible is not None:
            partly = _admitted(admissible, known, kept, partly, len(class_names))
        super().__init__(
            "Arrays",
            train_images,
            kept,
            class_names=class_names,
            validation_images=None if validation_images is None else _eight_bit("validation_images", validation_images),
            validation_labels=given_labels.get("validation_labels"),
            test_images=_eight_bit("test_images", test_images),
            test_labels=given_labels["test_labels"],
            binarise=binarise,
            train_admissible=partly,
            hierarchy=hierarchy,
        )
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels

    @property
    def admissible(self) -> Tensor | None:
        """The classes that each training image's label admits, booleans (N, K), or None."""
        return self.train_admissible

    @property
    def images(self) -> Tensor:
        """The training images, uint8 (N, C, H, W)."""
        return self.train_images

    @property
    def labels(self) -> Tensor:
        """The training labels, int64 (N,), -1 where not known or hidden."""
        return self.train_labels


def _class_labels(argument: str, labels: Array) -> Tensor:
    """Copy labels into an int64 tensor (N,)."""
    _check_array(argument, labels)
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else labels
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{argument}: expected integers, got {values.dtype}.")
    if values.ndim != 1:
        raise ValueError(f"{argument}: expected shape (N,), got {values.shape}.")
    return torch.from_numpy(values.astype(np.int64))


def _admitted(admissible: Array, known: Tensor, kept: Tensor, partly: Tensor | None, num_classes: int) -> Tensor:
    """Return which classes each image may have by all that is kept: its class, its main class, what is admitted."""
    _check_array("admissible", admissible)
    given = torch.as_tensor(admissible)
    if given.dtype != torch.bool or given.shape != (len(known), num_classes):
        raise ValueError(
            f"admissible: expected booleans of shape ({len(known)}, {num_classes}), got {describe(admissible)}."
        )
    alone = torch.nn.functional.one_hot(kept.clamp(min=0), num_classes).bool()
    hidden = ((known >= 0) & (kept < 0)).unsqueeze(-1)
    found = torch.where((kept >= 0).unsqueeze(-1), alone, given.cpu() | hidden)
    return found if partly is None else found & partly


def _check_range(given_labels: dict[str, Tensor], num_classes: int) -> None:
    for argument, labels in given_labels.items():
        lowest = -1 if argument == "labels" else 0
        outside = labels[(labels < lowest) | (labels >= num_classes)]
        if len(outside):
            raise ValueError(f"{argument}: expected labels from {lowest} to {num_classes - 1}, got {int(outside[0])}.")


def _eight_bit(argument: str, images: Array) -> Tensor:
    """Copy images into a uint8 tensor (N, C, H, W)."""
    _check_array(argument, images)
    if isinstance(images, Tensor):
        are_pixels = images.dtype == torch.uint8 or images.is_floating_point()
    else:
        are_pixels = images.dtype == np.uint8 or images.dtype.kind == "f"
    if not are_pixels:
        raise TypeError(f"{argument}: expected uint8 or floating-point pixels, got {describe(images)}.")
    values = images.detach().cpu() if isinstance(images, Tensor) else _as_tensor(images)
    if values.dim() == 3:
        values = values.unsqueeze(1)  # (N, 1, H, W)
    elif values.dim() != 4:
        raise ValueError(
            f"{argument}: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W), got {tuple(values.shape)}."
        )
    elif not isinstance(images, Tensor) and values.shape[3] in (1, 3):
        values = values.permute(0, 3, 1, 2)  # (N, C, H, W)
    if values.shape[1] not in (1, 3):
        raise ValueError(f"{argument}: expected 1 or 3 channels, got images of shape {tuple(images.shape)}.")
    if values.dtype == torch.uint8:
        return values.clone(memory_format=torch.contiguous_format)
    if values.numel():
        lowest, highest = float(values.min()), float(values.max())
        # Written so that NaN, which min and max hand on, fails as well.
        if not (lowest >= 0 and highest <= 1):
            raise ValueError(
                f"{argument}: expected floating-point pixels in [0, 1], got values from {lowest:g} to {highest:g}."
            )
    return (values.float() * 255).round_().to(torch.uint8, memory_format=torch.contiguous_format)


def _as_tensor(images: npt.NDArray[np.generic]) -> Tensor:
    # A copy, because torch warns of read-only arrays and takes no negative strides or foreign byte orders.
    return torch.from_numpy(images.astype(np.uint8 if images.dtype == np.uint8 else np.float32))


def _check_array(argument: str, value: Array) -> None:
    if not isinstance(value, np.ndarray | Tensor):
        raise TypeError(f"{argument}: expected a numpy array or a tensor, got {describe(value)}.")
