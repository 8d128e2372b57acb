"""The bounds in J: -L(x, y) is `PlainBound`; -U(x) is `SummedBound` or `TruncatedBound`.

Each extends an ELBO of Pyro and keeps its traces, so that the logged terms are computed from the same numbers as the
loss. `ssvae.inference.objective.objective` defines L, U and J.

With K importance samples, the evidence of a class is estimated by::

    p(x, y) ≈ p̂(x, y) = 1/K Σ_k p(x, y, z_k) / q(z_k|x, y),    E[ p̂(x, y) ] = p(x, y)

where z stands for all latent variables but the class, and q(y|·) is not part of the weight. By Jensen's inequality
E[ log p̂(x, y) ] is a lower bound of log p(x, y). For an image without a label, and any distribution q̄ over classes::

    log p(x) >= E[ log Σ_y p̂(x, y) ] >= E[ Σ_y q̄(y) ( log p̂(x, y) - log q̄(y) ) ]

The first inequality holds since E[ Σ_y p̂(x, y) ] = p(x), the second since log is concave. The second holds for each
draw of the samples, so q̄ may depend on them. In a guide such as q(a|x) q(y|a, x) q(z|a, x, y) each sample a_k has its
own q(y|a_k, x). There q̄ is their mean::

    q̄(y) = 1/K Σ_k q(y|a_k, x)

If no latent variable precedes the class, q̄(y) = q(y|x). For K = 1 the bound is the ELBO. (Dividing the weight of each
sample by its own q(y|a_k, x), and weighting the class by that of another sample, would not give a bound.)

More samples never loosen the bound. The function Σ_y q̄ ( log p̂ - log q̄ ), a negated relative entropy, is jointly
concave in p̂ and q̄, and p̂ and q̄ of K samples are the means of those of its K subsets of size K - 1. The limit is
log p(x) minus the KL divergence of E_q(a|x)[ q(y|a, x) ] from p(y|x).
"""

import math
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
from ssvae.models.trace_sites import sample_sites


