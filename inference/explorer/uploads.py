"""Read image files from a browser, with checks of format and size."""

import io
import warnings

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ssvae.data.image_files import PixelsError, fit_image
from ssvae.models.networks import ImageShape

MOST_BYTES = 5 * 10**6
LARGEST_SIDE = 4096
SMALLEST_SIDE = 8

_FORMATS = ("PNG", "JPEG")


def read_upload(content: bytes, image_shape: ImageShape, *, invert: bool = False, bits: int | None = None) -> Tensor:
    """Read an uploaded image and resize it to a model's shape, as ``ssvae classify`` does with a file.

    Size and format are checked before pixels are decoded.

    Args:
        content: The bytes of a PNG or JPEG file.
        image_shape: Channels, height and width.
        invert: Whether to invert dark and bright.
        bits: The number of bits that the values of a 16-bit file use, as in the training images; None for all 16.

    Returns:
        uint8 image (channels, height, width).

    Raises:
        ValueError: If the file is not an image, damaged, too large or too small, or has 16-bit values of another number
            of bits.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"file: expected at most {MOST_BYTES // 10**6} MB; got {len(content) / 10**6:.1f} MB.")
    if not content:
        raise ValueError("file: expected a PNG or JPEG image; got an empty file.")
    with warnings.catch_warnings():
        # Pillow warns of minor defects, and of sizes that are refused below.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError("file: expected a PNG or JPEG image; got a file that is neither.") from error
        except Image.DecompressionBombError as error:
            raise ValueError(f"file: expected at most {_pixels(LARGEST_SIDE)}; got far more.") from error
        # Every exception, since Pillow's parsers raise many kinds on damaged files.
        except Exception as error:
            raise ValueError(_damaged(error)) from error
        with image:
            if max(image.size) > LARGEST_SIDE:
                raise ValueError(f"file: expected at most {_pixels(LARGEST_SIDE)}; got {_pixels(*image.size)}.")
            if min(image.size) < SMALLEST_SIDE:
                raise ValueError(f"file: expected at least {_pixels(SMALLEST_SIDE)}; got {_pixels(*image.size)}.")
            try:
                pixels = fit_image(image, image_shape, bits=bits)
            except PixelsError as error:
                raise ValueError(f"file: {error}") from error
            except Exception as error:
                raise ValueError(_damaged(error)) from error
    return 255 - pixels if invert else pixels


def _pixels(width: int, height: int | None = None) -> str:
    return f"{width}×{height or width} pixels"


def _damaged(error: Exception) -> str:
    return f"file: expected a whole image; got one that is damaged or cut short ({type(error).__name__})."
