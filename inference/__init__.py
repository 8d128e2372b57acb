"""How belief meets data: objective, training, evaluation, figures, command line.

Names are loaded when they are first asked for, so that `ssvae --help` does not wait for Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.classifier import SemiSupervisedClassifier
    from inference.evaluation import evaluate
    from inference.objective import Consistency, Objective
    from inference.recipe import Recipe, TrainerOptions
    from inference.runs import Run, fit, load, resume
    from inference.schedules import KLWeight

__all__ = [
    "Consistency",
    "KLWeight",
    "Objective",
    "Recipe",
    "Run",
    "SemiSupervisedClassifier",
    "TrainerOptions",
    "evaluate",
    "fit",
    "load",
    "resume",
]

_HOMES = {
    "Consistency": "objective",
    "KLWeight": "schedules",
    "Objective": "objective",
    "Recipe": "recipe",
    "Run": "runs",
    "SemiSupervisedClassifier": "classifier",
    "TrainerOptions": "recipe",
    "evaluate": "evaluation",
    "fit": "runs",
    "load": "runs",
    "resume": "runs",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
