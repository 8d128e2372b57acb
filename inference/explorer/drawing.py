"""Render strokes of a mouse as an image in the style of the training images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from ssvae.models.networks import ImageShape

Stroke = Sequence[tuple[float, float]]
"""Points (x, y) from the top left, in units of the side length of the canvas."""

_INK = 32  # of 255: least difference from the background of a pixel that counts as ink
_NUM_IMAGES = 1000
_PEN = 1 / 8  # width of the pen, as a fraction of the box; 2.5 pixels for MNIST
_BLUR = 0.35  # pixels
_FINER = 8  # supersampling: each pixel is drawn as 8×8
_SMALLEST = 0.1  # of the canvas; smaller drawings are not magnified further


@dataclass(frozen=True)
class DrawingStyle:
    """Size, position and background of the drawings in a data set.

    MNIST's digits were scaled to fit into a box of 20×20 pixels, then centred by their centre of mass in 28×28 pixels
    (LeCun et al. 1998, "Gradient-based learning applied to document recognition"). Drawings on the page are normalised
    in the same way, with the box and background of the data set. So a drawing that is small or in a corner is like the
    training images.

    Attributes:
        image_shape: Channels, height and width.
        box: Height and width of the box in pixels; 20 and 20 for MNIST, 8 and 7 for Digits.
        on_white: Whether the images are dark on bright, not bright on dark.
    """

    image_shape: ImageShape
    box: tuple[int, int]
    on_white: bool = False

    @classmethod
    def of(cls, images: Tensor) -> "DrawingStyle":
        """Estimate the style from the first 1000 images.

        The background is the median of the pixels at the border. Ink is what differs from it. The box is the 95 %
        quantile of the height and width of the ink.

        Args:
            images: uint8 (N, channels, height, width).
        """
        _, channels, height, width = images.shape
        grey = images[:_NUM_IMAGES].float().mean(1)  # (N, height, width)
        border = torch.cat([grey[:, [0, -1]].flatten(), grey[:, :, [0, -1]].flatten()])
        background = border.median()
        ink = (grey - background).abs() > _INK
        box = (_typical_extent(ink.any(2)), _typical_extent(ink.any(1)))
        return cls((channels, height, width), box, on_white=bool(background > 127.5))

    def render(self, strokes: Sequence[Stroke]) -> Tensor:
        """Render strokes: scaled to fit the box, centred by the centre of mass, smoothed.

        If centring would move ink out of the image, the drawing is moved to the edge instead.

        Args:
            strokes: The strokes; a stroke with a single point is a dot.

        Returns:
            uint8 image (channels, height, width), the same in all channels.

        Raises:
            ValueError: If there is no point at all.
        """
        if not any(strokes):
            raise ValueError("strokes: expected at least one point; got none.")
        channels, height, width = self.image_shape
        ink = self._ink(strokes)
        top = _placement(ink.mean(1), height * _FINER)
        left = _placement(ink.mean(0), width * _FINER)
        canvas = np.zeros((height * _FINER, width * _FINER), dtype=np.uint8)
        canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        smooth = Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(_BLUR * _FINER))
        fine = np.asarray(smooth, dtype=np.float64).reshape(height, _FINER, width, _FINER)
        image = torch.from_numpy(np.rint(fine.mean((1, 3))).astype(np.uint8))
        return (255 - image if self.on_white else image).expand(channels, -1, -1).clone()

    def _ink(self, strokes: Sequence[Stroke]) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
        """Draw strokes with a round pen on a finer grid, cropped to the ink."""
        points = np.array([point for stroke in strokes for point in stroke])
        corner = points.min(0)
        extent = np.ptp(points, axis=0)  # width, height
        pen = max(1, round(min(self.box) * _PEN * _FINER))
        room = np.array([self.box[1], self.box[0]]) * _FINER - pen
        # The same scale in both directions keeps the aspect ratio.
        scale = float(min(room / np.maximum(extent, _SMALLEST)))
        columns, rows = (math.ceil(side * scale) + pen for side in extent)
        picture = Image.new("L", (columns, rows))
        draw = ImageDraw.Draw(picture)
        for stroke in strokes:
            path = [tuple((np.array(point) - corner) * scale + (pen - 1) / 2) for point in stroke]
            for start, end in pairwise(path):
                draw.line([start, end], fill=255, width=pen)
            for x, y in path:
                draw.ellipse([x - (pen - 1) / 2, y - (pen - 1) / 2, x + (pen - 1) / 2, y + (pen - 1) / 2], fill=255)
        # Without the empty rows and columns that rounding may leave.
        return np.asarray(picture.crop(picture.getbbox()))


def _typical_extent(occupied: Tensor) -> int:
    """Return the 95 % quantile of the extent of the occupied part of (N, length); the length if all are empty."""
    length = occupied.shape[1]
    occupied = occupied[occupied.any(1)]
    if not len(occupied):
        return length
    places = torch.arange(length)
    first = torch.where(occupied, places, length).amin(1)
    last = torch.where(occupied, places, -1).amax(1)
    return round((last - first + 1).double().quantile(0.95).item())


def _placement(ink: "np.ndarray[tuple[int], np.dtype[np.float64]]", room: int) -> int:
    """Return the offset of ink that puts its centre of mass in the middle of the room, or as near as possible."""
    centre = float(((np.arange(len(ink)) + 0.5) * ink).sum() / ink.sum())
    return max(0, min(round(room / 2 - centre), room - len(ink)))
