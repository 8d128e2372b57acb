"""Large folders are decoded once, with all cores: what is kept is what the files hold."""

import os
import threading
import time
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image

from ssvae.data import ImageFolder, decoded_images, image_files, time_left

NUMBER = 40


@pytest.fixture
def root(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(NUMBER):
        path = tmp_path / "photos" / f"{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of what is kept, for folders of as many images as these."""
    monkeypatch.setenv("SSVAE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_images, "FEWEST_FILES", NUMBER)
    return tmp_path / "cache" / "decoded"


@pytest.fixture
def decoded(monkeypatch):
    """The number of files in each call that decodes pixels."""
    calls, read = [], image_files.read_images

    def counted(paths, *arguments):
        calls.append(len(paths))
        return read(paths, *arguments)

    monkeypatch.setattr(decoded_images, "read_images", counted)
    return calls


def same(one, other):
    return all(
        torch.equal(getattr(one, f"{part}_images"), getattr(other, f"{part}_images"))
        for part in ("train", "validation", "test")
    )


def test_the_same_files_are_decoded_once_for_each_shape(root, kept, decoded):
    first = ImageFolder(str(root))
    again = ImageFolder(str(root), seed=3)
    assert decoded == [NUMBER]
    assert same(first, again)
    ImageFolder(str(root), size=8)
    ImageFolder(str(root), channels=1)
    assert decoded == [NUMBER] * 3
    assert sorted(path.name.split("-", 1)[1] for path in kept.iterdir()) == [
        "1x9x9-None.npy",
        "3x8x8-None.npy",
        "3x9x9-None.npy",
        "headers.npy",
    ]
    assert not list(root.rglob("*.npy"))


def test_what_is_kept_is_found_by_content_and_not_by_names_or_dates(root, kept, decoded, tmp_path):
    first = ImageFolder(str(root))
    root.rename(tmp_path / "moved")
    os.utime(tmp_path / "moved" / "0" / "00.png", (0, 0))
    moved = ImageFolder(str(tmp_path / "moved"))
    assert decoded == [NUMBER]
    assert same(first, moved)
    white = np.full((9, 9, 3), 255, dtype=np.uint8)
    Image.fromarray(white).save(tmp_path / "moved" / "0" / "00.png")
    os.utime(tmp_path / "moved" / "0" / "00.png", (0, 0))
    changed = ImageFolder(str(tmp_path / "moved"))
    assert decoded == [NUMBER] * 2
    everything = torch.cat([changed.train_images, changed.validation_images, changed.test_images])
    assert (everything == 255).flatten(1).all(1).sum() == 1


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda c: b"x" * 99]
)
def test_a_damaged_entry_is_replaced(root, kept, decoded, damage):
    first = ImageFolder(str(root))
    sizes = {path: path.stat().st_size for path in kept.iterdir()}
    for path in sizes:
        path.write_bytes(damage(path.read_bytes()))
    assert same(first, ImageFolder(str(root)))
    assert decoded == [NUMBER] * 2
    assert {path: path.stat().st_size for path in kept.iterdir()} == sizes


def test_nothing_is_kept_of_few_files_in_the_users_folder_or_where_it_cannot_be_written(
    root, kept, monkeypatch, tmp_path
):
    monkeypatch.setenv("SSVAE_DATA", str(root / ".cache"))
    first = ImageFolder(str(root))
    assert not (root / ".cache").exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSVAE_DATA", str(tmp_path / "file"))
    assert same(first, ImageFolder(str(root)))
    monkeypatch.setenv("SSVAE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_images, "FEWEST_FILES", NUMBER + 1)
    assert same(first, ImageFolder(str(root)))
    assert not kept.exists()


def test_files_that_change_while_they_are_decoded_are_not_kept(root, kept, monkeypatch):
    read = image_files.read_images

    def change(paths, *arguments):
        images = read(paths, *arguments)
        Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(paths[0])
        return images

    monkeypatch.setattr(decoded_images, "read_images", change)
    ImageFolder(str(root))
    assert [path.name.split("-", 1)[1] for path in kept.iterdir()] == ["headers.npy"]


def test_what_killed_processes_left_and_what_was_not_used_for_long_makes_room(root, kept, monkeypatch):
    kept.mkdir(parents=True)
    for name, age in {"old.partial": 2, "young.partial": 0.5, "a.npy": 3, "b.npy": 1}.items():
        (kept / name).write_bytes(b"0" * 2000)
        os.utime(kept / name, (time.time() - age * 24 * 60 * 60,) * 2)
    # Room for pixels (9,720 bytes and 128), headers (1,280 and 128) and one of the two old entries.
    monkeypatch.setattr(decoded_images, "MOST_BYTES", 14_000)
    ImageFolder(str(root))
    names = {path.name.split("-", 1)[-1] for path in kept.iterdir()}
    assert names == {"young.partial", "b.npy", "headers.npy", "3x9x9-None.npy"}


def test_writers_of_the_same_at_once_leave_one_whole_entry(root, kept, monkeypatch):
    paths = sorted(root.rglob("*.png"))
    expected = image_files.read_images(paths, (3, 9, 9), None)
    # All decode before the first one writes.
    together = threading.Barrier(3, timeout=30)

    def read(*_):
        together.wait()
        return expected

    monkeypatch.setattr(decoded_images, "read_images", read)
    threads = [
        threading.Thread(target=decoded_images.DecodedImages(paths, root).pixels, args=[(3, 9, 9), None])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (entry,) = kept.iterdir()
    assert np.array_equal(np.load(entry), expected.numpy())
    assert torch.equal(decoded_images.DecodedImages(paths, root).pixels((3, 9, 9), None), expected)


def test_a_long_reading_says_how_long_it_takes(root, monkeypatch, capsys):
    # Each look at the clock is four seconds later.
    monkeypatch.setattr(time_left, "TimeLeft", partial(time_left.TimeLeft, clock=count(0, 4).__next__))
    monkeypatch.setattr(image_files, "_FILES_AT_ONCE", 10)
    ImageFolder(str(root))
    lines = capsys.readouterr().err.splitlines()
    assert set(lines) == {f"reading images: about 10 seconds left (10 of {NUMBER} files)"}
    monkeypatch.setattr(time_left, "TimeLeft", partial(time_left.TimeLeft, clock=lambda: 0.0))
    ImageFolder(str(root))
    assert capsys.readouterr().err == ""


def test_the_first_file_in_order_that_cannot_be_read_is_named(root):
    for name in ("0/10.png", "1/11.png"):
        (root / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"10\.png': expected an image file; got one that cannot be read"):
        ImageFolder(str(root))


def test_a_large_photo_is_decoded_at_a_fraction_of_its_size_and_looks_the_same(tmp_path):
    height, width = np.mgrid[:480, :640]
    photo = np.stack([height / 480, width / 640, 0.5 + 0.5 * np.sin(height / 30)], -1) * 255
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photo.jpg", quality=95)
    small = image_files.read_image(tmp_path / "photo.jpg", (3, 32, 32)).double()
    with Image.open(tmp_path / "photo.jpg") as image:
        image.load()
        whole = image_files.fit_image(image, (3, 32, 32)).double()
    difference = (small - whole).abs()
    assert 0 < difference.max() <= 3
    assert difference.mean() < 0.6
    # Not three times as large at half the size: every pixel is decoded.
    with Image.open(tmp_path / "photo.jpg") as image:
        image.load()
        whole = image_files.fit_image(image, (3, 96, 96))
    assert torch.equal(image_files.read_image(tmp_path / "photo.jpg", (3, 96, 96)), whole)
