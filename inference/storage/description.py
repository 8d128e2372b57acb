"""Convert objects to plain values and back, for config.yaml and checkpoints.

Every model, prior, posterior, likelihood, architecture and data set keeps its constructor's arguments as attributes of
the same names. An object is described as ``{"class_path": ..., "init_args": {...}}``, the form that jsonargparse reads.
"""

import importlib
import inspect
import sys
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from torch import Tensor, nn

from ssvae.data import Data
from ssvae.models import SemiSupervisedModel
from ssvae.models.feature_classifiers import FeatureClassifier
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior

Description = dict[str, Any]
Options = TypeVar("Options")

# Only these may be constructed from a description, since a run folder may come from an untrusted source.
KINDS = (SemiSupervisedModel, Prior, Posterior, ClassPrior, Likelihood, Architecture, FeatureClassifier, Data)


def describe(thing: object) -> Any:  # noqa: ANN401
    """Describe an object in plain values.

    Args:
        thing: A model, prior, posterior, likelihood, architecture, data set, dataclass of options, or plain value.

    Returns:
        Strings, numbers, booleans, None, lists and dictionaries. Arrays become None.

    Example:
        >>> from ssvae.inference import KLWeight
        >>> from ssvae.inference.storage.description import describe
        >>> describe(KLWeight(start=0.0))
        {'start': 0.0, 'end': 1.0, 'until': 0.5}
    """
    if isinstance(thing, type):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, tuple | list):
        return [describe(item) for item in thing]
    if isinstance(thing, dict):
        return {key: describe(item) for key, item in thing.items()}
    if isinstance(thing, KINDS):
        return {"class_path": describe(type(thing)), "init_args": _arguments(thing)}
    if is_dataclass(thing):
        return _arguments(thing)
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    return None


def without_files(description: Any) -> Any:  # noqa: ANN401
    """Return a description with None for each argument ``weights``, a file that a trained model no longer needs."""
    if not isinstance(description, dict):
        return description
    return {name: None if name == "weights" else without_files(value) for name, value in description.items()}


def _arguments(thing: object) -> Description:
    # A part without a constructor of its own has that of nn.Module, whose *args and **kwargs are not arguments.
    names = [] if type(thing).__init__ is nn.Module.__init__ else list(inspect.signature(type(thing)).parameters)
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise TypeError(
            f"{type(thing).__name__}: expected every constructor argument as an attribute of the same name, for "
            f"config.yaml; got none for {missing[0]!r}."
        )
    return {name: describe(getattr(thing, name)) for name in names}


def holds_arrays(data: Data) -> bool:
    """Return whether a data set was made from tensors or arrays, which a description does not contain."""
    arguments = [getattr(data, name) for name in inspect.signature(type(data)).parameters]
    return any(
        holds_arrays(argument)
        if isinstance(argument, Data)
        else isinstance(argument, Tensor) or hasattr(argument, "__array__")
        for argument in arguments
    )


def build(description: Any) -> Any:  # noqa: ANN401
    """Construct an object from its description by `describe`.

    Args:
        description: The description.

    Returns:
        The object, with newly initialised weights if it is a model.

    Raises:
        ValueError: If the description names a class that does not exist or is not of an allowed kind, or an argument
            that the class does not have.
    """
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    if not isinstance(description, dict) or "class_path" not in description:
        return description
    kind = _find(description["class_path"])
    if not issubclass(kind, KINDS):
        raise ValueError(
            f"class_path: expected a model, prior, posterior, likelihood, architecture or data set; got {kind}."
        )
    arguments = description.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"{kind.__name__}: expected arguments by their names; got {arguments!r}.")
    parameters = inspect.signature(kind).parameters
    unknown = [name for name in arguments if name not in parameters]
    if unknown:
        raise ValueError(f"{kind.__name__}: expected the arguments {', '.join(parameters)}; got {unknown[0]!r}.")
    built = {name: _build_argument(name, value) for name, value in arguments.items()}
    try:
        return kind(**built)
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        if ": expected " in str(error):
            raise
        raise ValueError(
            f"{kind.__name__}: expected arguments as in its documentation; got {arguments!r} ({error})."
        ) from error


def _build_argument(name: str, value: Any) -> Any:  # noqa: ANN401
    if name != "activation":
        return build(value)
    activation = _find(value)
    if not issubclass(activation, nn.Module):
        raise ValueError(f"activation: expected a class of torch.nn's; got {value!r}.")
    return activation


def _find(class_path: object) -> type:
    if isinstance(class_path, type):
        return class_path
    module, _, name = str(class_path).rpartition(".")
    # A module has to be imported before the kind of its class is known. Some modules have side effects on import.
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"class_path: expected a class of this project or of your own; got {class_path!r}.")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        # A run of a class that was written in a notebook can only be loaded in this notebook.
        reason = (
            "which was written in a notebook, a script or a function; train it from a module, such as my_models.py"
            if module == "__main__" or "<locals>" in module
            else "which is not on Python's path"
        )
        raise ValueError(f"class_path: expected a class that can be imported; got {class_path!r}, {reason}.") from error
    if not isinstance(kind, type):
        raise ValueError(f"class_path: expected a class; got {class_path!r}.")
    return kind


def build_options(kind: type[Options], values: Description) -> Options:
    """Construct a dataclass of options, and the dataclasses inside it, from its description by `describe`.

    Args:
        kind: The dataclass.
        values: Its options by name.

    Returns:
        The dataclass.

    Raises:
        ValueError: If an option is unknown.
    """
    return kind(**build_fields(kind, values))


def build_fields(kind: type, values: Description) -> Description:
    """Return the arguments of a dataclass, with the dataclasses inside it constructed; see `build_options`."""
    hints = get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{kind.__name__}: expected the options {', '.join(hints)}; got {sorted(unknown)[0]!r}.")
    return {name: _build_field(name, hints[name], value) for name, value in values.items()}


def _build_field(name: str, hint: Any, value: Any) -> Any:  # noqa: ANN401
    kinds = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
    if not kinds or (value is None and type(None) in get_args(hint)):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected options by their names; got {value!r}.")
    return build_options(kinds[0], value)  # type: ignore[arg-type]
