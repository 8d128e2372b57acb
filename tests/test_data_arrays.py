import inspect
import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from ssvae.data import Arrays

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (30, 9, 10), dtype=np.uint8)
LABELS = np.arange(30) % 3
TEST_IMAGES = GENERATOR.integers(0, 256, (6, 9, 10), dtype=np.uint8)
TEST_LABELS = np.arange(6) % 3


def build(images=IMAGES, labels=LABELS, **changes):
    return Arrays(images, labels, **{"test_images": TEST_IMAGES, "test_labels": TEST_LABELS, **changes})


COLOUR = GENERATOR.integers(0, 256, (30, 9, 10, 3), dtype=np.uint8)
COLOUR_TEST = COLOUR[:6]
CHANNELS_FIRST = COLOUR.transpose(0, 3, 1, 2)
SHAPES = {
    "numpy (N, H, W)": (IMAGES, TEST_IMAGES, IMAGES[:, None]),
    "numpy (N, H, W, 1)": (IMAGES[..., None], TEST_IMAGES, IMAGES[:, None]),
    "numpy (N, 1, H, W)": (IMAGES[:, None], TEST_IMAGES, IMAGES[:, None]),
    "numpy (N, H, W, 3)": (COLOUR, COLOUR_TEST, CHANNELS_FIRST),
    "numpy (N, 3, H, W)": (CHANNELS_FIRST, COLOUR_TEST, CHANNELS_FIRST),
    "tensor (N, H, W)": (torch.tensor(IMAGES), TEST_IMAGES, IMAGES[:, None]),
    "tensor (N, 1, H, W)": (torch.tensor(IMAGES[:, None]), TEST_IMAGES, IMAGES[:, None]),
    "tensor (N, 3, H, W)": (torch.tensor(CHANNELS_FIRST), COLOUR_TEST, CHANNELS_FIRST),
    "float64": (IMAGES / 255, TEST_IMAGES, IMAGES[:, None]),
    "float32": ((IMAGES / 255).astype(np.float32), TEST_IMAGES, IMAGES[:, None]),
    "float tensor": (torch.tensor(IMAGES / 255, requires_grad=True), TEST_IMAGES, IMAGES[:, None]),
    "upside down": (IMAGES[:, ::-1], TEST_IMAGES, IMAGES[:, None, ::-1]),
    "big-endian": ((IMAGES / 255).astype(">f8"), TEST_IMAGES, IMAGES[:, None]),
    "tensor (N, H, W, 3)": (torch.tensor(COLOUR), COLOUR_TEST, CHANNELS_FIRST),
    "tensor (N, H, W, 1)": (torch.tensor(IMAGES[..., None]), TEST_IMAGES, IMAGES[:, None]),
    "tensor (N, 3, H, 3)": (torch.tensor(CHANNELS_FIRST[..., :3]), COLOUR_TEST[:, :, :3], CHANNELS_FIRST[..., :3]),
    "nested lists": (IMAGES.tolist(), TEST_IMAGES.tolist(), IMAGES[:, None]),
    "a list of arrays": (list(IMAGES), TEST_IMAGES, IMAGES[:, None]),
    "a list of tensors": ([torch.tensor(image) for image in IMAGES], TEST_IMAGES, IMAGES[:, None]),
    "int64": (IMAGES.astype(np.int64), TEST_IMAGES, IMAGES[:, None]),
    "int32 tensor": (torch.tensor(IMAGES).int(), TEST_IMAGES, IMAGES[:, None]),
    "16 bits": (IMAGES.astype(np.uint16) * 257, TEST_IMAGES.astype(np.int32) * 257, IMAGES[:, None]),
    "8 bits in uint16": (IMAGES.astype(np.uint16), TEST_IMAGES, IMAGES[:, None]),
    "uint16 tensor": (torch.tensor(IMAGES.astype(np.uint16) * 257), TEST_IMAGES / 255, IMAGES[:, None]),
    "8 bits in float32": (IMAGES.astype(np.float32), TEST_IMAGES, IMAGES[:, None]),
    "float16": ((IMAGES / 255).astype(np.float16), TEST_IMAGES / 255, IMAGES[:, None]),
    "bfloat16 of black and white": (
        torch.tensor(IMAGES > 99).bfloat16(),
        TEST_IMAGES > 99,
        255 * (IMAGES > 99)[:, None],
    ),
    "booleans": (IMAGES > 99, TEST_IMAGES > 99, 255 * (IMAGES > 99)[:, None]),
    "booleans, tested on 0 and 1": (IMAGES > 99, (TEST_IMAGES > 99).astype(np.uint8), 255 * (IMAGES > 99)[:, None]),
    "0 and 1 in int64": ((IMAGES > 99).astype(int), TEST_IMAGES > 99, 255 * (IMAGES > 99)[:, None]),
    "0 and 1 in floats": ((IMAGES > 99) * 1.0, TEST_IMAGES > 99, 255 * (IMAGES > 99)[:, None]),
    "rounding errors": ((IMAGES / 255 * 1.0000001 - 1e-17), TEST_IMAGES / 255 * 1.0009, IMAGES[:, None]),
    "all black": (IMAGES * 0, TEST_IMAGES, IMAGES[:, None] * 0),
}


