"""Image files, brought to the 8-bit pixels, the size and the channels that a model needs."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 8
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# No others, whatever a file is called: of PostScript, for one, Pillow would have another program run what it says.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_EXIF_ORIENTATION = 0x0112
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_DEEPEST = 16


class PixelsError(ValueError):
    """Pixels that are whole but would be misread: what was expected, and what came."""


class Header(NamedTuple):
    """What there is to know of an image before it is brought to a shape.

    Attributes:
        height: in pixels, of the upright image.
        width: the same.
        is_grey: whether it has no colours.
        largest: its largest value, where it has more than 8 bits; else None.
    """

    height: int
    width: int
    is_grey: bool
    largest: int | None


def read_image(path: str | Path, image_shape: tuple[int, int, int], *, bits: int | None = None) -> Tensor:
    """Read one image as a trained model needs it.

    Args:
        path: an image file.
        image_shape: channels (1 or 3), height and width of the model's images; an image of another size is
            resampled and its long side cut at both ends.
        bits: how many bits the values of 16-bit files use, as `ImageFolder.bits` of the training images says; None
            for all 16.

    Returns:
        uint8 image (C, H, W).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image that can be read, is smaller than 8×8, or has 16-bit values that use
            more bits than `bits`, or fewer than 16 where that is None.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: expected an image file; got {str(path)!r}, which is not a file.")
    read_header(Path(path))
    return read_images([Path(path)], image_shape, bits)[0]


def read_images(paths: Sequence[Path], image_shape: tuple[int, int, int], bits: int | None) -> Tensor:
    """Read files into one uint8 tensor (N, C, H, W)."""
    images = torch.empty(len(paths), *image_shape, dtype=torch.uint8)
    for row, path in enumerate(paths):
        with _opened(path) as image:
            images[row] = fit_image(image, image_shape, bits=bits)
    return images


def fit_image(image: "Image", image_shape: tuple[int, int, int], *, bits: int | None = None) -> Tensor:
    """Bring an opened image to a model's shape: upright, opaque, resampled, its long side cut at both ends.

    Args:
        image: Pillow's image.
        image_shape: channels (1 or 3), height and width.
        bits: how many bits 16-bit values use: 2^bits - 1 becomes 255; None for all 16.

    Returns:
        uint8 image (C, H, W).

    Raises:
        ValueError: if the model is one of stereo pairs, or 16-bit values use another number of bits.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    if channels == 2:
        raise ValueError("channels: expected a model of grey or colour images; got one of stereo pairs.")
    # Bilinear in Pillow averages over all that a new pixel covers, and unlike higher orders never overshoots.
    fitted = ImageOps.fit(_plain(image, channels, bits), (width, height), method=Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)


def read_header(path: Path) -> Header:
    """Size and colour of an image, without reading its pixels unless they have more than 8 bits.

    Raises:
        ValueError: if it is not an image that can be read, or would be misread.
    """
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
        path: an image file, or a folder of images, in which hidden files and files that are not images are
            passed over.

    Returns:
        The file itself, or the images in the folder in alphabetical order.

    Raises:
        FileNotFoundError: if there is neither a file nor a folder of this name.
        ValueError: if the folder holds no images.
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
        folders = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
        hint = f" but folders, such as {folders[0]!r}; name those that hold the images" if folders else ""
        raise ValueError(f"path: expected images in the folder {str(path)!r}; got none{hint}.")
    return files


def images_in(folder: Path, argument: str) -> list[Path]:
    """List a folder's image files in alphabetical order, and refuse links."""
    named = (path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix.lower() in SUFFIXES)
    # No pipes and devices, which might never end.
    files = sorted(path for path in named if path.is_file())
    for path in files:
        check_no_link(argument, path)
    return files


def check_no_link(argument: str, path: Path) -> None:
    """Raise ValueError if a path is a symbolic link."""
    if path.is_symlink():
        raise ValueError(
            f"{argument}: expected files and folders themselves; got {str(path)!r}, which is a symbolic link "
            "(cp -RL makes a copy without links)."
        )


