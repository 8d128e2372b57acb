"""Main classes and their classes: reading a tree, and the candidate classes of a label."""

import numpy as np
import pytest
import torch

from ssvae.data import Arrays, Digits, ImageFolder
from ssvae.data.batches import Batches
from ssvae.data.hierarchy import read_hierarchy

NAMES = ("cat", "dog", "car", "van")
TREE = {"animals": ["dog", "cat"], "vehicles": ["van", "car"]}
ODD_OR_EVEN = {"odd": ["1", "3", "5", "7", "9"], "even": ["0", "2", "4", "6", "8"]}


def test_a_tree_says_the_main_class_of_each_class(tmp_path):
    path = tmp_path / "tree.yaml"
    path.write_text("animals: [dog, cat]\nvehicles: [van, car]\n")
    for tree in (TREE, str(path)):
        hierarchy = read_hierarchy(tree, NAMES)
        assert hierarchy.names == ("animals", "vehicles")
        assert hierarchy.main_class_of.tolist() == [0, 0, 1, 1]


def test_numbers_in_a_tree_are_names(tmp_path):
    path = tmp_path / "tree.yaml"
    path.write_text("odd: [1, 3]\neven: [0, 2]\n")
    assert read_hierarchy(str(path), ("0", "1", "2", "3")).main_class_of.tolist() == [1, 0, 1, 0]


