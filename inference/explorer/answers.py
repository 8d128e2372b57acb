"""What a run says of one image: classes and how sure it is of them, reconstruction, analogies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from inference.evaluation import class_probabilities, device_of, evaluating, importance_sampling, seeded
from inference.runs import Run

GROUPS = 10
"""Into how many independent groups the importance samples fall, whose differences tell the standard error."""

SURE = 0.9
"""From which probability on an answer is one class."""


@dataclass(frozen=True)
class Posterior:
    """p(y|x) and log p(x) by importance sampling, and their standard errors; float64, on the CPU.

    Attributes:
        probabilities: Estimates of p(y|x), (classes,).
        errors: Their standard errors, (classes,).
        log_evidence: Estimate of log p(x), in nats.
        log_evidence_error: Its standard error.
    """

    probabilities: Tensor
    errors: Tensor
    log_evidence: float
    log_evidence_error: float

    def interval(self) -> tuple[Tensor, Tensor]:
        """Return p(y|x) ± two standard errors, within [0, 1]; each (classes,)."""
        return (
            (self.probabilities - 2 * self.errors).clamp(min=0),
            (self.probabilities + 2 * self.errors).clamp(max=1),
        )


@dataclass(frozen=True)
class Answer:
    """What a run says of one image; images are (channels, height, width), means of p(x | y, z).

    Attributes:
        image: As q(y|x) and q(z|x, y) see it, pixels in [0, 1].
        observed: As p(x|y, z) sees it: black and white at 0.5 where the run's data are binarised.
        probabilities: q(y|x), (classes,), float64.
        posterior: p(y|x).
        reconstruction: The image from the mean z of q(z|x, y), y the most probable class.
        analogies: The same z in every class, (classes, channels, height, width).
    """

    image: Tensor
    observed: Tensor
    probabilities: Tensor
    posterior: Posterior
    reconstruction: Tensor
    analogies: Tensor

    @property
    def entropy(self) -> float:
        """H(q(y|x)) = -Σ_y q log q, in nats."""
        return torch.special.entr(self.probabilities).sum().item()


def answer(run: Run, image: Tensor, *, num_samples: int = 50) -> Answer:
    """Ask a run about one image.

    As in `inference.evaluation`, q(y|x) sees pixels in grey and p(x|y, z) what the model saw in training; only
    that here binarised pixels are not drawn but cut at 0.5, and the samples' seed is fixed: the same image has
    the same answer.

    Args:
        run: The run, with its data.
        image: uint8 (channels, height, width).
        num_samples: Importance samples for each class, a multiple of `GROUPS`.

    Raises:
        ValueError: If num_samples is not.
    """
    assert run.data is not None
    model = run.model
    pixels = run.data.pixels(image).unsqueeze(0)
    observed = (pixels > 0.5).to(pixels) if run.data.binarise else pixels
    seen = pixels.to(device_of(model))
    # Pyro's checks look at every value, which takes as long again; pixels in [0, 1] have no surprises for them.
    with pyro.validation_enabled(False), seeded(0):
        posterior = estimate_posterior(run, observed, num_samples)
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


def estimate_posterior(run: Run, x: Tensor, num_samples: int) -> Posterior:
    """Estimate p(y|x) with its standard error, by importance samples in independent groups.

    The estimate is that of all samples together. Its standard error is the jackknife's, which leaves out one
    group at a time (Efron and Stein 1981, "The jackknife estimate of variance"):

        se² = (G - 1) / G Σ_g (θ_-g - mean θ_-g)²

    It says how much other samples would change the estimate; not how wrong the model is. Where few samples
    carry all the weight it is too small.

    Args:
        run: The run.
        x: One image (1, channels, height, width) as p(x|y, z) is to see it.
        num_samples: S for each class, a multiple of `GROUPS`.

    Raises:
        ValueError: If num_samples is not.
    """
    check_num_samples(num_samples)
    # Copies of the image are independent estimates, made at once.
    copies = x.expand(GROUPS, *x.shape[1:])
    log_joint = importance_sampling(run.model, copies, num_samples // GROUPS).log_joint  # (groups, classes)
    others = ~torch.eye(GROUPS, dtype=torch.bool)
    without = torch.stack([log_joint[kept].logsumexp(0) - math.log(GROUPS - 1) for kept in others])
    pooled = log_joint.logsumexp(0) - math.log(GROUPS)
    return Posterior(
        probabilities=pooled.softmax(-1),
        errors=_jackknife_error(without.softmax(-1)),
        log_evidence=pooled.logsumexp(-1).item(),
        log_evidence_error=_jackknife_error(without.logsumexp(-1)).item(),
    )


def check_num_samples(num_samples: int) -> None:
    """Refuse a number of importance samples that does not fall into groups.

    Raises:
        ValueError: If it is not a positive multiple of `GROUPS`.
    """
    if num_samples < 1 or num_samples % GROUPS:
        raise ValueError(f"num_samples: expected a positive multiple of {GROUPS}; got {num_samples}.")


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


def _jackknife_error(without: Tensor) -> Tensor:
    """Return the standard error from estimates (groups, ...) that each leave one group out."""
    groups = len(without)
    return ((groups - 1) / groups * (without - without.mean(0)).square().sum(0)).sqrt()
