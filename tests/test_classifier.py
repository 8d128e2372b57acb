"""The scikit-learn estimator: scikit-learn's own checks, and that it is the model it says it is."""

import copy
import pickle
import random
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import check_classifiers_classes, parametrize_with_checks
from support.tiny import assert_same_tensors
from torch import nn

from ssvae.data import Augmentation, ImageData, VectorData
from ssvae.inference import Consistency, KLWeight, Objective, Recipe, SemiSupervisedClassifier, TrainerOptions
from ssvae.inference.estimator import _reach
from ssvae.inference.storage.description import build, build_fields
from ssvae.inference.training import train
from ssvae.inference.training.module import Training
from ssvae.inference.training.recipe_choice import read_recipe
from ssvae.models import M1, M2
from ssvae.models.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, MissingEntries
from ssvae.models.networks import MLP
from ssvae.models.posteriors import FullRankNormal
from ssvae.models.priors import ClassPrior, GaussianMixture, StandardNormal, VampPrior

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DIGITS, DIGIT_LABELS = load_digits(n_class=3, return_X_y=True)  # 0 … 16
X, TEST_X = DIGITS[:120], DIGITS[400:]
Y, TEST_Y = DIGIT_LABELS[:120].copy(), DIGIT_LABELS[400:]
Y[30:] = -1
NETWORKS = MLP((32,), activation=nn.ReLU)
NAMES = np.array(["zero", "one", "two"], dtype=object)


@pytest.fixture(autouse=True)
def _as_users_have_it():
    torch.set_default_dtype(torch.float32)  # conftest.py brings the other type back


def quick(**options):
    """An estimator that trains in a fraction of a second."""
    defaults = {"max_steps": 9, "learning_rate": 0.1, "networks": NETWORKS, "random_state": 0}
    return SemiSupervisedClassifier(**(defaults | options))


@pytest.fixture(scope="module")
def fitted():
    return quick(image_shape=(1, 8, 8), prior=StandardNormal(3)).fit(X, Y)


def as_pixels(rows):
    return torch.from_numpy(np.rint(rows / 16 * 255)).view(-1, 1, 8, 8) / 255


# What scikit-learn asks of every estimator

EXEMPTED = {
    "check_classifiers_classes": "its last part has two classes, -1 and 1; here -1 marks rows without a class. "
    "scikit-learn lets its own semi-supervised classifiers off that part, by their names.",
    "check_sample_weight_equivalence_on_dense_data": "rows of a weight and repeated rows have the same objective, and "
    "other random batches of it; see test_a_weight_is_the_row_so_many_times.",
}


