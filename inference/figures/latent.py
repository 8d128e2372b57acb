"""Figures of the latent space: latent means of images, and the nodes of a map."""

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from ssvae.inference.evaluation import maps
from ssvae.inference.figures.images import lay_out
from ssvae.inference.figures.plane import by_neighbours, principal_components
from ssvae.inference.figures.style import (
    COLOURS,
    LETTER,
    LINES,
    TILE,
    colour_and_marker,
    default_style,
    is_small,
    name_classes,
    names_of,
    new_figure,
    whiten,
)
from ssvae.inference.predict import device_of, evaluating, latent_means
from ssvae.models import SemiSupervisedModel


@default_style()
def latent_map(
    model: SemiSupervisedModel,
    x: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    tsne: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the latent mean of each image in two dimensions, coloured by true class.

    The latent mean is that of q(z | x, y) at the most probable y. It is projected to two dimensions by principal
    components, or by t-SNE (van der Maaten and Hinton 2008, "Visualizing data using t-SNE"). t-SNE preserves
    neighbourhoods, not distances, and is slow.

    Args:
        model: The model, on any device.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        labels: True classes, integers (batch,); -1 for images without a label.
        class_names: Names of the true classes; None for their numbers.
        tsne: Whether to use t-SNE instead of principal components.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there are fewer than two images (or five, with t-SNE), the labels do not fit, or there
            are not as many names as classes.
    """
    names = _true_names(model, labels, class_names)
    at_least = 5 if tsne else 2
    if len(x) < at_least or labels.shape != x.shape[:1]:
        raise ValueError(
            f"x: expected at least {at_least} images and a label for each; got {len(x)} and {len(labels)}."
        )
    z = latent_means(model, x)
    points, axis_labels = by_neighbours(z) if tsne else principal_components(z)

    if ax is None:
        legend_width = math.ceil(len(names) / 20) * (0.8 + LETTER * max(len("unlabelled"), *map(len, names)))
        ax = new_figure(6 + legend_width, 5.5, layout="constrained").add_subplot()
    whiten(ax)
    labels = labels.cpu()
    if (labels < 0).any():
        _scatter(ax, points[labels < 0], "unlabelled", "0.85", ".")
    for y, name in enumerate(names):
        colour, marker = colour_and_marker(y)
        _scatter(ax, points[labels == y], name, colour, marker)
    size = 8 if is_small(ax) else 10
    ax.set_xlabel(axis_labels[0], size=size)
    ax.set_ylabel(axis_labels[1], size=size)
    if not axis_labels[1]:
        ax.set_yticks([])
    ax.set_title("mean of q(z | x, y)", size=10)
    name_classes(ax)
    return ax


@default_style()
def node_map(
    model: SemiSupervisedModel,
    x: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the decoded nodes of a map, each in a frame of the colour of its class.

    The class of a node is the most frequent class of the images nearest to it, and the node is decoded with this class.
    A node without images has no frame. The title gives purity, normalised mutual information (NMI) of nodes and
    classes, and topographic error; see `ssvae.inference.evaluation.maps`.

    Args:
        model: A model whose prior is a map; see `ssvae.models.priors.base.Prior.nodes`.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        labels: True classes, integers (batch,); images with label -1 are left out.
        class_names: Names of the true classes; None for their numbers.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the prior is not a map, no image has a label, the labels do not fit, or there are not as many
            names as classes.
    """
    names = _true_names(model, labels, class_names)
    if labels.shape != x.shape[:1] or not (labels >= 0).any():
        raise ValueError(
            f"labels: expected one for each of {len(x)} images, and some known; got {tuple(labels.shape)}."
        )
    x, labels = x[labels >= 0], labels[labels >= 0].cpu()
    units = maps.best_matching_units(model, x)
    device = device_of(model)
    with evaluating(model):
        nodes = model.prior.nodes(torch.arange(model.num_classes, device=device))
        assert nodes is not None
        rows, columns = nodes.shape[1:3]
        counts = torch.zeros(rows, columns, model.num_classes)
        counts.index_put_((*units.best.T, labels), torch.ones(len(labels)), accumulate=True)
        y = counts.argmax(-1)  # (rows, columns)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        images = model.p_x(nodes[y, row, column].flatten(0, 1), y.flatten().to(device)).mean
    if ax is None:
        legend_width = math.ceil(len(names) / 20) * (0.8 + LETTER * max(len("true class"), *map(len, names)))
        _, _, height, width = images.shape
        shape = TILE * columns + legend_width, max(2.5, TILE * rows * height / width + 0.5)
        ax = new_figure(max(4.5, shape[0]), shape[1], layout="constrained").add_subplot()
    lay_out(images.unflatten(0, (rows, columns)), ax=ax)
    _frame(ax, y.where(counts.sum(-1) > 0, -1), images.shape[-2:], names)
    error = maps.topographic_error(units)
    nmi = maps.normalised_mutual_information(units.best, labels)
    ax.set_title(f"purity {maps.purity(units.best, labels):.2f}, NMI {nmi:.2f}, topographic error {error:.2f}", size=10)
    return ax


def _true_names(model: SemiSupervisedModel, labels: Tensor, class_names: Sequence[str] | None) -> list[str]:
    """Return the names of the true classes, which may be more or fewer than the model's."""
    least = int(labels.max()) + 1 if len(labels) else 0
    if class_names is None:
        return names_of(max(model.num_classes, least), None)
    if len(class_names) < least:
        raise ValueError(f"class_names: expected {least} or more, one for each class; got {len(class_names)}.")
    return list(class_names)


def _frame(axes: Axes, y: Tensor, size: Sequence[int], names: Sequence[str]) -> None:
    """Draw a frame around each image (row, column) in the colour of its class y; none if y is negative."""
    height, width = size
    gap = max(1, height // 14)
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(names))]
    lines = [LINES[k // len(COLOURS) % len(LINES)] for k in range(len(names))]
    for row, column in (y >= 0).nonzero().tolist():
        corner = column * (width + gap) - (1 + gap) / 2, row * (height + gap) - (1 + gap) / 2
        frame = Rectangle(corner, width + gap, height + gap, fill=False, linewidth=2, clip_on=False)
        frame.set(edgecolor=colours[y[row, column]], linestyle=lines[y[row, column]])
        axes.add_patch(frame)
    for name, colour, line in zip(names, colours, lines, strict=True):
        axes.plot([], [], label=name, linewidth=2, color=colour, linestyle=line)
    name_classes(axes)


def _scatter(axes: Axes, points: Tensor, name: str, colour: str, marker: str) -> None:
    horizontal, vertical = points.T.numpy()
    axes.scatter(horizontal, vertical, s=4 if is_small(axes) else 14, c=colour, marker=marker, label=name, linewidths=0)
