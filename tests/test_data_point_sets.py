import inspect

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ssvae.data import Circles, Clusters, Moons, Pinwheel

SETS = (Moons, Circles, Pinwheel, Clusters)


def all_of(kind, **arguments):
    """Return the training points and all their classes, in float64."""
    data = kind(num_labels=None, **arguments)
    return data.train_x.double().numpy(), data.train_labels.numpy()


@pytest.mark.parametrize("kind", SETS)
def test_sizes_types_and_labels(kind):
    data = kind(num_points=103, num_validation=20, num_test=31)
    assert (len(data.train_x), len(data.validation_x), len(data.test_x)) == (103, 20, 31)
    assert data.train_x.dtype == data.validation_x.dtype == data.test_x.dtype == torch.float32
    assert data.event_shape == (2,)
    kept = torch.bincount(data.train_labels[data.labelled_index], minlength=data.num_classes)
    assert set(kept.tolist()) == {data.num_labels // data.num_classes}
    for labels in (data.validation_labels, data.test_labels, kind(num_points=103, num_labels=None).train_labels):
        counts = torch.bincount(labels, minlength=data.num_classes)
        # Clusters that differ by one point make classes that differ by as many as each has clusters.
        assert counts.max() - counts.min() <= (3 if kind is Clusters else 1)


@pytest.mark.parametrize("kind", SETS)
def test_the_seed_decides_everything(kind):
    first, again, other = kind(seed=3), kind(seed=3), kind(seed=4)
    for name in ("train_x", "train_labels", "validation_x", "validation_labels", "test_x", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name), getattr(other, name)), name
    assert not torch.equal(first.train_x[:200], first.validation_x)


@pytest.mark.parametrize("kind", SETS)
def test_the_parts_are_independent_draws(kind):
    first, second = kind(num_validation=0, num_labels=None), kind(num_test=50)
    assert torch.equal(first.train_x, second.train_x)
    assert torch.equal(first.test_x, kind(num_points=300).test_x)
    assert first.validation_x.shape == (0, 2)
    known = second.labelled_index
    assert torch.equal(first.train_labels[known], second.train_labels[known])


@pytest.mark.parametrize("kind", SETS)
def test_global_random_numbers_are_neither_read_nor_changed(kind):
    numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    first = kind()
    assert np.random.get_state()[1].tolist() == numpy_state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    torch.manual_seed(1)
    assert torch.equal(first.train_x, kind().train_x)


@pytest.mark.parametrize("kind", SETS)
def test_every_argument_is_an_attribute_of_the_same_name(kind):
    arguments = {"num_points": 90, "num_labels": 20, "num_validation": 7, "num_test": 9, "noise": 0.2, "seed": 5}
    data = kind(**arguments, balanced=False)
    assert all(hasattr(data, name) for name in inspect.signature(kind).parameters)
    assert {name: getattr(data, name) for name in arguments} == arguments


@pytest.mark.parametrize("kind", SETS)
def test_the_classes_can_be_told_apart_by_all_labels(kind):
    data = kind(num_labels=None)
    neighbours = KNeighborsClassifier(5).fit(data.train_x.numpy(), data.train_labels.numpy())
    assert neighbours.score(data.test_x.numpy(), data.test_labels.numpy()) > 0.97


@pytest.mark.parametrize("kind", SETS)
def test_hidden_classes_keep_their_points_and_lose_their_labels(kind):
    data, whole = kind(num_labels=4, hidden_classes=[0]), kind(num_labels=None)
    first, *others = whole.class_names
    assert data.class_names == (*others, "new 1")
    assert data.true_class_names == (*others, first)
    assert (data.num_known_classes, data.num_classes, data.hidden_classes) == (len(others), len(others) + 1, (0,))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(data, f"{part}_x"), getattr(whole, f"{part}_x"))
    for part in ("validation", "test"):
        names = [data.true_class_names[label] for label in getattr(data, f"{part}_labels")]
        assert names == [whole.class_names[label] for label in getattr(whole, f"{part}_labels")]
    kept = data.train_labels[data.labelled_index]
    assert torch.bincount(kept).tolist() == [4 // len(others)] * len(others)
    assert torch.equal(kept + 1, whole.train_labels[data.labelled_index])


# Where the points lie


def test_moons_without_noise_are_half_circles():
    x, y = all_of(Moons, noise=0.0)
    upper, lower = x[y == 0], x[y == 1]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, atol=1e-6)
    assert upper[:, 1].min() > -1e-6
    assert lower[:, 1].max() < 0.5 + 1e-6


def test_circles_without_noise_have_radii_of_1_and_a_half():
    x, y = all_of(Circles, noise=0.0)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1, 0.5), atol=1e-6)


