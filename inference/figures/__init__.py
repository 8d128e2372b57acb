"""Figures: what a model draws, and what is drawn of it. Each function returns matplotlib axes and saves nothing.

With `ax` only those axes are drawn into, so that figures can be put side by side in a grid of subplots, best one with
``layout="constrained"``. Without it a new pyplot figure of a fitting size is made, which a notebook shows by itself.

White paper and black ink, whatever the style: a figure in a dark notebook looks like the one in the report. The size
of letters in axes that are given is left to the style.
"""

from ssvae.inference.figures.images import analogies, class_samples, image_grid, reconstructions
from ssvae.inference.figures.latent import latent_map, node_map
from ssvae.inference.figures.scores import (
    confusion_matrix,
    rejection_curves,
    reliability_diagram,
    training_curve,
    training_curves,
)
from ssvae.inference.figures.style import COLOURS, LINES, MARKERS, figure_of, without_pyplot

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "analogies",
    "class_samples",
    "confusion_matrix",
    "figure_of",
    "image_grid",
    "latent_map",
    "node_map",
    "reconstructions",
    "rejection_curves",
    "reliability_diagram",
    "training_curve",
    "training_curves",
    "without_pyplot",
]
