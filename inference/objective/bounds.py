"""The bounds that J is made of: -L(x, y), which is `PlainBound`, and -U(x), which is `SummedBound` or `TruncatedBound`.

Each is an ELBO of Pyro's that keeps its traces, so that the terms that are shown are the very numbers that the loss was
made of. `ssvae.inference.objective` weighs them, and says what they are.

With K importance samples the evidence of a class and its estimate are

    p(x, y) ≈ p̂(x, y) = 1/K Σ_k p(x, y, z_k) / q(z_k|x, y),    E[ p̂(x, y) ] = p(x, y)

of all latent variables z but the class; q(y|·) is no part of it. By Jensen's inequality E[ log p̂(x, y) ] is a bound of
log p(x, y). For an image without a label, and any distribution q̄ over the classes,

    log p(x) >= E[ log Σ_y p̂(x, y) ] >= E[ Σ_y q̄(y) ( log p̂(x, y) - log q̄(y) ) ]

first because E[ Σ_y p̂(x, y) ] = p(x), then because log is concave. The second step holds for each draw of the samples
by itself, so that q̄ may depend on them. In a guide such as q(a|x) q(y|a, x) q(z|a, x, y) every sample a_k has a
classifier of its own, and q̄ is their mean,

    q̄(y) = 1/K Σ_k q(y|a_k, x)

which is q(y|x) where no variable stands before the class, and the ELBO where K = 1. (To divide each sample's weight by
its own q(y|a_k, x), and weigh the class by that of another sample, bounds nothing.) More samples never loosen it:
Σ_y q̄ ( log p̂ - log q̄ ), a negated relative entropy, is concave in p̂ and q̄ together, and those of K samples are the
means of those of the K subsets of K - 1. Its limit is log p(x) - KL( E_q(a|x)[ q(y|a, x) ] || p(y|x) ).
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ssvae.models import SemiSupervisedModel


class Bound:
    """An ELBO of Pyro's, or the bound of several samples, that keeps the traces it was computed from.

    A subclass, not a wrapper around the method: an object that refers to itself holds on to its tensors until the
    garbage collector comes by, which on MNIST is a gigabyte too late.

    Args:
        num_samples: K, how many z it is made of; where there are several they stand in a plate of their own between
            the classes and the images.
    """

    model_trace: Trace
    guide_trace: Trace

    def __init__(self, num_samples: int = 1) -> None:
        # What is enumerated stands to the left of all plates.
        super().__init__(max_plate_nesting=1 if num_samples == 1 else 2)  # type: ignore[call-arg]
        self.num_samples = num_samples
        self.kl_weight: float | Tensor = 1.0

    def _get_trace(self, *arguments: Any) -> tuple[Trace, Trace]:  # noqa: ANN401
        self.model_trace, self.guide_trace = super()._get_trace(*arguments)  # type: ignore[misc]
        return self.model_trace, self.guide_trace

    def negative_elbo(
        self,
        model: SemiSupervisedModel,
        kl_weight: float | Tensor,
        *batch: Tensor,
        candidates: Tensor | None = None,
    ) -> Tensor:
        """Return the negated bound, summed over the batch (x, y) or (x,), its latent terms weighted.

        The weight β stands before the KL divergence as the samples estimate it,

            log 1/K Σ_k w_k - (β - 1) 1/K Σ_k log q(z_k|x, y) / p(z_k)

        and with one sample that is log p(x|y, z) + log p(y) - β log q(z|x, y) / p(z). Within the weights it would be an
        exponent, (p(z_k) / q(z_k|x, y))^β, whose mean grows with the divergence that it is to hold down.
        """
        story, guide = model.model, model.guide
        if self.num_samples > 1:
            samples = pyro.plate("samples", self.num_samples, dim=-2)
            story, guide = samples(story), samples(guide)
        if candidates is not None:
            guide = _RestrictToCandidates(candidates)(guide)
        self.kl_weight = kl_weight
        scaled: AbstractContextManager[object] = (
            _ScaleLatents(kl_weight) if self.num_samples == 1 and _weighs(kl_weight) else nullcontext()
        )
        # The optimiser has the parameters from model.parameters(): Pyro's store is not asked.
        with pyro.settings.context(module_local_params=True), scaled:
            return self.differentiable_loss(story, guide, *batch)  # type: ignore[attr-defined]

    def log_evidence(self, log_p: dict[str, Tensor], log_q: dict[str, Tensor]) -> Tensor:
        """Return log p̂(x, y) for each class and image, (…, batch), its latent terms weighted; see `negative_elbo`.

        Args:
            log_p: Log-densities of the model's sites, each (…, samples, batch), or (…, batch) if K = 1.
            log_q: Those of the guide's latent variables, without a class that is summed over.
        """
        none = torch.zeros_like(log_p["x"])
        log_w = reduce(add, log_p.values()) - sum(log_q.values(), none)
        if self.num_samples == 1:
            return log_w
        log_evidence = self.log_mean(log_w)
        if _weighs(self.kl_weight):
            kl = sum((log_q[name] - log_p[name] for name in log_q), none).mean(-2)
            log_evidence = log_evidence - (self.kl_weight - 1) * kl
        return log_evidence

    def log_mean(self, logs: Tensor) -> Tensor:
        """Return log 1/K Σ_k exp(logs_k) of (…, samples, batch); the logs themselves, (…, batch), if K = 1."""
        return logs if self.num_samples == 1 else logs.logsumexp(-2) - math.log(self.num_samples)

    def once(self, values: Tensor) -> Tensor:
        """Return (…, batch) of what is the same for every sample, (…, samples, batch)."""
        return values if self.num_samples == 1 else values.select(-2, 0)

    def check_one_sample(self) -> None:
        """Refuse several samples where a gradient would not go through them.

        Raises:
            ValueError: If there are several.
        """
        if self.num_samples > 1:
            raise ValueError(
                "importance_samples: expected 1 for latent variables that are not reparametrised; "
                f"got {self.num_samples}."
            )

    def kl_by_latent(self) -> dict[str, Tensor]:
        """Return E[ log q(z|x,y) - log p(z) ] of every latent variable z but the class, mean over the batch."""
        return self._means(self._kl_by_image())

    def kl_by_dimension(self) -> dict[str, Tensor]:
        """Return E[ log q(z_j|x,y) - log p(z_j) ] of every dimension j of every z, (dimensions,), mean over the batch.

        Raises:
            ValueError: If a density is not a product over the dimensions, as that of a mixture is not.
        """
        weights = self.class_weights()
        means = {}
        for name, site in _sample_sites(self.guide_trace.nodes):
            if name == "y":
                continue
            kl = _log_factors(name, site) - _log_factors(name, self.model_trace.nodes[name])  # (…, batch, dimensions)
            means[name] = (kl if weights is None else (weights.unsqueeze(-1) * kl).sum(0)).flatten(end_dim=-2).mean(0)
        return means

    def _kl_by_image(self) -> dict[str, Tensor]:
        p, q = (_log_densities(trace.nodes) for trace in (self.model_trace, self.guide_trace))
        return {name: q[name] - p[name] for name in q if name != "y"}

    def _means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return Σ_y q(y|x) · of values (classes, batch), or what there is without classes; the mean over the batch.

        And over the samples, if there are several: (classes, samples, batch).
        """
        if not values:
            return {}
        # All in one: each operation by itself would be a kernel, which a GPU is slower to be sent than to run.
        weights = self.class_weights()
        if weights is None:
            means = torch.stack(torch.broadcast_tensors(*values.values())).flatten(1).mean(-1)
        else:
            weights, *by_class = torch.broadcast_tensors(weights, *values.values())
            means = (weights * torch.stack(by_class)).sum(1).flatten(1).mean(-1)
        return dict(zip(values, means.unbind(), strict=True))

    def class_weights(self) -> Tensor | None:
        """Return q(y|x), (classes, batch), by which the classes are weighed; None where none is summed over."""
        q = _log_densities(self.guide_trace.nodes)
        return q["y"].exp() if "y" in q else None

    def terms(self) -> dict[str, Tensor]:
        """Return the batch's mean terms, each without the schedule's weight.

        With y enumerated every expectation is the sum over y, weighted by q(y|x):

            reconstruction   E[ -log p(x|y,z) ]
            kl               E[ log q(z|x,y) - log p(z) ], over all latent variables but the class
            kl/NAME          the same of each of them, where there are several
            class            E[ -log p(y) ] - H(q(y|x)), where the story has a class
            negative_elbo    reconstruction + kl + class: L or U
            entropy          H(q(y|x)), where y is summed over
        """
        with torch.no_grad():
            p, q = (_log_densities(trace.nodes) for trace in (self.model_trace, self.guide_trace))
            by_latent = self._kl_by_image()
            by_class = {"class": -p["y"]} if "y" in p else {}
            entropy = {"entropy": -q["y"]} if "y" in q else {}
            mean = self._means({"reconstruction": -p["x"], **by_latent, **by_class, **entropy})
            kl = sum((mean[name] for name in by_latent), torch.zeros_like(mean["reconstruction"]))
            terms = {"reconstruction": mean["reconstruction"], "kl": kl}
            terms |= {name: mean[name] for name in (*by_class, *entropy)}
            if entropy:
                terms["class"] = terms["class"] - terms["entropy"]
            terms["negative_elbo"] = terms["reconstruction"] + terms["kl"] + terms.get("class", 0.0)
            if len(by_latent) > 1:
                terms |= {f"kl/{name}": mean[name] for name in by_latent}
            return terms


