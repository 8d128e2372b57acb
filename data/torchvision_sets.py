"""MNIST, Fashion-MNIST and SVHN, read through torchvision."""

import importlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor

from ssvae.data.drawn import DrawnLabels, Parts
from ssvae.data.hierarchy import Tree
from ssvae.data.images import check_part

_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def _idx_files(name: str) -> list[str]:
    return [
        f"{name}/raw/{part}-{content}-ubyte" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")
    ]


class TorchvisionSet(DrawnLabels):
    """An official training set, from which validation images are set apart, and its official test set.

    Attributes:
        title: The name in printed lines.
        classes: The names of the classes.
        shape: The shape of an image, (channels, height, width).
        files: The files that are read, from ``root``.
    """

    title: ClassVar[str]
    classes: ClassVar[Sequence[str]]
    shape: ClassVar[tuple[int, int, int]]
    files: ClassVar[Sequence[str]]

    def __init__(
        self,
        num_labels: int | None = 100,
        *,
        num_validation: int = 10_000,
        balanced: bool = True,
        seed: int = 0,
        root: str | None = None,
        download: bool = True,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        """Read the images, set some apart for validation, and hide labels.

        Args:
            num_labels: The number of training images that keep their label; None for all, 0 for none.
            num_validation: The number of training images set apart for validation, the same ones for every ``seed``.
            balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
            seed: The random seed of the choice of labelled images.
            root: Folder that holds the files; None for the environment variable SSVAE_DATA, else ~/.cache/ssvae.
            download: Whether files that ``root`` lacks are downloaded.
            binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic
                binarisation).
            tree: Main classes with their classes, ``{"footwear": ["Sandal", …], …}``, or the path of a YAML file of
                them; accuracy is then also reported for main classes. None for no main classes.
            num_coarse_labels: The number of further training images that keep their main class only.
            hidden_classes: The numbers of classes of which no training image keeps its label; a model has to
                discover them.

        Raises:
            FileNotFoundError: If files are missing and cannot be downloaded.
            TypeError: If a number or the seed is not an integer.
            ValueError: If fewer images or labels exist than are asked for, or a file is damaged.
        """
        folder = Path(root or os.environ.get("SSVAE_DATA") or Path.home() / ".cache" / "ssvae")
        super().__init__(
            self.title,
            self.classes,
            lambda: self._read_parts(folder, download),
            num_labels=num_labels,
            num_validation=num_validation,
            balanced=balanced,
            seed=seed,
            binarise=binarise,
            tree=tree,
            num_coarse_labels=num_coarse_labels,
            hidden_classes=hidden_classes,
        )
        self.root = root
        self.download = download

    @staticmethod
    @abstractmethod
    def read(datasets: ModuleType, root: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        """Read the training or the test set with `torchvision.datasets`.

        Returns:
            Images, uint8 (N, channels, height, width), and their classes, (N,).
        """

    def _read_parts(self, folder: Path, download: bool) -> Parts:
        datasets = import_torchvision_datasets()
        try:
            sets = [self.read(datasets, str(folder), train, download) for train in (True, False)]
            for part, (images, labels) in zip(("train", "test"), sets, strict=True):
                check_part(part, images, labels, len(self.classes), lowest_label=0)
                if images.shape[1:] != self.shape or len(images) == 0:
                    raise ValueError(f"{part}_images of shape {tuple(images.shape)}.")
        # torchvision's error depends on where the file is damaged.
        except Exception as error:
            raise _reading_error(self.title, folder, self.files, error) from error
        return Parts(*sets[0], *sets[1])


class MNIST(TorchvisionSet):
    """Handwritten digits: 60000 for training and validation, 10000 for testing, of 28×28 grey pixels.

    Example:
        >>> from ssvae.data import MNIST
        >>> mnist = MNIST(num_labels=100)  # doctest: +SKIP
        >>> mnist.num_labelled, mnist.image_shape  # doctest: +SKIP
        (100, (1, 28, 28))

    Args:
        root: Folder that holds ``MNIST/raw``; None for the environment variable SSVAE_DATA, else ~/.cache/ssvae.

    The other arguments are those of every `TorchvisionSet`.

    References:
        LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".
    """

    title = "MNIST"
    classes = _DIGITS
    shape = (1, 28, 28)
    files = _idx_files("MNIST")

    @staticmethod
    def read(datasets: ModuleType, root: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        """See `TorchvisionSet.read`."""
        digits = datasets.MNIST(root, train=train, download=download)
        return digits.data.unsqueeze(1), digits.targets  # (N, 1, 28, 28), (N,)


class FashionMNIST(TorchvisionSet):
    """Articles of clothing: 60000 for training and validation, 10000 for testing, of 28×28 grey pixels.

    Args:
        root: Folder that holds ``FashionMNIST/raw``; None for the environment variable SSVAE_DATA, else ~/.cache/ssvae.

    The other arguments are those of every `TorchvisionSet`.

    References:
        Xiao, Rasul & Vollgraf (2017), "Fashion-MNIST", arXiv:1708.07747.
    """

    title = "FashionMNIST"
    classes = (
        *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    shape = (1, 28, 28)
    files = _idx_files("FashionMNIST")

    @staticmethod
    def read(datasets: ModuleType, root: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        """See `TorchvisionSet.read`."""
        articles = datasets.FashionMNIST(root, train=train, download=download)
        return articles.data.unsqueeze(1), articles.targets  # (N, 1, 28, 28), (N,)


class SVHN(TorchvisionSet):
    """Street-view house numbers: 73257 for training and validation, 26032 for testing, of 32×32 RGB pixels.

    Args:
        root: Folder of ``train_32x32.mat`` and ``test_32x32.mat``; None for the environment variable SSVAE_DATA,
            else ~/.cache/ssvae.

    The other arguments are those of every `TorchvisionSet`.

    References:
        Netzer, Wang, Coates, Bissacco, Wu & Ng (2011), "Reading digits in natural images with unsupervised
        feature learning".
    """

    title = "SVHN"
    classes = _DIGITS
    shape = (3, 32, 32)
    files = ("train_32x32.mat", "test_32x32.mat")

    # Only two defaults differ, but a run folder, --help and an editor read every argument from the signature.
    def __init__(
        self,
        num_labels: int | None = 1000,
        *,
        num_validation: int = 7257,
        balanced: bool = True,
        seed: int = 0,
        root: str | None = None,
        download: bool = True,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        super().__init__(
            num_labels,
            num_validation=num_validation,
            balanced=balanced,
            seed=seed,
            root=root,
            download=download,
            binarise=binarise,
            tree=tree,
            num_coarse_labels=num_coarse_labels,
            hidden_classes=hidden_classes,
        )

    @staticmethod
    def read(datasets: ModuleType, root: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        """See `TorchvisionSet.read`."""
        numbers = datasets.SVHN(root, split="train" if train else "test", download=download)
        return torch.from_numpy(numbers.data), torch.from_numpy(numbers.labels)  # (N, 3, 32, 32), (N,)


def _reading_error(name: str, folder: Path, files: Sequence[str], error: Exception) -> Exception:
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        return FileNotFoundError(
            f"root: expected the files of {name} in {str(folder)!r}, or a network to download them; "
            f"got neither ({type(error).__name__}); put {', '.join(missing)} there, "
            f"or point root or $SSVAE_DATA to a folder that holds them."
        )
    reason = str(error).strip().split("\n")[0] or f"others ({type(error).__name__})."
    return ValueError(f"root: expected undamaged files of {name} in {str(folder)!r}; got: {reason}")


def import_torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets`, even if torchvision's compiled operators do not match this version of torch.

    After one call every other ``import torchvision`` in the program succeeds as well.

    Returns:
        The module.

    Raises:
        ImportError: If torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    # With torch and torchvision built for different devices, the operators for detecting boxes cannot be
    # loaded, and torchvision stops at describing those two. Reading images needs neither: that they are
    # declared is enough.
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    return importlib.import_module("torchvision.datasets")
