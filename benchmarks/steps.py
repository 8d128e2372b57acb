"""Training steps for the benchmarks."""

from collections.abc import Callable, Iterable
from functools import partial

import pyro
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import SemiSupervisedModel


def optimiser_step(
    model: SemiSupervisedModel, observations: Observations, sizes: Sizes, objective: Objective | None = None
) -> Callable[[], None]:
    """Return a function that takes a training step on J / N with the same images at each call."""
    return partial(optimiser_steps(model, sizes, objective), observations)


def optimiser_steps(
    model: SemiSupervisedModel, sizes: Sizes, objective: Objective | None = None
) -> Callable[[Observations], None]:
    """Return a function that takes a training step on J / N."""
    j = Objective() if objective is None else objective
    optimizer = adam(model.parameters())

    def step(observations: Observations) -> None:
        with pyro.validation_enabled(False):
            loss, _ = j(model, observations, sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def compiled_step(model: SemiSupervisedModel, observations: Observations, sizes: Sizes) -> Callable[[], None]:
    """Return the same function with compiled loss and gradient, as with ``trainer.step`` "compiled"."""
    objective, parameters = Objective(), list(model.parameters())
    optimizer = adam(parameters)

    def gradient(labelled: torch.Tensor, y: torch.Tensor, unlabelled: torch.Tensor) -> list[torch.Tensor]:
        with pyro.validation_enabled(False):
            loss, terms = objective(model, Observations(labelled, y, unlabelled), sizes)
        return [loss.detach(), *terms.values(), *torch.autograd.grad(loss, parameters)]

    images = observations.labelled, observations.y, observations.unlabelled
    compiled = torch.compile(make_fx(gradient)(*images), fullgraph=True)

    def step() -> None:
        with torch.no_grad():
            results = compiled(*images)
        for parameter, value in zip(parameters, results[-len(parameters) :], strict=True):
            parameter.grad = value
        optimizer.step()

    return step


def adam(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Adam:
    """Return the optimiser of all timed steps."""
    parameters = list(parameters)
    return torch.optim.Adam(parameters, lr=3e-4, fused=True, capturable=parameters[0].is_cuda)


def unlabelled(x: torch.Tensor) -> Observations:
    """Return the observations of a step with unlabelled images only."""
    return Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)
