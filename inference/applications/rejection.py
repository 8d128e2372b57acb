"""Rejecting what a model has no explanation for: adversarial images, and images of another kind.

Ghosh, Losalka and Black 2019 (arXiv 1806.00081) accept the class ŷ of an image x only where two things hold, each
up to a threshold of that class:

    -log p(z | ŷ)   at the mean z of q(z | x, ŷ)      x lies where the class has its images
    ‖x - x̂‖         x̂ the mean of p(x | ŷ, z)         and is what is to be expected there

The first is the squared distance from the class's mean, but for constants, where p(z | y) is a Gaussian of one
variance, as theirs is. Thresholds are quantiles over validation images that are classified as ŷ, so that about
that share of ordinary images passes each of them.

That detects weak attacks and images of another kind. It does not resist an attack that knows the thresholds, whose
images are wrong and accepted: see `ssvae.inference.applications.attacks.adaptive`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.inference.predict import device_of, evaluating, seeded
from ssvae.models import SemiSupervisedModel

REJECTED = -1

_AT_ONCE = 500
_DRAWS = 64


@dataclass(frozen=True)
class AnomalyScores:
    """How little a model has to say for images; float64.

    Attributes:
        classes: ŷ, the most probable classes by q(y | x), (N,).
        latent: -log p(z | ŷ) in nats, (N,).
        reconstruction: ‖x - x̂‖, the root of the sum over pixels, (N,).
    """

    classes: Tensor
    latent: Tensor
    reconstruction: Tensor


@dataclass(frozen=True)
class Threshold:
    """Which values of one measure are ordinary, for each class.

    Attributes:
        limit: What most of the class's validation images do not exceed, (classes,).
        median: Of the same images, (classes,).
    """

    limit: Tensor
    median: Tensor

    def excess(self, values: Tensor, classes: Tensor) -> Tensor:
        """Return by how much values (N,) exceed the limits of their classes, in units of its distance from the median.

        So measures of different units can be compared.
        """
        limit, median = (each.to(values.device)[classes] for each in (self.limit, self.median))
        # A class of one validation image has them in one place; a distance of 0 would leave no gradient to follow.
        return (values - limit) / (limit - median).clamp(min=torch.finfo(values.dtype).eps)


@dataclass(frozen=True)
class Rejection:
    """The two thresholds of each class.

    Attributes:
        latent: Of -log p(z | ŷ).
        reconstruction: Of ‖x - x̂‖.
    """

    latent: Threshold
    reconstruction: Threshold

    def score(self, seen: AnomalyScores) -> Tensor:
        """Return the larger excess of the two, (N,): positive where an image is rejected."""
        return torch.maximum(
            self.latent.excess(seen.latent, seen.classes), self.reconstruction.excess(seen.reconstruction, seen.classes)
        )

    def decide(self, seen: AnomalyScores) -> Tensor:
        """Return classes, (N,), -1 where the image is rejected."""
        return seen.classes.masked_fill(self.score(seen) > 0, REJECTED)


@dataclass(frozen=True)
class Outcome:
    """What came of images whose classes are known: shares that sum to 1."""

    accuracy: float
    error: float
    rejection: float


def anomaly_scores(model: SemiSupervisedModel, x: Tensor) -> AnomalyScores:
    """Return how little a model has to say for images (N, channels, height, width) in [0, 1]."""
    parts = []
    with evaluating(model):
        for chunk in x.to(device_of(model)).split(_AT_ONCE):
            y = model.classify(chunk).logits.argmax(-1)
            parts.append([y.cpu(), *(measure.cpu() for measure in measures(model, chunk, y))])
    return AnomalyScores(*(torch.cat(each) for each in zip(*parts, strict=True)))


def measures(model: SemiSupervisedModel, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log p(z | y) in nats at the mean z of q(z | x, y), and ‖x - x̂‖, each (N,), with their gradients.

    Args:
        model: The model, in evaluation mode.
        x: Images (N, channels, height, width), where the model is.
        y: The class that each is taken for, (N,).
    """
    latent = -model.prior(y).log_prob(model.encode(x, y)).double()
    return latent, (x - model.reconstruct(x, y)).flatten(1).double().norm(dim=-1)


