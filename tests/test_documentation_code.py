"""The code in the documentation runs: the examples of docstrings, and every Python block of the pages."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
README = (ROOT / "README.md").read_text(encoding="utf-8")  # its block is run by a test of its own
BLOCKS = [
    (path.relative_to(ROOT / "docs"), block)
    for path in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if block not in README
]


def _modules_with_examples():
    for folder in ("ssvae", "models", "data", "inference"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                name = ".".join(parts if folder == "ssvae" else ("ssvae", *parts))
                yield name.removesuffix(".__init__")


@pytest.fixture(autouse=True)
def _as_users_do(without_pictures):
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", list(_modules_with_examples()))
def test_the_examples_of_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(BLOCKS)])
@pytest.mark.usefixtures("quick_proposals")
def test_python_in_the_pages_runs(page, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(page), "exec"), {})


def test_there_are_blocks():
    assert len(BLOCKS) >= 5
