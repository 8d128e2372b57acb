"""Train a model, from the start or from the last checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ssvae.data import Data
from ssvae.data.time_left import is_notebook
from ssvae.inference._lightning import Callback, Logger, ProgressBar, quiet
from ssvae.inference.storage.checkpoints import check_trained, read_checkpoint
from ssvae.inference.storage.description import describe
from ssvae.inference.training.callbacks import EpochBar, Events, Saving
from ssvae.inference.training.checks import check_same_model
from ssvae.inference.training.history import Row
from ssvae.inference.training.loggers import named_logger
from ssvae.inference.training.memory import keep_freed_memory
from ssvae.inference.training.module import Training
from ssvae.inference.training.precision import set_compute_dtype
from ssvae.inference.training.recipe import Recipe
from ssvae.inference.training.trainer import interruptible, make_trainer, strategy_of
from ssvae.models import SemiSupervisedModel

_GOES_ON_FROM = {"epoch", "global_step", "loops", "optimizer_states", "lr_schedulers"}
"""The keys of a checkpoint that Lightning needs; if one is missing, it restarts training with the trained weights."""


def train(
    model: SemiSupervisedModel,
    data: Data,
    recipe: Recipe,
    folder: Path | None,
    interactive: bool = True,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    task: str | None = None,
) -> list[Row]:
    """Train a model in place, from the start or from the last checkpoint in the folder.

    Args:
        model: The model. After training it has the weights of the last epoch and is in evaluation mode.
        data: The data set.
        recipe: The settings of training.
        folder: The folder for checkpoints and TensorBoard events: checkpoints/last.ckpt after every epoch, and
            checkpoints/best.ckpt for the highest validation accuracy, if there are validation images. None to write
            nothing; such a training cannot be resumed.
        interactive: Whether a progress bar can be shown; otherwise lines are printed.
        callbacks: Lightning callbacks for training. A progress bar among them replaces the default one. Their metrics
            are those of the rows, one row for every epoch.
        loggers: Lightning loggers, besides TensorBoard and the logger of the recipe.
        task: The name of the training in the lines of the time left, which are printed where no bar is drawn; see
            `ssvae.data.time_left.TimeLeft`. None for no such lines.

    Returns:
        A row of terms and accuracies for every epoch.

    Raises:
        FloatingPointError: If the loss or a parameter is no longer finite. Earlier checkpoints are kept.
        KeyboardInterrupt: After Ctrl-C or SIGTERM. Earlier checkpoints are kept.
        ValueError: If the checkpoint in the folder is of another model, or damaged, or the recipe names a logger and
            there is no folder.
    """
    keep_freed_memory()
    options = recipe.trainer
    if options.logger is not None and folder is None:
        raise ValueError(f"trainer.logger: expected None without a run folder; got {options.logger!r}.")
    own_bar = any(isinstance(each, ProgressBar) for each in callbacks)
    bar = options.progress_bar and interactive and not own_bar
    with quiet():
        num_processes = make_trainer(options, logger=False, enable_checkpointing=False).world_size
    if num_processes > 1:
        options = replace(options, strategy=strategy_of(model, recipe))
    lines = options.progress_bar and not interactive
    training = Training(
        model,
        data,
        recipe,
        folder,
        lines,
        num_processes,
        has_callbacks=bool(callbacks),
        task=task or "training",
        prints_time=task is not None and not (bar or own_bar or is_notebook()),
    )
    # The user's first: what they do of an epoch is in its checkpoint.
    parts = list(callbacks)
    last = None
    if training.checkpoints is not None:
        parts.append(Saving(training.checkpoints))
        if (training.checkpoints / "last.ckpt").exists():
            last = training.checkpoints / "last.ckpt"
            saved = read_checkpoint(last)
            check_same_model(saved, model, last)
            check_trained(saved, last)
            if not saved.keys() >= _GOES_ON_FROM:
                raise _damaged(last)
    if last is None:
        training.start()
    if bar:
        parts.append(EpochBar(refresh_rate=10))
    # A model that was evaluated or loaded is in evaluation mode, in which dropout and batch norm are off.
    model.train()
    with (
        quiet(),
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        interruptible(),
        named_logger(options.logger, folder) as named,
    ):
        events = [] if folder is None else [Events(save_dir=folder, name="", version="tensorboard")]
        trainer = make_trainer(
            options,
            max_epochs=training.epochs,
            callbacks=parts,
            logger=[*events, *named, *loggers] or False,
            enable_checkpointing=folder is not None,
            default_root_dir=folder,
            enable_progress_bar=bar or own_bar,
        )
        for logger in (*named, *loggers):
            logger.log_hyperparams({"model": describe(model), **describe(recipe)})
        try:
            trainer.fit(training, ckpt_path=last)
        # Lightning raises many kinds of errors for a damaged checkpoint.
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if last is None or training.has_begun:
                raise
            raise _damaged(last) from error
        finally:
            set_compute_dtype(model, None)
    model.eval()
    return training.history


def _damaged(checkpoint: Path) -> ValueError:
    return ValueError(f"checkpoint: expected one to resume training from; got {checkpoint}, which is damaged.")