# Without a prior: the checks compare parameters by joblib.hash, which differs between copies of one torch tensor.
@parametrize_with_checks([quick()], expected_failed_checks=lambda estimator: EXEMPTED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_exempted_check_as_scikit_learns_own_classifiers_take_it():
    check_classifiers_classes("LabelSpreading", quick())


# It is the model


def test_probabilities_and_latent_features_are_the_models_own(fitted):
    model, x = copy.deepcopy(fitted.model_).double(), as_pixels(TEST_X)
    with torch.no_grad():
        assert np.allclose(fitted.predict_proba(TEST_X), model.classify(x).probs, rtol=0, atol=1e-12)
        assert np.allclose(fitted.transform(TEST_X), model.encode(x), rtol=0, atol=1e-12)
        assert np.allclose(fitted.predict_proba(TEST_X), fitted.model_.classify(x.float()).probs, rtol=0, atol=1e-5)
        assert fitted.predict(TEST_X).tolist() == model.classify(x).probs.argmax(1).tolist()
    assert fitted.transform(TEST_X).shape == (len(TEST_X), 3)
    assert fitted.model_.z_encoder.perceptron.first.linear.weight.dtype == torch.float32


def test_training_is_trainings_own(fitted):
    seed = int(check_random_state(0).randint(2**31 - 1))
    data = ImageData("X", (as_pixels(X) * 255).round().byte(), torch.from_numpy(Y), class_names=["0", "1", "2"])
    torch.manual_seed(seed)
    model = M2((1, 8, 8), 3, prior=StandardNormal(3), networks=NETWORKS)
    # 90 rows have no label: batches of 100 are cut to that.
    objective = Objective(alpha=100, kl_weight=KLWeight(5, 1, 0.75))
    options = {"max_steps": 9, "batch_size": 90, "learning_rate": 0.1, "one_cycle": True}
    recipe = Recipe(objective, **options, seed=seed, trainer=TrainerOptions(progress_bar=False))
    history = train(model, data, recipe, None)
    assert_same_tensors(fitted.model_.state_dict(), model.state_dict())
    assert [row | {"seconds": 0} for row in fitted.history_] == [row | {"seconds": 0} for row in history]
    assert "unlabelled/kl" in history[0]


@pytest.mark.parametrize("cycles", [1, 2])
def test_the_learning_rate_rises_and_falls_as_often_as_asked(cycles):
    rates = [row["learning_rate"] for row in quick(max_steps=40, cycles=np.int64(cycles)).fit(X, Y).history_]
    peaks = [rate for before, rate, after in zip(rates, rates[1:], rates[2:], strict=False) if before < rate > after]
    assert len(peaks) == cycles


def test_it_learns():
    estimator = quick(image_shape=(1, 8, 8), max_steps=12).fit(X, Y)
    assert estimator.score(TEST_X, TEST_Y) > 0.9


@pytest.mark.parametrize("unlabelled", [-1, "-1 beside names"])
def test_what_the_classes_are_called_makes_no_difference(fitted, unlabelled):
    names = NAMES if unlabelled != -1 else np.array([10, 7, 9])
    # Sorted, as np.unique does, the classes have other numbers: one < two < zero, 7 < 9 < 10.
    y = np.where(Y >= 0, names[Y], -1)
    named = clone(fitted).fit(X, y)
    order = np.argsort(names)
    same = clone(fitted).fit(X, np.where(Y >= 0, np.argsort(order)[Y], -1))
    assert named.classes_.tolist() == sorted(names.tolist())
    assert_same_tensors(named.model_.state_dict(), same.model_.state_dict())
    assert named.predict(TEST_X).tolist() == names[order][same.predict(TEST_X)].tolist()
    assert set(named.sample(2, y=names[0]).shape) == {2, 64}


KNOWN = Y >= 0
UNLABELLED = {
    "NaN": np.where(KNOWN, Y, np.nan),
    "None": np.where(KNOWN, Y, None),
    "None in a list": [int(y) if y >= 0 else None for y in Y],
    "pandas' NA": pd.Series(np.where(KNOWN, Y, None), dtype="Int64"),
    "NaN beside names": np.where(KNOWN, NAMES[Y], np.nan),
    "None beside names": np.where(KNOWN, NAMES[Y], None),
    "NA beside names": pd.Series(np.where(KNOWN, NAMES[Y], None), dtype="string"),
    "a categorical": pd.Series(np.where(KNOWN, NAMES[Y], None), dtype="category"),
    "words": np.where(KNOWN, NAMES[Y], "unlabeled").astype(str),
    "British words": np.where(KNOWN, NAMES[Y], "Unlabelled").astype(str),
    "nothing": np.where(KNOWN, NAMES[Y], "").astype(str),
    "-1 that became a string": np.where(KNOWN, NAMES[Y], -1).astype(str),
}


@pytest.mark.parametrize("y", UNLABELLED.values(), ids=UNLABELLED.keys())
def test_every_mark_of_an_unlabelled_row_is_one(y):
    found = quick(max_steps=1).fit(X, y)
    is_named = "one" in found.classes_
    expected = quick(max_steps=1).fit(X, np.where(KNOWN, NAMES[Y], -1) if is_named else Y)
    assert found.classes_.tolist() == (["one", "two", "zero"] if is_named else [0, 1, 2])
    assert found.transduction_.tolist() == expected.transduction_.tolist()
    assert_same_tensors(found.model_.state_dict(), expected.model_.state_dict())
    assert found.score(X, y) == expected.score(X[:30], found.transduction_[:30])


def test_classes_keep_their_type():
    for y in (Y % 2 == 0, np.where(Y % 2 == 0, NAMES[0], NAMES[1]).astype(str), Y / 1, (Y + 1).astype(np.uint8)):
        estimator = quick(max_steps=1).fit(X, y)
        assert estimator.classes_.dtype == estimator.predict(X).dtype == estimator.transduction_.dtype == y.dtype
    some = np.where(KNOWN, Y > 0, None)
    assert quick(max_steps=1).fit(X, some).classes_.tolist() == [False, True]


def test_the_transduction_is_what_was_given_and_elsewhere_what_is_predicted(fitted):
    assert fitted.transduction_[:30].tolist() == Y[:30].tolist()
    assert fitted.transduction_[30:].tolist() == fitted.predict(X)[30:].tolist()
    assert (fitted.predict(X)[:30] != Y[:30]).any() or set(fitted.transduction_) == {0, 1, 2}


def test_log_probabilities_are_those_of_the_probabilities(fitted):
    assert np.allclose(np.exp(fitted.predict_log_proba(TEST_X)), fitted.predict_proba(TEST_X), rtol=1e-12, atol=0)
    sure = copy.deepcopy(fitted)
    with torch.no_grad():
        for parameter in sure.model_.y_encoder.parameters():
            parameter *= 100
    # A probability that is rounded to zero has a logarithm all the same.
    assert (sure.predict_proba(TEST_X) == 0).any()
    assert np.isfinite(sure.predict_log_proba(TEST_X)).all()


def test_frames_and_their_names_are_taken_without_a_warning():
    frame = pd.DataFrame(X, columns=[f"pixel {k}" for k in range(64)])
    estimator = quick(max_steps=1).fit(frame, pd.Series(Y))
    assert estimator.feature_names_in_.tolist() == frame.columns.tolist()
    assert estimator.transduction_.tolist()[:30] == Y[:30].tolist()
    assert np.array_equal(estimator.predict(frame), quick(max_steps=1).fit(X, Y).predict(X))


@pytest.mark.parametrize("rows", [X[:, 20:21], X * 0 + 3], ids=["one feature", "nothing but constants"])
def test_it_takes_as_little_as_there_is(rows):
    assert np.isfinite(quick(max_steps=2).fit(rows, Y).predict_log_proba(rows)).all()


# Weights


def test_rows_of_no_weight_are_not_there_and_equal_weights_none():
    weight = np.full(120, 3.0)
    weight[[3, 50, 60]] = 0
    found, expected = quick().fit(X, Y, sample_weight=weight), quick().fit(X[weight > 0], Y[weight > 0])
    assert_same_tensors(found.model_.state_dict(), expected.model_.state_dict())
    assert found.transduction_[weight > 0].tolist() == expected.transduction_.tolist()
    assert found.transduction_[50] == expected.predict(X)[50]
    outlier = np.vstack([X, X[:1] * 1e9])
    found = quick().fit(outlier, np.append(Y, -1), [1] * 120 + [0])
    assert_same_tensors(found.model_.state_dict(), quick().fit(X, Y).model_.state_dict())


def test_a_weight_is_the_row_so_many_times(monkeypatch):
    seen = []

    def stop(model, data, recipe, folder):
        seen.append(Training(model, data, recipe, folder, print_lines=False))
        raise InterruptedError

    monkeypatch.setattr("ssvae.inference.estimator.train", stop)
    times = np.arange(120) % 4
    for rows, y, weight in ((X, Y, times), (np.repeat(X, times, 0), np.repeat(Y, times), None)):
        with pytest.raises(InterruptedError):
            quick(batch_size=1, labelled_batch_size=1).fit(rows, y, sample_weight=weight)
    weighted, repeated = seen
    assert weighted.sizes == repeated.sizes
    assert weighted.sizes.num_labelled == times[:30].sum()
    # The mean over batches of any number that belongs to a row is that over the repeated rows: here, of its features.
    for kind in ("labelled", "unlabelled"):
        means = []
        for training in seen:
            batches, found = training.batches, []
            for epoch in range(20):
                batches.set_epoch(epoch)
                found += [getattr(batch, kind) for batch in batches]
            means.append(training.data.train_x[torch.cat(found)].double().mean(0))
        torch.testing.assert_close(*means, rtol=0, atol=0.2)  # of 16; without the weights 1.2 is exceeded


def test_labels_of_little_weight_have_little_say():
    y, weight = Y.copy(), np.ones(120)
    y[:10], weight[:10] = (y[:10] + 1) % 3, 0.01
    options = {"image_shape": (1, 8, 8), "max_steps": 12}
    alike, weighted = quick(**options).fit(X, y), quick(**options).fit(X, y, sample_weight=weight)
    assert weighted.score(TEST_X, TEST_Y) > 0.8
    assert alike.score(TEST_X, TEST_Y) < 0.6


def test_without_unlabelled_rows():
    estimator = quick(batch_size=5, labelled_batch_size=50).fit(X[:20], DIGIT_LABELS[:20])
    assert estimator.history_[-1]["step"] == 9
    assert not any(name.startswith("unlabelled") for name in estimator.history_[0])


def test_batches_are_cut_to_the_rows_there_are():
    estimator = quick(batch_size=1000, labelled_batch_size=1000).fit(X[:31], Y[:31])  # 30 labelled, 1 not
    assert [row["step"] for row in estimator.history_] == list(range(1, 10))


# Centre and scale of X


def test_vectors_are_standardised_and_neither_rounded_nor_confined():
    rows = np.column_stack([np.linspace(-3, 5, 101), np.linspace(1000, 3000, 101), np.full(101, 7.0)])
    estimator = quick().fit(rows, np.arange(101) % 2)
    assert estimator.center_ == pytest.approx([1, 2000, 7])
    assert estimator.scale_ == pytest.approx([4 / 1.349, 1000 / 1.349, 1])
    assert estimator.feature_kinds_ == ("real",) * 3
    model = copy.deepcopy(estimator.model_).double()
    assert model.event_shape == (3,)
    raw = np.array([[1.23456, -40_000.0, 9.0], [500.0, 2000.001, 7.0]])
    x = torch.tensor([[0.23456 * 1.349 / 4, -42 * 1.349, 2.0], [499 * 1.349 / 4, 0.001 * 1.349 / 1000, 0.0]])
    with torch.no_grad():
        expected = model.classify(x.double()).probs
    assert estimator.predict_proba(raw) == pytest.approx(expected.numpy(), rel=1e-4)
    sampled = estimator.sample(5, y=1)
    torch.manual_seed(int(check_random_state(0).randint(2**31 - 1)))
    with torch.no_grad():
        drawn = estimator.model_.sample(torch.ones(5, dtype=torch.long))[0]
    assert np.allclose(sampled, drawn.double().numpy() * estimator.scale_ + estimator.center_)


@pytest.mark.parametrize(("number", "recipe"), [(9, "table"), (2, "plane")])
def test_the_defaults_for_vectors_are_those_of_a_recipe(number, recipe):
    rows = X[:, 20 : 20 + number]
    found = SemiSupervisedClassifier(max_steps=2, random_state=3).fit(rows, Y)
    settings = read_recipe(recipe, "Vectors")
    seed = int(check_random_state(3).randint(2**31 - 1))
    data = VectorData("X", torch.from_numpy(rows).float(), torch.from_numpy(Y), class_names=["0", "1", "2"])
    torch.manual_seed(seed)
    parts = {name: build(each) for name, each in settings["model"]["init_args"].items()}
    model = M2((number,), 3, **parts)
    options = build_fields(Recipe, {name: settings[name] for name in ("objective", "learning_rate", "one_cycle")})
    recipe = Recipe(**options, max_steps=2, batch_size=90, seed=seed, trainer=TrainerOptions(progress_bar=False))
    train(model, data, recipe, None)
    assert_same_tensors(found.model_.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("columns", "options", "limits"),
    [
        (9, {}, (None, 500)),
        (2, {}, (None, 1000)),
        (64, {"image_shape": (1, 8, 8)}, (None, 1000)),
        (9, {"max_epochs": 3}, (3, None)),
        (9, {"max_steps": 7}, (None, 7)),
        (9, {"max_epochs": 3, "max_steps": 7}, (3, 7)),
    ],
)
def test_the_limits_of_training_are_those_of_the_recipe_unless_one_is_given(monkeypatch, columns, options, limits):
    recipes = []
    monkeypatch.setattr("ssvae.inference.estimator.train", lambda model, data, recipe, folder: recipes.append(recipe))
    start = 0 if columns == 64 else 20
    SemiSupervisedClassifier(**options, random_state=0).fit(X[:, start : start + columns], Y)
    assert [(recipe.max_epochs, recipe.max_steps) for recipe in recipes] == [limits]


def kinds_frame(number=60):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "length": random.normal(size=number),
            "visits": random.poisson(3, number),
            "smokes": random.random(number) < 0.5,
            "colour": pd.Categorical(random.choice(["red", "blue", "green"], number)),
            "change": random.integers(-3, 3, number),
        }
    )


