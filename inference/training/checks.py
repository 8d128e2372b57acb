"""Checks before training, so that bad input is refused before anything is written."""

from pathlib import Path
from typing import Any

import torch

from ssvae.data import Augmentation, Data, ImageData
from ssvae.inference._lightning import CUDAAccelerator, MisconfigurationException, lightning, quiet
from ssvae.inference.nearest import one_of
from ssvae.inference.objective.bounds import factorises
from ssvae.inference.predict import device_of
from ssvae.inference.storage.checkpoints import METADATA
from ssvae.inference.storage.description import describe, without_files
from ssvae.inference.training.module import batches_of
from ssvae.inference.training.recipe import Recipe
from ssvae.inference.training.recipe_choice import VECTOR_RECIPES
from ssvae.inference.training.trainer import make_trainer
from ssvae.models import SemiSupervisedModel

_COMPILES_FROM = "2.13"
"""The oldest version of torch whose compiled steps agree with eager ones in the tests. Those of 2.6 and 2.11 do not."""


def check_trainable(model: SemiSupervisedModel, data: Data, recipe: Recipe, folder: str | None) -> None:
    """Check that a model can be trained on a data set by a recipe.

    Args:
        model: The model.
        data: The data set.
        recipe: The recipe.
        folder: The run folder; None for a new one.

    Raises:
        ValueError: If observations that have no pixels are to be augmented, a batch is larger than the data or
            cannot be shared among the processes, several processes have no common folder, no term of the
            objective is left, early stopping has no validation images, the device or strategy does not exist, a
            step cannot be captured, or the objective does not suit the model.
    """
    try:
        with quiet():
            trainer = make_trainer(recipe.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(f"trainer: {error}") from error
    batches_of(data, recipe, trainer.world_size)
    if recipe.trainer.step != "eager":
        _check_capturable(recipe.trainer.step, data, trainer)
    if type(recipe.augmentation) is Augmentation and not isinstance(data, ImageData):  # a subclass may suit other data
        raise ValueError(
            f"augmentation: expected None for {data.item}s, as it moves pixels; got {recipe.augmentation}. The recipes "
            f"{one_of(VECTOR_RECIPES)} have none."
        )
    if recipe.early_stopping is not None and not len(data.known_validation()[0]):
        hint = (
            ": validation_fraction=0.1 sets a tenth of the labels apart" if hasattr(data, "validation_fraction") else ""
        )
        raise ValueError(
            f"early_stopping: expected validation {data.item}s of classes that have labels; got none{hint}."
        )
    if not model.discovers_classes and data.has_labels and data.has_new_classes:
        raise ValueError(
            f"model: expected one that learns q(y|x) from unlabelled {data.item}s too, as some classes have no label; "
            f"got {type(model).__name__}, whose classes are those of the labels."
        )
    objective = recipe.objective
    classifies = objective.alpha > 0 and data.has_labels
    compares = objective.consistency is not None and data.num_unlabelled > 0
    if not (objective.generative or classifies or compares):
        raise ValueError("data: expected labelled images as the generative terms are off; got none.")
    if recipe.hidden_fraction and not model.likelihood.admits_missing:
        raise ValueError(
            "hidden_fraction: expected 0 for a likelihood that admits no missing entries; got "
            f"{recipe.hidden_fraction}: write likelihoods.MissingEntries({model.likelihood})."
        )
    if objective.importance_samples > 1 and not model.bounds_evidence:
        raise ValueError(
            f"objective.importance_samples: expected 1 for {type(model).__name__}, whose guide has no density for "
            f"importance weights; got {objective.importance_samples}."
        )
    if objective.free_bits_per_dimension:
        prior = model.prior(torch.zeros(1, dtype=torch.int64, device=device_of(model)))
        if not factorises(prior):
            raise ValueError(
                "objective.free_bits_per_dimension: expected a prior that is a product over the dimensions of z; got "
                f"{type(model.prior).__name__}, which is a {type(prior).__name__}."
            )
        posterior = model.posterior(torch.zeros(1, model.posterior.num_parameters(2), device=device_of(model)))
        if not factorises(posterior):
            raise ValueError(
                "objective.free_bits_per_dimension: expected a posterior that is a product over the dimensions of z; "
                f"got {type(model.posterior).__name__}, which is a {type(posterior).__name__}."
            )
    if trainer.world_size > 1 and folder is None:
        raise ValueError(
            f"folder: expected a common folder for the {trainer.world_size} processes that train together; got None."
        )


def _check_capturable(step: str, data: Data, trainer: lightning.Trainer) -> None:
    if step == "cuda_graph" and not isinstance(trainer.accelerator, CUDAAccelerator):
        raise ValueError(f"trainer.step: expected a GPU for 'cuda_graph'; got {type(trainer.accelerator).__name__}.")
    if step == "compiled" and torch.__version__ < _COMPILES_FROM:
        raise ValueError(
            f"trainer.step: expected torch {_COMPILES_FROM} or newer for 'compiled'; got {torch.__version__}. "
            "Use 'eager'."
        )
    if trainer.world_size > 1:
        raise ValueError(f"trainer.step: expected one process for {step!r}; got {trainer.world_size}.")
    if data.memory_mapped:
        raise ValueError(f"trainer.step: expected images in memory for {step!r}; got {data.name}, from the disk.")


def check_same_model(checkpoint: dict[str, Any], model: SemiSupervisedModel, path: Path) -> None:
    """Raise ValueError unless a checkpoint is of the same kind of model, with the same parts and sizes."""
    theirs, ours = checkpoint[METADATA]["model"], without_files(describe(model))
    if theirs == ours:
        return
    differing = [
        name for name, value in ours["init_args"].items() if theirs.get("init_args", {}).get(name) != value
    ] or ["class_path"]
    raise ValueError(f"checkpoint: expected one of the given model; got {path}, whose {differing[0]} differs.")
