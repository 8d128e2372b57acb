"""Checkpoints: tensors and plain values, written atomically, read without running any code."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from ssvae.inference._lightning import TorchCheckpointIO
from ssvae.inference.storage.files import write_atomically

METADATA = "ssvae"
"""The key of a checkpoint for the model's description, its classes and the history of training."""
FORMAT = 5
"""The version of names of classes, options and weights in a run; to be raised if older runs become unreadable.

A checkpoint has it under "format". Checkpoints of format 1 do not have this key.
"""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a new file, then replaces the old one, which survives a crash or a full disk.

    It reads with ``weights_only=True``, whatever the version of Lightning, so that no code of a file is run.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ANN401
        """Save a checkpoint."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Through memory, since torch reports a full disk as an error of its zip file without a reason.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(target, content.getvalue())

    # Lightning hands `weights_only` on from 2.6 on.
    def load_checkpoint(self, path: Any, *options: Any, **more_options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Load a checkpoint, on the CPU."""
        return torch.load(path, map_location="cpu", weights_only=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Args:
        path: The file.

    Returns:
        The checkpoint, on the CPU.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is truncated, is not a checkpoint of this project, or contains more than tensors and
            plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: expected a file; got {path}, which does not exist.")
    content = io.BytesIO(path.read_bytes())
    try:
        checkpoint = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint: expected tensors and plain values only; got {path}, which contains something else or is not "
            "a checkpoint, and was not read."
        ) from error
    except Exception as error:  # torch raises many kinds of errors for damaged files
        raise ValueError(
            f"checkpoint: expected a complete file; got {path}, which is truncated or is not a checkpoint."
        ) from error
    if not _is_ours(checkpoint):
        raise ValueError(f"checkpoint: expected one of this project; got {path}, which is not.")
    for name, value in checkpoint["state_dict"].items():
        # Training saves only finite weights.
        if not torch.isfinite(value).all():
            raise ValueError(f"checkpoint: expected finite weights; got {path}, with others in {name!r}.")
    return checkpoint


def check_trained(checkpoint: dict[str, Any], path: Path) -> None:
    """Check that a checkpoint was saved by training, unlike that of the initial weights.

    Raises:
        ValueError: If the checkpoint has no history of training.
    """
    metadata = checkpoint[METADATA]
    names, history = metadata.get("class_names"), metadata.get("history")
    is_trained = (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(names) == metadata["model"]["init_args"].get("num_classes")
        and isinstance(history, list)
        and len(history) > 0
        and all(isinstance(row, dict) and {"epoch", "step", "seconds"} <= row.keys() for row in history)
        and isinstance(metadata.get("seconds"), int | float)
    )
    if not is_trained:
        raise ValueError(f"checkpoint: expected one that training saved; got {path}, which is not.")


def _is_ours(checkpoint: object) -> bool:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return False
    if not all(isinstance(name, str) and _is_plain(value) for name, value in checkpoint["state_dict"].items()):
        return False
    metadata = checkpoint.get(METADATA)
    model = metadata.get("model") if isinstance(metadata, dict) else None
    return isinstance(model, dict) and isinstance(model.get("init_args"), dict) and "class_path" in model


def _is_plain(value: object) -> bool:
    """Return whether a value is a dense tensor of real numbers with complete storage."""
    if not isinstance(value, torch.Tensor):
        return False
    if value.layout != torch.strided or value.is_meta or value.is_complex() or value.is_quantized:
        return False
    # An expanded tensor could have billions of elements with the storage of one.
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