def test_the_likelihood_follows_from_the_types_of_a_frames_columns():
    frame = kinds_frame()
    estimator = quick(max_steps=2).fit(frame, np.arange(60) % 2)
    assert estimator.feature_kinds_ == ("real", "count", "binary", "categorical", "real")
    assert estimator.categories_ == {3: ["blue", "green", "red"]}
    likelihood = estimator.model_.likelihood
    found = {
        type(part).__name__: columns for part, columns in zip(likelihood.likelihoods, likelihood.columns, strict=True)
    }
    expected = {"StudentT": [0, 4], "NegativeBinomial": [1], "Bernoulli": [2], "Categorical": [3]}
    assert {name: list(columns) for name, columns in found.items()} == expected
    assert estimator.center_[1:4].tolist() == [0, 0, 0]
    assert estimator.scale_[1:4].tolist() == [1, 1, 1]
    # Words of any type are the categories of fit, whose places an array gives.
    words = frame.assign(colour=frame["colour"].astype(object))
    coded = frame.assign(colour=frame["colour"].cat.codes).astype(float).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's: no names of features
        assert np.array_equal(estimator.predict_proba(coded), estimator.predict_proba(frame))
    assert np.array_equal(estimator.predict_proba(words), estimator.predict_proba(frame))
    with pytest.raises(
        ValueError, match="X: expected 'blue', 'green', 'red' in column 'colour', as in fit; got 'pink'"
    ):
        estimator.predict(words.assign(colour="pink"))
    given = quick(max_steps=2, likelihood=Gaussian()).fit(frame, np.arange(60) % 2)
    assert given.feature_kinds_ == ("real",) * 5
    assert isinstance(given.model_.likelihood, Gaussian)


