"""The recipes of ``ssvae fit``, for benchmarks that build models and data themselves."""

from importlib.resources import files
from typing import Any

import yaml


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe's options, without the progress bar."""
    options: dict[str, Any] = yaml.safe_load((files("ssvae.inference") / "recipes" / f"{name}.yaml").read_text("utf-8"))
    return options | {"trainer": options["trainer"] | {"progress_bar": False}}
