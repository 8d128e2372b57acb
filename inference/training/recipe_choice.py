"""The choice of a recipe for a model and data, and its settings, for `fit` in Python and on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.resources import files
from typing import Any, TypedDict

import yaml

from ssvae.data import Augmentation, Data, ImageData, VectorData
from ssvae.inference.nearest import did_you_mean, hint, nearest
from ssvae.inference.objective.objective import Objective
from ssvae.inference.storage.description import Description, build_fields
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.models import SemiSupervisedModel

_LIKELIHOODS: dict[str, Description] = {
    "real": {"class_path": "ssvae.models.likelihoods.StudentT", "init_args": {"per_feature": True}},
    "count": {"class_path": "ssvae.models.likelihoods.NegativeBinomial"},
    "binary": {"class_path": "ssvae.models.likelihoods.Bernoulli"},
}
"""The likelihood of each kind of feature; a categorical one has as many categories as the feature."""

LIMITS = ("max_epochs", "max_steps")
"""If one of them is given, both limits of the recipe are discarded."""

DEFAULT_EPOCHS = 50
"""Passes over the unlabelled images, if neither a recipe nor an option limits training."""

_MISSING = "ssvae.models.likelihoods.MissingEntries"
_DIGITS_SECTION = "digits"
_EXPECTED_BERNOULLI = "ssvae.models.likelihoods.ExpectedBernoulli"
_FOR_PIXELS = "ssvae.models.likelihoods.ContinuousBernoulli"
_FOR_REALS = "ssvae.models.likelihoods.Gaussian"


class RecipeOptions(TypedDict, total=False):
    """Options of `fit`: fields of `Recipe`, which documents them. Each overrides the field of the recipe."""

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
    hidden_fraction: float
    trainer: TrainerOptions


VECTOR_RECIPES = ("plane", "table")
"""The recipes for vectors, of points in the plane and of rows of tables. All others are for images."""

RECIPES_BY_DATA = {
    "Digits": "demo",
    "MNIST5k": "mnist5k",
    "ImageFolder": "photos",
    "SVHN": "photos",
    **dict.fromkeys(("Moons", "Circles", "Pinwheel", "Clusters", "LinearGaussianStory"), VECTOR_RECIPES[0]),
    **dict.fromkeys(("Table", "Vectors"), VECTOR_RECIPES[1]),
}
"""The recipes of data sets with a recipe of their own."""


def recipe_files() -> dict[str, Any]:
    """Return the recipe files by name, sorted."""
    paths = sorted((files("ssvae.inference") / "recipes").iterdir(), key=lambda path: path.name)
    return {path.name.removesuffix(".yaml"): path for path in paths if path.name.endswith(".yaml")}


def choose_recipe(model: str, data: str, *, in_colour: bool = False) -> str:
    """Return the name of the recipe for a model and data, given the names of their classes.

    It is the recipe named after the model, such as ``gmvae`` for `GMVAE`. If there is none, it is ``demo`` for
    `Digits`, ``mnist5k`` for `MNIST5k`, ``photos`` for `ImageFolder`, `SVHN` and other images in colour, ``plane`` for
    `Moons`, `Circles`, `Pinwheel`, `Clusters` and `LinearGaussianStory`, ``table`` for `Table` and `Vectors`, and
    ``few_labels`` for all other data.
    """
    own = [name for name in recipe_files() if name.replace("_", "") == model.lower()]
    return own[0] if own else RECIPES_BY_DATA.get(data, "photos" if in_colour else "few_labels")


def read_recipe(name: str, data: str) -> Description:
    """Read a recipe: its options of the data, the description of its model, and fields of `Recipe`.

    Args:
        name: One of `recipe_files`.
        data: The name of the data set's class. A recipe may have other settings for `Digits`.

    Returns:
        The sections of the recipe by name: "data", "model", and fields of `Recipe`.

    Raises:
        ValueError: If there is no such recipe.
    """
    known = recipe_files()
    if name not in known:
        raise ValueError(unknown_recipe("recipe", name, list(known)))
    recipe = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    digits_settings = recipe.pop(_DIGITS_SECTION, {})
    return _merged(recipe, digits_settings) if data == "Digits" else recipe


def unknown_recipe(argument: str, name: str, known: Sequence[str]) -> str:
    """Return the error message for an unknown recipe.

    Args:
        argument: The argument that names the recipe.
        name: The unknown name.
        known: The names that the argument accepts.
    """
    return f"{argument}: expected one of {', '.join(known)}; got {name!r}.{hint(name.removesuffix('.yaml'), known)}"


def recipe_for(
    chosen: Recipe | str | None, model: SemiSupervisedModel, data: Data, options: Mapping[str, Any]
) -> tuple[Recipe, str | None]:
    """Return the recipe for a model and data, with some options changed, and its name.

    Args:
        chosen: A recipe, the name of one, or None for that of `choose_recipe`. A named recipe's settings of the model
            and the data are ignored, since both are given.
        model: The model.
        data: The data set.
        options: Fields of `Recipe`, which override those of the recipe. A limit replaces both limits of the recipe.

    Returns:
        The recipe, and its name; None if ``chosen`` is a `Recipe`. Without a batch size in ``options`` the batches of
        a named recipe are no larger than the data.

    Raises:
        TypeError: If the recipe is not a `Recipe`, a name or None, or an option is not of its type.
        ValueError: If there is no recipe of this name, or an option is unknown or invalid.
    """
    names = [field.name for field in fields(Recipe)]
    for name in options:
        if name not in names:
            hinted = did_you_mean([repr(each) for each in nearest(name, names)])
            raise ValueError(f"{name}: expected an option of fit or Recipe; got an unknown one.{hinted}")
    if isinstance(chosen, Recipe):
        return replace(chosen, **{**without_limits(chosen.__dict__, options), **options}), None
    if not isinstance(chosen, str | None):
        raise TypeError(f"recipe: expected a Recipe, the name of one, or None; got {type(chosen).__name__}.")
    data_class = type(data).__name__
    name = choose_recipe(type(model).__name__, data_class, in_colour=is_in_colour(data)) if chosen is None else chosen
    settings = read_recipe(name, data_class)
    training = build_fields(Recipe, {each: settings[each] for each in names if each in settings})
    training = {**without_limits(training, options), **options}
    if all(training.get(each) is None for each in LIMITS):
        training["max_epochs"] = DEFAULT_EPOCHS
    if "batch_size" not in options:
        training["batch_size"] = batch_size_for(data, training["batch_size"])
    return Recipe(**training), name


def is_in_colour(data: Data) -> bool:
    """Return whether a data set has images in colour."""
    return isinstance(data, ImageData) and data.image_shape[0] == 3


def without_limits(recipe: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's settings without its limits of training if one of the limits is among the options.

    Otherwise a given ``max_epochs`` might not be reached, because of the recipe's ``max_steps``.
    """
    given = any(options.get(name) is not None for name in LIMITS)
    return {name: None if given and name in LIMITS else value for name, value in recipe.items()}


