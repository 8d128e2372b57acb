"""Fitting models to data: objective, training, evaluation, figures, runs and the command line.

Names are imported on first use, so that ``ssvae --help`` does not wait for Lightning.
"""

from typing import TYPE_CHECKING

from ssvae.lazy import attributes

if TYPE_CHECKING:
    from ssvae.inference import contracts, figures
    from ssvae.inference.applications.imputation import impute
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
    "impute",
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
    "impute": "applications.imputation",
    "load": "runs.runs",
    "resume": "runs.runs",
}

__getattr__, __dir__ = attributes(__name__, __all__, _HOMES, _FOLDERS)
