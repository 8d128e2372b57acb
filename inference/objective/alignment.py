"""How often the classifier takes each class, against how often the story says it comes."""

import torch
from torch import Tensor, distributed, nn

from ssvae.models import SemiSupervisedModel

_RATE = 0.02
"""Of the running mean: at 250 images a step it remembers some 12,000, a tenth of them a class, give or take 0.3 %."""


class Alignment(nn.Module):
    """Targets of `Consistency` whose mean is pulled to p(y): Berthelot et al. 2019 (arXiv 1911.09785).

        q̃(y|x) ∝ q(y|x) p(y) / m(y),    m ← m + 0.02 ( mean_unlabelled q(y|x) - m ),    m = p(y) at first

    A classifier that has met an odd draw of labels takes some classes too often, and its own answers as targets tell it
    so again; the story knows better. m is part of a checkpoint, and of the whole batch where processes share it.

    Args:
        model: Whose p(y) is taken, uniform where its story has none.
    """

    mean: Tensor

    def __init__(self, model: SemiSupervisedModel) -> None:
        super().__init__()
        self.register_buffer("mean", _log_p(model).exp())

    def forward(self, log_q: Tensor, model: SemiSupervisedModel) -> Tensor:
        """Take note of log q(y | x), (batch, classes), of unlabelled images, and return log q̃(y | x) + const."""
        taken = log_q.exp().mean(0).to(self.mean.dtype)
        if distributed.is_available() and distributed.is_initialized():
            # Each process has an equal share of the batch.
            distributed.all_reduce(taken)
            taken /= distributed.get_world_size()
        self.mean.lerp_(taken, _RATE)
        # A class that is never taken would end with a frequency of 0.
        return log_q + _log_p(model) - self.mean.clamp_min(torch.finfo(self.mean.dtype).tiny).log()


@torch.no_grad()
def _log_p(model: SemiSupervisedModel) -> Tensor:
    """Return log p(y), (classes,)."""
    if not hasattr(model, "class_prior"):
        return next(model.parameters()).new_zeros(model.num_classes).log_softmax(-1)
    return model.class_prior().logits
