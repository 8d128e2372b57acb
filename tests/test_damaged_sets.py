"""The files of MNIST and small NORB with bytes changed, cut off or added: read as images, or refused in a sentence."""

import gzip
import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_norb import BYTE, INTEGER, TESTING, TRAINING, _matrix
from test_data_torchvision_sets import write_idx
from test_hostile_input import attempt
from test_properties import BOUNDED

from ssvae.data import MNIST, SmallNORB

CLASSES = {"mnist": 10, "norb": 5, "norb, compressed": 5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Undamaged files of forty images and twenty, and what reads them."""
    folder = tmp_path_factory.mktemp("sets")
    generator = np.random.default_rng(0)
    for part, number in {"train": 40, "t10k": 20}.items():
        images = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        write_idx(folder / "mnist" / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(
            folder / "mnist" / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.arange(number, dtype=np.uint8) % 10
        )
    for name in ("norb", "norb, compressed"):
        (folder / name).mkdir()
        for part, number in {TRAINING: 40, TESTING: 20}.items():
            images = generator.integers(0, 256, (number, 2, 8, 8), dtype=np.uint8)
            matrices = {"dat": _matrix(images, BYTE), "cat": _matrix(np.arange(number) % 5, INTEGER)}
            for content, matrix in matrices.items():
                if name == "norb":
                    (folder / name / f"{part}-{content}.mat").write_bytes(matrix)
                else:
                    (folder / name / f"{part}-{content}.mat.gz").write_bytes(gzip.compress(matrix))
    return folder


def read(name, root):
    options = {"num_validation": 5, "root": str(root)}
    return MNIST(10, download=False, **options) if name == "mnist" else SmallNORB(10, size=8, **options)


@pytest.mark.parametrize("name", CLASSES)
def test_undamaged_files_are_read(folders, name):
    data = read(name, folders / name)
    assert (len(data.train_images), len(data.validation_images), len(data.test_images)) == (35, 5, 20)


@settings(BOUNDED, max_examples=200)
@given(st.data())
@pytest.mark.parametrize("name", CLASSES)
def test_a_damaged_file_is_read_or_refused(folders, name, data):
    path = data.draw(st.sampled_from(sorted(file for file in (folders / name).rglob("*") if file.is_file())))
    whole = path.read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        # The head is where it hurts.
        content[data.draw(st.integers(0, min(40, len(whole)) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, None, 0, 3, 10, len(whole) // 2, -1]))
    path.write_bytes(content[:cut] + data.draw(st.binary(max_size=20)))
    found, words = attempt(lambda: read(name, folders / name))
    path.write_bytes(whole)
    if found is None:
        assert re.fullmatch(r"root: expected [^\n]*\S", words)
    else:
        assert (found.train_images.dtype, found.test_images.dtype) == (torch.uint8, torch.uint8)
        assert 0 <= int(found.test_labels.min()) <= int(found.test_labels.max()) < CLASSES[name]


def test_a_compressed_file_takes_no_more_memory_than_small_norb(folders, monkeypatch):
    monkeypatch.setattr("ssvae.data.norb._LARGEST_FILE", 10**6)
    path = folders / "norb, compressed" / f"{TRAINING}-dat.mat.gz"
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(bytes(10**8)))
    tracemalloc.start()
    found, words = attempt(lambda: read("norb, compressed", path.parent))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    path.write_bytes(whole)
    assert found is None
    assert words.startswith("root: expected an undamaged file of small NORB; got ")
    assert peak < 10**7
