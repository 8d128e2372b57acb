"""Evaluation: accuracy and calibration, log p(x) and p(y|x) by importance sampling, the terms of the ELBO.

Evaluation uses only the model's two Pyro programs, ``model`` and ``guide``, and its methods ``classify`` and
``reconstruct``. It therefore works for any model that can be trained, whatever its latent variables. With S importance
samples::

    w_s = p(x, y, z_s) / q(z_s | x, y),   z_s ~ q(z | x, y)
    p(x, y) ≈ 1/S Σ_s w_s                 for each class y
    p(x)    = Σ_y p(x, y)                 an exact sum over classes
    p(y|x)  = p(x, y) / p(x)

q is fitted to each image (`ssvae.inference.evaluation.proposal`). The estimate of p(x, y) is unbiased. Its logarithm is
too small on average, so the estimate of log p(x) is a lower bound in expectation, which becomes tighter as S grows. For
S = 1 and y weighted by q(y|x) it is the ELBO. The reliability of an estimate is judged by its weights v_s = Σ_y w_sy:
their effective sample size, and the Pareto k̂ of their tail (`ssvae.inference.evaluation.diagnostics`).

Source: Burda, Grosse and Salakhutdinov 2015 (arXiv 1509.00519).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ssvae.data import Data, ImageData
from ssvae.data.random_order import random_order
from ssvae.data.time_left import progress
from ssvae.inference.evaluation.calibration import Calibration, calibrate
from ssvae.inference.evaluation.diagnostics import FEWEST_SAMPLES, K_LIMIT, effective_samples, pareto_k
from ssvae.inference.evaluation.discovery import Discovery, discover
from ssvae.inference.evaluation.proposal import COST, SAMPLES, fit_proposal, weigh
from ssvae.inference.objective.bounds import PlainBound, SummedBound
from ssvae.inference.predict import (
    class_probabilities,
    device_of,
    evaluating,
    images_per_chunk,
    predict_probabilities,
    seeded,
)
from ssvae.models import SemiSupervisedModel
from ssvae.models.likelihoods import PIXEL_LEVELS, Likelihood
from ssvae.models.networks import EventShape

# How much more memory a pixel needs if a gradient is computed.
_KEPT_BY_A_GRADIENT = 1


@dataclass(frozen=True)
class ImportanceEstimate:
    """Importance-sampling estimates for a batch of images; float64, on the CPU.

    Attributes:
        log_joint: Estimates of log p(x, y) in nats, (batch, classes). For a model without a class, of log p(x),
            (batch, 1).
        effective_samples: Effective sample size of the weights v_s = Σ_y w_sy behind log p(x), (batch,), in [1, S].
        pareto_k: Pareto k̂ of the same weights, (batch,); NaN for fewer than 25 samples.
    """

    log_joint: Tensor
    effective_samples: Tensor
    pareto_k: Tensor

    @classmethod
    def of(cls, parts: "Sequence[ImportanceEstimate]") -> "ImportanceEstimate":
        """Concatenate the estimates of several batches."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def log_evidence(self) -> Tensor:
        """Estimates of log p(x) = log Σ_y p(x, y) in nats, (batch,)."""
        return self.log_joint.logsumexp(-1)

    @property
    def posterior(self) -> Tensor:
        """Estimates of p(y|x) = p(x, y) / Σ_y p(x, y), (batch, classes)."""
        return self.log_joint.softmax(-1)


