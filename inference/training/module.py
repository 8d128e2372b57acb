"""The Lightning module: training steps, the end of each epoch, checkpoints."""

import csv
import io
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from ssvae.data import Batches, Data
from ssvae.data.batches import Batch
from ssvae.data.hiding import hide
from ssvae.data.read_ahead import ReadAhead
from ssvae.data.time_left import TimeLeft
from ssvae.inference._lightning import lightning
from ssvae.inference.evaluation.calibration import calibrate
from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.objective.objective import Observations, Sizes
from ssvae.inference.predict import evaluating, predict_probabilities
from ssvae.inference.storage.checkpoints import FORMAT, METADATA
from ssvae.inference.storage.description import describe, without_files
from ssvae.inference.storage.files import write_atomically
from ssvae.inference.storage.trained_on import KEY, trained_on
from ssvae.inference.training.captured_step import CapturedStep
from ssvae.inference.training.decline import decline
from ssvae.inference.training.history import Row
from ssvae.inference.training.learning_rate import RepeatedCycle
from ssvae.inference.training.mean_teacher import average, student_of
from ssvae.inference.training.recipe import Recipe
from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Refits, Staged

_ROWS_OF_A_DECLINE = 3
"""The accuracy of a single epoch may be an accident of the steps before it."""


class Training(lightning.LightningModule):
    """Training of a model: every step has a labelled and an unlabelled batch, one loss and one optimiser step.

    Lightning's epochs are those of `ssvae.data.batches.Batches`. For very large data sets they are equal parts of a
    pass over the images.
    """

    def __init__(
        self,
        model: SemiSupervisedModel,
        data: Data,
        recipe: Recipe,
        folder: Path | None,
        print_lines: bool,
        num_processes: int = 1,
        *,
        has_callbacks: bool = False,
        task: str = "training",
        prints_time: bool = False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.print_lines = print_lines
        self.task = task
        self.prints_time = prints_time
        self.model = model
        self.data = data
        self.recipe = recipe
        kinds = data.labelled_index, data.unlabelled_index, data.partially_labelled_index
        self.sizes = Sizes(*(data.weight_of(index) for index in kinds))
        self.batches = batches_of(data, recipe, num_processes)
        objective = recipe.objective
        epochs = recipe.epochs(self.batches)
        # Small data sets have many short epochs. Rows, validation and checkpoints come after each hundredth of them.
        # The remainder, less than a hundredth, is not trained, since it would not be saved.
        every = max(1, epochs // 100)
        self.epochs = epochs - epochs % every
        self.has_callbacks = has_callbacks
        # Callbacks such as Lightning's EarlyStopping expect their metrics after every epoch.
        self.every = 1 if has_callbacks else every
        self.checkpoints = None if folder is None else folder / "checkpoints"
        self.needs_unlabelled = objective.generative or objective.consistency is not None
        aligned = objective.consistency is not None and objective.consistency.aligned
        self.alignment = Alignment(model) if aligned else None
        # `model` is validated and returned. With a teacher, it is the teacher.
        self.student = None if objective.teacher_decay is None else student_of(model)
        self.history: list[Row] = []
        self.seconds = 0.0
        self.has_begun = False
        self.has_warned = False
        self.time_left: TimeLeft | None = None
        self._timed_stage = 0
        self._captured: tuple[int, CapturedStep] | None = None
        self._sums: dict[str, Tensor] = {}
        self._images = data.train_x
        self._labels = data.train_labels
        self._candidates = data.train_candidates

    @property
    def models(self) -> list[SemiSupervisedModel]:
        """The model, and its student if it is a teacher."""
        return [self.model] if self.student is None else [self.model, self.student]

    @property
    def learner(self) -> SemiSupervisedModel:
        """The model whose weights are trained by gradients."""
        return self.models[-1]

    def start(self) -> None:
        """Initialise the prior from training images if it supports that; the same images in every process."""
        size = self.model.prior.start_size
        if not size:
            return
        order = torch.randperm(len(self.data.train_labels), generator=torch.Generator().manual_seed(self.recipe.seed))
        labels, size_per_class = self.data.train_labels[order], -(-size // self.model.num_classes)
        labelled = [order[labels == k][:size_per_class] for k in range(self.model.num_classes)]
        index = torch.cat([*labelled, order[labels < 0][:size]])
        x = self.data.preprocess(self.data.train_x[index])
        for model in self.models:
            # With 0 for a missing entry, as encoders see it: pseudo-inputs have no missing entries.
            model.prior.start_from(x.masked_fill(x.isnan(), 0), self.data.train_labels[index])

    def train_dataloader(self) -> Batches | ReadAhead:
        """Return the batches of indices of an epoch, for this process."""
        self.batches.process = self.global_rank
        return ReadAhead(self.batches, self._images) if self.data.memory_mapped else self.batches

    def configure_optimizers(self) -> Any:  # noqa: ANN401
        """Return Adam, with the one-cycle schedule if the recipe has it."""
        rate = self.recipe.learning_rate
        optimizer = torch.optim.Adam(self.learner.parameters(), lr=rate, fused=True)
        if not self.recipe.one_cycle:
            return optimizer
        cycle = RepeatedCycle(optimizer, rate, self.total_steps, self.recipe.cycles)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    @property
    def total_steps(self) -> int:
        """The number of optimiser steps in all epochs."""
        return len(self.batches) * self.epochs

    def on_fit_start(self) -> None:
        """Copy images, as bytes, and labels to the model's device; images on disk stay there."""
        if not self.data.memory_mapped:
            self._images = self.data.train_x.to(self.device)
        self._labels = self.data.train_labels.to(self.device)
        if self.data.train_candidates is not None:
            self._candidates = self.data.train_candidates.to(self.device)

    def on_fit_end(self) -> None:
        """Release the captured step and its memory."""
        self._captured = None

    def on_train_epoch_start(self) -> None:
        """Set the random state of the epoch, which depends only on seed, epoch and process.

        Therefore a run that was killed and resumed has the same final weights, bit for bit.
        """
        self.batches.set_epoch(self.current_epoch)
        torch.manual_seed(epoch_seed(self.recipe.seed, self.current_epoch, self.global_rank))
        self._started = time.perf_counter()

    def observations(self, batch: Batch) -> Observations:
        """Return the images of a batch of indices, augmented and binarised as the recipe and the data require.

        Light and cutout apply to -log q(y|x) only, since in L(x, y) the model would have to generate them.
        """
        observe, augment = self._observe, self.recipe.augmentation
        labelled = self._pixels(batch.labelled)
        unlabelled = self._pixels(batch.unlabelled if self.needs_unlabelled else batch.unlabelled[:0])
        transformed = disturbed = None
        if augment is not None:
            labelled = augment.move(labelled)
            if augment.disturbs:
                disturbed = observe(augment.disturb(labelled))
            if self.recipe.objective.consistency is not None:
                transformed = observe(augment(unlabelled))
        y = self._labels[batch.labelled]
        if not len(batch.partial):
            return Observations(observe(labelled), y, observe(unlabelled), transformed, disturbed=disturbed)
        assert self._candidates is not None
        partial = self._pixels(batch.partial)
        partial = observe(partial if augment is None else augment.move(partial))
        return Observations(
            observe(labelled), y, observe(unlabelled), transformed, partial, self._candidates[batch.partial], disturbed
        )

    def _observe(self, pixels: Tensor) -> Tensor:
        """Return pixels as the data set is observed, with a share of them hidden as the recipe requires."""
        observed = self.data.observe(pixels)
        return hide(observed, self.recipe.hidden_fraction) if self.recipe.hidden_fraction else observed

    def _pixels(self, index: Tensor) -> Tensor:
        """Return pixels of training images, on the model's device."""
        return self.data.preprocess(self._images[index.to(self._images.device)].to(self.device))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the step's estimate of J / N."""
        # Pyro's validation checks every value, which is slow: only for the first batch.
        first = self.global_step == 0
        with pyro.validation_enabled(first):
            progress = self.global_step / self.total_steps
            for model in self.models:
                if isinstance(model, Staged):
                    model.advance(progress)
            self._time_stage(progress)
            if self.recipe.trainer.step == "eager" or first:
                loss, terms = self._estimate(*batch, progress)
            else:
                loss, terms = self._captured_step()(*batch, torch.tensor(progress))
        if not torch.isfinite(loss):
            culprits = [name for name, value in terms.items() if not torch.isfinite(value)]
            self._stop_at(f"the term {culprits[0]!r}" if culprits else "J / N")
        for name, value in {"loss": loss.detach(), **terms}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        return loss

    def _time_stage(self, progress: float) -> None:
        """Estimate the time left anew when a stage begins: its steps may take another time than those before."""
        stage = self.learner.current_stage if isinstance(self.learner, Staged) else 0
        if self.time_left is not None and stage == self._timed_stage:
            return
        if self.time_left is None:
            prints = self.prints_time and self.trainer.is_global_zero
            self.time_left = TimeLeft(self.task, self.total_steps, "steps", done=self.global_step, prints_lines=prints)
        self._timed_stage = stage
        is_last = not isinstance(self.learner, Staged) or progress >= self.learner.last_stage_from
        may_stop = ", unless it stops early" if self.recipe.early_stopping is not None else ""
        self.time_left.restart(may_stop if is_last else " at the pace of this stage")

    def _captured_step(self) -> CapturedStep:
        """Return the captured step of the current stage. Another stage has other trainable parts and terms."""
        stage = self.learner.current_stage if isinstance(self.learner, Staged) else 0
        if self._captured is None or self._captured[0] != stage:
            self._captured = None  # releases its memory before the next capture
            compiled = self.recipe.trainer.step == "compiled"
            if compiled and self.prints_time and self.trainer.is_global_zero:
                print(f"{self.task}: compiling takes about a minute", file=sys.stderr, flush=True)
            step = CapturedStep(self._estimate, self.learner.parameters(), self.buffers(), compiled)
            self._captured = stage, step
        return self._captured[1]

    def _estimate(
        self, labelled: Tensor, unlabelled: Tensor, partial: Tensor, progress: float | Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return J / N of a batch, and its terms."""
        teacher = None if self.student is None else self.model
        observations = self.observations(Batch(labelled, unlabelled, partial))
        return self.recipe.objective(self.learner, observations, self.sizes, progress, self.alignment, teacher)

    def on_train_batch_end(self, *arguments: Any) -> None:  # noqa: ANN401
        """Update the teacher, if there is one, and the time left."""
        if self.time_left is not None:
            self.time_left.advance()
        decay = self.recipe.objective.teacher_decay
        if self.student is not None and decay is not None:
            average(self.model, self.student, decay, self.global_step)

    @property
    def is_log_epoch(self) -> bool:
        """Whether the current epoch ends with a row in the log, a validation and a checkpoint."""
        return (self.current_epoch + 1) % self.every == 0

    @property
    def last_is_best(self) -> bool:
        """Whether the last row has a higher validation accuracy than all rows before."""
        *before, last = (row["validation_accuracy"] for row in self.history)
        return all(accuracy < last for accuracy in before)

    def on_train_start(self) -> None:
        """Stop at once if a resumed run had stopped early already."""
        self.has_begun = True
        self._stop_early()

    def on_train_epoch_end(self) -> None:
        """Log mean terms and validation accuracy; raise an error before weights that are not finite are saved."""
        for model in self.models:
            for name, value in model.state_dict().items():
                if not torch.isfinite(value).all():
                    self._stop_at(f"{name!r}")
        self.seconds += time.perf_counter() - self._started
        if not self.is_log_epoch:
            return
        self.refit()
        self.history.append(self._row())
        # Lightning takes half a millisecond for each value, together as long as a step on a small table.
        if self.trainer.loggers or self.trainer.progress_bar_callback is not None or self.has_callbacks:
            self._log_values()
        if self.trainer.is_global_zero:
            self._log_row()
            self._warn_of_decline()
        self._stop_early()

    def _log_values(self) -> None:
        """Give the values of the last row to Lightning, for loggers, the progress bar and callbacks."""
        shown = ("loss", "validation_accuracy")
        row = {name: value for name, value in self.history[-1].items() if name not in ("epoch", "step")}
        self.log_dict({name: row.pop(name) for name in shown if name in row}, prog_bar=True)
        self.log_dict(row)

    def refit(self) -> None:
        """Refit parts of the models to the labelled training images and some unlabelled ones, not binarised."""
        if not isinstance(self.model, Refits):
            return
        unlabelled = self.data.some_unlabelled(self.model.num_refit_images)
        labelled = self.data.labelled_index
        for model in self.models:
            assert isinstance(model, Refits)
            with evaluating(model):
                model.refit(self._pixels(labelled), self._labels[labelled], self._pixels(unlabelled))

    def _row(self) -> Row:
        """Return the mean terms since the last row, the values of the schedules, and the validation accuracy."""
        steps = self.global_step - (int(self.history[-1]["step"]) if self.history else 0)
        row: Row = {"epoch": self._passes(self.current_epoch + 1), "step": self.global_step, "seconds": self.seconds}
        for name, total in self._sums.items():
            mean = self.trainer.strategy.reduce(total, reduce_op="mean")  # over processes
            row[name] = mean.item() / steps
        self._sums = {}
        row["kl_weight"] = self.recipe.objective.kl_weight(self.global_step / self.total_steps)
        row["learning_rate"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        # Computed by one process and broadcast, since all processes have to agree on when to stop.
        validation_x, validation_labels = self.data.known_validation()
        if len(validation_x) and self.trainer.is_global_zero:
            probabilities = predict_probabilities(self.model, self.data, validation_x)
            calibration = calibrate(probabilities, validation_labels)
            row |= {"validation_accuracy": calibration.accuracy, "validation_nll": calibration.nll}
        return self.trainer.strategy.broadcast(row)

    def _passes(self, epochs: int) -> float:
        """Convert a number of Lightning's epochs to passes over the images."""
        whole, rest = divmod(epochs, self.batches.num_parts)
        return epochs / self.batches.num_parts if rest else whole

    def _stop_early(self) -> None:
        """Stop if the validation accuracy has not risen for as many epochs as the recipe allows.

        The decision depends only on the history, which is part of checkpoints, so that a resumed run stops at the same
        epoch. If training has stages, only the last one counts.
        """
        if self.recipe.early_stopping is None:
            return
        rows = self._rows_of_last_stage()
        if not rows:
            return
        best = max(rows, key=lambda row: row["validation_accuracy"])  # the first of them
        if rows[-1]["epoch"] - best["epoch"] >= self.recipe.early_stopping:
            self.trainer.should_stop = True

    def _rows_of_last_stage(self) -> list[Row]:
        """Return the rows of the last stage of training; all rows if training has no stages."""
        begin = self.model.last_stage_from * self.total_steps if isinstance(self.model, Staged) else 0
        return [row for row in self.history if row["step"] > begin]

    def _log_row(self) -> None:
        """Rewrite metrics.csv; without a progress bar, print about twenty lines over training."""
        if self.folder is not None:
            table = io.StringIO()
            writer = csv.DictWriter(table, fieldnames=list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)
            write_atomically(self.folder / "metrics.csv", table.getvalue())
        row, rows = self.history[-1], self.epochs // self.every
        if self.print_lines and (len(self.history) % max(1, rows // 20) == 0 or self.current_epoch + 1 == self.epochs):
            accuracy = f", validation accuracy {row['validation_accuracy']:.2%}" if "validation_accuracy" in row else ""
            print(f"{self.where}: J/N {row['loss']:.2f}{accuracy}, {self.seconds:.0f} s", flush=True)

    def _warn_of_decline(self) -> None:
        """Warn, once, if the validation accuracy has fallen by more than chance and has stayed there for three rows.

        Not for a baseline, which is trained to be compared with, nor without a run folder, of which no report could say
        what to try. If training has stages, only the last one counts.
        """
        rows = self._rows_of_last_stage()
        is_run = self.folder is not None and self.recipe.objective.generative
        if self.has_warned or not is_run or len(rows) <= _ROWS_OF_A_DECLINE:
            return
        num_images = len(self.data.known_validation()[0])
        *earlier, best = (decline(rows[: len(rows) - last], num_images) for last in reversed(range(_ROWS_OF_A_DECLINE)))
        if best is not None and all(earlier):
            self.has_warned = True
            harm = f"The unlabelled {self.data.item}s may do harm. " if self.data.num_unlabelled else ""
            warnings.warn(
                f"validation_accuracy: {self.history[-1]['validation_accuracy']:.1%} in {self.where}, after "
                f"{best['validation_accuracy']:.1%} in epoch {best['epoch']:g}, a fall beyond chance. "
                f"{harm}The report will say what to try.",
                stacklevel=2,
            )

    @property
    def where(self) -> str:
        """The current epoch and the number of epochs, counted in passes over the images."""
        return f"epoch {self._passes(self.current_epoch + 1):g}/{self._passes(self.epochs):g}"

    def _stop_at(self, culprit: str) -> None:
        where = f"{culprit} at step {self.global_step + 1}, epoch {self._passes(self.current_epoch + 1):g}"
        if self.checkpoints is None:
            advice = ". A lower learning_rate or trainer.gradient_clip may help."
        else:
            last = self.checkpoints / "last.ckpt"
            saved = f"{last} holds epoch {self.history[-1]['epoch']:g}" if self.history else "none"
            advice = f" (last good checkpoint: {saved}). A lower --learning_rate or --trainer.gradient_clip may help."
        raise FloatingPointError(f"loss: expected finite numbers; got others in {where}, and stopped{advice}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the model and the history to the checkpoint.

        Raises:
            TypeError: If the state of a callback cannot be read without running code.
        """
        for name, state in checkpoint.get("callbacks", {}).items():
            if not _is_plain(state):
                raise TypeError(
                    f"callbacks: expected states of tensors and plain values, so that a checkpoint can be read without "
                    f"running code; got another by {name}."
                )
        checkpoint[METADATA] = {
            "format": FORMAT,
            "model": without_files(describe(self.model)),
            "class_names": list(self.data.class_names),
            KEY: trained_on(self.data),
            "history": self.history,
            "seconds": self.seconds,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore history and training time from the checkpoint."""
        self.history = list(checkpoint[METADATA]["history"])
        self.seconds = checkpoint[METADATA]["seconds"]


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bytes, bool, int, float, Tensor)


def epoch_seed(seed: int, epoch: int, process: int = 0) -> int:
    """Return the seed of torch's random numbers in an epoch, an integer of 32 bits, the same on every machine.

    It uses NumPy's ``SeedSequence``, whose values are guaranteed not to change, unlike those of Python's ``hash``.
    """
    return int(np.random.SeedSequence(seed, spawn_key=(epoch, process)).generate_state(1)[0])


def batches_of(data: Data, recipe: Recipe, num_processes: int) -> Batches:
    """Return the batches of an epoch, with the sizes of the recipe."""
    return Batches(data, recipe.batch_size, recipe.labelled_batch_size, seed=recipe.seed, num_processes=num_processes)
