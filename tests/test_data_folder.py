import inspect
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny

from ssvae.data import ImageFolder
from ssvae.data.image_files import find_images, read_image
from ssvae.data.labels import validation_share
from ssvae.inference.applications.rejection import fit_rejection
from ssvae.inference.runs import with_all_labels
from ssvae.inference.runs.report import summary
from ssvae.inference.runs.run import Run
from ssvae.inference.training.checks import check_trainable

GENERATOR = np.random.default_rng(0)


def noise(*shape):
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """20 cats, 10 dogs and 5 unlabelled images of 8×9 grey pixels, all different."""
    for name, number in {"cat": 20, "dog": 10, "unlabelled": 5}.items():
        for i in range(number):
            write(tmp_path / name / f"{i:02}.png", noise(8, 9))
    return tmp_path


def write_another_class(root, *shape):
    """A class cannot be alone."""
    write(root / "zebra" / "a.png", np.full(shape, 77, dtype=np.uint8))


def rows(images):
    return {tuple(image.flatten().tolist()) for image in images}


def test_sizes_and_classes(root):
    data = ImageFolder(str(root))
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (1, 8, 9)
    # Of 30 labelled images 6 are for testing, two cats to a dog, and no label is for validation.
    assert torch.bincount(data.test_labels).tolist() == [4, 2]
    assert len(data.validation_labels) == 0
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [16, 8]
    assert data.num_unlabelled == 5
    asked = ImageFolder(str(root), validation_fraction=0.1)
    assert torch.bincount(asked.validation_labels).tolist() == [2, 1]
    assert torch.equal(asked.test_images, data.test_images)


def test_all_labels_train_if_none_are_for_testing(root):
    data = ImageFolder(str(root), test_fraction=0)
    assert torch.bincount(data.train_labels[data.labelled_index]).tolist() == [20, 10]
    assert (len(data.validation_images), len(data.test_images), data.num_unlabelled) == (0, 0, 5)
    assert data.validation_fraction == 0
    printed = summary(Run(root, tiny.m2(), data.class_names, data, tiny.recipe())).splitlines()
    assert "35 training images (30 labelled, 5 unlabelled), 0 validation, 0 test" in printed[0]
    assert "validation: no labels are set apart" in printed


def test_labels_that_would_be_hidden_are_for_validation(root):
    data = ImageFolder(str(root), 6)
    assert torch.bincount(data.validation_labels).tolist() == [2, 1]
    assert data.num_labelled == 6
    assert data.validation_fraction == 0.1
    # A run that reads the images again with all labels has the same parts.
    every = with_all_labels(data)
    assert torch.equal(every.validation_images, data.validation_images)
    assert every.num_labelled == 21


def test_what_needs_validation_images_says_how_to_set_some_apart(root):
    data = ImageFolder(str(root), size=8)
    model = tiny.m2()
    sentence = r"got none: validation_fraction=0\.1 sets a tenth of the labels apart\.$"
    with pytest.raises(ValueError, match="^early_stopping: .*" + sentence):
        check_trainable(model, data, tiny.recipe(batch_size=5, labelled_batch_size=5, early_stopping=3), None)
    with pytest.raises(ValueError, match=r"^data: .*; got none: train with validation_fraction=0\.1\.$"):
        fit_rejection(model, data)


@pytest.mark.parametrize(
    ("fraction", "num_known", "num_labels", "share"),
    [
        (None, 999, None, 0),
        (None, 1000, None, 0.1),
        (None, 30, 20, 0.1),
        (0.25, 30, None, 0.25),
        (0, 5000, None, 0),
    ],
)
def test_the_share_for_validation(fraction, num_known, num_labels, share):
    assert validation_share(fraction, num_known, num_labels) == share


def test_every_image_is_in_one_part_with_the_label_of_its_folder(root):
    data = ImageFolder(str(root), validation_fraction=0.1)
    found = {}
    for part in ("train", "validation", "test"):
        images, labels = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
        found |= {tuple(x.flatten().tolist()): int(y) for x, y in zip(images, labels, strict=True)}
    expected = {
        tuple(np.asarray(Image.open(path)).flatten().tolist()): label
        for label, name in {0: "cat", 1: "dog", -1: "unlabelled"}.items()
        for path in (root / name).iterdir()
    }
    assert found == expected