@dataclass(frozen=True)
class Evaluation:
    """The results of evaluating a model on test images.

    q(y|x) is evaluated on all test images. Quantities that need importance sampling, and the ELBO, are evaluated on a
    random subset of them, the likelihood images. Some are None if the model's ELBO does not bound log p(x).

    If some classes have no label, ``discovery`` assigns the model's new classes to them. All accuracies and
    probabilities are then for the true classes, after this assignment.

    Attributes:
        discovery: How the classes without labels are told apart; None if all classes have labels.
        classifier: Accuracy and calibration of q(y|x) on all test images.
        main_classes: The same for main classes, whose probabilities are sums of q(y|x); None without a hierarchy.
        posterior: Accuracy and calibration of p(y|x) on the likelihood images; None if the model has no class, or its
            ELBO does not bound log p(x).
        classifier_beside_posterior: Accuracy and calibration of q(y|x) on the same images and pixels as ``posterior``;
            None as for ``posterior``.
        log_likelihood: Mean of the estimated log p(x) in nats per image, a lower bound in expectation. The logarithm of
            a probability if the likelihood is discrete, of a density otherwise: on [0, 1] for pixels, in the data's own
            units for vectors. Of the entries that were seen, if some are missing. None if the model's ELBO does not
            bound log p(x).
        log_likelihood_error: Its standard error over images; NaN for a single image, None as for ``log_likelihood``.
        effective_samples: Median over images of the effective sample size of the weights v_s = Σ_y w_sy, in
            [1, num_samples]; None as for ``log_likelihood``.
        pareto_k: Median over images of the Pareto k̂ of the same weights; None as for ``log_likelihood``, and for fewer
            than 25 samples.
        share_unreliable: Fraction of images with k̂ above 0.7, whose estimates are unreliable; None as for ``pareto_k``.
        bits_per_dimension: ``log_likelihood`` in bits per pixel and channel; None for vectors; see
            `ssvae.inference.evaluation.evaluation.bits_per_dimension`.
        elbo: Mean of -U(x) over the likelihood images in nats per image, one sample of z for each class.
        terms: The terms of the ELBO in nats per image; see `ssvae.inference.objective.bounds.Bound.terms`.
        reconstruction_error: Mean squared error of the reconstruction of all test images, per pixel and channel, for
            pixels in [0, 1]; for vectors per feature, standardised as the data are.
        num_samples: S, the number of importance samples for each class.
        seed: The random seed for the choice of likelihood images, the binarisation and the samples.
        seen_by_classifier: The pixels for ``classifier`` and ``reconstruction_error``: "grey", "colour", or "values"
            for vectors.
        seen_by_posterior: The pixels for all that uses the likelihood images: "binarised once" if the data are
            binarised, else as ``seen_by_classifier``.
        probabilities: q(y|x) of the test images, (test images, classes); after the assignment of ``discovery``, see
            `ssvae.inference.evaluation.discovery.Discovery.reorder`.
        labels: True classes of the test images, (test images,).
        posterior_labels: True classes of the likelihood images, (likelihood images,).
        posterior_probabilities: p(y|x), (likelihood images, classes), or None.
        probabilities_beside_posterior: q(y|x) of the same pixels, (likelihood images, classes), or None.
    """

    discovery: Discovery | None
    classifier: Calibration
    main_classes: Calibration | None
    posterior: Calibration | None
    classifier_beside_posterior: Calibration | None
    log_likelihood: float | None
    log_likelihood_error: float | None
    effective_samples: float | None
    pareto_k: float | None
    share_unreliable: float | None
    bits_per_dimension: float | None
    elbo: float
    terms: dict[str, float]
    reconstruction_error: float
    num_samples: int
    seed: int
    seen_by_classifier: str
    seen_by_posterior: str
    probabilities: Tensor
    labels: Tensor
    posterior_labels: Tensor
    posterior_probabilities: Tensor | None
    probabilities_beside_posterior: Tensor | None

    @property
    def num_images(self) -> int:
        """The number of test images."""
        return len(self.labels)

    @property
    def num_likelihood_images(self) -> int:
        """The number of likelihood images, the test images for importance sampling."""
        return len(self.posterior_labels)

    def to_dict(self) -> dict[str, Any]:
        """Return all results but the arrays as plain values, for JSON; None for a number that is not defined."""
        error, beside = self.log_likelihood_error, self.classifier_beside_posterior
        return {
            "num_images": self.num_images,
            "num_likelihood_images": self.num_likelihood_images,
            "num_samples": self.num_samples,
            "seed": self.seed,
            "discovery": None if self.discovery is None else self.discovery.to_dict(),
            "classifier": self.classifier.to_dict(),
            "main_classes": None if self.main_classes is None else self.main_classes.to_dict(),
            "posterior": None if self.posterior is None else self.posterior.to_dict(),
            "classifier_beside_posterior": None if beside is None else beside.to_dict(),
            "seen_by_classifier": self.seen_by_classifier,
            "seen_by_posterior": self.seen_by_posterior,
            "log_likelihood": self.log_likelihood,
            "log_likelihood_error": None if error is None or math.isnan(error) else error,
            "effective_samples": self.effective_samples,
            "pareto_k": self.pareto_k,
            "share_unreliable": self.share_unreliable,
            "bits_per_dimension": self.bits_per_dimension,
            "elbo": self.elbo,
            "terms": dict(self.terms),
            "reconstruction_error": self.reconstruction_error,
        }


