"""What a checkpoint keeps of the data that trained it, so that later changes of the user's files do no silent harm."""

import hashlib
import math
import warnings
from typing import Any

from ssvae.data import Data, Table, VectorData
from ssvae.data.standardisation import Standardisation

KEY = "data_of_training"
"""The key in a checkpoint's metadata."""


def trained_on(data: Data) -> dict[str, Any]:
    """Return what tells whether a data set has changed, and how vectors are preprocessed, in plain values.

    Args:
        data: The data set of the training.

    Returns:
        ``labels``, a digest of the numbers and labels of all parts; and of vectors the names and kinds of features, the
        categories, centre and scale.
    """
    digest = hashlib.sha256()
    for labels in (data.train_labels, data.validation_labels, data.test_labels):
        digest.update(f"{len(labels)} ".encode())
        digest.update(labels.cpu().numpy().tobytes())
    kept: dict[str, Any] = {"labels": digest.hexdigest()}
    if isinstance(data, VectorData):
        kept["names"], kept["kinds"] = list(data.feature_names), list(data.feature_kinds)
        named = data.feature_categories if isinstance(data, Table) else {}
        kept["categories"] = {name: list(categories) for name, categories in named.items()}
        kept["centre"], kept["scale"] = list(data.standardisation.centre), list(data.standardisation.scale)
    return kept


def is_unchanged(data: Data, kept: object) -> bool:
    """Return whether a data set is that of the training, as far as `trained_on` tells; True if nothing was kept.

    Centre and scale are not compared: another version of NumPy may round them in another way.
    """
    compared = ("labels", "names", "kinds", "categories")
    now = trained_on(data)
    return not isinstance(kept, dict) or all(now.get(key) == kept.get(key) for key in compared)


def restore(data: Data, kept: object) -> None:
    """Give a data set the preprocessing of the training, and warn if its rows or labels have changed since.

    Args:
        data: The data set as it is read now, changed in place.
        kept: What the checkpoint kept; anything else than a dictionary is ignored, as earlier versions kept nothing.

    Raises:
        ValueError: If the features of vectors have other names, kinds or categories than in training: the model would
            take them for something else.
    """
    if not isinstance(kept, dict):
        return
    now = trained_on(data)
    if isinstance(data, VectorData):
        what = next((key for key in ("names", "kinds", "categories") if now[key] != kept.get(key)), None)
        if what is not None:
            raise ValueError(
                f"run: expected the features that it was trained on; got {data.name}, whose {what} of features have "
                "changed since: train anew, or bring back the file of the training."
            )
        data.standardisation = _standardisation(kept, len(now["names"]))
    if now["labels"] != kept.get("labels"):
        warnings.warn(
            f"{data.name} has other rows or labels than when the run was trained. Test {data.item}s may be among those "
            "that trained it, so that an accuracy on them may be too high.",
            stacklevel=3,
        )


def _standardisation(kept: dict[str, Any], number: int) -> Standardisation:
    """Return the standardisation that a checkpoint kept.

    Raises:
        ValueError: If it is not one for so many features.
    """
    centre, scale = kept.get("centre"), kept.get("scale")
    for values, lowest in ((centre, -math.inf), (scale, 0.0)):
        if not isinstance(values, list) or len(values) != number:
            raise ValueError(f"checkpoint: expected centre and scale of {number} features; got others.")
        if not all(isinstance(value, float) and math.isfinite(value) and value > lowest for value in values):
            raise ValueError("checkpoint: expected finite centres and positive scales; got others.")
    assert isinstance(centre, list)
    assert isinstance(scale, list)
    return Standardisation(tuple(centre), tuple(scale))
