"""Random augmentation: rotation, scaling, translation, elastic deformation, horizontal flip, light, cutout."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_NODES = 5
"""The number of nodes along each side of the grid of the elastic deformation."""

_GREY = 128 / 255
"""The grey level of cut-out rectangles, between background and foreground."""


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation, independently for each image.

    An image is rotated by U(-degrees, degrees), scaled by U(1 - scale, 1 + scale) about its centre, and shifted by
    U(-shift, shift) times its width and its height. An elastic deformation moves the pixels at the nodes of a 5×5 grid
    by N(0, elastic²) times width and height, and interpolates smoothly (Simard, Steinkraus and Platt 2003, ICDAR). All
    this is one bilinear resampling; edge pixels are repeated beyond the border. Then the image is flipped horizontally
    with probability ``horizontal_flip``: use it for images whose class does not change, such as clothes, not digits.
    Then the light changes: with m the mean of an image's values, each becomes m + c (x - m) + b, clipped to [0, 1],
    with c from U(1 - contrast, 1 + contrast) and b from U(-brightness, brightness) (Howard 2013, arXiv 1312.5402).
    Last, a rectangle of ``cutout`` times width and height becomes grey, with its centre anywhere in the image (DeVries
    and Taylor 2017, arXiv 1708.04552). In training only the classifier gets images in another light or with a cut-out
    rectangle; the generative terms get the whole image in its own light. Random numbers come from torch's global
    generator on the images' device.

    Args:
        degrees: The largest angle, in degrees, from 0 to 180.
        scale: The largest relative change of size, at least 0 and below 1.
        shift: The largest shift, as a share of the image's sides, from 0 to 1; 0.07 is 2 pixels of 28.
        elastic: The standard deviation of the deformation, as a share of the image's sides, from 0 to 1.
        horizontal_flip: The probability of a horizontal flip.
        cutout: The sides of the cut-out rectangle, as a share of the image's sides, from 0 to 1. The part beyond the
            border is ignored.
        brightness: The largest value that is added to or subtracted from all values of an image, from 0 to 1.
        contrast: The largest relative change of the differences from an image's mean, from 0 to 1.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from ssvae.data import Augmentation
        >>> Augmentation(degrees=0.0, scale=0.0, shift=0.1)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    degrees: float = 15.0
    scale: float = 0.1
    shift: float = 0.07
    elastic: float = 0.0
    horizontal_flip: float = 0.0
    cutout: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

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
        if not 0 <= self.brightness <= 1:
            raise ValueError(f"brightness: expected a number from 0 to 1; got {self.brightness}.")
        if not 0 <= self.contrast <= 1:
            raise ValueError(f"contrast: expected a number from 0 to 1; got {self.contrast}.")

    @property
    def disturbs(self) -> bool:
        """Whether some options change what is to be seen and not only where: light or cutout."""
        return bool(self.brightness or self.contrast or self.cutout)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the augmented images.

        Args:
            pixels: Floats in [0, 1] of shape (B, C, H, W).

        Returns:
            Floats (B, C, H, W), multiples of 1/255 in [0, 1]; ``pixels`` itself if all options are off.

        Raises:
            ValueError: If ``pixels`` is not a batch of floating-point images.
        """
        return self.disturb(self.move(pixels))

    def move(self, pixels: Tensor) -> Tensor:
        """Return the images rotated, scaled, shifted, deformed and flipped, in their own light and without cutout.

        Args:
            pixels: Floats in [0, 1] of shape (B, C, H, W).

        Returns:
            Floats (B, C, H, W) in [0, 1].

        Raises:
            ValueError: If ``pixels`` is not a batch of floating-point images.
        """
        _check(pixels)
        if len(pixels) == 0:
            return pixels
        if self.degrees or self.scale or self.shift or self.elastic:
            pixels = self._resampled(pixels)
        if self.horizontal_flip:
            flipped = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < self.horizontal_flip
            pixels = torch.where(flipped, pixels.flip(-1), pixels)
        return pixels

    def disturb(self, pixels: Tensor) -> Tensor:
        """Return the images in another light and with a cut-out rectangle each, where they are.

        Args:
            pixels: Floats in [0, 1] of shape (B, C, H, W).

        Returns:
            Floats (B, C, H, W) in [0, 1].

        Raises:
            ValueError: If ``pixels`` is not a batch of floating-point images.
        """
        _check(pixels)
        if self.brightness or self.contrast:
            pixels = self._relit(pixels)
        return self._cut(pixels) if self.cutout else pixels

    def _relit(self, pixels: Tensor) -> Tensor:
        """Return the images with other contrast and brightness."""
        uniform = torch.rand(2, len(pixels), 1, 1, 1, dtype=pixels.dtype, device=pixels.device) * 2 - 1
        mean = pixels.mean((1, 2, 3), keepdim=True)
        relit = mean + (1 + self.contrast * uniform[0]) * (pixels - mean) + self.brightness * uniform[1]
        return _eight_bit(relit)

    def _cut(self, pixels: Tensor) -> Tensor:
        """Return the images with a cut-out rectangle each."""
        height, width = pixels.shape[2:]
        rows, columns = (self._within(len(pixels), side, pixels.device) for side in (height, width))
        cut = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, H, W)
        return pixels.masked_fill(cut, _GREY)

    def _within(self, number: int, side: int, device: torch.device) -> Tensor:
        """Return which rows or columns (B, side) the rectangle covers: those whose centre lies inside."""
        centre = side * torch.rand(number, 1, device=device)
        middle = torch.arange(side, device=device) + 0.5
        return (middle - centre).abs() < self.cutout * side / 2

    def _resampled(self, pixels: Tensor) -> Tensor:
        """Return the images rotated, scaled, shifted and deformed."""
        uniform = torch.rand(4, len(pixels), dtype=pixels.dtype, device=pixels.device) * 2 - 1
        angles = uniform[0] * math.radians(self.degrees)
        shifts = self.shift * uniform[2:].T * _sides(pixels)  # (B, 2), in pixels
        return _resample(pixels, angles, 1 + self.scale * uniform[1], shifts, self._deformation(pixels))

    def _deformation(self, pixels: Tensor) -> Tensor | None:
        """Return the displacement of each pixel (B, H, W, 2), in half-widths and half-heights; None if elastic is 0."""
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
    """Return width and height (2,), computed on the images' device: copying numbers to a GPU would make it wait."""
    height, width = pixels.shape[2:]
    return height + (width - height) * torch.arange(1, -1, -1, dtype=pixels.dtype, device=pixels.device)


