"""Figures: what a model draws, and what is drawn of it. Each function returns a Figure and saves nothing.

No pyplot: a figure belongs to whoever asked for it; no window and no global list of figures is opened. In a
notebook, after `%matplotlib inline`, a figure on the last line of a cell is shown.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from inference.calibration import reliability_bins
from inference.evaluation import device_of, evaluating
from models import SemiSupervisedModel

# Petroff 2021, "Accessible color sequences for data visualization", arXiv 2107.02270: ten colours that differ
# in any form of colour vision. From the eleventh class on another marker tells the classes apart.
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
_ENCODED_AT_ONCE = 500
_TILE, _MARGIN, _LETTER = 0.6, 0.05, 0.1  # inches
_LONGEST_LEVEL_NAME = 5  # letters; longer names of columns are turned, or they would run into each other


def class_samples(
    model: SemiSupervisedModel, num_samples: int = 10, class_names: Sequence[str] | None = None
) -> Figure:
    """Draw samples of every class, a row for each: the mean of p(x | y, z), z from the prior.

    The randomness is that of torch's global generator, as in `SemiSupervisedModel.sample`.

    Args:
        model: The model.
        num_samples: How many of each class.
        class_names: What the classes are called; their numbers where it is not given.

    Raises:
        ValueError: If num_samples is less than 1, or there are not as many names as classes.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
    names = _names(model.num_classes, class_names)
    with evaluating(model):
        samples = model.sample(torch.arange(model.num_classes, device=device_of(model)), num_samples)
    return _tiles(samples.transpose(0, 1), rows=names)  # (classes, samples, channels, height, width)


def analogies(
    model: SemiSupervisedModel,
    x: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    y: Tensor | None = None,
) -> Figure:
    """Draw each image, then its style in every class: Kingma et al. 2014 (arXiv 1406.5298), figure 1.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        class_names: What the classes are called; their numbers where it is not given.
        y: Classes (batch,) of the images; the most probable ones where they are not given.

    Raises:
        ValueError: If there are not as many names as classes.
    """
    names = _names(model.num_classes, class_names)
    x, y = _to_device(model, x, y)
    with evaluating(model):
        styles = model.analogies(x, y).transpose(0, 1)  # (batch, classes, channels, height, width)
    return _tiles(torch.cat([x.unsqueeze(1), styles], dim=1), columns=["image", *names])


def reconstructions(model: SemiSupervisedModel, x: Tensor, y: Tensor | None = None) -> Figure:
    """Draw images and, below each, the mean of p(x | y, z) at the mean of q(z | x, y); ten pairs to a line.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        y: Classes (batch,) of the images; the most probable ones where they are not given.
    """
    x, y = _to_device(model, x, y)
    with evaluating(model):
        pairs = torch.stack([x, model.reconstruct(x, y)])  # (2, batch, channels, height, width)
    lines = torch.split(pairs, _RECONSTRUCTIONS_IN_A_LINE, dim=1)
    blank = pairs.new_ones(2, lines[0].shape[1] - lines[-1].shape[1], *x.shape[1:])
    rows = torch.cat([*lines[:-1], torch.cat([lines[-1], blank], dim=1)])
    return _tiles(rows, rows=["image", "reconstruction"] * len(lines))


