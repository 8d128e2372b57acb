"""What a run says of one image: classes and how sure it is of them, reconstruction, analogies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ssvae.inference.evaluation.diagnostics import FEWEST_SAMPLES, effective_samples, pareto_k
from ssvae.inference.evaluation.evaluation import log_weights
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.inference.runs.run import Run
from ssvae.models import SemiSupervisedModel

SURE = 0.9
"""From which probability on an answer is one class."""

_SAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Posterior:
    """p(y|x) and log p(x) by importance sampling; float64, on the CPU.

    Attributes:
        probabilities: Estimates of p(y|x), (classes,).
        low: The estimates' log-odds less two standard errors, as probabilities, (classes,).
        high: The same with two standard errors more, or what the others' `low` leave, where that is less.
        log_evidence: Estimate of log p(x), in nats.
        log_evidence_error: Its standard error.
        effective_samples: How many of the samples stand behind it.
        pareto_k: Their weights' Pareto k̂, above 0.7 where the estimates cannot be relied on; None for fewer than 25.
        classifier: q(y|x) of the same pixels, with which p(y|x) can be compared, (classes,).
    """

    probabilities: Tensor
    low: Tensor
    high: Tensor
    log_evidence: float
    log_evidence_error: float
    effective_samples: float
    pareto_k: float | None
    classifier: Tensor


@dataclass(frozen=True)
class Answer:
    """What a run says of one image; images are (channels, height, width), means of p(x | y, z).

    Attributes:
        image: As q(y|x) and q(z|x, y) see it, pixels in [0, 1].
        observed: As p(x|y, z) sees it: black and white at 0.5 where the run's data are binarised.
        probabilities: q(y|x), (classes,), float64.
        posterior: p(y|x); None where the model's story has no class, or its ELBO does not bound log p(x).
        reconstruction: The image from the mean z of q(z|x, y), y the most probable class.
        analogies: The same z in every class, (classes, channels, height, width).
    """

    image: Tensor
    observed: Tensor
    probabilities: Tensor
    posterior: Posterior | None
    reconstruction: Tensor
    analogies: Tensor

    @property
    def entropy(self) -> float:
        """H(q(y|x)) = -Σ_y q log q, in nats."""
        return torch.special.entr(self.probabilities).sum().item()


def answer(run: Run, image: Tensor, *, num_samples: int = 50) -> Answer:
    """Ask a run about one image.

    As in `ssvae.inference.evaluation`, q(y|x) sees pixels in grey and p(x|y, z) what the model saw in training; only
    that here binarised pixels are not drawn but cut at 0.5, and the samples' seed is fixed: the same image has
    the same answer.

    Args:
        run: The run, with its data.
        image: uint8 (channels, height, width).
        num_samples: Importance samples for each class.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    assert run.data is not None
    model = run.model
    pixels = run.data.pixels(image).unsqueeze(0)
    observed = (pixels > 0.5).to(pixels) if run.data.binarise else pixels
    seen = pixels.to(device_of(model))
    # Pyro's checks look at every value, which takes as long again; pixels in [0, 1] have no surprises for them.
    with pyro.validation_enabled(False), seeded(0):
        known = model.has_label_site and model.bounds_evidence
        posterior = estimate_posterior(model, observed, num_samples) if known else None
    with evaluating(model):
        reconstruction, analogies = model.reconstruct(seen).cpu()[0], model.analogies(seen).cpu()[:, 0]
    return Answer(
        image=pixels[0],
        observed=observed[0],
        probabilities=class_probabilities(model, pixels)[0],
        posterior=posterior,
        reconstruction=reconstruction,
        analogies=analogies,
    )