def test_noise_is_a_standard_deviation():
    clean, _ = all_of(Circles, noise=0.0, num_points=20_000)
    noisy, _ = all_of(Circles, noise=0.05, num_points=20_000)
    # Standard error: 0.05 / sqrt(2 * 40,000) = 0.0002.
    assert np.std(noisy - clean) == pytest.approx(0.05, abs=0.001)


def test_a_pinwheel_turned_back_is_normally_distributed_arms():
    # Without noise, r is the radius, so that the angle can be undone.
    x, y = all_of(Pinwheel, num_points=50_000, noise=0.0)
    angle = np.exp(np.linalg.norm(x, axis=1)) / 4 + 2 * np.pi * y / 5
    straight = x * np.cos(angle)[:, None] + np.stack([x[:, 1], -x[:, 0]], 1) * np.sin(angle)[:, None]
    is_positive = straight[:, 0] > 0
    assert is_positive.mean() > 0.99  # 1 + 0.3 N(0, 1) is positive with probability 0.9996
    np.testing.assert_allclose(straight[is_positive, 1], 0, atol=1e-5)
    # Standard errors: 0.3 / sqrt(50,000) = 0.0013 and 0.3 / sqrt(100,000) = 0.0009.
    assert straight[is_positive, 0].mean() == pytest.approx(1, abs=0.007)
    assert straight[is_positive, 0].std() == pytest.approx(0.3, abs=0.005)
    noisy, _ = all_of(Pinwheel, num_points=50_000, noise=0.05)
    # Standard error: 0.05 / sqrt(100,000) = 0.0002, over both coordinates.
    assert np.sqrt(((noisy - x) ** 2).sum(1).mean()) == pytest.approx(0.05, abs=0.001)


def test_a_class_is_several_clusters():
    data = Clusters(num_labels=None, num_features=5, num_clusters=7, num_classes=3, num_points=7000, noise=0.05)
    x, y = data.train_x.double().numpy(), data.train_labels.numpy()
    assert data.centres.shape == (7, 5)
    assert np.abs(data.centres).max() <= 1
    nearest = np.linalg.norm(x[:, None] - data.centres, axis=-1).argmin(1)
    assert np.array_equal(nearest % 3, y)
    assert np.bincount(nearest).tolist() == [1000] * 7
    # Standard errors: 0.05 / sqrt(35,000) / sqrt(2) = 0.0002, and 0.05 / sqrt(1000) = 0.0016.
    assert (x - data.centres[nearest]).std() == pytest.approx(0.05, abs=0.001)
    means = np.stack([x[nearest == cluster].mean(0) for cluster in range(7)])
    np.testing.assert_allclose(means, data.centres, atol=0.0065)


def test_the_centres_of_clusters_are_the_same_for_every_seed_and_far_apart():
    first, second = Clusters(seed=0), Clusters(seed=1)
    assert np.array_equal(first.centres, second.centres)
    distances = np.linalg.norm(first.centres[:, None] - first.centres, axis=-1) + 9 * np.eye(6)
    assert distances.min() > 0.6


# Bad input

ERRORS = {
    "noise": (lambda: Moons(noise=-0.1), ValueError, "noise: expected a number of 0 or more; got -0.1"),
    "no noise": (lambda: Circles(noise=None), ValueError, "noise: expected a number of 0 or more; got None"),
    "infinite noise": (lambda: Pinwheel(noise=float("inf")), ValueError, "noise: .* got inf"),
    "NaN": (lambda: Clusters(noise=float("nan")), ValueError, "noise: .* got nan"),
    "points": (lambda: Moons(num_points=10.5), TypeError, "num_points: expected an integer; got 10.5"),
    "one point": (lambda: Moons(num_points=1), ValueError, "num_points: expected at least one point for each of the 2"),
    "labels": (lambda: Circles(num_labels=7), ValueError, "num_labels: expected a multiple of the 2 classes"),
    "more labels than points": (lambda: Moons(10, 12), ValueError, "num_labels: expected at most the 10 known labels"),
    "seed": (lambda: Moons(seed=-1), ValueError, "seed: expected 0 or more; got -1"),
    "one arm": (lambda: Pinwheel(num_classes=1), ValueError, "num_classes: expected at least 2; got 1"),
    "few clusters": (lambda: Clusters(num_clusters=2, num_classes=3), ValueError, "num_clusters: expected at least 3"),
    "hidden": (lambda: Moons(hidden_classes=[2]), ValueError, "hidden_classes: expected numbers from 0 to 1; got 2"),
    "no features": (lambda: Clusters(num_features=0), ValueError, "num_features: expected at least 1; got 0"),
}


@pytest.mark.parametrize(("call", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
