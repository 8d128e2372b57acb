"""The proposal distribution of importance sampling: the guide, shifted and scaled for each image and class.

Training minimises a KL divergence of the guide from the posterior p(z | x, y), on average over images. It penalises
mass where the posterior has none, but not the reverse, so the guide tends to be narrower than the posterior. Its scale
may even be fixed, as in `ssvae.models.gmvae.GMVAE`. Importance weights p(x, y, z) / q then have a heavy tail and may
have infinite variance. Therefore the proposal is fitted to each image. A latent variable of the guide with mean μ and
standard deviation σ in each dimension becomes::

    z = μ + σ a + exp(b) (z' - μ),    z' ~ guide

The numbers a and b are fitted for each image, and for each class if the guide's distribution depends on the class. They
start at a = b = 0, which is the guide itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.distributions import TransformedDistribution
from pyro.distributions.transforms import AffineTransform
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, constraints

from ssvae.models import SemiSupervisedModel
from ssvae.models.importance import weighted_samples

SAMPLES = 2
"""K, the number of samples for each class in a step of the fit."""

_STEPS = 40

COST = 2 * SAMPLES * _STEPS
"""The number of samples for each class that take about as long as the fit, whose steps have a backward pass too."""

_LEARNING_RATE = 0.3
_SMALLEST_WEIGHT = 1e-4


class Proposal(Messenger):
    """A handler that shifts and scales the guide's latent variables; see the module's documentation.

    Latent variables with a constrained support, and those that are not reparametrised, are left unchanged.

    Args:
        sample_dim: The dimension of the plate of samples, to the left of the classes.
        moves: a and b of each latent variable, by name; 0 for variables that are missing.
    """

    def __init__(self, sample_dim: int, moves: dict[str, tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.sample_dim = sample_dim
        self.moves = moves if moves is not None else {}

    def detached(self) -> "Proposal":
        """Return the same proposal with a and b detached."""
        return Proposal(self.sample_dim, {name: (a.detach(), b.detach()) for name, (a, b) in self.moves.items()})

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        q = msg["fn"]
        if msg["is_observed"] or not _is_movable(q):
            return
        if msg["name"] not in self.moves:
            # Without the dimension of the samples: all samples share a and b.
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
    """Return the log-weights log p(x, y, z) - log q(z | x, y) of samples z from a proposal.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1].
        y: Classes (batch,) or (classes, 1); None for a model without a class.
        num_samples: S, the number of samples.
        proposal: Handler that changes the guide into the distribution to sample from.
        density: Handler that changes the guide into q, if its gradient differs from that of ``proposal``; None for
            ``proposal`` itself.

    Returns:
        (samples, …, batch), in nats.
    """
    return weighted_samples(model.model, model.guide, x, y, num_samples, proposal, density).log_weights


def fit_proposal(model: SemiSupervisedModel, x: Tensor, y: Tensor | None) -> Proposal:
    """Fit a and b to images by 40 steps of Adam on the importance-weighted bound with K = 2 samples for each class.

    The bound of class y is::

        L_y = log 1/K Σ_k w_ky,    w_ky = p(x, y, z_k) / q(z_k | x, y),    z_k ~ q

    Numbers that belong to one class maximise its L_y. Numbers that all classes share maximise Σ_y p(y|x) L_y, with
    p(y|x) from the same samples; this is the gradient of the bound of log p(x). The gradient flows through z_k only
    (Tucker et al. 2018, arXiv 1810.04152)::

        ∇ L_y = Σ_k v_k² ∂log w_ky/∂z_k ∇z_k,    v_k = w_ky / Σ_j w_jy

    Its variance vanishes where the guide is the exact posterior, so that an exact guide is left unchanged.

    The estimate uses new samples, drawn after the fit. Given a and b they are independent, so the mean of their weights
    is an unbiased estimate of p(x, y).

    Args:
        model: The model, in evaluation mode.
        x: Images (batch, channels, height, width), pixels in [0, 1], on the model's device.
        y: All classes, integers (classes, 1); None for a model without a class.

    Returns:
        The fitted proposal, detached.
    """
    proposal = Proposal(_sample_dim(y))
    with torch.no_grad():
        weigh(model, x, y, 1, proposal)  # creates a and b of each latent variable
    numbers = [number.requires_grad_() for move in proposal.moves.values() for number in move]
    if not numbers:
        return proposal
    # Short running means, since gradients decrease quickly. eps is as large as a typical gradient, so that a gradient
    # near zero gives a step near zero: an exact guide stays exact.
    optimiser = torch.optim.Adam(numbers, lr=_LEARNING_RATE, betas=(0.8, 0.95), eps=0.3)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - 0.9 * step / _STEPS)
        with torch.enable_grad(), _constant(model):
            log_w = weigh(model, x, y, SAMPLES, proposal, proposal.detached())  # (samples, classes, batch)
            v = log_w.detach().softmax(0)
            # p(y|x), (classes, batch), clamped since the gradients of a class's own numbers are divided by it.
            log_joint = log_w.detach().logsumexp(0)
            weight = log_joint.softmax(0).clamp(min=_SMALLEST_WEIGHT) if y is not None else v.new_ones(())
            gradients = torch.autograd.grad(-(weight * v.square() * log_w).sum(), numbers)
        for number, gradient in zip(numbers, gradients, strict=True):
            is_per_class = y is not None and number.shape[: weight.dim()] == weight.shape
            divisor = weight.view(*weight.shape, *[1] * (number.dim() - weight.dim())) if is_per_class else 1
            # Samples of zero density under the model are left out.
            number.grad = (gradient / divisor).nan_to_num(0, 0, 0)
        optimiser.step()
    return proposal.detached()


@contextmanager
def _constant(model: SemiSupervisedModel) -> Iterator[None]:
    """Compute no gradients of the model's parameters, which are a quarter of the time, inside a ``with`` block."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_()


def _sample_dim(y: Tensor | None) -> int:
    return -2 if y is None else -1 - y.dim()
