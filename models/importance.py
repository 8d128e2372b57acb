"""Importance sampling of the latent variables by the guide, and what follows from it: E[x_missing | x_seen]."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ssvae.models.likelihoods import Likelihood
from ssvae.models.trace_sites import latent_sites, sample_sites

Program = Callable[..., Any]
"""A model's ``model`` or ``guide``."""


class WeightedSamples(NamedTuple):
    """Samples of the latent variables, and their importance weights.

    Attributes:
        log_weights: log p(x, y, z) - log q(z | x, y), (samples, batch), or (samples, classes, batch), in nats.
        p_x: p(x | y, z) of each sample, of the same batch_shape.
    """

    log_weights: Tensor
    p_x: TorchDistribution


class Imputation(NamedTuple):
    """Missing entries of x, filled in.

    Attributes:
        mean: x with E[x_missing | x_seen] in place of missing entries, or the most probable category,
            ``(batch, *event_shape)``.
        draws: x with draws from p(x_missing | x_seen) in their place, ``(draws, batch, *event_shape)``.
        effective_samples: The effective sample size 1 / Σ_s v_s² of the normalised weights v_s = Σ_y w_sy, (batch,).
        draw_means: x with E[x_missing | y, z] in their place, or the most probable category, for the y and z of each
            draw: a draw without the noise of p(x | y, z), ``(draws, batch, *event_shape)``.
        draw_classes: The class y of each draw, (draws, batch); None if the model has no class.
    """

    mean: Tensor
    draws: Tensor
    effective_samples: Tensor
    draw_means: Tensor
    draw_classes: Tensor | None


def weighted_samples(
    model: Program,
    guide: Program,
    x: Tensor,
    y: Tensor | None,
    num_samples: int,
    proposal: Messenger | None = None,
    density: Messenger | None = None,
) -> WeightedSamples:
    """Draw the latent variables from the guide, and return their importance weights.

    The samples are in a plate of their own, to the left of the classes.

    Args:
        model: The generative story.
        guide: The guide.
        x: Images or vectors, ``(batch, *event_shape)``.
        y: Classes (batch,) or (classes, 1); None for a model without a class.
        num_samples: S, the number of samples.
        proposal: A handler that changes the guide into the distribution to sample from; None for the guide itself.
        density: A handler that changes the guide into q, if its gradient differs from that of ``proposal``; None for
            ``proposal``.

    Returns:
        The weights, and p(x | y, z) of each sample.
    """
    proposal = proposal if proposal is not None else Messenger()
    samples = pyro.plate("samples", num_samples, dim=-2 if y is None else -1 - y.dim())
    # Keeps the model's parameters out of Pyro's param store.
    with pyro.settings.context(module_local_params=True):
        with samples, proposal:
            drawn = scored = poutine.trace(guide).get_trace(x, y)
        if density is not None:
            with samples, density:
                scored = poutine.trace(poutine.replay(guide, drawn)).get_trace(x, y)
        with samples:
            joint = poutine.trace(poutine.replay(model, drawn)).get_trace(x, y)
        log_weights = _log_prob(joint, list(sample_sites(joint))) - _log_prob(scored, list(latent_sites(scored)))
    p_x: Any = joint.nodes["x"]["fn"]
    return WeightedSamples(log_weights, p_x)


def impute(samples: WeightedSamples, likelihood: Likelihood, x: Tensor, num_draws: int = 0) -> Imputation:
    """Fill in missing entries by self-normalised importance sampling.

    With samples z_s ~ q(z | x_seen, y) of every class y, and the sum over classes exact::

        w_sy = p(x_seen, y, z_s) / q(z_s | x_seen, y)
        E[x_missing | x_seen] ≈ Σ_sy w_sy E[x_missing | y, z_s] / Σ_sy w_sy

    A draw from p(x_missing | x_seen) is one of p(x | y, z_s), for y and z_s drawn with probabilities proportional to
    w_sy (sampling-importance-resampling; Rubin 1987, "The calculation of posterior distributions by data
    augmentation"). Mean and draws are exact for an infinite number of samples.

    Mattei and Frellsen 2019, "MIWAE", arXiv 1812.02633.

    Args:
        samples: The weighted samples, of every class if the model has one.
        likelihood: The likelihood of the model.
        x: Images or vectors, NaN where an entry was not seen, ``(batch, *event_shape)``.
        num_draws: The number of draws.

    Returns:
        Mean, draws and effective sample sizes; what was seen is unchanged.
    """
    log_weights = samples.log_weights  # (samples, batch), or (samples, classes, batch)
    weights = log_weights.flatten(end_dim=-2).softmax(0).view(log_weights.shape)
    v = weights.flatten(1, -2).sum(1) if weights.dim() > 2 else weights  # (samples, batch)

    def filled(values: list[Tensor]) -> Tensor:
        return torch.stack([torch.where(x.isnan(), each, x) for each in values]) if values else x.new_empty(0, *x.shape)

    chosen = _resample(weights, num_draws)
    (mean,) = filled([likelihood.mixture_mean(samples.p_x, weights)])
    return Imputation(
        mean,
        draws=filled(_draws(samples.p_x.expand(weights.shape), chosen)),
        effective_samples=1 / v.square().sum(0),
        draw_means=filled([likelihood.mixture_mean(samples.p_x, each) for each in _one_hot(chosen, weights)]),
        draw_classes=chosen % weights.shape[1] if weights.dim() > 2 else None,
    )


def _resample(weights: Tensor, number: int) -> Tensor:
    """Return samples that are drawn by their weights, as positions among samples · classes, (number, batch)."""
    by_image = weights.flatten(end_dim=-2).T
    if not number:
        return torch.empty(0, len(by_image), dtype=torch.int64, device=weights.device)
    return torch.multinomial(by_image, number, replacement=True).T


def _draws(p_x: TorchDistribution, chosen: Tensor) -> list[Tensor]:
    """Return a draw from p(x | y, z) for each row of samples that were chosen, ``(batch, *event_shape)`` each."""
    event_dim = len(p_x.event_shape)
    draws = []
    for index in chosen:
        # Anew for each draw: two draws of the same z differ.
        x = p_x.sample().flatten(end_dim=-event_dim - 2)  # (samples · classes, batch, *event_shape)
        draws.append(x[index, torch.arange(x.shape[1], device=x.device)])
    return draws


def _one_hot(chosen: Tensor, weights: Tensor) -> list[Tensor]:
    """Return weights of 1 for the chosen sample and 0 for all others, of the shape of the weights, for each row."""
    numbers = torch.arange(weights[..., 0].numel(), device=chosen.device).unsqueeze(-1)  # (samples · classes, 1)
    return [(numbers == index).to(weights).view(weights.shape) for index in chosen]


def _log_prob(trace: Trace, names: list[str]) -> Tensor:
    trace.compute_log_prob(lambda name, site: name in names)
    return sum((trace.nodes[name]["log_prob"] for name in names), torch.zeros(()))
