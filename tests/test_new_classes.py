"""Data sets of which some classes have no label: names, numbers, refusals, and no label that training could see."""

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny

from ssvae import models
from ssvae.data import Arrays, Digits, DomainAdaptation, ImageFolder, Table, Vectors
from ssvae.inference import fit
from ssvae.inference.command_line.choices import offered
from ssvae.inference.storage.description import build, describe
from ssvae.inference.training.checks import check_trainable
from ssvae.models.networks import MLP


def _tensors(value):
    """All tensors that can be reached from an object's attributes."""
    if isinstance(value, torch.Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inside for tensor in _tensors(each)]


def test_hidden_classes_of_a_data_set_that_knows_all_labels():
    data, whole = Digits(num_labels=21, hidden_classes=[8, 1, 4]), Digits(num_labels=30)
    assert data.class_names == ("0", "2", "3", "5", "6", "7", "9", "new 1", "new 2", "new 3")
    assert data.true_class_names == ("0", "2", "3", "5", "6", "7", "9", "1", "4", "8")
    assert (data.num_classes, data.num_known_classes, data.has_new_classes) == (10, 7, True)
    assert torch.bincount(data.train_labels[data.labelled_index], minlength=10).tolist() == [3] * 7 + [0] * 3
    # The same images in the same parts, and the same names of test images.
    for part in ("train_images", "validation_images", "test_images"):
        assert torch.equal(getattr(data, part), getattr(whole, part))
    names = [data.true_class_names[label] for label in data.test_labels]
    assert names == [whole.class_names[label] for label in whole.test_labels]
    assert "10 classes (3 of them without labels)" in data.summary()
    # Of the known classes the same images keep their label as when no class is hidden.
    kept = [data.class_names[label] for label in data.train_labels[data.labelled_index]]
    both = whole.train_labels[data.labelled_index]
    assert kept == [whole.class_names[label] for label in both]


def test_no_tensor_of_training_has_a_hidden_label():
    data = Digits(num_labels=None, hidden_classes=[5, 6, 7, 8, 9])
    assert data.train_labels.max() == 4
    assert data.num_labelled < len(data.train_images)
    assert data.train_candidates is None
    num_train = len(data.train_images)
    reachable = [each for each in _tensors(vars(data)) if len(each) == num_train and each is not data.train_x]
    assert len(reachable) == 1  # the training labels themselves
    assert set(reachable[0].tolist()) == {-1, 0, 1, 2, 3, 4}
    _, labels = data.known_validation()
    assert labels.max() == 4


def test_descriptions_keep_hidden_and_new_classes():
    data = build(describe(Digits(num_labels=25, hidden_classes=[5, 6, 7, 8, 9])))
    assert (data.hidden_classes, data.num_known_classes, data.num_new_classes) == ((5, 6, 7, 8, 9), 5, 5)
    nobody = build(describe(Digits(num_labels=0)))
    assert (nobody.num_classes, nobody.num_known_classes) == (10, 0)


def test_without_labels_all_classes_are_new():
    data = Digits(num_labels=0)
    assert data.class_names == tuple(f"new {k}" for k in range(1, 11))
    assert data.true_class_names == tuple("0123456789")
    source = Digits(num_labels=100)
    assert DomainAdaptation(source, data).class_names == source.class_names


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"hidden_classes": [10]}, ValueError, "hidden_classes: expected numbers from 0 to 9; got 10"),
        ({"hidden_classes": [1, 1]}, ValueError, r"hidden_classes: expected each class once; got \[1, 1\]"),
        ({"hidden_classes": ["5"]}, TypeError, "hidden_classes: expected a list of the numbers of classes"),
        ({"hidden_classes": "56"}, TypeError, "hidden_classes: expected a list of the numbers of classes; got '56'"),
        ({"hidden_classes": list(range(10))}, ValueError, "hidden_classes: expected at least one class to keep"),
        ({"hidden_classes": [1], "num_labels": 20}, ValueError, "num_labels: expected a multiple of the 9 classes"),
        (
            {"hidden_classes": [1], "num_labels": 9, "tree": {"all": list("0123456789")}},
            ValueError,
            r"hidden_classes: expected none beside a tree, which names all classes; got \[1\]",
        ),
    ],
)
def test_hidden_classes_that_cannot_be(arguments, error, match):
    with pytest.raises(error, match=match):
        Digits(**arguments)


X = np.arange(24.0).reshape(12, 2) ** 1.5
Y = ["a", "b", None] * 4


def test_vectors_guess_a_number_of_classes():
    data = Vectors(X, Y, test_x=X[:4], test_y=["c", "a", "d", "b"], num_new_classes=3)
    assert data.class_names == ("a", "b", "new 1", "new 2", "new 3")
    assert data.true_class_names == ("a", "b", "c", "d")
    assert data.test_labels.tolist() == [2, 0, 3, 1]
    assert data.train_labels.tolist() == [0, 1, -1] * 4


def test_numbered_classes_keep_their_names():
    data = Vectors(X, [3, 1, -1] * 4, test_x=X[:3], test_y=[0, 1, 3], class_names=list("wxyz"), num_new_classes=2)
    assert data.class_names == ("x", "z", "new 1", "new 2")
    assert data.true_class_names == ("x", "z", "w", "y")
    assert data.train_labels.tolist() == [1, 0, -1] * 4
    assert data.test_labels.tolist() == [2, 0, 1]


