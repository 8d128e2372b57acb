"""Quality of generated images, by a reference classifier that was trained on all labels."""

import ssvae.inference.environment  # noqa: F401  # isort: skip  (before torchmetrics)

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ssvae.data import ImageData
from ssvae.inference.objective.objective import Objective
from ssvae.inference.predict import device_of, evaluating, seeded
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.inference.training.training import train
from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.networks import MLP, SMALLEST_IMAGE, Architecture, Convolutional

_AT_ONCE = 500


@dataclass(frozen=True)
class GenerationScores:
    """Quality of images of known classes, by a reference classifier.

    Attributes:
        agreement: Share of the images that the reference classifier puts into the class they were drawn for.
        diversity: Mean distance of two images of one class, in the reference classifier's features,
            divided by the same of the test images: 1 is as diverse as they are.
        frechet_distance: Fréchet distance of the features, ‖μ - μ'‖² + tr(Σ + Σ' - 2 (Σ Σ')^½), to those of the test
            images (Heusel et al. 2017, arXiv 1706.08500), with the reference classifier in place of
            the Inception network. Compare it only with values by the same classifier.
    """

    agreement: float
    diversity: float
    frechet_distance: float


class ReferenceClassifier(nn.Module):
    """A classifier whose last hidden layer serves as features.

    Args:
        model: The model whose q(y | x) is used.
    """

    def __init__(self, model: M2) -> None:
        super().__init__()
        self.model = model
        *_, self._last = (module for module in model.y_encoder.modules() if isinstance(module, nn.Linear))
        self.num_features: int = self._last.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Return features.

        Args:
            x: Images (N, channels, height, width), pixels in [0, 1].

        Returns:
            (N, features), on the CPU.
        """
        return self._logits_and_features(x)[1]

    def classes(self, x: Tensor) -> Tensor:
        """Return the most probable classes, integers (N,), on the CPU."""
        return self._logits_and_features(x)[0].argmax(-1)

    def _logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features: list[Tensor] = []
        handle = self._last.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
        try:
            with evaluating(self.model):
                logits = [self.model.classify(chunk).logits for chunk in x.to(device_of(self.model)).split(_AT_ONCE)]
        finally:
            handle.remove()
        return torch.cat(logits).cpu(), torch.cat(features).cpu()


def train_reference_classifier(
    data: ImageData, *, max_steps: int = 2000, seed: int = 0
) -> tuple[ReferenceClassifier, float]:
    """Train a convolutional classifier on all labels; an MLP for images that are too small for convolutions.

    Args:
        data: The data set, fully labelled (``num_labels=None``).
        max_steps: The number of optimiser steps, with 100 images each.
        seed: The random seed for initial weights and batches.

    Returns:
        The reference classifier, and its accuracy on the test images.

    Raises:
        ValueError: If the training images are not all labelled, or there are no test images.
    """
    if data.num_labelled < len(data.train_images):
        raise ValueError(
            f"data: expected the class of every training image (num_labels=None), to train the reference "
            f"classifier; got {data.num_labelled} of {len(data.train_images)}."
        )
    if not len(data.test_images):
        raise ValueError("data: expected test images to compare with; got none.")
    small = min(data.image_shape[1:]) < SMALLEST_IMAGE
    networks: Architecture = MLP((256, 128), nn.ReLU) if small else Convolutional((32, 64), 128)
    with seeded(seed):
        model = M2(data.image_shape, data.num_classes, networks=networks)
    recipe = Recipe(
        objective=Objective(alpha=1, generative=False),
        max_steps=max_steps,
        learning_rate=1e-3,
        seed=seed,
        trainer=TrainerOptions(progress_bar=False),
    )
    train(model, data, recipe, folder=None, interactive=False, task="reference classifier")
    reference = ReferenceClassifier(model)
    correct = reference.classes(data.preprocess(data.test_images)) == data.test_labels
    return reference, correct.double().mean().item()


def score_generation(
    model: SemiSupervisedModel,
    data: ImageData,
    reference: ReferenceClassifier,
    *,
    num_samples: int = 100,
    seed: int = 0,
) -> dict[str, GenerationScores]:
    """Score samples of each class by a reference classifier. Training images are scored too, as an upper limit.

    Args:
        model: The model, on any device.
        data: The data set, fully labelled (``num_labels=None``).
        reference: The reference classifier.
        num_samples: The number of samples of each class, and of training images of each class.
        seed: The random seed for the samples and the choice of training images.

    Returns:
        The scores of "samples" and of "training images".

    Raises:
        ValueError: If there are fewer than two samples, or fewer than two test images of a class.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples: expected at least 2; got {num_samples}.")
    y = torch.arange(data.num_classes)
    with evaluating(model), seeded(seed):
        samples = model.sample(y.to(device_of(model)), num_samples).cpu()  # (samples, classes, …)
        order = torch.randperm(len(data.train_images))
    index = torch.cat([order[data.train_labels[order] == k][:num_samples] for k in y.tolist()])
    images = {
        "samples": (samples.flatten(end_dim=1), y.repeat(num_samples)),
        "training images": (data.preprocess(data.train_images[index]), data.train_labels[index]),
    }
    real = reference(data.preprocess(data.test_images))
    spread = _spread(real, data.test_labels, data.num_classes)
    distance = FrechetInceptionDistance(feature=_Features(reference.num_features), reset_real_features=False)
    distance.set_dtype(torch.float64)
    distance.update(real, real=True)
    scores = {}
    for name, (x, classes) in images.items():
        features = reference(x)
        distance.update(features, real=False)
        scores[name] = GenerationScores(
            agreement=(reference.classes(x) == classes).double().mean().item(),
            diversity=_spread(features, classes, data.num_classes) / spread,
            frechet_distance=distance.compute().item(),
        )
        distance.reset()
    return scores


class _Features(nn.Module):
    """The identity, for torchmetrics: the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _spread(features: Tensor, classes: Tensor, num_classes: int) -> float:
    """Return the mean over classes of the mean distance between two images of the class."""
    spreads = []
    for k in range(num_classes):
        class_features = features[classes == k].double()
        if len(class_features) < 2:
            raise ValueError(
                f"data: expected at least two images of each class; got {len(class_features)} of class {k}."
            )
        spreads.append(torch.pdist(class_features[:_AT_ONCE]).mean())
    return torch.stack(spreads).mean().item()
