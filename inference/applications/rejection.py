"""Rejection of adversarial and out-of-distribution images by thresholds on two anomaly scores.

Ghosh, Losalka and Black 2019 (arXiv 1806.00081) accept the predicted class ŷ of an image x only if two scores do not
exceed thresholds of that class::

    -log p(z | ŷ)   at the mean z of q(z | x, ŷ)      is z typical of the class?
    ‖x - x̂‖         x̂ the mean of p(x | ŷ, z)         is x reconstructed well?

If p(z | y) is an isotropic Gaussian, as in the paper, the first score is the squared distance from the mean of the
class, up to constants. Thresholds are quantiles over the validation images that are classified as ŷ. About that
fraction of in-distribution images passes each threshold.

The method detects weak attacks and out-of-distribution images. It does not withstand an attacker who knows the
thresholds and searches for images that are misclassified and accepted: see
`ssvae.inference.applications.attacks.adaptive`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.data.time_left import progress
from ssvae.inference.predict import device_of, evaluating, seeded
from ssvae.models import SemiSupervisedModel

REJECTED = -1

_AT_ONCE = 500
_DRAWS = 64


@dataclass(frozen=True)
class AnomalyScores:
    """Predicted classes and anomaly scores of N images; scores are float64.

    Attributes:
        classes: ŷ, the most probable classes by q(y | x), integers (N,).
        latent: -log p(z | ŷ) in nats, (N,).
        reconstruction: ‖x - x̂‖, the Euclidean norm over pixels and channels, (N,).
    """

    classes: Tensor
    latent: Tensor
    reconstruction: Tensor


@dataclass(frozen=True)
class Threshold:
    """The thresholds of one anomaly score, one for each class.

    Attributes:
        limit: The quantile of the score over the class's validation images, (classes,).
        median: The median over the same images, (classes,).
    """

    limit: Tensor
    median: Tensor

    def excess(self, values: Tensor, classes: Tensor) -> Tensor:
        """Return the excess over the limits, in units of the distance between limit and median.

        This makes scores of different units comparable::

            excess = (value - limit) / (limit - median)

        Args:
            values: Scores of images, (N,).
            classes: Predicted classes of the same images, integers (N,).

        Returns:
            (N,); positive above the limit.
        """
        limit, median = (quantile.to(values.device)[classes] for quantile in (self.limit, self.median))
        # For a class with a single validation image limit and median are equal.
        return (values - limit) / (limit - median).clamp(min=torch.finfo(values.dtype).eps)


@dataclass(frozen=True)
class Rejection:
    """A rejection rule: the thresholds of both anomaly scores.

    Attributes:
        latent: Thresholds for -log p(z | ŷ).
        reconstruction: Thresholds for ‖x - x̂‖.
    """

    latent: Threshold
    reconstruction: Threshold

    def score(self, scores: AnomalyScores) -> Tensor:
        """Return the larger of the two excesses, (N,): positive for images that are rejected."""
        return torch.maximum(
            self.latent.excess(scores.latent, scores.classes),
            self.reconstruction.excess(scores.reconstruction, scores.classes),
        )

    def decide(self, scores: AnomalyScores) -> Tensor:
        """Return the predicted classes, integers (N,); -1 for images that are rejected."""
        return scores.classes.masked_fill(self.score(scores) > 0, REJECTED)


@dataclass(frozen=True)
class Outcome:
    """Results of classification with rejection, as fractions of the images that sum to 1.

    Attributes:
        accuracy: Images that are accepted and correctly classified.
        error: Images that are accepted and misclassified.
        rejection: Images that are rejected.
    """

    accuracy: float
    error: float
    rejection: float


def anomaly_scores(model: SemiSupervisedModel, x: Tensor) -> AnomalyScores:
    """Return predicted classes and anomaly scores.

    Args:
        model: The model, on any device.
        x: Images (N, channels, height, width), pixels in [0, 1].

    Returns:
        Classes and scores, on the CPU.
    """
    parts = []
    with evaluating(model):
        for chunk in x.to(device_of(model)).split(_AT_ONCE):
            y = model.classify(chunk).logits.argmax(-1)
            parts.append([y.cpu(), *(measure.cpu() for measure in measures(model, chunk, y))])
    return AnomalyScores(*(torch.cat(chunks) for chunks in zip(*parts, strict=True)))


def measures(model: SemiSupervisedModel, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two anomaly scores of images for given classes, with gradients.

    Args:
        model: The model, in evaluation mode.
        x: Images (N, channels, height, width), pixels in [0, 1], on the model's device.
        y: Predicted classes, integers (N,).

    Returns:
        -log p(z | y) in nats at the mean z of q(z | x, y), and ‖x - x̂‖, each float64 (N,).
    """
    latent = -model.prior(y).log_prob(model.encode(x, y)).double()
    return latent, (x - model.reconstruct(x, y)).flatten(1).double().norm(dim=-1)


