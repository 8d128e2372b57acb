"""Data augmentation by generated images: a classifier on few labels, with and without samples of a model."""

import copy
from dataclasses import replace

import torch

from ssvae.data import Arrays, ImageData
from ssvae.inference.evaluation.calibration import Calibration, calibrate
from ssvae.inference.objective.objective import Objective
from ssvae.inference.predict import device_of, evaluating, predict_probabilities, seeded
from ssvae.inference.storage.description import build, describe
from ssvae.inference.training.recipe import Recipe
from ssvae.inference.training.training import train
from ssvae.models import SemiSupervisedModel

_STEPS = 1000


def train_on_samples(
    model: SemiSupervisedModel, data: ImageData, recipe: Recipe, *, num_samples: int = 100, seed: int = 0
) -> dict[str, Calibration]:
    """Train a classifier on the labelled images alone, and on labelled images and class samples of a model.

    Both classifiers are the model's supervised baseline, with the same initial weights, number of steps, augmentation
    and learning rate. Unlabelled images are used only indirectly, through the model that generates.

    Args:
        model: The model that generates samples.
        data: The data set with labelled training images and test images.
        recipe: The recipe of the model's training; its objective is replaced by -log q(y|x).
        num_samples: The number of samples of each class.
        seed: The random seed for samples, initial weights and batches.

    Returns:
        Accuracy and calibration of "labels alone" and of "labels and samples" on the test images.

    Raises:
        ValueError: If there are no labelled training images or no test images, a class has no label, or num_samples is
            less than 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
    if data.num_labelled == 0:
        raise ValueError("data: expected labelled training images; got none.")
    if data.has_new_classes:
        raise ValueError(f"data: expected a label of every class; got {data.name}, some of whose classes have none.")
    if len(data.test_images) == 0:
        raise ValueError("data: expected test images to compare on; got none.")
    y = torch.arange(data.num_classes)
    with evaluating(model), seeded(seed):
        samples = model.sample(y.to(device_of(model)), num_samples).cpu().flatten(end_dim=1)
    generated = (samples.clamp(0, 1) * 255).round().to(torch.uint8)
    images, labels = data.train_images[data.labelled_index], data.train_labels[data.labelled_index]
    training_sets = {
        "labels alone": (images, labels),
        "labels and samples": (torch.cat([images, generated]), torch.cat([labels, y.repeat(num_samples)])),
    }
    with seeded(seed):
        untrained = build(describe(model)).baseline()
    calibrations = {}
    for name, (x, classes) in training_sets.items():
        training_set = Arrays(
            x,
            classes,
            test_images=data.test_images,
            test_labels=data.test_labels,
            class_names=data.class_names,
            binarise=data.binarise,
        )
        supervised = replace(
            recipe,
            objective=Objective(alpha=1, generative=False),
            max_epochs=None,
            max_steps=recipe.max_steps or _STEPS,
            labelled_batch_size=min(100, len(x)),
            early_stopping=None,
            seed=seed,
        )
        classifier = copy.deepcopy(untrained)
        train(classifier, training_set, supervised, folder=None, interactive=False, task=name)
        calibrations[name] = calibrate(predict_probabilities(classifier, data, data.test_images), data.test_labels)
    return calibrations
