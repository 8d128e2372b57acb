"""The recipe that a command starts from, as words before and after the user's own."""

from collections.abc import Mapping

import yaml

from ssvae.inference.command_line.parsing import UsageError, given_options
from ssvae.inference.nearest import hint
from ssvae.inference.training.recipe_choice import LIMITS, choose_recipe, read_recipe, recipe_files, without_limits


def recipe_first(arguments: list[str]) -> list[str]:
    """Put the recipe's options before the others, so that they override it."""
    given = given_options(arguments)
    if "--config" in given:
        if "--recipe" in given:
            raise UsageError("--recipe: expected none beside --config, which says everything; got both.")
        return arguments
    if "--data" not in given:
        # Not as the parser's default: the default's own defaults would stay when --data names another set.
        given["--data"] = "Digits"
        arguments = ["--data=Digits", *arguments]
    known = recipe_files()
    name = recipe_name(given)
    if name == "none":
        return arguments
    if name not in known:
        hinted = hint(name.removesuffix(".yaml"), known)
        raise UsageError(f"--recipe: expected one of {', '.join([*known, 'none'])}; got {name!r}.{hinted}")
    recipe = read_recipe(name, _class_name(given, "--data", "Digits"))
    # A recipe does not name its data set: were the class in its file, its defaults would stay when --data names
    # another one. So what it says of the data comes last, as options.
    of_data = {f"--data.{option}": value for option, value in recipe.pop("data", {}).items()}
    if _class_name(given, "--model.likelihood", "Bernoulli") != "Bernoulli":
        of_data.pop("--data.binarise", None)  # it goes with the recipe's own likelihood
    last = [f"{option}={value}" for option, value in of_data.items() if option not in given]
    limits = {limit: given[f"--{limit}"] for limit in LIMITS if given.get(f"--{limit}") not in (None, "null", "None")}
    return ["--config", yaml.safe_dump(without_limits(recipe, limits)), *arguments, *last]


def recipe_name(given: Mapping[str, str]) -> str:
    """Return the recipe that is named, or the one that is chosen by model and data; "none" for no recipe."""
    model, data = _class_name(given, "--model", "M2"), _class_name(given, "--data", "Digits")
    return given.get("--recipe", choose_recipe(model, data))


def _class_name(given: Mapping[str, str], option: str, default: str) -> str:
    return given.get(option, default).rpartition(".")[2]
