"""The explorer's web server: the page and its JSON API.

The endpoints are::

    GET  /api/runs                                          the runs
    POST /api/runs/0/drawing    {"strokes": [[[x, y], …]]}  predictions for a drawing
    POST /api/runs/0/image?invert=false    bytes of a file  predictions for an image
    POST …?missing=0f0f… or …&missing=0f0f…                 the same without some pixels: a bit for each, row by row
    GET  /api/runs/0/example?number=3                       an image of the data set
    GET  /api/runs/0/map                                    points of the latent map
    GET  /api/runs/0/decode?u=0.5&v=-1                      decoded images at a point of the map
    GET  /api/runs/0/samples?class=3&number=20&seed=1       samples of a class
    GET  /api/runs/0/new_classes                            images of the classes that nobody has labelled
    POST /api/runs/0/names      {"class": "new 2", "name": "boots"}    a name for such a class

of a run on images, and of a run on vectors::

    POST /api/runs/0/row        {"values": [1.5, null, …]}  predictions for a row
    GET  /api/runs/0/rows?class=3&number=20&seed=1          samples of a class

and, in the plane::

    GET  /api/runs/0/plane                                  points, labels, regions of q(y|x)
    GET  /api/runs/0/contours                               contours of p(x)
    POST /api/runs/0/labels     {"point": [x, y], "class": 1} or {"point": [x, y], "label": 0}
                                                            add a label, or move one
    POST /api/runs/0/steps      {}                          the next steps of training after that
    POST /api/runs/0/undo       {}                          back to the trained run

An invalid request gets a 4xx status and ``{"error": one sentence}``.
"""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
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
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from ssvae.inference.evaluation.diagnostics import K_LIMIT
from ssvae.inference.explorer.answers import Answer, Posterior, Predictions, in_words
from ssvae.inference.explorer.completions import Completions, caution, obstacle
from ssvae.inference.explorer.explorer import Explorer, distinct_names
from ssvae.inference.explorer.new_classes import name_class, new_classes
from ssvae.inference.explorer.plane import STEPS
from ssvae.inference.explorer.requests import (
    body,
    choice,
    integer,
    label_of,
    missing_of,
    number,
    strokes_of,
    values_of,
)
from ssvae.inference.explorer.rows import RowAnswer
from ssvae.inference.explorer.uploads import MOST_BYTES
from ssvae.inference.explorer.vectors import VectorExplorer
from ssvae.inference.figures.style import COLOURS
from ssvae.inference.predict import image_shape

MOST_SAMPLES = 100
MOST_ROWS = 500

_PAGE = Path(__file__).parent / "page"
_LARGEST_SEED = 2**31 - 1
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


