"""The style of all figures: colours, markers, font sizes, background; how a new figure is made."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Petroff 2021, "Accessible color sequences for data visualization" (arXiv 2107.02270): ten colours that can be told
# apart with any form of colour vision. From the eleventh class on, markers or line styles differ too.
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
TILE, MARGIN, LETTER = 0.6, 0.05, 0.1  # inches
SMALLEST_LETTER = 4.0  # points
_SMALL_AXES = 3.0  # inches; smaller axes have smaller fonts and points

_without_pyplot: ContextVar[bool] = ContextVar("_without_pyplot", default=False)


@contextmanager
def without_pyplot() -> Iterator[None]:
    """Make figures without pyplot inside a ``with`` block: they open no window and need not be closed."""
    token = _without_pyplot.set(True)
    try:
        yield
    finally:
        _without_pyplot.reset(token)


def figure_of(axes: Axes) -> Figure:
    """Return the figure that contains axes, for example to save it.

    Example:
        >>> import torch
        >>> from ssvae.inference import figures
        >>> with figures.without_pyplot():
        ...     axes = figures.image_grid(torch.rand(2, 3, 1, 8, 8))
        >>> figures.figure_of(axes).savefig("grid.png")  # doctest: +SKIP
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


@contextmanager
def default_style() -> Iterator[None]:
    """Draw in matplotlib's default style, but with the user's resolution."""
    with matplotlib.style.context(["default", {"figure.dpi": matplotlib.rcParams["figure.dpi"]}]):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Make a figure of a size in inches, by pyplot unless inside `without_pyplot`."""
    if _without_pyplot.get():
        return Figure(figsize=(width, height), layout=layout)
    # Imported here since it sets up a graphical backend.
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout=layout)


def whiten(axes: Axes) -> None:
    """Set axes and the background of their figure to black on white, whatever their style."""
    figure_of(axes).set_facecolor("white")
    axes.set_facecolor("white")
    axes.spines[:].set_edgecolor("black")
    # Set explicitly, since ticks are made when the figure is drawn, maybe in another style.
    axes.tick_params(which="both", color="black", labelcolor="black")
    axes.grid(visible=False)
    for text in (axes.title, *(t for axis in (axes.xaxis, axes.yaxis) for t in (axis.label, axis.get_offset_text()))):
        text.set_color("black")


def inches_of(axes: Axes) -> tuple[float, float]:
    """Return the width and height of axes in inches."""
    box = axes.get_window_extent().transformed(figure_of(axes).dpi_scale_trans.inverted())
    return box.width, box.height


def is_small(axes: Axes) -> bool:
    """Return whether axes are so small that they need smaller fonts and points."""
    return min(inches_of(axes)) < _SMALL_AXES


def colour_and_marker(y: int) -> tuple[str, str]:
    """Return the colour and the marker of a class, by its number."""
    return COLOURS[y % len(COLOURS)], MARKERS[y // len(COLOURS) % len(MARKERS)]


def name_classes(axes: Axes) -> None:
    """Draw a legend of the classes beside the axes; inside, in added space, if the figure has no layout engine."""
    height = inches_of(axes)[1]
    size = 6 if is_small(axes) else 10
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


def names_of(num_classes: int, class_names: Sequence[str] | None) -> list[str]:
    """Return the given names of the classes, or their numbers."""
    names = [str(y) for y in range(num_classes)] if class_names is None else list(class_names)
    if len(names) != num_classes:
        raise ValueError(f"class_names: expected {num_classes}, one for each class; got {len(names)}.")
    return names


def name_ticks(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    step: tuple[int, int] = (1, 1),
    size: tuple[int, int] = (1, 1),
) -> None:
    """Set tick labels at the centres of rows and columns of ``size`` pixels that start every ``step`` pixels."""
    width, height = inches_of(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    pixel = min(width / abs(right - left), height / abs(top - bottom))  # inches
    points = min(10.0, max(SMALLEST_LETTER, 72 * pixel * min(step) / 1.3))
    axes.set_yticks([row * step[0] + (size[0] - 1) / 2 for row in range(len(rows))], rows, size=points)
    axes.set_xticks([column * step[1] + (size[1] - 1) / 2 for column in range(len(columns))], columns, size=points)
    widest = max(map(len, columns), default=0) * LETTER * points / 10  # inches
    if widest > pixel * step[1]:  # rotated, since horizontal names would overlap
        on_top = axes.xaxis.get_ticks_position() == "top"
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="left" if on_top else "right", rotation_mode="anchor")
