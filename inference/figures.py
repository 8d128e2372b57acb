"""Figures: what a model draws, and what is drawn of it. Each function returns matplotlib axes and saves nothing.

With `ax` only those axes are drawn into, so that figures can be put side by side in a grid of subplots, best one with
``layout="constrained"``. Without it a new pyplot figure of a fitting size is made, which a notebook shows by itself.

White paper and black ink, whatever the style: a figure in a dark notebook looks like the one in the report. The size
of letters in axes that are given is left to the style.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import matplotlib
import matplotlib.style
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from inference import maps
from inference.calibration import reliability_bins
from inference.evaluation import device_of, evaluating, latent_means
from models import SemiSupervisedModel

# Petroff 2021, "Accessible color sequences for data visualization", arXiv 2107.02270: ten colours that differ
# in any form of colour vision. From the eleventh class on another marker or line tells the classes apart.
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
MARKERS = "o^sDvPX*"
LINES = ("-", ":", "--", "-.")

_TITLES = {
    "loss": "J / N",
    "kl": "KL divergence",
    "negative_elbo": "negative ELBO",
    "kl_weight": "KL weight",
    "validation_nll": "validation NLL",
}
_UNITS = {
    "validation_accuracy": "share of images",
    "kl_weight": "β",
    "learning_rate": "learning rate",
}
_NOT_DRAWN = ("epoch", "step", "seconds")
_RECONSTRUCTIONS_IN_A_LINE = 10
_TILE, _MARGIN, _LETTER = 0.6, 0.05, 0.1  # inches
_SMALLEST_LETTER = 4.0  # points
_SMALL_AXES = 3.0  # inches; below, there is small print and small dots

_without_pyplot: ContextVar[bool] = ContextVar("_without_pyplot", default=False)


@contextmanager
def without_pyplot() -> Iterator[None]:
    """Make figures that belong to whoever asked for them: no window, no place in pyplot's list, nothing to close."""
    token = _without_pyplot.set(True)
    try:
        yield
    finally:
        _without_pyplot.reset(token)


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are in, to save it or to change its size."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


@contextmanager
def _default_style() -> Iterator[None]:
    """Draw in matplotlib's own style, with the user's resolution."""
    with matplotlib.style.context(["default", {"figure.dpi": matplotlib.rcParams["figure.dpi"]}]):
        yield


