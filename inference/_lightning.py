"""The only import of Lightning: after the environment is prepared, and without its hints and warning filters."""

import ssvae.inference.environment  # noqa: F401  # isort: skip  (before lightning)

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as lightning
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import TQDMProgressBar
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities.exceptions import SIGTERMException

__all__ = [
    "CUDAAccelerator",
    "Callback",
    "Checkpoint",
    "Logger",
    "MLFlowLogger",
    "MisconfigurationException",
    "Precision",
    "ProgressBar",
    "SIGTERMException",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "TorchCheckpointIO",
    "WandbLogger",
    "lightning",
    "quiet",
    "rank_zero_only",
]

# joblib passes the warning filters to its worker processes, which import the filters' classes first. With Lightning's
# filters among them, workers would import Lightning before `ssvae.inference.environment` has prepared that.
warnings.filters[:] = [entry for entry in warnings.filters if not entry[2].__module__.startswith("lightning")]  # type: ignore[index]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's hints about devices and data loaders, which do not apply here.

    Also suppress Pyro's warning of a NaN, since training then stops with an error message of its own.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message="Encountered NaN")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
