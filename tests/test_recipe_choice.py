"""Which recipe a run starts from, and what of it applies: the same in Python and on the command line."""

import inspect
from dataclasses import replace
from typing import get_type_hints

import pytest
import torch
from support import tiny

from ssvae.data import Arrays, Augmentation
from ssvae.inference import Consistency, Objective, Recipe, TrainerOptions, fit
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.main import main
from ssvae.inference.command_line.recipes import recipe_name
from ssvae.inference.training.recipe_choice import (
    RecipeOptions,
    choose_recipe,
    for_colours,
    for_missing,
    read_recipe,
    recipe_files,
    recipe_for,
)
from ssvae.models import GMVAE, M1, M2
from ssvae.models.networks import MLP
from ssvae.models.priors import SeparatedMeans, StandardNormal

BERNOULLI, EXPECTED, CONTINUOUS = (
    f"ssvae.models.likelihoods.{name}" for name in ("Bernoulli", "ExpectedBernoulli", "ContinuousBernoulli")
)


def small(kind=M2):
    return kind((1, 8, 8), 3, networks=MLP((5,)))


@pytest.mark.parametrize("path", ["MissingEntries", "missing_entries.MissingEntries"])
def test_a_likelihood_that_admits_missing_entries_already_stays_as_it_is(path):
    inner = {"class_path": "ssvae.models.likelihoods.gaussian.Gaussian"}
    likelihood = {"class_path": f"ssvae.models.likelihoods.{path}", "init_args": {"likelihood": inner}}
    model = {"class_path": "ssvae.models.m2.M2", "init_args": {"likelihood": likelihood}}
    assert for_missing(model, tiny.arrays()) == model


def test_the_options_of_fit_are_the_fields_of_recipe():
    assert get_type_hints(RecipeOptions) == get_type_hints(Recipe)
    assert list(RecipeOptions.__annotations__) == list(Recipe.__dataclass_fields__)
    assert RecipeOptions.__required_keys__ == frozenset()
    (options,) = [each for each in inspect.signature(fit).parameters.values() if each.kind is each.VAR_KEYWORD]
    assert options.annotation.__args__ == (RecipeOptions,)


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        ("M2", "Digits", "demo"),
        ("M2", "MNIST5k", "mnist5k"),
        ("GMVAE", "MNIST5k", "gmvae"),
        ("M2", "MNIST", "few_labels"),
        ("M2", "Arrays", "few_labels"),
        ("GMVAE", "Digits", "gmvae"),
        ("GMVAE", "MNIST", "gmvae"),
        ("LadderVAE", "Digits", "ladder_vae"),
        ("DistilledM1", "ImageFolder", "distilled_m1"),
        ("M2", "ImageFolder", "photos"),
        ("M2", "SVHN", "photos"),
        ("Own", "Digits", "demo"),
        ("Own", "Arrays", "few_labels"),
    ],
)
def test_a_model_has_the_recipe_of_its_name_and_others_that_of_the_data(model, data, expected):
    assert choose_recipe(model, data) == expected
    assert recipe_name({"--model": f"ssvae.models.{model}", "--data": f"ssvae.data.{data}"}) == expected


@pytest.mark.parametrize("kind", CHOICES["model"], ids=lambda kind: kind.__name__)
def test_python_takes_the_recipe_that_the_command_line_takes(kind, monkeypatch):
    torch.set_default_dtype(torch.float32)
    given = {}

    def keep(model, data, recipe, **options):
        given.update(model=model, data=data, recipe=recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("ssvae.inference.runs.runs.fit", keep)
    assert main(["fit", "--model", kind.__name__]) == 1
    recipe, name = recipe_for(None, given["model"], given["data"], {})
    assert recipe == given["recipe"]
    assert name == choose_recipe(kind.__name__, "Digits")


def test_on_the_digits_a_recipe_may_say_something_else():
    mnist, digits = read_recipe("m1", "MNIST"), read_recipe("m1", "Digits")
    assert (mnist["max_steps"], digits["max_steps"]) == (5000, 800)
    assert (mnist["data"]["binarise"], digits["data"]["binarise"]) == (True, False)
    latent = [each["model"]["init_args"]["prior"]["init_args"] for each in (mnist, digits)]
    assert latent == [{"latent_dim": 50}, {"latent_dim": 10}]
    assert digits["model"]["init_args"]["networks"]["init_args"]["batch_norm"] is True  # as everywhere
    assert "digits" not in digits


def test_of_a_recipe_by_name_only_what_decides_training_applies():
    data, model = tiny.arrays(), small()
    before = model.networks
    recipe, name = recipe_for("few_labels", model, data, {})
    assert name == "few_labels"
    assert (recipe.objective.alpha, recipe.objective.consistency.weight) == (100, 200)
    assert (recipe.augmentation, recipe.max_steps) == (Augmentation(degrees=15, scale=0.1, shift=0.07), 3000)
    assert (recipe.learning_rate, recipe.one_cycle) == (0.002, True)
    assert (model.networks, data.binarise) == (before, False)
    assert recipe.batch_size == 34  # few_labels says 250, and there are as many unlabelled images


def test_images_in_colour_have_the_recipe_for_photos():
    images, y = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8), torch.arange(30) % 3
    data = Arrays(images, y, num_labels=6, test_images=images, test_labels=y)
    model = M2((3, 8, 8), 3, prior=StandardNormal(2), networks=MLP((6,)))
    recipe, name = recipe_for(None, model, data, {})
    assert (name, recipe.batch_size, recipe.max_epochs, recipe.max_steps) == ("photos", 24, 37, 3000)
    assert recipe.objective.consistency == Consistency(200, 0.8, 0.1, aligned=True, teacher_decay=0.99)
    own = GMVAE((3, 8, 8), 3, prior=SeparatedMeans(2), networks=MLP((6,)))
    assert recipe_for(None, own, data, {})[1] == "gmvae"


