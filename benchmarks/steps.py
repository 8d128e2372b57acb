"""One training step, as the benchmarks time it."""

from collections.abc import Callable
from functools import partial

import pyro
import torch

from inference.objective import Objective, Observations, Sizes
from models import SemiSupervisedModel


def optimiser_step(
    model: SemiSupervisedModel, seen: Observations, sizes: Sizes, objective: Objective | None = None
) -> Callable[[], None]:
    """Return a function that takes one step on J / N, always on the same images."""
    return partial(optimiser_steps(model, sizes, objective), seen)


def optimiser_steps(
    model: SemiSupervisedModel, sizes: Sizes, objective: Objective | None = None
) -> Callable[[Observations], None]:
    """Return a function that takes one step on J / N, as training does."""
    j = Objective() if objective is None else objective
    on_gpu = next(model.parameters()).is_cuda
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, fused=True, capturable=on_gpu)

    def step(seen: Observations) -> None:
        with pyro.validation_enabled(False):
            loss, _ = j(model, seen, sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def unlabelled(x: torch.Tensor) -> Observations:
    """Return a step's images without any label."""
    return Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)
