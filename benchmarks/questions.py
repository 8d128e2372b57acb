"""Requests of the soak test to the explorer, valid and invalid ones, with the expected status of each."""

import io
import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from ssvae.inference.explorer.server import MOST_SAMPLES
from ssvae.inference.explorer.uploads import MOST_BYTES

_SECONDS = 120
_CLASSES = 10
_PAGE = ("", "index.html", "explorer.js", "style.css", "icon.svg")
_RUN = "api/runs/0"


@dataclass(frozen=True)
class Question:
    """A request, and the expected status of its response.

    Attributes:
        path: The path after the server's address, without the first slash.
        status: The expected status.
        body: The body of a POST request; None for a GET request.
        kind: The content type of the body.
    """

    path: str
    status: int = 200
    body: bytes | None = None
    kind: str = "application/octet-stream"

    def ask(self, address: str) -> str | None:
        """Send the request, and return a description of what is wrong with the response; None if nothing is.

        Raises:
            OSError: If there is no response.
        """
        request = urllib.request.Request(f"{address}/{self.path}", self.body, {"Content-Type": self.kind})
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, content = error.code, error.read()
        if status != self.status:
            return f"/{self.path}: expected status {self.status}; got {status}: {content[:200]!r}"
        if not content:
            return f"/{self.path}: expected an answer; got an empty one"
        if self.path.startswith("api/") and not isinstance(json.loads(content), dict):
            return f"/{self.path}: expected JSON; got {content[:200]!r}"
        return None


def draw_question(chance: random.Random) -> Question:
    """Return a random request."""
    return chance.choice(_KINDS)(chance)


def _page(chance: random.Random) -> Question:
    return Question(chance.choice(_PAGE))


def _about(chance: random.Random) -> Question:
    return Question(chance.choice(["api/runs", f"{_RUN}/map"]))


def _decode(chance: random.Random) -> Question:
    return Question(f"{_RUN}/decode?u={chance.gauss(0, 2):.3f}&v={chance.gauss(0, 2):.3f}")


def _samples(chance: random.Random) -> Question:
    number, seed = chance.randint(1, MOST_SAMPLES), chance.randrange(2**31)
    return Question(f"{_RUN}/samples?class={chance.randrange(_CLASSES)}&number={number}&seed={seed}")


def _drawing(chance: random.Random) -> Question:
    strokes = [
        [[chance.random(), chance.random()] for _ in range(chance.randint(1, 40))] for _ in range(chance.randint(1, 4))
    ]
    return Question(f"{_RUN}/drawing", body=json.dumps({"strokes": strokes}).encode(), kind="application/json")


def _upload(chance: random.Random) -> Question:
    return Question(f"{_RUN}/image?invert={chance.choice(['true', 'false'])}", body=picture(chance))


def _damaged_upload(chance: random.Random) -> Question:
    content = picture(chance)
    damaged = chance.choice([b"", b"text", content[: len(content) // 2], chance.randbytes(1000)])
    return Question(f"{_RUN}/image?invert=false", 400, damaged)


def _refused(chance: random.Random) -> Question:
    return chance.choice(
        [
            Question("no/such/page", 404),
            Question("api/runs/7/map", 404),
            Question(f"{_RUN}/samples?class=99&number=1&seed=0", 400),
            Question(f"{_RUN}/decode?u=nan&v=0", 400),
            Question(f"{_RUN}/drawing", 400, b"{", "application/json"),
            Question(f"{_RUN}/drawing", 415, b"{}", "text/plain"),
            Question(f"{_RUN}/drawing", 400, b'{"strokes": []}', "application/json"),
            Question(f"{_RUN}/drawing", 404),
            Question(f"{_RUN}/image?invert=false", 413, bytes(MOST_BYTES + 1)),
        ]
    )


_KINDS: list[Callable[[random.Random], Question]] = [
    _page, _about, _decode, _samples, _drawing, _upload, _damaged_upload, _refused,
]  # fmt: skip


def picture(chance: random.Random) -> bytes:
    """Return an image file of noise, PNG or JPEG, of random size."""
    size = chance.randint(8, 300), chance.randint(8, 300)
    content = io.BytesIO()
    Image.frombytes("L", size, chance.randbytes(size[0] * size[1])).save(content, chance.choice(["PNG", "JPEG"]))
    return content.getvalue()
