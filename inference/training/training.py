"""Training a model: from the start, or from the last checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ssvae.data import ImageData
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
"""What Lightning needs of a checkpoint; without some of it, it would start again from trained weights."""


def train(
    model: SemiSupervisedModel,
    data: ImageData,
    recipe: Recipe,
    folder: Path | None,
    interactive: bool = True,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> list[Row]:
    """Train a model in place, from the start or from the last checkpoint in the folder.

    Args:
        model: The model; afterwards it holds the last epoch's weights and stands in evaluation mode.
        data: The images.
        recipe: How to train.
        folder: Where checkpoints and TensorBoard's events go: checkpoints/last.ckpt after every epoch, and
            checkpoints/best.ckpt, of the highest validation accuracy, where there are validation images. None to
            write nothing, and so never to resume.
        interactive: Whether a progress bar can be drawn; lines are printed otherwise.
        callbacks: Lightning's callbacks, which take part in training; a progress bar among them takes the place of
            this project's. The metrics that they see are the rows', of which there is one for every epoch.
        loggers: Lightning's loggers, beside TensorBoard's events and the one that the recipe names.

    Returns:
        A row of terms and accuracies for every epoch.

    Raises:
        FloatingPointError: If the loss or a parameter is no longer finite; the checkpoints are from before.
        KeyboardInterrupt: If Ctrl-C or SIGTERM came; the checkpoints are from before.
        ValueError: If the checkpoint in the folder is of another model.
    """
    keep_freed_memory()
    options = recipe.trainer
    own_bar = any(isinstance(each, ProgressBar) for each in callbacks)
    bar = options.progress_bar and interactive and not own_bar
    with quiet():
        num_processes = make_trainer(options, logger=False, enable_checkpointing=False).world_size
    if num_processes > 1:
        options = replace(options, strategy=strategy_of(model, recipe))
    lines = options.progress_bar and not interactive
    training = Training(model, data, recipe, folder, lines, num_processes, every_epoch=bool(callbacks))
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
    # A model that was evaluated or loaded stands in evaluation mode, where dropout and batch norm do not learn.
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
            trainer.fit(training, ckpt_path=last, weights_only=True)
        # Of a checkpoint whose parts are not what it takes them for, Lightning raises whatever it stumbles upon.
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if last is None or training.has_begun:
                raise
            raise _damaged(last) from error
        finally:
            set_compute_dtype(model, None)
    model.eval()
    return training.history


def _damaged(checkpoint: Path) -> ValueError:
    return ValueError(f"checkpoint: expected one that training can go on from; {checkpoint} is damaged.")
