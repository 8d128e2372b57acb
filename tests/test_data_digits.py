import inspect

import pytest
import torch
from sklearn.datasets import load_digits

from ssvae.data import Digits


def rows(images):
    return [tuple(image.flatten().tolist()) for image in images]


def test_sizes_and_balanced_labels():
    data = Digits()
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (1197, 200, 400)
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [10] * 10
    assert data.image_shape == (1, 8, 8)


def test_every_digit_is_there_once_with_its_label_and_its_16_grey_values():
    data = Digits(num_labels=None)
    bunch = load_digits()
    expected = sorted(
        (tuple(int(v * 255 / 16 + 0.5) if v != 8 else 128 for v in image.flatten()), int(target))
        for image, target in zip(bunch.images, bunch.target, strict=True)
    )
    parts = [
        (data.train_images, data.train_labels),
        (data.validation_images, data.validation_labels),
        (data.test_images, data.test_labels),
    ]
    found = [pair for images, labels in parts for pair in zip(rows(images), labels.tolist(), strict=True)]
    assert sorted(found) == expected


def test_training_validation_and_test_images_are_disjoint():
    data = Digits()
    train, validation, test = map(set, map(rows, (data.train_images, data.validation_images, data.test_images)))
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_the_seed_changes_the_labels_only():
    first, second = Digits(seed=0), Digits(seed=1)
    assert not torch.equal(first.train_labels, second.train_labels)
    for name in ("train_images", "validation_images", "validation_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_test_images_do_not_depend_on_the_validation_images():
    assert torch.equal(Digits(num_validation=0).test_images, Digits(num_validation=300).test_images)


def test_hidden_labels_are_nowhere_on_the_object():
    data = Digits(num_labels=100)
    for name, value in vars(data).items():
        if isinstance(value, torch.Tensor):
            # A view could reach what lies beside it in memory.
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
        else:
            assert isinstance(value, str | bool | int | tuple | None), name
    integer = {name for name, value in vars(data).items() if getattr(value, "dtype", None) == torch.int64}
    assert integer == {"train_labels", "validation_labels", "test_labels"}
    assert int((data.train_labels >= 0).sum()) == 100


def test_every_argument_is_an_attribute_of_the_same_name():
    changes = {
        "num_labels": 50,
        "num_validation": 100,
        "num_test": 300,
        "balanced": False,
        "seed": 4,
        "binarise": True,
        "tree": {"odd": ["1", "3", "5", "7", "9"], "even": ["0", "2", "4", "6", "8"]},
        "num_coarse_labels": 60,
        "hidden_classes": (),
    }
    data = Digits(**changes)
    assert list(inspect.signature(Digits).parameters) == list(changes)
    assert {name: getattr(data, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_labels": 1198}, ValueError, "num_labels: expected at most the 1197 known labels; got 1198"),
        ({"num_labels": 15}, ValueError, "num_labels: expected a multiple of the 10 classes .* got 15"),
        ({"num_test": 1800}, ValueError, "num_test: expected at most 1787 images"),
        ({"num_validation": 1390}, ValueError, "num_validation: expected at most 1387 images"),
        ({"num_validation": 0.2}, TypeError, "num_validation: expected an integer; got 0.2"),
        ({"seed": "a"}, TypeError, "seed: expected an integer; got 'a'"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        Digits(**arguments)
