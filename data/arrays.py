"""Images that are in memory already."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssvae.data.classes import number_classes
from ssvae.data.hierarchy import Tree, draw_main_labels, read_hierarchy
from ssvae.data.images import ImageData, describe
from ssvae.data.labels import check_count, draw_labels
from ssvae.data.pixels import Array, PixelReader


class Arrays(ImageData):
    """Images and labels from numpy arrays, tensors, lists, or what makes an array, such as a pandas Series.

    Pixels are 8-bit (0 … 255), 16-bit (0 … 65535), zeros and ones, or floats in [0, 1] (up to 0.001 outside is taken as
    rounding), as the training images say: `ssvae.data.pixels.PixelReader`. They become multiples of 1/255. Shapes:

    * (N, H, W), grey;
    * (N, H, W, C) or (N, C, H, W) with one or three channels C. Where the second axis and the last could both be
      channels, tensors are read as (N, C, H, W), and arrays are refused.

    Labels are numbers or names of classes, -1 or NaN or None where the class is not known:
    `ssvae.data.classes.number_classes`. What could be read in two ways is refused in a sentence that says what to
    write.

    Everything is copied. The attributes `images` and `labels` are the training images and labels as training
    sees them: of the classes that `num_labels` hides, nothing is kept.

    Args:
        images: training images.
        labels: classes (N,) or (N, 1): integers, floats that are whole, booleans, or names; or (N, K) with one 1 in
            each row. -1, NaN, None, "" or "unlabelled" where the class is not known.
        test_images: test images, of the same size and kind.
        test_labels: classes (N_t,), all known.
        validation_images: validation images, or None for none.
        validation_labels: classes (N_v,), all known, or None.
        class_names: one name for each class; None for the names or numbers there are: "0" … up to the highest label,
            "1" … where no label is 0.
        num_labels: how many training images keep their label; None for all that have one, 0 for none.
        balanced: whether every class keeps equally many labels, rather than its share; of no effect if
            `num_labels` is None.
        seed: which images keep their label.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.
        tree: main classes with their classes, `{"footwear": ["Sandal", …], …}` or a YAML file of them, at which
            accuracy is reported too; or None.
        num_coarse_labels: how many of the other training images keep their main class.
        candidates: booleans (N, K), which classes each training image may have, for images whose class is not
            known: some of them, or all; or None. Where `num_labels` hides a class, all.

    Raises:
        TypeError: if an argument does not make an array of the type stated.
        ValueError: if shapes, lengths, pixels or labels are not as stated, or may be read in two ways.
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
        candidates: Array | None = None,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        of_parts = {"labels": labels, "test_labels": test_labels}
        if validation_labels is not None:
            of_parts["validation_labels"] = validation_labels
        given_labels, class_names = number_classes(of_parts, class_names)
        _check_range(given_labels, len(class_names))
        reader = PixelReader("images", images)
        train_images = reader.pixels
        test_pixels = reader.read("test_images", test_images)
        validation = None if validation_images is None else reader.read("validation_images", validation_images)
        known = given_labels["labels"]
        if len(train_images) != len(known):
            raise ValueError(f"labels: expected {len(train_images)} labels, one for each image; got {len(known)}.")
        hierarchy = None if tree is None else read_hierarchy(tree, class_names)
        kept = draw_labels(known, num_labels, len(class_names), balanced=balanced, seed=seed)
        partial = draw_main_labels(known, kept, hierarchy, num_coarse_labels, balanced=balanced, seed=seed)
        if candidates is not None:
            partial = _all_candidates(candidates, known, kept, partial, len(class_names))
        super().__init__(
            "Arrays",
            train_images,
            kept,
            class_names=class_names,
            validation_images=validation,
            validation_labels=given_labels.get("validation_labels"),
            test_images=test_pixels,
            test_labels=given_labels["test_labels"],
            binarise=binarise,
            train_candidates=partial,
            hierarchy=hierarchy,
        )
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels

    @property
    def candidates(self) -> Tensor | None:
        """The classes that each training image's label admits, booleans (N, K), or None."""
        return self.train_candidates

    @property
    def images(self) -> Tensor:
        """The training images, uint8 (N, C, H, W)."""
        return self.train_images

    @property
    def labels(self) -> Tensor:
        """The training labels, int64 (N,), -1 where not known or hidden."""
        return self.train_labels


def _all_candidates(candidates: Array, known: Tensor, kept: Tensor, partial: Tensor | None, num_classes: int) -> Tensor:
    """Return which classes each image may have by all that is kept: its class, its main class, what is admitted."""
    given = candidates if isinstance(candidates, Tensor) else torch.tensor(np.asarray(candidates))
    if given.dtype != torch.bool or given.shape != (len(known), num_classes):
        raise ValueError(
            f"candidates: expected booleans of shape ({len(known)}, {num_classes}); got {describe(candidates)}."
        )
    alone = torch.nn.functional.one_hot(kept.clamp(min=0), num_classes).bool()
    hidden = ((known >= 0) & (kept < 0)).unsqueeze(-1)
    found = torch.where((kept >= 0).unsqueeze(-1), alone, given.cpu() | hidden)
    return found if partial is None else found & partial


def _check_range(given_labels: dict[str, Tensor], num_classes: int) -> None:
    for argument, labels in given_labels.items():
        lowest = -1 if argument == "labels" else 0
        outside = labels[(labels < lowest) | (labels >= num_classes)]
        if len(outside):
            unknown = ", an image whose class is not known" if outside[0] == -1 else ""
            raise ValueError(
                f"{argument}: expected labels from {lowest} to {num_classes - 1}; got {int(outside[0])}{unknown}."
            )
