"""Small NORB: stereo images of toys, read from the data set's own binary files."""

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ssvae.data.drawn import DrawnLabels, Parts
from ssvae.data.hierarchy import Tree
from ssvae.data.labels import check_count

_CLASSES = ("animal", "human", "airplane", "truck", "car")
_PARTS = {
    "training": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "testing": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
_TYPES: dict[int, np.dtype[np.generic]] = {0x1E3D4C54: np.dtype("<i4"), 0x1E3D4C55: np.dtype("u1")}
_SMALLEST_SIDE, _LARGEST_SIDE = 8, 96
# The size of the images' file with its header. A damaged compressed file could expand to more than fits into memory.
_LARGEST_FILE = 24 + 24300 * 2 * 96 * 96


class SmallNORB(DrawnLabels):
    """Small NORB: 24300 images of 25 toys for training and validation, 24300 of 25 other toys for testing.

    Five classes of toys under 6 lightings, 9 elevations and 18 azimuths. Each image is a stereo pair: its two grey
    pictures of 96×96 pixels are the two channels, averaged over squares to ``size``. The files (``.mat`` or
    ``.mat.gz``; not Matlab's format) are not downloaded. They are at https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/.

    Args:
        num_labels: The number of training images that keep their label; None for all, 0 for none.
        num_validation: The number of training images set apart for validation, the same ones for every ``seed``.
        size: The height and width in pixels, from 8 to 96.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the choice of labelled images.
        root: Folder that holds the files; None for ``smallnorb`` in the environment variable SSVAE_DATA, else in
            ~/.cache/ssvae.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
        tree: Main classes with their classes, ``{"alive": ["animal", "human"], …}``, or the path of a YAML file of
            them; accuracy is then also reported for main classes. None for no main classes.
        num_coarse_labels: The number of further training images that keep their main class only.
        hidden_classes: The numbers of classes of which no training image keeps its label; a model has to
            discover them.

    Raises:
        FileNotFoundError: If a file is missing.
        TypeError: If a number or the seed is not an integer.
        ValueError: If fewer images or labels exist than are asked for, or a file is damaged.

    References:
        LeCun, Huang & Bottou (2004), "Learning methods for generic object recognition with invariance to pose and
        lighting".
    """

    def __init__(
        self,
        num_labels: int | None = 1000,
        *,
        num_validation: int = 2430,
        size: int = 32,
        balanced: bool = True,
        seed: int = 0,
        root: str | None = None,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_count("size", size)
        if not _SMALLEST_SIDE <= size <= _LARGEST_SIDE:
            raise ValueError(f"size: expected {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels; got {size}.")
        folder = Path(os.environ.get("SSVAE_DATA") or Path.home() / ".cache" / "ssvae") / "smallnorb"
        folder = folder if root is None else Path(root)
        super().__init__(
            "SmallNORB",
            _CLASSES,
            lambda: Parts(*_read_part(folder, "training", size), *_read_part(folder, "testing", size)),
            num_labels=num_labels,
            num_validation=num_validation,
            balanced=balanced,
            seed=seed,
            binarise=binarise,
            tree=tree,
            num_coarse_labels=num_coarse_labels,
            hidden_classes=hidden_classes,
        )
        self.size = size
        self.root = root


def _read_part(folder: Path, part: str, size: int) -> tuple[Tensor, Tensor]:
    """Return images, uint8 (N, 2, size, size), and their classes, int64 (N,)."""
    images = _read_matrix(folder, f"{_PARTS[part]}-dat.mat")
    labels = _read_matrix(folder, f"{_PARTS[part]}-cat.mat")
    if images.ndim != 4 or images.shape[1] != 2 or images.dtype != np.uint8:
        raise ValueError(f"root: expected pairs of 8-bit pictures in {part} -dat; got {images.dtype} {images.shape}.")
    if labels.shape != images.shape[:1] or labels.min() < 0 or labels.max() >= len(_CLASSES):
        raise ValueError(
            f"root: expected a class from 0 to {len(_CLASSES) - 1} for each of {len(images)} images in {part} -cat; "
            f"got others."
        )
    # In chunks, because floats take four times the memory.
    averaged = [
        adaptive_avg_pool2d(chunk.float(), size).round().to(torch.uint8)
        for chunk in torch.from_numpy(images).split(1000)
    ]
    return torch.cat(averaged), torch.from_numpy(labels.astype(np.int64))


def _read_matrix(folder: Path, name: str) -> npt.NDArray[np.generic]:
    """Read one of NORB's binary matrices: magic number, number of dimensions, sizes, content, little-endian."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"root: expected the file {name} or {name}.gz in {str(folder)!r}; got neither; it is at "
            "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/."
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ValueError("more than there is in any file of small NORB")
        magic, num_dimensions = np.frombuffer(content, "<u4", count=2).tolist()
        # The header has at least three sizes; for a vector two of them are unused.
        sizes = np.frombuffer(content, "<i4", count=max(3, num_dimensions), offset=8)
        shape = sizes[:num_dimensions].tolist()
        values = np.frombuffer(content, _TYPES[magic], offset=8 + sizes.nbytes)
        return values.reshape(shape).copy()
    except (EOFError, KeyError, OSError, ValueError, zlib.error) as error:
        raise ValueError(
            f"root: expected an undamaged file of small NORB; got {str(path)!r}, which cannot be read."
        ) from error
