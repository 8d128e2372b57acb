import pytest
import torch

from ssvae.data import Batches, Data, Digits, ImageData
from ssvae.data.random_order import random_order

X = torch.arange(30, dtype=torch.float32).view(5, 2, 3) / 8
LABELS = torch.tensor([-1, 0, -1, 1, -1])


def build(**changes):
    arguments = {
        "name": "Example",
        "train_x": X,
        "train_labels": LABELS,
        "class_names": ["cat", "dog"],
        "test_x": X[:2],
        "test_labels": torch.tensor([0, 1]),
    }
    return Data(**{**arguments, **changes})


def test_observations_of_any_shape_are_kept_as_they_are():
    data = build()
    assert data.event_shape == (2, 3)
    assert data.train_x is X
    assert (data.num_labelled, data.num_unlabelled, data.num_classes) == (2, 3, 2)
    assert data.validation_x.shape == (0, 2, 3)
    assert data.validation_x.dtype == torch.float32
    assert data.validation_labels.shape == (0,)
    assert not data.log_volume(data.train_x).any()


def test_a_model_gets_floats_of_the_default_type():
    data = build()
    assert data.preprocess(X).dtype == torch.get_default_dtype()
    assert data.preprocess(X).tolist() == X.tolist()
    assert data.observe(X) is X
    byte = build(train_x=X.byte(), test_x=X[:2].byte())
    assert byte.preprocess(byte.train_x).tolist() == X.byte().tolist()


def test_the_summary_counts_observations():
    assert build().summary() == (
        "Example: 5 training observations (2 labelled, 3 unlabelled), 0 validation, 2 test, 2 classes, 2×3 numbers"
    )
    absent = build(test_labels=torch.tensor([0, 0])).summary().splitlines()[1]
    assert absent == "Warning: there is no test observation of 'dog', so the test accuracy does not include it."


def test_batches_are_of_any_observations():
    data = build(train_weights=torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double())
    (batch,) = Batches(data, batch_size=3)
    assert [len(index) for index in batch] == [2, 3, 0]
    assert set(batch.unlabelled.tolist()) <= {0, 2, 4}
    assert data.weight_of(data.labelled_index) == 6
    assert Batches(data, batch_size=3).weights.tolist() == [1, 2, 3, 4, 5]


def test_images_are_observations():
    digits = Digits()
    assert isinstance(digits, ImageData)
    assert isinstance(digits, Data)
    assert digits.train_images is digits.train_x
    assert digits.validation_images is digits.validation_x
    assert digits.test_images is digits.test_x
    assert digits.event_shape == digits.image_shape == (1, 8, 8)
    assert not digits.log_volume(digits.train_x).any()
    with pytest.raises(AttributeError):
        digits.train_images = digits.test_images


ERRORS = {
    "float64": ({"train_x": X.double()}, TypeError, "train_x: expected a uint8 or float32 tensor; got float64 of"),
    "an array": ({"train_x": X.numpy()}, TypeError, "train_x: .* got a numpy array of float32"),
    "numbers": ({"train_x": X[:, 0, 0]}, ValueError, r"train_x: expected shape \(N, \*event_shape\); got \(5,\)"),
    "nothing in it": ({"train_x": X[:, :0]}, ValueError, r"train_x: expected shape .* got \(5, 0, 3\)"),
    "none": ({"train_x": X[:0], "train_labels": LABELS[:0]}, ValueError, "train_x: expected at least one observation"),
    "other shape": (
        {"test_x": X[:2, :1]},
        ValueError,
        r"test_x: expected observations of shape \(2, 3\) as in train_x",
    ),
    "other type": ({"test_x": X[:2].byte()}, TypeError, "test_x: expected float32 as in train_x; got uint8"),
    "length": ({"train_labels": LABELS[:4]}, ValueError, r"\(5,\), one label for each observation; got \(4,\)"),
    "half a set": ({"test_labels": None}, ValueError, "test_labels: expected a tensor as test_x is given"),
    "half a set, other": ({"test_x": None}, ValueError, "test_x: expected a tensor as test_labels is given"),
    "candidates": (
        {"train_candidates": torch.ones(5, 2).bool()},
        ValueError,
        "a labelled observation's class as its only candidate; got others for observation 1",
    ),
    "weights": ({"train_weights": torch.ones(4).double()}, ValueError, r"\(5,\), one for each observation; got"),
}


@pytest.mark.parametrize(("changes", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        build(**changes)


def test_a_random_order_is_always_the_same_unless_a_generator_draws_it():
    order = random_order(50)
    assert order.sort().values.tolist() == list(range(50))
    torch.manual_seed(0)  # as a run's report draws the images of its map
    assert torch.equal(order, torch.randperm(50))
    assert torch.equal(random_order(50), order)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(random_order(50, generator), order)
    assert not torch.equal(random_order(50, generator), order)
