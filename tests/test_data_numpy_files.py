import pickle
import re
from itertools import chain

import numpy as np
import pytest
import torch
from support import tiny

from ssvae.data import Arrays, Batches, NumpyFiles
from ssvae.data.read_ahead import ReadAhead
from ssvae.inference.training import train

NONE = torch.empty(0, dtype=torch.int64)


@pytest.fixture
def folder(tmp_path):
    """The images of `tiny.arrays`, as files; with their classes."""
    data = tiny.arrays(num_labels=None)
    for part in ("train", "validation", "test"):
        np.save(tmp_path / f"{part}_images.npy", getattr(data, f"{part}_images").numpy())
        np.save(tmp_path / f"{part}_labels.npy", getattr(data, f"{part}_labels").numpy())
    return tmp_path


def test_it_is_what_the_arrays_are(folder):
    found, expected = NumpyFiles(str(folder), num_labels=6, seed=2), tiny.arrays(num_labels=6)
    assert found.memory_mapped
    assert not expected.memory_mapped
    for name in ("train_images", "validation_images", "validation_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.class_names == ("0", "1", "2")
    assert found.num_labelled == 6
    drawn = Arrays(
        expected.train_images,
        np.load(folder / "train_labels.npy"),
        test_images=expected.test_images,
        test_labels=expected.test_labels,
        num_labels=6,
        seed=2,
    )
    assert torch.equal(found.train_labels, drawn.train_labels)


def test_grey_images_may_leave_out_their_channel_and_classes_may_have_names(folder):
    np.save(folder / "train_images.npy", np.load(folder / "train_images.npy")[:, 0])
    (folder / "class_names.txt").write_text("left\nmiddle\nright\n", encoding="utf-8")
    for part in ("validation", "test"):
        for kind in ("images", "labels"):
            (folder / f"{part}_{kind}.npy").unlink()
    found = NumpyFiles(str(folder))
    assert found.image_shape == (1, 8, 8)
    assert found.class_names == ("left", "middle", "right")
    assert len(found.validation_images) == len(found.test_images) == 0


def test_channels_may_come_last_and_labels_be_what_arrays_take(folder):
    expected = NumpyFiles(str(folder))
    generator = np.random.default_rng(0)
    for part in ("train", "validation", "test"):
        colour = generator.integers(0, 256, (len(np.load(folder / f"{part}_labels.npy")), 8, 9, 3), dtype=np.uint8)
        np.save(folder / f"{part}_images.npy", colour)
        labels = np.load(folder / f"{part}_labels.npy")
        np.save(folder / f"{part}_labels.npy", np.array(["left", "middle", "right"])[labels][:, None])
    found = NumpyFiles(str(folder))
    assert found.image_shape == (3, 8, 9)
    assert np.array_equal(found.test_images.permute(0, 2, 3, 1).numpy(), colour)
    assert found.class_names == ("left", "middle", "right")
    assert found.train_labels.tolist() == expected.train_labels.tolist()
    assert found.test_labels.tolist() == expected.test_labels.tolist()


def test_dark_images_beside_others_are_no_reason_to_ask(folder, monkeypatch):
    images = np.load(folder / "train_images.npy")
    images[:-1] //= 16
    np.save(folder / "train_images.npy", images)
    monkeypatch.setattr("ssvae.data.numpy_files._LOOKED_AT", 1)  # looked at first is the first, which is dark
    found = NumpyFiles(str(folder))
    assert np.array_equal(found.train_images.numpy(), images)


def test_nothing_that_is_done_to_the_images_reaches_the_files(folder):
    before = (folder / "train_images.npy").read_bytes()
    NumpyFiles(str(folder)).train_images[:] = 7
    assert (folder / "train_images.npy").read_bytes() == before


class Bomb:
    def __reduce__(self):
        return open, ("exploded", "w")


def archive(folder):
    np.savez(folder / "train_images.npz", np.zeros(3))
    (folder / "train_images.npz").rename(folder / "train_images.npy")


MISTAKES = {
    "no folder": (lambda folder: folder.rename(folder.with_name("other")), "root: expected a folder of .npy files"),
    "no images": (lambda folder: (folder / "train_images.npy").unlink(), "root: expected a file train_images.npy in"),
    "no labels": (lambda folder: (folder / "test_labels.npy").unlink(), "root: expected a file test_labels.npy in"),
    "random bytes": (
        lambda folder: (folder / "train_images.npy").write_bytes(b"\x93NUM" * 99),
        "which is damaged or of another kind",
    ),
    "nothing": (lambda folder: (folder / "train_images.npy").write_bytes(b""), "which is damaged or of another kind"),
    "cut off": (
        lambda folder: (folder / "train_images.npy").write_bytes((folder / "train_images.npy").read_bytes()[:-1]),
        "which is damaged or of another kind",
    ),
    "a pickle": (
        lambda folder: (folder / "train_labels.npy").write_bytes(pickle.dumps(Bomb())),
        "which is damaged or of another kind",
    ),
    "objects": (
        lambda folder: np.save(folder / "train_labels.npy", np.array([Bomb()] * 40), allow_pickle=True),
        "which is damaged or of another kind",
    ),
    "an archive": (archive, "which is an archive"),
    "floats": (
        lambda folder: np.save(folder / "train_images.npy", np.zeros((40, 8, 8))),
        r"train_images: expected uint8 of shape \(N, H, W\), .*; got float64 \(40, 8, 8\): pass np.load of the file to",
    ),
    "flat": (
        lambda folder: np.save(folder / "train_images.npy", np.zeros((40, 64), np.uint8)),
        r"got uint8 \(40, 64\)",
    ),
    "one-hot": (
        lambda folder: np.save(folder / "train_labels.npy", np.zeros((40, 3), int)),
        r"train_labels: expected shape \(N,\), or \(N, K\) with a 1 .*; got other values of shape \(40, 3\)",
    ),
    "0 and 1": (
        lambda folder: np.save(folder / "train_images.npy", np.load(folder / "train_images.npy") // 128),
        r"train_images: expected uint8 .* got 0 and 1 alone, all but black: write train_images \* 255 if 1 is white",
    ),
    "0 to 13": (
        lambda folder: np.save(folder / "test_images.npy", np.load(folder / "test_images.npy") // 16),
        "test_images: expected pixels of which 255 is white; got uint8 from 0 to 1[0-9]: write test_images / 1",
    ),
    "booleans": (
        lambda folder: np.save(folder / "train_images.npy", np.zeros((40, 8, 8), bool)),
        r"train_images: expected uint8 .*; got bool \(40, 8, 8\)",
    ),
    "half a class": (
        lambda folder: np.save(folder / "train_labels.npy", np.arange(40) / 2),
        "train_labels: expected whole numbers, or NaN for unknown classes; got 0.5",
    ),
    "too few labels": (
        lambda folder: np.save(folder / "train_labels.npy", np.zeros(39, int)),
        r"train_labels: expected shape \(40,\)",
    ),
    "no class known": (
        lambda folder: [
            np.save(folder / f"{part}_labels.npy", np.full(len(np.load(folder / f"{part}_labels.npy")), -1))
            for part in ("train", "validation", "test")
        ],
        "root: expected class_names.txt in",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_array_gets_a_sentence(spoil, sentence, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoil(folder)
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=sentence) as told:
        NumpyFiles(str(folder))
    assert not (tmp_path / "exploded").exists()
    assert "\n" not in str(told.value)


# Reading ahead, and epochs that are parts of a pass


def test_reading_ahead_changes_no_batch_and_touches_every_image(folder):
    class Noted:
        """Images that say which of them were read."""

        def __init__(self):
            self.read = []

        def __getitem__(self, index):
            self.read.append(index.tolist())

    batches = Batches((torch.arange(3), torch.arange(3, 40), NONE), 5)
    images = Noted()
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        images.read.clear()
        ahead = list(ReadAhead(batches, images))
        expected = [torch.cat(batch).tolist() for batch in batches]
        assert [torch.cat(batch).tolist() for batch in ahead] == expected
        # Each image of each batch once, by whichever thread.
        assert sorted(chain.from_iterable(images.read)) == sorted(chain.from_iterable(expected))
    assert len(ReadAhead(batches, images)) == len(batches) == 7


def test_a_file_that_cannot_be_read_ahead_stops_training():
    class Broken:
        def __getitem__(self, index):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        list(ReadAhead(Batches((NONE, torch.arange(30), NONE), 5), Broken()))


def test_training_on_files_is_training_on_arrays(folder):
    states, histories = [], []
    for data in (tiny.arrays(num_labels=6), NumpyFiles(str(folder), num_labels=6)):
        model = tiny.m2()
        histories.append([{**row, "seconds": 0} for row in train(model, data, tiny.everything(), None)])
        states.append(model.state_dict())
    tiny.assert_same_tensors(*states)
    assert histories[0] == histories[1]


@pytest.fixture
def short_epochs(monkeypatch):
    """A pass over 34 images, ten in a batch, in three epochs of a step."""
    monkeypatch.setattr("ssvae.data.batches._STEPS_AT_ONCE", 1)


def test_the_parts_of_a_pass_are_the_pass(monkeypatch):
    indices = torch.arange(100, 107), torch.arange(40), torch.arange(200, 205)
    whole = Batches(indices, 6, 3, seed=1)
    monkeypatch.setattr("ssvae.data.batches._STEPS_AT_ONCE", 2)
    parts = Batches(indices, 6, 3, seed=1)
    assert (len(whole), whole.num_parts, len(parts), parts.num_parts) == (6, 1, 2, 3)
    for number in range(4):
        whole.set_epoch(number)
        of_parts = []
        for part in range(3):
            parts.set_epoch(3 * number + part)
            of_parts += list(parts)
        for one, other in zip(whole, of_parts, strict=True):
            assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_what_is_left_over_of_the_parts_is_dropped(monkeypatch):
    monkeypatch.setattr("ssvae.data.batches._STEPS_AT_ONCE", 3)
    batches = Batches((NONE, torch.arange(40), NONE), 4)  # ten steps: four parts of two, and two that are dropped
    assert (len(batches), batches.num_parts) == (2, 4)
    seen = []
    for part in range(4):
        batches.set_epoch(part)
        seen += [batch.unlabelled for batch in batches]
    assert len(torch.cat(seen).unique()) == 32


def test_a_part_of_a_pass_gets_a_row_a_checkpoint_and_a_name(short_epochs, tmp_path, capsys):
    recipe = tiny.recipe(max_epochs=2)
    rows = train(tiny.m2(), tiny.arrays(), recipe, tmp_path, interactive=False)
    assert [row["epoch"] for row in rows] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    told = re.findall(r"^epoch (\S+):", capsys.readouterr().out, re.MULTILINE)
    assert told == ["0.333333/2", "0.666667/2", "1/2", "1.33333/2", "1.66667/2", "2/2"]


def test_steps_are_rounded_up_to_parts_of_a_pass(short_epochs):
    rows = train(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=None, max_steps=4), None)
    assert rows[-1]["step"] == 4


def test_stopped_within_a_pass_and_resumed_training_ends_as_if_it_had_not_been(short_epochs, folder, tmp_path):
    data, recipe = NumpyFiles(str(folder), num_labels=6), tiny.everything(max_epochs=2)
    whole = tiny.m2()
    train(whole, data, recipe, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def interrupted(epoch):
        if epoch == 1:
            raise KilledError

    stopped = tiny.m2()
    batches = Batches.set_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "set_epoch", lambda self, epoch: (interrupted(epoch), batches(self, epoch)))
        with pytest.raises(KilledError):
            train(stopped, data, recipe, tmp_path / "stopped")
    resumed = tiny.m2(seed=1)
    rows = train(resumed, data, recipe, tmp_path / "stopped")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    tiny.assert_same_tensors(resumed.state_dict(), whole.state_dict())