def evaluate(
    model: SemiSupervisedModel,
    data: Data,
    *,
    num_samples: int = 100,
    num_images: int | None = None,
    seed: int = 0,
    progress_bar: bool = False,
) -> Evaluation:
    """Evaluate a model on the test images: accuracy and calibration, log p(x), p(y|x), the ELBO and its terms.

    The classifier q(y|x) is evaluated on all test images, not binarised. log p(x), p(y|x) and the ELBO are estimated on
    pixels as in training: if the data are binarised, each image is binarised once, by the seed. q(y|x) is also
    evaluated on these pixels, for comparison with p(y|x). The model's training mode and torch's random state are
    restored.

    Args:
        model: The model, on any device.
        data: The data set with test images.
        num_samples: S, the number of importance samples for each class.
        num_images: The number of test images for log p(x), p(y|x) and the ELBO, a random subset; None for all.
        seed: The random seed for the subset, the binarisation and the samples.
        progress_bar: Whether to show a progress bar in a terminal, and lines of the time left elsewhere.

    Returns:
        All results.

    Raises:
        TypeError: If num_samples or num_images is not an integer.
        ValueError: If there are no test images, num_samples or num_images is less than 1, num_images exceeds the number
            of test images, or the likelihood has no density for the pixels.

    Example:
        >>> import ssvae
        >>> digits = ssvae.Digits(num_labels=50)
        >>> model = ssvae.M2(digits.image_shape, digits.num_classes)
        >>> evaluation = ssvae.evaluate(model, digits, num_samples=25, num_images=10)
        >>> 0 <= evaluation.classifier.accuracy <= 1
        True
    """
    num_test_images = len(data.test_x)
    if num_test_images == 0:
        raise ValueError(f"test_{data.argument}: expected at least one {data.item} to evaluate on; got none.")
    _check_num_samples(num_samples)
    num_images = num_test_images if num_images is None else num_images
    if not isinstance(num_images, int):
        raise TypeError(f"num_images: expected an integer or None; got {num_images!r}.")
    if not 1 <= num_images <= num_test_images:
        raise ValueError(
            f"num_images: expected 1 to {num_test_images}, the number of test {data.item}s; got {num_images}."
        )
    labels = data.test_labels.cpu()
    probabilities = predict_probabilities(model, data, data.test_x)
    discovery = discover_classes(probabilities, data)
    if discovery is not None:
        probabilities = discovery.reorder(probabilities)
    generator = torch.Generator().manual_seed(seed)
    chosen = random_order(num_test_images, generator)[:num_images]
    with seeded(seed):
        images = data.test_x.cpu()[chosen]
        estimate, probabilities_beside, terms = _observe(model, data, images, num_samples, generator, progress_bar)
    # log p(x) in the data's own units
    log_volume = data.log_volume(images).double()
    terms = _shifted(terms, log_volume.mean().item())
    seen = _seen(data)
    evaluation = Evaluation(
        discovery=discovery,
        classifier=calibrate(probabilities, labels),
        main_classes=calibrate_main_classes(probabilities, data),
        posterior=None,
        classifier_beside_posterior=None,
        log_likelihood=None,
        log_likelihood_error=None,
        effective_samples=None,
        pareto_k=None,
        share_unreliable=None,
        bits_per_dimension=None,
        elbo=-terms["negative_elbo"],
        terms=terms,
        reconstruction_error=_reconstruction_error(model, data),
        num_samples=num_samples,
        seed=seed,
        seen_by_classifier=seen,
        seen_by_posterior="binarised once" if data.binarise else seen,
        probabilities=probabilities,
        labels=labels,
        posterior_labels=labels[chosen],
        posterior_probabilities=None,
        probabilities_beside_posterior=None,
    )
    if estimate is None:
        return evaluation
    log_evidence = estimate.log_evidence + log_volume
    log_likelihood = log_evidence.mean().item()
    known_tail = num_samples >= FEWEST_SAMPLES
    evaluation = replace(
        evaluation,
        log_likelihood=log_likelihood,
        log_likelihood_error=(log_evidence.std() / num_images**0.5).item() if num_images > 1 else math.nan,
        effective_samples=estimate.effective_samples.median().item(),
        pareto_k=estimate.pareto_k.median().item() if known_tail else None,
        share_unreliable=(estimate.pareto_k > K_LIMIT).double().mean().item() if known_tail else None,
        bits_per_dimension=bits_per_dimension(log_likelihood, model.event_shape, model.likelihood)
        if isinstance(data, ImageData)
        else None,
    )
    if not model.has_label_site:
        return evaluation
    posterior = estimate.posterior
    if discovery is not None:
        posterior, probabilities_beside = discovery.reorder(posterior), discovery.reorder(probabilities_beside)
    return replace(
        evaluation,
        posterior=calibrate(posterior, labels[chosen]),
        posterior_probabilities=posterior,
        classifier_beside_posterior=calibrate(probabilities_beside, labels[chosen]),
        probabilities_beside_posterior=probabilities_beside,
    )


