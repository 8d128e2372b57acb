"""Lightning's callbacks: checkpoints, TensorBoard's events and the progress bar."""

from pathlib import Path
from typing import Any

from ssvae.inference._lightning import Checkpoint, TensorBoardLogger, TQDMProgressBar, lightning
from ssvae.inference.training.module import Training


class Saving(Checkpoint):
    """Keeps checkpoints/last.ckpt, and checkpoints/best.ckpt of the highest validation accuracy.

    Lightning's own callback remembers the best accuracy together with the folder's path, and forgets it when the
    folder has been moved; the history does not.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save after every noted epoch."""
        assert isinstance(pl_module, Training)
        if not pl_module.is_log_epoch:
            return
        # The best one first: a run that is killed between the two does this epoch, and both, once more.
        if "validation_accuracy" in pl_module.history[-1] and pl_module.last_is_best:
            trainer.save_checkpoint(self.checkpoints / "best.ckpt")
        trainer.save_checkpoint(self.checkpoints / "last.ckpt")


class Events(TensorBoardLogger):
    """Lightning's, without a file of hyperparameters: it is empty, as config.yaml has them, and not written whole."""

    def save(self) -> None:
        """Write down the events that were noted."""
        self.experiment.flush()


class EpochBar(TQDMProgressBar):
    """Lightning's, with epochs counted as in the lines, and without the logger's version, always the same."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *arguments: Any) -> None:  # noqa: ANN401
        """Say which epoch it is, and of how many."""
        super().on_train_epoch_start(trainer, *arguments)
        assert isinstance(trainer.lightning_module, Training)
        self.train_progress_bar.set_description(trainer.lightning_module.where)

    def get_metrics(self, *arguments: Any) -> dict[str, int | str | float | dict[str, float]]:  # noqa: ANN401
        """Return what stands behind the bar."""
        return {name: value for name, value in super().get_metrics(*arguments).items() if name != "v_num"}
