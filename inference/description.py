"""Objects as plain values and back: what config.yaml and checkpoints say of a model or a data set.

Every model, prior, likelihood, network recipe and data set keeps its constructor's arguments under their own
names. So an object can be told as ``{"class_path": ..., "init_args": {...}}``, the form that jsonargparse reads,
without the object having to do anything for it.
"""

import importlib
import inspect
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from torch import Tensor

from data import ImageData
from models import SemiSupervisedModel
from models.likelihoods import Likelihood
from models.networks import Networks
from models.priors import ClassPrior, Prior

Description = dict[str, Any]
Options = TypeVar("Options")

# A run folder may come from anywhere: only these may be constructed from its description.
_KINDS = (SemiSupervisedModel, Prior, ClassPrior, Likelihood, Networks, ImageData)


def describe(thing: object) -> Any:  # noqa: ANN401
    """Tell an object in plain values.

    Args:
        thing: A model, prior, likelihood, network recipe, data set, dataclass of options, or plain value.

    Returns:
        Strings, numbers, booleans, None, lists and dictionaries; None where an argument is an array.
    """
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, tuple | list):
        return [describe(item) for item in thing]
    if isinstance(thing, dict):
        return {key: describe(item) for key, item in thing.items()}
    if isinstance(thing, _KINDS):
        return {"class_path": describe(type(thing)), "init_args": _arguments(thing)}
    if is_dataclass(thing):
        return _arguments(thing)
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    return None


def _arguments(thing: object) -> Description:
    names = [name for name in inspect.signature(type(thing)).parameters if name not in ("args", "kwargs")]
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise TypeError(
            f"{type(thing).__name__}: expected every constructor argument to be kept under its own name, so that "
            f"a run folder can describe it; {missing[0]!r} is not."
        )
    return {name: describe(getattr(thing, name)) for name in names}


def holds_arrays(data: ImageData) -> bool:
    """Say whether a data set was made from tensors or arrays in memory, which no description can bring back."""
    arguments = [getattr(data, name) for name in inspect.signature(type(data)).parameters]
    return any(isinstance(argument, Tensor) or hasattr(argument, "__array__") for argument in arguments)


def build(description: Any) -> Any:  # noqa: ANN401
    """Construct what `describe` told.

    Raises:
        ValueError: If the description names a class that does not exist or is not one of this project's kinds.
    """
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    if not isinstance(description, dict) or "class_path" not in description:
        return description
    kind = _find(description["class_path"])
    if not issubclass(kind, _KINDS):
        raise ValueError(f"class_path: expected a model, prior, likelihood, network recipe or data set; got {kind}.")
    arguments = {name: _build_argument(name, value) for name, value in description["init_args"].items()}
    return kind(**arguments)


def _build_argument(name: str, value: Any) -> Any:  # noqa: ANN401
    return _find(value) if name == "activation" and isinstance(value, str) else build(value)


def _find(class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"class_path: expected a class that can be imported; got {class_path!r}. A model that was written in a "
            "notebook has to be saved in a module first."
        ) from error
    if not isinstance(found, type):
        raise ValueError(f"class_path: expected a class; got {class_path!r}.")
    return found


def build_options(kind: type[Options], values: Description) -> Options:
    """Construct a dataclass of options, and the dataclasses inside it, from what `describe` told.

    Raises:
        ValueError: If an option is unknown.
    """
    hints = get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{kind.__name__}: expected the options {', '.join(hints)}; got {sorted(unknown)[0]!r}.")
    arguments: Description = {}
    for name, value in values.items():
        inner = [hint for hint in (hints[name], *get_args(hints[name])) if is_dataclass(hint)]
        arguments[name] = build_options(inner[0], value) if inner and isinstance(value, dict) else value  # type: ignore[arg-type]
    return kind(**arguments)