def batch_size_for(data: Data, batch_size: int) -> int:
    """Return a recipe's batch size, or the number of unlabelled images if there are fewer."""
    return min(batch_size, data.num_unlabelled) if data.num_unlabelled else batch_size


def for_colours(model: Description, binarise: bool) -> Description | None:
    """Return a model's description with a likelihood for images in colour, if the recipe binarises.

    Binarised RGB pixels have only eight colours. `ExpectedBernoulli` takes the place of the likelihood, and the data
    must not be binarised. `ContinuousBernoulli` would not do: its density has no limit at pixels of exactly 0 or 1, so
    that photos with a black or white background pull the classifier away from the labels.

    Args:
        model: The model's description.
        binarise: Whether the recipe binarises the data.

    Returns:
        The new description; None if the recipe does not binarise.
    """
    if not binarise:
        return None
    return {**model, "init_args": {**model["init_args"], "likelihood": {"class_path": _EXPECTED_BERNOULLI}}}


def for_features(model: Description, data: VectorData) -> Description | None:
    """Return a model's description with a likelihood for each kind of feature, if the data have others than real ones.

    Real features follow Student's t distribution, each with a learned scale; counts are negative binomial, binary
    features Bernoulli, categories categorical.

    Args:
        model: The model's description.
        data: The data set.

    Returns:
        The new description; None if all features are real.
    """
    if set(data.feature_kinds) == {"real"}:
        return None
    parts: list[Description] = []
    columns: list[list[int]] = []
    for kind, likelihood in _LIKELIHOODS.items():
        features = [number for number, each in enumerate(data.feature_kinds) if each == kind]
        if features:
            parts.append(likelihood)
            columns.append(features)
    for number, kind in enumerate(data.feature_kinds):
        if kind == "categorical":
            options = {"num_categories": data.num_categories(number)}
            parts.append({"class_path": "ssvae.models.likelihoods.Categorical", "init_args": options})
            columns.append([number])
    mixed = {"class_path": "ssvae.models.likelihoods.Mixed", "init_args": {"likelihoods": parts, "columns": columns}}
    return {**model, "init_args": {**model.get("init_args", {}), "likelihood": mixed}}


def for_missing(model: Description, data: Data) -> Description:
    """Return a model's description with a likelihood that admits missing entries, if it does not yet.

    Args:
        model: The model's description.
        data: The data set.

    Returns:
        The description with `MissingEntries` around the likelihood.
    """
    arguments = model.get("init_args", {})
    default = _FOR_PIXELS if isinstance(data, ImageData) else _FOR_REALS  # those of a model without one
    likelihood = arguments.get("likelihood") or {"class_path": default}
    if likelihood["class_path"].rpartition(".")[2] == _MISSING.rpartition(".")[2]:  # config.yaml names its module
        return model
    missing = {"class_path": _MISSING, "init_args": {"likelihood": likelihood}}
    return {**model, "init_args": {**arguments, "likelihood": missing}}


def _merged(recipe: Description, changes: Description) -> Description:
    """Return a recipe with changes, at every depth. A change to another class replaces all options of the old one."""
    merged = dict(recipe)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(recipe.get(name), dict) and "class_path" not in value
        merged[name] = _merged(recipe[name], value) if inside else value
    return merged
