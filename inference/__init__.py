"""Fitting models to data: objective, training, evaluation, figures, runs and the command line.

Names are imported on first use, so that ``ssvae --help`` does not wait for Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssvae.inference import contracts, figures
    from ssvae.inference.estimator import SemiSupervisedClassifier
    from ssvae.inference.evaluation.evaluation import evaluate
    from ssvae.inference.objective.objective import Consistency, Objective
    from ssvae.inference.objective.schedules import KLWeight
    from ssvae.inference.runs.run import Run
    from ssvae.inference.runs.runs import fit, load, resume
    from ssvae.inference.training.recipe import Recipe, TrainerOptions

__all__ = [
    "Consistency",
    "KLWeight",
    "Objective",
    "Recipe",
    "Run",
    "SemiSupervisedClassifier",
    "TrainerOptions",
    "contracts",
    "evaluate",
    "figures",
    "fit",
    "load",
    "resume",
]

_FOLDERS = ("contracts", "figures")
_HOMES = {
    "Consistency": "objective.objective",
    "KLWeight": "objective.schedules",
    "Objective": "objective.objective",
    "Recipe": "training.recipe",
    "Run": "runs.run",
    "SemiSupervisedClassifier": "estimator",
    "TrainerOptions": "training.recipe",
    "evaluate": "evaluation.evaluation",
    "fit": "runs.runs",
    "load": "runs.runs",
    "resume": "runs.runs",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _FOLDERS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
