"""Figures of vectors: the plane with its classes and its density, and marginals of samples beside those of data."""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from ssvae.data.vector_data import VectorData
from ssvae.inference.evaluation.evaluation import importance_sampling
from ssvae.inference.figures.style import (
    COLOURS,
    colour_and_marker,
    default_style,
    is_small,
    name_classes,
    new_figure,
    whiten,
)
from ssvae.inference.predict import class_probabilities, device_of, evaluating, images_per_chunk
from ssvae.models import SemiSupervisedModel

_MARGIN = 0.15
"""The width of the empty border around the points, as a share of their extent."""


@default_style()
def decision_plane(
    model: SemiSupervisedModel, data: VectorData, *, num_cells: int = 150, ax: Axes | None = None
) -> Axes:
    """Draw q(y | x) over the plane, with the training points and their labels.

    Each cell has the colour of its most probable class, the paler the less probable it is. Unlabelled points are grey.

    Args:
        model: The model of two features.
        data: The data set, whose units the axes have.
        num_cells: The number of cells along each axis.
        ax: Axes to draw into; None for a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the data have another number of features than two.
    """
    points, (horizontal, vertical) = plane_grid(data, num_cells)
    y, certainty = most_probable(class_probabilities(model, data.preprocess(points)))
    ax = _new_plane(data) if ax is None else ax
    whiten(ax)
    colours = to_rgba_array([COLOURS[y % len(COLOURS)] for y in y.tolist()])
    colours[:, 3] = 0.4 * certainty.numpy()
    extent = (float(horizontal[0]), float(horizontal[-1]), float(vertical[0]), float(vertical[-1]))
    ax.imshow(colours.reshape(num_cells, num_cells, 4), extent=extent, origin="lower", aspect="auto")
    _draw_training_points(ax, data)
    ax.set_title("q(y | x)", size=10)
    return ax


@default_style()
def density_plane(
    model: SemiSupervisedModel,
    data: VectorData,
    *,
    num_cells: int = 50,
    num_samples: int = 50,
    ax: Axes | None = None,
) -> Axes:
    """Draw contours of p(x) over the plane, with the training points and their labels.

    log p(x) is estimated by importance sampling, from below in expectation; see
    `ssvae.inference.evaluation.evaluation.importance_sampling`. The contours enclose cells with 50, 80, 95 and 99 % of
    the probability on the drawn part of the plane.

    Args:
        model: The model of two features.
        data: The data set, whose units the axes have.
        num_cells: The number of grid points along each axis.
        num_samples: The number of importance samples for each class.
        ax: Axes to draw into; None for a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the data have another number of features than two, or the model's ELBO does not bound log p(x).
    """
    if not model.bounds_evidence:
        raise ValueError(f"model: expected one whose ELBO bounds log p(x); got {type(model).__name__}.")
    points, (horizontal, vertical) = plane_grid(data, num_cells)
    x = data.preprocess(points)
    chunks = x.split(images_per_chunk(model, copies=model.num_classes))
    log_p = torch.cat([importance_sampling(model, chunk, num_samples).log_evidence for chunk in chunks])
    share, levels = density_levels(log_p)
    ax = _new_plane(data) if ax is None else ax
    whiten(ax)
    _draw_training_points(ax, data)
    ax.contour(
        horizontal,
        vertical,
        share.view(num_cells, num_cells),
        levels=sorted(set(levels)),
        colors="black",
        linewidths=(0.4, 0.7, 1.0, 1.3),
    )
    ax.set_title("p(x)", size=10)
    return ax


@default_style()
def sampled_plane(model: SemiSupervisedModel, data: VectorData, num_samples: int = 500, ax: Axes | None = None) -> Axes:
    """Draw samples x ~ p(x | y, z) p(z | y) of every class.

    Args:
        model: The model of two features.
        data: The data set, whose units and extent the axes have.
        num_samples: The number of samples of each class.
        ax: Axes to draw into; None for a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the data have another number of features than two.
    """
    _check_plane(data)
    ax = _new_plane(data) if ax is None else ax
    whiten(ax)
    samples = draw_vectors(model, data, num_samples)  # (samples, classes, features)
    for y, name in enumerate(data.class_names):
        colour, marker = colour_and_marker(y)
        horizontal, vertical = samples[:, y].T.tolist()
        ax.scatter(horizontal, vertical, s=4, c=colour, marker=marker, label=name, linewidths=0, alpha=0.6)
    _set_limits(ax, data)
    ax.set_title("x ~ p(x | y, z) p(z | y)", size=10)
    name_classes(ax)
    return ax