def estimate_posterior(model: SemiSupervisedModel, x: Tensor, num_samples: int) -> Posterior:
    """Estimate p(y|x) and log p(x) by importance sampling from the guide, with standard errors.

    `ssvae.inference.evaluation.importance_sampling` fits its proposal to the image, which takes too long for a stroke
    of a
    pen: so here a k̂ above 0.7 is more frequent, and the page says where it is.

    The errors are the jackknife's, which leaves out one sample at a time (Efron and Stein 1981, "The jackknife
    estimate of variance"):

        se² = (S - 1) / S Σ_s (θ_-s - mean θ_-s)²

    θ is log p(x), or the log-odds of a class, log p(x, y) - log Σ_y' p(x, y') over the others: the weights differ
    by factors, so that near 0 and 1 a probability's own standard error would be far too small.

    An interval says how much other samples might change the estimate, and nothing of how wrong the model is. Where
    few samples carry all the weight it is too short: of the two most probable classes of MNIST images that the
    classifier is not sure of, four in five of the intervals by 50 samples hold the estimate by 10,000.

    Args:
        model: The model.
        x: One image (1, channels, height, width) as p(x|y, z) is to see it.
        num_samples: S for each class.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    check_num_samples(num_samples)
    x = x.to(device_of(model))
    y = torch.arange(model.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
    chunks = [min(_SAMPLES_AT_ONCE, num_samples - done) for done in range(0, num_samples, _SAMPLES_AT_ONCE)]
    log_w = torch.cat([log_weights(model, x, y, size).squeeze(-1).cpu().double() for size in chunks])
    log_joint = log_w.logsumexp(0) - math.log(num_samples)  # (classes,)
    # (samples, classes): what the others say without this one.
    kept = ~torch.eye(num_samples, dtype=torch.bool)
    without = torch.stack([log_w[others].logsumexp(0) - math.log(num_samples - 1) for others in kept])
    log_odds = _log_odds(log_joint)
    log_v = log_w.logsumexp(-1, keepdim=True)  # (samples, 1)
    # With one class only, its odds are infinite and certain.
    error = _jackknife_error(_log_odds(without)).nan_to_num(0)
    low, high = (log_odds - 2 * error).sigmoid(), (log_odds + 2 * error).sigmoid()
    # No class is more probable than what the others leave.
    high = torch.minimum(high, 1 - (low.sum() - low))
    return Posterior(
        probabilities=log_joint.softmax(-1),
        low=low,
        high=high,
        log_evidence=log_joint.logsumexp(-1).item(),
        log_evidence_error=_jackknife_error(without.logsumexp(-1)).item(),
        effective_samples=effective_samples(log_v).item(),
        pareto_k=pareto_k(log_v).item() if num_samples >= FEWEST_SAMPLES else None,
        classifier=class_probabilities(model, x)[0],
    )


def check_num_samples(num_samples: int) -> None:
    """Refuse a number of importance samples that has no standard error.

    Raises:
        ValueError: If it is less than 2.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples: expected at least 2; got {num_samples}.")


def in_words(probabilities: Tensor, class_names: Sequence[str]) -> str:
    """Say in a few words what probabilities (classes,) amount to: "3, 97 %", "not sure: 4 or 9", "no idea".

    One class is the answer where it has at least `SURE`; else the fewest that have it together, if they are at
    most three.
    """
    ordered, classes = probabilities.sort(descending=True, stable=True)
    needed = int((ordered.cumsum(0) < SURE).sum()) + 1
    names = [class_names[y] for y in classes[:needed].tolist()]
    if needed == 1:
        share = min(ordered[0].item(), 0.999)
        return f"{names[0]}, {'more than 99' if share > 0.995 else f'{share * 100:.0f}'} %"
    if needed == 2:
        return f"not sure: {names[0]} or {names[1]}"
    if needed == 3 and len(class_names) > 3:
        return f"not sure: {names[0]}, {names[1]} or {names[2]}"
    return "no idea"


def _log_odds(log_joint: Tensor) -> Tensor:
    """Return log p(x, y) - log Σ_y' p(x, y'), the sum over all other classes, for (..., classes)."""
    others = ~torch.eye(log_joint.shape[-1], dtype=torch.bool)
    return log_joint - torch.stack([log_joint[..., each].logsumexp(-1) for each in others], dim=-1)


def _jackknife_error(without: Tensor) -> Tensor:
    """Return the standard error from estimates (samples, ...) that each leave one sample out."""
    share = (len(without) - 1) / len(without)
    return (share * (without - without.mean(0)).square().sum(0)).sqrt()
