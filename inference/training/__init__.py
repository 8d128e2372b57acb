"""Training: every step has a labelled and an unlabelled batch, one loss and one optimiser step.

Names are imported on first use, so that a recipe can be made without importing Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssvae.inference.training.checks import check_trainable
    from ssvae.inference.training.history import Row
    from ssvae.inference.training.recipe import Recipe, TrainerOptions
    from ssvae.inference.training.trainer import on_accelerator
    from ssvae.inference.training.training import train

__all__ = [
    "Recipe",
    "Row",
    "TrainerOptions",
    "check_trainable",
    "on_accelerator",
    "train",
]

_HOMES = {
    "Recipe": "recipe",
    "Row": "history",
    "TrainerOptions": "recipe",
    "check_trainable": "checks",
    "on_accelerator": "trainer",
    "train": "training",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
