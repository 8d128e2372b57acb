"""Write the notebooks for a class into course/: student/ without answers and claims, teacher/ with everything.

The notebooks beside this file are the one source; `make course` runs it.
"""

from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent
COURSE = NOTEBOOKS.parent / "course"
LEFT_OUT: dict[str, set[str]] = {"student": {"answers", "claims"}, "teacher": set()}
"""The tags of the cells that each edition goes without."""


def edition(notebook: NotebookNode, left_out: set[str]) -> NotebookNode:
    """Return a copy without the cells that have one of these tags; its links lead from course/*/ to docs/."""
    copy = deepcopy(notebook)
    copy.cells = [cell for cell in copy.cells if not left_out.intersection(cell.metadata.get("tags", []))]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../docs/", "](../../docs/")
    return copy


def make_course(folder: Path) -> None:
    """Write both editions of every notebook below a folder, over those of a former time."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        for name, left_out in LEFT_OUT.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            nbformat.write(edition(notebook, left_out), folder / name / path.name)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    make_course(COURSE)
    print(f"{COURSE / 'student'}: without answers\n{COURSE / 'teacher'}: with answers")
