"""The proposal of importance sampling: the guide's distributions, moved and scaled for each image and class.

A guide is trained to be right on average over images, and pays for mass where p(z | x, y) has none, not for what it
misses: it is narrower than what it stands for, and may have a scale that is fixed (`GMVAE`). Weights p(x, y, z) / q
then have a heavy tail, and an infinite variance. So the proposal is fitted to the image at hand. Every latent variable
of the guide, with mean μ and standard deviation σ in each dimension, goes through

    z = μ + σ a + exp(b) (z' - μ),    z' ~ the guide,

a and b free numbers for each image, and each class where the guide's distribution depends on it. At a = b = 0 it is the
guide, where a and b start.
"""

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TransformedDistribution
from pyro.distributions.transforms import AffineTransform
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, constraints

from ssvae.models import SemiSupervisedModel

SAMPLES = 2
"""K, samples of each class in a step of the fit."""

_STEPS = 40
_LEARNING_RATE = 0.3
_SMALLEST_SHARE = 1e-4


class Proposal(Messenger):
    """Moves and scales what a guide draws; see above.

    Latent variables whose values are not all real numbers, or that are not reparametrised, stay as they are.

    Args:
        sample_dim: Where the plate of the samples stands: left of the classes.
        moves: a and b of each latent variable, by its name; those that are missing begin at 0.
    """

    def __init__(self, sample_dim: int, moves: dict[str, tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.sample_dim = sample_dim
        self.moves = moves if moves is not None else {}

    def detached(self) -> "Proposal":
        """Return the same proposal, of whose a and b no gradient is taken."""
        return Proposal(self.sample_dim, {name: (a.detach(), b.detach()) for name, (a, b) in self.moves.items()})

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        q = msg["fn"]
        if msg["is_observed"] or not _is_movable(q):
            return
        if msg["name"] not in self.moves:
            # Without the samples, which share them.
            shape = q.batch_shape[self.sample_dim + 1 :] + q.event_shape
            self.moves[msg["name"]] = q.mean.new_zeros(shape), q.mean.new_zeros(shape)
        a, b = self.moves[msg["name"]]
        scale = b.exp()
        move = AffineTransform(q.stddev * a + q.mean * (1 - scale), scale, event_dim=q.event_dim)
        msg["fn"] = TransformedDistribution(q, [move])


def _is_movable(q: object) -> bool:
    if not isinstance(q, Distribution) or not q.has_rsample:
        return False
    support = q.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


def weigh(
    model: SemiSupervisedModel,
    x: Tensor,
    y: Tensor | None,
    num_samples: int,
    proposal: Messenger,
    density: Messenger | None = None,
) -> Tensor:
    """Return log w = log p(x, y, z) - log q(z | x, y) for samples z of a proposal, (samples, …, batch).

    Args:
        model: The model.
        x: Images (batch, channels, height, width).
        y: Classes (batch,) or (classes, 1); None for a story without a class.
        num_samples: S.
        proposal: What the samples are drawn from, around the guide.
        density: The same distribution, whose density q is; `proposal` where it is not given.
    """
    samples = pyro.plate("samples", num_samples, dim=_sample_dim(y))
    # The parameters are not asked for: a model then shows none of them to Pyro's store.
    with pyro.settings.context(module_local_params=True):
        with samples, proposal:
            drawn = guide = poutine.trace(model.guide).get_trace(x, y)
        if density is not None:
            with samples, density:
                guide = poutine.trace(poutine.replay(model.guide, drawn)).get_trace(x, y)
        with samples:
            story = poutine.trace(poutine.replay(model.model, drawn)).get_trace(x, y)
        latents = [name for name, site in _sites(guide).items() if not site["is_observed"]]
        return _log_prob(story, list(_sites(story))) - _log_prob(guide, latents)


def fit_proposal(model: SemiSupervisedModel, x: Tensor, y: Tensor | None) -> Proposal:
    """Fit a and b to images: from the guide, by 40 steps of Adam on the bound of K = 2 samples of each class.

        L_y = log 1/K Σ_k w_ky,    w_ky = p(x, y, z_k) / q(z_k | x, y),    z_k ~ q

    Numbers that belong to a class maximise its L_y; numbers that all classes share maximise Σ_y p(y|x) L_y, p(y|x) by
    the same samples, which is the gradient of the bound of log p(x). The gradient goes through z_k alone (Tucker et al.
    2018, arXiv 1810.04152),

        ∇ L_y = Σ_k v_k² ∂log w_ky/∂z_k ∇z_k,    v_k = w_ky / Σ_j w_jy,

    so that it has no noise, and moves nothing, where the guide is the posterior already.

    The samples are gone when the fit is done. Those of an estimate are drawn afterwards: given a and b they are
    independent of each other, and the mean of their weights is an unbiased estimate of p(x, y).

    Args:
        model: The model, in evaluation mode.
        x: Images (batch, channels, height, width), on the model's device.
        y: (classes, 1), for every class of every image; None for a story without a class.
    """
    proposal = Proposal(_sample_dim(y))
    with torch.no_grad():
        weigh(model, x, y, 1, proposal)  # finds the latent variables and the shapes of their a and b
    numbers = [number.requires_grad_() for move in proposal.moves.values() for number in move]
    if not numbers:
        return proposal
    # A short memory, since gradients are large at first and small soon. eps is of a gradient's own size, so that one
    # that is next to nothing moves next to nothing: a guide that is exact stays exact.
    optimiser = torch.optim.Adam(numbers, lr=_LEARNING_RATE, betas=(0.8, 0.95), eps=0.3)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - 0.9 * step / _STEPS)
        with torch.enable_grad():
            log_w = weigh(model, x, y, SAMPLES, proposal, proposal.detached())  # (samples, classes, batch)
            v = log_w.detach().softmax(0)
            # p(y|x), (classes, batch), which no class that has numbers of its own is to lack altogether.
            log_joint = log_w.detach().logsumexp(0)
            share = log_joint.softmax(0).clamp(min=_SMALLEST_SHARE) if y is not None else v.new_ones(())
            gradients = torch.autograd.grad(-(share * v.square() * log_w).sum(), numbers)
        for number, gradient in zip(numbers, gradients, strict=True):
            of_classes = y is not None and number.shape[: share.dim()] == share.shape
            of_share = share.view(*share.shape, *[1] * (number.dim() - share.dim())) if of_classes else 1
            # A sample that the story has no density for says nothing.
            number.grad = (gradient / of_share).nan_to_num(0, 0, 0)
        optimiser.step()
    return proposal.detached()


def _sample_dim(y: Tensor | None) -> int:
    return -2 if y is None else -1 - y.dim()


def _sites(trace: Trace) -> dict[str, Any]:
    """Return the sample sites of a trace, without its plates."""
    nodes = poutine.util.prune_subsample_sites(trace).nodes
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def _log_prob(trace: Trace, names: list[str]) -> Tensor:
    trace.compute_log_prob(lambda name, site: name in names)
    return sum((trace.nodes[name]["log_prob"] for name in names), torch.zeros(()))