@pytest.mark.parametrize(("images", "test_images", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_images_of_every_form_come_out_as_8_bit_channels_first(images, test_images, expected):
    data = build(images, test_images=test_images)
    assert data.train_images.dtype == torch.uint8
    assert data.train_images.is_contiguous()
    assert np.array_equal(data.train_images.numpy(), expected)


def test_floats_are_rounded_to_the_nearest_level():
    images = np.full((30, 9, 10), 0.0)
    images[:, 0, :4] = [0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0]
    assert build(images).train_images[0, 0, 0, :4].tolist() == [0, 1, 254, 255]


def test_read_only_arrays_are_copied():
    images, labels = IMAGES.copy(), LABELS.copy()
    images.flags.writeable = labels.flags.writeable = False
    data = build(images, labels)
    images.flags.writeable = True
    images[:] = 0
    assert np.array_equal(data.train_images[:, 0].numpy(), IMAGES)


def test_one_rule_for_all_parts_decided_on_the_training_images():
    # Alone, the test images would be read as black and white; beside these they are dark pictures of 8 bits, or wrong.
    dark = np.full_like(TEST_IMAGES, 17)
    assert build(test_images=dark).test_images.unique().tolist() == [17]
    assert build(IMAGES > 99, test_images=(TEST_IMAGES > 99).astype(np.uint8)).test_images.unique().tolist() == [0, 255]
    assert build(test_images=TEST_IMAGES * 0).test_images.unique().tolist() == [0]
    # Where both axes may be channels, they are as in the training images.
    last = COLOUR_TEST[:, :3]
    data = build(torch.tensor(COLOUR[:, :3]).permute(0, 3, 1, 2), test_images=last)
    assert np.array_equal(data.test_images.numpy(), last.transpose(0, 3, 1, 2))


NAMES = np.array(["cat", "dog", "eel"])[LABELS]
ONE_UNKNOWN = [-1, *LABELS[1:].tolist()]
SOME_UNKNOWN = np.where(np.arange(30) < 3, np.nan, LABELS)
LABEL_FORMS = {
    "uint8": (LABELS.astype(np.uint8), LABELS, "012"),
    "int32": (LABELS.astype(np.int32), LABELS, "012"),
    "tensor": (torch.tensor(LABELS), LABELS, "012"),
    "list": (LABELS.tolist(), LABELS, "012"),
    "floats": (LABELS / 1, LABELS, "012"),
    "float16 tensor": (torch.tensor(LABELS).half(), LABELS, "012"),
    "NaN": (SOME_UNKNOWN, [-1, -1, -1, *LABELS[3:]], "012"),
    "None": ([None, *LABELS[1:]], ONE_UNKNOWN, "012"),
    "pandas' NA": (pd.Series([pd.NA, *LABELS[1:]], dtype="Int64"), ONE_UNKNOWN, "012"),
    "a column": (LABELS[:, None], LABELS, "012"),
    "a column as tensor": (torch.tensor(LABELS)[:, None], LABELS, "012"),
    "one-hot": (np.eye(3)[LABELS], LABELS, "012"),
    "one-hot booleans": (torch.eye(3)[LABELS].bool(), LABELS, "012"),
    "from 1": (LABELS + 1, LABELS, "123"),
    "from 1, some unknown": ([-1, *LABELS[1:] + 1], ONE_UNKNOWN, "123"),
    "names": (NAMES, LABELS, ("cat", "dog", "eel")),
    "names in a list": (NAMES.tolist(), LABELS, ("cat", "dog", "eel")),
    "names in bytes": (NAMES.astype("S"), LABELS, ("cat", "dog", "eel")),
    "names and None": ([None, *NAMES[1:]], ONE_UNKNOWN, ("cat", "dog", "eel")),
    "names and NaN": ([np.nan, *NAMES[1:].tolist()], ONE_UNKNOWN, ("cat", "dog", "eel")),
    "names and -1": ([-1, *NAMES[1:]], ONE_UNKNOWN, ("cat", "dog", "eel")),
    "names and words": (["Unlabeled", *NAMES[1:]], ONE_UNKNOWN, ("cat", "dog", "eel")),
    "names and nothing": ([" ", *NAMES[1:]], ONE_UNKNOWN, ("cat", "dog", "eel")),
    "a categorical": (pd.Series([None, *NAMES[1:]], dtype="category"), ONE_UNKNOWN, ("cat", "dog", "eel")),
    "numbers as names": (np.array(["9", "10", "11"])[LABELS], LABELS, ("9", "10", "11")),
}


@pytest.mark.parametrize(("labels", "expected", "names"), LABEL_FORMS.values(), ids=LABEL_FORMS.keys())
def test_labels_of_every_form_come_out_as_int64_with_their_names(labels, expected, names):
    test_labels = np.array([*names])[TEST_LABELS]
    data = build(labels=labels, test_labels=test_labels.astype(int) if isinstance(names, str) else test_labels)
    assert data.train_labels.dtype == torch.int64
    assert data.train_labels.tolist() == list(expected)
    assert data.test_labels.tolist() == TEST_LABELS.tolist()
    assert data.class_names == tuple(names)


def test_classes_may_be_given_in_another_order_and_from_1():
    data = build(labels=NAMES, test_labels=NAMES[:6].tolist(), class_names=["eel", "dog", "cat"])
    assert data.train_labels.tolist() == (2 - LABELS).tolist()
    data = build(labels=LABELS + 1, test_labels=TEST_LABELS + 1, class_names=["eel", "dog", "cat"])
    assert data.train_labels.tolist() == LABELS.tolist()
    assert data.class_names == ("eel", "dog", "cat")


def test_booleans_are_two_classes():
    for labels, test_labels in ((LABELS > 0, TEST_LABELS > 0), ((LABELS > 0).tolist(), TEST_LABELS > 0)):
        data = build(labels=labels, test_labels=test_labels)
        assert data.train_labels.tolist() == (LABELS > 0).astype(int).tolist()
        assert data.class_names == ("False", "True")


def test_scikit_learns_digits_are_asked_about_and_then_read():
    bunch = load_digits()
    given = {"test_images": bunch.images[:9] / 16, "test_labels": bunch.target[:9]}
    with pytest.raises(ValueError, match=re.escape("write images / 16 if 16 is white")):
        Arrays(bunch.images, bunch.target, **given)
    data = Arrays(bunch.images / 16, bunch.target, **given)
    assert np.array_equal(data.train_images[:, 0].numpy(), np.rint(bunch.images / 16 * 255))


def test_unlabelled_images_are_accepted_as_such():
    labels = LABELS.copy()
    labels[9:] = -1
    data = build(labels=labels)
    assert data.train_labels.tolist() == labels.tolist()
    assert (data.num_labelled, data.num_unlabelled) == (9, 21)
    assert build(labels=labels, num_labels=3).num_labelled == 3


def test_class_names_are_numbers_unless_given():
    assert build().class_names == ("0", "1", "2")
    assert build(class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


def test_validation_may_be_absent():
    assert len(build().validation_images) == 0
    data = build(validation_images=TEST_IMAGES, validation_labels=TEST_LABELS)
    assert data.validation_labels.tolist() == TEST_LABELS.tolist()


def test_test_images_may_be_an_empty_set():
    data = build(test_images=TEST_IMAGES[:0], test_labels=TEST_LABELS[:0])
    assert data.test_images.shape == (0, 1, 9, 10)


def test_permuting_the_hidden_labels_changes_nothing():
    data = build(num_labels=6)
    hidden = data.unlabelled_index.numpy()
    labels = LABELS.copy()
    labels[hidden] = GENERATOR.permutation(labels[hidden])
    assert not np.array_equal(labels, LABELS)
    known = np.where(data.train_labels.numpy() >= 0, labels, -1)
    other = Arrays(IMAGES, known, test_images=TEST_IMAGES, test_labels=TEST_LABELS)
    assert vars(data).keys() == vars(other).keys()
    for name, value in vars(data).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(other, name)), name
        elif name != "num_labels":
            assert value == getattr(other, name), name


def test_hidden_labels_are_nowhere_on_the_object():
    data = build(num_labels=6)
    for name, value in vars(data).items():
        if isinstance(value, torch.Tensor):
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
        else:
            assert isinstance(value, str | bool | int | tuple | None), name
    assert data.labels is data.train_labels
    assert data.images is data.train_images
    assert sorted(data.train_labels.tolist()) == [-1] * 24 + [0, 0, 1, 1, 2, 2]


def test_every_argument_is_an_attribute_of_the_same_name():
    data = build(num_labels=6, balanced=False, seed=3, binarise=True)
    assert all(hasattr(data, name) for name in inspect.signature(Arrays).parameters)
    assert (data.num_labels, data.balanced, data.seed, data.binarise) == (6, False, 3, True)


def with_value(value):
    images = IMAGES / 255
    images[3, 4, 5] = value
    return images


ERRORS = {
    "0 to 255 as floats": (
        lambda: build(with_value(200.0)),
        ValueError,
        r"images: expected floating-point pixels in \[0, 1\]; got values from 0 to 200",
    ),
    "negative": (lambda: build(with_value(-0.5)), ValueError, "got values from -0.5 to 1"),
    "NaN": (lambda: build(with_value(np.nan)), ValueError, "images: .* got values from nan to nan"),
    "test images": (lambda: build(test_images=TEST_IMAGES * 2.0), ValueError, "test_images: .* in .0, 1."),
    "more digits": (lambda: build(with_value(1.25)), ValueError, r"from 0 to 1.25: write images.clip\(0, 1\)"),
    "just outside": (lambda: build(with_value(1.0011)), ValueError, r"from 0 to 1.0011: write images.clip"),
    "-1 to 1": (
        lambda: build(IMAGES / 127.5 - 1),
        ValueError,
        r"from -1 to 1: write \(images \+ 1\) / 2 if -1 is black",
    ),
    "0 to 255, not whole": (lambda: build(IMAGES * 0.99), ValueError, "to 252.45: write images / 255 if 255 is white"),
    "divided twice": (lambda: build(IMAGES / 255 / 255), ValueError, "images: .* divided by 255 twice"),
    "0 and 1 in uint8": (
        lambda: build(IMAGES // 128),
        ValueError,
        r"images: expected uint8 .* got 0 and 1 alone, all but black: write images \* 255 if 1 is white",
    ),
    "0 and 1 in a uint8 tensor": (lambda: build(torch.tensor(IMAGES // 128)), ValueError, r"write images \* 255 if"),
    "0 to 15": (lambda: build(IMAGES // 16), ValueError, "got uint8 from 0 to 15: write images / 15 if 15 is white"),
    "0 to 16 in int64": (
        lambda: build(IMAGES.astype(int) // 16),
        ValueError,
        "got int64 from 0 to 15: write images / 15",
    ),
    "12 bits": (
        lambda: build(IMAGES.astype(np.uint16) * 16),
        ValueError,
        "got uint16 from 0 to 4080: write images / 4095 if they have 12 bits, images / 65535 if",
    ),
    "int8": (lambda: build((IMAGES // 2).astype(np.int8)), ValueError, "got int8 from 0 to 127: write images / 127 if"),
    "negative integers": (lambda: build(IMAGES.astype(int) - 9), ValueError, "expected whole .* from -9 to 246"),
    "more than 16 bits": (lambda: build(IMAGES.astype(int) * 999), ValueError, "expected whole .* from 0 to 254745"),
    "dark test images": (
        lambda: build(test_images=TEST_IMAGES // 128),
        ValueError,
        "test_images: expected pixels of which 255 is white, as in images; got values from 0 to 1",
    ),
    "bright test images": (
        lambda: build(IMAGES > 99, test_images=TEST_IMAGES),
        ValueError,
        "test_images: expected pixels of which 1 is white, as in images; got values from 0 to 255",
    ),
    "dark validation images": (
        lambda: build(validation_images=TEST_IMAGES // 16, validation_labels=TEST_LABELS),
        ValueError,
        "validation_images: expected pixels of which 255 is white",
    ),
    "rows": (
        lambda: build(IMAGES.reshape(30, 90)[:, :64]),
        ValueError,
        r"write images.reshape\(-1, 8, 8\) if each row",
    ),
    "RGBA": (lambda: build(np.repeat(COLOUR[..., :1], 4, -1)), ValueError, r"write images\[\.\.\., :3\] to leave out"),
    "channels second or last": (
        lambda: build(COLOUR[:, :3]),
        ValueError,
        r"images: expected channels either second or last; got \(30, 3, 10, 3\), where both may be: write torch.tensor",
    ),
    "six channels": (
        lambda: build(np.concatenate([COLOUR, COLOUR], -1)),
        ValueError,
        r"images: expected 1 or 3 channels; got images of shape \(30, 9, 10, 6\)",
    ),
    "pictures of different sizes": (
        lambda: build([IMAGES[0].tolist(), IMAGES[1, 1:].tolist()]),
        ValueError,
        "images: expected pictures of one size; got a list",
    ),
    "no images": (lambda: build(None), TypeError, "images: expected numbers, .* got NoneType"),
    "words": (lambda: build("images"), TypeError, "images: expected numbers, .* got str"),
    "complex": (lambda: build(IMAGES * 1j), TypeError, "images: expected numbers, .* complex128"),
    "masked": (lambda: build(np.ma.masked_greater(IMAGES, 99)), ValueError, "images: expected pixels without a mask"),
    "two dimensions": (lambda: build(IMAGES[0]), ValueError, r"images: expected shape .* got \(9, 10\)"),
    "lengths": (lambda: build(labels=LABELS[:29]), ValueError, "labels: expected 30 labels, .* got 29"),
    "test lengths": (
        lambda: build(test_labels=TEST_LABELS[:5]),
        ValueError,
        r"test_labels: .*\(6,\).*\(5,\)",
    ),
    "half a class": (lambda: build(labels=LABELS / 2), ValueError, "labels: expected whole numbers.*; got 0.5"),
    "infinite class": (lambda: build(labels=LABELS + np.inf), ValueError, "labels: expected whole numbers.*; got inf"),
    "probabilities": (
        lambda: build(labels=np.full((30, 3), 1 / 3)),
        ValueError,
        r"labels: expected shape \(N,\), or \(N, K\) .* got other values of shape \(30, 3\)",
    ),
    "no labels": (lambda: build(labels=None), TypeError, "labels: expected a class for each row; got None"),
    "dates": (lambda: build(labels=LABELS.astype("M8[D]")), TypeError, "labels: expected numbers, .* datetime64"),
    "words and numbers": (lambda: build(labels=["cat", 3] * 15), TypeError, "labels: .* got int and str"),
    "numbers to test words": (
        lambda: build(labels=NAMES),
        TypeError,
        "test_labels: expected strings, as in labels; got numbers",
    ),
    "two spellings": (
        lambda: build(labels=["cat", "Cat", "dog"] * 10, test_labels=["cat"] * 6),
        ValueError,
        "labels: expected names that tell the classes apart; got 'Cat' and 'cat'",
    ),
    "0 and 0.0": (
        lambda: build(labels=["0", "0.0", "1"] * 10, test_labels=["0"] * 6),
        ValueError,
        "labels: expected names that tell the classes apart; got '0' and '0.0'",
    ),
    "nan in words": (
        lambda: build(labels=np.array(["cat", np.nan, "dog"] * 10), test_labels=["cat"] * 6),
        ValueError,
        "labels: expected names of classes, or `unlabelled`; got 'nan', which may be either",
    ),
    "a name that is none": (
        lambda: build(labels=NAMES, test_labels=NAMES[:6], class_names=["cat", "dog"]),
        ValueError,
        "labels: expected classes among 'cat', 'dog'; got 'eel'",
    ),
    "3 and 7": (
        lambda: build(labels=np.where(LABELS == 1, 7, 3), test_labels=TEST_LABELS * 0 + 3),
        ValueError,
        "labels: expected each class from 0 to 7, or class_names; got 3, 7: write them as strings",
    ),
    "-1 and 1": (
        lambda: build(labels=np.where(LABELS == 1, -1, 1), test_labels=TEST_LABELS * 0 + 1),
        ValueError,
        "labels: expected two classes or more; got -1 and 1, where -1 marks .*: write 0 and 1",
    ),
    "from 1, tested from 0": (
        lambda: build(labels=LABELS + 1),
        ValueError,
        "train_labels: expected a label of every class .* got none of class 0",
    ),
    "large label": (
        lambda: build(class_names=["a", "b"]),
        ValueError,
        "labels: expected labels from -1 to 1; got 2",
    ),
    "label -2": (
        lambda: build(labels=LABELS - 2),
        ValueError,
        "labels: expected labels from -1 to 2; got -2",
    ),
    "test label -1": (
        lambda: build(test_labels=TEST_LABELS - 1),
        ValueError,
        "test_labels: .* 0 to 2; got -1",
    ),
    "no label": (
        lambda: build(labels=LABELS * 0 - 1, test_images=TEST_IMAGES[:0], test_labels=TEST_LABELS[:0]),
        ValueError,
        "class_names: expected the names of the classes as no label is known",
    ),
    "too many labels": (lambda: build(num_labels=33), ValueError, "num_labels: expected at most the 30"),
    "fraction of labels": (
        lambda: build(num_labels=0.1),
        TypeError,
        "num_labels: expected an integer; got 0.1",
    ),
    "half a set": (
        lambda: build(validation_images=TEST_IMAGES),
        ValueError,
        "validation_labels: expected a tensor",
    ),
}


@pytest.mark.parametrize(("call", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