def _seen(data: Data) -> str:
    """Return the word for what a classifier sees: "grey" or "colour" pixels, or "values"."""
    if not isinstance(data, ImageData):
        return "values"
    return "grey" if data.image_shape[0] == 1 else "colour"


def _shifted(terms: dict[str, float], log_volume: float) -> dict[str, float]:
    """Return the terms of the ELBO in the data's own units: E[-log p(x|y, z)] lacks the change of units."""
    shifted = dict(terms)
    for name in ("reconstruction", "negative_elbo"):
        shifted[name] -= log_volume
    return shifted


def discover_classes(probabilities: Tensor, data: Data) -> Discovery | None:
    """Assign the new classes of a model to the true classes of the test images that have no label.

    Args:
        probabilities: q(y|x) of the test images, (test images, classes).
        data: The data set.

    Returns:
        The assignment with its measures; None if all classes have labels.
    """
    if not data.has_new_classes:
        return None
    return discover(probabilities, data.test_labels, data.num_known_classes, len(data.true_class_names))


def calibrate_main_classes(probabilities: Tensor, data: Data) -> Calibration | None:
    """Return accuracy and calibration for main classes.

    Args:
        probabilities: q(y|x) of the test images, (test images, classes).
        data: The data set, whose hierarchy maps classes to main classes.

    Returns:
        The measures for the summed probabilities; None if the data have no hierarchy.
    """
    if data.hierarchy is None:
        return None
    return calibrate(data.hierarchy.coarsen(probabilities), data.hierarchy.main_class_of[data.test_labels.cpu()])