def latent_map(
    model: SemiSupervisedModel,
    x: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    *,
    tsne: bool = False,
) -> Figure:
    """Draw a point for each image, the mean of q(z | x, y) at the most probable y, coloured by true class.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        labels: Their true classes (batch,), -1 where they are not known.
        class_names: What the classes are called; their numbers where it is not given.
        tsne: Whether to lay the points out by t-SNE (van der Maaten and Hinton 2008), which keeps neighbours
            together, is slow and gives distances no meaning; by principal components otherwise.

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
    with evaluating(model):
        chunks = torch.split(x, _ENCODED_AT_ONCE)
        z = torch.cat([model.encode(chunk.to(device_of(model))).cpu() for chunk in chunks]).double()
    points, axis_labels = _by_neighbours(z) if tsne else _principal_components(z)

    legend_columns = math.ceil(len(names) / 20)
    legend_width = legend_columns * (0.8 + _LETTER * max(len("unlabelled"), *map(len, names)))
    figure = Figure(figsize=(6 + legend_width, 5.5), layout="constrained")
    axes = figure.add_subplot()
    labels = labels.cpu()
    if (labels < 0).any():
        _scatter(axes, points[labels < 0], "unlabelled", "0.85", ".")
    for y, name in enumerate(names):
        _scatter(
            axes,
            points[labels == y],
            name,
            COLOURS[y % len(COLOURS)],
            MARKERS[y // len(COLOURS) % len(MARKERS)],
        )
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    axes.set_title("mean of q(z | x, y), by true class")
    figure.legend(loc="outside right upper", title="class", markerscale=1.5, ncols=legend_columns)
    return figure


def confusion_matrix(labels: Tensor, predictions: Tensor, class_names: Sequence[str]) -> Figure:
    """Draw how many images of each class (row) were taken for each class (column); colour is the row's share.

    Args:
        labels: True classes (N,).
        predictions: Predicted classes (N,).
        class_names: What the classes are called.

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

    # Wide enough for the digits of the largest count.
    cell = max(0.32, 0.09 * len(str(counts.max().item())) + 0.06)
    side = max(3.5, cell * num_classes)
    names = _LETTER * max(map(len, class_names))
    figure = Figure(figsize=(side + names + 2, side + names + 1), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row, column in counts.nonzero().tolist():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column].item()), ha="center", va="center", color=colour, size=8)
    _name_ticks(axes, rows=class_names, columns=class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{counts.diagonal().sum()} of {len(labels)} right (cells without a number: 0)", size=10)
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def reliability_diagram(predictions: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw accuracy against confidence in 15 bins, and below it how many images are in each.

    Blue is the share of right predictions; red, from it to the bin's mean confidence, is the gap whose mean
    over images is the expected calibration error (Guo et al. 2017, arXiv 1706.04599).

    Args:
        predictions: For each name, such as "q(y|x)", probabilities (N, classes) and true classes (N,).

    Raises:
        ValueError: If there are no predictions; see `inference.calibration.calibrate` for the others.
    """
    if not predictions:
        raise ValueError("predictions: expected at least one; got none.")
    figure = Figure(figsize=(4.6 * len(predictions), 5.4), layout="constrained")
    grid = figure.subplots(2, len(predictions), sharex=True, squeeze=False, height_ratios=(3, 1))
    for (name, (probabilities, labels)), (upper, lower) in zip(predictions.items(), grid.T, strict=True):
        bins = reliability_bins(probabilities, labels)
        width = 1 / len(bins.count)
        filled = (bins.count > 0).nonzero().squeeze(-1)
        centres = ((filled + 0.5) * width).numpy()
        accuracy, confidence = bins.accuracy[filled].numpy(), bins.confidence[filled].numpy()
        upper.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
        upper.bar(centres, accuracy, width, color=COLOURS[0], edgecolor="white", label="accuracy")
        upper.bar(
            centres,
            confidence - accuracy,
            width,
            bottom=accuracy,
            color="none",
            edgecolor=COLOURS[2],
            hatch="////",
            label=f"gap to confidence (ECE {bins.ece:.2%})",
        )
        upper.set(title=f"{name}, {len(labels)} images", xlim=(0, 1), ylim=(0, 1.02))
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(centres, bins.count[filled].numpy(), width, color="0.6", edgecolor="white")
        lower.set_xlabel(f"confidence, max {name}")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("images")
    return figure


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the terms of training over epochs, a panel for each; labelled and unlabelled images share one.

    Args:
        history: A row for each epoch: "epoch", and terms such as "loss", "unlabelled/kl", "labelled/kl",
            "classification", "kl_weight" or "validation_accuracy". A row may lack some.

    Raises:
        ValueError: If there are no rows or nothing to draw in them.
    """
    panels: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(name for row in history for name in row if name not in _NOT_DRAWN):
        kind, _, term = name.rpartition("/")
        panels.setdefault(term, {})[name] = kind
    if not panels:
        raise ValueError("history: expected at least one row with a term; got none.")
    num_columns = min(4, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    figure = Figure(figsize=(3.2 * num_columns, 2.4 * num_rows), layout="constrained")
    for position, (term, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(num_rows, num_columns, position)
        for name, kind in curves.items():
            rows = [row for row in history if name in row]
            epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
            # Labelled and unlabelled keep their colours in every panel; a lone epoch is a dot, not a line.
            colour = COLOURS[2] if kind == "labelled" else COLOURS[0]
            axes.plot(epochs, values, color=colour, marker="." if len(rows) < 10 else "", label=kind)
        if any(curves.values()):
            axes.legend(fontsize=8)
        axes.set_title(_TITLES.get(term, term.replace("_", " ")), size=10)
        axes.set_ylabel(_UNITS.get(term, "nats"))
        axes.set_xlabel("epoch")
        axes.set_xlim(0, 1.03 * max(row["epoch"] for row in history))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _names(num_classes: int, class_names: Sequence[str] | None) -> list[str]:
    names = [str(y) for y in range(num_classes)] if class_names is None else list(class_names)
    if len(names) != num_classes:
        raise ValueError(f"class_names: expected {num_classes}, one for each class; got {len(names)}.")
    return names


def _to_device(model: SemiSupervisedModel, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    device = device_of(model)
    return x.to(device), None if y is None else y.to(device)


def _tiles(images: Tensor, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> Figure:
    """Lay images (rows, columns, channels, height, width) out in one picture, white lines between them."""
    num_rows, num_columns, channels, height, width = images.shape
    gap = max(1, height // 14)
    # A Gaussian's mean may lie outside of what can be shown.
    shown = images.detach().cpu().double().clamp(0, 1)
    canvas = shown.new_ones(num_rows * (height + gap) - gap, num_columns * (width + gap) - gap, channels)
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = row * (height + gap), column * (width + gap)
            canvas[top : top + height, left : left + width] = shown[row, column].permute(1, 2, 0)

    shape = (_TILE * num_columns, _TILE * num_rows * height / width)  # inches
    figure = Figure(figsize=shape)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    _name_ticks(axes, rows, columns, step=(height + gap, width + gap), size=(height, width))
    _make_room(figure, axes, shape)
    return figure


def _make_room(figure: Figure, axes: Axes, shape: tuple[float, float]) -> None:
    """Widen a figure that its axes fill by what their names take beside it.

    Constrained layout cuts names where pictures of a fixed shape leave it little room.
    """
    width, height = shape
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
    axes.set_yticks([row * step[0] + (size[0] - 1) / 2 for row in range(len(rows))], rows)
    axes.set_xticks([column * step[1] + (size[1] - 1) / 2 for column in range(len(columns))], columns)
    if max(map(len, columns), default=0) > _LONGEST_LEVEL_NAME:
        on_top = axes.xaxis.get_ticks_position() == "top"
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="left" if on_top else "right", rotation_mode="anchor")


def _scatter(axes: Axes, points: Tensor, name: str, colour: str, marker: str) -> None:
    horizontal, vertical = points.T.numpy()
    axes.scatter(horizontal, vertical, s=14, c=colour, marker=marker, label=name, linewidths=0)


def _principal_components(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Project z (N, latent) on the two directions of largest variance."""
    centred = z - z.mean(0)
    if z.shape[-1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], dim=-1), ("z, centred", "")
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    shares = singular.square() / singular.square().sum().clamp(min=torch.finfo(z.dtype).tiny)
    first, second = (f"principal component {number} ({shares[number - 1]:.0%} of the variance)" for number in (1, 2))
    return left[:, :2] * singular[:2], (first, second)


def _by_neighbours(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Lay z (N, latent) out by t-SNE."""
    # Imported here since scikit-learn takes a second to import.
    from sklearn.manifold import TSNE

    # The perplexity, about how many neighbours count, has to be less than the number of points.
    layout = TSNE(perplexity=min(30.0, (len(z) - 1) / 3), init="random", random_state=0).fit_transform(z.numpy())
    return torch.from_numpy(layout), ("t-SNE 1", "t-SNE 2")
