"""Distribution alignment: match the mean prediction on unlabelled images to the class prior p(y)."""

import torch
from torch import Tensor, distributed, nn

from ssvae.models import SemiSupervisedModel

_RATE = 0.02
"""Rate of the running mean. With 250 images a step it averages over some 12,000 images, so that a class with frequency
10 % is estimated with a standard error of 0.3 %."""


class Alignment(nn.Module):
    """Distribution alignment of the targets of consistency regularisation.

    The targets are rescaled so that their mean over unlabelled images approaches p(y)::

        q̃(y|x) ∝ q(y|x) p(y) / m(y),    m ← m + 0.02 ( mean_unlabelled q(y|x) - m ),    m = p(y) at first

    A classifier that was trained on an unrepresentative draw of labels predicts some classes too often. Targets made
    from its own predictions would reinforce that error. The running mean m is saved in checkpoints. Where several
    processes train together, it is the mean over the batches of all of them.

    Source: Berthelot et al. 2019, "ReMixMatch" (arXiv 1911.09785).

    Args:
        model: The model whose p(y) is used; uniform if the model has no class prior.
    """

    mean: Tensor

    def __init__(self, model: SemiSupervisedModel) -> None:
        super().__init__()
        self.register_buffer("mean", _log_p(model).exp())

    def forward(self, log_q: Tensor, model: SemiSupervisedModel) -> Tensor:
        """Update the running mean and return the aligned targets.

        Args:
            log_q: log q(y | x) of unlabelled images, (batch, classes).
            model: The model whose p(y) is used.

        Returns:
            log q̃(y | x) up to a constant, (batch, classes).
        """
        batch_mean = log_q.exp().mean(0).to(self.mean.dtype)
        if distributed.is_available() and distributed.is_initialized():
            # Each process has an equal share of the batch.
            distributed.all_reduce(batch_mean)
            batch_mean /= distributed.get_world_size()
        self.mean.lerp_(batch_mean, _RATE)
        # Clamped, since the frequency of a class that is never predicted goes to 0.
        return log_q + _log_p(model) - self.mean.clamp_min(torch.finfo(self.mean.dtype).tiny).log()


@torch.no_grad()
def _log_p(model: SemiSupervisedModel) -> Tensor:
    """Return log p(y), (classes,)."""
    if not hasattr(model, "class_prior"):
        return next(model.parameters()).new_zeros(model.num_classes).log_softmax(-1)
    return model.class_prior().logits
