"""Small random turns, scalings, shifts and bends of images, their mirror images, and rectangles cut out of them."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NODES = 5
"""On each side of the grid at which images are bent."""

_GREY = 128 / 255
"""What stands where a part of an image is cut out: neither ink nor paper."""


@dataclass(frozen=True)
class Augmentation:
    """Turn, scale, shift, bend, mirror and cut each image by itself, at random.

    An image is turned by U(-degrees, degrees), scaled by U(1 - scale, 1 + scale) about its centre, shifted by
    U(-shift, shift) times its width and its height, and bent: at the nodes of a grid of 5×5 its pixels move by
    N(0, elastic²) times its width and its height, smoothly in between (Simard, Steinkraus and Platt 2003, ICDAR).
    All that is one bilinear resampling; beyond the border its edge pixels go on. Then left and right change sides with
    probability `horizontal_flip`, for images that keep their class then, as clothes do and digits do not. Last, a
    rectangle of `cutout` times the width and the height turns grey, its centre anywhere in the image (DeVries and
    Taylor 2017, arXiv 1708.04552): the class has to be told from the rest. In training the classifier alone is shown
    images that are cut; the story is not asked to draw the rectangle.
    Randomness comes from torch's global generator on the images' device.

    Args:
        degrees: largest angle, in degrees, from 0 to 180.
        scale: largest relative change of size, at least 0 and below 1.
        shift: largest shift, as a share of the image's sides, from 0 to 1; 0.07 is 2 pixels of 28.
        elastic: standard deviation of the bending, as a share of the image's sides, from 0 to 1.
        horizontal_flip: probability with which left and right change sides.
        cutout: sides of the rectangle that is cut out, as a share of the image's, from 0 to 1; less of it where it
            reaches beyond the border.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> Augmentation(degrees=0.0, scale=0.0, shift=0.1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    degrees: float = 15.0
    scale: float = 0.1
    shift: float = 0.07
    elastic: float = 0.0
    horizontal_flip: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"degrees: expected an angle from 0 to 180; got {self.degrees}.")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale: expected a number of at least 0 and below 1; got {self.scale}.")
        if not 0 <= self.shift <= 1:
            raise ValueError(f"shift: expected a share of the image's sides, from 0 to 1; got {self.shift}.")
        if not 0 <= self.elastic <= 1:
            raise ValueError(f"elastic: expected a share of the image's sides, from 0 to 1; got {self.elastic}.")
        if not 0 <= self.horizontal_flip <= 1:
            raise ValueError(f"horizontal_flip: expected a probability from 0 to 1; got {self.horizontal_flip}.")
        if not 0 <= self.cutout <= 1:
            raise ValueError(f"cutout: expected a share of the image's sides, from 0 to 1; got {self.cutout}.")

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the images, each changed by itself.

        Args:
            pixels: floats in [0, 1] of shape (B, C, H, W).

        Returns:
            Floats (B, C, H, W), whole multiples of 1/255 in [0, 1]; `pixels` itself if there is nothing to
            change.

        Raises:
            ValueError: if `pixels` is not a batch of floating-point images.
        """
        return self.cut(self.move(pixels))

    def move(self, pixels: Tensor) -> Tensor:
        """Return the images turned, scaled, shifted, bent and mirrored, but whole; arguments as of a call."""
        _check(pixels)
        if len(pixels) == 0:
            return pixels
        if self.degrees or self.scale or self.shift or self.elastic:
            pixels = self._resampled(pixels)
        if self.horizontal_flip:
            flipped = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < self.horizontal_flip
            pixels = torch.where(flipped, pixels.flip(-1), pixels)
        return pixels

    def cut(self, pixels: Tensor) -> Tensor:
        """Return the images where they are, each with its own rectangle cut out; arguments as of a call."""
        _check(pixels)
        if not self.cutout:
            return pixels
        height, width = pixels.shape[2:]
        rows, columns = (self._within(len(pixels), side, pixels.device) for side in (height, width))
        cut = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
        return pixels.masked_fill(cut, _GREY)

    def _within(self, number: int, side: int, device: torch.device) -> Tensor:
        """Return which rows or columns (B, side) the rectangle covers: those whose middle lies within it."""
        centre = side * torch.rand(number, 1, device=device)
        middle = torch.arange(side, device=device) + 0.5
        return (middle - centre).abs() < self.cutout * side / 2

    def _resampled(self, pixels: Tensor) -> Tensor:
        """Return the images turned, scaled, shifted and bent."""
        uniform = torch.rand(4, len(pixels), dtype=pixels.dtype, device=pixels.device) * 2 - 1
        angles = uniform[0] * math.radians(self.degrees)
        shifts = self.shift * uniform[2:].T * _sides(pixels)  # (B, 2), in pixels
        return _resample(pixels, angles, 1 + self.scale * uniform[1], shifts, self._bends(pixels))

    def _bends(self, pixels: Tensor) -> Tensor | None:
        """How far right and down (B, H, W, 2) a pixel is looked up, in half-widths and half-heights; None for none."""
        if not self.elastic:
            return None
        nodes = 2 * self.elastic * torch.randn(len(pixels), _NODES, _NODES, 2, dtype=pixels.dtype, device=pixels.device)
        rows, columns = (_smoothing(nodes, size) for size in pixels.shape[2:])
        return torch.einsum("hi,bijd,wj->bhwd", rows, nodes, columns)


def _check(pixels: Tensor) -> None:
    if pixels.dim() != 4 or not pixels.is_floating_point():
        raise ValueError(
            f"pixels: expected floats of shape (B, C, H, W); got {pixels.dtype} of shape {tuple(pixels.shape)}."
        )


def _sides(pixels: Tensor) -> Tensor:
    """Width and height (2,), made where the images are: numbers that are sent to a GPU one by one make it wait."""
    height, width = pixels.shape[2:]
    return height + (width - height) * torch.arange(1, -1, -1, dtype=pixels.dtype, device=pixels.device)


def _smoothing(like: Tensor, size: int) -> Tensor:
    """Weights (size, nodes) of the nodes in bicubic interpolation: as a matrix, many times faster than on images."""
    each = torch.eye(_NODES, dtype=like.dtype, device=like.device)[None, :, :, None]
    return F.interpolate(each, (size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T


def _resample(pixels: Tensor, angles: Tensor, scales: Tensor, shifts: Tensor, bends: Tensor | None) -> Tensor:
    """Bend, turn by `angles` (B,) in radians against the clock, scale by (B,), then shift (B, 2) right and down."""
    # An output pixel is looked up where it came from: p_in = R(-angle) (p_out - shift) / scale, y pointing
    # down.
    cosine, sine = angles.cos() / scales, angles.sin() / scales
    turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)  # (B, 2, 2), in pixels
    origin = -turn @ shifts.unsqueeze(2)  # (B, 2, 1), in pixels
    # affine_grid counts in half-widths and half-heights; without the change of unit, images that are not
    # square shear.
    unit = _sides(pixels) / 2
    theta = torch.cat([turn * unit, origin], dim=2) / unit.unsqueeze(1)  # (B, 2, 3)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)  # (B, H, W, 2)
    if bends is not None:
        grid = grid + bends
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # An 8-bit likelihood gives mass to the multiples of 1/255 only, so that is where the pixels must lie.
    return (sampled * 255).round().clamp(0, 255) / 255
