"""Lightning's callbacks: checkpoints, TensorBoard's events and the progress bar."""

from pathlib import Path
from typing import Any

from ssvae.data.time_left import in_words
from ssvae.inference._lightning import Checkpoint, TensorBoardLogger, TQDMProgressBar, lightning
from ssvae.inference.training.module import Training


class Saving(Checkpoint):
    """Saves checkpoints/last.ckpt, and checkpoints/best.ckpt for the highest validation accuracy.

    Lightning's own callback stores the best accuracy together with the path of the folder, and loses it if the folder
    is moved. Here it is taken from the history.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save after every logged epoch."""
        assert isinstance(pl_module, Training)
        if not pl_module.is_log_epoch:
            return
        # The best one first: a run that is killed between the two repeats this epoch and saves both.
        if "validation_accuracy" in pl_module.history[-1] and pl_module.last_is_best:
            trainer.save_checkpoint(self.checkpoints / "best.ckpt")
        trainer.save_checkpoint(self.checkpoints / "last.ckpt")


class Events(TensorBoardLogger):
    """Lightning's TensorBoard logger without its file of hyperparameters, which are in config.yaml."""

    def save(self) -> None:
        """Write all logged events."""
        self.experiment.flush()


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, with epochs counted as in printed lines and without the logger's version."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *arguments: Any) -> None:  # noqa: ANN401
        """Show the epoch and the number of epochs."""
        super().on_train_epoch_start(trainer, *arguments)
        assert isinstance(trainer.lightning_module, Training)
        self.train_progress_bar.set_description(trainer.lightning_module.where)

    def get_metrics(self, *arguments: Any) -> dict[str, int | str | float | dict[str, float]]:  # noqa: ANN401
        """Return the metrics to show after the bar, and the time left of all epochs."""
        metrics = {name: value for name, value in super().get_metrics(*arguments).items() if name != "v_num"}
        training = self.trainer.lightning_module
        assert isinstance(training, Training)
        seconds = None if training.time_left is None else training.time_left.seconds
        return metrics if seconds is None else {**metrics, "left": in_words(seconds).removeprefix("about ")}
