"""The decoded pixels of large folders of images, kept for the next time that the same files are read."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssvae.data.image_files import Header, in_threads, read_headers, read_images

FEWEST_FILES = 500
"""Fewer files are read in about a second, so that nothing is kept."""

MOST_BYTES = 4 * 2**30
_FORMAT = 1
_DAY = 24 * 60 * 60


class DecodedImages:
    """Image files, of which headers and pixels are decoded once.

    With 500 files or more they are kept in the folder ``decoded`` below the environment variable SSVAE_DATA, else
    ``~/.cache/ssvae``. An entry is found by the files' content, their order, the shape of the images and Pillow's
    version; names and dates do not matter. It is written to a temporary file, which then takes its name, so that a
    killed process leaves no half of one and processes may write the same at once. The folder is kept below 4 GiB:
    entries that were not used for the longest time go first. Where the folder cannot be written, or is inside the
    user's own, nothing is kept.

    Args:
        paths: The files.
        root: The user's folder of images, where nothing is written.
    """

    def __init__(self, paths: Sequence[Path], root: Path) -> None:
        self.paths = paths
        folder = Path(os.environ.get("SSVAE_DATA") or Path.home() / ".cache" / "ssvae") / "decoded"
        is_apart = root.resolve() not in (folder.resolve(), *folder.resolve().parents)
        self._folder = folder if len(paths) >= FEWEST_FILES and is_apart else None
        self._content = None if self._folder is None else _content(paths)

    def headers(self) -> list[Header]:
        """Return the properties of each file; see `read_header`."""
        rows = self._load("headers", (len(self.paths), len(Header._fields)), np.int64)
        if rows is not None:
            return [
                Header(height, width, bool(is_grey), None if largest < 0 else largest)
                for height, width, is_grey, largest in rows.tolist()
            ]
        headers = read_headers(self.paths)
        self._keep("headers", np.array([[*h[:3], -1 if h.largest is None else h.largest] for h in headers], np.int64))
        return headers

    def pixels(self, image_shape: tuple[int, int, int], bits: int | None) -> Tensor:
        """Return the images, uint8 (N, *image_shape), perhaps mapped from disk; see `read_images`."""
        name = f"{'x'.join(map(str, image_shape))}-{bits}"
        images = self._load(name, (len(self.paths), *image_shape), np.uint8)
        if images is not None:
            return torch.from_numpy(images)
        decoded = read_images(self.paths, image_shape, bits)
        self._keep(name, decoded.numpy())
        return decoded

    def _entry(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._content}-{name}.npy"

    def _load(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray | None:
        entry = self._entry(name)
        if entry is None:
            return None
        try:
            # Copied when a page is written, as torch asks for writable memory; the file is never written.
            values: np.ndarray = np.load(entry, mmap_mode="c", allow_pickle=False)
            os.utime(entry)
        except (OSError, ValueError, EOFError):
            return None
        return values if values.shape == shape and values.dtype == dtype else None

    def _keep(self, name: str, values: np.ndarray) -> None:
        """Write an entry, unless a file has changed since the content was looked at."""
        entry = self._entry(name)
        if entry is None or values.nbytes > MOST_BYTES or _content(self.paths) != self._content:
            return
        # A disk that is full or cannot be written costs the next reading its time, and nothing else.
        with suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            _make_room(entry.parent, values.nbytes)
            if shutil.disk_usage(entry.parent).free < 2 * values.nbytes:
                return
            descriptor, partial = tempfile.mkstemp(suffix=".partial", dir=entry.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    np.save(file, values, allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).replace(entry)
            finally:
                Path(partial).unlink(missing_ok=True)


def _make_room(folder: Path, num_bytes: int) -> None:
    """Remove what killed processes left, and the entries that were not used for the longest time."""
    for partial in folder.glob("*.partial"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > _DAY:
                partial.unlink()
    entries = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.npy")), reverse=True)
    for _, size, path in entries:
        num_bytes += size
        if num_bytes > MOST_BYTES:
            with suppress(OSError):
                path.unlink()


def _content(paths: Sequence[Path]) -> str:
    """Return a digest of the files' content, of Pillow's version and of the form of an entry."""
    import PIL

    content = hashlib.blake2b(f"{_FORMAT} {PIL.__version__}".encode(), digest_size=16)
    for digest in in_threads(_digest, paths):
        content.update(digest)
    return content.hexdigest()


def _digest(path: Path) -> bytes:
    # A file that cannot be read is refused in words when it is decoded.
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
    return b""
