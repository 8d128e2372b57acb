"""What the soak looks for in a run folder: files that are torn, lost, or left behind; and two runs that differ."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml
from PIL import Image

from ssvae.inference.storage.checkpoints import read_checkpoint

PARTIAL = ".partial"
"""The end of the name under which a file is written before it takes its place."""

_CONFIG_KEYS = {"data", "model", "baselines"}
_LAST_SECTION = "## Pictures"


def find_torn(folder: Path) -> Iterator[str]:
    """Say of each file in a folder that is not whole what is wrong with it."""
    for path in whole_names(folder):
        problem = what_is_wrong(path)
        if problem:
            yield f"{path}: {problem}"


def whole_names(folder: Path) -> list[Path]:
    """Return the files of a folder that have their real names."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != PARTIAL)


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files in a folder: of writers at work, and of killed ones."""
    return sorted(folder.rglob(f"*{PARTIAL}"))


def what_is_wrong(path: Path) -> str | None:
    """Return what shows that a file was not written whole; None where nothing does."""
    if path.name.startswith("events.out.tfevents."):
        # TensorBoard's log, to which is appended: its readers stop before a record that is not whole.
        return None
    check = _CHECKS.get(path.suffix)
    if check is None:
        return "of a kind that no run folder has"
    try:
        return check(path)
    except Exception as error:  # whatever the readers stumble upon
        return f"cannot be read ({type(error).__name__}: {error})"


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _yaml(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    # Most of a text in YAML is again one: what comes last must be there.
    if path.name == "config.yaml" and not (isinstance(content, dict) and content.keys() >= _CONFIG_KEYS):
        return "some of the configuration is missing"
    return None if text.endswith("\n") else "ends in the middle of a line"


def _csv(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        return "ends in the middle of a row"
    header, *rows = csv.reader(text.splitlines())
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            return f"row {number} has {len(row)} cells of {len(header)}"
        for cell in row:
            float(cell)
    return None if rows else "has no row"


def _checkpoint(path: Path) -> None:
    read_checkpoint(path)


def _png(path: Path) -> None:
    with Image.open(path) as image:
        image.verify()
    with Image.open(path) as image:  # `verify` leaves an image that cannot be used
        image.load()


def _report(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8")
    return None if text.endswith("\n") and _LAST_SECTION in text else "its end is missing"


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".csv": _csv,
    ".ckpt": _checkpoint,
    ".png": _png,
    ".md": _report,
}


def find_differences(first: Path, second: Path) -> Iterator[str]:
    """Say in what two finished runs differ, times left out: weights, metrics, the evaluation's numbers."""
    for path in sorted(first.rglob("last.ckpt")):
        name = path.relative_to(first)
        states = [read_checkpoint(folder / name)["state_dict"] for folder in (first, second)]
        if states[0].keys() != states[1].keys():
            yield f"{name}: other tensors"
        yield from (f"{name}: {key}" for key, value in states[0].items() if not torch.equal(value, states[1][key]))
    for path in sorted(first.rglob("metrics.csv")):
        name = path.relative_to(first)
        if timeless_rows(path) != timeless_rows(second / name):
            yield f"{name}: other rows"
    evaluations = [json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) for folder in (first, second)]
    if evaluations[0] | {"seconds": None} != evaluations[1] | {"seconds": None}:
        yield "evaluation.json: other numbers"


def timeless_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics.csv without its only time."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]
