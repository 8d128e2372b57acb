"""J, the objective: its bounds, its schedules, and whom the classifier's answers are compared with."""

from ssvae.inference.objective.objective import Consistency, Objective, Observations, Sizes
from ssvae.inference.objective.schedules import KLWeight

__all__ = [
    "Consistency",
    "KLWeight",
    "Objective",
    "Observations",
    "Sizes",
]