def test_labels_are_drawn_and_the_other_parts_stay(root):
    first, second = ImageFolder(str(root), 6, seed=0), ImageFolder(str(root), 6, seed=1)
    assert torch.bincount(first.train_labels[first.labelled_index]).tolist() == [4, 2]
    assert not torch.equal(first.train_labels, second.train_labels)
    assert torch.equal(first.test_images, second.test_images)
    assert torch.equal(first.validation_images, second.validation_images)
    balanced = ImageFolder(str(root), 6, balanced=True)
    assert torch.bincount(balanced.train_labels[balanced.labelled_index]).tolist() == [3, 3]


def test_hidden_labels_are_nowhere_on_the_object(root):
    for name, value in vars(ImageFolder(str(root), 6)).items():
        if isinstance(value, torch.Tensor):
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
        else:
            assert isinstance(value, str | bool | int | float | tuple | None), name


def test_every_argument_is_an_attribute_of_the_same_name(root):
    data = ImageFolder(str(root), 6, size=8, channels=3, validation_fraction=0.2, test_fraction=0.3, seed=2)
    arguments = {name: getattr(data, name) for name in inspect.signature(ImageFolder).parameters}
    assert arguments == {
        "root": str(root),
        "num_labels": 6,
        "csv": None,
        "file_column": None,
        "label_column": None,
        "test_root": None,
        "validation_root": None,
        "bits": None,
        "size": 8,
        "channels": 3,
        "validation_fraction": 0.2,
        "test_fraction": 0.3,
        "balanced": False,
        "seed": 2,
        "binarise": False,
        "tree": None,
        "num_coarse_labels": 0,
        "num_new_classes": 0,
    }


def test_hidden_files_and_other_files_are_passed_over(root):
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / ".hidden.png").write_text("not an image")
    (root / ".thumbnails").mkdir()
    assert len(ImageFolder(str(root)).train_images) == 29


def test_classes_that_are_numbers_are_in_numerical_order(tmp_path):
    for name in ("10", "9", "2"):
        write(tmp_path / name / "a.png", noise(8, 8))
    assert ImageFolder(str(tmp_path), validation_fraction=0, test_fraction=0).class_names == ("2", "9", "10")


@pytest.mark.parametrize("heading", ["", "file,label\n", "\ufeffFile, Label\r\n"])
def test_a_table_gives_what_folders_give(root, heading):
    table = root / "labels.csv"
    lines = [
        f"{path.relative_to(root)},{'' if path.parent.name == 'unlabelled' else path.parent.name}"
        for path in reversed(sorted(root.glob("*/*.png")))
    ]
    table.write_text(heading + "\n".join(lines) + "\n\n", encoding="utf-8")
    listed, in_folders = ImageFolder(str(root), 6, csv=str(table)), ImageFolder(str(root), 6)
    assert listed.class_names == in_folders.class_names
    for name, value in vars(in_folders).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(listed, name)), name


def test_colour_is_kept_if_any_image_has_it(root):
    write(root / "dog" / "colour.png", noise(8, 9, 3))
    assert ImageFolder(str(root)).image_shape == (3, 8, 9)
    assert ImageFolder(str(root), channels=1).image_shape == (1, 8, 9)


def test_images_of_different_sizes_are_brought_to_one(root):
    write(root / "dog" / "wide.png", noise(16, 40))
    data = ImageFolder(str(root))
    assert data.summary().splitlines()[1] == (
        "The files have 2 sizes, most often 8×9 (35 of 36), the shortest side is 8 pixels: "
        "all are resampled to 8×8, as with size=8."
    )
    asked = ImageFolder(str(root), size=8)
    assert asked.image_shape == (1, 8, 8)
    assert torch.equal(data.train_images, asked.train_images)
    assert len(asked.summary().splitlines()) == 1


def test_large_images_of_different_sizes_become_small_ones_and_a_larger_size_is_named(tmp_path):
    for name, height in {"a": 70, "b": 90}.items():
        write(tmp_path / name / "0.png", noise(height, 80))
        write(tmp_path / name / "1.png", noise(90, 80))
    data = ImageFolder(str(tmp_path), validation_fraction=0, test_fraction=0)
    assert data.image_shape == (1, 32, 32)
    assert "most often 90×80 (3 of 4), the shortest side is 70 pixels" in data.summary()
    assert data.summary().endswith("to 32×32, as with size=32; size=64 shows more detail, in more time.")


def test_resampling_halves_the_short_side_and_cuts_the_long_one(tmp_path):
    left, middle, right = np.full((16, 16), 10), np.full((16, 16), 90), np.full((16, 16), 200)
    path = write(tmp_path / "a.png", np.hstack([left, middle, right]).astype(np.uint8))
    image = read_image(str(path), (1, 8, 8))
    # Away from the edges, which a pixel of twice the width straddles.
    assert image[0, :, 1:-1].unique().tolist() == [90]


