import pytest
import torch

from ssvae.data import ImageData


def images(number, channels=1, height=8, width=9):
    count = number * channels * height * width
    return (torch.arange(count) % 256).to(torch.uint8).view(number, channels, height, width)


def build(**changes):
    arguments = {
        "name": "Example",
        "train_images": images(5),
        "train_labels": torch.tensor([-1, 0, -1, 1, -1]),
        "class_names": ["cat", "dog"],
        "test_images": images(2),
        "test_labels": torch.tensor([0, 1]),
    }
    return ImageData(**{**arguments, **changes})


def test_counts_and_indices():
    data = build()
    assert (data.num_labelled, data.num_unlabelled, data.num_classes) == (2, 3, 2)
    assert data.image_shape == (1, 8, 9)
    assert data.labelled_index.tolist() == [1, 3]
    assert data.unlabelled_index.tolist() == [0, 2, 4]
    assert data.class_names == ("cat", "dog")


def test_absent_validation_images_are_an_empty_set():
    data = build()
    assert data.validation_images.shape == (0, 1, 8, 9)
    assert data.validation_images.dtype == torch.uint8
    assert data.validation_labels.shape == (0,)
    assert data.preprocess(data.validation_images).shape == (0, 1, 8, 9)


@pytest.mark.parametrize(("labels", "num_labelled"), [([-1] * 5, 0), ([0, 1, 0, 1, 0], 5)])
def test_all_or_none_may_be_labelled(labels, num_labelled):
    data = build(train_labels=torch.tensor(labels))
    assert data.num_labelled == len(data.labelled_index) == num_labelled
    assert data.num_unlabelled == len(data.unlabelled_index) == 5 - num_labelled


def test_summary():
    assert build(binarise=True).summary() == (
        "Example: 5 training images (2 labelled, 3 unlabelled), 0 validation, 2 test, 2 classes, "
        "1×8×9 pixels, binarised at every batch"
    )
    assert build().summary().endswith("1×8×9 pixels")


def test_the_summary_names_classes_that_a_part_has_no_image_of():
    _, *warnings = (
        build(
            train_labels=torch.tensor([0, 1, 2, 3, -1]),
            class_names=["cat", "dog", "lynx", "wolf"],
            validation_images=images(3),
            validation_labels=torch.tensor([0, 1, 2]),
        )
        .summary()
        .splitlines()
    )
    assert warnings == [
        "Warning: there is no validation image of 'wolf', so the validation accuracy does not include it.",
        "Warning: there is no test image of 'lynx', 'wolf', so the test accuracy does not include it.",
    ]


def test_one_class_is_refused_where_it_is_known():
    one = {"class_names": ["cat"], "test_labels": torch.tensor([0, 0])}
    with pytest.raises(ValueError, match=r"^class_names: expected two classes or more, as labels are known; got 'cat'"):
        build(train_labels=torch.tensor([0, 0, -1, 0, 0]), **one)
    assert build(train_labels=torch.full((5,), -1), **one).num_classes == 1


def test_pixels_are_the_256_multiples_of_a_255th():
    pixels = build().preprocess(torch.arange(256, dtype=torch.uint8))
    assert pixels.dtype == torch.get_default_dtype()
    assert pixels.tolist() == (torch.arange(256, dtype=torch.get_default_dtype()) / 255).tolist()


def test_pixels_refuses_what_is_not_8_bit():
    with pytest.raises(TypeError, match=r"x: expected a uint8 tensor; got float32 of shape \(2,\)"):
        build().preprocess(torch.zeros(2, dtype=torch.float32))


def test_without_binarise_pixels_are_observed_as_they_are():
    pixels = torch.rand(3, 1, 8, 9)
    assert build().observe(pixels) is pixels


def test_binarised_pixels_are_fresh_bernoulli_draws():
    data = build(binarise=True)
    pixels = torch.tensor([0.0, 0.2, 0.7, 1.0]).expand(20_000, 4)
    generator = torch.Generator().manual_seed(0)
    first, second = data.observe(pixels, generator), data.observe(pixels, generator)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    # Standard error at most sqrt(0.25 / 20000) = 0.0035.
    torch.testing.assert_close(first.mean(0), pixels[0], atol=0.0175, rtol=0)
    assert torch.equal(first[:, [0, 3]], pixels[:, [0, 3]])
    assert torch.equal(data.observe(pixels, torch.Generator().manual_seed(0)), first)


ERRORS = {
    "float images": (
        {"train_images": images(5).float()},
        TypeError,
        "train_images: expected a uint8 .* float32",
    ),
    "array images": (
        {"train_images": images(5).numpy()},
        TypeError,
        "train_images: .* got a numpy array of uint8",
    ),
    "int32 labels": (
        {"train_labels": torch.zeros(5).int()},
        TypeError,
        "train_labels: expected an int64 .* int32",
    ),
    "no channels": (
        {"train_images": images(5)[:, 0]},
        ValueError,
        r"expected shape \(N, C, H, W\).*\(5, 8, 9\)",
    ),
    "four channels": (
        {"train_images": images(5, channels=4)},
        ValueError,
        r"1 to 3 channels; got \(5, 4, 8, 9\)",
    ),
    "length": (
        {"train_labels": torch.zeros(4).long()},
        ValueError,
        r"train_labels: expected shape \(5,\).*\(4,\)",
    ),
    "label 2": ({"train_labels": torch.arange(5) % 3}, ValueError, "from -1 to 1; got labels from 0 to 2"),
    "label -2": ({"train_labels": torch.arange(5) - 3}, ValueError, "got labels from -3 to 1"),
    "missing class": (
        {"train_labels": torch.tensor([0, -1, -1, -1, -1])},
        ValueError,
        "train_labels: expected a label of every class .* got none of class 1 .'dog'",
    ),
    "hidden test label": (
        {"test_labels": torch.tensor([0, -1])},
        ValueError,
        "test_labels: .* from 0 to 1; got",
    ),
    "no images": (
        {"train_images": images(0), "train_labels": torch.zeros(0).long()},
        ValueError,
        "at least one image",
    ),
    "test size": (
        {"test_images": images(2, width=8)},
        ValueError,
        r"test_images: .*\(1, 8, 9\).*\(1, 8, 8\)",
    ),
    "half a set": (
        {"test_labels": None},
        ValueError,
        "test_labels: expected a tensor as test_images is given",
    ),
    "half a set, other": ({"test_images": None}, ValueError, "test_images: expected a tensor as test_labels"),
    "no classes": ({"class_names": []}, ValueError, "class_names: expected one or more different names"),
    "same names": ({"class_names": ["a", "a"]}, ValueError, "different names; got .'a', 'a'"),
    "one string": ({"class_names": "ab"}, TypeError, "class_names: expected a sequence of strings; got 'ab'"),
    "number as name": ({"class_names": [0, 1]}, TypeError, "class_names: expected a sequence of strings"),
}


@pytest.mark.parametrize(("changes", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        build(**changes)
