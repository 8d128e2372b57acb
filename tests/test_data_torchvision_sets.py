import importlib
import inspect
import struct
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch

from ssvae.data import MNIST, SVHN, FashionMNIST
from ssvae.data.torchvision_sets import import_torchvision_datasets
from ssvae.inference.command_line import fit_help

DATASETS = import_torchvision_datasets()
GENERATOR = np.random.default_rng(0)
TRAIN = GENERATOR.integers(0, 256, (200, 28, 28), dtype=np.uint8)
TEST = GENERATOR.integers(0, 256, (50, 28, 28), dtype=np.uint8)
TRAIN_LABELS = (np.arange(200) % 10).astype(np.uint8)
TEST_LABELS = (np.arange(50) % 10).astype(np.uint8)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def root(tmp_path):
    for name in ("MNIST", "FashionMNIST"):
        raw = tmp_path / name / "raw"
        for part, images, labels in [("train", TRAIN, TRAIN_LABELS), ("t10k", TEST, TEST_LABELS)]:
            write_idx(raw / f"{part}-images-idx3-ubyte", images)
            write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fail(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(importlib.import_module("torchvision.datasets.mnist"), "download_and_extract_archive", fail)
    monkeypatch.setattr(importlib.import_module("torchvision.datasets.svhn"), "download_url", fail)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
@pytest.mark.parametrize("download", [True, False])
def test_files_that_are_there_are_read_without_a_network(root, kind, download):
    data = kind(20, num_validation=50, root=root, download=download)
    assert data.image_shape == (1, 28, 28)
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (150, 50, 50)
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [2] * 10
    assert torch.bincount(data.validation_labels).tolist() == [5] * 10
    assert np.array_equal(data.test_images[:, 0].numpy(), TEST)
    assert data.test_labels.tolist() == TEST_LABELS.tolist()


def test_training_and_validation_images_are_the_training_set_once(root):
    data = MNIST(None, num_validation=50, root=root)
    images = torch.cat([data.train_images, data.validation_images])[:, 0].numpy()
    labels = torch.cat([data.train_labels, data.validation_labels])
    found = {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    expected = {image.tobytes(): int(label) for image, label in zip(TRAIN, TRAIN_LABELS, strict=True)}
    assert len(images) == 200
    assert found == expected


def test_the_seed_changes_the_labels_only(root):
    first, second = (MNIST(20, num_validation=50, seed=seed, root=root) for seed in (0, 1))
    assert not torch.equal(first.train_labels, second.train_labels)
    for name in ("train_images", "validation_images", "validation_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_hidden_labels_are_nowhere_on_the_object(root):
    for name, value in vars(MNIST(20, num_validation=50, root=root)).items():
        if not isinstance(value, torch.Tensor):
            assert isinstance(value, str | bool | int | tuple | None), name
        elif name.startswith(("train", "validation")):
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name


def test_the_environment_variable_stands_in_for_the_root(root, monkeypatch):
    monkeypatch.setenv("SSVAE_DATA", root)
    data = MNIST(20, num_validation=50)
    assert data.root is None
    assert np.array_equal(data.test_images[:, 0].numpy(), TEST)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, SVHN])
@pytest.mark.parametrize("download", [True, False])
def test_missing_files_give_one_sentence_that_helps(tmp_path, kind, download):
    match = f"^root: expected the files of {kind.__name__} in '{tmp_path}'.*; put .*train.* root or .SSVAE_DATA"
    with pytest.raises(FileNotFoundError, match=match) as caught:
        kind(root=str(tmp_path), download=download)
    assert "\n" not in str(caught.value)


def test_the_default_root_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SSVAE_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/.cache/ssvae'"):
        MNIST(download=False)


def test_a_damaged_file_is_reported(root, tmp_path):
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"root: expected undamaged files of MNIST in '{tmp_path}'; got: "):
        MNIST(20, num_validation=50, root=root)


def test_svhn(tmp_path, monkeypatch):
    monkeypatch.setattr(DATASETS.SVHN, "_check_integrity", lambda self: True)
    images = GENERATOR.integers(0, 256, (32, 32, 3, 60), dtype=np.uint8)
    labels = np.arange(60) % 10 + 1  # in the file the digit 0 has the label 10
    for part in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": labels[:, None].astype(np.uint8)})
    data = SVHN(20, num_validation=10, root=str(tmp_path), download=False)
    assert data.image_shape == (3, 32, 32)
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (50, 10, 60)
    assert np.array_equal(data.test_images.numpy(), images.transpose(3, 2, 0, 1))
    assert data.test_labels.tolist() == (labels % 10).tolist()
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [2] * 10


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_every_argument_is_an_attribute_of_the_same_name(root, kind):
    changes = {
        "num_labels": 30,
        "num_validation": 40,
        "balanced": False,
        "seed": 5,
        "root": root,
        "download": False,
        "binarise": True,
        "tree": {"all": list(kind.classes)},
        "num_coarse_labels": 10,
        "hidden_classes": (),
    }
    data = kind(**changes)
    assert list(inspect.signature(kind).parameters) == list(inspect.signature(SVHN).parameters) == list(changes)
    assert {name: getattr(data, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_validation": 200}, ValueError, "num_validation: expected at most 190 images"),
        (
            {"num_validation": 50, "num_labels": 160},
            ValueError,
            "num_labels: expected at most the 150 known labels",
        ),
        ({"num_labels": -5}, ValueError, "num_labels: expected 0 or more; got -5"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer; got 0.5"),
    ],
)
def test_bad_arguments_are_refused(root, arguments, error, match):
    with pytest.raises(error, match=match):
        MNIST(**{"root": root, **arguments})


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, SVHN])
def test_the_help_of_a_set_explains_every_argument(kind):
    explained = fit_help.documentation(kind)
    assert set(explained) == set(inspect.signature(kind).parameters)
    folder = next(iter(kind.files)).rpartition("/")[0] or kind.files[0]
    assert folder in explained["root"]
    assert explained["seed"] == "The random seed of the choice of labelled images."


def test_svhn_keeps_defaults_of_its_own():
    defaults = {kind: inspect.signature(kind).parameters for kind in (MNIST, FashionMNIST, SVHN)}
    assert [each["num_labels"].default for each in defaults.values()] == [100, 100, 1000]
    assert [each["num_validation"].default for each in defaults.values()] == [10_000, 10_000, 7257]
    rest = set(defaults[SVHN]) - {"num_labels", "num_validation"}
    assert {name: defaults[SVHN][name] for name in rest} == {name: defaults[MNIST][name] for name in rest}


def test_import_data_is_light():
    heavy = ("torchvision", "sklearn", "scipy", "PIL", "lightning", "matplotlib")
    code = f"import sys, ssvae.data; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
