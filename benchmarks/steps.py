"""One training step, as the benchmarks time it."""

from collections.abc import Callable, Iterable
from functools import partial

import pyro
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import SemiSupervisedModel


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
    optimizer = adam(model.parameters())

    def step(seen: Observations) -> None:
        with pyro.validation_enabled(False):
            loss, _ = j(model, seen, sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def compiled_step(model: SemiSupervisedModel, seen: Observations, sizes: Sizes) -> Callable[[], None]:
    """Return the same function whose loss and gradient are compiled, as with `trainer.step` "compiled"."""
    objective, parameters = Objective(), list(model.parameters())
    optimizer = adam(parameters)

    def gradient(labelled: torch.Tensor, y: torch.Tensor, unlabelled: torch.Tensor) -> list[torch.Tensor]:
        with pyro.validation_enabled(False):
            loss, terms = objective(model, Observations(labelled, y, unlabelled), sizes)
        return [loss.detach(), *terms.values(), *torch.autograd.grad(loss, parameters)]

    images = seen.labelled, seen.y, seen.unlabelled
    compiled = torch.compile(make_fx(gradient)(*images), fullgraph=True)

    def step() -> None:
        with torch.no_grad():
            found = compiled(*images)
        for parameter, value in zip(parameters, found[-len(parameters) :], strict=True):
            parameter.grad = value
        optimizer.step()

    return step


def adam(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Adam:
    """Return the optimiser of every step that is timed."""
    parameters = list(parameters)
    return torch.optim.Adam(parameters, lr=3e-4, fused=True, capturable=parameters[0].is_cuda)


def unlabelled(x: torch.Tensor) -> Observations:
    """Return a step's images without any label."""
    return Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)