def test_missing_entries_are_left_out_of_what_the_model_sees():
    rows = X[:, 20:30].copy()
    rows[::4, 2] = np.nan
    rows[1::5, 7] = np.nan
    estimator = quick().fit(rows, Y)
    assert isinstance(estimator.model_.likelihood, MissingEntries)
    assert estimator.center_ == pytest.approx(np.nanmedian(rows, axis=0))
    x = torch.from_numpy((rows - estimator.center_) / estimator.scale_)
    with torch.no_grad():
        expected = copy.deepcopy(estimator.model_).double().classify(x).probs.numpy()
    assert np.allclose(estimator.predict_proba(rows), expected, rtol=0, atol=1e-12)
    assert np.isfinite(estimator.transform(rows)).all()
    # A missing entry is not its centre: the mask differs.
    centred = np.where(np.isnan(rows), estimator.center_, rows)
    assert not np.allclose(estimator.predict_proba(centred), expected, rtol=0, atol=1e-6)
    frame = kinds_frame().astype({"visits": "Int64"})
    frame.loc[::3, "visits"] = pd.NA
    frame.loc[1::3, "colour"] = None
    mixed = quick(max_steps=2).fit(frame, np.arange(60) % 2)
    assert mixed.feature_kinds_ == ("real", "count", "binary", "categorical", "real")
    assert np.isfinite(mixed.predict_proba(frame)).all()
    partly = quick(max_steps=1, likelihood=MissingEntries(Gaussian())).fit(X[:, 20:30], Y)
    assert np.isfinite(partly.predict_proba(rows)).all()


