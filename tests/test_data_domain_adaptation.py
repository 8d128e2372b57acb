"""Labelled images of one set, unlabelled images of another."""

import numpy as np
import pytest
import torch

from ssvae.data import Arrays, Digits, DomainAdaptation


def _set(side, value, num_labels=None, channels=1, names=("a", "b"), number=8):
    images = np.full((number, channels, side, side), value, dtype=np.uint8)
    images[:, :, side // 2] = 200
    labels = np.arange(number) % 2
    options = {"class_names": names, "num_labels": num_labels}
    parts = {"validation_images": images[:4], "validation_labels": labels[:4]}
    return Arrays(
        torch.from_numpy(images), labels, test_images=torch.from_numpy(images), test_labels=labels, **parts, **options
    )


def test_the_labels_are_the_sources_and_the_unlabelled_images_the_targets():
    source, target = _set(8, 10, num_labels=4), _set(8, 60, number=6)
    both = DomainAdaptation(source, target)
    assert (both.num_labelled, both.num_unlabelled) == (4, 6)
    assert torch.equal(both.train_images[both.labelled_index], source.train_images[source.labelled_index])
    assert torch.equal(both.train_images[both.unlabelled_index], target.train_images)
    assert torch.equal(both.validation_images, source.validation_images)
    assert torch.equal(both.test_images, target.test_images)
    assert torch.equal(both.test_labels, target.test_labels)
    assert both.name == "Arrays to Arrays"
    assert not both.binarise
    assert DomainAdaptation(source, target, binarise=True).binarise


def test_labels_of_the_target_change_nothing():
    source, target, other = _set(8, 10), _set(8, 60), _set(8, 60, num_labels=0)
    one, two = DomainAdaptation(source, target), DomainAdaptation(source, other)
    assert torch.equal(one.train_labels, two.train_labels)
    assert torch.equal(one.train_images, two.train_images)


def test_the_targets_images_are_brought_to_the_sources_size_and_channels():
    source = _set(12, 10, channels=3)
    images = np.zeros((4, 6, 6), dtype=np.uint8)
    images[:, :3] = 90  # the upper half
    target = Arrays(images, np.arange(4) % 2, test_images=images, test_labels=np.arange(4) % 2, class_names=("a", "b"))
    found = DomainAdaptation(source, target).test_images
    assert found.shape == (4, 3, 12, 12)
    assert (found[:, :, :5] == 90).all()
    assert (found[:, :, 7:] == 0).all()
    # Smaller images are averages, not every other pixel.
    checkered = np.indices((12, 12)).sum(0) % 2 * 200
    fine = np.repeat(checkered[None], 4, axis=0).astype(np.uint8)
    target = Arrays(fine, np.arange(4) % 2, test_images=fine, test_labels=np.arange(4) % 2, class_names=("a", "b"))
    inner = DomainAdaptation(_set(8, 10), target).test_images[..., 2:-2, 2:-2].float()
    assert (inner - 100).abs().max() < 40


def test_a_margin_is_laid_around_the_targets_images_or_cut_away():
    images = np.full((4, 8, 8), 50, dtype=np.uint8)
    images[:, 2:6, 2:6] = 250
    target = Arrays(images, np.arange(4) % 2, test_images=images, test_labels=np.arange(4) % 2, class_names=("a", "b"))
    source = _set(12, 10)
    laid = DomainAdaptation(source, target, margin=2).test_images
    assert torch.equal(laid[0, 0, 2:-2, 2:-2], target.test_images[0, 0])
    assert (laid[0, 0, [0, 1, -2, -1]] == 50).all()
    cut = DomainAdaptation(_set(8, 10), laid_out(laid), margin=-2).test_images
    assert torch.equal(cut, target.test_images)


def laid_out(images):
    y = np.arange(len(images)) % 2
    return Arrays(images, y, test_images=images, test_labels=y, class_names=("a", "b"))


def test_scikit_learns_digits_become_like_mnists():
    large = Arrays(
        torch.zeros(20, 1, 28, 28), np.arange(20) % 10, test_images=torch.zeros(1, 1, 28, 28), test_labels=np.array([0])
    )
    both = DomainAdaptation(large, Digits(), margin=4)
    assert both.image_shape == (1, 28, 28)
    assert both.num_unlabelled == 1197
    assert both.test_images[:, :, :3].max() == 0


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: DomainAdaptation(_set(8, 1), _set(8, 1, names=("a", "c"))), ValueError, "target: .* a, b; got a, c"),
        (
            lambda: DomainAdaptation(_set(8, 1, num_labels=0), _set(8, 1)),
            ValueError,
            "source: expected labelled images",
        ),
        (lambda: DomainAdaptation(_set(8, 1), _set(8, 1), margin=4), ValueError, "margin: expected less than half"),
        (lambda: DomainAdaptation(_set(8, 1), _set(8, 1), margin=1.5), TypeError, "margin: expected an integer"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
