"""The predictions of a run for one image: class probabilities with intervals, reconstruction, analogies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.inference.evaluation.diagnostics import FEWEST_SAMPLES, effective_samples, pareto_k
from ssvae.inference.evaluation.evaluation import log_weights
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.inference.runs.run import Run
from ssvae.models import SemiSupervisedModel

SURE = 0.9
"""The least probability of a class, or of a set of classes, that is given as the answer."""

_SAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Posterior:
    """p(y|x) and log p(x) by importance sampling; float64, on the CPU.

    Attributes:
        probabilities: Estimates of p(y|x), (classes,).
        low: Lower ends of intervals, (classes,): the log-odds minus two standard errors, as probabilities.
        high: Upper ends of intervals, (classes,): the log-odds plus two standard errors, at most 1 minus the lower ends
            of all other classes.
        log_evidence: Estimate of log p(x), in nats.
        log_evidence_error: Its standard error.
        effective_samples: Effective sample size of the weights.
        pareto_k: Pareto k̂ of the weights; above 0.7 the estimates are unreliable. None for fewer than 25 samples.
        classifier: q(y|x) of the same pixels, for comparison, (classes,).
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
class Predictions:
    """The class probabilities of a run for one image. Images are (channels, height, width), pixels in [0, 1].

    Attributes:
        image: The input of q(y|x) and q(z|x, y).
        observed: The pixels x of p(x|y, z): thresholded at 0.5 if the run's data are binarised, else the same.
        probabilities: q(y|x), (classes,), float64.
        posterior: p(y|x); None if the model has no class, or its ELBO does not bound log p(x).
    """

    image: Tensor
    observed: Tensor
    probabilities: Tensor
    posterior: Posterior | None

    @property
    def entropy(self) -> float:
        """H(q(y|x)) = -Σ_y q log q, in nats."""
        return torch.special.entr(self.probabilities).sum().item()


@dataclass(frozen=True)
class Answer(Predictions):
    """The predictions of a run for one image, and what its style looks like.

    Attributes:
        reconstruction: The mean of p(x|y, z) for the most probable class y and the mean z of q(z|x, y).
        analogies: The means of p(x|y, z) for the same z and every class y, (classes, channels, height, width).
    """

    reconstruction: Tensor
    analogies: Tensor


def answer(run: Run, image: Tensor, *, num_samples: int = 50) -> Answer:
    """Return the predictions of a run for one image.

    As in `ssvae.inference.evaluation.evaluation`, q(y|x) gets pixels that are not binarised, and p(x|y, z) gets pixels
    as in training. Here, however, pixels are binarised by a threshold of 0.5, and the random seed is fixed, so that an
    image always has the same answer.

    Args:
        run: The run, with its data.
        image: uint8 (channels, height, width).
        num_samples: The number of importance samples for each class.

    Returns:
        Class probabilities, reconstruction and analogies.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    model = run.model
    pixels, observed = pixels_of(run.image_data, image)
    x = pixels.to(device_of(model))
    # Pyro's validation would double the time; pixels in [0, 1] are valid.
    with pyro.validation_enabled(False), seeded(0):
        has_posterior = model.has_label_site and model.bounds_evidence
        posterior = estimate_posterior(model, observed, num_samples) if has_posterior else None
    with evaluating(model):
        reconstruction, analogies = model.reconstruct(x).cpu()[0], model.analogies(x).cpu()[:, 0]
    return Answer(
        image=pixels[0],
        observed=observed[0],
        probabilities=class_probabilities(model, pixels)[0],
        posterior=posterior,
        reconstruction=reconstruction,
        analogies=analogies,
    )


def pixels_of(data: ImageData, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels of an image for q(y|x), and for p(x|y, z): those are cut at 0.5 if the data are binarised.

    Args:
        data: The data set.
        image: uint8 (channels, height, width).

    Returns:
        Both (1, channels, height, width), in [0, 1].
    """
    pixels = data.preprocess(image).unsqueeze(0)
    return pixels, (pixels > 0.5).to(pixels) if data.binarise else pixels


