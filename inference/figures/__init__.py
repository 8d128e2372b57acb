"""Figures: samples, analogies, reconstructions, latent space, calibration, training curves.

Each function returns matplotlib axes and saves nothing. With ``ax`` it draws into these axes, so that several figures
can share a grid of subplots, preferably with ``layout="constrained"``. Without it the function makes a new pyplot
figure of suitable size, which a notebook displays.

Figures are black on white in every matplotlib style, so that they look the same in a dark notebook and in a report. In
given axes the font size is that of the style.

Example:
    >>> import ssvae
    >>> from ssvae.inference import figures
    >>> model = ssvae.M2((1, 8, 8), 10)
    >>> with figures.without_pyplot():
    ...     axes = figures.class_samples(model, num_samples=5)
    >>> axes.get_ylabel()
    'class y'
"""

from ssvae.inference.figures.discovery import new_classes
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
from ssvae.inference.figures.vectors import decision_plane, density_plane, marginals, sampled_plane

__all__ = [
    "COLOURS",
    "LINES",
    "MARKERS",
    "analogies",
    "class_samples",
    "confusion_matrix",
    "decision_plane",
    "density_plane",
    "figure_of",
    "image_grid",
    "latent_map",
    "marginals",
    "new_classes",
    "node_map",
    "reconstructions",
    "rejection_curves",
    "reliability_diagram",
    "sampled_plane",
    "training_curve",
    "training_curves",
    "without_pyplot",
]