def test_resampling_is_antialiased(tmp_path):
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    image = read_image(str(write(tmp_path / "a.png", stripes)), (1, 8, 8))
    # Without averaging over all pixels each new one would be black or white; 1 is for rounding.
    assert 110 < int(image.min()) <= int(image.max()) < 145


def test_an_image_of_the_right_size_is_read_bit_for_bit(tmp_path):
    grey, colour = noise(9, 12), noise(9, 12, 3)
    assert np.array_equal(read_image(str(write(tmp_path / "g.png", grey)), (1, 9, 12))[0].numpy(), grey)
    read = read_image(str(write(tmp_path / "c.png", colour)), (3, 9, 12))
    assert read.shape == (3, 9, 12)
    assert np.array_equal(read.permute(1, 2, 0).numpy(), colour)


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "PNG"])
def test_formats(tmp_path, suffix):
    path = write(tmp_path / "class" / f"a.{suffix}", np.full((10, 10), 77, dtype=np.uint8))
    write_another_class(tmp_path, 10, 10)
    data = ImageFolder(str(tmp_path), channels=1, validation_fraction=0, test_fraction=0)
    assert abs(int(data.train_images.float().mean()) - 77) <= 1
    assert torch.equal(read_image(str(path), (1, 10, 10)), data.train_images[0])


def test_grey_becomes_colour_and_colour_grey(tmp_path):
    grey = noise(8, 8)
    assert (read_image(str(write(tmp_path / "g.png", grey)), (3, 8, 8)).numpy() == grey).all()
    green = np.zeros((8, 8, 3), dtype=np.uint8)
    green[..., 1] = 255
    # The share of green in the luma of ITU-R 601-2 is 0.587.
    assert read_image(str(write(tmp_path / "c.png", green)), (1, 8, 8)).unique().tolist() == [150]


def test_16_bit_grey_is_brought_to_8_bit(tmp_path):
    values = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    path = write(tmp_path / "class" / "a.png", values)
    assert np.array_equal(read_image(str(path), (1, 8, 8))[0].numpy(), np.rint(values / 257).astype(np.uint8))
    write_another_class(tmp_path, 8, 8)
    data = ImageFolder(str(tmp_path), validation_fraction=0, test_fraction=0)
    assert data.image_shape == (1, 8, 8)
    assert torch.equal(data.train_images[0], read_image(str(path), (1, 8, 8)))


def test_transparent_parts_are_laid_on_white(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:4, :, 3] = 255
    image = read_image(str(write(tmp_path / "a.png", pixels)), (3, 8, 8))
    assert image[:, :4].unique().tolist() == [0]
    assert image[:, 4:].unique().tolist() == [255]


@pytest.mark.parametrize(("colour", "channels"), [((90, 90, 90), 1), ((200, 9, 9), 3)])
def test_palettes_are_looked_up(tmp_path, colour, channels):
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, *colour])
    image.paste(1, (0, 0, 8, 8))
    (tmp_path / "class").mkdir()
    image.save(tmp_path / "class" / "a.png")
    write_another_class(tmp_path, 8, 8)
    data = ImageFolder(str(tmp_path), validation_fraction=0, test_fraction=0)
    assert data.image_shape == (channels, 8, 8)
    assert data.train_images[0, :, 0, 0].tolist() == list(colour[:channels])


def test_images_are_turned_as_their_exif_data_says(tmp_path):
    pixels = noise(8, 12)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    write(tmp_path / "class" / "a.png", pixels, exif=exif)
    write_another_class(tmp_path, 12, 8)
    data = ImageFolder(str(tmp_path), validation_fraction=0, test_fraction=0)
    assert np.array_equal(data.train_images[0, 0].numpy(), np.rot90(pixels, -1))


def truncated(root):
    path = write(root / "cat" / "99.png", noise(8, 9))
    path.write_bytes(path.read_bytes()[:-40])


