"""The mean teacher of consistency regularisation: a model with a running mean of the trained weights."""

import copy

import torch

from ssvae.models import SemiSupervisedModel

_FIRST_STEPS = 10
"""Early in training the decay is smaller, step / (step + 9), so that the initial weights are forgotten."""


def student_of(teacher: SemiSupervisedModel) -> SemiSupervisedModel:
    """Return a copy of the teacher, whose weights are trained by gradients."""
    return copy.deepcopy(teacher)


@torch.no_grad()
def average(teacher: SemiSupervisedModel, student: SemiSupervisedModel, decay: float, step: int) -> None:
    """Update the teacher's weights θ̄ with the student's weights θ after a step.

    The update is a running mean::

        θ̄ ← d θ̄ + (1 - d) θ,    d = min(decay, step / (step + 9))

    Floating-point buffers, such as the statistics of batch norm, are averaged too. Other buffers are copied.

    Source: Tarvainen and Valpola 2017 (arXiv 1703.01780).

    Args:
        teacher: The model with averaged weights, changed in place.
        student: The model with trained weights.
        decay: The decay d of later steps, in (0, 1). The mean is over about 1 / (1 - decay) steps.
        step: The number of steps so far, from 1.
    """
    decay = min(decay, step / (step + _FIRST_STEPS - 1))
    theirs, ours = student.state_dict(), teacher.state_dict()
    for name, value in ours.items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 1 - decay)
        else:
            value.copy_(theirs[name])
