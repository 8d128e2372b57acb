"""The cyclic schedule of the learning rate."""

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


class RepeatedCycle(OneCycleLR):
    """The one-cycle schedule of Smith and Topin 2017 (arXiv 1708.07120), repeated several times.

    Args:
        optimizer: The optimiser.
        highest: The highest learning rate of each cycle.
        total_steps: The number of steps of all cycles together.
        cycles: The number of cycles. The last one is shorter if total_steps is not a multiple of it.
    """

    def __init__(self, optimizer: Optimizer, highest: float, total_steps: int, cycles: int) -> None:
        self.last_step = total_steps - 1
        super().__init__(optimizer, highest, total_steps=-(-total_steps // cycles))

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of the current step; after the last step, that of the last step."""
        step = self.last_epoch
        self.last_epoch = min(step, self.last_step) % self.total_steps
        try:
            return super().get_lr()
        finally:
            self.last_epoch = step
