"""The explorer's web server: the page and its JSON API.

The endpoints are::

    GET  /api/runs                                          the runs
    POST /api/runs/0/drawing    {"strokes": [[[x, y], …]]}  predictions for a drawing
    POST /api/runs/0/image?invert=false    bytes of a file  predictions for an image
    GET  /api/runs/0/map                                    points of the latent map
    GET  /api/runs/0/decode?u=0.5&v=-1                      decoded images at a point of the map
    GET  /api/runs/0/samples?class=3&number=20&seed=1       samples of a class

An invalid request gets a 4xx status and ``{"error": one sentence}``.
"""

import asyncio
import base64
import io
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from ssvae.inference.evaluation.diagnostics import K_LIMIT
from ssvae.inference.explorer.answers import Answer, Posterior, in_words
from ssvae.inference.explorer.drawing import Stroke
from ssvae.inference.explorer.explorer import Explorer, distinct_names
from ssvae.inference.explorer.uploads import MOST_BYTES
from ssvae.inference.figures.style import COLOURS
from ssvae.inference.predict import image_shape

MOST_SAMPLES = 100

_PAGE = Path(__file__).parent / "page"
_MOST_POINTS = 20_000
_LARGEST_SEED = 2**31 - 1
_EXPECTED_STROKES = 'strokes: expected {"strokes": [[[x, y], …], …]} in JSON; got another text.'
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    # Nothing from other sites and no inline scripts or styles, so that file names cannot inject code.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_Result = TypeVar("_Result")


