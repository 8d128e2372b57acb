"""Small NORB, from small files in its format."""

import gzip

import numpy as np
import pytest
import torch

from ssvae.data import SmallNORB

BYTE, INTEGER = 0x1E3D4C55, 0x1E3D4C54
TRAINING, TESTING = "smallnorb-5x46789x9x18x6x2x96x96-training", "smallnorb-5x01235x9x18x6x2x96x96-testing"


def _matrix(values, magic):
    """A matrix in NORB's format: at least three sizes stand in its head, whatever the number of dimensions."""
    sizes = [*values.shape, *[1] * (3 - values.ndim)]
    head = np.array([magic, values.ndim, *sizes], dtype="<u4").tobytes()
    return head + values.astype("<i4" if magic == INTEGER else np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for part, number in {TRAINING: 40, TESTING: 20}.items():
        images = generator.integers(0, 256, (number, 2, 96, 96), dtype=np.uint8)
        images[:, 0, :3, :3] = np.arange(number)[:, None, None]  # the first of the averaged pixels
        (tmp_path / f"{part}-dat.mat").write_bytes(_matrix(images, BYTE))
        (tmp_path / f"{part}-cat.mat").write_bytes(_matrix(np.arange(number) % 5, INTEGER))
    return tmp_path


def test_stereo_pairs_are_two_channels_and_their_order_is_that_of_the_classes(folder):
    norb = SmallNORB(10, num_validation=5, root=str(folder))
    assert norb.image_shape == (2, 32, 32)
    assert norb.class_names == ("animal", "human", "airplane", "truck", "car")
    assert (norb.num_labelled, norb.num_unlabelled) == (10, 25)
    assert (len(norb.validation_images), len(norb.test_images)) == (5, 20)
    assert norb.test_images[:, 0, 0, 0].tolist() == list(range(20))
    assert norb.test_labels.tolist() == [0, 1, 2, 3, 4] * 4


def test_pictures_are_averaged_over_squares(folder):
    whole, averaged = (SmallNORB(None, num_validation=5, root=str(folder), size=size) for size in (96, 32))
    squares = whole.test_images.double().unfold(2, 3, 3).unfold(3, 3, 3).mean((-1, -2))
    assert (averaged.test_images - squares).abs().max() <= 0.5
    with open(folder / f"{TESTING}-dat.mat", "rb") as file:
        assert whole.test_images.numpy().tobytes() == file.read()[24:]


def test_compressed_files_are_read_too(folder):
    expected = SmallNORB(10, num_validation=5, root=str(folder))
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(SmallNORB(10, num_validation=5, root=str(folder)).train_images, expected.train_images)


def test_a_missing_file_is_named(folder, tmp_path):
    (folder / f"{TESTING}-cat.mat").unlink()
    with pytest.raises(FileNotFoundError, match=rf"root: expected the file {TESTING}-cat.mat or .*; got neither"):
        SmallNORB(10, num_validation=5, root=str(folder))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "expected an undamaged file of small NORB; got"),
        (b"\x00" * 100, "expected an undamaged file of small NORB; got"),
        (_matrix(np.zeros((20, 2, 96, 95)), BYTE)[:-1], "expected an undamaged file of small NORB; got"),
        (
            _matrix(np.zeros((20, 96, 96)), BYTE),
            r"expected pairs of 8-bit pictures in testing -dat; got uint8 \(20, 96",
        ),
        (
            _matrix(np.zeros((19, 2, 96, 96)), BYTE),
            "expected a class from 0 to 4 for each of 19 images in testing -cat",
        ),
    ],
    ids=["empty", "no magic number", "cut", "no pairs", "too few"],
)
def test_a_damaged_file_is_refused(folder, content, sentence):
    (folder / f"{TESTING}-dat.mat").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        SmallNORB(10, num_validation=5, root=str(folder))


@pytest.mark.parametrize("size", [7, 97])
def test_a_size_that_cannot_be_had_is_refused(folder, size):
    with pytest.raises(ValueError, match=f"size: expected 8 to 96 pixels; got {size}"):
        SmallNORB(root=str(folder), size=size)
