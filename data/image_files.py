"""Reading image files, and converting them to 8-bit pixels of a given size and number of channels."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ssvae.data.time_left import progress

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 8
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# Only these formats, whatever the file's name: for PostScript, for example, Pillow would run another program.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_EXIF_ORIENTATION = 0x0112
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_DEEPEST = 16
_REDUCING_GAP = 3
"""A JPEG is decoded at an eighth to a half of its size where that is at least so many times the size asked for. Pillow
calls the result of 3 and more close to that of fair resampling."""

_FILES_AT_ONCE = 32

Result = TypeVar("Result")


class PixelsError(ValueError):
    """Pixels that can be read but would be misinterpreted."""


class Header(NamedTuple):
    """The properties of an image file.

    Attributes:
        height: The height of the upright image, in pixels.
        width: Its width, in pixels.
        is_grey: Whether it has no colours.
        largest: Its largest value if it has more than 8 bits; otherwise None.
    """

    height: int
    width: int
    is_grey: bool
    largest: int | None


def read_image(path: str | Path, image_shape: tuple[int, int, int], *, bits: int | None = None) -> Tensor:
    """Read one image for a trained model.

    Args:
        path: An image file.
        image_shape: Channels (1 or 3), height and width of the model's images. An image of another size is resampled,
            and its long side cropped at both ends.
        bits: The number of bits that the values of 16-bit files use, as ``ImageFolder.bits`` of the training images;
            None for all 16.

    Returns:
        uint8 image (C, H, W).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image that can be read, is smaller than 8×8, or has 16-bit values that use more bits
            than ``bits``, or fewer than 16 if ``bits`` is None.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: expected an image file; got {str(path)!r}, which is not a file.")
    read_header(Path(path))
    return read_images([Path(path)], image_shape, bits)[0]


def read_images(paths: Sequence[Path], image_shape: tuple[int, int, int], bits: int | None) -> Tensor:
    """Read files into one uint8 tensor (N, C, H, W), with all cores."""
    images = torch.empty(len(paths), *image_shape, dtype=torch.uint8)

    def read(path: Path) -> Tensor:
        with _opened(path) as image:
            return fit_image(image, image_shape, bits=bits)

    with _warnings_of_pillow():
        for row, image in enumerate(in_threads(read, paths)):
            images[row] = image
    return images


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Return the properties of each file, read with all cores; see `read_header`."""
    with _warnings_of_pillow():
        return list(in_threads(_header, paths))


def in_threads(read: Callable[[Path], Result], paths: Sequence[Path]) -> Iterator[Result]:
    """Yield what a function returns for each path, in order, computed ahead in a thread for each core.

    Reading files and Pillow's decoders leave Python's lock to other threads. A bar, or lines, say how long it takes.

    Args:
        read: The function; what it raises for the first path in order is raised.
        paths: The files.
    """
    pieces = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
    with (
        ThreadPoolExecutor(os.cpu_count(), "read-images") as threads,
        progress("reading images", len(paths), "files") as advance,
    ):
        for results in threads.map(lambda piece: [read(path) for path in piece], pieces):
            yield from results
            advance(len(results))


def fit_image(image: "Image", image_shape: tuple[int, int, int], *, bits: int | None = None) -> Tensor:
    """Convert an opened image to a model's shape: upright, opaque, resampled, its long side cropped at both ends.

    Args:
        image: An image opened by Pillow.
        image_shape: Channels (1 or 3), height and width.
        bits: The number of bits that 16-bit values use: 2^bits - 1 becomes 255; None for all 16.

    Returns:
        uint8 image (C, H, W).

    Raises:
        ValueError: If the model is for stereo pairs, or 16-bit values use another number of bits.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    if channels == 2:
        raise ValueError("channels: expected a model of grey or colour images; got one of stereo pairs.")
    # Only JPEG files have smaller versions of themselves, of an eighth, a quarter or a half.
    image.draft(None, (_REDUCING_GAP * max(height, width),) * 2)
    # Pillow's bilinear resampling averages over all pixels that a new pixel covers, and never overshoots.
    fitted = ImageOps.fit(_plain(image, channels, bits), (width, height), method=Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)


