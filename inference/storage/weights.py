"""A model's weights alone, as safetensors: a file that other programs read, and that can hold no code."""

import json
from pathlib import Path

from safetensors.torch import save

from ssvae.inference.storage.description import describe
from ssvae.inference.storage.files import write_atomically
from ssvae.models import SemiSupervisedModel


def save_weights(model: SemiSupervisedModel, class_names: tuple[str, ...], path: Path) -> None:
    """Write a model's state_dict as safetensors, whole or not at all.

    The file's metadata hold `class_names`, a list in JSON, and `class_path`, the import path of the model's class.

    Example:
        >>> from safetensors.torch import load_file
        >>> model.load_state_dict(load_file("runs/NAME/model.safetensors"))  # doctest: +SKIP

    Args:
        model: The model.
        class_names: The names of its classes.
        path: The file, which is written over.
    """
    # Copies: tensors that share memory, as tied weights do, are not saved as one.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    metadata = {"class_names": json.dumps(class_names), "class_path": describe(type(model)), "format": "pt"}
    write_atomically(path, save(tensors, metadata))
