"""Images of classes that nobody has labelled."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from torch import Tensor

from ssvae.inference.figures.images import lay_out
from ssvae.inference.figures.style import default_style


def most_probable(probabilities: Tensor, y: int, number: int) -> Tensor:
    """Return which images are put into a class, the most probable ones first.

    Args:
        probabilities: q(y|x), (N, classes).
        y: The class.
        number: The largest number of images.

    Returns:
        Int64 indices (at most number,) of images whose most probable class is y.
    """
    members = (probabilities.argmax(-1) == y).nonzero().squeeze(1)
    return members[probabilities[members, y].argsort(descending=True, stable=True)[:number]]


@default_style()
def new_classes(
    images: Tensor,
    probabilities: Tensor,
    class_names: Sequence[str],
    num_known_classes: int,
    *,
    num_images: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw the most probable images of each class that nobody has labelled, one row for each class.

    Args:
        images: Images (N, channels, height, width), pixels in [0, 1].
        probabilities: q(y|x), (N, classes).
        class_names: The names of the classes.
        num_known_classes: The number of classes that have labels, the first ones.
        num_images: The largest number of images of each class.
        ax: Axes to draw into; None for a new pyplot figure.

    Returns:
        The axes. A row is white after the last image that is put into its class. A class that none is put into has
        "(empty)" after its name.

    Raises:
        ValueError: If all classes have labels.
    """
    names = list(class_names)[num_known_classes:]
    if not names:
        raise ValueError(f"num_known_classes: expected less than {len(class_names)}; got {num_known_classes}.")
    tiles = images.new_ones(len(names), num_images, *images.shape[1:])
    for row, y in enumerate(range(num_known_classes, len(class_names))):
        chosen = images[most_probable(probabilities, y, num_images)]
        tiles[row, : len(chosen)] = chosen
        if not len(chosen):
            names[row] += " (empty)"
    return lay_out(tiles, rows=names, labels=("most probable images", "class y"), ax=ax)