def read_header(path: Path) -> Header:
    """Return the size and colours of an image, without reading its pixels unless they have more than 8 bits.

    Raises:
        ValueError: If it cannot be read as an image, or would be misinterpreted.
    """
    with _warnings_of_pillow():
        return _header(path)


def _header(path: Path) -> Header:
    with _opened(path) as image:
        width, height = image.size
        if min(height, width) < SMALLEST_SIDE:
            raise PixelsError(
                f"expected an image of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels; got {height}×{width}."
            )
        _check_readable(image)
        largest = _largest(image)
        mode = image.mode
        if image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8):
            width, height = height, width
        palette = (image.getpalette() or []) if mode == "P" else []
    is_grey = mode in ("1", "L", "LA", "La") or mode.startswith("I")
    if mode == "P":
        is_grey = palette[0::3] == palette[1::3] == palette[2::3]
    return Header(height, width, is_grey, largest)


def find_images(path: str | Path) -> list[Path]:
    """List the image files that a path stands for.

    Args:
        path: An image file, or a folder of images, in which hidden files and files that are not images are passed over.

    Returns:
        The file itself, or the images in the folder in alphabetical order.

    Raises:
        FileNotFoundError: If there is neither a file nor a folder of this name.
        ValueError: If the folder holds no images.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"path: expected an image file or a folder of images; got {str(path)!r}, which does not exist."
        )
    files = images_in(path, "path")
    if not files:
        folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        hint = f" but folders, such as {folders[0]!r}; name those that hold the images" if folders else ""
        raise ValueError(f"path: expected images in the folder {str(path)!r}; got none{hint}.")
    return files


def images_in(folder: Path, argument: str) -> list[Path]:
    """List a folder's image files in alphabetical order, and refuse links."""
    named = (path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix.lower() in SUFFIXES)
    # No pipes or devices, whose reading might never end.
    files = sorted(path for path in named if path.is_file())
    for path in files:
        check_no_link(argument, path)
    return files


def passed_over(folder: Path) -> list[str]:
    """List the names of a folder's files and folders that `images_in` passes over, but for hidden and system files."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() not in SUFFIXES and not path.name.startswith((".", "__", "@", "$"))
        if path.name.casefold() not in ("thumbs.db", "desktop.ini")
    )


def some_of(names: Sequence[str]) -> str:
    """Return the first three names of a list, and how many more there are: "'a.txt', 'b.txt', 'c.txt' and 4 more"."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def check_no_link(argument: str, path: Path) -> None:
    """Raise ValueError if a path is a symbolic link."""
    if path.is_symlink():
        raise ValueError(
            f"{argument}: expected files and folders themselves; got {str(path)!r}, which is a symbolic link "
            "(cp -RL makes a copy without links)."
        )


def common_bits(paths: Sequence[Path], headers: Sequence[Header], bits: int | None) -> int | None:
    """Return the number of bits that the 16-bit values of a data set use; None if no file has such values.

    The number is the same for all files, so that differences in brightness between files are kept. Cameras and scanners
    write 10, 12 or 14 bits into 16-bit files.

    Args:
        paths: The files.
        headers: The properties of each file.
        bits: The number given by the user; None for the fewest bits that hold the largest value.

    Raises:
        ValueError: If a value is larger, or colours use fewer than 16 bits.
    """
    deep = [(header.largest, path) for path, header in zip(paths, headers, strict=True) if header.largest is not None]
    if not deep:
        return bits
    largest, path = max(deep)
    needed = max(8, largest.bit_length())
    if bits is not None and needed > bits:
        raise ValueError(f"bits: expected at least {needed}, as a value in {str(path)!r} is {largest}; got {bits}.")
    used = bits or needed
    colour = [path for path, header in zip(paths, headers, strict=True) if header.largest and not header.is_grey]
    if colour and used < _DEEPEST:
        raise ValueError(f"{str(colour[0])!r}: {_colour_error(used)}")
    return used