@default_style()
def marginals(model: SemiSupervisedModel, data: VectorData, num_samples: int = 1000, most: int = 12) -> Axes:
    """Draw the distribution of each feature: training rows, and as many samples of the model (posterior predictive).

    The classes of the samples are drawn from p(y) of the model, or are equally frequent if it has none.

    Args:
        model: The model.
        data: The data set, whose units the axes have.
        num_samples: The number of samples.
        most: The largest number of features to draw: the first ones.

    Returns:
        The axes of the first feature.
    """
    names = data.feature_names[:most]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    panels = new_figure(2.4 * columns + 1, 2 * rows + 0.6, layout="constrained").subplots(rows, columns, squeeze=False)
    per_class = max(1, num_samples // data.num_classes)
    samples = draw_vectors(model, data, per_class)  # (samples, classes, features)
    weights = (
        model.class_prior().probs if hasattr(model, "class_prior") else torch.full((data.num_classes,), 1.0)
    ).expand(per_class, -1)
    for number, (name, ax) in enumerate(zip(names, panels.flat, strict=False)):
        whiten(ax)
        x = data.train_x[:, number]
        x = x[~x.isnan()]
        low, high = torch.quantile(x.double(), torch.tensor([0.005, 0.995], dtype=torch.float64)).tolist()
        bins = torch.linspace(low, high if high > low else low + 1, 25).tolist()
        ax.hist(x.tolist(), bins, density=True, color="0.8", label="data")
        ax.hist(
            samples[..., number].flatten().tolist(),
            bins,
            density=True,
            weights=weights.flatten().tolist(),
            histtype="step",
            color=COLOURS[0],
            label="samples",
        )
        ax.set_xlabel(name, size=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
    for ax in panels.flat[len(names) :]:
        ax.set_axis_off()
    first: Axes = panels.flat[0]
    first.legend(fontsize=7)
    return first


def draw_vectors(model: SemiSupervisedModel, data: VectorData, num_samples: int) -> Tensor:
    """Draw x from p(x | y, z) p(z | y) for every class, in the units of the data.

    Args:
        model: The model.
        data: The data set.
        num_samples: The number of draws of each class.

    Returns:
        (num_samples, classes, features), on the CPU.
    """
    y = torch.arange(data.num_classes, device=device_of(model)).expand(num_samples, -1)  # (samples, classes)
    with evaluating(model):
        x = model.p_x(model._draw(y), y).sample()
    return data.restore(x).cpu()


def most_probable(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable class and its certainty: 0 if all classes are equally probable, 1 if one is certain.

    Args:
        probabilities: Class probabilities, (..., classes).

    Returns:
        The classes (...), int64, and (max_y q(y|x) - 1/K) / (1 - 1/K), (...); 1 for a single class.
    """
    num_classes = probabilities.shape[-1]
    highest, y = probabilities.max(-1)
    return y, (highest - 1 / num_classes) / (1 - 1 / num_classes) if num_classes > 1 else highest


def density_levels(log_p: Tensor) -> tuple[Tensor, list[float]]:
    """Return the levels of a density whose contours enclose 99, 95, 80 and 50 % of the probability on a grid.

    Args:
        log_p: log p(x) at the points of a grid, (points,), up to a constant.

    Returns:
        The share of the probability of each point, (points,), and the levels of this share, ascending: each is the
        lowest share among the fewest points that have as much of the probability.
    """
    share = log_p.softmax(0)
    mass = share.sort(descending=True).values
    shares = torch.tensor([0.99, 0.95, 0.8, 0.5], dtype=mass.dtype)
    levels = mass[torch.searchsorted(mass.cumsum(0), shares).clamp(max=len(mass) - 1)]
    return share, levels.tolist()


def _check_plane(data: VectorData) -> None:
    if data.event_shape != (2,):
        raise ValueError(f"data: expected two features; got {data.event_shape[0]}.")


def _limits(data: VectorData) -> tuple[Tensor, Tensor]:
    """Return the lower left and the upper right corner of what is drawn, (2,) each; a few far points stay outside."""
    low, high = torch.nanquantile(data.train_x.double(), torch.tensor([0.002, 0.998], dtype=torch.float64), dim=0)
    margin = _MARGIN * (high - low).clamp(min=1e-6)
    return low - margin, high + margin


def plane_grid(data: VectorData, num_cells: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return a grid over what the figures of the plane draw: the training points, and a margin around them.

    Args:
        data: The data set, in whose units the grid is.
        num_cells: The number of points along each axis.

    Returns:
        The points of the grid, (num_cells², 2), row by row; and the coordinates of its columns and rows, (num_cells,)
        each.

    Raises:
        ValueError: If the data have another number of features than two.
    """
    _check_plane(data)
    low, high = _limits(data)
    horizontal, vertical = (
        torch.linspace(float(low[k]), float(high[k]), num_cells, dtype=torch.get_default_dtype()) for k in (0, 1)
    )
    second, first = torch.meshgrid(vertical, horizontal, indexing="ij")
    return torch.stack([first, second], -1).flatten(0, 1), (horizontal, vertical)


def _new_plane(data: VectorData) -> Axes:
    width = 6 + 0.1 * max(len("unlabelled"), *map(len, data.class_names))
    return new_figure(width, 5, layout="constrained").add_subplot()


def _draw_training_points(ax: Axes, data: VectorData) -> None:
    """Draw unlabelled points small and grey, labelled ones large in the colour of their class; and the legend."""
    small = is_small(ax)
    unlabelled = data.train_x[data.unlabelled_index]
    if len(unlabelled):
        across, up = unlabelled.T.tolist()
        ax.scatter(across, up, s=3 if small else 6, c="0.45", label="unlabelled", linewidths=0, alpha=0.6)
    for y, name in enumerate(data.class_names):
        colour, marker = colour_and_marker(y)
        across, up = data.train_x[data.train_labels == y].T.tolist()
        size = 20 if small else 60
        ax.scatter(across, up, s=size, c=colour, marker=marker, label=name, edgecolors="black", linewidths=0.8)
    _set_limits(ax, data)
    name_classes(ax)


def _set_limits(ax: Axes, data: VectorData) -> None:
    low, high = _limits(data)
    ax.set_xlim(float(low[0]), float(high[0]))
    ax.set_ylim(float(low[1]), float(high[1]))
    first, second = data.feature_names
    ax.set_xlabel(first)
    ax.set_ylabel(second)
