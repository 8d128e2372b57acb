"""The training objective J: its bounds, the schedule of the KL weight, and consistency regularisation."""

from ssvae.inference.objective.objective import Consistency, Objective, Observations, Sizes
from ssvae.inference.objective.schedules import KLWeight

__all__ = [
    "Consistency",
    "KLWeight",
    "Objective",
    "Observations",
    "Sizes",
]
