"""Checkpoints: tensors and plain values, written whole or not at all, read without running any code."""

import inference.environment  # noqa: F401  # isort: skip  (before lightning)

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from inference.files import write_atomically

STORY = "ssvae"  # under this key a checkpoint says which model it is of


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
    return checkpoint


def _is_ours(checkpoint: object) -> bool:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        return False
    story = checkpoint.get(STORY)
    model = story.get("model") if isinstance(story, dict) else None
    return isinstance(model, dict) and isinstance(model.get("init_args"), dict) and "class_path" in model
