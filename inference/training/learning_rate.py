"""The learning rate's cycle, once over training or several times."""

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


class RepeatedCycle(OneCycleLR):
    """One cycle of the learning rate (Smith and Topin 2017, arXiv 1708.07120), as often as it is asked for.

    Args:
        optimizer: Whose learning rate it is.
        highest: The highest learning rate of each cycle.
        total_steps: The steps of all cycles together.
        cycles: How many; the last one is shorter where they cannot be equal.
    """

    def __init__(self, optimizer: Optimizer, highest: float, total_steps: int, cycles: int) -> None:
        self.last_step = total_steps - 1
        super().__init__(optimizer, highest, total_steps=-(-total_steps // cycles))

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of the step within its cycle; after the last step, that of the last."""
        step = self.last_epoch
        self.last_epoch = min(step, self.last_step) % self.total_steps
        try:
            return super().get_lr()
        finally:
            self.last_epoch = step
