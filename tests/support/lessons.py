"""Notebooks without Jupyter: their cells, run one after the other in the process that asks."""

import math
import os
import warnings
from unittest import mock

import nbformat
from IPython.core.interactiveshell import InteractiveShell

import ssvae.inference.runs.report
from ssvae.data import time_left
from ssvae.inference.evaluation import proposal


class Shell(InteractiveShell):
    """IPython with neither terminal nor kernel."""

    def enable_gui(self, gui=None):
        """Start no event loop; `%matplotlib inline` says that it needs none."""


def run_cells(path, replacements):
    """Run a notebook from its own folder, as a kernel would; raise what a cell raises.

    Reports have no pictures: they take longer than all the rest of a small run, and no notebook looks at them. The
    proposals of importance sampling are fitted in few steps, which makes log p(x) less certain, not wrong.

    Args:
        path: The notebook.
        replacements: Texts in its cells, and what is to stand there instead.
    """
    os.chdir(path.parent)
    # As a kernel: warnings are shown, those for developers if a cell's own line is what causes them.
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
    shell = Shell.instance()
    with (
        mock.patch.object(ssvae.inference.runs.report, "save_pictures", return_value=[]),
        mock.patch.object(proposal, "_STEPS", 3),
        mock.patch.object(time_left, "_SHORTEST_TASK", math.inf),  # as in a kernel, however slow the machine is
    ):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                source = cell.source
                for old, new in replacements.items():
                    source = source.replace(old, new)
                shell.run_cell(source).raise_error()
