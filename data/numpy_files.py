"""Images in NumPy's files, which need not fit into memory."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.images import ImageData
from data.labels import check_count, draw_labels


class NumpyFiles(ImageData):
    """Arrays in a folder, mapped into memory: ten million images take no more of it than ten thousand.

    The folder `root` holds

        train_images.npy         uint8 (N, H, W), (N, C, H, W) with 1 to 3 channels
        train_labels.npy         integers (N,), -1 where the class is not known
        test_images.npy          the same for testing, and test_labels.npy; or neither
        test_labels.npy
        validation_images.npy    the same for validation, and validation_labels.npy; or neither
        validation_labels.npy
        class_names.txt          a name in each line; where there is none, classes are called by their numbers

    as `numpy.save` writes them, or where they do not fit into memory `numpy.lib.format.open_memmap`. Training reads the
    images of a step, from all over the file, while the steps before it are taken. What lies in memory are the labels
    and the order of the images, about 40 bytes for each.

    Args:
        root: the folder.
        num_labels: how many training images keep their label; None for all that have one, 0 for none.
        balanced: whether every class keeps equally many labels, rather than its share; of no effect if
            `num_labels` is None.
        seed: which images keep their label.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.

    Raises:
        FileNotFoundError: if `root` or one of its files does not exist.
        TypeError: if a number is not an integer, or an array is not of the type stated.
        ValueError: if a file is not an array of the shape stated, or there are not as many labels as asked for.

    Example:
        >>> import tempfile
        >>> root = tempfile.mkdtemp()
        >>> images = np.lib.format.open_memmap(f"{root}/train_images.npy", "w+", np.uint8, (1000, 28, 28))
        >>> images[:500] = 255
        >>> np.save(f"{root}/train_labels.npy", np.repeat([1, 0], 500))
        >>> NumpyFiles(root, num_labels=10).summary()[:60]
        'NumpyFiles: 1000 training images (10 labelled, 990 unlabelle'
    """

    memory_mapped = True

    def __init__(
        self,
        root: str,
        num_labels: int | None = None,
        *,
        balanced: bool = True,
        seed: int = 0,
        binarise: bool = False,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        folder = Path(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"root: expected a folder of .npy files; got {str(root)!r}, which is none.")
        train_images, train_labels = _part(folder, "train")
        validation, test = (
            _part(folder, part) if _path(folder, part, "images").exists() else _none(train_images)
            for part in ("validation", "test")
        )
        class_names = _class_names(folder, [train_labels, validation[1], test[1]])
        super().__init__(
            "NumpyFiles",
            train_images,
            draw_labels(train_labels, num_labels, len(class_names), balanced=balanced, seed=seed),
            class_names=class_names,
            validation_images=validation[0],
            validation_labels=validation[1],
            test_images=test[0],
            test_labels=test[1],
            binarise=binarise,
        )
        self.root = root
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed


def _path(folder: Path, part: str, kind: str) -> Path:
    return folder / f"{part}_{kind}.npy"


def _part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Map a part's images, (N, C, H, W), and read its labels, (N,)."""
    images = _array(_path(folder, part, "images"), mapped=True)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise TypeError(
            f"{part}_images: expected uint8 of shape (N, H, W) or (N, C, H, W); got {images.dtype} {images.shape}."
        )
    labels = _array(_path(folder, part, "labels"), mapped=False)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise TypeError(f"{part}_labels: expected integers of shape (N,); got {labels.dtype} {labels.shape}.")
    tensor = torch.from_numpy(images)
    return tensor.unsqueeze(1) if images.ndim == 3 else tensor, torch.from_numpy(labels.astype(np.int64))


def _array(path: Path, *, mapped: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if not path.is_file():
        raise FileNotFoundError(f"root: expected a file {path.name} in {path.parent}; got none.")
    try:
        # "c": never written to the file, and yet writeable, as torch wants its memory.
        found = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"root: expected an array as numpy.save writes it; {path} is none, or not whole.") from error
    if isinstance(found, np.memmap) and isinstance(found.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        # Neighbours of an image are not wanted next; read with each, they would be fifty times the work.
        found.base.madvise(mmap.MADV_RANDOM)
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(f"root: expected an array as numpy.save writes it; {path} is an archive.")
    return found


def _none(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return no images of this kind, and no labels."""
    return like[:0], torch.empty(0, dtype=torch.int64)


def _class_names(folder: Path, labels: Sequence[Tensor]) -> list[str]:
    path = folder / "class_names.txt"
    if path.is_file():
        return path.read_text(encoding="utf-8").splitlines()
    highest = max((int(part.max()) for part in labels if len(part)), default=-1)
    if highest < 0:
        raise ValueError(f"root: expected {path.name} in {folder}, as no label is known; got none.")
    return [str(label) for label in range(highest + 1)]