def fit_rejection(model: SemiSupervisedModel, data: ImageData, *, quantile: float = 0.99) -> Rejection:
    """Fit the thresholds to validation images.

    Args:
        model: The model, on any device.
        data: The data set. Its validation images are used without their labels.
        quantile: The fraction of the validation images classified as ŷ that passes each threshold of ŷ. For a class
            that is never predicted, the thresholds are quantiles over all validation images.

    Returns:
        The rejection rule.

    Raises:
        ValueError: If there are no validation images, or the quantile is not in (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected a number between 0 and 1; got {quantile}.")
    if not len(data.validation_images):
        hint = ": train with validation_fraction=0.1" if hasattr(data, "validation_fraction") else ""
        raise ValueError(f"data: expected validation images, by which the thresholds are set; got none{hint}.")
    scores = anomaly_scores(model, data.preprocess(data.validation_images))

    def threshold(values: Tensor) -> Threshold:
        by_class = [values[scores.classes == k] for k in range(model.num_classes)]
        by_class = [class_values if len(class_values) else values for class_values in by_class]
        limit, median = (torch.stack([class_values.quantile(q) for class_values in by_class]) for q in (quantile, 0.5))
        return Threshold(limit, median)

    return Rejection(threshold(scores.latent), threshold(scores.reconstruction))


def outcome(decisions: Tensor, labels: Tensor) -> Outcome:
    """Return the fractions of images that are correct, misclassified and rejected.

    Args:
        decisions: Predicted classes, integers (N,); -1 for rejected images.
        labels: True classes, integers (N,).

    Returns:
        Fractions that sum to 1.

    Example:
        >>> import torch
        >>> from ssvae.inference.applications.rejection import outcome
        >>> outcome(torch.tensor([3, 5, -1, 5]), torch.tensor([3, 5, 5, 3]))
        Outcome(accuracy=0.5, error=0.25, rejection=0.25)
    """
    rejected = decisions == REJECTED
    correct = (decisions == labels).double().mean().item()
    return Outcome(correct, ((decisions != labels) & ~rejected).double().mean().item(), rejected.double().mean().item())


def reclassify(
    model: SemiSupervisedModel, rejection: Rejection, x: Tensor, *, num_steps: int = 100, learning_rate: float = 0.1
) -> Tensor:
    """Classify rejected images by the decoder, without the encoder, which may have been attacked.

    The latent value is found by gradient descent from the mean of p(z | y) of every class y::

        z* = argmin_z min_y ‖x - E[x | y, z]‖²

    The class is the most probable one at z* under p(z* | y) and a Gaussian for x around E[x | y, z*], whose variance is
    estimated from the smallest residual. If the decoder does not depend on y, this is the most probable component of
    the prior. The image stays rejected if -log p(z* | y) exceeds the limit of the class.

    Source: Ghosh et al. 2019 (arXiv 1806.00081).

    Args:
        model: The model, on any device.
        rejection: The rejection rule.
        x: The rejected images, (N, channels, height, width), pixels in [0, 1].
        num_steps: The number of steps of Adam.
        learning_rate: The learning rate of Adam.

    Returns:
        Classes, integers (N,), on the CPU; -1 for images that stay rejected.
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
        # Not prior.mean, since a flow does not have a mean.
        draws = prior.sample((_DRAWS,) if prior.batch_shape else (_DRAWS, *classes.shape))
        start = draws.mean(0)  # (classes, N, latent)
    with evaluating(model), torch.enable_grad(), progress("reclassification", num_steps, "steps") as advance:
        z = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=learning_rate)
        for _ in range(num_steps):
            (z.grad,) = torch.autograd.grad(_distance(model, x, z, classes).sum(), z)
            optimiser.step()
            advance(1)
    with evaluating(model):
        best = _distance(model, x, z, classes).argmin(0)  # (N,)
        z = z[best, torch.arange(len(x), device=device)].expand_as(z)  # (classes, N, latent)
        distance, log_p_z = _distance(model, x, z, classes), model.prior(classes).log_prob(z)
        dimensions = x[0].numel()
        y = (log_p_z - 0.5 * dimensions * distance / distance.amin(0)).argmax(0)  # (N,)
    latent = -log_p_z.gather(0, y.unsqueeze(0)).squeeze(0).double().cpu()
    y = y.cpu()
    return y.masked_fill(latent > rejection.latent.limit[y], REJECTED)