def common_bits(paths: Sequence[Path], headers: Sequence[Header], bits: int | None) -> int | None:
    """Return how many bits the 16-bit values of a whole data set use; None where no file has such values.

    One number for all files, so that what is brighter in one than in another stays so. Cameras and scanners write
    10, 12 or 14 bits into files of 16.

    Args:
        paths: the files.
        headers: what is known of each.
        bits: what the user says; None for the fewest bits that hold the largest value.

    Raises:
        ValueError: if a value is larger, or colours use fewer than 16 bits.
    """
    deep = [(header.largest, path) for path, header in zip(paths, headers, strict=True) if header.largest is not None]
    if not deep:
        return bits
    largest, path = max(deep)
    found = max(8, largest.bit_length())
    if bits is not None and found > bits:
        raise ValueError(f"bits: expected at least {found}, as a value in {str(path)!r} is {largest}; got {bits}.")
    found = bits or found
    colour = [path for path, header in zip(paths, headers, strict=True) if header.largest and not header.is_grey]
    if colour and found < _DEEPEST:
        raise ValueError(f"{str(colour[0])!r}: {_colour_error(found)}")
    return found


def check_bits(bits: int | None) -> None:
    """Refuse what is not a number of bits from 8 to 16, or None."""
    if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or not 8 <= bits <= _DEEPEST):
        raise ValueError(f"bits: expected an integer from 8 to {_DEEPEST}, or None; got {bits!r}.")


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """Open an image; whatever is wrong with the file becomes one sentence that names it."""
    # Imported here to keep `import data` light.
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns of oddities that it reads past, such as broken EXIF data.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                yield image
        except PixelsError as error:
            raise ValueError(f"{str(path)!r}: {error}") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(
                f"{str(path)!r}: expected an image of at most {Image.MAX_IMAGE_PIXELS} pixels; got a larger one."
            ) from error
        # Everything: on a damaged file Pillow raises whatever its parser stumbles upon.
        except Exception as error:
            raise ValueError(
                f"{str(path)!r}: expected an image file; got one that cannot be read ({type(error).__name__})."
            ) from error


def _check_readable(image: "Image") -> None:
    """Refuse what Pillow would open and not give the pixels of."""
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
    """Whether a file not loaded yet has 16-bit colours, or grey with transparency, of which Pillow reads 8 bits."""
    kinds = str([tile[3] for tile in getattr(image, "tile", [])])
    return image.format in ("PNG", "TIFF") and not image.mode.startswith("I") and ";16" in kinds


def _largest(image: "Image") -> int | None:
    """The largest value of an image of more than 8 bits."""
    if _is_deep_colour(image):
        return 257 * int(np.asarray(image.convert("RGB")).max())
    if not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 2**_DEEPEST:
        raise PixelsError(f"expected values from 0 to {2**_DEEPEST - 1}; got {values.min()} to {values.max()}.")
    return int(values.max())


def _plain(image: "Image", channels: int, bits: int | None) -> "Image":
    """An upright 8-bit grey or RGB image without transparency."""
    from PIL import Image, ImageOps

    _check_readable(image)
    is_colour = _is_deep_colour(image)
    largest = _largest(image)
    upright = ImageOps.exif_transpose(image)
    if largest is not None:
        check_bits(bits)
        found = largest.bit_length()
        if bits is not None and found > bits:
            raise PixelsError(
                f"expected 16-bit values below {2**bits}, as in the training images (bits={bits}); got {largest}."
            )
        if is_colour and (bits or found) < _DEEPEST:
            raise PixelsError(_colour_error(bits or found))
        if bits is None and found < _DEEPEST:
            raise PixelsError(
                f"expected values up to {2**_DEEPEST - 1} in a file of 16 bits, as no training image says otherwise; "
                f"got {largest} at most, which may be white or nearly black; save it with 8 bits."
            )
        if not is_colour:
            # Pillow's own conversion cuts values above 255 off.
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