def test_a_model_of_ones_own_inherits_no_recipe():
    own = type("Own", (GMVAE,), {})
    assert recipe_for(None, small(own), tiny.arrays(), {})[1] == "few_labels"
    assert recipe_for(None, small(M1), tiny.arrays(), {})[1] == "m1"


def test_options_override_the_recipe():
    objective, trainer = Objective(alpha=3), TrainerOptions(progress_bar=False)
    options = {"objective": objective, "augmentation": None, "trainer": trainer, "batch_size": 7, "seed": 5}
    recipe, _ = recipe_for("few_labels", small(), tiny.arrays(), options)
    expected = {**options, "max_steps": 3000, "learning_rate": 0.002, "one_cycle": True}
    assert recipe == Recipe(**expected)
    assert recipe_for(tiny.recipe(), small(), tiny.arrays(), {"seed": 3}) == (tiny.recipe(seed=3), None)


@pytest.mark.parametrize(
    ("options", "epochs", "steps"),
    [
        ({}, None, 3000),
        ({"max_epochs": 7}, 7, None),
        ({"max_steps": 9}, None, 9),
        ({"max_epochs": 7, "max_steps": 9}, 7, 9),
        ({"max_steps": None}, 50, None),
        ({"max_epochs": None, "max_steps": None}, 50, None),
    ],
)
def test_a_limit_takes_the_place_of_both_of_the_recipes(options, epochs, steps, monkeypatch):
    recipe, _ = recipe_for("few_labels", small(), tiny.arrays(), options)
    assert (recipe.max_epochs, recipe.max_steps) == (epochs, steps)
    found = {}

    def keep(model, data, recipe, **options):
        found.update(vars(recipe))
        raise ZeroDivisionError

    monkeypatch.setattr("ssvae.inference.runs.runs.fit", keep)
    words = [f"--{name}={'null' if value is None else value}" for name, value in options.items()]
    with pytest.raises(ZeroDivisionError):
        main(["fit", "--recipe=few_labels", *words])
    assert (found["max_epochs"], found["max_steps"]) == (epochs, steps)


def test_a_limit_takes_the_place_of_both_of_a_recipe_of_ones_own():
    own = Recipe(max_epochs=4, max_steps=100)
    assert recipe_for(own, small(), tiny.arrays(), {"max_steps": 9})[0] == replace(own, max_epochs=None, max_steps=9)


@pytest.mark.parametrize(
    ("recipe", "options", "error", "sentence"),
    [
        (
            "few_label",
            {},
            ValueError,
            r"^recipe: .*; got 'few_label'. Did you mean few_labels, few_labels_convolutional or few_labels_gen.*\?$",
        ),
        ("paper.yaml", {}, ValueError, r"^recipe: .* Did you mean paper\?$"),
        (3, {}, TypeError, "^recipe: expected a Recipe, the name of one, or None; got int"),
        (None, {"max_epoch": 3}, ValueError, r"^max_epoch: expected an option of fit or Recipe; .* 'max_epochs'\?$"),
        (None, {"folders": "x"}, ValueError, r"^folders: expected an option of fit or Recipe; got an unknown one\.$"),
        (tiny.recipe(), {"seed": -1}, ValueError, "^seed: expected"),
    ],
)
def test_what_is_no_recipe_and_no_option_is_refused(tmp_path, recipe, options, error, sentence):
    with pytest.raises(error, match=sentence):
        fit(tiny.m2(), tiny.arrays(), recipe, folder=str(tmp_path / "run"), **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("likelihood", "binarise", "changes"),
    [(BERNOULLI, True, True), (EXPECTED, False, False), (CONTINUOUS, True, True), (CONTINUOUS, False, False)],
)
def test_of_colours_a_recipe_that_binarises_gets_a_likelihood_without_it(likelihood, binarise, changes):
    model = {"class_path": "ssvae.models.M2", "init_args": {"prior": None, "likelihood": {"class_path": likelihood}}}
    expected = {"class_path": "ssvae.models.M2", "init_args": {"prior": None, "likelihood": {"class_path": EXPECTED}}}
    assert for_colours(model, binarise) == (expected if changes else None)
    assert model["init_args"]["likelihood"] == {"class_path": likelihood}


def test_every_recipe_can_be_used_by_its_name():
    for name in recipe_files():
        recipe, found = recipe_for(name, small(), tiny.arrays(), {})
        assert (type(recipe), found) == (Recipe, name)


def test_the_recipe_that_was_chosen_is_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.report.write_report", lambda run: None)
    options = {"baselines": False, "max_steps": 2, "trainer": TrainerOptions(progress_bar=False)}
    fit(small(), tiny.arrays(), folder=str(tmp_path / "run"), **options)
    assert capsys.readouterr().out.startswith("recipe: few_labels\nArrays: ")
    fit(small(), tiny.arrays(), tiny.recipe(max_epochs=1), folder=str(tmp_path / "own"), baselines=False)
    assert capsys.readouterr().out.startswith("Arrays: ")