def test_all_pixels_of_images_have_one_range(fitted):
    assert fitted.center_.tolist() == [0] * 64
    assert fitted.scale_.tolist() == [16] * 64


def test_pixels_in_the_unit_interval_are_taken_as_they_are():
    estimator = quick(image_shape=(1, 8, 8)).fit(X / 32, Y)
    assert estimator.center_.tolist() == [0] * 64
    assert estimator.scale_.tolist() == [1] * 64
    estimator = quick(image_shape=(1, 8, 8)).fit(X / 1000 + 0.5, Y)  # which 8 bits would blur
    assert estimator.center_.tolist() == [0.5] * 64
    assert estimator.scale_ == pytest.approx(np.full(64, 0.016))


def test_outliers_have_no_say_in_the_range():
    hundred = np.arange(100.0)
    assert _reach(np.append(hundred, 1e6)) == (0, 99)
    assert _reach(np.append(hundred, [-1e6, 1e6, np.float64(1e300)])) == (0, 99)
    # The middle 90 % is 5 … 94: what lies within -262 … 361 belongs to it.
    assert _reach(np.append(hundred, [-262, 361])) == (-262, 361)
    assert _reach(np.append(hundred, [-300, 400])) == (0, 99)
    skewed = np.exp(np.linspace(-2, 2, 200))
    assert _reach(skewed) == (skewed[0], skewed[-1])
    # Mostly zero: the others say how far they go.
    rare = np.repeat([0.0, 1, 2, 3], [970, 10, 10, 10])
    assert _reach(rare) == (0, 3)
    assert _reach(np.append(np.repeat(rare, 10), 1e6)) == (0, 3)
    assert _reach(np.array([0.0] * 99 + [1])) == (0, 1)
    assert _reach(np.full(50, 7.0)) == (7, 7)
    assert _reach(np.append(hundred[:10], 1e6)) == (0, 1e6)  # of so few, none can be told from the others


@pytest.mark.parametrize("seed", range(2))
def test_one_wrong_row_changes_nothing_for_the_others(seed):
    rows, classes = load_breast_cancer(return_X_y=True)
    rows, test_rows, classes, test_classes = train_test_split(rows, classes, random_state=seed, stratify=classes)
    y = np.where(np.arange(len(rows)) < 30, classes, -1)
    wrong = rows.copy()
    wrong[100] *= 1000
    options = {"max_steps": 30, "learning_rate": 0.03, "random_state": seed}
    clean, dirty = quick(**options).fit(rows, y), quick(**options).fit(wrong, y)
    assert dirty.scale_ == pytest.approx(clean.scale_, rel=0.05)
    accuracy = clean.score(test_rows, test_classes)
    assert accuracy > 0.86
    assert dirty.score(test_rows, test_classes) == pytest.approx(accuracy, abs=0.03)


def test_one_wrong_image_changes_nothing_for_the_others(fitted):
    wrong = np.vstack([X, X[:1] * 1000])
    estimator = quick(image_shape=(1, 8, 8), max_steps=1).fit(wrong, np.append(Y, -1))
    assert estimator.scale_.tolist() == fitted.scale_.tolist() == [16] * 64
    estimator = quick(image_shape=(1, 8, 8), max_steps=1).fit(wrong / 16, np.append(Y, -1))
    assert (estimator.center_.max(), estimator.scale_.min(), estimator.scale_.max()) == (0, 1, 1)


