"""The versions of the notebooks for a class: students have no answers, teachers have, and nothing else changes."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks.make_course import make_course

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    make_course(folder)
    return folder


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def tags(cell):
    return set(cell.metadata.get("tags", []))


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_every_notebook_is_there(course, name):
    assert [path.name for path in sorted((course / name).iterdir())] == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_students_have_no_answers_and_nothing_else_changes(course, source):
    cells, student, teacher = (
        read(path) for path in (source, *(course / n / source.name for n in ("student", "teacher")))
    )
    for notebook in (cells, student, teacher):
        for cell in notebook.cells:
            cell.source = cell.source.replace("](../../docs/", "](../docs/")
    assert teacher == cells
    assert "answers" in tags(teacher.cells[-1])
    assert not any({"answers", "claims"} & tags(cell) for cell in student.cells)
    assert not any("<summary>Answers" in cell.source for cell in student.cells)
    cells.cells = [cell for cell in cells.cells if not {"answers", "claims"} & tags(cell)]
    assert student == cells


def test_no_cell_of_the_students_needs_what_was_left_out(course):
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", course / "student"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_links_lead_from_the_course_to_the_pages(course):
    for path in (course / "student").iterdir():
        assert "](../../docs/" in path.read_text(encoding="utf-8")
        assert "](../docs/" not in path.read_text(encoding="utf-8")


def test_it_is_made_again_over_a_former_one(course):
    before = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    next(iter(before)).write_text("old", encoding="utf-8")
    make_course(course)
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before
