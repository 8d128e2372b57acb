"""Checks of the files in a run folder for the soak test: truncated and temporary files, and differences of runs."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml
from PIL import Image

from ssvae.inference.storage.checkpoints import read_checkpoint

PARTIAL = ".partial"
"""The suffix of temporary files, which replace the files when they are complete."""

_CONFIG_KEYS = {"data", "model", "baselines"}
_LAST_SECTION = "## Pictures"


def find_torn(folder: Path) -> Iterator[str]:
    """Yield a description of each file in a folder that is not complete."""
    for path in whole_names(folder):
        problem = what_is_wrong(path)
        if problem:
            yield f"{path}: {problem}"


def whole_names(folder: Path) -> list[Path]:
    """Return the files of a folder without the temporary ones."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != PARTIAL)


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files in a folder, of running and of killed processes."""
    return sorted(folder.rglob(f"*{PARTIAL}"))


def what_is_wrong(path: Path) -> str | None:
    """Return the reason why a file is not complete; None if it is."""
    if path.name.startswith("events.out.tfevents."):
        # TensorBoard's log may end within a record, since it is appended to; its readers ignore such a record.
        return None
    check = _CHECKS.get(path.suffix)
    if check is None:
        return "unexpected in a run folder"
    try:
        return check(path)
    except Exception as error:  # readers raise many kinds on damaged files
        return f"cannot be read ({type(error).__name__}: {error})"


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _yaml(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    # A truncated YAML file is often valid YAML, so its keys are checked.
    if path.name == "config.yaml" and not (isinstance(content, dict) and content.keys() >= _CONFIG_KEYS):
        return "its end is missing"
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
    """Return the differences of two finished runs in weights, metrics and evaluation; times are ignored."""
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
    """Return the rows of a metrics.csv without the column of times."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]
