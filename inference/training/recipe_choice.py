"""Which recipe a run starts from, and what of it applies: for Python's `fit` and for the command line alike."""

from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.resources import files
from typing import Any, TypedDict

import yaml

from ssvae.data import Augmentation, ImageData
from ssvae.inference.nearest import asked, hint, nearest
from ssvae.inference.objective.objective import Objective
from ssvae.inference.storage.description import Description, build_fields
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.models import SemiSupervisedModel

LIMITS = ("max_epochs", "max_steps")
"""If one of them is given, both limits of the recipe are discarded."""

DEFAULT_EPOCHS = 50
"""Passes over the unlabelled images, where neither a recipe nor an option limits training."""

_OF_DIGITS = "digits"
_EXPECTED_BERNOULLI = "ssvae.models.likelihoods.ExpectedBernoulli"
_FOR_COLOURS = "ssvae.models.likelihoods.ContinuousBernoulli"


class RecipeOptions(TypedDict, total=False):
    """The fields of `Recipe`, as options that change a few of them; see there."""

    objective: Objective
    augmentation: Augmentation | None
    max_epochs: int | None
    max_steps: int | None
    batch_size: int
    labelled_batch_size: int | None
    learning_rate: float
    one_cycle: bool
    cycles: int
    early_stopping: int | None
    seed: int
    trainer: TrainerOptions


_OF_DATA = {"Digits": "demo", "MNIST5k": "mnist5k"}
"""The recipes of data sets that have one of their own."""


def recipe_files() -> dict[str, Any]:
    """Return the recipes' files by their names, sorted."""
    paths = sorted((files("ssvae.inference") / "recipes").iterdir(), key=lambda path: path.name)
    return {path.name.removesuffix(".yaml"): path for path in paths if path.name.endswith(".yaml")}


def choose_recipe(model: str, data: str) -> str:
    """Return the recipe for a model and data, by the names of their classes.

    It is the model's own, where there is one of its name, such as `gmvae` for `GMVAE`; if not, `demo` for `Digits`,
    `mnist5k` for `MNIST5k` and `few_labels` for all other data.
    """
    own = [name for name in recipe_files() if name.replace("_", "") == model.lower()]
    return own[0] if own else _OF_DATA.get(data, "few_labels")


def read_recipe(name: str, data: str) -> Description:
    """Return what a recipe says of `data`, of `model`, and of each field of `Recipe` that it decides.

    Args:
        name: One of `recipe_files`.
        data: The name of the data's class: for `Digits` a recipe may say something else.

    Raises:
        ValueError: If there is no such recipe.
    """
    known = recipe_files()
    if name not in known:
        hinted = hint(name.removesuffix(".yaml"), known)
        raise ValueError(f"recipe: expected one of {', '.join(known)}; got {name!r}.{hinted}")
    recipe = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    of_digits = recipe.pop(_OF_DIGITS, {})
    return _merged(recipe, of_digits) if data == "Digits" else recipe


def recipe_for(
    chosen: Recipe | str | None, model: SemiSupervisedModel, data: ImageData, options: Mapping[str, Any]
) -> tuple[Recipe, str | None]:
    """Return how to train a model on data, and the name of the recipe that says so.

    Args:
        chosen: A recipe, or the name of one, or None for `choose_recipe`'s. Of a recipe by name only what decides
            training applies: the model and the data are given.
        model: The model.
        data: The images.
        options: Fields of `Recipe`, which override the recipe's. A limit takes the place of both of the recipe's.

    Returns:
        The recipe, its batches no larger than the data where `options` do not say otherwise; and its name, None for
        a `Recipe`.

    Raises:
        TypeError: If the recipe is not a `Recipe`, a name or None, or an option is not of its type.
        ValueError: If there is no recipe of the name, or an option is unknown or does not fit.
    """
    names = [field.name for field in fields(Recipe)]
    for name in options:
        if name not in names:
            hinted = asked([repr(each) for each in nearest(name, names)])
            raise ValueError(f"{name}: expected an option of fit or Recipe; got an unknown one.{hinted}")
    if isinstance(chosen, Recipe):
        return replace(chosen, **{**without_limits(chosen.__dict__, options), **options}), None
    if not isinstance(chosen, str | None):
        raise TypeError(f"recipe: expected a Recipe, the name of one, or None; got {type(chosen).__name__}.")
    of_data = type(data).__name__
    name = choose_recipe(type(model).__name__, of_data) if chosen is None else chosen
    said = read_recipe(name, of_data)
    training = build_fields(Recipe, {each: said[each] for each in names if each in said})
    training = {**without_limits(training, options), **options}
    if all(training.get(each) is None for each in LIMITS):
        training["max_epochs"] = DEFAULT_EPOCHS
    if "batch_size" not in options:
        training["batch_size"] = batch_size_for(data, training["batch_size"])
    return Recipe(**training), name


def without_limits(recipe: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe without the limits of training, where one of them is among the options.

    Were the recipe's `max_steps` to stay beside a `max_epochs` that is given, training would end before it.
    """
    given = any(options.get(name) is not None for name in LIMITS)
    return {name: None if given and name in LIMITS else value for name, value in recipe.items()}


def batch_size_for(data: ImageData, batch_size: int) -> int:
    """Return a recipe's batch size, or as many as there are unlabelled images: a recipe is for data of any size."""
    return min(batch_size, data.num_unlabelled) if data.num_unlabelled else batch_size


def for_colours(model: Description, binarise: bool) -> Description | None:
    """Return a model's description with a likelihood for images in colour, if the recipe has a Bernoulli one.

    Binarised RGB pixels have only eight colours. A `Bernoulli` or `ExpectedBernoulli` likelihood is therefore replaced
    by `ContinuousBernoulli`, and the data must not be binarised.

    Args:
        model: The model's description.
        binarise: Whether the recipe has the data binarised.

    Returns:
        The new description; None if the recipe has no Bernoulli likelihood.
    """
    likelihood = model.get("init_args", {}).get("likelihood") or {}
    if not binarise and likelihood.get("class_path") != _EXPECTED_BERNOULLI:
        return None
    return {**model, "init_args": {**model["init_args"], "likelihood": {"class_path": _FOR_COLOURS}}}


def _merged(recipe: Description, changes: Description) -> Description:
    """Return a recipe with some of its options changed, also those inside of others; another class is taken whole."""
    merged = dict(recipe)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(recipe.get(name), dict) and "class_path" not in value
        merged[name] = _merged(recipe[name], value) if inside else value
    return merged
