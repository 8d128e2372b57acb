"""Objects are told in plain values, and made again from them: also by way of YAML, and of a checkpoint."""

import pytest
import torch
import yaml
from support import tiny
from torch import nn

from ssvae.data import Digits, DomainAdaptation, ImageFolder
from ssvae.inference import Consistency, Objective, Recipe
from ssvae.inference.storage.description import build, build_options, describe, holds_arrays
from ssvae.models import M2, feature_classifiers, likelihoods, networks, posteriors, priors

PRIORS = [
    priors.StandardNormal(3),
    priors.GaussianMixture(3, num_components=4),
    priors.ClassConditional(3, num_components=2),
    priors.VampPrior(3, num_components=5, per_class=True),
    priors.NormalizingFlow(4, num_layers=2, hidden=6),
]
POSTERIORS = [posteriors.DiagonalNormal(), posteriors.FullRankNormal(), posteriors.FixedScaleNormal(0.7)]
LIKELIHOODS = [
    likelihoods.Bernoulli(),
    likelihoods.ContinuousBernoulli(),
    likelihoods.Gaussian(),
    likelihoods.DiscretizedLogistic(),
]
NETWORKS = [
    networks.MLP((5, 6), nn.Tanh, batch_norm=True, dropout=0.25),
    networks.Convolutional((2, 3), 7, nn.ELU, batch_norm=True, dropout=0.5),
]
FEATURE_CLASSIFIERS = [
    feature_classifiers.SupportVectorMachine(C=3.0, gamma=0.5),
    feature_classifiers.KNearestNeighbours(3),
    feature_classifiers.LogisticRegression(C=2.0),
    feature_classifiers.LabelSpreading(9, alpha=0.5),
]
DIGITS = Digits(50, num_validation=30, num_test=40, balanced=False, seed=3, binarise=True)
DATA = [
    DIGITS,
    DomainAdaptation(DIGITS, Digits(0), margin=1),
    Digits(tree={"all": [*"0123456789"]}, num_coarse_labels=5),
]


def round_trip(thing):
    """Tell, write as YAML, read, make."""
    return build(yaml.safe_load(yaml.safe_dump(describe(thing))))


@pytest.mark.parametrize(
    "thing",
    [*PRIORS, *POSTERIORS, *LIKELIHOODS, *NETWORKS, *FEATURE_CLASSIFIERS, *DATA],
    ids=lambda thing: type(thing).__name__,
)
def test_every_part_comes_back(thing):
    again = round_trip(thing)
    assert type(again) is type(thing)
    assert describe(again) == describe(thing)
    assert describe(thing)["init_args"] or isinstance(thing, likelihoods.Likelihood | posteriors.Posterior)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda thing: type(thing).__name__)
def test_every_model_comes_back_with_its_weights(prior, likelihood, network):
    # Parts that a model was built from belong to it: make them anew.
    prior, likelihood = round_trip(prior), round_trip(likelihood)
    class_prior = priors.ClassPrior(3, [0.2, 0.3, 0.5], learned=True)
    model = M2(
        (1, 8, 8), 3, prior=prior, likelihood=likelihood, networks=network,
        classifier=networks.MLP((4,)), class_prior=class_prior,
    ).eval()  # fmt: skip
    again = round_trip(model)
    again.load_state_dict(model.state_dict())
    assert describe(again) == describe(model)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(again.eval().classify(x).logits, model.classify(x).logits)
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))


def test_an_image_folder_comes_back(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        for number in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (8, 9), 20 * number).save(tmp_path / name / f"{number}.png")
    data = ImageFolder(str(tmp_path), 4, size=8, channels=3, test_fraction=0.3, seed=2)
    again = round_trip(data)
    assert describe(again) == describe(data)
    assert torch.equal(again.train_images, data.train_images)
    assert torch.equal(again.train_labels, data.train_labels)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(max_epochs=3),
        tiny.everything(early_stopping=4, labelled_batch_size=3),
        Recipe(max_steps=10, objective=Objective(alpha=0, consistency=None)),
    ],
)
def test_options_come_back(recipe):
    assert build_options(Recipe, yaml.safe_load(yaml.safe_dump(describe(recipe)))) == recipe


def test_arrays_are_known_to_be_lost():
    data = tiny.arrays()
    assert holds_arrays(data)
    assert describe(data)["init_args"]["images"] is None
    assert not holds_arrays(DATA[0])
    assert holds_arrays(DomainAdaptation(data, data))
    assert not holds_arrays(DATA[1])


def test_a_part_that_forgets_an_argument_is_told_to_keep_it():
    class Forgetful(priors.StandardNormal):
        def __init__(self, latent_dim, style):
            super().__init__(latent_dim)

    with pytest.raises(
        TypeError, match=r"Forgetful: expected every constructor argument as an attribute .* got none for 'style'"
    ):
        describe(Forgetful(3, "any"))


def test_a_part_that_takes_what_it_does_not_name_is_told_to_name_it():
    class Nameless(priors.StandardNormal):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(
        TypeError, match=r"Nameless: expected every constructor argument as an attribute .* got none for 'kwargs'"
    ):
        describe(Nameless(latent_dim=3))


@pytest.mark.parametrize(
    ("class_path", "init_args", "sentence"),
    [
        ("os.system", {}, "expected a class of this project or of your own; got 'os.system'"),
        ("subprocess.Popen", {"args": "true"}, "expected a class of this project or of your own; got"),
        ("torch.nn.Linear", {}, "expected a model, prior"),
        (
            "nowhere.Prior",
            {},
            r"expected a class that can be imported; got 'nowhere\.Prior', which is not on Python's path",
        ),
        (
            "__main__.Prior",
            {},
            r"got '__main__\.Prior', which was written in a notebook, a script or a function; train it",
        ),
        ("tests.test.<locals>.Prior", {}, r"<locals>\.Prior', which was written in a notebook, a script or a function"),
        ("ssvae.models.priors.Nothing", {}, "expected a class that can be imported"),
        ("M2", {}, "expected a class that can be imported"),
        (3, {}, "expected a class that can be imported; got 3"),
        (
            "ssvae.models.priors.StandardNormal",
            {"latent": 3},
            "StandardNormal: expected the arguments latent_dim; got 'lat",
        ),
        (
            "ssvae.models.networks.MLP",
            {"activation": "subprocess.Popen"},
            "expected a class of this project or of your own; got",
        ),
    ],
)
def test_only_our_own_kinds_are_made(class_path, init_args, sentence):
    with pytest.raises(ValueError, match=sentence):
        build({"class_path": class_path, "init_args": init_args})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_epoch": 3}, "Recipe: expected the options objective, .*; got 'max_epoch'"),
        ({"objective": {"alfa": 3}}, "Objective: expected the options alpha, .*; got 'alfa'"),
        ({"objective": None}, "objective: expected options by their names; got None"),
        ({"objective": {"consistency": 200}}, "consistency: expected options by their names; got 200"),
    ],
)
def test_unknown_options_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_options(Recipe, {"max_epochs": 1, **values})


def test_options_that_may_be_none_may_be_none():
    assert build_options(Objective, {"consistency": None}).consistency is None
    assert build_options(Objective, {"consistency": {"weight": 3}}).consistency == Consistency(3)
