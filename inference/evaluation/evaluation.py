"""Evaluation: accuracy and calibration, log p(x) and p(y|x) by importance sampling, the ELBO's terms.

A model is asked only for its two Pyro programs, `model` and `guide`, for `classify` and for `reconstruct`. So
whatever trains can be evaluated, and nothing here has to be told how many latent variables there are.

    w_s = p(x, y, z_s) / q(z_s | x, y),   z_s ~ q(z | x, y), fitted to each image: `ssvae.inference.evaluation.proposal`
    p(x, y) ≈ 1/S Σ_s w_s                 for each class y
    p(x)    = Σ_y p(x, y)                 a sum, not a sample
    p(y|x)  = p(x, y) / p(x)

Burda, Grosse and Salakhutdinov 2015, arXiv 1509.00519. The logarithm of an unbiased estimate is too small on
average: log p(x) is bounded from below, the more tightly the larger S is; with S = 1 and y weighted by q(y|x)
it is the ELBO. How far to trust such a figure its weights say, v_s = Σ_y w_s of sample s: their effective number,
and the k̂ of their tail (`ssvae.inference.evaluation.diagnostics`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from tqdm import tqdm

from ssvae.data import ImageData
from ssvae.inference.evaluation.calibration import Calibration, calibrate
from ssvae.inference.evaluation.diagnostics import FEWEST_SAMPLES, K_LIMIT, effective_samples, pareto_k
from ssvae.inference.evaluation.proposal import SAMPLES, fit_proposal, weigh
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
from ssvae.models.networks import ImageShape

# So many times more memory a pixel takes where a gradient is computed.
_KEPT_BY_A_GRADIENT = 1


@dataclass(frozen=True)
class ImportanceEstimate:
    """What importance sampling says of a batch of images; in nats, float64, on the CPU.

    Attributes:
        log_joint: Estimates of log p(x, y), (batch, classes); of log p(x), (batch, 1), where the story has no class.
        effective_samples: Effective number of the samples behind log p(x), of their weights v_s = Σ_y w_sy; (batch,).
        pareto_k: The same weights' Pareto k̂, (batch,); NaN where there are fewer than 25 samples.
    """

    log_joint: Tensor
    effective_samples: Tensor
    pareto_k: Tensor

    @classmethod
    def of(cls, parts: "Sequence[ImportanceEstimate]") -> "ImportanceEstimate":
        """Return the estimates of several batches as those of one."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @property
    def log_evidence(self) -> Tensor:
        """Estimates of log p(x) = log Σ_y p(x, y), (batch,)."""
        return self.log_joint.logsumexp(-1)

    @property
    def posterior(self) -> Tensor:
        """Estimates of p(y|x) = p(x, y) / Σ_y p(x, y), (batch, classes)."""
        return self.log_joint.softmax(-1)


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model after it has met the test images.

    Attributes:
        classifier: Of q(y|x), on all test images as `seen_by_classifier` says.
        main_classes: Of the sums of q(y|x) over the classes of each main class; None where the data have none.
        posterior: Of p(y|x) by importance sampling, on `num_likelihood_images` of them as `seen_by_posterior` says;
            None where the model's story has no class, or its ELBO does not bound log p(x).
        classifier_beside_posterior: Of q(y|x) on the very images and pixels that `posterior` is of; None as above.
        log_likelihood: Mean of log p(x) over those images, in nats per image; a lower bound in expectation. A
            probability's logarithm where the likelihood is discrete, a density's otherwise. None where the model's
            ELBO does not bound it.
        log_likelihood_error: Its standard error over images; NaN where there is only one, None as above.
        effective_samples: How many of the samples stand behind log p(x) of an image, and p(y|x) with it: the median
            over those images of the effective sample size of v_s = Σ_y w_sy, of at most `num_samples`; None as above.
        pareto_k: The median over images of the same weights' Pareto k̂; None as above, and for fewer than 25 samples.
        share_unreliable: The share of the images whose k̂ is above 0.7, so that their estimate cannot be relied on;
            None likewise.
        bits_per_dimension: The same in bits per pixel and channel; see `bits_per_dimension`.
        elbo: Mean of -U(x) over the same images, one sample of z for each class, in nats per image.
        terms: Its terms, in nats per image; see `ssvae.inference.objective`.
        reconstruction_error: Mean squared difference, per pixel and channel, between all test images in grey or
            colour and what the model makes of them.
        num_samples: S, importance samples for each class.
        seed: Of the choice of images, of the binarisation and of the samples.
        seen_by_classifier: The pixels behind `classifier` and the reconstruction error: "grey" or "colour".
        seen_by_posterior: The pixels behind log p(x), the ELBO, p(y|x) and the q(y|x) beside it: "binarised once" where
            the data are binarised, or the same.
        probabilities: q(y|x), (test images, classes).
        labels: Their classes, (test images,).
        posterior_labels: Classes of the likelihood images, (likelihood images,).
        posterior_probabilities: p(y|x), (likelihood images, classes), or None.
        probabilities_beside_posterior: q(y|x) of the same pixels, (likelihood images, classes), or None.
    """

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
        """How many test images q(y|x) was asked for."""
        return len(self.labels)

    @property
    def num_likelihood_images(self) -> int:
        """How many of them importance sampling looked at."""
        return len(self.posterior_labels)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays in plain numbers; None where a number is not defined."""
        error, beside = self.log_likelihood_error, self.classifier_beside_posterior
        return {
            "num_images": self.num_images,
            "num_likelihood_images": self.num_likelihood_images,
            "num_samples": self.num_samples,
            "seed": self.seed,
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
    data: ImageData,
    *,
    num_samples: int = 100,
    num_images: int | None = None,
    seed: int = 0,
    progress_bar: bool = False,
) -> Evaluation:
    """Meet the test images: accuracy and calibration, log p(x), p(y|x), the ELBO and its terms.

    q(y|x) sees every test image, in grey or colour; the likelihood sees what a model sees in training, so binarised
    (once, by the seed) where the data are. q(y|x) is also asked of what the likelihood sees, so that it can be compared
    with p(y|x). The model keeps its training mode and torch its random state.

    Args:
        model: The model, on any device.
        data: The images.
        num_samples: S, importance samples for each class.
        num_images: How many test images the likelihood is computed for, the first of a random order that
            depends on the seed; None for all.
        seed: Of that order, of the binarisation and of the samples.
        progress_bar: Whether a terminal shows for how many images the likelihood is known, and how long it will take.

    Raises:
        ValueError: If there are no test images, num_samples or num_images is less than 1, num_images is more
            than there are, or the likelihood has no density for the pixels.
    """
    num_test_images = len(data.test_images)
    if num_test_images == 0:
        raise ValueError("test_images: expected at least one image to evaluate on; got none.")
    _check_num_samples(num_samples)
    num_images = num_test_images if num_images is None else num_images
    if not isinstance(num_images, int):
        raise TypeError(f"num_images: expected an integer or None; got {num_images!r}.")
    if not 1 <= num_images <= num_test_images:
        raise ValueError(f"num_images: expected 1 to {num_test_images}, the number of test images; got {num_images}.")
    probabilities = predict_probabilities(model, data, data.test_images)
    labels = data.test_labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(num_test_images, generator=generator)[:num_images]
    with seeded(seed):
        images = data.test_images.cpu()[chosen]
        estimate, beside, terms = _observe(model, data, images, num_samples, generator, progress_bar)
    seen = "grey" if data.image_shape[0] == 1 else "colour"
    evaluation = Evaluation(
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
    log_evidence = estimate.log_evidence
    log_likelihood = log_evidence.mean().item()
    known_tail = num_samples >= FEWEST_SAMPLES
    evaluation = replace(
        evaluation,
        log_likelihood=log_likelihood,
        log_likelihood_error=(log_evidence.std() / num_images**0.5).item() if num_images > 1 else math.nan,
        effective_samples=estimate.effective_samples.median().item(),
        pareto_k=estimate.pareto_k.median().item() if known_tail else None,
        share_unreliable=(estimate.pareto_k > K_LIMIT).double().mean().item() if known_tail else None,
        bits_per_dimension=bits_per_dimension(log_likelihood, model.image_shape, model.likelihood),
    )
    if not model.has_label_site:
        return evaluation
    return replace(
        evaluation,
        posterior=calibrate(estimate.posterior, labels[chosen]),
        posterior_probabilities=estimate.posterior,
        classifier_beside_posterior=calibrate(beside, labels[chosen]),
        probabilities_beside_posterior=beside,
    )


def calibrate_main_classes(probabilities: Tensor, data: ImageData) -> Calibration | None:
    """Return what is known of main classes by q(y|x), (test images, classes); None where the data have none."""
    if data.hierarchy is None:
        return None
    return calibrate(data.hierarchy.coarsen(probabilities), data.hierarchy.main_class_of[data.test_labels.cpu()])


def importance_sampling(model: SemiSupervisedModel, x: Tensor, num_samples: int) -> ImportanceEstimate:
    """Estimate log p(x, y) for every class by importance sampling.

        log p(x, y) ≈ log 1/S Σ_s p(x, y, z_s) / q(z_s | x, y),   z_s ~ q(z | x, y)

    Burda et al. 2015, arXiv 1509.00519. q is the model's guide, moved and scaled for each image and class: the fit, the
    same for all models, is `ssvae.inference.evaluation.proposal.fit_proposal`, and its samples are none of these. Runs
    in chunks, over images and over samples.

    Args:
        model: The model, on any device.
        x: Images (batch, channels, height, width) as the model is to see them: binarised where it wants that.
        num_samples: S, for each class.

    Raises:
        ValueError: If num_samples is less than 1, or the model's ELBO does not bound log p(x).
    """
    _check_num_samples(num_samples)
    if not model.bounds_evidence:
        raise ValueError(f"model: expected one whose guide has a density; got {type(model).__name__}, which has none.")
    device, num_classes = device_of(model), model.num_classes if model.has_label_site else 1
    y = torch.arange(num_classes, device=device).unsqueeze(-1) if model.has_label_site else None  # (classes, 1)
    found = []
    for images in torch.split(
        x.to(device), images_per_chunk(model, copies=num_classes * SAMPLES * _KEPT_BY_A_GRADIENT)
    ):
        with evaluating(model):
            proposal = fit_proposal(model, images, y)
        samples_at_once = images_per_chunk(model, copies=num_classes * len(images))
        log_w = torch.cat(
            [
                log_weights(model, images, y, min(samples_at_once, num_samples - done), proposal).cpu().double()
                for done in range(0, num_samples, samples_at_once)
            ]
        ).view(num_samples, num_classes, len(images))
        log_joint = (log_w.logsumexp(0) - math.log(num_samples)).T  # (batch, classes)
        log_v = log_w.logsumexp(1)  # (samples, batch)
        found.append(ImportanceEstimate(log_joint, effective_samples(log_v), pareto_k(log_v)))
    return ImportanceEstimate.of(found)


def log_weights(
    model: SemiSupervisedModel, x: Tensor, y: Tensor | None, num_samples: int, proposal: Messenger | None = None
) -> Tensor:
    """Return log w = log p(x, y, z) - log q(z | x, y) for samples z of the guide, or of a proposal around it.

    The samples stand in a plate of their own, left of the classes: every latent variable is drawn anew for
    each sample, also one that does not depend on y; what a network makes of x and y alone is computed once.

    Args:
        model: The model.
        x: Images (batch, channels, height, width), on the model's device.
        y: Classes that broadcast with the batch: (batch,), or (classes, 1) for every class of every image; None for
            a story without a class.
        num_samples: S.
        proposal: What the guide is moved by; see `ssvae.inference.evaluation.proposal`. None for the guide itself.

    Returns:
        (samples, batch), or (samples, classes, batch); in nats.
    """
    # No gradient: densities of weights, such as a learned mixture's, would keep every sample in memory.
    with evaluating(model):
        return weigh(model, x, y, num_samples, proposal if proposal is not None else Messenger())


def bits_per_dimension(log_evidence: float, image_shape: ImageShape, likelihood: Likelihood) -> float:
    """Return how many bits an image costs for each of its D = channels · height · width numbers.

        discrete likelihood:   -log p(x) / (D ln 2)
        density on [0, 1]:     -(log p(x) - D ln 256) / (D ln 2)

    A density has no cost in bits until pixels have a size. 8-bit pixels are cells of width 1/256 in [0, 1];
    the probability of a cell is about density · 1/256, which takes ln 256 from log p(x), or adds 8 bits, for
    each dimension. It is an approximation: a density may be narrow and high at the levels themselves, where
    the data are, and then seem to cost less than any code does. `DiscretizedLogistic` needs no such
    correction. With `Bernoulli` the bits are of binarised pixels: not to be compared with 8-bit ones.

    Args:
        log_evidence: log p(x) of an image, or its mean over images, in nats.
        image_shape: Channels, height and width.
        likelihood: Whose `is_discrete` says which of the two it is.
    """
    dimensions = math.prod(image_shape)
    log_cell = 0.0 if likelihood.is_discrete else -math.log(PIXEL_LEVELS)
    return -(log_evidence / dimensions + log_cell) / math.log(2)


def _observe(
    model: SemiSupervisedModel,
    data: ImageData,
    images: Tensor,
    num_samples: int,
    generator: torch.Generator,
    progress_bar: bool,
) -> tuple[ImportanceEstimate | None, Tensor, dict[str, float]]:
    """Estimate log p(x, y), where it can be; q(y|x) and the mean terms of the ELBO for the same observations."""
    estimates: list[ImportanceEstimate] = []
    probabilities: list[Tensor] = []
    terms: dict[str, float] = {}
    hidden = None if progress_bar else True  # None: hidden where there is no terminal
    with tqdm(total=len(images), desc="log p(x)", unit=" images", leave=False, disable=hidden) as bar:
        # These chunks do not depend on S, so that a seed's binarisation does not either.
        for chunk in torch.split(images, images_per_chunk(model, copies=model.num_classes)):
            x = data.observe(data.pixels(chunk), generator)
            model.likelihood.check(x)
            # Pyro's checks look at every value: worth it once, on the first images.
            with pyro.validation_enabled(not terms):
                for name, value in _elbo_terms(model, x.to(device_of(model))).items():
                    terms[name] = terms.get(name, 0.0) + value * len(chunk) / len(images)
                probabilities.append(class_probabilities(model, x))
                if model.bounds_evidence:
                    estimates.append(importance_sampling(model, x, num_samples))
            bar.update(len(chunk))
    return ImportanceEstimate.of(estimates) if estimates else None, torch.cat(probabilities), terms


def _elbo_terms(model: SemiSupervisedModel, x: Tensor) -> dict[str, float]:
    """Return the mean terms of U(x), by the very sums that training minimises."""
    bound: PlainBound | SummedBound = SummedBound() if model.sums_over_class else PlainBound()
    with evaluating(model), pyro.settings.context(module_local_params=True):
        # Not negative_elbo, which insists on a gradient.
        bound.loss(model.model, model.guide, x)  # type: ignore[no-untyped-call]
    return {name: value.item() for name, value in bound.terms().items()}


def _reconstruction_error(model: SemiSupervisedModel, data: ImageData) -> float:
    """Return the mean over test images, pixels and channels of (x - x̂)², x̂ = E[ x | z ] at the mean z of x."""
    total = 0.0
    with evaluating(model):
        for chunk in torch.split(data.test_images, images_per_chunk(model)):
            x = data.pixels(chunk).to(device_of(model))
            total += (x - model.reconstruct(x)).square().double().sum().item()
    return total / data.test_images.numel()


def _check_num_samples(num_samples: int) -> None:
    if not isinstance(num_samples, int):
        raise TypeError(f"num_samples: expected an integer; got {num_samples!r}.")
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
