import inspect

import numpy as np
import pytest
import torch

from data import Arrays

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


@pytest.mark.parametrize("kind", [np.uint8, np.int32, torch.tensor])
def test_labels_of_any_integer_type(kind):
    labels = torch.tensor(LABELS) if kind is torch.tensor else LABELS.astype(kind)
    data = build(labels=labels)
    assert data.train_labels.dtype == torch.int64
    assert data.train_labels.tolist() == LABELS.tolist()


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
        r"images: expected floating-point pixels in \[0, 1\], got values from 0 to 200",
    ),
    "negative": (lambda: build(with_value(-0.5)), ValueError, "got values from -0.5 to 1"),
    "NaN": (lambda: build(with_value(np.nan)), ValueError, "images: .* got values from nan to nan"),
    "test images": (lambda: build(test_images=TEST_IMAGES * 2.0), ValueError, "test_images: .* in .0, 1."),
    "int64 pixels": (
        lambda: build(IMAGES.astype(int)),
        TypeError,
        "images: expected uint8 or floating.* a numpy array of int64",
    ),
    "int tensor": (
        lambda: build(torch.tensor(IMAGES).int()),
        TypeError,
        "images: expected uint8 or .* int32",
    ),
    "list": (
        lambda: build(IMAGES.tolist()),
        TypeError,
        "images: expected a numpy array or a tensor, got list",
    ),
    "two dimensions": (lambda: build(IMAGES[0]), ValueError, r"images: expected shape .* got \(9, 10\)"),
    "channels last tensor": (
        lambda: build(torch.tensor(COLOUR)),
        ValueError,
        r"images: expected 1 or 3 channels, got images of shape \(30, 9, 10, 3\)",
    ),
    "lengths": (lambda: build(labels=LABELS[:29]), ValueError, "labels: expected 30 labels, .* got 29"),
    "test lengths": (
        lambda: build(test_labels=TEST_LABELS[:5]),
        ValueError,
        r"test_labels: .*\(6,\).*\(5,\)",
    ),
    "float labels": (lambda: build(labels=LABELS / 1), TypeError, "labels: expected integers, got float64"),
    "one-hot labels": (
        lambda: build(labels=np.eye(3, dtype=int)[LABELS]),
        ValueError,
        r"labels: .*\(30, 3\)",
    ),
    "large label": (
        lambda: build(class_names=["a", "b"]),
        ValueError,
        "labels: expected labels from -1 to 1, got 2",
    ),
    "label -2": (
        lambda: build(labels=LABELS - 2),
        ValueError,
        "labels: expected labels from -1 to 2, got -2",
    ),
    "test label -1": (
        lambda: build(test_labels=TEST_LABELS - 1),
        ValueError,
        "test_labels: .* 0 to 2, got -1",
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
        "num_labels: expected an integer, got 0.1",
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
