"""The README is short and true: its Python runs, its commands, links and names exist, and CI runs what it says."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from ssvae import data
from ssvae.inference.command_line import choices
from ssvae.inference.command_line.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINKS = re.findall(r"\]\(([^)]+)\)", README)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[-2][:40])
@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures", "quick_proposals")
def test_python_in_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["images"].shape == (5, 10, 1, 8, 8)
    assert names["analogies"].shape == (10, 3, 1, 8, 8)
    assert (names["run"].folder / "report.md").is_file()


def test_it_is_short():
    lines = README.splitlines()
    assert len(BLOCKS) == 1
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 120
    assert len(README.split()) <= 900


@pytest.mark.parametrize("link", LINKS)
def test_every_link_leads_to_a_file_or_heading(link):
    name, _, anchor = link.partition("#")
    # A page of a part is generated into an index that is a file too.
    assert (ROOT / name).is_file()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_exists():
    assert set(re.findall(r"^    ssvae (\w+)", README, re.MULTILINE)) <= set(COMMANDS)


@pytest.mark.parametrize("kind", ["model", "prior", "posterior", "likelihood"])
def test_the_lists_of_parts_name_what_there_is(kind):
    of_the_package = {choice.__name__ for choice in choices.CHOICES[kind] if choice.__module__.startswith("ssvae.")}
    plural = {"likelihood": "likelihoods"}.get(kind, f"{kind}s")
    listed = README.split(f"- [{plural}](")[1].split("\n- ")[0]
    named = set(re.findall(r"`(\w+)`", listed))
    assert len(named) >= 3
    assert named == of_the_package if kind == "model" else named <= of_the_package


def test_the_data_sets_that_are_listed_exist():
    listed = README.split("\n- data: ")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) <= set(data.__all__)


def test_its_numbers_are_those_of_the_results():
    results = (ROOT / "docs" / "results" / "mnist.md").read_text(encoding="utf-8")
    results += (ROOT / "studies" / "best.csv").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", README.split("## Three numbers")[1].split("##")[0], re.MULTILINE)
    assert len(rows) == 3
    for _, row in rows[:2]:
        for mean, error in re.findall(r"([\d.]+) ± ([\d.]+) %", row):
            assert any(
                (f"{float(a):.1f}", f"{float(b):.1f}") == (mean, error)
                for a, b in re.findall(r"(\d+\.\d\d) ± (\d+\.\d\d)", results)
            ), f"{mean} ± {error}"


def test_every_recipe_is_yaml():
    recipes = sorted((ROOT / "inference" / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_ci_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
    makefile = (ROOT / "Makefile").read_text()
    for step in (
        "install",
        "ruff check",
        "ruff format --check",
        "mypy",
        "pytest --numprocesses auto",
        "--cov-fail-under=95",
    ):
        assert step in makefile
    assert "ssvae fit" in makefile.split("demo:")[1].split("\n\n")[0]
