"""Checkpoints are written whole or not at all, and read without running any code."""

import errno
import os
import pickle
import threading
from contextlib import suppress

import pytest
import torch

from ssvae.inference.storage.checkpoints import METADATA, AtomicCheckpointIO, read_checkpoint
from ssvae.inference.storage.files import write_atomically

OURS = {"state_dict": {"weight": torch.arange(3.0)}, METADATA: {"model": {"class_path": "a.B", "init_args": {}}}}


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def save(path, content=OURS):
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def test_what_is_saved_is_read(tmp_path):
    found = read_checkpoint(save(tmp_path / "new" / "folder" / "a.ckpt"))
    assert torch.equal(found["state_dict"]["weight"], torch.arange(3.0))
    assert found[METADATA] == OURS[METADATA]
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, write):
    mark = tmp_path / "was_here"
    write({**OURS, "extra": Malicious(mark)}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"^checkpoint: expected .*a\.ckpt"):
        read_checkpoint(tmp_path / "a.ckpt")
    assert not mark.exists()
    with suppress(RuntimeError):  # what is no zip file runs before it is refused
        torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert mark.exists(), "the test's pickle is to be malicious"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"",
        lambda whole: b"PK",
        lambda whole: whole[:100],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2] + bytes(100) + whole[len(whole) // 2 + 100 :],
        lambda whole: b"an image, perhaps",
        lambda whole: os.urandom(1000),
    ],
)
def test_truncated_or_damaged_files_are_refused(tmp_path, spoil):
    path = save(tmp_path / "a.ckpt")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"^checkpoint: expected .*a\.ckpt"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        torch.zeros(2),
        {"state_dict": {}},
        {"state_dict": 1, METADATA: OURS[METADATA]},
        {"state_dict": {}, METADATA: 3},
        {"state_dict": {}, METADATA: {"model": None}},
        {"state_dict": {}, METADATA: {"model": {"init_args": {}}}},
    ],
)
def test_checkpoints_of_other_projects_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"^checkpoint: expected one of this project; got .*a\.ckpt, which is not"):
        read_checkpoint(save(tmp_path / "a.ckpt", content))


@pytest.mark.parametrize("name", ["missing.ckpt", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"^checkpoint: expected a file"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("write", [lambda path: save(path, {}), lambda path: write_atomically(path, "new")])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    path = tmp_path / "a.ckpt"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(path)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_take_it_from_each_other(tmp_path, monkeypatch):
    path, fsync = tmp_path / "a.txt", os.fsync
    second = threading.Thread(target=write_atomically, args=(path, "second"))
    found = []

    def meanwhile(descriptor):
        fsync(descriptor)
        if threading.current_thread() is not second:
            second.start()
            second.join(0.3)
            found.append((second.is_alive(), path.exists()))

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(path, "the first, and longer")
    second.join()
    assert found == [(True, False)]
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_written_over(tmp_path):
    (tmp_path / "a.txt.partial").write_text("more than is written now")
    write_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_what_training_goes_on_from_is_read_without_running_code(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(2)}, tmp_path / "good.ckpt")
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "good.ckpt")["weights"].tolist() == [1, 1]
    torch.save({"weights": os.system}, tmp_path / "bad.ckpt")
    for options in ({}, {"weights_only": False}):  # as versions of Lightning call it
        with pytest.raises(pickle.UnpicklingError):
            AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", **options)