def test_what_lies_outside_the_range_is_clipped(fitted):
    rows = TEST_X * 3.0 - 10
    assert np.array_equal(fitted.predict_proba(rows), fitted.predict_proba(rows.clip(0, 16)))


# Generating


def test_samples_are_the_models_in_the_units_of_x(fitted):
    rows = fitted.sample(4, y=[2, 0])
    torch.manual_seed(int(check_random_state(0).randint(2**31 - 1)))
    with torch.no_grad():
        images = fitted.model_.sample(torch.tensor([2, 2, 2, 2, 0, 0, 0, 0]))[0]
    assert np.allclose(rows, images.flatten(1).numpy() * 16.0, atol=1e-5)
    assert 2 < rows.max() <= 16
    assert fitted.sample(4, y=2).shape == (4, 64)
    assert np.array_equal(fitted.sample(4, y=[2, 0]), rows)


def test_classes_are_drawn_from_their_prior():
    estimator = quick(class_prior=ClassPrior(3, [0.7, 0.1, 0.2])).fit(X, np.where(Y >= 0, NAMES[Y], -1))
    rows, classes = estimator.sample(2500)
    assert rows.shape == (2500, 64)
    shares = [(classes == name).mean() for name in ("one", "two", "zero")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.03)  # 3 standard errors


# scikit-learn's ways


def test_score_leaves_out_rows_without_a_class(fitted):
    y = TEST_Y.copy()
    y[::3] = -1
    known = y >= 0
    right = fitted.predict(TEST_X) == TEST_Y
    assert fitted.score(TEST_X, y) == right[known].mean()
    weight = np.linspace(1, 2, len(y))
    assert fitted.score(TEST_X, y, weight) == pytest.approx(np.average(right[known], weights=weight[known]))


def test_pickled_and_back_it_says_the_same(fitted):
    back = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(back.predict_proba(TEST_X), fitted.predict_proba(TEST_X))
    assert np.array_equal(back.sample(3)[0], fitted.sample(3)[0])


@pytest.mark.parametrize("make", [partial(GaussianMixture, 3, 4), partial(VampPrior, 3, 4)], ids=["mixture", "vamp"])
def test_what_is_given_is_never_trained_and_never_shared(make):
    estimator = quick(prior=make())
    before = copy.deepcopy(estimator.prior.state_dict())
    first = estimator.fit(X, Y).model_
    second = clone(estimator).fit(X, Y).model_
    assert_same_tensors(estimator.prior.state_dict(), before)
    assert_same_tensors(first.state_dict(), second.state_dict())
    parameters = [id(each) for module in (estimator.prior, first, second) for each in module.parameters()]
    assert len(set(parameters)) == len(parameters)
    back = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(back.transform(TEST_X), estimator.transform(TEST_X))


def test_a_clone_is_untrained_and_takes_other_parameters(fitted):
    twin = clone(fitted).set_params(learning_rate=0.001, prior=None)
    assert twin.get_params()["learning_rate"] == 0.001
    assert fitted.get_params()["learning_rate"] == 0.1
    with pytest.raises(NotFittedError):
        twin.sample()
    with pytest.raises(NotFittedError):
        twin.transform(X)


def test_in_a_pipeline_and_cross_validation():
    pipeline = make_pipeline(StandardScaler(), quick())
    folds = StratifiedKFold(3, shuffle=True, random_state=0)  # -1 is a stratum of its own
    scores = cross_val_score(pipeline, X, Y, cv=folds, error_score="raise")
    assert scores.shape == (3,)
    assert scores.min() >= 0.8
    pipeline.fit(X, Y)
    names = [f"semisupervisedclassifier{k}" for k in range(10)]
    assert pipeline.get_feature_names_out().tolist() == names


