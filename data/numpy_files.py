"""Images in NumPy files, mapped into memory, so that they may be larger than memory."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssvae.data.classes import known_classes, number_classes
from ssvae.data.images import ImageData
from ssvae.data.labels import check_count, draw_labels
from ssvae.data.pixels import NEARLY_BLACK, layout_of, white_of

_CHANNELS = (1, 2, 3)
_LOOKED_AT = 1000


class NumpyFiles(ImageData):
    """Arrays in NumPy files, mapped into memory: images are read from disk when they are needed.

    The folder ``root`` contains::

        train_images.npy         uint8 of 0 … 255, (N, H, W), or (N, C, H, W) or (N, H, W, C) with 1 to 3 channels
        train_labels.npy         classes (N,), numbers or names, -1 or NaN for unlabelled images, as of Arrays
        test_images.npy          the same for testing, and test_labels.npy; or neither
        test_labels.npy
        validation_images.npy    the same for validation, and validation_labels.npy; or neither
        validation_labels.npy
        class_names.txt          optional: a name in each line; default: the classes' numbers or names

    If both the second and the last axis could be channels, the second is. The files are written by ``numpy.save``, or
    by ``numpy.lib.format.open_memmap`` if the images do not fit into memory. Training reads the images of a step from
    disk while previous steps are computed. Only labels and the order of the images are in memory, about 40 bytes per
    image.

    Args:
        root: The folder.
        num_labels: The number of training images that keep their label; None for all that have one, 0 for none.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share; of no effect if
            ``num_labels`` is None.
        seed: The random seed of the choice of labelled images.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).

    Raises:
        FileNotFoundError: If ``root`` or one of its files does not exist.
        TypeError: If a number is not an integer, or an array is not of the type stated.
        ValueError: If a file is not an array of the shape stated, or there are fewer labels than asked for.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from ssvae.data import NumpyFiles
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
            raise FileNotFoundError(f"root: expected a folder of .npy files; got {str(root)!r}, which does not exist.")
        parts = [
            part
            for part in ("train", "validation", "test")
            if part == "train" or _path(folder, part, "images").exists()
        ]
        images: dict[str, Tensor] = {}
        for part in parts:
            images[part] = _images(folder, part, images.get("train"))
        arrays = {f"{part}_labels": _array(_path(folder, part, "labels"), mapped=False) for part in parts}
        names = folder / "class_names.txt"
        if not names.is_file() and not any(known_classes(name, array)[1].any() for name, array in arrays.items()):
            raise ValueError(f"root: expected {names.name} in {folder}, as no label is known; got none.")
        given = names.read_text(encoding="utf-8").splitlines() if names.is_file() else None
        labels, class_names = number_classes(arrays, given)
        super().__init__(
            "NumpyFiles",
            images["train"],
            draw_labels(labels["train_labels"], num_labels, len(class_names), balanced=balanced, seed=seed),
            class_names=class_names,
            validation_images=images.get("validation"),
            validation_labels=labels.get("validation_labels"),
            test_images=images.get("test"),
            test_labels=labels.get("test_labels"),
            binarise=binarise,
        )
        self.root = root
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed


def _path(folder: Path, part: str, kind: str) -> Path:
    return folder / f"{part}_{kind}.npy"


def _images(folder: Path, part: str, train_images: Tensor | None) -> Tensor:
    """Map a part's images, (N, C, H, W)."""
    argument = f"{part}_images"
    images = _array(_path(folder, part, "images"), mapped=True)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise TypeError(
            f"{argument}: expected uint8 of shape (N, H, W), (N, C, H, W) or (N, H, W, C), as files are mapped, not "
            f"converted; got {images.dtype} {images.shape}: pass np.load of the file to Arrays, or save the images as "
            "uint8 of 0 … 255."
        )
    like = None if train_images is None else tuple(train_images.shape[1:])
    layout = layout_of(argument, images.shape, is_tensor=True, like=like, channels=_CHANNELS)
    sample: Any = images[:: max(1, len(images) // _LOOKED_AT)]
    if not (sample > NEARLY_BLACK).any():
        white_of(argument, images)  # raises if 255 is not white, by all images
    tensor = torch.from_numpy(images).permute(layout)
    return tensor.unsqueeze(1) if len(layout) == 3 else tensor


def _array(path: Path, *, mapped: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if not path.is_file():
        raise FileNotFoundError(f"root: expected a file {path.name} in {path.parent}; got none.")
    try:
        # "c" (copy on write): torch needs writeable memory, and the file must not change.
        array = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"root: expected an array written by numpy.save; got {path}, which is damaged or of another kind."
        ) from error
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        # Batches are random: reading ahead in the file would read fifty times as much as is used.
        array.base.madvise(mmap.MADV_RANDOM)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"root: expected an array written by numpy.save; got {path}, which is an archive.")
    return array
