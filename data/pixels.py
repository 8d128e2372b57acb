"""Reading pixels from arrays: the value of white, and the axis of the channels."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssvae.data.observations import describe

Values = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Array: TypeAlias = npt.ArrayLike | Tensor

_ROUNDING = 1e-3
"""Tolerance of floats outside [0, 1]: the spacing of float16 at 1, and less than half a grey level."""
NEARLY_BLACK = 16
"""Whole numbers up to this value are ambiguous: dark 8-bit images, or images with another white."""
CHANNELS = (1, 3)


class PixelReader:
    """Reads the pixels of all parts of a data set by one rule, which the training images decide.

    The value w of white follows from the type and the highest value m of the training images:

    * floats in [0, 1], or with any fraction: w = 1;
    * booleans, and integers other than uint8 with m = 1: w = 1;
    * whole numbers, also floats, with 16 < m ≤ 255: w = 255;
    * integers with 16383 < m ≤ 65535: w = 65535.

    A pixel x becomes round(255 x / w). Other values are refused: whole numbers up to 16, for example, may be dark 8-bit
    images or bright 4-bit ones. A part of another type than the training images is read by its own values, if they are
    unambiguous.

    Args:
        argument: The name of the training images in error messages.
        images: The training images.

    Raises:
        TypeError: If ``images`` are not numbers.
        ValueError: If they are ambiguous, or out of range.

    Attributes:
        argument: The name of the training images.
        pixels: The training images, uint8 (N, C, H, W), in memory of their own.
    """

    def __init__(self, argument: str, images: Array) -> None:
        self.argument = argument
        values = _as_numbers(argument, images)
        self._is_float = values.dtype.kind == "f"
        self._white = white_of(argument, values)
        layout = layout_of(argument, values.shape, is_tensor=isinstance(images, Tensor))
        self.pixels = _to_levels(argument, values, self._white, layout)

    def read(self, argument: str, images: Array) -> Tensor:
        """Return another part's images, uint8 (N, C, H, W), in memory of their own.

        Args:
            argument: Their name in error messages.
            images: The images.

        Raises:
            TypeError: If they are not numbers.
            ValueError: If they do not fit the training images, or are ambiguous.
        """
        values = _as_numbers(argument, images)
        layout = layout_of(
            argument, values.shape, is_tensor=isinstance(images, Tensor), like=tuple(self.pixels.shape[1:])
        )
        lowest, highest = _range(values)
        white = self._white
        if values.size and (values.dtype.kind == "f") == self._is_float and highest > 0:
            slack = _ROUNDING if self._is_float else 0
            if not (-slack <= lowest and _darkest(white) < highest <= white + slack):
                raise ValueError(
                    f"{argument}: expected pixels of which {white} is white, as in {self.argument}; "
                    f"got values from {lowest:.9g} to {highest:.9g}."
                )
        else:
            white = white_of(argument, values)
        return _to_levels(argument, values, white, layout)


def white_of(argument: str, values: Values) -> int:
    """Return the value of white, 1, 255 or 65535: see ``PixelReader``.

    Args:
        argument: The name of the values in error messages.
        values: Booleans, integers or floats of any shape.

    Raises:
        ValueError: If it is ambiguous, or values are outside of every range.
    """
    lowest, highest = _range(values)
    kind, got = values.dtype.kind, f"{values.dtype} from {lowest:.9g} to {highest:.9g}"
    if kind == "b" or not values.size:
        return 1
    if kind == "f" and not (lowest >= 0 and 1 < highest <= 255 and _is_whole(values)):
        # Written so that NaN fails as well.
        if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):
            raise ValueError(
                f"{argument}: expected floating-point pixels in [0, 1]; got values from {lowest:.9g} to {highest:.9g}"
                f"{_advice(argument, lowest, highest)}."
            )
        if 0 < highest <= (1 + _ROUNDING) / 255:
            raise ValueError(
                f"{argument}: expected floats of which 1 is white; got {got}, all but black: divided by 255 twice?"
            )
        return 1
    if lowest < 0 or highest > 65535:
        raise ValueError(f"{argument}: expected whole numbers of 0 … 255 or 0 … 65535; got {got}.")
    if highest == 0:
        return 255
    if highest == 1 and values.dtype != np.uint8:
        return 1
    if highest == 1:
        raise ValueError(
            f"{argument}: expected uint8 pixels of which 255 is white; got 0 and 1 alone, all but black: write "
            f"{argument} * 255 if 1 is white."
        )
    if highest <= NEARLY_BLACK or (values.dtype == np.int8):
        raise ValueError(
            f"{argument}: expected pixels of which 255 is white; got {got}: write {argument} / {highest:g} if "
            f"{highest:g} is white, {argument} / 255 if they are that dark."
        )
    if highest <= 255:
        return 255
    if highest <= 65535 // 4:
        bits = int(highest).bit_length()
        raise ValueError(
            f"{argument}: expected pixels of which 255 or 65535 is white; got {got}: write {argument} / "
            f"{2**bits - 1} if they have {bits} bits, {argument} / 65535 if they are dark ones of 16."
        )
    return 65535


def layout_of(
    argument: str,
    shape: tuple[int, ...],
    *,
    is_tensor: bool,
    like: tuple[int, ...] | None = None,
    channels: tuple[int, ...] = CHANNELS,
) -> tuple[int, ...]:
    """Return the axes of N, C, H and W in an array of images; the axes of N, H and W if there are no channels.

    If both the second and the last axis could be channels, tensors have them second, as everywhere in torch, and other
    parts of a data set are read like its training images.

    Args:
        argument: The name of the images in error messages.
        shape: Their shape.
        is_tensor: Whether they are a tensor.
        like: Channels, height and width of the training images; None if these are the training images.
        channels: The allowed numbers of channels.

    Raises:
        ValueError: If no axis can be channels, or both can.
    """
    if len(shape) == 3:
        return (0, 1, 2)
    if len(shape) == 2 and shape[1] > 1:
        side = round(shape[1] ** 0.5)
        example = f"{side}, {side}" if side * side == shape[1] else "height, width"
        raise ValueError(
            f"{argument}: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W); got {shape}: write "
            f"{argument}.reshape(-1, {example}) if each row is a picture."
        )
    if len(shape) != 4:
        raise ValueError(f"{argument}: expected shape (N, H, W), (N, H, W, C) or (N, C, H, W); got {shape}.")
    first, last = (0, 1, 2, 3), (0, 3, 1, 2)
    possible = {axes: tuple(shape[axis] for axis in axes[1:]) for axes in (first, last) if shape[axes[1]] in channels}
    if not possible:
        more = f": write {argument}[..., :3] to leave out an alpha channel" if shape[3] == 4 else ""
        raise ValueError(f"{argument}: expected 1 or 3 channels; got images of shape {shape}{more}.")
    alike = [axes for axes, image_shape in possible.items() if image_shape == like]
    if len(alike) == 1:
        return alike[0]
    if len(set(possible.values())) == 1 or is_tensor:
        return next(iter(possible))
    raise ValueError(
        f"{argument}: expected channels either second or last; got {shape}, where both may be: write "
        f"torch.tensor({argument}) if second, torch.tensor({argument}).permute(0, 3, 1, 2) if last."
    )


def _as_numbers(argument: str, images: Array) -> Values:
    """Return booleans, integers or floats as numpy's, sharing memory if possible."""
    if isinstance(images, list | tuple) and len(images) and all(isinstance(image, Tensor) for image in images):
        images = [np.asarray(_as_numbers(argument, image)) for image in images]
    if isinstance(images, Tensor):
        images = images.detach().to_dense() if images.layout != torch.strided else images.detach()
        # numpy has no bfloat16.
        values: Values = (images.float() if images.dtype == torch.bfloat16 else images).cpu().resolve_neg().numpy()
    elif isinstance(images, np.ma.MaskedArray) and np.ma.is_masked(images):
        raise ValueError(f"{argument}: expected pixels without a mask; got a masked array: write {argument}.filled(0).")
    else:
        try:
            values = np.asarray(images)
        except ValueError as error:  # lists of different lengths
            raise ValueError(
                f"{argument}: expected pictures of one size; got a {type(images).__name__} that makes no array."
            ) from error
    if values.dtype.kind not in "buif":
        came = describe(images) if isinstance(images, np.ndarray | Tensor) else f"{describe(images)} ({values.dtype})"
        raise TypeError(f"{argument}: expected numbers, booleans, integers or floats; got {came}.")
    return values


