"""What a report says of classes that nobody has labelled: a table, a sentence, a picture."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from ssvae.data import ImageData
from ssvae.inference import figures
from ssvae.inference.evaluation.discovery import Discovery
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUM_IMAGES = 1000
"""The number of unlabelled images among which the most probable ones of each class are looked for."""

ASSIGNMENT = (
    "The classes without labels have no names in the model: each is assigned to a true class by the test images, so "
    "that as many as possible are right (Hungarian assignment). One that holds none of them is empty and is assigned "
    "to none."
)


def discovery_table(discoveries: "dict[str, Discovery]", item: str) -> str:
    """Return a Markdown table of the agreement with the true classes, a row for each classifier.

    Args:
        discoveries: The measures by the name of the classifier.
        item: The word for an observation.
    """
    rows = [
        f"| test {item}s | all | classes with labels | classes without labels | of these put among the known | NMI "
        "| empty new classes |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, discovery) for name, discovery in discoveries.items()),
    ]
    return "\n".join([*rows, "", ASSIGNMENT])


def _row(name: str, discovery: Discovery) -> str:
    shares = (
        discovery.accuracy,
        discovery.known_accuracy,
        discovery.new_accuracy,
        discovery.share_among_known,
    )
    cells = " | ".join("" if share is None else f"{share:.2%}" for share in shares)
    # Where no test observation is of a class without labels, new classes are empty as they should be.
    empty = "" if discovery.new_accuracy is None else len(discovery.empty)
    return f"| {name} | {cells} | {discovery.nmi:.3f} | {empty} |"


def discovery_sentence(discovery: Discovery, item: str) -> str:
    """Say in a sentence how many test observations of the classes without labels are told apart; "" if there are none.

    Args:
        discovery: The measures of the model.
        item: The word for an observation.
    """
    if discovery.new_accuracy is None or discovery.share_among_known is None:
        return ""
    if not discovery.num_known_classes:
        return (
            f"No class has a label: {discovery.accuracy:.1%} of the test {item}s are in the class that is assigned to "
            f"theirs (NMI {discovery.nmi:.3f})."
        )
    return (
        f"Of the test {item}s of the classes without labels, {discovery.new_accuracy:.1%} are in the new class that is "
        f"assigned to theirs, and {discovery.share_among_known:.1%} are put among the known classes; of all test "
        f"{item}s, {discovery.accuracy:.1%} are right."
    )


def draw_new_classes(run: Run, class_names: "Sequence[str]") -> Axes | None:
    """Draw the most probable unlabelled training images of each class that nobody has labelled.

    Returns:
        The axes; None if all classes have labels, there are no unlabelled images, or the data are not images.
    """
    data = run.data
    if not isinstance(data, ImageData) or not data.has_new_classes or not data.num_unlabelled:
        return None
    images = data.train_images[data.some_unlabelled(_NUM_IMAGES)]
    probabilities = predict_probabilities(run.model, data, images)
    return figures.new_classes(data.preprocess(images), probabilities, class_names, data.num_known_classes)
