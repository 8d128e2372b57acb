"""The recipe of `ssvae fit`, as words before and after those of the user."""

from collections.abc import Mapping

import yaml

from ssvae.data import VectorData
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.options import class_named
from ssvae.inference.command_line.parsing import UsageError, given_options
from ssvae.inference.nearest import one_of
from ssvae.inference.training.recipe_choice import (
    LIMITS,
    VECTOR_RECIPES,
    choose_recipe,
    read_recipe,
    recipe_files,
    unknown_recipe,
    without_limits,
)


def recipe_first(arguments: list[str]) -> list[str]:
    """Put the recipe's options before those of the user, which override them.

    Raises:
        UsageError: If there is no such recipe, or a recipe beside a --config file.
    """
    given = given_options(arguments)
    if "--config" in given:
        if "--recipe" in given:
            raise UsageError("--recipe: expected no recipe beside --config, which sets all options; got both.")
        return arguments
    if "--data" not in given:
        # Not a default of the parser: the options of Digits would stay if --data names another data set.
        given["--data"] = "Digits"
        arguments = ["--data=Digits", *arguments]
    known = recipe_files()
    name = recipe_name(given)
    if name == "none":
        return arguments
    if name not in known:
        raise UsageError(unknown_recipe("--recipe", name, [*known, "none"]))
    recipe = read_recipe(name, _class_name(given, "--data", "Digits"))
    _check_suits(name, recipe, given)
    # A recipe does not name a class of data: its defaults would stay if --data names another class. The recipe's
    # options of the data therefore follow those of the user.
    data_options = {f"--data.{option}": value for option, value in recipe.pop("data", {}).items()}
    if _class_name(given, "--model.likelihood", "Bernoulli") != "Bernoulli":
        data_options.pop("--data.binarise", None)  # binarised data suit the recipe's own likelihood only
    last = [f"{option}={value}" for option, value in data_options.items() if option not in given]
    limits = {limit: given[f"--{limit}"] for limit in LIMITS if given.get(f"--{limit}") not in (None, "null", "None")}
    return ["--config", yaml.safe_dump(without_limits(recipe, limits)), *arguments, *last]


def _check_suits(name: str, recipe: Mapping[str, object], given: Mapping[str, str]) -> None:
    """Refuse a recipe whose options are about pixels if the data set has none.

    Raises:
        UsageError: If it is so.
    """
    data = class_named(given["--data"], "--data", CHOICES)
    augments = recipe.get("augmentation") is not None and given.get("--augmentation") not in ("null", "None")
    if data is not None and issubclass(data, VectorData) and ("data" in recipe or augments):
        raise UsageError(
            f"--recipe: expected {one_of(VECTOR_RECIPES)} for {data.__name__}, which has no images; got {name}, which "
            "is for images."
        )


def recipe_name(given: Mapping[str, str]) -> str:
    """Return the name of the recipe: the given one, or that for the model and the data; "none" for no recipe."""
    model, data = _class_name(given, "--model", "M2"), _class_name(given, "--data", "Digits")
    return given.get("--recipe", choose_recipe(model, data))


def _class_name(given: Mapping[str, str], option: str, default: str) -> str:
    return given.get(option, default).rpartition(".")[2]