def test_candidates_are_a_class_or_the_classes_of_a_main_class_or_all():
    hierarchy = read_hierarchy(TREE, NAMES)
    candidates = hierarchy.candidates(torch.tensor([2, -1, -1]), torch.tensor([1, 0, -1]))
    assert candidates.long().tolist() == [[0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_probabilities_of_main_classes_are_sums():
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 0.0]])
    coarse = read_hierarchy(TREE, NAMES).coarsen(probabilities)
    torch.testing.assert_close(coarse, torch.tensor([[0.3, 0.7], [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({}, "tree: expected a list of classes for each main class; got {}."),
        ({"animals": "dog"}, "tree: expected a list of classes for each main class; got 'dog' for 'animals'."),
        ({"animals": []}, "tree: expected a list of classes for each main class; got \\[\\] for 'animals'."),
        ({"animals": ["cow"]}, "tree: expected the classes cat, dog, car, van; got 'cow'."),
        ({"a": ["cat"], "b": ["cat"]}, "tree: expected each class once; got 'cat' again in 'b'."),
        ({"a": ["cat", "dog"]}, "tree: expected every class in a main class; got 'car' in none."),
    ],
)
def test_a_tree_that_is_none_gets_a_sentence(tree, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_hierarchy(tree, NAMES)


def test_a_file_that_is_no_tree_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tree: expected a YAML file of main classes; got .*, which is not a"):
        read_hierarchy(str(tmp_path / "none.yaml"), NAMES)
    path = tmp_path / "tree.yaml"
    path.write_text("a: [cat")
    with pytest.raises(ValueError, match=r"tree: expected a YAML file; got .*, which cannot be read as that"):
        read_hierarchy(str(path), NAMES)


# In a data set


def test_some_images_keep_their_class_some_their_main_class_and_the_others_nothing():
    digits = Digits(num_labels=20, tree=ODD_OR_EVEN, num_coarse_labels=60, seed=1)
    assert (digits.num_labelled, digits.num_partially_labelled, digits.num_unlabelled) == (20, 60, 1117)
    everything = Digits(num_labels=None).train_labels
    candidates, index = digits.train_candidates, digits.partially_labelled_index
    # As many of each main class, and what is admitted are the five classes like the hidden one.
    odd = everything[index] % 2
    assert odd.sum() == 30
    assert torch.equal(candidates[index].long(), (torch.arange(10) % 2 == odd.unsqueeze(-1)).long())
    assert candidates[digits.unlabelled_index].all()
    assert torch.equal(candidates[digits.labelled_index].long().argmax(-1), everything[digits.labelled_index])
    assert (candidates[digits.labelled_index].sum(-1) == 1).all()
    assert "20 labelled, 60 partially labelled, 1117 unlabelled" in digits.summary()


def test_coarse_labels_leave_the_other_labels_as_they_were():
    with_coarse = Digits(num_labels=20, tree=ODD_OR_EVEN, num_coarse_labels=60, seed=1)
    assert torch.equal(with_coarse.train_labels, Digits(num_labels=20, seed=1).train_labels)


def test_without_coarse_labels_a_tree_is_for_reports_alone():
    digits = Digits(tree=ODD_OR_EVEN)
    assert digits.train_candidates is None
    assert digits.hierarchy.names == ("odd", "even")
    assert digits.num_partially_labelled == 0


def test_more_coarse_labels_than_there_are_get_a_sentence():
    with pytest.raises(ValueError, match="num_coarse_labels: expected at most the 1177 known labels; got 2000"):
        Digits(num_labels=20, tree=ODD_OR_EVEN, num_coarse_labels=2000)
    with pytest.raises(ValueError, match="tree: expected main classes, as num_coarse_labels is 10; got None"):
        Digits(num_coarse_labels=10)


def _arrays(**options):
    images = np.zeros((5, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1, -1, -1, 2])
    return Arrays(images, labels, test_images=images, test_labels=np.array([0, 1, 2, 0, 1]), **options)


def test_arrays_take_a_matrix_of_candidate_classes():
    given = np.array([[0, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 0, 0]], dtype=bool)
    data = _arrays(candidates=given)
    # Of an image whose class is known, what else is said of it does not count.
    expected = [[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]]
    assert data.train_candidates.long().tolist() == expected
    assert data.partially_labelled_index.tolist() == [2]
    assert data.unlabelled_index.tolist() == [3]
    # Where a class is hidden, so is what was said of it.
    hidden = _arrays(candidates=given, num_labels=0)
    assert hidden.train_candidates.long().tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        (np.ones((5, 2), dtype=bool), r"candidates: expected booleans of shape \(5, 3\); got a numpy array of bool"),
        (np.ones((5, 3)), r"candidates: expected booleans of shape \(5, 3\); got a numpy array of float64"),
        (np.zeros((5, 3), dtype=bool), "train_candidates: expected a candidate class for each image; got none for im"),
    ],
)
def test_a_matrix_that_is_none_gets_a_sentence(candidates, sentence):
    with pytest.raises(ValueError, match=sentence):
        _arrays(candidates=candidates)


def test_a_folder_may_be_named_after_a_main_class(tmp_path):
    from PIL import Image

    for folder, number in {"cat": 4, "dog": 4, "car": 4, "van": 4, "vehicles": 3, "unlabelled": 2}.items():
        (tmp_path / folder).mkdir()
        for i in range(number):
            Image.fromarray(np.full((8, 8), 10 * i, dtype=np.uint8)).save(tmp_path / folder / f"{i}.png")
    data = ImageFolder(str(tmp_path), tree=TREE, validation_fraction=0, test_fraction=0.25)
    assert data.class_names == ("car", "cat", "dog", "van")
    assert (data.num_labelled, data.num_partially_labelled, data.num_unlabelled) == (12, 3, 2)
    assert data.train_candidates[data.partially_labelled_index].long().tolist() == [[1, 0, 0, 1]] * 3


ODD_NAMES = ("no", "null", "010", "1.0", "1:30", "~", "2026-01-01", "cat")


def test_names_in_a_file_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "tree.yaml"
    path.write_text(f"\ufeffyes: [{', '.join(ODD_NAMES[:4])}]\n1: [{', '.join(ODD_NAMES[4:])}]\n", encoding="utf-8")
    hierarchy = read_hierarchy(str(path), ODD_NAMES)
    assert hierarchy.names == ("yes", "1")
    assert hierarchy.main_class_of.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("tree", [{"a": [False]}, {None: ["x"]}, {"a": ["x", None]}, {"a": [1.0]}])
def test_what_a_reader_of_yaml_made_of_a_name_is_no_name(tree):
    with pytest.raises(
        ValueError, match=r"^tree: expected text as names of classes \(in quotes if YAML needs them\); got "
    ):
        read_hierarchy(tree, ["x", "False", "None", "1.0"])


# In batches


def test_partially_labelled_images_lie_beside_the_others():
    labelled, unlabelled, partial = torch.arange(3), torch.arange(3, 53), torch.arange(53, 203)
    batches = Batches((labelled, unlabelled, partial), 10)
    seen = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        steps = list(batches)
        assert [(len(step.labelled), len(step.unlabelled), len(step.partial)) for step in steps] == [(3, 10, 100)] * 5
        seen += [step.partial for step in steps]
    # 15 batches of 100 are ten walks through 150 images.
    assert torch.bincount(torch.cat(seen), minlength=203)[53:].tolist() == [10] * 150


def test_without_unlabelled_images_an_epoch_is_a_pass_over_the_partially_labelled_ones():
    none, partial = torch.arange(0), torch.arange(10, 40)
    (step,) = Batches((torch.arange(3), none, partial), 10)
    assert sorted(step.partial.tolist()) == partial.tolist()
    assert len(step.labelled) == 3
    assert len(step.unlabelled) == 0