def importance_sampling(
    model: SemiSupervisedModel, x: Tensor, num_samples: int, advance: Callable[[int], object] = lambda number: None
) -> ImportanceEstimate:
    """Estimate log p(x, y) for every class by importance sampling.

    With samples z_s ~ q(z | x, y)::

        log p(x, y) ≈ log 1/S Σ_s p(x, y, z_s) / q(z_s | x, y)

    q is the model's guide, shifted and scaled for each image and class by
    `ssvae.inference.evaluation.proposal.fit_proposal`. The samples are drawn after the fit. Images and samples are
    processed in chunks.

    Source: Burda et al. 2015 (arXiv 1509.00519).

    Args:
        model: The model, on any device.
        x: Images (batch, channels, height, width), pixels in [0, 1]; binarised if the likelihood requires it.
        num_samples: S, the number of samples for each class.
        advance: Called with the number of images that have been done since the last call.

    Returns:
        The estimates of log p(x, y), with effective sample sizes and Pareto k̂.

    Raises:
        TypeError: If num_samples is not an integer.
        ValueError: If num_samples is less than 1, or the model's ELBO does not bound log p(x).
    """
    _check_num_samples(num_samples)
    if not model.bounds_evidence:
        raise ValueError(f"model: expected one whose guide has a density; got {type(model).__name__}, which has none.")
    device, num_classes = device_of(model), model.num_classes if model.has_label_site else 1
    y = torch.arange(num_classes, device=device).unsqueeze(-1) if model.has_label_site else None  # (classes, 1)
    estimates = []
    for images in torch.split(
        x.to(device), images_per_chunk(model, copies=num_classes * SAMPLES * _KEPT_BY_A_GRADIENT)
    ):
        with evaluating(model):
            proposal = fit_proposal(model, images, y)
        samples_at_once = images_per_chunk(model, copies=num_classes * len(images))
        # Thousands of samples of a few images take long: after a share of the work, as large a share of the images.
        num_done = len(images) * COST // (COST + num_samples)
        advance(num_done)
        parts = []
        for start in range(0, num_samples, samples_at_once):
            stop = min(start + samples_at_once, num_samples)
            parts.append(log_weights(model, images, y, stop - start, proposal).cpu().double())
            before, num_done = num_done, len(images) * (COST + stop) // (COST + num_samples)
            advance(num_done - before)
        log_w = torch.cat(parts).view(num_samples, num_classes, len(images))
        log_joint = (log_w.logsumexp(0) - math.log(num_samples)).T  # (batch, classes)
        log_v = log_w.logsumexp(1)  # (samples, batch)
        estimates.append(ImportanceEstimate(log_joint, effective_samples(log_v), pareto_k(log_v)))
    return ImportanceEstimate.of(estimates)


def log_weights(
    model: SemiSupervisedModel, x: Tensor, y: Tensor | None, num_samples: int, proposal: Messenger | None = None
) -> Tensor:
    """Return the log-weights log p(x, y, z) - log q(z | x, y) of samples z from the guide or a proposal.

    The samples are in a plate of their own, to the left of the classes. Every latent variable is sampled anew for each,
    also one that does not depend on y. Outputs of networks that depend only on x and y are computed once.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), pixels in [0, 1], on the model's device.
        y: Classes, integers (batch,), or (classes, 1) for all classes of each image; None for a model without a class.
        num_samples: S, the number of samples.
        proposal: A handler that shifts and scales the guide (`ssvae.inference.evaluation.proposal`); None for the guide
            itself.

    Returns:
        (samples, batch), or (samples, classes, batch), in nats.
    """
    # Without gradients, since densities with parameters, such as those of a learned mixture, would keep every sample.
    with evaluating(model):
        return weigh(model, x, y, num_samples, proposal if proposal is not None else Messenger())


