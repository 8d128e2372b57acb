"""Figures of measurements: confusion matrix, reliability diagram, rejection curves, training curves."""

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ssvae.inference.evaluation.calibration import reliability_bins
from ssvae.inference.figures.style import (
    COLOURS,
    LETTER,
    SMALLEST_LETTER,
    default_style,
    inches_of,
    is_small,
    name_ticks,
    new_figure,
    whiten,
)

_TITLES = {
    "loss": "J / N",
    "kl": "KL divergence",
    "negative_elbo": "negative ELBO",
    "kl_weight": "KL weight",
    "validation_nll": "validation NLL",
}
_UNITS = {
    "validation_accuracy": "fraction of images",
    "kl_weight": "β",
    "learning_rate": "learning rate",
}
_NOT_DRAWN = ("epoch", "step", "seconds")


@default_style()
def confusion_matrix(
    labels: Tensor, predictions: Tensor, class_names: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix: true classes in rows, predicted classes in columns.

    Numbers are counts. The colour is the fraction of the row's images.

    Args:
        labels: True classes, integers (N,).
        predictions: Predicted classes, integers (N,).
        class_names: Names of the classes.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

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
        # Wide enough for the largest count.
        side = max(3.5, max(0.32, 0.09 * digits + 0.06) * num_classes)
        names = LETTER * max(map(len, class_names))
        ax = new_figure(side + names + 2, side + names + 1, layout="constrained").add_subplot()
    whiten(ax)
    picture = ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    bar = ax.figure.colorbar(picture, ax=ax, label="fraction of the true class", shrink=0.8)
    whiten(bar.ax)
    size = min(8.0, 72 * min(inches_of(ax)) / num_classes / (0.7 * digits))
    for row, column in counts.nonzero().tolist() if size >= SMALLEST_LETTER else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, str(counts[row, column].item()), ha="center", va="center", color=colour, size=size)
    name_ticks(ax, rows=class_names, columns=class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.set_title(f"{counts.diagonal().sum():,} of {len(labels):,} correct", size=10)
    return ax


@default_style()
def reliability_diagram(probabilities: Tensor, labels: Tensor, name: str = "q(y|x)", *, ax: Axes | None = None) -> Axes:
    """Draw a reliability diagram: accuracy against confidence in 15 bins, with the number of images in each bin below.

    Blue bars are accuracies. Red bars are the gaps to the bin's mean confidence; their mean over images is the expected
    calibration error (ECE).

    Source: Guo et al. 2017 (arXiv 1706.04599).

    Args:
        probabilities: p(y|x), (N, classes).
        labels: True classes, integers (N,).
        name: Name of the probabilities, for title and axis label.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes of the accuracies. Those of the numbers of images are ``child_axes[0]`` of them.

    Raises:
        ValueError: As `ssvae.inference.evaluation.calibration.calibrate`.
    """
    bins = reliability_bins(probabilities, labels)
    if ax is None:
        ax = new_figure(4.6, 5.4, layout="constrained").add_subplot()
    whiten(ax)
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
    # The lowest quarter of the axes is for the numbers of images; accuracy 0 is above it.
    share, highest = 0.25, 1.02
    ax.set(xlim=(0, 1), ylim=(-highest * share / (1 - share), highest), yticks=torch.linspace(0, 1, 6).tolist())
    ax.set_title(f"{name}, {len(labels):,} images", size=10)
    ax.set_xlabel(f"confidence, max {name}")
    ax.set_ylabel("accuracy", y=(1 + share) / 2)
    ax.legend(loc="upper left", fontsize=5 if is_small(ax) else 8)

    numbers = ax.inset_axes((0, 0, 1, share), sharex=ax)
    whiten(numbers)
    numbers.bar(centres, bins.count[filled].numpy(), width, color="0.6", edgecolor="white")
    numbers.margins(y=0.2)  # keeps the highest tick label below that of accuracy 0
    numbers.tick_params(bottom=False, labelbottom=False, labelsize=8)
    numbers.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    numbers.set_ylabel("images")
    return ax


@default_style()
def rejection_curves(
    epsilons: Sequence[float], outcomes: Mapping[str, Sequence[float]], name: str = "attack", *, ax: Axes | None = None
) -> Axes:
    """Draw accuracy, error and rejection rate against the strength of an attack.

    Args:
        epsilons: Largest change of a pixel in [0, 1], for each attack.
        outcomes: Fractions of images for each epsilon, by the name of the curve.
        name: Name of the attack, for the title.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If a curve does not have one point for each epsilon.
    """
    for curve, shares in outcomes.items():
        if len(shares) != len(epsilons):
            raise ValueError(f"outcomes: expected {len(epsilons)} shares of {curve!r}; got {len(shares)}.")
    if ax is None:
        ax = new_figure(5.2, 3.8, layout="constrained").add_subplot()
    whiten(ax)
    for (curve, shares), colour, marker in zip(outcomes.items(), COLOURS, "osD^v", strict=False):
        ax.plot(epsilons, shares, color=colour, marker=marker, markersize=4, label=curve)
    ax.set(ylim=(-0.02, 1.02), title=name)
    ax.set_xlabel("ε, largest change of a pixel in [0, 1]")
    ax.set_ylabel("fraction of images")
    ax.legend(fontsize=8)
    return ax


@default_style()
def training_curve(history: Sequence[Mapping[str, float]], term: str, *, ax: Axes | None = None) -> Axes:
    """Draw one logged term over epochs, with curves for labelled and unlabelled images.

    Args:
        history: A row for each epoch: "epoch", and terms such as "loss", "unlabelled/kl", "labelled/kl",
            "classification", "kl_weight" or "validation_accuracy". Terms may be missing in some rows.
        term: The term, without "labelled/" or "unlabelled/"; "kl/NAME" for one of several latent variables.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there are no rows, or none has the term.

    Example:
        >>> from ssvae.inference import figures
        >>> history = [{"epoch": 1, "unlabelled/kl": 5.0}, {"epoch": 2, "unlabelled/kl": 7.0}]
        >>> with figures.without_pyplot():
        ...     axes = figures.training_curve(history, "kl")
        >>> axes.get_title(), axes.get_ylabel()
        ('KL divergence', 'nats')
    """
    terms = _terms(history)
    if term not in terms:
        raise ValueError(f"term: expected one of {', '.join(terms)}; got {term!r}.")
    if ax is None:
        ax = new_figure(4.8, 3.6, layout="constrained").add_subplot()
    whiten(ax)
    curves = terms[term]
    for name, kind in curves.items():
        rows = [row for row in history if name in row]
        epochs, values = [row["epoch"] for row in rows], [row[name] for row in rows]
        # The same colours in every panel. Markers, since a single epoch is not visible as a line.
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


@default_style()
def training_curves(history: Sequence[Mapping[str, float]]) -> list[Axes]:
    """Draw every logged term in a panel of a new pyplot figure; see `training_curve`.

    Args:
        history: A row for each epoch, as for `training_curve`.

    Returns:
        The axes of each panel.

    Raises:
        ValueError: If there are no rows, or no terms in them.
    """
    terms = _terms(history)
    num_columns = min(4, len(terms))
    num_rows = math.ceil(len(terms) / num_columns)
    figure = new_figure(3.2 * num_columns, 2.4 * num_rows, layout="constrained")
    panels = [figure.add_subplot(num_rows, num_columns, position + 1) for position in range(len(terms))]
    return [training_curve(history, term, ax=panel) for term, panel in zip(terms, panels, strict=True)]


def _terms(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, str]]:
    """Return for each term the names of its curves, and for each of those "labelled", "unlabelled" or ""."""
    terms: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(name for row in history for name in row if name not in _NOT_DRAWN):
        # "unlabelled/kl/z_1" is the term "kl/z_1" of unlabelled images; "loss" has no such prefix.
        kind, term = name.split("/", 1) if "/" in name else ("", name)
        terms.setdefault(term, {})[name] = kind
    if not terms:
        raise ValueError("history: expected at least one row with a term; got none.")
    return terms