def check_bits(bits: int | None) -> None:
    """Raise ValueError unless ``bits`` is an integer from 8 to 16, or None."""
    if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or not 8 <= bits <= _DEEPEST):
        raise ValueError(f"bits: expected an integer from 8 to {_DEEPEST}, or None; got {bits!r}.")


@contextmanager
def _warnings_of_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings about defects that it can ignore, such as broken EXIF data; refuse images too large.

    Python's list of warnings is that of all threads: it is set before threads start.
    """
    # Imported here to keep `import ssvae.data` fast.
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """Open an image; any failure becomes one sentence that names the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except PixelsError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{str(path)!r}: expected an image of at most {Image.MAX_IMAGE_PIXELS} pixels; got a larger one."
        ) from error
    # Any exception: Pillow's parsers raise many kinds on damaged files.
    except Exception as error:
        raise ValueError(
            f"{str(path)!r}: expected an image file; got one that cannot be read ({type(error).__name__})."
        ) from error


def _check_readable(image: "Image") -> None:
    """Refuse images that Pillow opens but whose pixels it does not return."""
    if image.mode == "F":
        raise PixelsError("expected 8 or 16 bits per pixel; got floating-point pixels.")
    if image.format != "TIFF":
        return
    if image.mode.startswith("I") and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
        raise PixelsError("expected 16-bit values of which 0 is black; got a TIFF file in which 0 is white.")
    size, pages = image.size, getattr(image, "n_frames", 1)
    if pages > 1:
        image.seek(1)
        # A smaller second page is a preview.
        if image.size == size:
            raise PixelsError(f"expected one picture in a file; got a TIFF file of {pages} pages; save each as a file.")
        image.seek(0)


def _is_deep_colour(image: "Image") -> bool:
    """Return whether a file has 16-bit colours, or 16-bit grey with transparency, of which Pillow reads 8 bits only."""
    kinds = str([tile[3] for tile in getattr(image, "tile", [])])
    return image.format in ("PNG", "TIFF") and not image.mode.startswith("I") and ";16" in kinds


def _largest(image: "Image") -> int | None:
    """Return the largest value of an image with more than 8 bits; None for other images."""
    if _is_deep_colour(image):
        return 257 * int(np.asarray(image.convert("RGB")).max())
    if not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 2**_DEEPEST:
        raise PixelsError(f"expected values from 0 to {2**_DEEPEST - 1}; got {values.min()} to {values.max()}.")
    return int(values.max())


def _plain(image: "Image", channels: int, bits: int | None) -> "Image":
    """Return an upright 8-bit grey or RGB image without transparency."""
    from PIL import Image, ImageOps

    _check_readable(image)
    is_colour = _is_deep_colour(image)
    largest = _largest(image)
    upright = ImageOps.exif_transpose(image)
    if largest is not None:
        check_bits(bits)
        used = largest.bit_length()
        if bits is not None and used > bits:
            raise PixelsError(
                f"expected 16-bit values below {2**bits}, as in the training images (bits={bits}); got {largest}."
            )
        if is_colour and (bits or used) < _DEEPEST:
            raise PixelsError(_colour_error(bits or used))
        if bits is None and used < _DEEPEST:
            raise PixelsError(
                f"expected values up to {2**_DEEPEST - 1} in a 16-bit file, as the training images have none; "
                f"got {largest} at most, which may be white or nearly black; save it with 8 bits."
            )
        if not is_colour:
            # Pillow's own conversion clips values above 255.
            values = np.asarray(upright) * (255 / (2 ** (bits or _DEEPEST) - 1))
            upright = Image.fromarray(np.rint(values).astype(np.uint8))
    if upright.has_transparency_data:
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return upright.convert("L" if channels == 1 else "RGB")


def _colour_error(bits: int) -> str:
    return (
        f"expected 16-bit colours that use all 16 bits; got none above {2**bits - 1}, which would be nearly black; "
        "save the images with 8 bits per colour, the largest value as 255."
    )
