"""The teacher of posterior consistency: a running mean of the weights that are learned."""

import copy

import torch

from ssvae.models import SemiSupervisedModel

_FIRST_STEPS = 10
"""At first the mean is over a tenth of the steps so far, or it would remember the initial weights."""


def student_of(teacher: SemiSupervisedModel) -> SemiSupervisedModel:
    """Return a model that begins where the teacher stands, and whose weights are learned."""
    return copy.deepcopy(teacher)


@torch.no_grad()
def average(teacher: SemiSupervisedModel, student: SemiSupervisedModel, decay: float, step: int) -> None:
    """Move the teacher's weights θ̄ towards those that the student has after a step: a mean teacher.

        θ̄ ← d θ̄ + (1 - d) θ,    d = min(decay, step / (step + 9))

    Tarvainen and Valpola 2017 (arXiv 1703.01780). Buffers too: what batch norm has seen is averaged, stages and counts
    are taken over.

    Args:
        teacher: The model that is averaged into.
        student: The same model with the learned weights.
        decay: d of later steps, in (0, 1): the mean remembers about 1 / (1 - decay) of them.
        step: How many steps were taken, from 1.
    """
    decay = min(decay, step / (step + _FIRST_STEPS - 1))
    theirs, ours = student.state_dict(), teacher.state_dict()
    for name, value in ours.items():
        if value.is_floating_point():
            value.lerp_(theirs[name], 1 - decay)
        else:
            value.copy_(theirs[name])