def _smoothing(like: Tensor, size: int) -> Tensor:
    """Return the nodes' weights in bicubic interpolation, (size, nodes): a matrix is faster than F.interpolate."""
    identity = torch.eye(_NODES, dtype=like.dtype, device=like.device)[None, :, :, None]
    return F.interpolate(identity, (size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T


def _resample(pixels: Tensor, angles: Tensor, scales: Tensor, shifts: Tensor, deformation: Tensor | None) -> Tensor:
    """Deform, rotate counterclockwise by ``angles`` (B,) in radians, scale (B,), then shift (B, 2) right and down."""
    # An output pixel is looked up at its origin: p_in = R(-angle) (p_out - shift) / scale, y pointing down.
    cosine, sine = angles.cos() / scales, angles.sin() / scales
    turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)  # (B, 2, 2), in pixels
    origin = -turn @ shifts.unsqueeze(2)  # (B, 2, 1), in pixels
    # affine_grid counts in half-widths and half-heights. Without the change of unit it would shear images that are not
    # square.
    unit = _sides(pixels) / 2
    theta = torch.cat([turn * unit, origin], dim=2) / unit.unsqueeze(1)  # (B, 2, 3)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)  # (B, H, W, 2)
    if deformation is not None:
        grid = grid + deformation
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _eight_bit(sampled)


def _eight_bit(pixels: Tensor) -> Tensor:
    """Return the closest multiples of 1/255 in [0, 1], the only pixels that an 8-bit likelihood accepts."""
    return (pixels * 255).round().clamp(0, 255) / 255
