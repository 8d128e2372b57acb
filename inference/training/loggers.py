"""Loggers by name (MLflow, Weights & Biases), and checks of Lightning callbacks and loggers."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ssvae.inference._lightning import Callback, Logger, MLFlowLogger, WandbLogger
from ssvae.inference.extras import check_extra
from ssvae.inference.training.processes import is_first

_PACKAGES = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
_PROJECT = "ssvae"


def check_logger(name: str | None) -> None:
    """Raise ValueError unless the packages of a logger are installed."""
    if name is not None:
        check_extra("trainer.logger", name, _PACKAGES[name])


def check_callbacks(callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> None:
    """Raise TypeError unless these are Lightning callbacks and Lightning loggers."""
    for argument, given, kind in (("callbacks", callbacks, Callback), ("logger", loggers, Logger)):
        for each in given:
            if not isinstance(each, kind):
                expected = (
                    f"objects of Lightning's class {kind.__name__} (import lightning.pytorch, not pytorch_lightning)"
                )
                raise TypeError(f"{argument}: expected {expected}; got {each!r}.")


@contextmanager
def named_logger(name: str | None, folder: Path | None) -> Iterator[list[Logger]]:
    """Make a logger by its name, and end its run after the ``with`` block.

    Args:
        name: "mlflow", "wandb" or None.
        folder: The run folder.

    Yields:
        A list of the logger; empty without a name or a folder, and in all processes but the first.

    Raises:
        ValueError: If Weights & Biases cannot begin a run.
    """
    if name is None or folder is None or not is_first():
        yield []
    elif name == "mlflow":
        # Silence their messages about new tables and experiments.
        for logger_name in ("lightning.pytorch.loggers.mlflow", "mlflow.store.db.utils", "alembic"):
            logging.getLogger(logger_name).setLevel(logging.ERROR)
        where = folder.resolve()
        given = os.environ.get("MLFLOW_TRACKING_URI")
        yield [
            MLFlowLogger(
                experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
                run_name=folder.name,
                tracking_uri=given or f"sqlite:///{(where / 'mlflow.db').as_posix()}",
                artifact_location=None if given else (where / "mlflow").as_uri(),
            )
        ]
    else:
        logger = WandbLogger(name=folder.name, project=os.environ.get("WANDB_PROJECT", _PROJECT), save_dir=folder)
        try:
            _ = logger.experiment
        except Exception as error:  # wandb raises many kinds without a key or a network
            raise ValueError(
                f"trainer.logger: expected Weights & Biases to begin a run (WANDB_MODE=offline keeps it in {folder}); "
                f"got an error: {error}"
            ) from error
        try:
            yield [logger]
        finally:
            # Otherwise the next run in this process would continue this one.
            if logger._experiment is not None:
                logger.experiment.finish()
