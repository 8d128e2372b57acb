"""Images from arrays in memory."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssvae.data.classes import check_range
from ssvae.data.hierarchy import Tree, draw_main_labels, read_hierarchy
from ssvae.data.images import ImageData
from ssvae.data.labels import check_count, draw_labels
from ssvae.data.new_classes import number_known_classes
from ssvae.data.observations import describe
from ssvae.data.pixels import Array, PixelReader


class Arrays(ImageData):
    """Images and labels from numpy arrays, tensors, lists, or objects that convert to an array (pandas Series).

    Pixels are 8-bit (0 … 255), 16-bit (0 … 65535), zeros and ones, or floats in [0, 1] (with a tolerance of 0.001 for
    rounding). The training images decide which. Pixels become multiples of 1/255. Shapes:

    * (N, H, W), grey;
    * (N, H, W, C) or (N, C, H, W) with one or three channels C. If both the second and the last axis could be channels,
      tensors are read as (N, C, H, W), and arrays are refused.

    Labels are numbers or names of classes; -1, NaN or None for unlabelled images. Ambiguous input is refused with a
    sentence that says what to write.

    Everything is copied. The attributes ``images`` and ``labels`` are the training images and labels as training gets
    them: labels that ``num_labels`` hides are not stored.

    Example:
        >>> import numpy as np
        >>> from ssvae.data import Arrays
        >>> images, labels = np.random.rand(100, 8, 8), np.arange(100) % 2
        >>> data = Arrays(images, labels, test_images=images, test_labels=labels, num_labels=10)
        >>> data.num_labelled, data.num_unlabelled, data.image_shape
        (10, 90, (1, 8, 8))

    Args:
        images: Training images.
        labels: Classes (N,) or (N, 1): integers, whole floats, booleans, or names; or (N, K) with one 1 in each row.
            -1, NaN, None, "" or "unlabelled" for unlabelled images.
        test_images: Test images, of the same size and kind.
        test_labels: Classes (N_t,), all known.
        validation_images: Validation images, or None for none.
        validation_labels: Classes (N_v,), all known, or None.
        class_names: The names of the classes. Default: the names or numbers that occur; numbers are "0" … up to the
            highest label, or "1" … if no label is 0.
        num_labels: The number of training images that keep their label; None for all that have one, 0 for none.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share; of no effect if
            ``num_labels`` is None.
        seed: The random seed of the choice of labelled images.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
        tree: Main classes with their classes, ``{"footwear": ["Sandal", …], …}``, or the path of a YAML file of them;
            accuracy is then also reported for main classes. None for no main classes.
        num_coarse_labels: The number of further training images that keep their main class only.
        candidates: The candidate classes of each training image, booleans (N, K), for partial labels; None if there are
            no partial labels. An image whose label ``num_labels`` hides has all classes as candidates.
        num_new_classes: The number of further classes, of which no training image has a label: a guess, if it is not
            known. A model calls them "new 1", "new 2", …

    Raises:
        TypeError: If an argument does not convert to an array of the type stated.
        ValueError: If shapes, lengths, pixels or labels are not as stated, or are ambiguous.
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
        num_new_classes: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        all_labels = {"labels": labels, "test_labels": test_labels}
        if validation_labels is not None:
            all_labels["validation_labels"] = validation_labels
        given_labels, class_names, hidden = number_known_classes(all_labels, class_names, num_new_classes)
        check_range(given_labels, len(class_names) + len(hidden), "image")
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
            num_new_classes=num_new_classes,
            hidden_class_names=hidden,
        )
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels

    @property
    def candidates(self) -> Tensor | None:
        """The candidate classes of each training image, booleans (N, K), or None if there are no partial labels."""
        return self.train_candidates

    @property
    def images(self) -> Tensor:
        """The training images, uint8 (N, C, H, W)."""
        return self.train_images

    @property
    def labels(self) -> Tensor:
        """The training labels, int64 (N,), -1 for unlabelled images."""
        return self.train_labels


def _all_candidates(candidates: Array, known: Tensor, kept: Tensor, partial: Tensor | None, num_classes: int) -> Tensor:
    """Return the candidate classes of each image, given its class, its main class and the argument ``candidates``."""
    given = candidates if isinstance(candidates, Tensor) else torch.tensor(np.asarray(candidates))
    if given.dtype != torch.bool or given.shape != (len(known), num_classes):
        raise ValueError(
            f"candidates: expected booleans of shape ({len(known)}, {num_classes}); got {describe(candidates)}."
        )
    one_hot = torch.nn.functional.one_hot(kept.clamp(min=0), num_classes).bool()
    hidden = ((known >= 0) & (kept < 0)).unsqueeze(-1)
    merged = torch.where((kept >= 0).unsqueeze(-1), one_hot, given.cpu() | hidden)
    return merged if partial is None else merged & partial