def _range(values: Values) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _is_whole(values: Values) -> bool:
    """Return whether every value is a whole number; image by image, because the first one usually decides."""
    return all(bool((image == np.rint(image)).all()) for image in np.atleast_1d(values))


def _darkest(white: int) -> float:
    """Return a lower bound of the highest value of images with this white that are not all black."""
    return {1: (1 + _ROUNDING) / 255, 255: NEARLY_BLACK, 65535: 65535 // 16}[white]


def _advice(argument: str, lowest: float, highest: float) -> str:
    """Return what to write for frequent kinds of floats outside [0, 1]."""
    if -1 - _ROUNDING <= lowest < -0.5 and highest <= 1 + _ROUNDING:
        return f": write ({argument} + 1) / 2 if -1 is black"
    if lowest >= -0.5 and highest <= 1.5:
        return f": write {argument}.clip(0, 1) if that is an overshoot"
    if lowest >= 0 and NEARLY_BLACK < highest <= 255:
        return f": write {argument} / 255 if 255 is white"
    return ""


def _to_levels(argument: str, values: Values, white: int, layout: tuple[int, ...]) -> Tensor:
    """Return round(255 x / w), uint8 (N, C, H, W), in new memory."""
    values = values.transpose(layout)
    if len(layout) == 3:
        values = values[:, None]
    if values.shape[1] not in CHANNELS:
        raise ValueError(f"{argument}: expected 1 or 3 channels; got images of shape {values.shape}.")
    if values.dtype == np.uint8 and white == 255:
        # A copy, because torch warns about read-only arrays and does not support negative strides.
        return torch.from_numpy(np.array(values, dtype=np.uint8, order="C"))
    levels = np.empty(values.shape, np.uint8)
    for level, image in zip(levels, values, strict=True):  # image by image, because float64 takes much memory
        level[...] = np.rint(image.astype(np.float64) * (255 / white)).clip(0, 255)
    return torch.from_numpy(levels)
