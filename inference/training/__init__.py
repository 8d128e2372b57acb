"""Training: every step has a labelled and an unlabelled batch, one loss and one optimiser step.

Names are imported on first use, so that a recipe can be made without importing Lightning.
"""

from typing import TYPE_CHECKING

from ssvae.lazy import attributes

if TYPE_CHECKING:
    from ssvae.inference.training.checks import check_trainable
    from ssvae.inference.training.continuation import Continuation
    from ssvae.inference.training.history import Row
    from ssvae.inference.training.recipe import Recipe, TrainerOptions
    from ssvae.inference.training.trainer import on_accelerator
    from ssvae.inference.training.training import train

__all__ = [
    "Continuation",
    "Recipe",
    "Row",
    "TrainerOptions",
    "check_trainable",
    "on_accelerator",
    "train",
]

_HOMES = {
    "Continuation": "continuation",
    "Recipe": "recipe",
    "Row": "history",
    "TrainerOptions": "recipe",
    "check_trainable": "checks",
    "on_accelerator": "trainer",
    "train": "training",
}

__getattr__, __dir__ = attributes(__name__, __all__, _HOMES)
