"""What requests to the server of the explorer contain. Anything else gets a 4xx status and one sentence."""

import json
import math
import string
from typing import Any, TypeVar

import torch
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from torch import Tensor

from ssvae.inference.explorer.drawing import Stroke
from ssvae.inference.explorer.uploads import MOST_BYTES

_MOST_POINTS = 20_000
_EXPECTED_STROKES = 'strokes: expected {"strokes": [[[x, y], …], …]} in JSON; got another text.'

_Result = TypeVar("_Result")


async def body(request: Request) -> bytes:
    """Return the body of a request; stop reading if it is too long."""
    # For these types a browser asks for permission before a page of another site may send them; it is never given.
    if request.headers.get("content-type") not in ("application/json", "application/octet-stream"):
        raise HTTPException(415, "content-type: expected application/json or application/octet-stream; got another.")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MOST_BYTES:
                raise HTTPException(413, f"file: expected at most {MOST_BYTES // 10**6} MB; got more.")
    except ClientDisconnect as error:
        # The client is gone, but without this response the server's terminal would show a traceback.
        raise HTTPException(400, "content-length: expected as many bytes as were announced; got fewer.") from error
    return bytes(content)


def strokes_of(content: bytes) -> list[Stroke]:
    """Return the strokes of a drawing, in units of the canvas: {"strokes": [[[x, y], …], …]}."""
    strokes = _members(content).get("strokes")
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) for stroke in strokes):
        raise HTTPException(400, _EXPECTED_STROKES)
    points = [point for stroke in strokes for point in stroke]
    if len(points) > _MOST_POINTS:
        raise HTTPException(400, f"strokes: expected at most {_MOST_POINTS} points; got {len(points)}.")
    if not all(_is_point(point) for point in points):
        raise HTTPException(400, _EXPECTED_STROKES)
    # Before the conversion to float, which fails for very large integers; written so that NaN is refused too.
    if not all(0 <= coordinate <= 1 for point in points for coordinate in point):
        raise HTTPException(400, "strokes: expected coordinates from 0 to 1; got others.")
    return [[(float(x), float(y)) for x, y in stroke] for stroke in strokes if stroke]


def missing_of(request: Request, height: int, width: int) -> Tensor | None:
    """Return which pixels are missing, bool (height, width): a bit for each pixel, row by row, in hexadecimal digits.

    Bits beyond the last pixel fill up the last digit. None if the query has no ``missing``.
    """
    text = request.query_params.get("missing")
    if text is None:
        return None
    digits = -(-height * width // 4)
    if len(text) != digits or not set(text) <= set(string.hexdigits):
        expected = f"{digits} hexadecimal digits, a bit for each of {height}×{width} pixels"
        raise HTTPException(400, f"missing: expected {expected}; got {text[:100]!r}.")
    bits = f"{int(text, 16):0{4 * digits}b}"[: height * width]
    if "1" not in bits:
        raise HTTPException(400, "missing: expected at least one missing pixel; got none.")
    return torch.tensor([bit == "1" for bit in bits]).view(height, width)


def values_of(content: bytes) -> list[float | None]:
    """Return the values of a form: {"values": [1.5, 2, null]}, null for an empty field."""
    values = _members(content).get("values")
    if not isinstance(values, list) or not all(value is None or _is_moderate(value) for value in values):
        raise HTTPException(400, 'values: expected {"values": [number or null, …]} in JSON; got another text.')
    return values


def label_of(content: bytes, num_classes: int) -> tuple[tuple[float, float], int | None, int | None]:
    """Return a change of a label: {"point": [x, y], "class": 1} adds one, {"point": [x, y], "label": 0} moves one.

    Returns:
        The point, the class of a label to add or None, and the number of a label to move or None.
    """
    members = _members(content)
    point: Any = members.get("point")
    y, label = members.get("class"), members.get("label")
    if not _is_point(point) or not all(map(_is_moderate, point)) or (y is None) == (label is None):
        raise HTTPException(
            400,
            'label: expected {"point": [x, y], "class": 1} or {"point": [x, y], "label": 0} in JSON; got another text.',
        )
    if y is not None and not (type(y) is int and 0 <= y < num_classes):
        raise HTTPException(400, f"class: expected an integer from 0 to {num_classes - 1}; got {str(y)[:100]!r}.")
    if label is not None and type(label) is not int:
        raise HTTPException(400, f"label: expected an integer; got {str(label)[:100]!r}.")
    return (float(point[0]), float(point[1])), y, label


def _members(content: bytes) -> dict[str, Any]:
    """Return the members of an object in JSON; none if it is another text."""
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _is_number(value: object) -> bool:
    # Not isinstance, which would accept true as the number 1.
    return type(value) in (int, float)


def _is_moderate(value: object) -> bool:
    """Return whether a value is a number that float32 can hold; written so that NaN is none."""
    return type(value) in (int, float) and abs(value) <= 1e38  # type: ignore[arg-type]


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def integer(request: Request, name: str, least: int, most: int) -> int:
    """Return an integer of the query."""
    text = request.query_params.get(name, "")
    # The number of digits is limited, since int() of a very long text is slow.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise HTTPException(400, f"{name}: expected an integer from {least} to {most}; got {text[:100]!r}.")
    return int(text)


def number(request: Request, name: str) -> float:
    """Return a number of the query."""
    text = request.query_params.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise HTTPException(400, f"{name}: expected a number between -1e6 and 1e6; got {text[:100]!r}.")
    return value


def choice(request: Request, name: str, choices: dict[str, _Result]) -> _Result:
    """Return what belongs to a word of the query."""
    text = request.query_params.get(name, "")
    if text not in choices:
        raise HTTPException(400, f"{name}: expected {' or '.join(choices)}; got {text[:100]!r}.")
    return choices[text]
