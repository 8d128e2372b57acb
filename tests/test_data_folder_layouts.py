"""How folders of images are laid out and called: what was meant, or one sentence that asks."""

import numpy as np
import pytest
from PIL import Image

from ssvae.data import ImageFolder
from ssvae.data.class_names import check_distinct, class_of

PETS = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
SPLIT = ("Train/cat/0.png", "Train/dog/1.png", "Train/dog/2.png")


def lay_out(root, *files):
    """Write files of one grey value each, 20 for the first, 21 for the second, …"""
    for value, name in enumerate(files, 20):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(path)
    return root


def read(root, **options):
    return ImageFolder(str(root), **{"validation_fraction": 0, "test_fraction": 0, **options})


def contents(data):
    """The grey values of each part, with the names of their classes."""
    return {
        part: {
            int(image[0, 0, 0]): None if label < 0 else data.class_names[label]
            for image, label in zip(getattr(data, f"{part}_images"), getattr(data, f"{part}_labels"), strict=True)
        }
        for part in ("train", "validation", "test")
    }


UNKNOWN = ("unlabelled", "unlabeled", "Unlabelled", "UNLABELED", "un-labelled", "-1", "-1.0")


@pytest.mark.parametrize("name", UNKNOWN)
def test_folders_of_images_without_a_class(tmp_path, name):
    data = read(lay_out(tmp_path, *PETS, f"{name}/a.png"))
    assert data.class_names == ("cat", "dog")
    assert contents(data)["train"] == {20: "cat", 21: "cat", 22: "dog", 23: "dog", 24: None}


@pytest.mark.parametrize("name", ["unknown", "None", "nan", "NA", "not_labelled", "Unsure", "??", "unlabelled images"])
def test_a_folder_that_may_be_a_class_or_none_is_asked_about(tmp_path, name):
    with pytest.raises(
        ValueError, match=r"^root: expected names of classes, or `unlabelled`; got .*, which may be eit"
    ):
        read(lay_out(tmp_path, *PETS, f"{name}/a.png"))


@pytest.mark.parametrize("name", ["na", "-", "+", "other", "background", "-2", "no", "labelled"])
def test_other_names_are_classes(tmp_path, name):
    assert contents(read(lay_out(tmp_path, *PETS, f"{name}/a.png")))["train"][24] == name


@pytest.mark.parametrize("clutter", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", ".hidden", "$RECYCLE.BIN"])
@pytest.mark.parametrize("inside", [None, "cat/a.png", "a.png"])
def test_what_systems_leave_behind_is_passed_over(tmp_path, clutter, inside):
    lay_out(tmp_path, *PETS)
    for folder in (tmp_path / clutter, tmp_path / "cat" / clutter):
        folder.mkdir()
        if inside is not None:
            lay_out(folder, inside)
    for name in ("Thumbs.db", ".DS_Store", "._0.png", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"x")
        (tmp_path / name).write_bytes(b"x")
    assert contents(read(tmp_path))["train"] == {20: "cat", 21: "cat", 22: "dog", 23: "dog"}


def test_one_name_in_two_encodings_is_one_class(tmp_path):
    data = read(lay_out(tmp_path, "caf\u00e9/0.png", "cafe\u0301/1.png", "bar/2.png", "bar /3.png"))
    assert contents(data)["train"] == {20: "caf\u00e9", 21: "caf\u00e9", 22: "bar", 23: "bar"}


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("1", "01"), ("0", "0.0"), ("hot  dog", "Hot dog")])
def test_names_that_are_probably_one_are_asked_about(tmp_path, pair):
    lay_out(tmp_path, "bird/0.png", *(f"{name}/0.png" for name in pair))
    first, second = sorted(pair)
    with pytest.raises(ValueError, match=rf"^root: expected names that tell .*; got {first!r} and {second!r}; write"):
        read(tmp_path)


def test_names_that_are_not_one():
    check_distinct(["A", "a", "1", "2", "10", "-2", "1.5", "v1", "hot dog", "hotdog"], "names")
    assert class_of(" tabby cat ", "names") == "tabby cat"


def test_parts_of_a_data_set_are_taken_as_they_are(tmp_path):
    lay_out(
        tmp_path, *SPLIT, "TEST/cat/3.png", "TEST/dog/4.png", "valid/dog/5.png", "unlabeled/6.png", "Train/-1/7.png"
    )
    assert contents(read(tmp_path, test_fraction=0.5, validation_fraction=0.4)) == {
        "train": {20: "cat", 21: "dog", 22: "dog", 26: None, 27: None},
        "validation": {25: "dog"},
        "test": {23: "cat", 24: "dog"},
    }


@pytest.mark.parametrize("names", [("training", "testing", "validation"), ("train", "Test", "val")])
def test_parts_have_several_names(tmp_path, names):
    lay_out(tmp_path, *(f"{part}/{name}.png" for part in names for name in ("cat/0", "dog/1")))
    assert contents(read(tmp_path)) == {
        "train": {20: "cat", 21: "dog"},
        "test": {22: "cat", 23: "dog"},
        "validation": {24: "cat", 25: "dog"},
    }


def test_a_part_that_is_missing_is_drawn_from_the_training_images(tmp_path):
    files = [f"train/{name}/{i}.png" for name in ("cat", "dog") for i in range(10)]
    data = read(lay_out(tmp_path, *files, "test/cat/0.png"), validation_fraction=0.2, test_fraction=0.5)
    found = contents(data)
    assert found["test"] == {40: "cat"}
    assert sorted(found["validation"].values()) == ["cat"] * 2 + ["dog"] * 2
    assert {**found["train"], **found["validation"]} == {20 + i: "cat" if i < 10 else "dog" for i in range(20)}


