"""Checkpoints: tensors and plain values, written whole or not at all, read without running any code."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from ssvae.inference._lightning import TorchCheckpointIO
from ssvae.inference.storage.files import write_atomically

METADATA = "ssvae"  # under this key a checkpoint says which model it is of
FORMAT = 2
"""Which names of classes, options and weights a run has; to be raised where older runs can no longer be read.

A checkpoint says it under "format"; those of format 1 say none.
"""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, then takes its place: a crash or a full disk leaves the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ANN401
        """Save a checkpoint."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # By way of memory: torch would report a full disk as an error of its zip file's, without a reason.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(target, content.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is truncated, is not a checkpoint of this project, or holds more than tensors and
            plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: expected a file; {path} does not exist.")
    content = io.BytesIO(path.read_bytes())
    try:
        checkpoint = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint: expected tensors and plain values only; {path} holds something else, or is not a "
            "checkpoint, and was not read."
        ) from error
    except Exception as error:  # on a damaged file torch's reader raises whatever it stumbles upon
        raise ValueError(f"checkpoint: expected a whole one; {path} is truncated or is not a checkpoint.") from error
    if not _is_ours(checkpoint):
        raise ValueError(f"checkpoint: expected one of this project; {path} is not.")
    for name, value in checkpoint["state_dict"].items():
        # Training refuses to save others.
        if not torch.isfinite(value).all():
            raise ValueError(f"checkpoint: expected finite weights; {path} has others in {name!r}.")
    return checkpoint


def check_trained(checkpoint: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint that was not saved by training, such as that of the initial weights.

    Raises:
        ValueError: If it does not say how training went.
    """
    metadata = checkpoint[METADATA]
    names, history = metadata.get("class_names"), metadata.get("history")
    good = (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(names) == metadata["model"]["init_args"].get("num_classes")
        and isinstance(history, list)
        and len(history) > 0
        and all(isinstance(row, dict) and {"epoch", "step", "seconds"} <= row.keys() for row in history)
        and isinstance(metadata.get("seconds"), int | float)
    )
    if not good:
        raise ValueError(f"checkpoint: expected one that training saved; {path} is none.")


def _is_ours(checkpoint: object) -> bool:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return False
    if not all(isinstance(name, str) and _is_plain(value) for name, value in checkpoint["state_dict"].items()):
        return False
    metadata = checkpoint.get(METADATA)
    model = metadata.get("model") if isinstance(metadata, dict) else None
    return isinstance(model, dict) and isinstance(model.get("init_args"), dict) and "class_path" in model


def _is_plain(value: object) -> bool:
    """Say whether a value is a tensor of real numbers that are all there."""
    if not isinstance(value, torch.Tensor):
        return False
    if value.layout != torch.strided or value.is_meta or value.is_complex() or value.is_quantized:
        return False
    # One number that is said to stand for a billion would be looked at a billion times.
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
