"""The README is true: its Python runs, its commands exist, and CI runs what it says."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from ssvae.inference.command_line import choices
from ssvae.inference.command_line.main import COMMANDS
from ssvae.inference.study.results import from_csv, table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[-2][:40])
def test_python_in_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    if "run" in names:
        assert names["images"].shape == (5, 10, 1, 8, 8)
        assert names["analogies"].shape == (10, 3, 1, 8, 8)
        assert (names["run"].folder / "report.md").is_file()


def test_there_are_the_blocks_that_this_file_thinks_there_are():
    assert len(BLOCKS) == 3


def test_every_subcommand_in_the_readme_exists():
    assert set(re.findall(r"^    ssvae (\w+)", README, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("kind", ["model", "networks"])
def test_every_choice_of_the_command_line_is_in_the_readmes_tables(kind):
    for choice in choices.CHOICES[kind]:
        assert f"| `{choice.__name__}`" in README, f"{choice.__name__} has no line in the README's table of {kind}"


@pytest.mark.parametrize("kind", ["prior", "posterior", "likelihood"])
def test_the_readmes_tables_name_parts_that_there_are(kind):
    rows = README.split(f"\n| {kind} | ")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)`(?! for)", rows, re.MULTILINE))
    assert len(named) >= 3
    assert named <= {choice.__name__ for choice in choices.CHOICES[kind]}


def test_every_recipe_is_in_the_readme_and_is_yaml():
    recipes = sorted((ROOT / "inference" / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        assert f"`{path.stem}`" in README
        assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.csv")), ids=lambda path: path.stem)
def test_the_table_of_a_study_is_that_of_its_csv(path):
    expected = table(from_csv(path.read_text()))
    begin, end = f"<!-- {path.name} -->\n", "<!-- end -->\n"
    assert README.count(begin) == 1
    assert README.partition(begin)[2].partition(end)[0] == expected


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
