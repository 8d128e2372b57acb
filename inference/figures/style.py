"""How every figure looks: colours, letters, paper; where a new figure comes from."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
TILE, MARGIN, LETTER = 0.6, 0.05, 0.1  # inches
SMALLEST_LETTER = 4.0  # points
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
def default_style() -> Iterator[None]:
    """Draw in matplotlib's own style, with the user's resolution."""
    with matplotlib.style.context(["default", {"figure.dpi": matplotlib.rcParams["figure.dpi"]}]):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Make a figure of a size in inches: pyplot's, unless asked otherwise."""
    if _without_pyplot.get():
        return Figure(figsize=(width, height), layout=layout)
    # Imported here since it looks for a window system.
    from matplotlib import pyplot

    return pyplot.figure(figsize=(width, height), layout=layout)


def whiten(axes: Axes) -> None:
    """Turn axes, and the paper around them, to black on white, whatever the style they were made in."""
    figure_of(axes).set_facecolor("white")
    axes.set_facecolor("white")
    axes.spines[:].set_edgecolor("black")
    # Said of ticks that are made when the figure is drawn, in whatever style there is then.
    axes.tick_params(which="both", color="black", labelcolor="black")
    axes.grid(visible=False)
    for text in (axes.title, *(t for axis in (axes.xaxis, axes.yaxis) for t in (axis.label, axis.get_offset_text()))):
        text.set_color("black")


def inches_of(axes: Axes) -> tuple[float, float]:
    """Return the width and height of axes."""
    box = axes.get_window_extent().transformed(figure_of(axes).dpi_scale_trans.inverted())
    return box.width, box.height


def is_small(axes: Axes) -> bool:
    """Return whether axes have room for small print only."""
    return min(inches_of(axes)) < _SMALL_AXES


def name_classes(axes: Axes) -> None:
    """Write a legend beside the axes where the figure's layout makes room for it, or else in room made within."""
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
    """Return the classes' names: those that are given, or their numbers."""
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
    """Write names at the middles of rows and columns of `size` pixels that start every `step` pixels."""
    width, height = inches_of(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    pixel = min(width / abs(right - left), height / abs(top - bottom))  # inches
    points = min(10.0, max(SMALLEST_LETTER, 72 * pixel * min(step) / 1.3))
    axes.set_yticks([row * step[0] + (size[0] - 1) / 2 for row in range(len(rows))], rows, size=points)
    axes.set_xticks([column * step[1] + (size[1] - 1) / 2 for column in range(len(columns))], columns, size=points)
    if (
        max(map(len, columns), default=0) * LETTER * points / 10 > pixel * step[1]
    ):  # level, they would run into each other
        on_top = axes.xaxis.get_ticks_position() == "top"
        for name in axes.get_xticklabels():
            name.set(rotation=45, ha="left" if on_top else "right", rotation_mode="anchor")
