"""What was measured: confusion, calibration, rejection, the terms of training."""

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
    "validation_accuracy": "share of images",
    "kl_weight": "β",
    "learning_rate": "learning rate",
}
_NOT_DRAWN = ("epoch", "step", "seconds")


@default_style()
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
        names = LETTER * max(map(len, class_names))
        ax = new_figure(side + names + 2, side + names + 1, layout="constrained").add_subplot()
    whiten(ax)
    picture = ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    bar = ax.figure.colorbar(picture, ax=ax, label="share of the true class", shrink=0.8)
    whiten(bar.ax)
    size = min(8.0, 72 * min(inches_of(ax)) / num_classes / (0.7 * digits))
    for row, column in counts.nonzero().tolist() if size >= SMALLEST_LETTER else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, str(counts[row, column].item()), ha="center", va="center", color=colour, size=size)
    name_ticks(ax, rows=class_names, columns=class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.set_title(f"{counts.diagonal().sum():,} of {len(labels):,} right", size=10)
    return ax


@default_style()
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
        ValueError: See `ssvae.inference.evaluation.calibrate`.
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
    # An accuracy of zero is where the numbers of images end, a quarter of the axes' height from below.
    share, highest = 0.25, 1.02
    ax.set(xlim=(0, 1), ylim=(-highest * share / (1 - share), highest), yticks=torch.linspace(0, 1, 6).tolist())
    ax.set_title(f"{name}, {len(labels):,} images", size=10)
    ax.set_xlabel(f"confidence, max {name}")
    ax.set_ylabel("accuracy", y=(1 + share) / 2)
    ax.legend(loc="upper left", fontsize=5 if is_small(ax) else 8)

    numbers = ax.inset_axes((0, 0, 1, share), sharex=ax)
    whiten(numbers)
    numbers.bar(centres, bins.count[filled].numpy(), width, color="0.6", edgecolor="white")
    numbers.margins(y=0.2)  # or the highest number would be written at the accuracy of zero
    numbers.tick_params(bottom=False, labelbottom=False, labelsize=8)
    numbers.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    numbers.set_ylabel("images")
    return ax


@default_style()
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
        ax = new_figure(5.2, 3.8, layout="constrained").add_subplot()
    whiten(ax)
    for (curve, shares), colour, marker in zip(outcomes.items(), COLOURS, "osD^v", strict=False):
        ax.plot(epsilons, shares, color=colour, marker=marker, markersize=4, label=curve)
    ax.set(ylim=(-0.02, 1.02), title=name)
    ax.set_xlabel("ε, the largest change of a pixel in [0, 1]")
    ax.set_ylabel("share of the images")
    ax.legend(fontsize=8)
    return ax


@default_style()
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
        ax = new_figure(4.8, 3.6, layout="constrained").add_subplot()
    whiten(ax)
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


@default_style()
def training_curves(history: Sequence[Mapping[str, float]]) -> list[Axes]:
    """Draw every term of training in a panel of one new pyplot figure; see `training_curve`.

    Raises:
        ValueError: If there are no rows or nothing to draw in them.
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
        # "unlabelled/kl/z_1" is the unlabelled images' "kl/z_1"; "loss" is nobody's.
        kind, term = name.split("/", 1) if "/" in name else ("", name)
        terms.setdefault(term, {})[name] = kind
    if not terms:
        raise ValueError("history: expected at least one row with a term; got none.")
    return terms
