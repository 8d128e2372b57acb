"""Every notebook: it runs from top to bottom, its claims hold, and what is committed is what such a run leaves."""

import ast
import math
import os
import re
from pathlib import Path

import nbformat
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from support import forked, lessons

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SWITCH = "QUICK = False  # True: a fraction of the training, for a first look"

INSTALL = 'import importlib.util\n\nif importlib.util.find_spec("ssvae") is None:\n    %pip install -q '

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def is_hidden(cell):
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def texts(notebook):
    """Return every text that the committed outputs show."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            found.append(output.get("text", ""))
            found += [str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(found)


def test_the_notebooks_are_numbered_one_after_the_other():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(len(NOTEBOOKS))]
    listed = (ROOT / "notebooks" / "README.md").read_text()
    assert all(path.name in listed for path in NOTEBOOKS)


@every_notebook
@pytest.mark.slow
def test_it_runs_and_its_claims_hold(path):
    switch = code_cells(read(path))[1]
    assert SWITCH in switch.source
    quick = {SWITCH: SWITCH.replace("False", "True")}
    running = forked.Forked(lessons.run_cells, path, quick, PYTHONPATH=str(ROOT / "typing"))
    _, err = running.communicate(timeout=1200)
    assert (running.returncode, err) == (0, "")


def stderr(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


@every_notebook
def test_its_outputs_are_committed_as_a_clean_run_left_them(path):
    notebook = read(path)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not stderr(notebook)
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|Users|work)/", texts(notebook))
    assert os.path.getsize(path) < 1_000_000


@every_notebook
def test_it_is_laid_out_as_a_lesson(path):
    notebook = read(path)
    assert 10 <= len([cell for cell in notebook.cells if not is_hidden(cell)]) <= 24
    first, install, switch, *_, exercises, answers = (cell for cell in notebook.cells if not has_tag(cell, "check"))
    assert first.source.startswith(f"# {int(path.name[:2])}. ")
    assert "**At the end you will know**" in first.source
    assert install.source == INSTALL + ('"ssvae[mnist5k]"' if "MNIST5k" in switch.source else "ssvae")
    assert has_tag(install, "install")
    assert switch.source.split("\n")[0].startswith("DATA = ")
    assert switch.source.split("\n")[1] == SWITCH
    assert exercises.source.startswith("## Exercises")
    graded = re.findall(r"^(\d)\. ★{1,3} (?:\*\(pencil and paper\)\* )?\S", exercises.source, re.MULTILINE)
    assert graded == re.findall(r"^(\d)\. ", exercises.source, re.MULTILINE)
    assert graded == [str(number) for number in range(1, len(graded) + 1)]
    assert graded == re.findall(r"^\*\*(\d)\.\*\*", answers.source, re.MULTILINE)
    assert len(graded) in (3, 4)
    assert answers.source.startswith("<details><summary>Answers</summary>")
    assert answers.source.endswith("</details>")


@every_notebook
def test_its_claims_are_checked_in_hidden_cells(path):
    claims = [cell for cell in code_cells(read(path)) if has_tag(cell, "claims")]
    assert claims
    for cell in claims:
        assert cell.metadata["jupyter"]["source_hidden"]
        assert "assert " in cell.source or "assert_close(" in cell.source


@every_notebook
def test_what_is_shown_fits_on_a_page(path):
    for cell in code_cells(read(path)):
        # One definition, such as a model, stays in one piece.
        if len(cell.source.split("\n")) > 30 and not is_hidden(cell):
            assert len(ast.parse(cell.source).body) == 1, cell.id
            assert isinstance(ast.parse(cell.source).body[0], ast.ClassDef), cell.id


@every_notebook
def test_its_links_lead_to_pages(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((\.\./[^)#]+)", text)
    assert links
    assert all((path.parent / link).is_file() for link in links)
    assert re.findall(r"(?<!\[)arXiv \d{4}", text) == []
    assert all(number == address for number, address in re.findall(r"\[arXiv ([\d.]+)\]\(\S+/abs/([\d.]+)\)", text))


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("00", 0.5),
        ("01", 0.5 * math.log(0.12)),
        ("02", 100 - math.log(1 + math.exp(-2))),
        ("04", math.log(2) + 1 / 8),
        ("12", (0.63 * 0.8 + 0.06 * 0.6) / 0.69),
        ("13", 25 / 4 * 0.9),
    ],
)
def test_a_check_tells_a_right_answer_from_others(number, right, capsys):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith(number))
    (check,) = (cell for cell in read(path).cells if has_tag(cell, "check"))
    assert check.source.startswith("answer = None")
    assert check.outputs[0].text == "not yet\n"
    # What the notebooks' second code cell imports.
    names = {"torch": torch, "pyro": pyro, "dist": dist, "TraceEnum_ELBO": TraceEnum_ELBO}
    said = {None: "not yet\n", round(right, 3): "right\n", right + 0.01: "not yet\n", right - 0.01: "not yet\n"}
    for answer, expected in said.items():
        exec(check.source.replace("answer = None", f"answer = {answer}"), dict(names))
        assert capsys.readouterr().out == expected
    # A number with three digits that the answers give.
    answers = read(path).cells[-1].source
    assert re.search(rf"\\approx {right:.3f}(?!\d)", answers)
