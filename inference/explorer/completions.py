"""The predictions of a run for an image of which some pixels are missing: class probabilities and completed images."""

import math
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ssvae.data import ImageData
from ssvae.data.random_order import random_order
from ssvae.inference.applications.imputation import fitted_samples
from ssvae.inference.explorer.answers import Predictions, check_num_samples, pixels_of, posterior_of
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.inference.runs.run import Run
from ssvae.models import SemiSupervisedModel
from ssvae.models.constant_imputation import ConstantImputation
from ssvae.models.importance import impute
from ssvae.models.likelihoods import MissingEntries

NUM_COMPLETIONS = 8

_AVERAGED_IMAGES = 2000


@dataclass(frozen=True)
class Completions(Predictions):
    """The predictions of a run for an image with missing pixels, which are NaN in ``image`` and ``observed``.

    ``probabilities`` is q(y|x_seen): the mean of q(y|x) over the completions, if the classifier was trained on complete
    images and takes no missing pixels. ``posterior`` is p(y|x_seen) and log p(x_seen).

    Attributes:
        original: The image before pixels were taken away.
        mean: E[x_missing|x_seen] in place of missing pixels.
        completions: E[x_missing|y, z] in place of missing pixels, for y and z drawn from p(y, z|x_seen),
            (number, channels, height, width).
        classes: The y of each completion, (number,); None if the model has no class.
        effective_samples: Effective sample size of the weights.
    """

    original: Tensor
    mean: Tensor
    completions: Tensor
    classes: Tensor | None
    effective_samples: float


def obstacle(model: SemiSupervisedModel) -> str | None:
    """Return why a model cannot complete images; None if it can."""
    if not model.bounds_evidence:
        return "its guide has no density for importance weights"
    if not model.likelihood.admits_missing:
        try:
            MissingEntries(model.likelihood).set_event_shape(model.event_shape)
        except ValueError:
            return f"its likelihood {model.likelihood} needs all pixels"
    return None


def caution(run: Run) -> str | None:
    """Return what the networks of a run have not seen in training, in one sentence; None if its recipe is unknown."""
    if not run.model.likelihood.admits_missing:
        return (
            "This run was trained on complete images: in place of missing pixels its guide gets the mean of the "
            "training images, which importance weights correct, and q(y|x_seen) is the mean of q(y|x) over the "
            "completions."
        )
    if run.recipe is None:
        return None
    if not run.recipe.hidden_fraction:
        return (
            "This run was trained on complete images: its guide has never seen missing pixels, which importance "
            "weights correct, and neither has its classifier, which nothing corrects."
        )
    return (
        "This run was trained with single pixels hidden at random: a wiped region is another pattern to its guide, "
        "which importance weights correct, and to its classifier, which nothing corrects."
    )


def model_of_seen(run: Run) -> SemiSupervisedModel:
    """Return the model of a run, as one that takes missing pixels.

    Where it does not, its networks get the mean of training images in place of missing pixels: of at most 2000, at
    random.

    Raises:
        ValueError: If it cannot complete images.
    """
    reason = obstacle(run.model)
    if reason is not None:
        raise ValueError(f"model: expected one that can complete images; got {type(run.model).__name__}: {reason}.")
    if run.model.likelihood.admits_missing:
        return run.model
    return ConstantImputation(run.model, _mean_image(run.image_data).to(device_of(run.model)))


def complete(
    model: SemiSupervisedModel,
    data: ImageData,
    image: Tensor,
    missing: Tensor,
    *,
    num_samples: int = 50,
    num_completions: int = NUM_COMPLETIONS,
) -> Completions:
    """Return the predictions of a model for an image with missing pixels; the same ones for the same pixels.

    z is drawn from the guide, shifted and scaled for the image, as in `ssvae.impute`. The same samples give
    p(y|x_seen), log p(x_seen), E[x_missing|x_seen] and, drawn again by their weights, the completions.

    Args:
        model: A model that takes missing pixels, such as that of `model_of_seen`.
        data: Its data set.
        image: uint8 (channels, height, width).
        missing: Which pixels are missing, bool (height, width).
        num_samples: The number of importance samples for each class.
        num_completions: The number of completions.

    Raises:
        ValueError: If num_samples is less than 2.
    """
    check_num_samples(num_samples)
    original, observed = pixels_of(data, image)
    pixels, observed = (each.masked_fill(missing, math.nan) for each in (original, observed))
    x = observed.to(device_of(model))
    # Pyro's validation would double the time; pixels in [0, 1] are valid.
    with pyro.validation_enabled(False), seeded(0), evaluating(model):
        samples = fitted_samples(model, x, num_samples)
        imputation = impute(samples, model.likelihood, x, num_completions)
    completions = imputation.draw_means[:, 0].cpu()
    if isinstance(model, ConstantImputation):
        # E[q(y|x) | x_seen]. Of the constant, which does for the guide, nothing would correct q(y|x).
        probabilities = class_probabilities(model.trained, torch.where(missing, completions, pixels)).mean(0)
        classifier = class_probabilities(model.trained, completions).mean(0)
    else:
        probabilities, classifier = class_probabilities(model, torch.cat([pixels, observed]))
    posterior = posterior_of(samples.log_weights.squeeze(-1), classifier) if model.has_label_site else None
    return Completions(
        original=original[0],
        image=pixels[0],
        observed=observed[0],
        probabilities=probabilities,
        posterior=posterior,
        mean=imputation.mean[0].cpu(),
        completions=completions,
        classes=None if imputation.draw_classes is None else imputation.draw_classes[:, 0].cpu(),
        effective_samples=imputation.effective_samples.item(),
    )


def _mean_image(data: ImageData) -> Tensor:
    chosen = random_order(len(data.train_images))[:_AVERAGED_IMAGES]
    return data.preprocess(data.train_images[chosen]).mean(0)
