"""Checkpoints: tensors and plain values, written whole or not at all, read without running any code."""

import inference.environment  # noqa: F401  # isort: skip  (before lightning)

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

STORY = "ssvae"  # under this key a checkpoint says which model it is of


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, then takes its place: a crash or a full disk leaves the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:  # noqa: ANN401
        """Save a checkpoint."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is truncated, is not a checkpoint of this project, or holds more than tensors and
            plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: expected a file; {path} does not exist.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint: expected tensors and plain values only; {path} holds something else, or is not a "
            "checkpoint, and was not read."
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"checkpoint: {path} is truncated or is not a checkpoint.") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", STORY} <= checkpoint.keys():
        raise ValueError(f"checkpoint: {path} is not a checkpoint of this project.")
    return checkpoint
