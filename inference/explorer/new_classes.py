"""The images of the classes that nobody has labelled, and names for these classes."""

import json
from dataclasses import dataclass

from torch import Tensor

from ssvae.inference.figures.discovery import most_probable
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.runs.run import Run
from ssvae.inference.runs.runs import name_classes

_NUM_IMAGES = 1000
"""The number of unlabelled images that are looked at."""

_SHOWN = 30


@dataclass(frozen=True)
class NewClass:
    """A class that nobody has labelled.

    Attributes:
        name: Its name.
        share: The share of the unlabelled images that are put into it, in [0, 1].
        images: The most probable of them, (at most 30, channels, height, width), pixels in [0, 1]; none if the class is
            empty.
    """

    name: str
    share: float
    images: Tensor


def new_classes(run: Run) -> list[NewClass]:
    """Return the classes that nobody has labelled, with unlabelled training images that are put into them.

    Args:
        run: The run, with its data.
    """
    data = run.image_data
    images = data.train_images[data.some_unlabelled(_NUM_IMAGES)]
    if not len(images):
        return []
    probabilities = predict_probabilities(run.model, data, images)
    shares = probabilities.argmax(-1).bincount(minlength=data.num_classes) / len(images)
    return [
        NewClass(run.class_names[y], shares[y].item(), data.preprocess(images[most_probable(probabilities, y, _SHOWN)]))
        for y in range(data.num_known_classes, data.num_classes)
    ]


def name_class(run: Run, content: bytes) -> tuple[str, ...]:
    """Name a class in the run folder, and in the run itself.

    Args:
        run: The run.
        content: ``{"class": "new 2", "name": "boots"}`` in JSON.

    Returns:
        The names of all classes.

    Raises:
        ValueError: If the content is another, or the class or the name is not possible; nothing is changed then.
    """
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        read = None
    old, new = (read.get("class"), read.get("name")) if isinstance(read, dict) else (None, None)
    if not isinstance(old, str) or not isinstance(new, str):
        raise ValueError('names: expected {"class": "new 2", "name": "boots"} in JSON; got another text.')
    run.class_names = name_classes(str(run.folder), {old: new})
    return run.class_names