def enormous(root):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (root / "cat" / "99.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + end)


def empty_class(root):
    (root / "bird").mkdir()


def table(*lines):
    return lambda root: (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")


IN_TABLE = {"csv": "labels.csv"}
ERRORS = {
    "not an image": (
        lambda r: (r / "cat" / "99.png").write_text("x"),
        {},
        ValueError,
        "99.png': expected an image file",
    ),
    "truncated": (truncated, {}, ValueError, "99.png': expected an image file; got one that cannot be read"),
    "enormous": (enormous, {}, ValueError, "99.png': expected an image of at most [0-9]+ pixels"),
    "tiny": (
        lambda root: write(root / "cat" / "99.png", noise(7, 9)),
        {},
        ValueError,
        "99.png': expected an image of at least 8×8 pixels; got 7×9",
    ),
    "floating-point": (
        lambda root: write(root / "cat" / "99.tif", noise(8, 9).astype(np.float32)),
        {},
        ValueError,
        "99.tif': expected 8 or 16 bits per pixel",
    ),
    "empty class": (
        empty_class,
        {},
        ValueError,
        "root: expected images in every class's folder; got none in .*bird",
    ),
    "no such root": (
        None,
        {"root": "elsewhere"},
        FileNotFoundError,
        "root: expected a folder of images; got .*elsewhere",
    ),
    "root is a file": (
        None,
        {"root": "cat/00.png"},
        ValueError,
        "root: expected a folder .* which is a file",
    ),
    "no classes": (None, {"root": "cat"}, ValueError, "root: expected a sub-folder of images for each class"),
    "no labels": (
        lambda root: write(root / "pile" / "unlabelled" / "0.png", noise(8, 9)),
        {"root": "pile"},
        ValueError,
        "root: expected a sub-folder of images for each class",
    ),
    "no table": (
        None,
        IN_TABLE,
        FileNotFoundError,
        "csv: expected a table of files and labels; got .*labels.csv",
    ),
    "unknown file": (
        table("file,label", "cat/00.png,cat", "cat/77.png,cat"),
        IN_TABLE,
        FileNotFoundError,
        "csv: expected a file in .* in line 3; got 'cat/77.png'",
    ),
    "three cells": (
        table("cat/00.png,cat,1"),
        IN_TABLE,
        ValueError,
        "csv: expected one column of labels; got no heading, and in line 1 'cat/00.png,cat,1'",
    ),
    "one cell": (
        table("cat/00.png,cat", "cat/01.png"),
        IN_TABLE,
        ValueError,
        "csv: .* in line 2; got 'cat/01.png'",
    ),
    "twice": (
        table("cat/00.png,a", "cat/00.png,b"),
        IN_TABLE,
        ValueError,
        "csv: expected each file once; .* line 2",
    ),
    "no label": (table("cat/00.png,"), IN_TABLE, ValueError, "csv: expected at least one row with a label"),
    "other encoding": (
        lambda root: (root / "labels.csv").write_bytes(b"\xff\xfe\x00\xd8"),
        IN_TABLE,
        ValueError,
        "csv: expected rows `file,label` in UTF-8",
    ),
    "small size": (None, {"size": 7}, ValueError, "size: expected at least 8 pixels; got 7"),
    "float size": (None, {"size": 8.5}, TypeError, "size: expected an integer; got 8.5"),
    "channels": (
        None,
        {"channels": 2},
        ValueError,
        r"channels: expected 1 \(grey\), 3 \(RGB\) or None; got 2",
    ),
    "fraction": (
        None,
        {"test_fraction": 1.0},
        ValueError,
        "test_fraction: .* at least 0 and below 1; got 1.0",
    ),
    "fractions": (None, {"test_fraction": 0.95}, ValueError, r"below 1; got 0.1 \+ 0.95"),
    "labels": (
        None,
        {"num_labels": 22},
        ValueError,
        "num_labels: expected at most the 21 known labels; got 22",
    ),
}


@pytest.mark.parametrize(("prepare", "arguments", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_input_is_refused(root, monkeypatch, prepare, arguments, error, match):
    monkeypatch.chdir(root)
    if prepare is not None:
        prepare(root)
    with pytest.raises(error, match=match):
        ImageFolder(**{"root": ".", **arguments})


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (None, FileNotFoundError, "path: expected an image file; got .* which is not a file"),
        (b"text", ValueError, "a.png': expected an image file; got one that cannot be read"),
    ],
)
def test_read_image_refuses_what_is_not_an_image(tmp_path, content, error, match):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(error, match=match):
        read_image(str(tmp_path / "a.png"), (1, 8, 8))


def test_find_images_lists_a_folder_or_a_file(root):
    (root / "dog" / "notes.txt").write_text("not an image")
    assert find_images(root / "dog") == [root / "dog" / f"{i:02}.png" for i in range(10)]
    assert find_images(str(root / "dog" / "03.png")) == [root / "dog" / "03.png"]


def test_find_images_refuses_what_holds_none(root):
    with pytest.raises(ValueError, match=r"path: expected images in .*; got none but folders, such as 'cat'; name"):
        find_images(root)
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match=r"path: expected images in the folder .*empty'; got none\.$"):
        find_images(root / "empty")
    with pytest.raises(FileNotFoundError, match=r"path: expected an image file or a folder .* does not exist"):
        find_images(root / "elsewhere")
