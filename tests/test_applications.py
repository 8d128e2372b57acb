"""What a trained model is good for: features, generated images, more training images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import tiny

from ssvae.data import Arrays, Digits
from ssvae.inference import Recipe, fit
from ssvae.inference.applications.features import FeatureScores, clustering_accuracy, score_features
from ssvae.inference.applications.generation import score_generation, train_reference_classifier
from ssvae.inference.applications.more_images import train_on_samples
from ssvae.inference.command_line.commands import run_command
from ssvae.inference.runs import with_all_labels
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

ODD_OR_EVEN = {"odd": ["1", "3", "5", "7", "9"], "even": ["0", "2", "4", "6", "8"]}


class _Oracle:
    """Answers in place of an M2: the brightest column is its feature, its samples are given."""

    def __init__(self, model, samples=None):
        self._model, self._samples = model, samples

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode(self, x):
        return torch.nn.functional.one_hot(x[:, 0, 0].argmax(-1), 8).to(x)

    def sample(self, y, num_samples):
        return self._samples


class _Generator(M2):
    """Samples that are given, in an order of classes that may be wrong."""

    of_class = ()
    order = (0, 1, 2)

    def sample(self, y, num_samples):
        return torch.stack([self.of_class[k][:num_samples] for k in self.order], dim=1)


def _clear(number, num_labels=None):
    """Three classes that the brightest column tells, on noise that says nothing."""
    y = np.arange(number) % 3
    images = np.random.default_rng(0).integers(0, 150, (number, 8, 8)).astype(np.uint8)
    images[np.arange(number), 0, 2 * y] = 255
    return Arrays(images, y, test_images=images, test_labels=y, num_labels=num_labels)


def test_features_that_tell_the_class_score_one_and_pixels_stand_beside():
    found = score_features(_Oracle(tiny.m2()), _clear(60, num_labels=30))
    assert found["latent means"] == FeatureScores(1, 1, 1, pytest.approx(1), pytest.approx(1))
    # k-means on pixels finds clusters of noise.
    assert found["pixels"].clustering < 0.8
    assert found["pixels"].nmi < 0.5


def test_features_are_clustered_without_labels():
    every = score_features(_Oracle(tiny.m2()), _clear(60))
    for name, scores in score_features(_Oracle(tiny.m2()), _clear(60, num_labels=0)).items():
        assert scores == replace(every[name], linear_probe=None, nearest_neighbours=None)


class _TwoPixels(_Oracle):
    """The first two pixels are its features."""

    def encode(self, x):
        return x[:, 0, 0, :2]


def test_features_are_standardised_by_the_training_images_also_where_they_are_clustered():
    # By their own spread the test images (0, 0), (0, 2), (30, 0) and (30, 2) are a square, and by none the first pixel
    # tells two clusters. Over the training images its standard deviation is 82 and that of the second pixel 0.7: two
    # clusters at (·, 0) and (·, 2).
    train = np.zeros((12, 8, 8), dtype=np.uint8)
    train[:9, 0, :2] = [[0, 3], [200, 3], [0, 3], [200, 3], [0, 3], [200, 3], [0, 1], [200, 3], [100, 3]]
    train[9:, 0, :2] = [[100, 1], [100, 3], [100, 3]]
    y = np.array([-1] * 9 + [0, 1, 1])
    test = np.zeros((4, 8, 8), dtype=np.uint8)
    test[:, 0, :2] = [[0, 0], [0, 2], [30, 0], [30, 2]]
    data = Arrays(train, y, test_images=test, test_labels=np.array([0, 1, 0, 1]))
    scores = score_features(_TwoPixels(tiny.m2()), data)["latent means"]
    assert (scores.clustering, scores.nmi, scores.ari) == (1, pytest.approx(1), pytest.approx(1))


def test_clusters_are_matched_with_classes_so_that_the_accuracy_is_highest():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert clustering_accuracy(np.array([2, 2, 2, 0, 0, 0, 1, 1, 1]), labels) == 1
    # Cluster 0 takes class 0 (3 of 4), 1 takes class 1 (2), 2 takes class 2 (2).
    assert clustering_accuracy(np.array([0, 0, 0, 0, 1, 1, 2, 2, 1]), labels) == pytest.approx(7 / 9)
    # Two clusters want class 0: only one may have it.
    assert clustering_accuracy(np.array([0, 0, 1, 2, 2, 2, 1, 1, 1]), labels) == pytest.approx(8 / 9)


@pytest.fixture(scope="module")
def scored_data():
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    data = tiny.arrays(num_labels=None, num_train=90, num_test=60)
    found = train_reference_classifier(data, max_steps=150)
    torch.set_default_dtype(dtype)
    return data, *found


@pytest.mark.slow
def test_a_reference_classifier_learns_from_all_labels(scored_data):
    data, reference, accuracy = scored_data
    assert accuracy > 0.9
    assert reference(data.preprocess(data.test_images)).shape == (60, reference.num_features)


@pytest.mark.slow
def test_test_images_as_samples_are_as_good_as_test_images(scored_data):
    data, reference, accuracy = scored_data
    x, y = data.preprocess(data.test_images), data.test_labels
    ordered = torch.stack([x[y == k] for k in range(3)], dim=1)  # (20, classes, …)
    scores = score_generation(_Oracle(tiny.m2(), ordered), data, reference, num_samples=20)["samples"]
    assert scores.agreement == pytest.approx(accuracy)
    assert scores.diversity == pytest.approx(1)
    assert scores.frechet_distance == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_samples_that_are_all_alike_have_no_diversity_and_a_distance_by_hand(scored_data):
    data, reference, _ = scored_data
    x, y = data.preprocess(data.test_images), data.test_labels
    alike = torch.stack([x[y == k][:1].expand(5, -1, -1, -1) for k in range(3)], dim=1)
    scores = score_generation(_Oracle(tiny.m2(), alike), data, reference, num_samples=5)["samples"]
    assert scores.diversity == pytest.approx(0, abs=1e-6)
    real, made = reference(x).double(), reference(alike.flatten(end_dim=1)).double()
    product = real.T.cov() @ made.T.cov()
    root = torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum()
    by_hand = (real.mean(0) - made.mean(0)).square().sum() + real.T.cov().trace() + made.T.cov().trace() - 2 * root
    assert scores.frechet_distance == pytest.approx(by_hand.item(), rel=1e-3)


@pytest.mark.slow
def test_samples_of_the_wrong_class_do_not_agree(scored_data):
    data, reference, _ = scored_data
    x, y = data.preprocess(data.test_images), data.test_labels
    wrong = torch.stack([x[y == (k + 1) % 3] for k in range(3)], dim=1)
    assert score_generation(_Oracle(tiny.m2(), wrong), data, reference, num_samples=20)["samples"].agreement < 0.1


@pytest.mark.slow
def test_good_samples_help_a_classifier_and_bad_ones_mislead_it(monkeypatch):
    data, many = tiny.arrays(num_labels=3, num_test=60), tiny.arrays(seed=1, num_labels=None, num_train=90)
    x, y = many.preprocess(many.train_images), many.train_labels
    model, recipe = _Generator((1, 8, 8), 3, networks=MLP((7,))), tiny.recipe(max_steps=60)
    monkeypatch.setattr(_Generator, "of_class", [x[y == k] for k in range(3)])
    good = train_on_samples(model, data, recipe, num_samples=30)
    monkeypatch.setattr(_Generator, "order", (1, 2, 0))
    bad = train_on_samples(model, data, recipe, num_samples=30)
    assert good["labels alone"].accuracy == bad["labels alone"].accuracy
    assert good["labels and samples"].accuracy > good["labels alone"].accuracy
    assert bad["labels and samples"].accuracy < 0.2


def test_a_data_set_shows_all_its_labels_again():
    few = Digits(20, tree=ODD_OR_EVEN, num_coarse_labels=50, seed=3)
    every = with_all_labels(few)
    assert every.num_labelled == len(every.train_images) == len(few.train_images)
    assert torch.equal(every.train_images, few.train_images)
    assert every.train_candidates is None
    with pytest.raises(ValueError, match="data: expected a data set that can be read again with all labels"):
        with_all_labels(tiny.arrays())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: score_features(tiny.m2(), tiny.arrays(num_test=2)), "data: expected at least 3 test images; got 2"),
        (lambda: train_reference_classifier(tiny.arrays()), r"data: expected the class of every .* got 6 of 40"),
        (
            lambda: train_reference_classifier(tiny.arrays(num_labels=None, num_test=0)),
            "data: expected test images to compare with",
        ),
        (
            lambda: train_on_samples(tiny.m2(), tiny.arrays(num_labels=0), tiny.recipe()),
            "data: expected labelled training images; got none",
        ),
        (
            lambda: train_on_samples(tiny.m2(), tiny.arrays(), tiny.recipe(), num_samples=0),
            "num_samples: expected at least 1; got 0",
        ),
    ],
)
def test_what_does_not_fit_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_the_commands_print_tables(tmp_path, capsys, monkeypatch):
    folder = str(tmp_path / "run")
    data = Digits(20, num_validation=30, num_test=40)
    torch.manual_seed(0)
    model = M2((1, 8, 8), 10, prior=StandardNormal(2), networks=MLP((6,)))
    fit(model, data, Recipe(max_steps=4, batch_size=500), folder=folder, baselines=False)
    capsys.readouterr()
    assert run_command("features", [folder]) == 0
    table = capsys.readouterr().out
    assert "| latent means | " in table
    assert "| pixels | " in table
    assert "20 labelled training images" in table
    assert run_command("score", [folder, "--max_steps", "12", "--num_samples", "2"]) == 0
    assert "| training images | " in capsys.readouterr().out
    assert run_command("augment", [folder, "--num_samples", "2"]) == 0
    assert "| labels and samples | " in capsys.readouterr().out
