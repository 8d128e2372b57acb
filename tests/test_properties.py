"""Properties of fit, evaluate and classify over shapes, labels, types and sizes: the right answer or one sentence."""

import math
import re
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ssvae import models
from ssvae.data import Arrays, Batches
from ssvae.inference import evaluate, fit
from ssvae.inference.command_line.choices import offered
from ssvae.inference.evaluation import evaluation, log_weights
from ssvae.inference.evaluation.diagnostics import pareto_k
from ssvae.inference.predict import class_probabilities, seeded
from ssvae.inference.training import Recipe, TrainerOptions
from ssvae.inference.training.module import Training
from ssvae.models import SOMVAE, SemiSupervisedModel
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

pytestmark = pytest.mark.slow

NETWORKS = MLP((4,))
# What a model needs beside its networks and a prior, to be small.
SMALL = {
    "DistilledM1": {"feature_dim": 3, "fitted_at": (0.3, 0.6)},
    "DistilledM2": {"feature_dim": 3, "fitted_at": (0.5,)},
    "M1M2": {"inner_networks": NETWORKS, "z1_dim": 3},
    "GMVAE": {"prior": None},
    "SOMVAE": {"latent_dim": 3, "rows": 2, "columns": 3},
    "LadderVAE": {"latent_dims": (3,), "hidden": (4,)},
    "AdversarialAutoencoder": {"discriminators": NETWORKS},
    "ConditionalVAE": {"num_samples": 2},
    "ADGM": {"auxiliary_dim": 2, "num_samples": 2},
    "SDGM": {"auxiliary_dim": 2, "num_samples": 2},
}
MODELS = {kind.__name__: (kind, SMALL.get(kind.__name__, {})) for kind in offered(models, SemiSupervisedModel)}
PATTERNS = ("none", "one", "all", "a class without", "balanced")
BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    # A smaller example is not worth the fits that it takes to find one.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def a_model(name, event_shape, num_classes):
    kind, options = MODELS[name]
    options = {"networks": NETWORKS, **({} if kind is SOMVAE else {"prior": StandardNormal(2)}), **options}
    return kind(event_shape, num_classes, **options)


def assert_a_sentence(error, *names):
    """What is refused is refused in one sentence: the argument, what was expected, and what came."""
    words = str(error)
    assert isinstance(error, ValueError | TypeError), repr(error)
    assert re.fullmatch(rf"({'|'.join(names)}): .*expected .*[,;] got .*", words), words
    assert len(words) < 400
    assert "\n" not in words


def attempt(call):
    """Return what a call returns and None, or None and what it was refused with."""
    try:
        return call(), None
    except (TypeError, ValueError) as error:
        return None, error


@dataclass(frozen=True)
class Case:
    """Images, labels, and how they are to be trained on."""

    model: str
    shape: tuple[int, int, int]
    num_classes: int
    pattern: str
    num_images: int
    num_test: int
    batch_size: int
    labelled_batch_size: int | None
    seed: int

    def arrays(self, **options):
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.rand(self.num_images + self.num_test, *self.shape, generator=generator)
        y = torch.arange(len(x)) % self.num_classes
        train, test = y[: self.num_images].clone(), y[self.num_images :]
        index = torch.arange(self.num_images)
        hidden = {
            "none": index >= 0,
            "one": index != 0,
            "all": index < 0,
            "a class without": train == self.num_classes - 1,
            "balanced": index >= self.num_classes,
        }[self.pattern]
        train[hidden] = -1
        return Arrays(
            x[: self.num_images],
            train,
            test_images=x[self.num_images :],
            test_labels=test,
            class_names=[f"class {k}" for k in range(self.num_classes)],
            **options,
        )


CASES = st.builds(
    Case,
    model=st.sampled_from(sorted(MODELS)),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12)),
    num_classes=st.integers(1, 6),
    pattern=st.sampled_from(PATTERNS),
    num_images=st.integers(1, 14),
    num_test=st.integers(1, 6),
    batch_size=st.sampled_from([-3, 0, 1, 2, 3, 50]),
    labelled_batch_size=st.sampled_from([None, None, None, -1, 0, 1, 2, 40]),
    seed=st.integers(0, 1000),
)


def expected_to_train(case, labels):
    """Say by hand whether a fit has everything it needs: the rules of the documentation, not of the code."""
    known = labels[labels >= 0]
    unlabelled, labelled = int((labels < 0).sum()), len(known)
    of_labelled = case.labelled_batch_size
    return (
        (labelled == 0 or (len(known.unique()) == case.num_classes and case.num_classes > 1))
        and case.batch_size >= 1
        and (of_labelled is None or of_labelled >= 1)
        and (unlabelled == 0 or case.batch_size <= unlabelled)
        and (of_labelled is None or labelled == 0 or of_labelled <= labelled)
    )


def labels_of(case):
    """The labels that the pattern leaves, built once more, from scratch."""
    y = torch.arange(case.num_images) % case.num_classes
    keep = {
        "none": lambda i, k: False,
        "one": lambda i, k: i == 0,
        "all": lambda i, k: True,
        "a class without": lambda i, k: k != case.num_classes - 1,
        "balanced": lambda i, k: i < case.num_classes,
    }[case.pattern]
    return torch.tensor([k if keep(i, k) else -1 for i, k in enumerate(y.tolist())])


@BOUNDED
@example(Case("M1", (1, 1, 1), 1, "all", 3, 1, 1, None, 0))
@example(Case("SOMVAE", (3, 5, 2), 4, "none", 6, 2, 3, None, 1))
@example(Case("M2", (1, 12, 7), 3, "a class without", 9, 3, 2, None, 2))
@given(CASES)
def test_fit_trains_or_says_what_is_missing(case):
    labels = labels_of(case)
    with TemporaryDirectory() as above, mock.patch("ssvae.inference.runs.report.write_report"):
        folder = Path(above) / "run"
        options = {"batch_size": case.batch_size, "labelled_batch_size": case.labelled_batch_size, "max_steps": 2}
        data, error = attempt(case.arrays)
        if data is not None:
            model = a_model(case.model, case.shape, case.num_classes)
            quiet = TrainerOptions(progress_bar=False)
            run, error = attempt(
                lambda: fit(model, data, Recipe(trainer=quiet, **options), folder=str(folder), baselines=False)
            )
        if not expected_to_train(case, labels):
            assert_a_sentence(error, "train_labels", "class_names", "batch_size", "labelled_batch_size")
            assert not folder.exists()
            return
        assert error is None, error
    assert torch.equal(data.train_labels, labels)
    assert (data.num_labelled, data.num_unlabelled) == (int((labels >= 0).sum()), int((labels < 0).sum()))
    assert all(math.isfinite(value) for row in run.history for value in row.values())
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())
    assert_right(run.model, data, run.evaluation)


def assert_right(model, data, found):
    """What evaluation says is what the probabilities, counted by hand, say."""
    x = data.preprocess(data.test_images)
    with torch.no_grad():
        probabilities = model.classify(x).probs
        one_by_one = torch.cat([model.classify(image[None]).probs for image in x])
    assert probabilities.shape == (len(x), data.num_classes)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(x)), rtol=0, atol=1e-12)
    torch.testing.assert_close(one_by_one, probabilities, rtol=1e-9, atol=1e-12)
    assert (found.discovery is not None) == (not data.has_labels)
    if not data.has_labels:
        # Without labels the numbers of classes mean nothing: they are those with which most images are right.
        empty = iter(found.discovery.empty)
        order = [next(empty) if y is None else y for y in found.discovery.assigned]
        assert sorted(order) == list(range(data.num_classes))
        rights = [
            (probabilities[:, list(each)].argmax(-1) == data.test_labels).sum().item()
            for each in permutations(range(data.num_classes))
        ]
        probabilities = probabilities[:, order]
        assert (probabilities.argmax(-1) == data.test_labels).sum().item() == max(rights)
    torch.testing.assert_close(found.probabilities, probabilities, rtol=1e-9, atol=1e-12)
    right = [int(row.argmax()) == y for row, y in zip(probabilities, data.test_labels.tolist(), strict=True)]
    assert found.classifier.accuracy == pytest.approx(sum(right) / len(right), abs=1e-12)
    nll = -probabilities[torch.arange(len(x)), data.test_labels].log().mean().item()
    if math.isfinite(nll):  # a support vector machine may be certain, and wrong
        assert found.classifier.nll == pytest.approx(nll, rel=1e-9, abs=1e-9)
    with torch.no_grad():
        error = (x - model.reconstruct(x)).square().mean().item()
    assert found.reconstruction_error == pytest.approx(error)
    assert math.isfinite(found.elbo)
    assert (found.log_likelihood is not None) == model.bounds_evidence
    if found.log_likelihood is not None:
        assert math.isfinite(found.log_likelihood)
        assert found.bits_per_dimension == pytest.approx(
            8 - found.log_likelihood / (x[0].numel() * math.log(2)), rel=1e-9, abs=1e-9
        )
    if found.posterior_probabilities is not None:
        torch.testing.assert_close(found.posterior_probabilities.sum(-1), torch.ones(len(x)).double())


@settings(BOUNDED, max_examples=10)
@given(st.sampled_from(["M2", "GMVAE", "ConditionalVAE", "LadderVAE"]), st.integers(2, 4), CASES)
def test_the_evidence_is_above_the_elbo(name, num_classes, case):
    torch.manual_seed(case.seed)
    data = replace(case, num_classes=num_classes, pattern="all", num_images=8, num_test=1).arrays()
    model = a_model(name, case.shape, num_classes).eval()
    # Of one and the same image: log of the mean of many weights, and means of the bound with one.
    found = evaluate(model, data, num_samples=2000)
    x = data.preprocess(data.test_images)
    with seeded(1):
        elbos = -torch.tensor([evaluation._elbo_terms(model, x)["negative_elbo"] for _ in range(40)])
    assert found.log_likelihood >= elbos.mean() - 4 * elbos.std() / len(elbos) ** 0.5
    y = torch.arange(num_classes).unsqueeze(-1)
    with seeded(5):
        log_v = log_weights(model, x, y, 2000).logsumexp(1)
    by_hand = (log_v.logsumexp(0) - math.log(2000)).item()
    # Two estimates by 2000 samples each, of weights that are spread over a few nats. The guide's own is too low where
    # the guide is nowhere near the posterior, as its weights' tail says.
    assert found.log_likelihood > by_hand - 0.5
    if pareto_k(log_v).item() < 0.5:
        assert found.log_likelihood < by_hand + 0.5


@settings(BOUNDED, max_examples=60)
@given(CASES, st.integers(0, 14))
def test_hidden_labels_never_reach_training(case, num_labels):
    labels = labels_of(case)
    known = torch.bincount(labels[labels >= 0], minlength=case.num_classes)
    data, error = attempt(lambda: case.arrays(num_labels=num_labels, balanced=False))
    if num_labels and (num_labels > known.sum() or num_labels < case.num_classes or 0 in known):
        assert_a_sentence(error, "num_labels")
        return
    if num_labels and case.num_classes == 1:
        assert_a_sentence(error, "class_names")
        return
    assert error is None, error
    assert data.num_labelled == num_labels
    shown = data.train_labels >= 0
    assert torch.equal(data.train_labels[shown], labels[shown])
    if data.num_unlabelled == 0:
        return
    model, recipe = a_model("M2", case.shape, case.num_classes), Recipe(batch_size=1, max_steps=2)
    training = Training(model, data, recipe, None, print_lines=False)
    seen = set()
    for batch in Batches(data, 1):
        observed = training.observations(batch)
        assert torch.equal(observed.y, labels[batch.labelled])
        assert (observed.y >= 0).all()
        assert observed.partial is None
        seen |= set(batch.unlabelled.tolist())
    assert seen == set(data.unlabelled_index.tolist())


# Types and values


PIXEL_TYPES = {
    "uint8": np.uint8,
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bool": np.bool_,
    "int64": np.int64,
    "int8": np.int8,
    "complex128": np.complex128,
}
LABEL_TYPES = {
    "int64": np.int64,
    "int8": np.int8,
    "uint8": np.uint8,
    "float64": np.float64,
    "bool": np.bool_,
    "text": np.str_,
}
ODD_VALUES = {"none": None, "negative": -0.1, "above one": 1.5, "NaN": np.nan, "infinite": np.inf, "-infinite": -np.inf}


@settings(BOUNDED, max_examples=150)
@given(
    st.sampled_from(sorted(PIXEL_TYPES)),
    st.sampled_from(sorted(LABEL_TYPES)),
    st.sampled_from(sorted(ODD_VALUES)),
    st.booleans(),
    st.tuples(st.sampled_from([1, 2, 3, 4]), st.integers(0, 12), st.integers(0, 12)),
    st.integers(0, 5),
)
def test_arrays_of_any_type_are_8_bit_images_or_refused(pixels, labels, odd, as_tensor, shape, num_images):
    generator = np.random.default_rng(7)
    levels = generator.integers(0, 2 if pixels in ("bool", "int8") else 256, (num_images, *shape))
    is_float = pixels.startswith("float")
    images = (levels / 255 if is_float else levels).astype(PIXEL_TYPES[pixels])
    value = ODD_VALUES[odd] if is_float and images.size else None
    if value is not None:
        images.reshape(-1)[generator.integers(images.size)] = value
    classes = (np.arange(num_images) % 2).astype(LABEL_TYPES[labels])
    possible = [axis for axis in (0, 2) if shape[axis] in (1, 3)]
    # Where both may be channels: tensors have them first, and it is no question if all sizes are 1.
    is_clear = len(possible) == 1 or (possible != [] and (as_tensor or shape == (1, 1, 1)))
    channels_last = possible == [2]
    highest = int(levels.max()) if levels.size else 0
    is_bright = (
        highest == 0
        or (pixels == "bool")
        or (highest > 16 and pixels != "int8")
        or (highest == 1 and pixels in ("int64", "int8"))
        or (is_float and highest > 1)
    )
    white = 255 if pixels == "bool" or (pixels in ("int64", "int8") and highest == 1) else 1
    good = (
        pixels != "complex128"
        and labels != "text"
        and value is None
        and is_clear
        and is_bright
        and 0 not in shape
        and num_images >= 2
    )
    if as_tensor:
        images = torch.from_numpy(images)
        classes = classes if labels == "text" else torch.from_numpy(classes)
    options = {"test_images": images, "test_labels": classes, "class_names": ["a", "b"]}
    data, error = attempt(lambda: Arrays(images, classes, **options))
    if not good:
        assert_a_sentence(error, "images", "labels", "train_images", "train_labels")
        return
    assert error is None, error
    expected = white * (levels.transpose(0, 3, 1, 2) if channels_last else levels)
    assert np.array_equal(data.train_images.numpy(), expected)
    assert data.train_labels.tolist() == [number % 2 for number in range(num_images)]


BATCHES = {
    "right": lambda x: x,
    "empty": lambda x: x[:0],
    "float32": lambda x: x.float(),
    "float16": lambda x: x.half(),
    "bytes": lambda x: (x * 255).to(torch.uint8),
    "booleans": lambda x: x > 0.5,
    "an array": lambda x: x.numpy(),
    "a list": lambda x: x.tolist(),
    "nothing": lambda x: None,
    "0 to 255": lambda x: x * 255,
    "negative": lambda x: x - 1,
    "NaN": lambda x: x.masked_fill(x == x.max(), math.nan),
    "infinite": lambda x: x.masked_fill(x == x.max(), math.inf),
    "one image": lambda x: x[0],
    "transposed": lambda x: x.transpose(-1, -2) if x.shape[-1] != x.shape[-2] else x[..., :-1],
    "another channel": lambda x: torch.cat([x, x[:, :1]], 1),
}


@settings(BOUNDED, max_examples=120)
@given(st.sampled_from(sorted(MODELS)), st.sampled_from(sorted(BATCHES)), CASES)
def test_classify_is_right_or_says_what_is_wrong(name, kind, case):
    torch.manual_seed(case.seed)
    model = a_model(name, case.shape, case.num_classes).eval()
    x = torch.rand(3, *case.shape)
    batch = BATCHES[kind](x)
    with torch.no_grad():
        found, error = attempt(lambda: model.classify(batch).probs)
    if kind != "right":
        assert_a_sentence(error, "x")
        return
    assert error is None, error
    assert found.shape == (len(batch), case.num_classes)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(batch)), rtol=0, atol=1e-12)
    torch.testing.assert_close(class_probabilities(model, batch), found, rtol=1e-9, atol=1e-12)


OPTIONS = {
    "max_epochs": [0, -1, 1.5, "x", True, math.nan],
    "max_steps": [0, -1, 1.5, "x", np.float64(2), True],
    "batch_size": [0, -1, 1.5, "x", None, True, 10**30],
    "labelled_batch_size": [0, -1, 1.5, "x", 10**30],
    "learning_rate": [0, -1.0, math.nan, math.inf, "x", None],
    "early_stopping": [0, -1, 1.5, "x", 3],
    "seed": [-1, 1.5, "x", 2**63, None],
}


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in OPTIONS.items() for value in values])
def test_an_option_of_fit_that_is_none_is_refused_before_anything_is_written(tmp_path, option, value):
    data = Case("M2", (1, 3, 2), 2, "balanced", 8, 2, 2, None, 0).arrays()
    with pytest.raises((TypeError, ValueError)) as caught:
        fit(
            a_model("M2", (1, 3, 2), 2),
            data,
            folder=str(tmp_path / "run"),
            **{"max_steps": 2, "batch_size": 2, option: value},
        )
    assert_a_sentence(caught.value, option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0, -1, 1.5, "x", None])
@pytest.mark.parametrize("option", ["num_samples", "num_images"])
def test_an_option_of_evaluate_that_is_none_is_refused(option, value):
    if (option, value) == ("num_images", None):
        return  # all of them
    data = Case("M2", (1, 3, 2), 2, "balanced", 8, 2, 2, None, 0).arrays()
    with pytest.raises((TypeError, ValueError)) as caught:
        evaluate(a_model("M2", (1, 3, 2), 2), data, **{option: value})
    assert_a_sentence(caught.value, option)


@pytest.mark.parametrize("what", ["model", "data"])
def test_what_is_no_model_and_no_data_is_refused(tmp_path, what):
    given = {"model": a_model("M2", (1, 3, 2), 2), "data": Case("M2", (1, 3, 2), 2, "all", 4, 2, 2, None, 0).arrays()}
    for value in (None, 3, "M2", torch.zeros(3)):
        with pytest.raises(TypeError) as caught:
            fit(**{**given, what: value}, folder=str(tmp_path / "run"), max_steps=2)
        assert_a_sentence(caught.value, what)
    assert list(tmp_path.iterdir()) == []