def test_parts_elsewhere(tmp_path):
    lay_out(tmp_path, *PETS, "more/cat/4.png", "more/dog/5.png", "last/dog/6.png")
    data = read(tmp_path, test_root=str(tmp_path / "more"), validation_root=str(tmp_path / "last"))
    assert contents(data) == {
        "train": {20: "cat", 21: "cat", 22: "dog", 23: "dog"},
        "test": {24: "cat", 25: "dog"},
        "validation": {26: "dog"},
    }
    assert (data.test_root, data.validation_root) == (str(tmp_path / "more"), str(tmp_path / "last"))


@pytest.mark.parametrize("files", [("car/0.png", "train/1.png"), ("car/0.png", "train/1.png", "unlabelled/2.png")])
def test_a_train_is_a_vehicle_among_vehicles(tmp_path, files):
    found = contents(read(lay_out(tmp_path, *files)))["train"]
    assert {value: found[value] for value in (20, 21)} == {20: "car", 21: "train"}


ASKED = {
    "classes or parts": (
        ("train/a.png", "test/b.png"),
        "a sub-folder for each class in 'test', 'train'; got images di",
    ),
    "unknown test images": (
        (*SPLIT, "test/b.png"),
        "a sub-folder for each class in 'Train', 'test'; got images direct",
    ),
    "a class called test": ((*PETS, "test/b.png"), "a sub-folder for each class in 'test'; got images directly in "),
    "both": ((*PETS, "test/cat/b.png"), r"parts of a data set \('test'\) or classes; got both: 'cat' is beside them"),
    "a class beside": ((*SPLIT, "bird/b.png"), r"parts of a data set \('Train'\) or classes; got both: 'bird' is besi"),
    "no training images": (("test/cat/a.png", "val/cat/b.png"), "a folder 'train', and at most one each of .*'test', "),
    "twice": ((*SPLIT, "training/cat/b.png"), "a folder 'train', and at most one each of .* 'Train', 'training'"),
    "a class of test images alone": ((*SPLIT, "test/bird/a.png"), "the classes of the training .* of class 'bird'"),
    "a class in other letters": ((*SPLIT, "test/Cat/a.png"), "names that tell the classes apart; got 'Cat' and 'cat'"),
    "no class of test images": (
        (*SPLIT, "test/cat/a.png", "test/-1/b.png"),
        "labelled test images; got .*, whose clas",
    ),
    "folders within": (
        ("cat/0.png", "dog/1.png", "dog/pug/2.png"),
        "the images of a class in its folder; got more fol",
    ),
    "one too high": (("data/cat/0.png", "data/dog/1.png"), "the images of a class .*, or set root to .*data"),
    "one class": (("cat/0.png", "-1/1.png"), "two classes or more"),
}


@pytest.mark.parametrize(("files", "expected"), ASKED.values(), ids=ASKED)
def test_what_has_two_readings_is_asked_about(tmp_path, files, expected):
    with pytest.raises(ValueError, match=rf"^(root|class_names): expected {expected}"):
        read(lay_out(tmp_path, *files))


def test_parts_elsewhere_are_refused_where_they_are_no_other_ones(tmp_path):
    lay_out(tmp_path, *SPLIT, "test/cat/0.png")
    for expected, options in {
        "test_root: expected a folder for each part; got .* twice": {"test_root": str(tmp_path)},
        "test_root: expected a folder of images; got .*nowhere', which does not": {
            "test_root": str(tmp_path / "nowhere")
        },
        "test_root: expected None, as .* has a folder of that name": {"test_root": str(tmp_path / "Train" / "cat")},
        "test_root: expected None, as csv names": {"test_root": str(tmp_path / "test"), "csv": "a.csv"},
        "label_column: expected None, as there is no csv; got 'x'": {"label_column": "x"},
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=f"^{expected}"):
            read(tmp_path, **options)


def test_a_link_in_a_part_is_not_followed(tmp_path):
    lay_out(tmp_path, *SPLIT, "test/cat/0.png")
    (tmp_path / "test" / "dog").symlink_to(tmp_path / "Train" / "dog")
    with pytest.raises(
        ValueError, match=r"^root: expected files and folders themselves; got .*test/dog', which is a sym"
    ):
        read(tmp_path)


@pytest.mark.parametrize("name", ["unlabled", "Unlabelld", "unlabelledd", "un_lablled", "unlabel", "unlabelled_photos"])
def test_a_misspelt_unlabelled_is_asked_about(tmp_path, name):
    with pytest.raises(ValueError, match=rf"got '{name}', which may be either; write `unlabelled` where the class is"):
        read(lay_out(tmp_path, *PETS, f"{name}/a.png"))


@pytest.mark.parametrize("name", ["unable", "unlaced", "unleaded", "unicorn", "sunlabelled"])
def test_other_words_with_un_are_classes(tmp_path, name):
    assert name in read(lay_out(tmp_path, *PETS, f"{name}/a.png")).class_names


def test_files_beside_the_images_that_are_none_are_named(tmp_path):
    lay_out(tmp_path, *PETS)
    assert "Not read" not in read(tmp_path).summary()
    for name in ("cat/IMG_1.HEIC", "cat/IMG_2.HEIC", "dog/notes.txt", "dog/Thumbs.db", "dog/.hidden"):
        (tmp_path / name).touch()
    sentence = "Not read, as their names are not those of images: 'IMG_1.HEIC', 'IMG_2.HEIC', 'notes.txt'."
    assert sentence in read(tmp_path).summary().splitlines()
    (tmp_path / "dog" / "sound.wav").touch()
    assert "'IMG_2.HEIC', 'notes.txt' and 1 more." in read(tmp_path).summary()
