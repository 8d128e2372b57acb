"""Scikit-learn's small handwritten digits, which need no download."""

import numpy as np
import torch

from data.hierarchy import Tree, draw_main_labels, read_hierarchy
from data.images import ImageData
from data.labels import check_count, draw_labels, split


class Digits(ImageData):
    """1797 handwritten digits of 8×8 grey pixels, part of scikit-learn.

    The 17 grey values v = 0 … 16 are stored as round(255 v / 16).

    Args:
        num_labels: how many training images keep their label; None for all, 0 for none.
        num_validation: images set apart for validation; they do not depend on `seed`.
        num_test: images set apart for testing; they depend on no other argument.
        balanced: whether every class keeps equally many labels, rather than its share.
        seed: which images keep their label.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.
        tree: main classes with their classes, `{"footwear": ["Sandal", …], …}` or a YAML file of them, at which
            accuracy is reported too; or None.
        num_coarse_labels: how many of the other training images keep their main class.

    Raises:
        TypeError: if a number or the seed is not an integer.
        ValueError: if there are not as many images or labels as asked for.

    References:
        Alpaydin & Kaynak (1998), "Optical recognition of handwritten digits", UCI machine learning
        repository.
    """

    def __init__(
        self,
        num_labels: int | None = 100,
        *,
        num_validation: int = 200,
        num_test: int = 400,
        balanced: bool = True,
        seed: int = 0,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("num_validation", num_validation)
        check_count("num_test", num_test)
        check_count("seed", seed)
        class_names = [str(digit) for digit in range(10)]
        hierarchy = None if tree is None else read_hierarchy(tree, class_names)
        # Imported here since scikit-learn takes a second to import.
        from sklearn.datasets import load_digits

        bunch = load_digits()
        levels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        images = torch.from_numpy(levels).unsqueeze(1)  # (1797, 1, 8, 8)
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        kept, test = split(labels, num_test, 10, argument="num_test")
        train, validation = (kept[part] for part in split(labels[kept], num_validation, 10, argument="num_validation"))
        drawn = draw_labels(labels[train], num_labels, 10, balanced=balanced, seed=seed)
        super().__init__(
            "Digits",
            images[train],
            drawn,
            class_names=class_names,
            validation_images=images[validation],
            validation_labels=labels[validation],
            test_images=images[test],
            test_labels=labels[test],
            binarise=binarise,
            train_admissible=draw_main_labels(
                labels[train], drawn, hierarchy, num_coarse_labels, balanced=balanced, seed=seed
            ),
            hierarchy=hierarchy,
        )
        self.num_labels = num_labels
        self.num_validation = num_validation
        self.num_test = num_test
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels
