"""The recipes of ``ssvae fit`` and their models, for benchmarks that build models and data themselves."""

from importlib.resources import files
from typing import Any

import torch
import yaml

from ssvae.data import Data
from ssvae.inference.storage.description import Description, build
from ssvae.models import SemiSupervisedModel


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe's options, without the progress bar."""
    options: dict[str, Any] = yaml.safe_load((files("ssvae.inference") / "recipes" / f"{name}.yaml").read_text("utf-8"))
    return options | {"trainer": options["trainer"] | {"progress_bar": False}}


def build_model(description: Description, data: Data, seed: int) -> SemiSupervisedModel:
    """Return the model of a recipe, for the shape and the classes of a data set.

    Args:
        description: The recipe's section "model".
        data: The data set.
        seed: The random seed of the initial weights.
    """
    sizes = {"event_shape": data.event_shape, "num_classes": data.num_classes}
    torch.manual_seed(seed)
    model = build({**description, "init_args": sizes | description["init_args"]})
    assert isinstance(model, SemiSupervisedModel)
    return model