def create_app(explorers: Sequence[Explorer | VectorExplorer], *, loopback: bool = True) -> Starlette:
    """Make the web application.

    Args:
        explorers: The runs.
        loopback: Whether it is served to this machine only. Requests to other host names are then refused, as a
            protection against DNS rebinding. Otherwise classes cannot be named: nobody else may change a run folder.
    """
    endpoints = _Endpoints(explorers, may_name=loopback)

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
            Route("/api/runs/{run}/example", endpoints.example),
            Route("/api/runs/{run}/map", endpoints.map),
            Route("/api/runs/{run}/decode", endpoints.decode),
            Route("/api/runs/{run}/samples", endpoints.samples),
            Route("/api/runs/{run}/new_classes", endpoints.new_classes),
            Route("/api/runs/{run}/names", endpoints.names, methods=["POST"]),
            Route("/api/runs/{run}/row", endpoints.row, methods=["POST"]),
            Route("/api/runs/{run}/rows", endpoints.rows),
            Route("/api/runs/{run}/plane", endpoints.plane),
            Route("/api/runs/{run}/contours", endpoints.contours),
            Route("/api/runs/{run}/labels", endpoints.labels, methods=["POST"]),
            Route("/api/runs/{run}/steps", endpoints.steps, methods=["POST"]),
            Route("/api/runs/{run}/undo", endpoints.undo, methods=["POST"]),
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

    def __init__(self, explorers: Sequence[Explorer | VectorExplorer], *, may_name: bool) -> None:
        self.explorers = explorers
        self.may_name = may_name
        self.worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explorer")

    async def runs(self, request: Request) -> Response:
        names = distinct_names(self.explorers)
        first = self.explorers[0]
        return JSONResponse(
            {
                "class_names": first.run.class_names,
                "colours": COLOURS,
                "may_name": self.may_name,
                **_observations(first),
                "runs": [_description(*pair) for pair in zip(names, self.explorers, strict=True)],
            }
        )

    async def drawing(self, request: Request) -> Response:
        explorer = self._explorer(request)
        missing = _missing(request, explorer)
        strokes = strokes_of(await body(request))
        return await self._predictions(explorer, lambda: explorer.drawn(strokes), missing)

    async def image(self, request: Request) -> Response:
        explorer = self._explorer(request)
        invert = choice(request, "invert", {"true": True, "false": False})
        missing = _missing(request, explorer)
        content = await body(request)
        return await self._predictions(explorer, lambda: explorer.uploaded(content, invert=invert), missing)

    async def example(self, request: Request) -> Response:
        explorer = self._explorer(request)
        chosen = integer(request, "number", 0, _LARGEST_SEED)
        return JSONResponse({"image": picture(await self._work(lambda: explorer.example(chosen)))})

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
        point = number(request, "u"), number(request, "v")
        images = await self._work(lambda: explorer.decode(point))
        return JSONResponse({"images": [picture(image) for image in images]})

    async def samples(self, request: Request) -> Response:
        explorer = self._explorer(request)
        wanted = _wanted_samples(request, explorer, MOST_SAMPLES)
        images = await self._work(lambda: explorer.sample(*wanted))
        return JSONResponse({"images": [picture(image) for image in images]})

    async def row(self, request: Request) -> Response:
        explorer = self._vector_explorer(request)
        values = values_of(await body(request))
        return JSONResponse(await self._work(lambda: _row_answer(explorer, explorer.answer(values))))

    async def rows(self, request: Request) -> Response:
        explorer = self._vector_explorer(request)
        wanted = _wanted_samples(request, explorer, MOST_ROWS)
        rows = await self._work(lambda: explorer.sample(*wanted))
        return JSONResponse({"rows": _rounded(rows)})

    async def plane(self, request: Request) -> Response:
        explorer = self._plane_explorer(request)
        fixed = {"limits": explorer.limits, "unlabelled": _rounded(explorer.unlabelled)}
        return JSONResponse(fixed | await self._work(lambda: _state(explorer)))

    async def contours(self, request: Request) -> Response:
        explorer = self._plane_explorer(request)
        lines = await self._work(explorer.contours)
        return JSONResponse({"contours": [_rounded(line) for line in lines]})

    async def labels(self, request: Request) -> Response:
        explorer = self._plane_explorer(request)
        point, y, label = label_of(await body(request), explorer.run.model.num_classes)

        def change() -> dict[str, Any]:
            if y is not None:
                explorer.relabelling.add(point, y)
            else:
                assert label is not None
                explorer.relabelling.move(label, point)
            return _state(explorer)

        return JSONResponse(await self._work(change))

    async def steps(self, request: Request) -> Response:
        explorer = self._plane_explorer(request)
        await body(request)
        # J / N first, since the steps change the regions.
        return JSONResponse(await self._work(lambda: {"objective": explorer.relabelling.advance()} | _state(explorer)))

    async def undo(self, request: Request) -> Response:
        explorer = self._plane_explorer(request)
        await body(request)

        def undo() -> dict[str, Any]:
            explorer.relabelling.undo()
            return _state(explorer)

        return JSONResponse(await self._work(undo))

    async def new_classes(self, request: Request) -> Response:
        explorer = self._explorer(request)
        found = await self._work(lambda: new_classes(explorer.run))
        classes = [
            {"name": each.name, "share": each.share, "images": [picture(image) for image in each.images]}
            for each in found
        ]
        return JSONResponse({"classes": classes})

    async def names(self, request: Request) -> Response:
        explorer = self._explorer(request)
        if not self.may_name:
            raise HTTPException(403, "names: expected a page that is served to this machine only; got one for others.")
        content = await body(request)
        return JSONResponse({"class_names": await self._work(lambda: name_class(explorer.run, content))})

    def _explorer(self, request: Request) -> Explorer:
        explorer = self._any_explorer(request)
        if not isinstance(explorer, Explorer):
            raise HTTPException(404, "run: expected one on images; got one on vectors.")
        return explorer

    def _plane_explorer(self, request: Request) -> VectorExplorer:
        explorer = self._vector_explorer(request)
        if explorer.view != "plane":
            raise HTTPException(404, "run: expected one on two real features; got one on other vectors.")
        return explorer

    def _vector_explorer(self, request: Request) -> VectorExplorer:
        explorer = self._any_explorer(request)
        if not isinstance(explorer, VectorExplorer):
            raise HTTPException(404, "run: expected one on vectors; got one on images.")
        return explorer

    def _any_explorer(self, request: Request) -> Explorer | VectorExplorer:
        known = {str(position): explorer for position, explorer in enumerate(self.explorers)}
        name = request.path_params["run"]
        if name not in known:
            raise HTTPException(404, f"run: expected one of {', '.join(known)}; got {name[:100]!r}.")
        return known[name]

    async def _predictions(self, explorer: Explorer, image: Callable[[], Tensor], missing: Tensor | None) -> Response:
        """Return the predictions for an image, of which some pixels are missing unless ``missing`` is None."""

        def task() -> dict[str, Any]:
            if missing is None:
                return _answer(explorer, explorer.answer(image()))
            return _completed(explorer, explorer.complete(image(), missing))

        return JSONResponse(await self._work(task))

    async def _work(self, task: Callable[[], _Result]) -> _Result:
        """Run a task in the worker thread; a ValueError becomes a response with its message."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.worker, task)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


def _observations(explorer: Explorer | VectorExplorer) -> dict[str, Any]:
    """Return what the runs are about: images of a shape, points in the plane, or rows."""
    if isinstance(explorer, Explorer):
        return {"view": "images", "image_shape": image_shape(explorer.run.model), "most_bytes": MOST_BYTES}
    columns = [asdict(column) for column in explorer.columns]
    return {"view": explorer.view, "columns": columns, "takes_missing": explorer.takes_missing, "num_steps": STEPS}


def _description(name: str, explorer: Explorer | VectorExplorer) -> dict[str, Any]:
    run = explorer.run
    assert run.data is not None
    description = {
        "name": name,
        "model": type(run.model).__name__,
        "prior": type(run.model.prior).__name__,
        "likelihood": type(run.model.likelihood).__name__,
        "data": run.data.name,
        "num_labelled": run.data.num_labelled,
        "num_samples": explorer.num_samples,
    }
    if isinstance(explorer, Explorer):
        return description | {
            "binarise": run.image_data.binarise,
            "on_white": explorer.style.on_white,
            "has_new_classes": run.data.has_new_classes,
            "obstacle": obstacle(run.model),
            "caution": caution(run),
        }
    return description | {"has_density": run.model.bounds_evidence, "is_discrete": run.model.likelihood.is_discrete}


def _missing(request: Request, explorer: Explorer) -> Tensor | None:
    """Return which pixels a request takes away, bool (height, width); None if it takes none away."""
    _, height, width = image_shape(explorer.run.model)
    return missing_of(request, height, width)


def _wanted_samples(request: Request, explorer: Explorer | VectorExplorer, most: int) -> tuple[int, int, int]:
    """Return the class, the number and the seed of the samples that a request asks for."""
    y = integer(request, "class", 0, explorer.run.model.num_classes - 1)
    return y, integer(request, "number", 1, most), integer(request, "seed", 0, _LARGEST_SEED)


def _state(explorer: VectorExplorer) -> dict[str, Any]:
    """Return the regions of q(y|x), and the labels as they are now."""
    relabelling = explorer.relabelling
    regions, data = explorer.regions(), relabelling.data
    labelled = data.labelled_index
    return {
        "classes": regions.classes.tolist(),
        "certainty": np.round(regions.certainty.numpy(), 3).tolist(),
        "labelled": [
            {"point": point, "class": y, "changed": changed}
            for point, y, changed in zip(
                _rounded(data.train_x[labelled]), data.train_labels[labelled].tolist(), relabelling.changed, strict=True
            )
        ],
        "num_left": relabelling.num_left,
    }


def _row_answer(explorer: VectorExplorer, answer: RowAnswer) -> dict[str, Any]:
    return {
        "words": in_words(answer.probabilities, explorer.run.class_names),
        "probabilities": answer.probabilities.tolist(),
        "entropy": torch.special.entr(answer.probabilities).sum().item(),
        "posterior": None if answer.posterior is None else _posterior(explorer, answer.posterior),
        "mean": answer.mean.tolist(),
        "scale": answer.scale.tolist(),
        "covariance": answer.covariance.tolist() if answer.mean.shape[-1] == 2 else None,
    }


def _rounded(values: Tensor) -> Any:  # noqa: ANN401
    """Return numbers as nested lists, with the six significant digits that float32 has for certain."""
    return np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(values.numpy()).tolist()


def _answer(explorer: Explorer, answer: Answer) -> dict[str, Any]:
    return _predictions(explorer, answer) | {
        "reconstruction": picture(answer.reconstruction),
        "analogies": [picture(image) for image in answer.analogies],
    }


def _completed(explorer: Explorer, completions: Completions) -> dict[str, Any]:
    classes = completions.classes
    return _predictions(explorer, completions) | {
        "original": picture(completions.original),
        "mean": picture(completions.mean),
        "completions": [picture(image) for image in completions.completions],
        "classes": None if classes is None else classes.tolist(),
        "effective_samples": completions.effective_samples,
    }


def _predictions(explorer: Explorer, found: Predictions) -> dict[str, Any]:
    return {
        "words": in_words(found.probabilities, explorer.run.class_names),
        "probabilities": found.probabilities.tolist(),
        "entropy": found.entropy,
        "posterior": None if found.posterior is None else _posterior(explorer, found.posterior),
        "image": picture(found.image),
        "observed": picture(found.observed),
    }


def _posterior(explorer: Explorer | VectorExplorer, posterior: Posterior) -> dict[str, Any]:
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
    """Return an image (channels, height, width) as a PNG in a data URI, transparent where it is NaN.

    Pixels are clipped to [0, 1].
    """
    if len(image) == 2:
        image = torch.cat(image.split(1), dim=-1)  # (1, height, 2 · width): a stereo pair
    missing = image.isnan().any(0, keepdim=True)
    image = image.nan_to_num(0).clamp(0, 1)
    if missing.any():
        image = torch.cat([image, (~missing).to(image)])
    levels = np.rint(image.double().numpy() * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
