"""Which recipe a command starts from, and its options."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from ssvae.inference.command_line.parsing import UsageError, given_options
from ssvae.inference.nearest import hint


def find_recipes() -> dict[str, Any]:
    """Return the files of the recipes, by their names."""
    found = sorted((files("ssvae.inference") / "recipes").iterdir(), key=lambda path: path.name)
    return {path.name.removesuffix(".yaml"): path for path in found if path.name.endswith(".yaml")}


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
    known = find_recipes()
    name = recipe_name(given)
    if name == "none":
        return arguments
    if name not in known:
        hinted = hint(name.removesuffix(".yaml"), known)
        raise UsageError(f"--recipe: expected one of {', '.join([*known, 'none'])}; got {name!r}.{hinted}")
    recipe = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    for_digits = recipe.pop("digits", {})
    if _is_digits(given):
        recipe = _merged(recipe, for_digits)
    # A recipe does not name its data set: were the class in its file, its defaults would stay when --data names
    # another one. So what it says of the data comes last, as options.
    of_data = {f"--data.{option}": value for option, value in recipe.pop("data", {}).items()}
    if given.get("--model.likelihood", "Bernoulli").rpartition(".")[2] != "Bernoulli":
        of_data.pop("--data.binarise", None)  # it goes with the recipe's own likelihood
    last = [f"{option}={value}" for option, value in of_data.items() if option not in given]
    return ["--config", yaml.safe_dump(recipe), *arguments, *last]


def recipe_name(given: Mapping[str, str]) -> str:
    """Return the recipe that is named, or that of the model that is, where it has one."""
    model = given.get("--model", "M2").rpartition(".")[2].lower()
    own = [recipe for recipe in find_recipes() if recipe.replace("_", "") == model]
    return given.get("--recipe", own[0] if own else "demo" if _is_digits(given) else "few_labels")


def _is_digits(given: Mapping[str, str]) -> bool:
    return given.get("--data", "Digits").rpartition(".")[2] == "Digits"


def _merged(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with some of its options changed, also those inside of others; another class is taken whole."""
    merged = dict(recipe)
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(recipe.get(name), dict) and "class_path" not in value
        merged[name] = _merged(recipe[name], value) if inside else value
    return merged
