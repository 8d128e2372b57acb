"""Small NORB: toys from all sides, by two cameras, read from its own binary files."""

import gzip
import os
import zlib
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
# Of the images, with their head. A compressed file may say that it is larger than any memory.
_LARGEST_FILE = 24 + 24300 * 2 * 96 * 96


class SmallNORB(DrawnLabels):
    """Small NORB: 24300 images of 25 toys for training and validation, 24300 of 25 other toys for testing.

    Five classes of toys under 6 lightings, 9 elevations and 18 azimuths. Each image is a stereo pair, whose two
    grey pictures of 96×96 pixels are the two channels here, averaged over squares to `size`. The files (``.mat``,
    which have nothing to do with Matlab, or ``.mat.gz``) are not downloaded: they are at
    https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/.

    Args:
        num_labels: how many training images keep their label; None for all, 0 for none.
        num_validation: training images set apart for validation; they do not depend on `seed`.
        size: height and width in pixels, from 8 to 96.
        balanced: whether every class keeps equally many labels, rather than its share.
        seed: which images keep their label.
        root: folder that holds the files; None for ``smallnorb`` in the environment variable SSVAE_DATA, else in
            ~/.cache/ssvae.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.
        tree: main classes with their classes, `{"alive": ["animal", "human"], …}` or a YAML file of them, at which
            accuracy is reported too; or None.
        num_coarse_labels: how many of the other training images keep their main class.

    Raises:
        FileNotFoundError: if a file is missing.
        TypeError: if a number or the seed is not an integer.
        ValueError: if there are not as many images or labels as asked for, or a file is damaged.

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
    # In parts, since in floats they are four times as large.
    averaged = [
        adaptive_avg_pool2d(chunk.float(), size).round().to(torch.uint8)
        for chunk in torch.from_numpy(images).split(1000)
    ]
    return torch.cat(averaged), torch.from_numpy(labels.astype(np.int64))


def _read_matrix(folder: Path, name: str) -> npt.NDArray[np.generic]:
    """Read one of NORB's binary matrices: magic number, number of dimensions, sizes, content, little-endian."""
    path = next((each for each in (folder / name, folder / f"{name}.gz") if each.is_file()), None)
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
        # There are at least three sizes; of a vector, two of them mean nothing.
        sizes = np.frombuffer(content, "<i4", count=max(3, num_dimensions), offset=8)
        shape = sizes[:num_dimensions].tolist()
        values = np.frombuffer(content, _TYPES[magic], offset=8 + sizes.nbytes)
        return values.reshape(shape).copy()
    except (EOFError, KeyError, OSError, ValueError, zlib.error) as error:
        raise ValueError(
            f"root: expected an undamaged file of small NORB; got {str(path)!r}, which is none."
        ) from error
