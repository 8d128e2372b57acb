"""Writing of a model's weights as safetensors: a format that other programs read, and that contains no code."""

import json
from pathlib import Path

from safetensors.torch import save

from ssvae.inference.storage.description import describe
from ssvae.inference.storage.files import write_atomically
from ssvae.models import SemiSupervisedModel


def save_weights(model: SemiSupervisedModel, class_names: tuple[str, ...], path: Path) -> None:
    """Write a model's state_dict as safetensors, atomically.

    The metadata of the file are ``class_names``, a list in JSON, and ``class_path``, the import path of the model's
    class.

    Example:
        >>> from safetensors.torch import load_file
        >>> model.load_state_dict(load_file("runs/NAME/model.safetensors"))  # doctest: +SKIP

    Args:
        model: The model.
        class_names: The names of its classes.
        path: The file. An existing file is replaced.
    """
    # Copies, since safetensors refuses tensors that share memory, such as tied weights.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    metadata = {"class_names": json.dumps(class_names), "class_path": describe(type(model)), "format": "pt"}
    write_atomically(path, save(tensors, metadata))