def test_nothing_but_unlabelled_rows():
    assert Vectors(X, [None] * 12, num_new_classes=3).class_names == ("new 1", "new 2", "new 3")
    with pytest.raises(ValueError, match="class_names: expected the names of the classes as no label is known"):
        Vectors(X, [None] * 12)


def test_a_table_of_which_some_classes_have_no_label(tmp_path):
    rows = "".join(f"{k * 1.37},{k % 7 * 0.91},{'ab'[k % 2] if k % 3 else ''}\n" for k in range(30))
    (tmp_path / "t.csv").write_text("p,q,kind\n" + rows)
    data = Table(str(tmp_path / "t.csv"), "kind", num_new_classes=2)
    assert data.class_names == ("a", "b", "new 1", "new 2")
    (tmp_path / "none.csv").write_text("p,q,kind\n" + "".join(f"{k * 1.37},{k % 7 * 0.91},\n" for k in range(30)))
    assert Table(str(tmp_path / "none.csv"), "kind", num_new_classes=2).class_names == ("new 1", "new 2")
    with pytest.raises(ValueError, match="'kind', which is empty: num_new_classes=3 looks for"):
        Table(str(tmp_path / "none.csv"), "kind")


def test_a_class_without_labels_is_refused_where_nothing_says_that_it_may_be():
    with pytest.raises(ValueError, match=r"got none of class 2 \('c'\).* num_new_classes=1; hidden_classes=\[2\]"):
        Vectors(X, Y, test_x=X[:3], test_y=["a", "b", "c"])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_new_classes": -1}, ValueError, "num_new_classes: expected 0 or more; got -1"),
        ({"num_new_classes": 1.5}, TypeError, "num_new_classes: expected an integer; got 1.5"),
        (
            {"num_new_classes": 1, "tree": {"all": ["0", "1"]}},
            ValueError,
            "num_new_classes: expected 0 beside main classes and partial labels, which name all classes; got 1",
        ),
        (
            {"num_new_classes": 2, "class_names": ["a", "new 2"]},
            ValueError,
            "class_names: expected other names than those of the new classes; got 'new 2'",
        ),
    ],
)
def test_new_classes_that_cannot_be(arguments, error, match):
    images, labels = torch.rand(12, 4, 4), np.arange(12) % 2
    with pytest.raises(error, match=match):
        Arrays(images, labels, test_images=images, test_labels=labels, **arguments)


def _save(folder, number, value):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(number):
        Image.fromarray(np.full((8, 8), min(value + 5 * k, 255), dtype=np.uint8)).save(folder / f"{k}.png")


def test_two_named_folders_and_unlabelled_images(tmp_path):
    _save(tmp_path / "cat", 6, 20)
    _save(tmp_path / "dog", 6, 120)
    _save(tmp_path / "unlabelled", 9, 200)
    data = ImageFolder(str(tmp_path), num_new_classes=1)
    assert data.class_names == ("cat", "dog", "new 1")
    assert data.num_unlabelled == 9
    # A test folder may have a class of which no training image has a label.
    _save(tmp_path / "tests" / "owl", 2, 210)
    _save(tmp_path / "tests" / "cat", 2, 20)
    arguments = {"root": str(tmp_path / "kinds"), "test_root": str(tmp_path / "tests")}
    for name in ("cat", "dog", "unlabelled"):
        (tmp_path / name).rename((tmp_path / "kinds").mkdir(exist_ok=True) or tmp_path / "kinds" / name)
    tested = ImageFolder(**arguments, num_new_classes=1)
    assert tested.true_class_names == ("cat", "dog", "owl")
    assert sorted(tested.test_labels.tolist()) == [0, 0, 2, 2]
    with pytest.raises(ValueError, match="root: expected the classes of the training images among the test images"):
        ImageFolder(**arguments)


@pytest.mark.parametrize("folder", ["unlabelled", "."])
def test_unlabelled_images_alone(tmp_path, folder):
    _save(tmp_path / folder, 9, 100)
    data = ImageFolder(str(tmp_path), num_new_classes=2)
    assert (data.class_names, data.num_unlabelled, data.has_labels) == (("new 1", "new 2"), 9, False)
    with pytest.raises(ValueError, match="got unlabelled images alone: num_new_classes=10 looks for ten classes"):
        ImageFolder(str(tmp_path))


@pytest.mark.parametrize("kind", offered(models, models.SemiSupervisedModel))
def test_a_model_whose_classes_are_those_of_the_labels_is_refused(kind, tmp_path):
    data = tiny.arrays()
    hidden = Arrays(data.images, data.labels, test_images=data.images, test_labels=data.labels * 0, num_new_classes=1)
    model = kind((1, 8, 8), 4, networks=MLP((7,)))
    name = kind.__name__
    if name not in ("M1", "ConditionalVAE", "SOMVAE", "DistilledM1", "DistilledM2"):
        check_trainable(model, hidden, tiny.recipe(), None)
        return
    with pytest.raises(ValueError, match=rf"model: expected one that learns .* got {name}, whose classes are those of"):
        fit(model, hidden, tiny.recipe(), folder=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    # Without any label no classifier is fitted: the model is one of x alone.
    check_trainable(kind((1, 8, 8), 3, networks=MLP((7,))), tiny.arrays(num_labels=0), tiny.recipe(), None)