def bits_per_dimension(log_evidence: float, event_shape: EventShape, likelihood: Likelihood) -> float:
    """Return the code length of an image in bits per dimension.

    With D = channels · height · width::

        discrete likelihood:   -log p(x) / (D ln 2)
        density on [0, 1]:     -(log p(x) - D ln 256) / (D ln 2)

    A density has to be discretised first. 8-bit pixels are cells of width 1/256 in [0, 1]. The probability of a cell is
    about density · 1/256, which subtracts ln 256 from log p(x), or adds 8 bits, for each dimension. The approximation
    is poor for a density that is concentrated at the 256 levels: it then gives fewer bits than any code needs.
    `ssvae.models.likelihoods.discretized_logistic.DiscretizedLogistic` needs no such approximation. With the Bernoulli
    likelihood the pixels are binary, and the bits are not comparable with those of 8-bit pixels.

    Args:
        log_evidence: log p(x) of an image, or its mean over images, in nats.
        event_shape: Channels, height and width.
        likelihood: The likelihood, discrete or a density.

    Returns:
        Bits per pixel and channel.
    """
    dimensions = math.prod(event_shape)
    log_cell = 0.0 if likelihood.is_discrete else -math.log(PIXEL_LEVELS)
    return -(log_evidence / dimensions + log_cell) / math.log(2)


def _observe(
    model: SemiSupervisedModel,
    data: Data,
    images: Tensor,
    num_samples: int,
    generator: torch.Generator,
    progress_bar: bool,
) -> tuple[ImportanceEstimate | None, Tensor, dict[str, float]]:
    """Return, for the same pixels, estimates of log p(x, y) (None without a bound), q(y|x) and the mean ELBO terms."""
    estimates: list[ImportanceEstimate] = []
    probabilities: list[Tensor] = []
    terms: dict[str, float] = {}
    with progress("log p(x)", len(images), f"{data.item}s", is_shown=progress_bar) as advance:
        # The chunks, and so the binarisation by a seed, do not depend on S.
        for chunk in torch.split(images, images_per_chunk(model, copies=model.num_classes)):
            x = data.observe(data.preprocess(chunk), generator)
            model.likelihood.check(x)
            # Pyro's validation checks every value, which is slow: only for the first chunk.
            with pyro.validation_enabled(not terms):
                for name, value in _elbo_terms(model, x.to(device_of(model))).items():
                    terms[name] = terms.get(name, 0.0) + value * len(chunk) / len(images)
                probabilities.append(class_probabilities(model, x))
                if model.bounds_evidence:
                    estimates.append(importance_sampling(model, x, num_samples, advance))
                else:
                    advance(len(chunk))
    return ImportanceEstimate.of(estimates) if estimates else None, torch.cat(probabilities), terms


def _elbo_terms(model: SemiSupervisedModel, x: Tensor) -> dict[str, float]:
    """Return the mean terms of U(x), computed as in training."""
    bound: PlainBound | SummedBound = SummedBound() if model.sums_over_class else PlainBound()
    with evaluating(model), pyro.settings.context(module_local_params=True):
        # Not negative_elbo, which needs gradients.
        bound.loss(model.model, model.guide, x)  # type: ignore[no-untyped-call]
    return {name: value.item() for name, value in bound.terms().items()}


def _reconstruction_error(model: SemiSupervisedModel, data: Data) -> float:
    """Return the mean of (x - x̂)² over test images, pixels and channels, where x̂ = E[ x | z ] at the latent mean.

    Entries that were not seen are left out; NaN if none was seen.
    """
    total, number = 0.0, 0
    with evaluating(model):
        for chunk in torch.split(data.test_x, images_per_chunk(model)):
            x = data.preprocess(chunk).to(device_of(model))
            errors = (x - model.reconstruct(x)).square().double()
            total += errors.nansum().item()
            number += int((~errors.isnan()).sum())
    return total / number if number else math.nan


def _check_num_samples(num_samples: int) -> None:
    if not isinstance(num_samples, int):
        raise TypeError(f"num_samples: expected an integer; got {num_samples!r}.")
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
