"""Lightning's Trainer: options, devices, interruption."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ssvae.inference._lightning import SIGTERMException, lightning, quiet
from ssvae.inference.storage.checkpoints import AtomicCheckpointIO
from ssvae.inference.training.precision import NetworkPrecision
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Staged


@contextmanager
def on_accelerator(model: SemiSupervisedModel, options: TrainerOptions) -> Iterator[None]:
    """Move a model to the device of training inside a ``with`` block, and back to the CPU after it."""
    alone = replace(options, devices=1, num_nodes=1, strategy="auto")
    with quiet():
        trainer = make_trainer(alone, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    model.to(trainer.strategy.root_device)
    try:
        yield
    finally:
        model.cpu()


def strategy_of(model: SemiSupervisedModel, recipe: Recipe) -> str:
    """Return Lightning's strategy for several processes, which depends on whether some networks get no gradient."""
    # Without generative terms only the classifier gets gradients, without alpha perhaps all else, in stages only some
    # parts. A teacher never gets any.
    has_teacher = recipe.objective.teacher_decay is not None
    if recipe.objective.generative and recipe.objective.alpha and not isinstance(model, Staged) and not has_teacher:
        return recipe.trainer.strategy
    return "ddp_find_unused_parameters_true" if recipe.trainer.strategy in ("auto", "ddp") else recipe.trainer.strategy


def make_trainer(options: TrainerOptions, **others: Any) -> lightning.Trainer:  # noqa: ANN401
    """Return Lightning's Trainer with these options; ``others`` are passed on to it."""
    plugins: list[Any] = [AtomicCheckpointIO()]
    if options.precision == "bf16-mixed":
        plugins.append(NetworkPrecision())
    return lightning.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=options.strategy,
        plugins=plugins,
        gradient_clip_val=options.gradient_clip,
        enable_model_summary=False,
        log_every_n_steps=10**9,
        num_sanity_val_steps=0,
        **others,
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt after Ctrl-C or SIGTERM; Lightning alone would end the process.

    Also restore the handler of Ctrl-C, which Lightning disables after the first one.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        raise