class Bound:
    """An ELBO of Pyro, or its importance-weighted version, that keeps the traces it was computed from.

    Args:
        num_samples: K, the number of samples of z. Several samples are in a plate of their own, whose dimension is
            between those of the classes and of the images.
    """

    # A mixin rather than a wrapper around _get_trace. A wrapper would make a reference cycle, and the traces' tensors
    # would stay in memory until the garbage collector runs: on MNIST a gigabyte.

    model_trace: Trace
    guide_trace: Trace

    def __init__(self, num_samples: int = 1) -> None:
        # The enumerated class is in a dimension to the left of all plates.
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
        """Return the negated bound, summed over the batch, with the KL divergence weighted by β.

        The weight multiplies the Monte Carlo estimate of the KL divergence::

            log 1/K Σ_k w_k - (β - 1) 1/K Σ_k log q(z_k|x, y) / p(z_k)

        For one sample this is log p(x|y, z) + log p(y) - β log q(z|x, y) / p(z). Inside the weights w_k, β would be an
        exponent, (p(z_k) / q(z_k|x, y))^β, whose mean increases with the divergence it should penalise.

        Args:
            model: The model and its guide.
            kl_weight: β, a number or a scalar tensor.
            *batch: x, or x and y: images (batch, channels, height, width) and classes (batch,).
            candidates: Candidate classes of partially labelled images, booleans (batch, classes).

        Returns:
            A scalar in nats, with gradient.
        """
        program, guide = model.model, model.guide
        if self.num_samples > 1:
            samples = pyro.plate("samples", self.num_samples, dim=-2)
            program, guide = samples(program), samples(guide)
        if candidates is not None:
            guide = _RestrictToCandidates(candidates)(guide)
        self.kl_weight = kl_weight
        scaled: AbstractContextManager[object] = (
            _ScaleLatents(kl_weight) if self.num_samples == 1 and _weighs(kl_weight) else nullcontext()
        )
        # The optimiser takes the parameters from model.parameters(), so Pyro's param store is not needed.
        with pyro.settings.context(module_local_params=True), scaled:
            return self.differentiable_loss(program, guide, *batch)  # type: ignore[attr-defined]

    def log_evidence(self, log_p: dict[str, Tensor], log_q: dict[str, Tensor]) -> Tensor:
        """Return log p̂(x, y) for each class and image, with the KL weight of `negative_elbo`.

        Args:
            log_p: Log-densities of the model's sites by name, each (…, samples, batch), or (…, batch) if K = 1.
            log_q: Log-densities of the guide's latent variables, without a class that is summed over.

        Returns:
            (…, batch), in nats.
        """
        zero = torch.zeros_like(log_p["x"])
        log_w = reduce(add, log_p.values()) - sum(log_q.values(), zero)
        if self.num_samples == 1:
            return log_w
        log_evidence = self.log_mean(log_w)
        if _weighs(self.kl_weight):
            kl = sum((log_q[name] - log_p[name] for name in log_q), zero).mean(-2)
            log_evidence = log_evidence - (self.kl_weight - 1) * kl
        return log_evidence

    def log_mean(self, logs: Tensor) -> Tensor:
        """Return log 1/K Σ_k exp(logs_k) of (…, samples, batch); the logs themselves, (…, batch), if K = 1."""
        return logs if self.num_samples == 1 else logs.logsumexp(-2) - math.log(self.num_samples)

    def once(self, values: Tensor) -> Tensor:
        """Drop the sample dimension of values that are equal for all samples: (…, samples, batch) to (…, batch)."""
        return values if self.num_samples == 1 else values.select(-2, 0)

    def check_one_sample(self) -> None:
        """Check that K = 1, for guides with latent variables that are not reparametrised.

        Raises:
            ValueError: If K > 1.
        """
        if self.num_samples > 1:
            raise ValueError(
                "importance_samples: expected 1 for latent variables that are not reparametrised; "
                f"got {self.num_samples}."
            )

    def kl_by_latent(self) -> dict[str, Tensor]:
        """Return the KL term E[ log q(z|x,y) - log p(z) ] of each latent variable z but the class.

        Returns:
            Scalars in nats, means over the batch, by the name of the variable.
        """
        return self._means(self._kl_by_image())

    def kl_by_dimension(self) -> dict[str, Tensor]:
        """Return the KL term E[ log q(z_j|x,y) - log p(z_j) ] of each dimension j of each latent variable z.

        Returns:
            (dimensions,) in nats, means over the batch, by the name of the variable.

        Raises:
            ValueError: If a density does not factorise over dimensions. That of a mixture does not.
        """
        weights = self.class_weights()
        means = {}
        for name, site in sample_sites(self.guide_trace).items():
            if name == "y":
                continue
            kl = _log_factors(name, site) - _log_factors(name, self.model_trace.nodes[name])  # (…, batch, dimensions)
            means[name] = (kl if weights is None else (weights.unsqueeze(-1) * kl).sum(0)).flatten(end_dim=-2).mean(0)
        return means

    def _kl_by_image(self) -> dict[str, Tensor]:
        p, q = (_log_densities(trace) for trace in (self.model_trace, self.guide_trace))
        return {name: q[name] - p[name] for name in q if name != "y"}

    def _means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average values over classes, weighted by q(y|x), and over the batch and samples.

        Args:
            values: Tensors (classes, batch) or (classes, samples, batch) by name, without the first dimension if there
                is no sum over classes.

        Returns:
            Scalars by name.
        """
        if not values:
            return {}
        # Stacked, since on a GPU launching a kernel for each of these small tensors takes longer than running it.
        weights = self.class_weights()
        if weights is None:
            means = torch.stack(torch.broadcast_tensors(*values.values())).flatten(1).mean(-1)
        else:
            weights, *by_class = torch.broadcast_tensors(weights, *values.values())
            means = (weights * torch.stack(by_class)).sum(1).flatten(1).mean(-1)
        return dict(zip(values, means.unbind(), strict=True))

    def class_weights(self) -> Tensor | None:
        """Return the weights of the classes, q(y|x), (classes, batch); None if there is no sum over classes."""
        q = _log_densities(self.guide_trace)
        return q["y"].exp() if "y" in q else None

    def terms(self) -> dict[str, Tensor]:
        """Return the terms of the bound, means over the batch, without the KL weight.

        Where y is enumerated, each expectation includes the sum over y, weighted by q(y|x)::

            reconstruction   E[ -log p(x|y,z) ]
            kl               E[ log q(z|x,y) - log p(z) ], summed over all latent variables but the class
            kl/NAME          the same for each latent variable, if there are several
            class            E[ -log p(y) ] - H(q(y|x)), if the model has a class
            negative_elbo    reconstruction + kl + class: L or U
            entropy          H(q(y|x)), if y is summed over

        Returns:
            Detached scalars in nats per image, by name.
        """
        with torch.no_grad():
            p, q = (_log_densities(trace) for trace in (self.model_trace, self.guide_trace))
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
    """-L(x, y), or the ELBO of a model without a sum over classes."""

    def __init__(self, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        # Without enumeration Pyro can check every batch dimension.
        self.max_plate_nesting = math.inf

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return L(x, y), summed over the batch.

        If every latent variable is reparametrised::

            L(x, y) = -( log p(x, y, z) - log q(z|x, y) )

        Pyro's own loss converts each term to a Python number, and each conversion makes the GPU wait. It is used only
        for variables that are not reparametrised.
        """
        model, guide, *batch = arguments
        (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        if not _reparametrised(traces[1]):
            self.check_one_sample()
            loss, surrogate = self._differentiable_loss_particle(*traces)  # type: ignore[no-untyped-call]
            return loss + surrogate - surrogate.detach()
        # For K = 1 Pyro's sums over the batch suffice. For K > 1 the weights are averaged for each image.
        kind = "log_prob_sum" if self.num_samples == 1 else "log_prob"
        log_p, log_q = (_log_densities(trace, kind) for trace in traces)
        return -self.log_evidence(log_p, log_q).sum()


class SummedBound(Bound, TraceEnum_ELBO):
    """-U(x), with an exact sum over y."""

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return U(x), summed over the batch.

        If y is the only latent variable that is not reparametrised::

            U(x) = -Σ_y q(y|x) ( log p(x, y, z) - log q(z|x, y) - log q(y|x) )

        Otherwise Pyro contracts the enumerated traces. It searches for the best order of contraction, which takes up to
        a twentieth of a training step.
        """
        model, guide, *batch = arguments
        (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        log_p, log_q = (_log_densities(trace, "log_prob") for trace in traces)
        if not _reparametrised(traces[1]):
            self.check_one_sample()
            return -_compute_dice_elbo(*traces)
        log_q_y = self.log_mean(log_q.pop("y"))  # (classes, batch)
        return -(log_q_y.exp() * (self.log_evidence(log_p, log_q) - log_q_y)).sum()


class TruncatedBound(Bound, Trace_ELBO):
    """An unbiased estimate of -U(x) whose cost does not grow with the number of classes.

    Let f(y) = log q(y|x) - log p̂(x, y), C the set of the k most probable classes and R its complement::

        U(x) = Σ_{y ∈ C} q(y|x) f(y) + q(R|x) E[ f(y') ],    y' ~ q(y|x) / q(R|x) over R

    One y' is drawn for each image: a Rao-Blackwellised sample of y (Liu et al. 2019, arXiv 1810.04777). Its gradient
    has a score-function term, with the mean b of f over C as control variate::

        ∇U = ∇ Σ_{y ∈ C} q(y|x) f(y) + q(R|x) E[ ∇f(y') + (f(y') - b) ∇log q(y'|x) ] + b ∇q(R|x)

    The variance is small where q(R|x) is small, that is, where the classifier is confident. With several importance
    samples q̄ replaces q(y|x), and all samples share y'.

    Args:
        k: The number of classes to sum over.
        num_samples: K, the number of samples of z for each class.
    """

    def __init__(self, k: int, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        self.classes = _Truncate(k, several_samples=num_samples > 1)

    def class_weights(self) -> Tensor:
        """Return the weights of the classes: q(y|x) of those summed over, then q(R|x) of the rest.

        With several samples, each sample k has weights of its own. Since y' is drawn from q̄, its weight is::

            v = q̄(R) q(y'|a_k, x) / q̄(y'),    Σ_{y ∈ R} ∇( q(y|a_k, x) f(y) ) = E[ ∇( v f(y') ) ]

        with q̄ detached, so that the gradient of a weighted mean is unbiased too.

        Returns:
            (k + 1, batch), or (k + 1, samples, batch) with several samples.
        """
        log_q_y = _log_densities(self.guide_trace)["y"]
        log_q_bar, q_rest = self.classes.log_q_y.detach(), self.classes.q_rest.detach()
        return torch.cat([log_q_y[:-1].exp(), q_rest * (log_q_y[-1:] - log_q_bar[-1:]).exp()])

    def differentiable_loss(self, *arguments: Any) -> Tensor:  # noqa: ANN401
        """Return the estimate of U(x), summed over the batch.

        Raises:
            ValueError: If a latent variable other than the class is not reparametrised.
        """
        model, guide, *batch = arguments
        with self.classes:
            (traces,) = self._get_traces(model, guide, batch, {})  # type: ignore[no-untyped-call]
        if not _reparametrised(traces[1]):
            raise ValueError(
                f"summed_classes: expected None for latent variables that are not reparametrised; got {self.classes.k}."
            )
        log_p, log_q = (_log_densities(trace, "log_prob") for trace in traces)
        del log_q["y"]  # q(y|a_k, x) of each sample; q̄(y) is in self.classes
        log_q_y, q_rest = self.once(self.classes.log_q_y), self.once(self.classes.q_rest)[0]
        f = log_q_y - self.log_evidence(log_p, log_q)  # (k + 1, batch)
        q_likely, f_likely, f_drawn = log_q_y[:-1].exp(), f[:-1], f[-1]
        b = ((q_likely * f_likely).sum(0) / q_likely.sum(0)).detach()
        # q(R|x), with the gradient q(R|x) ∇log q(y'|x)
        log_q_drawn = log_q_y[-1]
        score = q_rest.detach() * (log_q_drawn - log_q_drawn.detach()).exp()
        return ((q_likely * f_likely).sum(0) + score * (f_drawn - b) + q_rest * b).sum()


def restrict(logits: Tensor, candidates: Tensor) -> Tensor:
    """Return logits that give no probability to other classes than the candidates.

    They are finite, since a logit of -∞ would make terms such as q log q NaN.

    Args:
        logits: log q(y|x), (batch, classes).
        candidates: Candidate classes, booleans (batch, classes).
    """
    return logits.masked_fill(~candidates, -1e4)


class _ScaleLatents(Messenger):
    """Multiply log p(z) and log q(z), and so the KL divergence, of every latent variable but the class."""

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, message: Any) -> None:  # noqa: ANN401
        if message["name"] != "y" and not message["is_observed"]:
            message["scale"] = message["scale"] * self.weight


class _RestrictToCandidates(Messenger):
    """Replace the guide's q(y | x) by q(y | x, A), where A is the set of candidate classes."""

    def __init__(self, candidates: Tensor) -> None:
        super().__init__()
        self.candidates = candidates

    def _pyro_sample(self, message: Any) -> None:  # noqa: ANN401
        if message["name"] == "y":
            # q(y | x, A)
            message["fn"] = dist.Categorical(logits=restrict(message["fn"].logits, self.candidates))


class _Truncate(Messenger):
    """Set the guide's y to the k most probable classes of each image and one that is drawn from the rest.

    Attributes:
        log_q_y: log q(y|x) of these classes, (k + 1, batch); with several samples log q̄(y), (k + 1, 1, batch).
        q_rest: q(R|x), the probability of all classes but the first k, (1, batch); or (1, 1, batch).
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
        message["infer"] = {}  # the first dimension is not one that Pyro enumerates
        self.log_q_y = (
            log_q.expand(*drawn.shape, -1).gather(-1, torch.cat([likely, drawn.unsqueeze(-1)], -1)).movedim(-1, 0)
        )
        self.q_rest = rest.logsumexp(-1).unsqueeze(0).exp()


def _weighs(kl_weight: float | Tensor) -> bool:
    """Return whether a weight may differ from 1. A tensor may, since a captured step replays it with other values."""
    return isinstance(kl_weight, Tensor) or kl_weight != 1


def _reparametrised(guide: Trace) -> bool:
    """Return whether every latent variable but the class is reparametrised."""
    return all(site["fn"].has_rsample for name, site in sample_sites(guide).items() if name != "y")


def factorises(density: TorchDistribution) -> bool:
    """Return whether a density of vectors factorises over dimensions, judging by its type."""
    return isinstance(density, dist.Independent) and density.reinterpreted_batch_ndims == 1


def _log_factors(name: str, site: Any) -> Tensor:  # noqa: ANN401
    """Return the log-density of each dimension of a site, (…, batch, dimensions)."""
    density = site["fn"]
    if not factorises(density):
        raise ValueError(
            f"free_bits_per_dimension: expected densities that are products over the dimensions of {name}; "
            f"got {type(density).__name__}."
        )
    return density.base_dist.log_prob(site["value"])


def _log_densities(trace: Trace, kind: str = "unscaled_log_prob") -> dict[str, Tensor]:
    """Return the log-densities of the unmasked sample sites by name, by default without the KL weight."""
    return {
        name: site[kind] for name, site in sample_sites(trace).items() if kind in site and site["mask"] is not False
    }