class PlainBound(Bound, Trace_ELBO):
    """-L(x, y), or the ELBO of a story that does not sum over a class."""

    def __init__(self, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        # Nothing stands to the left of its plates, so that Pyro checks every dimension.
        self.max_plate_nesting = math.inf

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return L(x, y), summed over the batch.

        Pyro adds up as Python's own numbers what it differentiates as tensors, and a GPU has to wait for each. Where
        everything is reparametrised they are the same:

            L(x, y) = -( log p(x, y, z) - log q(z|x, y) )
        """
        model, guide, *batch = arguments
        (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        if not _reparametrised(traces[1]):
            self.check_one_sample()
            loss, surrogate = self._differentiable_loss_particle(*traces)  # type: ignore[no-untyped-call]
            return loss + surrogate - surrogate.detach()
        # Of one sample Pyro has the sum over the batch at hand; of several each image has a mean weight of its own.
        kind = "log_prob_sum" if self.num_samples == 1 else "log_prob"
        log_p, log_q = (_log_densities(trace.nodes, kind) for trace in traces)
        return -self.log_evidence(log_p, log_q).sum()


class SummedBound(Bound, TraceEnum_ELBO):
    """-U(x): y is summed over."""

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return U(x), summed over the batch.

        Pyro contracts the enumerated traces by a search for the best order, which costs as much as a twentieth of a
        step. Where y is all that is not reparametrised there is only one order, and it is the paper's:

            U(x) = -Σ_y q(y|x) ( log p(x, y, z) - log q(z|x, y) - log q(y|x) )
        """
        model, guide, *batch = arguments
        (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        log_p, log_q = (_log_densities(trace.nodes, "log_prob") for trace in traces)
        if not _reparametrised(traces[1]):
            self.check_one_sample()
            return -_compute_dice_elbo(*traces)
        log_q_y = self.log_mean(log_q.pop("y"))  # (classes, batch)
        return -(log_q_y.exp() * (self.log_evidence(log_p, log_q) - log_q_y)).sum()


class TruncatedBound(Bound, Trace_ELBO):
    """An unbiased estimate of -U(x) whose cost does not grow with the number of classes.

    With f(y) = log q(y|x) - log p̂(x, y), the k most probable classes C and their complement R,

        U(x) = Σ_{y ∈ C} q(y|x) f(y) + q(R|x) E[ f(y') ],    y' ~ q(y|x) / q(R|x) over R

    and y' is drawn once: Rao-Blackwellisation of one sample of y by the classes that matter (Liu et al. 2019, arXiv
    1810.04777). The gradient needs a score for what was drawn, with the mean b of f over C as its control variate:

        ∇U = ∇ Σ_{y ∈ C} q(y|x) f(y) + q(R|x) E[ ∇f(y') + (f(y') - b) ∇log q(y'|x) ] + b ∇q(R|x)

    Where q(R|x) is small, as soon as the classifier knows the image, so is the noise. With several importance samples
    q̄ stands in place of q(y|x), and y' is the same in all of them.

    Args:
        k: How many classes are summed over. They stand to the left of all plates, in a dimension of none.
        num_samples: How many z each class's f is made of.
    """

    def __init__(self, k: int, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        self.classes = _Truncate(k, several_samples=num_samples > 1)

    def class_weights(self) -> Tensor:
        """Return q(y|x) of the classes summed over, and q(R|x), (k + 1, batch).

        With several samples those of each, (k + 1, samples, batch). Since y' ~ q̄ the weight by which it stands for R
        in sample k is q̄(R) q(y'|a_k, x) / q̄(y'). The density that y' was drawn from has no gradient: then that of a
        weighted mean is unbiased, as the mean is, Σ_{y ∈ R} ∇( q(y|a_k, x) f(y) ) = E[ ∇( weight · f(y') ) ].
        """
        log_q_y = _log_densities(self.guide_trace.nodes)["y"]
        log_q_bar, q_rest = self.classes.log_q_y.detach(), self.classes.q_rest.detach()
        return torch.cat([log_q_y[:-1].exp(), q_rest * (log_q_y[-1:] - log_q_bar[-1:]).exp()])

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return the estimate of U(x), summed over the batch.

        Raises:
            ValueError: If a latent variable but the class is not reparametrised: only the class has a score here.
        """
        model, guide, *batch = arguments
        with self.classes:
            (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        if not _reparametrised(traces[1]):
            raise ValueError(
                f"summed_classes: expected None for latent variables that are not reparametrised; got {self.classes.k}."
            )
        log_p, log_q = (_log_densities(trace.nodes, "log_prob") for trace in traces)
        del log_q["y"]  # of each sample by itself: q̄(y) is known since the class was drawn
        log_q_y, q_rest = self.once(self.classes.log_q_y), self.once(self.classes.q_rest)[0]
        f = log_q_y - self.log_evidence(log_p, log_q)  # (k + 1, batch)
        q_known, known, drawn = log_q_y[:-1].exp(), f[:-1], f[-1]
        b = ((q_known * known).sum(0) / q_known.sum(0)).detach()
        # q(R|x), with the gradient q(R|x) ∇log q(y'|x)
        log_q_drawn = log_q_y[-1]
        score = q_rest.detach() * (log_q_drawn - log_q_drawn.detach()).exp()
        return ((q_known * known).sum(0) + score * (drawn - b) + q_rest * b).sum()


def restrict(logits: Tensor, candidates: Tensor) -> Tensor:
    """Return logits that leave no probability to other classes; finite, since 0 · ∞ would not be 0."""
    return logits.masked_fill(~candidates, -1e4)


class _ScaleLatents(Messenger):
    """Weigh log p(z) and log q(z), that is, the KL divergence of every latent variable but the class."""

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, message: Any) -> None:  # noqa: ANN401
        if message["name"] != "y" and not message["is_observed"]:
            message["scale"] = message["scale"] * self.weight


class _RestrictToCandidates(Messenger):
    """Turn the guide's q(y | x) into q(y | x, A)."""

    def __init__(self, candidates: Tensor) -> None:
        super().__init__()
        self.candidates = candidates

    def _pyro_sample(self, message: Any) -> None:  # noqa: ANN401
        if message["name"] == "y":
            # q(y | x, A)
            message["fn"] = dist.Categorical(logits=restrict(message["fn"].logits, self.candidates))


class _Truncate(Messenger):
    """Give the guide's y its k most probable classes, and one drawn from the others, for each image.

    Attributes:
        log_q_y: log q(y|x) of these classes, (k + 1, batch); with several samples log q̄(y), (k + 1, 1, batch).
        q_rest: q(R|x) of all but the first k, (1, batch), or (1, 1, batch).
    """

    log_q_y: Tensor
    q_rest: Tensor

    def __init__(self, k: int, several_samples: bool) -> None:
        super().__init__()
        self.k = k
        self.several_samples = several_samples

    def _pyro_sample(self, message: Any) -> None:  # noqa: ANN401
        if message["name"] != "y" or "enumerate" not in message["infer"]:
            return
        log_q: Tensor = message["fn"].logits  # (batch, classes), or (samples, batch, classes)
        if self.several_samples:
            log_q = log_q.logsumexp(0, keepdim=True) - math.log(len(log_q))  # (1, batch, classes)
        likely = log_q.topk(self.k, dim=-1).indices  # (batch, k)
        rest = log_q.scatter(-1, likely, -torch.inf)
        # y' ~ q(y | x) / q(R | x)
        drawn = dist.Categorical(logits=rest.detach()).sample()
        message["value"] = torch.cat([likely.movedim(-1, 0), drawn.unsqueeze(0)])  # (k + 1, batch)
        message["done"] = True
        message["infer"] = {}  # the dimension is ours, not one of Pyro's enumeration
        self.log_q_y = (
            log_q.expand(*drawn.shape, -1).gather(-1, torch.cat([likely, drawn.unsqueeze(-1)], -1)).movedim(-1, 0)
        )
        self.q_rest = rest.logsumexp(-1).unsqueeze(0).exp()


def _weighs(kl_weight: float | Tensor) -> bool:
    """Return whether a weight may differ from 1: a tensor may in the next step."""
    return isinstance(kl_weight, Tensor) or kl_weight != 1


def _sample_sites(nodes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the sample sites but the plate's own."""
    return [(name, site) for name, site in nodes.items() if site["type"] == "sample" and name != "images"]


def _reparametrised(guide: Trace) -> bool:
    """Return whether the gradient goes through the samples of every latent variable but the class."""
    return all(site["fn"].has_rsample for name, site in _sample_sites(guide.nodes) if name != "y")


def factorises(density: TorchDistribution) -> bool:
    """Return whether a density of vectors is a product over their dimensions, as far as its type says."""
    return isinstance(density, dist.Independent) and density.reinterpreted_batch_ndims == 1


def _log_factors(name: str, site: Any) -> Tensor:  # noqa: ANN401
    """Return the log-density of each dimension by itself, (…, batch, dimensions)."""
    density = site["fn"]
    if not factorises(density):
        raise ValueError(
            f"free_bits_per_dimension: expected densities that are products over the dimensions of {name}; "
            f"got {type(density).__name__}."
        )
    return density.base_dist.log_prob(site["value"])


def _log_densities(nodes: Mapping[str, Any], kind: str = "unscaled_log_prob") -> dict[str, Tensor]:
    """Return every sample site's log-density, by default without the schedule's weight; none where it is masked."""
    return {name: site[kind] for name, site in _sample_sites(nodes) if kind in site and site["mask"] is not False}
