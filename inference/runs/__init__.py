"""Runs: training a model with its baselines, and the folder that is left of it.

Names are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssvae.inference.runs.run import Run
    from ssvae.inference.runs.runs import baseline_objectives, fit, load, resume, with_all_labels

__all__ = [
    "Run",
    "baseline_objectives",
    "fit",
    "load",
    "resume",
    "with_all_labels",
]

_HOMES = {
    "Run": "run",
    "baseline_objectives": "runs",
    "fit": "runs",
    "load": "runs",
    "resume": "runs",
    "with_all_labels": "runs",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
