"""From strokes with a mouse to an image like those that a model was trained on."""

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
"""Points (x, y) from the top left, in units of the canvas's side."""

_INK = 32  # of 255: how far a pixel is from the paper to count as drawn on
_LOOKED_AT = 1000
_PEN = 1 / 8  # width of the pen, as a share of the box; 2.5 pixels for MNIST
_BLUR = 0.35  # pixels
_FINER = 8  # each pixel is drawn as 8×8
_SMALLEST = 0.1  # of the canvas: a smaller drawing is not magnified further


@dataclass(frozen=True)
class DrawingStyle:
    """How the images of a data set are drawn.

    MNIST's digits were scaled into a box of 20×20 pixels, then shifted in 28×28 until their centre of mass lay
    in the middle (LeCun et al. 1998, "Gradient-based learning applied to document recognition"). Drawings are
    treated the same way, with the box and the paper that the data have: what is drawn in a corner, or small,
    looks to the model like the rest.

    Attributes:
        image_shape: Channels, height and width.
        box: Height and width in pixels of the box that ink fills; 20 and 20 for MNIST, 8 and 7 for Digits.
        on_white: Whether the data are dark on bright; a drawing is bright on dark otherwise.
    """

    image_shape: ImageShape
    box: tuple[int, int]
    on_white: bool = False

    @classmethod
    def of(cls, images: Tensor) -> "DrawingStyle":
        """Look at images, uint8 (N, channels, height, width), of which the first thousand count.

        The paper is the median of the border's pixels. Of the heights and widths of what differs from it the
        box takes the 95 % quantiles.
        """
        _, channels, height, width = images.shape
        grey = images[:_LOOKED_AT].float().mean(1)  # (N, height, width)
        border = torch.cat([grey[:, [0, -1]].flatten(), grey[:, :, [0, -1]].flatten()])
        paper = border.median()
        ink = (grey - paper).abs() > _INK
        box = (_typical_extent(ink.any(2)), _typical_extent(ink.any(1)))
        return cls((channels, height, width), box, on_white=bool(paper > 127.5))

    def render(self, strokes: Sequence[Stroke]) -> Tensor:
        """Draw strokes: scaled into the box, the centre of mass in the middle, smoothed.

        Where the centre of mass would push ink out of the image, the drawing stops at the image's edge.

        Args:
            strokes: The strokes; one of a single point is a dot.

        Returns:
            uint8 image (channels, height, width); grey in all channels.

        Raises:
            ValueError: If there is no point at all.
        """
        if not any(strokes):
            raise ValueError("strokes: expected at least one point; got none.")
        channels, height, width = self.image_shape
        drawn = self._ink(strokes)
        rows = _placement(drawn.mean(1), height * _FINER)
        columns = _placement(drawn.mean(0), width * _FINER)
        canvas = np.zeros((height * _FINER, width * _FINER), dtype=np.uint8)
        canvas[rows : rows + drawn.shape[0], columns : columns + drawn.shape[1]] = drawn
        smooth = Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(_BLUR * _FINER))
        fine = np.asarray(smooth, dtype=np.float64).reshape(height, _FINER, width, _FINER)
        image = torch.from_numpy(np.rint(fine.mean((1, 3))).astype(np.uint8))
        return (255 - image if self.on_white else image).expand(channels, -1, -1).clone()

    def _ink(self, strokes: Sequence[Stroke]) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
        """Draw strokes with a round pen on a finer grid that is as large as the ink."""
        points = np.array([point for stroke in strokes for point in stroke])
        corner = points.min(0)
        extent = np.ptp(points, axis=0)  # width, height
        pen = max(1, round(min(self.box) * _PEN * _FINER))
        room = np.array([self.box[1], self.box[0]]) * _FINER - pen
        # One scale for both directions: the drawing keeps its proportions.
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
    """Return the 95 % quantile of how long the occupied part of (N, length) is; the length where none is."""
    length = occupied.shape[1]
    occupied = occupied[occupied.any(1)]
    if not len(occupied):
        return length
    places = torch.arange(length)
    first = torch.where(occupied, places, length).amin(1)
    last = torch.where(occupied, places, -1).amax(1)
    return round((last - first + 1).double().quantile(0.95).item())


def _placement(ink: "np.ndarray[tuple[int], np.dtype[np.float64]]", room: int) -> int:
    """Return where ink starts so that its centre of mass lies in the middle of the room, all of it inside."""
    centre = float(((np.arange(len(ink)) + 0.5) * ink).sum() / ink.sum())
    return max(0, min(round(room / 2 - centre), room - len(ink)))