@_default_style()
def class_samples(
    model: SemiSupervisedModel,
    num_samples: int = 10,
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw samples of every class, a row for each: the mean of p(x | y, z), z from the prior.

    The randomness is that of torch's global generator, as in `SemiSupervisedModel.sample`.

    Args:
        model: The model.
        num_samples: How many of each class.
        class_names: What the classes are called; their numbers where it is not given.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If num_samples is less than 1, or there are not as many names as classes.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
    names = _names(model.num_classes, class_names)
    with evaluating(model):
        samples = model.sample(torch.arange(model.num_classes, device=device_of(model)), num_samples)
    # (classes, samples, channels, height, width)
    return _tiles(samples.transpose(0, 1), rows=names, labels=("samples", "class y"), ax=ax)


@_default_style()
def analogies(
    model: SemiSupervisedModel,
    x: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    y: Tensor | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each image, then its style in every class: Kingma et al. 2014 (arXiv 1406.5298), figure 1.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        class_names: What the classes are called; their numbers where it is not given.
        y: Classes (batch,) of the images; the most probable ones where they are not given.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If there are not as many names as classes.
    """
    names = _names(model.num_classes, class_names)
    x, y = _to_device(model, x, y)
    with evaluating(model):
        styles = model.analogies(x, y).transpose(0, 1)  # (batch, classes, channels, height, width)
    tiles = torch.cat([x.unsqueeze(1), styles], dim=1)
    return _tiles(tiles, columns=["image", *names], labels=("class y", "images"), ax=ax)


@_default_style()
def reconstructions(model: SemiSupervisedModel, x: Tensor, y: Tensor | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw images and, below each, the mean of p(x | y, z) at the mean of q(z | x, y); ten pairs to a line.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        y: Classes (batch,) of the images; the most probable ones where they are not given.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.
    """
    x, y = _to_device(model, x, y)
    with evaluating(model):
        pairs = torch.stack([x, model.reconstruct(x, y)])  # (2, batch, channels, height, width)
    lines = torch.split(pairs, _RECONSTRUCTIONS_IN_A_LINE, dim=1)
    blank = pairs.new_ones(2, lines[0].shape[1] - lines[-1].shape[1], *x.shape[1:])
    rows = torch.cat([*lines[:-1], torch.cat([lines[-1], blank], dim=1)])
    return _tiles(rows, rows=["image", "reconstruction"] * len(lines), labels=("images", ""), ax=ax)


@_default_style()
def latent_map(
    model: SemiSupervisedModel,
    x: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    tsne: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a point for each image, the mean of q(z | x, y) at the most probable y, coloured by true class.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        labels: Their true classes (batch,), -1 where they are not known.
        class_names: What the classes are called; their numbers where it is not given.
        tsne: Whether to lay the points out by t-SNE (van der Maaten and Hinton 2008), which keeps neighbours
            together, is slow and gives distances no meaning; by principal components otherwise.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If there are fewer than two images (or five, with t-SNE), the labels do not fit, or there
            are not as many names as classes.
    """
    names = _names(model.num_classes, class_names)
    at_least = 5 if tsne else 2
    if len(x) < at_least or labels.shape != x.shape[:1]:
        raise ValueError(
            f"x: expected at least {at_least} images and a label for each; got {len(x)} and {len(labels)}."
        )
    z = latent_means(model, x)
    points, axis_labels = _by_neighbours(z) if tsne else _principal_components(z)

    if ax is None:
        legend_width = math.ceil(len(names) / 20) * (0.8 + _LETTER * max(len("unlabelled"), *map(len, names)))
        ax = _new_figure(6 + legend_width, 5.5, layout="constrained").add_subplot()
    _whiten(ax)
    labels = labels.cpu()
    if (labels < 0).any():
        _scatter(ax, points[labels < 0], "unlabelled", "0.85", ".")
    for y, name in enumerate(names):
        colour, marker = COLOURS[y % len(COLOURS)], MARKERS[y // len(COLOURS) % len(MARKERS)]
        _scatter(ax, points[labels == y], name, colour, marker)
    size = 8 if _is_small(ax) else 10
    ax.set_xlabel(axis_labels[0], size=size)
    ax.set_ylabel(axis_labels[1], size=size)
    if not axis_labels[1]:
        ax.set_yticks([])
    ax.set_title("mean of q(z | x, y)", size=10)
    _name_classes(ax)
    return ax


@_default_style()
def node_map(
    model: SemiSupervisedModel,
    x: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the nodes of a map as the images they stand for, in frames of the colour of their class.

    A node is of the class that most of the images have that are nearest to it, and is decoded with that class; a node
    without images has no frame. Above: how pure the nodes are, their mutual information with the classes, and the
    topographic error; see `inference.maps`.

    Args:
        model: A model whose prior is a map; see `models.priors.Prior.nodes`.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        labels: Their true classes (batch,), -1 where they are not known, and the images then left out.
        class_names: What the classes are called; their numbers where it is not given.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If the prior is no map, the class of no image is known, the labels do not fit, or there are not as
            many names as classes.
    """
    names = _names(model.num_classes, class_names)
    if labels.shape != x.shape[:1] or not (labels >= 0).any():
        raise ValueError(
            f"labels: expected one for each of {len(x)} images, and some known; got {tuple(labels.shape)}."
        )
    x, labels = x[labels >= 0], labels[labels >= 0].cpu()
    found = maps.hits(model, x)
    device = device_of(model)
    with evaluating(model):
        nodes = model.prior.nodes(torch.arange(model.num_classes, device=device))
        assert nodes is not None
        rows, columns = nodes.shape[1:3]
        counts = torch.zeros(rows, columns, model.num_classes)
        counts.index_put_((*found.winner.T, labels), torch.ones(len(labels)), accumulate=True)
        y = counts.argmax(-1)  # (rows, columns)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        images = model.p_x(nodes[y, row, column].flatten(0, 1), y.flatten().to(device)).mean
    if ax is None:
        legend_width = math.ceil(len(names) / 20) * (0.8 + _LETTER * max(len("true class"), *map(len, names)))
        _, _, height, width = images.shape
        shape = _TILE * columns + legend_width, max(2.5, _TILE * rows * height / width + 0.5)
        ax = _new_figure(max(4.5, shape[0]), shape[1], layout="constrained").add_subplot()
    _tiles(images.unflatten(0, (rows, columns)), ax=ax)
    _frame(ax, y.where(counts.sum(-1) > 0, -1), images.shape[-2:], names)
    error = maps.topographic_error(found)
    nmi = maps.normalised_mutual_information(found.winner, labels)
    ax.set_title(
        f"purity {maps.purity(found.winner, labels):.2f}, NMI {nmi:.2f}, topographic error {error:.2f}", size=10
    )
    return ax


@_default_style()
def confusion_matrix(
    labels: Tensor, predictions: Tensor, class_names: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw how many images of each class (row) were taken for each class (column); colour is the row's share.

    Args:
        labels: True classes (N,).
        predictions: Predicted classes (N,).
        class_names: What the classes are called.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If there is not one prediction for each label, or a class has no name.
    """
    num_classes = len(class_names)
    if labels.shape != predictions.shape or labels.dim() != 1:
        raise ValueError(f"predictions: expected one for each of {len(labels)} labels; got {tuple(predictions.shape)}.")
    pairs = labels.cpu() * num_classes + predictions.cpu()
    for classes in (labels, predictions):
        if len(classes) and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f"class_names: expected a name for every class; got {num_classes} names and classes from "
                f"{classes.min()} to {classes.max()}."
            )
    counts = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    shares = counts / counts.sum(-1, keepdim=True).clamp(min=1)

    digits = len(str(counts.max().item()))
    if ax is None:
        # Wide enough for the digits of the largest count.
        side = max(3.5, max(0.32, 0.09 * digits + 0.06) * num_classes)
        names = _LETTER * max(map(len, class_names))
        ax = _new_figure(side + names + 2, side + names + 1, layout="constrained").add_subplot()
    _whiten(ax)
    picture = ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    bar = ax.figure.colorbar(picture, ax=ax, label="share of the true class", shrink=0.8)
    _whiten(bar.ax)
    size = min(8.0, 72 * min(_inches(ax)) / num_classes / (0.7 * digits))
    for row, column in counts.nonzero().tolist() if size >= _SMALLEST_LETTER else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, str(counts[row, column].item()), ha="center", va="center", color=colour, size=size)
    _name_ticks(ax, rows=class_names, columns=class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.set_title(f"{counts.diagonal().sum():,} of {len(labels):,} right", size=10)
    return ax


@_default_style()
def reliability_diagram(probabilities: Tensor, labels: Tensor, name: str = "q(y|x)", *, ax: Axes | None = None) -> Axes:
    """Draw accuracy against confidence in 15 bins, and below it how many images are in each.

    Blue is the share of right predictions; red, from it to the bin's mean confidence, is the gap whose mean
    over images is the expected calibration error (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities: p(y|x), (N, classes).
        labels: True classes (N,).
        name: What the probabilities are called.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Returns:
        The axes of the accuracies; those of the numbers of images are within them, ``child_axes[0]``.

    Raises:
        ValueError: See `inference.calibration.calibrate`.
    """
    bins = reliability_bins(probabilities, labels)
    if ax is None:
        ax = _new_figure(4.6, 5.4, layout="constrained").add_subplot()
    _whiten(ax)
    width = 1 / len(bins.count)
    filled = (bins.count > 0).nonzero().squeeze(-1)
    centres = ((filled + 0.5) * width).numpy()
    accuracy, confidence = bins.accuracy[filled].numpy(), bins.confidence[filled].numpy()
    ax.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
    ax.bar(centres, accuracy, width, color=COLOURS[0], edgecolor="white", label="accuracy")
    ax.bar(
        centres,
        confidence - accuracy,
        width,
        bottom=accuracy,
        color="none",
        edgecolor=COLOURS[2],
        hatch="////",
        label=f"gap to confidence (ECE {bins.ece:.2%})",
    )
    # An accuracy of zero is where the numbers of images end, a quarter of the axes' height from below.
    share, highest = 0.25, 1.02
    ax.set(xlim=(0, 1), ylim=(-highest * share / (1 - share), highest), yticks=torch.linspace(0, 1, 6).tolist())
    ax.set_title(f"{name}, {len(labels):,} images", size=10)
    ax.set_xlabel(f"confidence, max {name}")
    ax.set_ylabel("accuracy", y=(1 + share) / 2)
    ax.legend(loc="upper left", fontsize=5 if _is_small(ax) else 8)

    numbers = ax.inset_axes((0, 0, 1, share), sharex=ax)
    _whiten(numbers)
    numbers.bar(centres, bins.count[filled].numpy(), width, color="0.6", edgecolor="white")
    numbers.margins(y=0.2)  # or the highest number would be written at the accuracy of zero
    numbers.tick_params(bottom=False, labelbottom=False, labelsize=8)
    numbers.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    numbers.set_ylabel("images")
    return ax


@_default_style()
def rejection_curves(
    epsilons: Sequence[float], outcomes: Mapping[str, Sequence[float]], name: str = "attack", *, ax: Axes | None = None
) -> Axes:
    """Draw shares of images, such as accuracy, error and rejection, against the strength of an attack.

    Args:
        epsilons: How far a pixel may have been moved, in units of the pixels' range [0, 1].
        outcomes: A share for each epsilon, by the name of its curve.
        name: What the attack is called.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If a curve has another number of points than there are epsilons.
    """
    for curve, shares in outcomes.items():
        if len(shares) != len(epsilons):
            raise ValueError(f"outcomes: expected {len(epsilons)} shares of {curve!r}; got {len(shares)}.")
    if ax is None:
        ax = _new_figure(5.2, 3.8, layout="constrained").add_subplot()
    _whiten(ax)
    for (curve, shares), colour, marker in zip(outcomes.items(), COLOURS, "osD^v", strict=False):
        ax.plot(epsilons, shares, color=colour, marker=marker, markersize=4, label=curve)
    ax.set(ylim=(-0.02, 1.02), title=name)
    ax.set_xlabel("ε, the largest change of a pixel in [0, 1]")
    ax.set_ylabel("share of the images")
    ax.legend(fontsize=8)
    return ax


@_default_style()
def training_curve(history: Sequence[Mapping[str, float]], term: str, *, ax: Axes | None = None) -> Axes:
    """Draw one term of training over epochs, of labelled and unlabelled images together.

    Args:
        history: A row for each epoch: "epoch", and terms such as "loss", "unlabelled/kl", "labelled/kl",
            "classification", "kl_weight" or "validation_accuracy". A row may lack some.
        term: The term, without "labelled/" or "unlabelled/"; "kl/NAME" for one of several latent variables.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If there are no rows, or none has the term.
    """
    terms = _terms(history)
    if term not in terms:
        raise ValueError(f"term: expected one of {', '.join(terms)}; got {term!r}.")
    if ax is None:
        ax = _new_figure(4.8, 3.6, layout="constrained").add_subplot()
    _whiten(ax)
    curves = terms[term]
    for name, kind in curves.items():
        rows = [row for row in history if name in row]
        epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
        # Labelled and unlabelled keep their colours in every panel; a lone epoch is a dot, not a line.
        colour = COLOURS[2] if kind == "labelled" else COLOURS[0]
        ax.plot(epochs, values, color=colour, marker="." if len(rows) < 10 else "", label=kind)
    if any(curves.values()):
        ax.legend(fontsize=8)
    whole, *latent = term.split("/")  # kl, z_1
    ax.set_title(", ".join([_TITLES.get(whole, whole.replace("_", " ")), *latent]), size=10)
    ax.set_ylabel(_UNITS.get(term, "nats"))
    ax.set_xlabel("epoch")
    ax.set_xlim(0, 1.03 * max(row["epoch"] for row in history))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


@_default_style()
def training_curves(history: Sequence[Mapping[str, float]]) -> list[Axes]:
    """Draw every term of training in a panel of one new pyplot figure; see `training_curve`.

    Raises:
        ValueError: If there are no rows or nothing to draw in them.
    """
    terms = _terms(history)
    num_columns = min(4, len(terms))
    num_rows = math.ceil(len(terms) / num_columns)
    figure = _new_figure(3.2 * num_columns, 2.4 * num_rows, layout="constrained")
    panels = [figure.add_subplot(num_rows, num_columns, position + 1) for position in range(len(terms))]
    return [training_curve(history, term, ax=panel) for term, panel in zip(terms, panels, strict=True)]


@_default_style()
def image_grid(
    images: Tensor, rows: Sequence[str] = (), columns: Sequence[str] = (), *, ax: Axes | None = None
) -> Axes:
    """Lay images out in one picture, white lines between them.

    Args:
        images: (rows, columns, channels, height, width), pixels in [0, 1]; one channel is grey, two are
            a pair of grey pictures, shown side by side, three are colours.
        rows: What the rows are called, from the top, or nothing.
        columns: What the columns are called, or nothing.
        ax: Axes to draw into; those of a new pyplot figure where they are not given.

    Raises:
        ValueError: If the images are not in such a shape, or there are not as many names as rows or columns.
    """
    return _tiles(images, rows, columns, ax=ax)


def _terms(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, str]]:
    """Return for each term the names of its curves, and for each of those "labelled", "unlabelled" or ""."""
    terms: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(name for row in history for name in row if name not in _NOT_DRAWN):
        # "unlabelled/kl/z_1" is the unlabelled images' "kl/z_1"; "loss" is nobody's.
        kind, term = name.split("/", 1) if "/" in name else ("", name)
        terms.setdefault(term, {})[name] = kind
    if not terms:
        raise ValueError("history: expected at least one row with a term; got none.")
    return terms


def _new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Make a figure of a size in inches: pyplot's, unless asked otherwise."""
    if _without_pyplot.get():
        return Figure(figsize=(width, height), layout=layout)
    # Imported here since it looks for a window system.
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout=layout)


def _whiten(axes: Axes) -> None:
    """Turn axes, and the paper around them, to black on white, whatever the style they were made in."""
    figure_of(axes).set_facecolor("white")
    axes.set_facecolor("white")
    axes.spines[:].set_edgecolor("black")
    # Said of ticks that are made when the figure is drawn, in whatever style there is then.
    axes.tick_params(which="both", color="black", labelcolor="black")
    axes.grid(visible=False)
    for text in (axes.title, *(t for axis in (axes.xaxis, axes.yaxis) for t in (axis.label, axis.get_offset_text()))):
        text.set_color("black")


def _inches(axes: Axes) -> tuple[float, float]:
    """Return the width and height of axes."""
    box = axes.get_window_extent().transformed(figure_of(axes).dpi_scale_trans.inverted())
    return box.width, box.height


def _is_small(axes: Axes) -> bool:
    return min(_inches(axes)) < _SMALL_AXES


def _name_classes(axes: Axes) -> None:
    """Write a legend beside the axes where the figure's layout makes room for it, or else in room made within."""
    height = _inches(axes)[1]
    size = 6 if _is_small(axes) else 10
    entries = len(axes.get_legend_handles_labels()[0])
    columns = math.ceil(entries * 1.5 * size / (72 * height))
    beside = figure_of(axes).get_layout_engine() is not None
    legend = axes.legend(
        loc="upper left" if beside else "upper right",
        bbox_to_anchor=(1.02, 1) if beside else None,
        borderaxespad=0,
        title="true class",
        title_fontsize=size,
        fontsize=size,
        markerscale=1.5,
        handlelength=1,
        columnspacing=1,
        ncols=columns,
    )
    if not beside:
        taken = min(0.7, legend.get_window_extent().width / axes.get_window_extent().width)
        low, high = axes.get_xlim()
        axes.set_xlim(low, low + (high - low) / (1 - taken))


def _names(num_classes: int, class_names: Sequence[str] | None) -> list[str]:
    names = [str(y) for y in range(num_classes)] if class_names is None else list(class_names)
    if len(names) != num_classes:
        raise ValueError(f"class_names: expected {num_classes}, one for each class; got {len(names)}.")
    return names


def _to_device(model: SemiSupervisedModel, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    device = device_of(model)
    return x.to(device), None if y is None else y.to(device)


def _tiles(
    images: Tensor,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    labels: tuple[str, str] = ("", ""),
    *,
    ax: Axes | None,
) -> Axes:
    """Lay images out as `image_grid` does, with labels of the horizontal and the vertical axis."""
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
    # A Gaussian's mean may lie outside of what can be shown.
    shown = images.detach().cpu().double().clamp(0, 1)
    canvas = shown.new_ones(num_rows * (height + gap) - gap, num_columns * (width + gap) - gap, channels)
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = shown[row, column].permute(1, 2, 0)

    shape = (_TILE * canvas.shape[1] / width, _TILE * canvas.shape[0] / width)  # inches
    axes = _new_figure(*shape).add_axes((0, 0, 1, 1)) if ax is None else ax
    _whiten(axes)
    axes.imshow(canvas.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    _name_ticks(axes, rows, columns, step=(height + gap, width + gap), size=(height, width))
    axes.xaxis.set_label_position("top" if columns else "bottom")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if ax is None:
        _make_room(axes, shape)
    return axes


def _frame(axes: Axes, y: Tensor, size: Sequence[int], names: Sequence[str]) -> None:
    """Draw a frame around each tile (row, column), of the colour of its class y; none where y is negative."""
    height, width = size
    gap = max(1, height // 14)
    colours = [COLOURS[of_class % len(COLOURS)] for of_class in range(len(names))]
    lines = [LINES[of_class // len(COLOURS) % len(LINES)] for of_class in range(len(names))]
    for row, column in (y >= 0).nonzero().tolist():
        corner = column * (width + gap) - (1 + gap) / 2, row * (height + gap) - (1 + gap) / 2
        frame = Rectangle(corner, width + gap, height + gap, fill=False, linewidth=2, clip_on=False)
        frame.set(edgecolor=colours[y[row, column]], linestyle=lines[y[row, column]])
        axes.add_patch(frame)
    for name, colour, line in zip(names, colours, lines, strict=True):
        axes.plot([], [], label=name, linewidth=2, color=colour, linestyle=line)
    _name_classes(axes)


def _make_room(axes: Axes, shape: tuple[float, float]) -> None:
    """Widen a figure that its axes fill by what their names take beside it.

    Constrained layout cuts names where pictures of a fixed shape leave it little room.
    """
    width, height = shape
    figure = figure_of(axes)
    everything = figure.get_tightbbox()  # inches
    left, bottom = _MARGIN - everything.x0, _MARGIN - everything.y0
    whole_width, whole_height = left + everything.x1 + _MARGIN, bottom + everything.y1 + _MARGIN
    figure.set_size_inches(whole_width, whole_height)
    axes.set_position((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def _name_ticks(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    step: tuple[int, int] = (1, 1),
    size: tuple[int, int] = (1, 1),
) -> None:
    """Write names at the middles of rows and columns of `size` pixels that start every `step` pixels."""
    width, height = _inches(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    pixel = min(width / abs(right - left), height / abs(top - bottom))  # inches
    points = min(10.0, max(_SMALLEST_LETTER, 72 * pixel * min(step) / 1.3))
    axes.set_yticks([row * step[0] + (size[0] - 1) / 2 for row in range(len(rows))], rows, size=points)
    axes.set_xticks([column * step[1] + (size[1] - 1) / 2 for column in range(len(columns))], columns, size=points)
    if (
        max(map(len, columns), default=0) * _LETTER * points / 10 > pixel * step[1]
    ):  # level, they would run into each other
        on_top = axes.xaxis.get_ticks_position() == "top"
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="left" if on_top else "right", rotation_mode="anchor")


def _scatter(axes: Axes, points: Tensor, name: str, colour: str, marker: str) -> None:
    horizontal, vertical = points.T.numpy()
    axes.scatter(
        horizontal, vertical, s=4 if _is_small(axes) else 14, c=colour, marker=marker, label=name, linewidths=0
    )


def _principal_components(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Project z (N, latent) on the two directions of largest variance."""
    centred = z - z.mean(0)
    if z.shape[-1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], dim=-1), ("z, centred", "")
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    shares = singular.square() / singular.square().sum().clamp(min=torch.finfo(z.dtype).tiny)
    first, second = (f"component {number} ({shares[number - 1]:.0%} of variance)" for number in (1, 2))
    return left[:, :2] * singular[:2], (first, second)


def _by_neighbours(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Lay z (N, latent) out by t-SNE."""
    # Imported here since scikit-learn takes a second to import.
    from sklearn.manifold import TSNE

    # The perplexity, about how many neighbours count, has to be less than the number of points.
    layout = TSNE(perplexity=min(30.0, (len(z) - 1) / 3), init="random", random_state=0).fit_transform(z.numpy())
    return torch.from_numpy(layout), ("t-SNE 1", "t-SNE 2")
