"""Scikit-learn's small handwritten digits, which need no download."""

from collections.abc import Sequence

import numpy as np
import torch

from ssvae.data.drawn import DrawnLabels, Parts
from ssvae.data.hierarchy import Tree
from ssvae.data.labels import check_count


class Digits(DrawnLabels):
    """1797 handwritten digits of 8×8 grey pixels, part of scikit-learn.

    The 17 grey levels v = 0 … 16 are stored as round(255 v / 16).

    Example:
        >>> from ssvae.data import Digits
        >>> digits = Digits(num_labels=50)
        >>> digits.num_labelled, digits.num_unlabelled, digits.image_shape
        (50, 1147, (1, 8, 8))

    Args:
        num_labels: The number of training images that keep their label; None for all, 0 for none.
        num_validation: The number of training images set apart for validation, the same ones for every ``seed``.
        num_test: The number of images set apart for testing; the choice depends on no other argument.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the choice of labelled images.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
        tree: Main classes with their classes, ``{"footwear": ["Sandal", …], …}``, or the path of a YAML file of them;
            accuracy is then also reported for main classes. None for no main classes.
        num_coarse_labels: The number of further training images that keep their main class only.
        hidden_classes: The numbers of classes of which no training image keeps its label; a model has to
            discover them.

    Raises:
        TypeError: If a number or the seed is not an integer.
        ValueError: If fewer images or labels exist than are asked for.

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
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_count("num_test", num_test)
        super().__init__(
            "Digits",
            [str(digit) for digit in range(10)],
            lambda: _read(num_test),
            num_labels=num_labels,
            num_validation=num_validation,
            balanced=balanced,
            seed=seed,
            binarise=binarise,
            tree=tree,
            num_coarse_labels=num_coarse_labels,
            hidden_classes=hidden_classes,
        )
        self.num_test = num_test


def _read(num_test: int) -> Parts:
    # Imported here because scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = torch.from_numpy(levels).unsqueeze(1)  # (1797, 1, 8, 8)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return Parts.of(images, labels, num_test, 10)