def test_grid_search_over_priors_objectives_and_numpys_numbers():
    grid = [
        {"prior": [StandardNormal(2), GaussianMixture(2, 3)], "objective": [Objective(), Objective(alpha=10.0)]},
        {"max_steps": np.array([3]), "learning_rate": np.array([0.1], dtype=np.float32), "prior": [StandardNormal(2)]},
    ]
    search = GridSearchCV(quick(max_steps=6), grid, cv=2, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 5
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert type(search.best_estimator_.model_.prior) is type(search.best_params_["prior"])
    assert search.score(TEST_X, TEST_Y) == search.best_estimator_.score(TEST_X, TEST_Y)


def test_the_seed_decides_and_nothing_else(fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  (scikit-learn's convention)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    again, other = clone(fitted).fit(X, Y), clone(fitted).set_params(random_state=1).fit(X, Y)
    again.sample(2)
    again.predict(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # noqa: NPY002
    assert_same_tensors(again.model_.state_dict(), fitted.model_.state_dict())
    assert not np.array_equal(other.predict_proba(X), fitted.predict_proba(X))
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_without_a_seed_scikit_learns_global_one_counts():
    fits = []
    for _ in range(2):
        np.random.seed(3)  # noqa: NPY002
        fits.append([quick(random_state=None, max_steps=1).fit(X, Y).model_.state_dict() for _ in range(2)])
    assert_same_tensors(fits[0][0], fits[1][0])
    assert_same_tensors(fits[0][1], fits[1][1])
    name = "decoder.perceptron.first.linear.weight"
    assert not torch.equal(fits[0][0][name], fits[0][1][name])


def test_worker_processes_need_not_import_lightning_first():
    # joblib sends them the warning filters. Without pytest, which has filters of its own.
    program = "import warnings, ssvae.inference; ssvae.inference.SemiSupervisedClassifier; print(warnings.filters)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "DeprecationWarning" in done.stdout
    assert "lightning" not in done.stdout


def test_any_function_that_makes_a_model():
    class Tilted(M2):
        """A model of someone else's, with an argument of its own."""

        def __init__(self, event_shape, num_classes, *, tilt, **parts):
            super().__init__(event_shape, num_classes, **parts)
            self.tilt = tilt

    prior = GaussianMixture(3, 2)
    estimator = clone(quick(model=partial(Tilted, tilt=4, prior=prior)))
    before = copy.deepcopy(prior.state_dict())
    estimator.fit(X, Y)
    assert estimator.model_.tilt == 4
    assert estimator.model_.prior.num_components == 2
    assert_same_tensors(prior.state_dict(), before)
    assert_same_tensors(estimator.model.keywords["prior"].state_dict(), before)


def test_the_posterior_is_that_of_the_model_that_is_trained():
    estimator = clone(quick(posterior=FullRankNormal(), max_steps=1)).fit(X, Y)
    assert isinstance(estimator.model_.posterior, FullRankNormal)
    assert estimator.transform(X[:3]).shape == (3, estimator.model_.prior.latent_dim)


def test_likelihoods_that_are_particular_about_pixels():
    black_and_white = (X > 8).astype(float)
    assert quick(likelihood=Bernoulli(), max_steps=1).fit(black_and_white, Y).scale_.max() == 1
    assert quick(likelihood=Bernoulli(), binarise=True, image_shape=(1, 8, 8), max_steps=1).fit(X, Y).history_
    assert quick(likelihood=DiscretizedLogistic(), image_shape=(1, 8, 8), max_steps=1).fit(X, Y).history_


# Sentences

SENTENCES = {
    "no labels": (lambda: quick().fit(X, np.full(120, -1)), ValueError, r"y: expected the class of some rows \(-1"),
    "one class": (
        lambda: quick().fit(X, np.where(Y == 0, 7, -1)),
        ValueError,
        "y: .* two classes .*; got one class, 7",
    ),
    "-1 and 1": (
        lambda: quick().fit(X, np.where(DIGIT_LABELS[:120] > 0, 1, -1)),
        ValueError,
        r"y: expected two classes or more; got -1 and 1, where -1 marks unlabelled rows, .*\. Encode the classes as 0",
    ),
    "nan among strings": (
        lambda: quick().fit(X, np.where(KNOWN, NAMES[Y], np.nan).astype(str)),
        ValueError,
        "y: expected names of classes, or `unlabelled`; got 'nan', which may be either",
    ),
    "words and numbers": (
        lambda: quick().fit(X[:4], [1, "a"] * 2),
        TypeError,
        "y: expected classes of one type.* int and str",
    ),
    "infinite class": (
        lambda: quick().fit(X[:4], [1, 2, 1, np.inf]),
        ValueError,
        "y: expected classes.*; got infinity",
    ),
    "words in X": (
        lambda: quick().fit(pd.DataFrame({"size": [1.0, 2], "colour": ["red", "blue"]}), [0, 1]),
        ValueError,
        "X: expected numbers; got 'red' in column 'colour'",
    ),
    "NaN in images": (
        lambda: quick(image_shape=(1, 1, 2)).fit(pd.DataFrame({"size": [1.0, 2], "age": [3, np.nan]}), [0, 1]),
        ValueError,
        "X: expected finite numbers, as for every image; got NaN in row 1 of column 'age', and 1 such rows in all",
    ),
    "NaN for a likelihood of complete rows": (
        lambda: quick(likelihood=Gaussian()).fit([[1, 2], [np.nan, 3], [2, 2]], [0, 1, 1]),
        ValueError,
        "likelihood: expected one that admits missing entries",
    ),
    "NaN in a row of no weight": (
        lambda: quick().fit([[1, 2], [2, 3], [np.nan, 2]], [0, 1, 1], [1, 1, 0]),
        ValueError,
        "X: expected no NaN, as rows of training had none; got NaN in row 2 of column 0",
    ),
    "NaN after complete rows": (
        lambda: quick(max_steps=1).fit([[1, 2], [2, 3]], [0, 1]).predict([[1, np.nan]]),
        ValueError,
        "X: expected no NaN, as rows of training had none; got NaN in row 0 of column 1",
    ),
    "infinity in X": (
        lambda: quick().fit([[1, 2], [np.inf, 3]], [0, 1]),
        ValueError,
        "got infinity in row 1 of column 0",
    ),
    "no weight": (
        lambda: quick().fit(X, Y, np.zeros(120)),
        ValueError,
        "sample_weight: .* positive .*; got zero for all",
    ),
    "negative weight": (lambda: quick().fit(X, Y, -np.ones(120)), ValueError, "sample_weight: .* at least 0; got -1"),
    "one weight": (lambda: quick().fit(X, Y, 2.0), ValueError, r"sample_weight: expected shape \(120,\).*; got \(\)"),
    "weights in words": (lambda: quick().fit(X, Y, ["a"] * 120), TypeError, "sample_weight: expected numbers"),
    "weights for M1": (
        lambda: quick(model=M1).fit(X, Y, np.arange(1, 121)),
        ValueError,
        "sample_weight: expected equal weights .* for M1, which is fitted to all labelled rows",
    ),
    "sizes of images": (lambda: quick(image_shape=(1, 8, 9)).fit(X, Y), ValueError, r"64 numbers .* got \(1, 8, 9\)"),
    "a size alone": (lambda: quick(image_shape=64).fit(X, Y), ValueError, "image_shape: expected .*; got 64"),
    "two channels": (lambda: quick(image_shape=(2, 8, 4)).fit(X, Y), ValueError, "image_shape: .* 1 or 3 channels"),
    "augmentation of rows": (
        lambda: quick(augmentation=Augmentation()).fit(X, Y),
        ValueError,
        "image_shape: expected .*, as augmentation needs images; got None",
    ),
    "consistency without augmentation": (
        lambda: quick(objective=Objective(consistency=Consistency())).fit(X, Y),
        ValueError,
        "augmentation: expected one",
    ),
    "grey pixels": (
        lambda: quick(likelihood=Bernoulli(), image_shape=(1, 8, 8)).fit(X, Y),
        ValueError,
        "binarise=True",
    ),
    "binarised vectors": (
        lambda: quick(binarise=True).fit(X, Y),
        ValueError,
        "image_shape: expected .*, as binarise needs images; got None",
    ),
    "half a step": (lambda: quick(max_steps=2.5).fit(X, Y), TypeError, "max_steps: expected an integer; got 2.5"),
    "no batch": (lambda: quick(batch_size=0).fit(X, Y), ValueError, "batch_size: expected a positive number; got 0"),
    "half a row": (lambda: quick(batch_size=0.5).fit(X, Y), TypeError, "batch_size: expected an integer; got 0.5"),
    "a rate in words": (lambda: quick(learning_rate="a").fit(X, Y), TypeError, "learning_rate: expected a number"),
    "a class for an object": (
        lambda: quick(prior=StandardNormal).fit(X, Y),
        TypeError,
        "prior: expected an object of class Prior, or None; got <class",
    ),
    "the model's name": (lambda: quick(model="M2").fit(X, Y), TypeError, "model: .* function .*; got 'M2'"),
    "not a model": (lambda: quick(model=dict).fit(X, Y), TypeError, "returns a SemiSupervisedModel; got"),
    "another size": (
        lambda: quick(model=lambda event_shape, num_classes, networks: M2((1, 4, 4), 3)).fit(X, Y),
        ValueError,
        r"model: expected one .*64",
    ),
}


@pytest.mark.parametrize(("act", "kind", "sentence"), SENTENCES.values(), ids=SENTENCES.keys())
def test_bad_input_gets_a_sentence(act, kind, sentence):
    with pytest.raises(kind, match=sentence):
        act()


@pytest.mark.parametrize(
    ("act", "kind", "sentence"),
    [
        (lambda fitted: fitted.score(X, np.full(120, -1)), ValueError, "y: expected the class of some rows to score"),
        (lambda fitted: fitted.score(X, Y[:60]), ValueError, "y: expected 120 classes.*; got 60"),
        (lambda fitted: fitted.sample(y=[0, 5]), ValueError, r"among \[0, 1, 2\]; got 5"),
        (lambda fitted: fitted.sample(y="0"), ValueError, r"among \[0, 1, 2\]; got '0'"),
        (lambda fitted: fitted.sample(0), ValueError, "n_samples: expected at least 1; got 0"),
        (lambda fitted: fitted.sample(0.5), TypeError, "n_samples: expected an integer; got 0.5"),
    ],
)
def test_bad_input_after_training_gets_a_sentence(fitted, act, kind, sentence):
    with pytest.raises(kind, match=sentence):
        act(fitted)