def estimate_posterior(model: SemiSupervisedModel, x: Tensor, num_samples: int) -> Posterior:
    """Estimate p(y|x) and log p(x) by importance sampling from the guide, with standard errors.

    `ssvae.inference.evaluation.evaluation.importance_sampling` fits its proposal to the image. That takes too long
    while somebody draws, so here samples are from the guide. A k̂ above 0.7 is therefore more frequent; the page shows
    it.

    Standard errors are jackknife estimates, which leave out one sample at a time (Efron and Stein 1981, "The jackknife
    estimate of variance")::

        se² = (S - 1) / S Σ_s (θ_-s - mean θ_-s)²

    θ is log p(x), or the log-odds of a class, log p(x, y) - log Σ_y' p(x, y') with the sum over all other classes.
    Log-odds are used since weights vary by orders of magnitude, so that the standard error of a probability near 0 or 1
    would be far too small.

    An interval shows the uncertainty due to sampling, not the error of the model. It is too short if few samples have
    most of the weight. In a test with MNIST images on which the classifier was unsure, 80 % of the intervals from 50
    samples contained the estimate from 10,000.

    Args:
        model: The model, on any device.
        x: One image (1, channels, height, width), pixels in [0, 1], as for p(x|y, z).
        num_samples: S, the number of samples for each class.

    Returns:
        The estimates with intervals.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    check_num_samples(num_samples)
    x = x.to(device_of(model))
    y = torch.arange(model.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
    chunks = [min(_SAMPLES_AT_ONCE, num_samples - done) for done in range(0, num_samples, _SAMPLES_AT_ONCE)]
    log_w = torch.cat([log_weights(model, x, y, size).squeeze(-1) for size in chunks])
    return posterior_of(log_w, class_probabilities(model, x)[0])


def posterior_of(log_w: Tensor, classifier: Tensor) -> Posterior:
    """Return p(y|x) and log p(x) of importance weights; see `estimate_posterior`.

    Args:
        log_w: log p(x, y, z) - log q(z|x, y), (samples, classes), in nats, of at least two samples.
        classifier: q(y|x) of the same pixels, (classes,).
    """
    log_w = log_w.cpu().double()
    num_samples = len(log_w)
    log_joint = log_w.logsumexp(0) - math.log(num_samples)  # (classes,)
    # Jackknife estimates of log p(x, y), each without one sample: (samples, classes).
    kept = ~torch.eye(num_samples, dtype=torch.bool)
    jackknife = torch.stack([log_w[others].logsumexp(0) - math.log(num_samples - 1) for others in kept])
    log_odds = _log_odds(log_joint)
    log_v = log_w.logsumexp(-1, keepdim=True)  # (samples, 1)
    # The log-odds of a single class are infinite, with error 0.
    error = _jackknife_error(_log_odds(jackknife)).nan_to_num(0)
    low, high = (log_odds - 2 * error).sigmoid(), (log_odds + 2 * error).sigmoid()
    # The probability of a class is at most 1 minus the lower ends of all others.
    high = torch.minimum(high, 1 - (low.sum() - low))
    return Posterior(
        probabilities=log_joint.softmax(-1),
        low=low,
        high=high,
        log_evidence=log_joint.logsumexp(-1).item(),
        log_evidence_error=_jackknife_error(jackknife.logsumexp(-1)).item(),
        effective_samples=effective_samples(log_v).item(),
        pareto_k=pareto_k(log_v).item() if num_samples >= FEWEST_SAMPLES else None,
        classifier=classifier,
    )


def check_num_samples(num_samples: int) -> None:
    """Check that there are enough importance samples for a standard error.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples: expected at least 2; got {num_samples}.")


def in_words(probabilities: Tensor, class_names: Sequence[str]) -> str:
    """Summarise class probabilities in a few words: "3, 97 %", "not sure: 4 or 9", "no idea".

    The answer is the smallest set of classes with a total probability of at least 0.9, if it has at most three classes.

    Args:
        probabilities: Class probabilities, (classes,).
        class_names: Names of the classes.

    Example:
        >>> import torch
        >>> from ssvae.inference.explorer.answers import in_words
        >>> in_words(torch.tensor([0.5, 0.45, 0.05]), ["cat", "dog", "owl"])
        'not sure: cat or dog'
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
    return log_joint - torch.stack([log_joint[..., mask].logsumexp(-1) for mask in others], dim=-1)


def _jackknife_error(estimates: Tensor) -> Tensor:
    """Return the jackknife standard error of estimates (samples, ...) that each leave one sample out."""
    factor = (len(estimates) - 1) / len(estimates)
    return (factor * (estimates - estimates.mean(0)).square().sum(0)).sqrt()