def _distance(model: SemiSupervisedModel, x: Tensor, z: Tensor, classes: Tensor) -> Tensor:
    """Return ‖x - E[x | y, z]‖² for every class, (classes, N)."""
    return (x - model.p_x(z, classes).mean).square().sum((-3, -2, -1))


@dataclass(frozen=True)
class Attacked:
    """Results on attacked images.

    Attributes:
        outcome: Results with rejection.
        reclassified: Results with rejection, after `reclassify` of the rejected images.
        undefended: Accuracy of q(y | x) without rejection, in [0, 1].
        auroc: Area under the ROC curve of the rejection score, for attacked against clean images: 0.5 is chance, 1
            perfect detection.
    """

    outcome: Outcome
    reclassified: Outcome
    undefended: float
    auroc: float


def measure(
    model: SemiSupervisedModel, rejection: Rejection, clean: Tensor, attacked: Tensor, labels: Tensor
) -> Attacked:
    """Measure accuracy, error, rejection and detection of attacked images.

    Args:
        model: The model, on any device.
        rejection: The rejection rule.
        clean: The images before the attack, (N, channels, height, width), pixels in [0, 1].
        attacked: The images after the attack, of the same shape.
        labels: True classes, integers (N,).

    Returns:
        The results with and without rejection.
    """
    scores = anomaly_scores(model, attacked)
    decisions = rejection.decide(scores)
    reclassified = decisions.clone()
    rejected = decisions == REJECTED
    reclassified[rejected] = reclassify(model, rejection, attacked[rejected])
    return Attacked(
        outcome(decisions, labels),
        outcome(reclassified, labels),
        (scores.classes == labels).double().mean().item(),
        auroc(rejection.score(anomaly_scores(model, clean)), rejection.score(scores)),
    )


def auroc(ordinary: Tensor, anomalous: Tensor) -> float:
    """Return the area under the ROC curve of a score.

    It is the probability that an anomalous image has a higher score than an ordinary one; ties count half.

    Args:
        ordinary: Scores of ordinary images, (N,).
        anomalous: Scores of anomalous images, (M,).

    Returns:
        A number in [0, 1]; 0.5 is chance.

    Example:
        >>> import torch
        >>> from ssvae.inference.applications.rejection import auroc
        >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    # Imported here since scikit-learn takes a second to import.
    from sklearn.metrics import roc_auc_score

    is_anomalous = torch.cat([torch.zeros(len(ordinary)), torch.ones(len(anomalous))])
    return float(roc_auc_score(is_anomalous.numpy(), torch.cat([ordinary, anomalous]).numpy()))
