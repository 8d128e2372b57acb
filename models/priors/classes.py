"""p(y): uniform, given or learned."""

import reprlib

import pyro.distributions as dist
import torch
from torch import Tensor, nn


class ClassPrior(nn.Module):
    """The prior over classes, p(y) = Cat(π): uniform, given or learned.

    Example:
        >>> from ssvae.models.priors import ClassPrior
        >>> ClassPrior(3, probabilities=[0.5, 0.25, 0.25])().probs
        tensor([0.5000, 0.2500, 0.2500])

    Args:
        num_classes: The number of classes.
        probabilities: π, positive numbers that sum to one. Default: uniform.
        learned: Whether π is learned with the other parameters, starting from ``probabilities``.

    Raises:
        ValueError: If ``num_classes`` is not positive, or ``probabilities`` are not as stated.
    """

    logits: Tensor

    def __init__(self, num_classes: int, probabilities: list[float] | None = None, learned: bool = False) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected a positive integer; got {num_classes}.")
        self.num_classes = num_classes
        self.probabilities = probabilities
        self.learned = learned
        pi = torch.full((num_classes,), 1 / num_classes) if probabilities is None else torch.tensor(probabilities)
        if pi.shape != (num_classes,) or not (pi > 0).all() or abs(pi.sum().item() - 1) > 1e-4:
            raise ValueError(
                f"probabilities: expected {num_classes} positive numbers that sum to 1; got {probabilities}."
            )
        if learned:
            self.logits = nn.Parameter(pi.log())
        else:
            self.register_buffer("logits", pi.log())

    def __repr__(self) -> str:
        start = "uniform" if self.probabilities is None else reprlib.repr(self.probabilities)
        return f"{type(self).__name__}({self.num_classes} classes, {'learned from ' * self.learned}{start})"

    def forward(self) -> dist.Categorical:
        """Return Cat(π), batch_shape ()."""
        return dist.Categorical(logits=self.logits)