def create_app(explorers: Sequence[Explorer], *, loopback: bool = True) -> Starlette:
    """Make the web application.

    Args:
        explorers: The runs.
        loopback: Whether it is served to this machine only. Requests to other host names are then refused, as a
            protection against DNS rebinding.
    """
    endpoints = _Endpoints(explorers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            endpoints.worker.shutdown(cancel_futures=True)

    return Starlette(
        routes=[
            Route("/api/runs", endpoints.runs),
            Route("/api/runs/{run}/drawing", endpoints.drawing, methods=["POST"]),
            Route("/api/runs/{run}/image", endpoints.image, methods=["POST"]),
            Route("/api/runs/{run}/map", endpoints.map),
            Route("/api/runs/{run}/decode", endpoints.decode),
            Route("/api/runs/{run}/samples", endpoints.samples),
            Mount("/", StaticFiles(directory=_PAGE, html=True)),
        ],
        middleware=[
            Middleware(_SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK_NAMES if loopback else ["*"]),
        ],
        exception_handlers={HTTPException: _refusal},
        lifespan=lifespan,
    )


class _SafeHeaders:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class _Endpoints:
    """The endpoints of the API, and the single thread that runs the models.

    Pyro's handlers and torch's random state are global, so that models must not run in several threads.
    """

    def __init__(self, explorers: Sequence[Explorer]) -> None:
        self.explorers = explorers
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explorer")

    async def runs(self, request: Request) -> Response:
        names = distinct_names(self.explorers)
        first = self.explorers[0].run
        return JSONResponse(
            {
                "class_names": first.class_names,
                "colours": COLOURS,
                "image_shape": image_shape(first.model),
                "most_bytes": MOST_BYTES,
                "runs": [_description(*pair) for pair in zip(names, self.explorers, strict=True)],
            }
        )

    async def drawing(self, request: Request) -> Response:
        explorer = self._explorer(request)
        strokes = _strokes(await _body(request))
        return JSONResponse(await self._work(lambda: _answer(explorer, explorer.answer_drawing(strokes))))

    async def image(self, request: Request) -> Response:
        explorer = self._explorer(request)
        invert = _choice(request, "invert", {"true": True, "false": False})
        content = await _body(request)
        return JSONResponse(await self._work(lambda: _answer(explorer, explorer.answer_upload(content, invert=invert))))

    async def map(self, request: Request) -> Response:
        explorer = self._explorer(request)
        mapped = await self._work(lambda: explorer.map)
        return JSONResponse(
            {
                "points": mapped.plane.points.tolist(),
                "labels": mapped.labels.tolist(),
                "shares": mapped.plane.shares.tolist(),
                "part": mapped.part,
            }
        )

    async def decode(self, request: Request) -> Response:
        explorer = self._explorer(request)
        point = _number(request, "u"), _number(request, "v")
        images = await self._work(lambda: explorer.decode(point))
        return JSONResponse({"images": [picture(image) for image in images]})

    async def samples(self, request: Request) -> Response:
        explorer = self._explorer(request)
        y = _integer(request, "class", 0, explorer.run.model.num_classes - 1)
        number = _integer(request, "number", 1, MOST_SAMPLES)
        seed = _integer(request, "seed", 0, _LARGEST_SEED)
        images = await self._work(lambda: explorer.sample(y, number, seed))
        return JSONResponse({"images": [picture(image) for image in images]})

    def _explorer(self, request: Request) -> Explorer:
        known = {str(number): explorer for number, explorer in enumerate(self.explorers)}
        name = request.path_params["run"]
        if name not in known:
            raise HTTPException(404, f"run: expected one of {', '.join(known)}; got {name[:100]!r}.")
        return known[name]

    async def _work(self, task: Callable[[], _Result]) -> _Result:
        """Run a task in the worker thread; a ValueError becomes a response with its message."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.worker, task)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _body(request: Request) -> bytes:
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


def _strokes(content: bytes) -> list[Stroke]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        read = None
    strokes = read.get("strokes") if isinstance(read, dict) else None
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


def _is_point(value: object) -> bool:
    # Not isinstance, which would accept true as the number 1.
    return isinstance(value, list) and len(value) == 2 and all(type(number) in (int, float) for number in value)


def _integer(request: Request, name: str, least: int, most: int) -> int:
    text = request.query_params.get(name, "")
    # The number of digits is limited, since int() of a very long text is slow.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise HTTPException(400, f"{name}: expected an integer from {least} to {most}; got {text[:100]!r}.")
    return int(text)


def _number(request: Request, name: str) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise HTTPException(400, f"{name}: expected a number between -1e6 and 1e6; got {text[:100]!r}.")
    return value


def _choice(request: Request, name: str, choices: dict[str, _Result]) -> _Result:
    text = request.query_params.get(name, "")
    if text not in choices:
        raise HTTPException(400, f"{name}: expected {' or '.join(choices)}; got {text[:100]!r}.")
    return choices[text]


def _description(name: str, explorer: Explorer) -> dict[str, Any]:
    run = explorer.run
    assert run.data is not None
    return {
        "name": name,
        "model": type(run.model).__name__,
        "prior": type(run.model.prior).__name__,
        "likelihood": type(run.model.likelihood).__name__,
        "data": run.data.name,
        "num_labelled": run.data.num_labelled,
        "binarise": run.data.binarise,
        "on_white": explorer.style.on_white,
        "num_samples": explorer.num_samples,
    }


def _answer(explorer: Explorer, answer: Answer) -> dict[str, Any]:
    return {
        "words": in_words(answer.probabilities, explorer.run.class_names),
        "probabilities": answer.probabilities.tolist(),
        "entropy": answer.entropy,
        "posterior": None if answer.posterior is None else _posterior(explorer, answer.posterior),
        "image": picture(answer.image),
        "observed": picture(answer.observed),
        "reconstruction": picture(answer.reconstruction),
        "analogies": [picture(image) for image in answer.analogies],
    }


def _posterior(explorer: Explorer, posterior: Posterior) -> dict[str, Any]:
    return {
        "words": in_words(posterior.probabilities, explorer.run.class_names),
        "probabilities": posterior.probabilities.tolist(),
        "low": posterior.low.tolist(),
        "high": posterior.high.tolist(),
        "log_evidence": posterior.log_evidence,
        "log_evidence_error": posterior.log_evidence_error,
        "effective_samples": posterior.effective_samples,
        "reliable": None if posterior.pareto_k is None else posterior.pareto_k <= K_LIMIT,
        "classifier_words": in_words(posterior.classifier, explorer.run.class_names),
    }


def picture(image: Tensor) -> str:
    """Return an image (channels, height, width) as a PNG in a data URI; pixels are clipped to [0, 1]."""
    if len(image) == 2:
        image = torch.cat(image.split(1), dim=-1)  # (1, height, 2 · width): a stereo pair
    levels = np.rint(image.double().clamp(0, 1).numpy() * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
