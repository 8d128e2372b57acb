"""Data sets with labels of all images, most of which ``num_labels`` hides."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from torch import Tensor

from ssvae.data.hierarchy import Tree, draw_main_labels, read_hierarchy
from ssvae.data.images import ImageData
from ssvae.data.labels import check_count, draw_labels, split


class Parts(NamedTuple):
    """Images, uint8 (N, C, H, W), and their classes, int64 (N,): for training and validation, and for testing."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, num_test: int, num_classes: int) -> Self:
        """Set test images apart, each class in proportion and always the same ones."""
        kept, test = split(labels, num_test, num_classes, argument="num_test")
        return cls(images[kept], labels[kept], images[test], labels[test])


class DrawnLabels(ImageData):
    """A data set with labels of all images: sets validation images apart, and hides the labels of training images.

    Args:
        name: The name in printed lines.
        class_names: The names of the classes.
        read: A function that reads the images; called after the other arguments have been checked.
        num_labels: The number of training images that keep their label; None for all, 0 for none.
        num_validation: The number of training images set apart for validation, the same ones for every ``seed``.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the choice of labelled images.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
        tree: Main classes with their classes, or None.
        num_coarse_labels: The number of further training images that keep their main class only.

    Raises:
        TypeError: If a number or the seed is not an integer.
        ValueError: If fewer images or labels exist than are asked for.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        read: Callable[[], Parts],
        *,
        num_labels: int | None,
        num_validation: int,
        balanced: bool,
        seed: int,
        binarise: bool,
        tree: Tree | None,
        num_coarse_labels: int,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("num_validation", num_validation)
        check_count("seed", seed)
        hierarchy = None if tree is None else read_hierarchy(tree, class_names)
        images, labels, test_images, test_labels = read()
        train, validation = split(labels, num_validation, len(class_names), argument="num_validation")
        kept = draw_labels(labels[train], num_labels, len(class_names), balanced=balanced, seed=seed)
        super().__init__(
            name,
            images[train],
            kept,
            class_names=class_names,
            validation_images=images[validation],
            validation_labels=labels[validation],
            test_images=test_images.contiguous(),
            test_labels=test_labels,
            binarise=binarise,
            train_candidates=draw_main_labels(
                labels[train], kept, hierarchy, num_coarse_labels, balanced=balanced, seed=seed
            ),
            hierarchy=hierarchy,
        )
        self.num_labels = num_labels
        self.num_validation = num_validation
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels
