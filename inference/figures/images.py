"""Grids of images: samples, analogies, reconstructions."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ssvae.inference.figures.style import (
    MARGIN,
    TILE,
    default_style,
    figure_of,
    name_ticks,
    names_of,
    new_figure,
    whiten,
)
from ssvae.inference.predict import device_of, evaluating
from ssvae.models import SemiSupervisedModel

_RECONSTRUCTIONS_IN_A_LINE = 10


@default_style()
def class_samples(
    model: SemiSupervisedModel,
    num_samples: int = 10,
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw samples of every class, one row for each class.

    A sample is the mean of p(x | y, z) for z from the prior. It uses torch's global random generator, as
    `ssvae.models.base.SemiSupervisedModel.sample` does.

    Args:
        model: The model, on any device.
        num_samples: The number of samples of each class.
        class_names: Names of the classes; None for their numbers.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If num_samples is less than 1, or there are not as many names as classes.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
    names = names_of(model.num_classes, class_names)
    with evaluating(model):
        samples = model.sample(torch.arange(model.num_classes, device=device_of(model)), num_samples)
    # (classes, samples, channels, height, width)
    return lay_out(samples.transpose(0, 1), rows=names, labels=("samples", "class y"), ax=ax)


@default_style()
def analogies(
    model: SemiSupervisedModel,
    x: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    y: Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw analogies: each image, followed by images of all classes with the same style z.

    Source: Kingma et al. 2014 (arXiv 1406.5298), figure 1.

    Args:
        model: The model, on any device.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        class_names: Names of the classes; None for their numbers.
        y: Classes of the images, integers (batch,); None for the most probable ones.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there are not as many names as classes.
    """
    names = names_of(model.num_classes, class_names)
    x, y = _to_device(model, x, y)
    with evaluating(model):
        styles = model.analogies(x, y).transpose(0, 1)  # (batch, classes, channels, height, width)
    tiles = torch.cat([x.unsqueeze(1), styles], dim=1)
    return lay_out(tiles, columns=["image", *names], labels=("class y", "images"), ax=ax)


@default_style()
def reconstructions(model: SemiSupervisedModel, x: Tensor, y: Tensor | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw images and, below each, its reconstruction; ten pairs in a line.

    The reconstruction is the mean of p(x | y, z) at the mean of q(z | x, y).

    Args:
        model: The model, on any device.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        y: Classes of the images, integers (batch,); None for the most probable ones.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.
    """
    x, y = _to_device(model, x, y)
    with evaluating(model):
        pairs = torch.stack([x, model.reconstruct(x, y)])  # (2, batch, channels, height, width)
    lines = torch.split(pairs, _RECONSTRUCTIONS_IN_A_LINE, dim=1)
    blank = pairs.new_ones(2, lines[0].shape[1] - lines[-1].shape[1], *x.shape[1:])
    rows = torch.cat([*lines[:-1], torch.cat([lines[-1], blank], dim=1)])
    return lay_out(rows, rows=["image", "reconstruction"] * len(lines), labels=("images", ""), ax=ax)


@default_style()
def image_grid(
    images: Tensor, rows: Sequence[str] = (), columns: Sequence[str] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw a grid of images, separated by white lines.

    Args:
        images: (rows, columns, channels, height, width), pixels in [0, 1]. One channel is grey; two channels are a pair
            of grey images, drawn side by side; three channels are colours.
        rows: Names of the rows, from the top; empty for none.
        columns: Names of the columns; empty for none.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the images have another shape, or there are not as many names as rows or columns.
    """
    return lay_out(images, rows, columns, ax=ax)


def _to_device(model: SemiSupervisedModel, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    device = device_of(model)
    return x.to(device), None if y is None else y.to(device)


def lay_out(
    images: Tensor,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    labels: tuple[str, str] = ("", ""),
    *,
    ax: Axes | None,
) -> Axes:
    """Draw a grid of images as `image_grid` does, with labels of the horizontal and the vertical axis."""
    if images.dim() != 5 or images.shape[2] not in (1, 2, 3) or 0 in images.shape:
        raise ValueError(
            "images: expected (rows, columns, channels, height, width), none zero and 1 to 3 channels; "
            f"got {tuple(images.shape)}."
        )
    if images.shape[2] == 2:
        images = torch.cat(images.split(1, dim=2), dim=-1)  # (rows, columns, 1, height, 2 · width)
    num_rows, num_columns, channels, height, width = images.shape
    for axis, names, number in (("rows", rows, num_rows), ("columns", columns, num_columns)):
        if len(names) not in (0, number):
            raise ValueError(f"{axis}: expected {number} names, or none; got {len(names)}.")
    gap = max(1, height // 14)
    # Clamped, since the mean of a Gaussian likelihood may be outside of [0, 1].
    images = images.detach().cpu().double().clamp(0, 1)
    canvas = images.new_ones(num_rows * (height + gap) - gap, num_columns * (width + gap) - gap, channels)
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = images[row, column].permute(1, 2, 0)

    shape = (TILE * canvas.shape[1] / width, TILE * canvas.shape[0] / width)  # inches
    axes = new_figure(*shape).add_axes((0, 0, 1, 1)) if ax is None else ax
    whiten(axes)
    axes.imshow(canvas.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    name_ticks(axes, rows, columns, step=(height + gap, width + gap), size=(height, width))
    axes.xaxis.set_label_position("top" if columns else "bottom")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if ax is None:
        _make_room(axes, shape)
    return axes


def _make_room(axes: Axes, shape: tuple[float, float]) -> None:
    """Widen a figure that its axes fill, by the space for tick labels and axis labels.

    Constrained layout is not used here, since it cuts off labels if axes of a fixed aspect ratio leave little space.
    """
    width, height = shape
    figure = figure_of(axes)
    everything = figure.get_tightbbox()  # inches
    left, bottom = MARGIN - everything.x0, MARGIN - everything.y0
    whole_width, whole_height = left + everything.x1 + MARGIN, bottom + everything.y1 + MARGIN
    figure.set_size_inches(whole_width, whole_height)
    axes.set_position((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
