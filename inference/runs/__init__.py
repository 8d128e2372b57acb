"""Runs: training a model with its baselines, and the folder that is left of it.

Names are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING

from ssvae.lazy import attributes

if TYPE_CHECKING:
    from ssvae.inference.runs.run import Run
    from ssvae.inference.runs.runs import baseline_objectives, fit, load, name_classes, resume, with_all_labels

__all__ = [
    "Run",
    "baseline_objectives",
    "fit",
    "load",
    "name_classes",
    "resume",
    "with_all_labels",
]

_HOMES = {
    "Run": "run",
    "baseline_objectives": "runs",
    "fit": "runs",
    "load": "runs",
    "name_classes": "runs",
    "resume": "runs",
    "with_all_labels": "runs",
}

__getattr__, __dir__ = attributes(__name__, __all__, _HOMES)