def fit_rejection(model: SemiSupervisedModel, data: ImageData, *, quantile: float = 0.99) -> Rejection:
    """Set the thresholds by the validation images.

    Args:
        model: The model.
        data: Whose validation images, without their labels, are looked at.
        quantile: The share of the images classified as ŷ that is to pass each of its thresholds. A class that no
            validation image is put into has the thresholds of all of them together.

    Raises:
        ValueError: If there are no validation images, or the quantile is not in (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected a number between 0 and 1; got {quantile}.")
    if not len(data.validation_images):
        raise ValueError("data: expected validation images, by which the thresholds are set; got none.")
    seen = anomaly_scores(model, data.pixels(data.validation_images))

    def threshold(values: Tensor) -> Threshold:
        of_classes = [values[seen.classes == k] for k in range(model.num_classes)]
        shown = [of_class if len(of_class) else values for of_class in of_classes]
        limit, median = (torch.stack([each.quantile(q) for each in shown]) for q in (quantile, 0.5))
        return Threshold(limit, median)

    return Rejection(threshold(seen.latent), threshold(seen.reconstruction))


def outcome(decisions: Tensor, labels: Tensor) -> Outcome:
    """Return the shares of images that were classified rightly, wrongly and not at all."""
    rejected = decisions == REJECTED
    right = (decisions == labels).double().mean().item()
    return Outcome(right, ((decisions != labels) & ~rejected).double().mean().item(), rejected.double().mean().item())


def reclassify(
    model: SemiSupervisedModel, rejection: Rejection, x: Tensor, *, num_steps: int = 100, learning_rate: float = 0.1
) -> Tensor:
    """Look for each rejected image's z through the decoder alone, past an encoder that was deceived.

        z* = argmin_z min_y ‖x - E[x | y, z]‖²,   started from the middle of p(z | y) for every class y

    The class is then the most probable one at z*, by p(z* | y) and by x's distance from E[x | y, z*] as of a Gaussian
    whose variance is what is left of it: the nearest component where the decoder does not look at y. The image stays
    rejected where z* is beyond the class's limit of -log p(z | y) (Ghosh et al. 2019).

    Args:
        model: The model.
        rejection: Its thresholds.
        x: The rejected images, (N, channels, height, width).
        num_steps: Of Adam.
        learning_rate: Of Adam.

    Returns:
        Classes (N,), -1 where the image stays rejected.
    """
    if not len(x):
        return torch.zeros(0, dtype=torch.int64)
    return torch.cat([_search(model, rejection, chunk, num_steps, learning_rate) for chunk in x.split(_AT_ONCE)])


def _search(
    model: SemiSupervisedModel, rejection: Rejection, x: Tensor, num_steps: int, learning_rate: float
) -> Tensor:
    device = device_of(model)
    x = x.to(device)
    classes = torch.arange(model.num_classes, device=device).unsqueeze(-1).expand(-1, len(x))  # (classes, N)
    with evaluating(model), seeded(0):
        prior = model.prior(classes)
        # Not prior.mean, which a flow has none of.
        draws = prior.sample((_DRAWS,) if prior.batch_shape else (_DRAWS, *classes.shape))
        start = draws.mean(0)  # (classes, N, latent)
    with evaluating(model), torch.enable_grad():
        z = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=learning_rate)
        for _ in range(num_steps):
            (z.grad,) = torch.autograd.grad(_distance(model, x, z, classes).sum(), z)
            optimiser.step()
    with evaluating(model):
        best = _distance(model, x, z, classes).argmin(0)  # (N,)
        z = z[best, torch.arange(len(x), device=device)].expand_as(z)  # (classes, N, latent)
        distance, log_p_z = _distance(model, x, z, classes), model.prior(classes).log_prob(z)
        numbers = x[0].numel()
        y = (log_p_z - 0.5 * numbers * distance / distance.amin(0)).argmax(0)  # (N,)
    latent = -log_p_z.gather(0, y.unsqueeze(0)).squeeze(0).double().cpu()
    y = y.cpu()
    return y.masked_fill(latent > rejection.latent.limit[y], REJECTED)


def _distance(model: SemiSupervisedModel, x: Tensor, z: Tensor, classes: Tensor) -> Tensor:
    """Return ‖x - E[x | y, z]‖² for every class, (classes, N)."""
    return (x - model.p_x(z, classes).mean).square().sum((-3, -2, -1))


@dataclass(frozen=True)
class Attacked:
    """What comes of images that were attacked.

    Attributes:
        outcome: With rejection.
        reclassified: The same, where rejected images were looked for through the decoder.
        undefended: Accuracy of q(y | x) without rejection.
        auroc: How well the score of `Rejection` tells attacked images from the same images as they were: 0.5 is by
            chance, 1 always.
    """

    outcome: Outcome
    reclassified: Outcome
    undefended: float
    auroc: float


def measure(
    model: SemiSupervisedModel, rejection: Rejection, clean: Tensor, attacked: Tensor, labels: Tensor
) -> Attacked:
    """Measure what comes of attacked images.

    Args:
        model: The model.
        rejection: Its thresholds.
        clean: The images as they were, (N, channels, height, width).
        attacked: The same, attacked.
        labels: Their classes, (N,).
    """
    seen = anomaly_scores(model, attacked)
    decisions = rejection.decide(seen)
    again = decisions.clone()
    rejected = decisions == REJECTED
    again[rejected] = reclassify(model, rejection, attacked[rejected])
    return Attacked(
        outcome(decisions, labels),
        outcome(again, labels),
        (seen.classes == labels).double().mean().item(),
        auroc(rejection.score(anomaly_scores(model, clean)), rejection.score(seen)),
    )


def auroc(ordinary: Tensor, anomalous: Tensor) -> float:
    """Return the probability that an anomalous image has a higher score than an ordinary one; ties count half."""
    # Imported here since scikit-learn takes a second to import.
    from sklearn.metrics import roc_auc_score

    is_anomalous = torch.cat([torch.zeros(len(ordinary)), torch.ones(len(anomalous))])
    return float(roc_auc_score(is_anomalous.numpy(), torch.cat([ordinary, anomalous]).numpy()))
