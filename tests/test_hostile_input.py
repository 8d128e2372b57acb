"""Hostile input: files, folders and requests made to break things are refused in a sentence, and touch nothing."""

import contextlib
import http.client
import io
import json
import logging
import os
import pickle
import re
import resource
import shutil
import socket
import stat
import struct
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import exploring, forked
from test_properties import BOUNDED

from ssvae.data import ImageFolder
from ssvae.data.image_files import find_images, read_image
from ssvae.data.yaml_files import read_yaml
from ssvae.inference.command_line.main import main
from ssvae.inference.explorer.uploads import read_upload
from ssvae.inference.storage.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--data.num_validation=30",
    "--data.num_test=20",
    "--batch_size=500",
    "--max_steps=2",
    "--model.prior.latent_dim=2",
    "--model.networks.hidden=[8]",
    "--model.classifier.hidden=[8]",
    "--trainer.precision=32-true",
    "--trainer.progress_bar=false",
    "--baselines=false",
]


def listing(folder):
    """What there is below a folder: names, kinds, sizes, times of change, where links lead."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        status = path.lstat()
        link = os.readlink(path) if path.is_symlink() else None
        found[os.fsencode(path)] = (stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, link)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run, which no test changes."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    # Pictures take longer than all the rest.
    with mock.patch("ssvae.inference.runs.report.write_report"):
        assert main(["fit", *SMALL, "--folder", str(folder)]) == 0
    torch.set_default_dtype(dtype)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in; what lies beside it is not to be touched."""
    (tmp_path / "secret").write_text("root:x:0:0:secret\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    torch.set_default_dtype(torch.float32)
    return tmp_path / "here"


@pytest.fixture
def run(finished, here):
    """A copy of the run, in the folder."""
    return shutil.copytree(finished, here / "run")


def sentence(capsys, *words):
    """Run a command that is refused; return its sentence, after a look that nothing was written."""
    above = Path.cwd().parent
    before = listing(above)
    capsys.readouterr()
    assert main(list(words)) in (1, 2)
    written = capsys.readouterr()
    assert written.out == ""
    assert re.fullmatch(rf"ssvae {words[0]}: \S[^\n]*\n", written.err), written.err
    assert len(written.err) < 1100
    assert "Traceback" not in written.err
    assert listing(above) == before
    return written.err


def attempt(call):
    """Return what a call returns and None, or None and the sentence that it was refused with."""
    try:
        return call(), None
    except ValueError as error:
        return None, str(error)


# YAML


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}\n" for level in range(1, 10)
)
YAMLS = {
    "aliases of aliases": (ALIASES, "expected at most 100,000 values; got more"),
    "aliases of aliases under an option": (f"{ALIASES}data: *a9\n", "expected at most 100,000 values; got more"),
    "merges of merges": (MERGES, "expected at most 100,000 values; got more"),
    "itself": ("a: &a [*a]", "expected finite values; got one that contains itself"),
    "deep": ("[" * 5000, "expected at most 100 levels of lists and mappings; got more"),
    "deep mappings": ("{a: " * 5000, "expected at most 100 levels of lists and mappings; got more"),
    "a megabyte and more": ("a" * (10**6 + 1), "expected at most 1 MB of YAML; got more"),
    "a call": ("!!python/object/apply:os.system [touch was_here]", "got 'python/object/apply:os.system'"),
    "a call inside": ("data: {x: !!python/object/new:os.system [touch was_here]}", "got 'python/object/new:os.system'"),
    "a module": ("data: !!python/module:antigravity", "got 'python/module:antigravity'"),
    "a date": ("data: 2001-01-01", "got 'timestamp'"),
    "bytes": ("data: !!binary aGVsbG8=", "got 'binary'"),
    "an integer without an end": (f"data: {'9' * 5000}", "expected a YAML file; got"),
    "no integer": ("data: !!int ''", "expected a YAML file; got"),
    "no boolean": ("data: !!bool x", "expected a YAML file; got"),
    "two documents": ("--- 1\n--- 2", "expected a YAML file; got"),
    "a list as a key": ("? [1]\n: 2", "expected a YAML file; got"),
    "UTF-16": ("data: 3".encode("utf-16"), "expected a YAML file; got"),
    "zeros": (bytes(99), "expected a YAML file; got"),
}


@pytest.mark.parametrize("reader", ["--config", "study", "run", "tree"])
@pytest.mark.parametrize(("content", "expected"), YAMLS.values(), ids=YAMLS)
def test_yaml_that_is_not_plain_is_refused(run, capsys, reader, content, expected):
    path = run / "config.yaml" if reader == "run" else Path("file.yaml")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = {
        "--config": ["fit", "--config=file.yaml"],
        "study": ["study", "file.yaml"],
        "run": ["evaluate", "run"],
        "tree": ["fit", *SMALL, "--data.tree=file.yaml"],
    }
    found = sentence(capsys, *words[reader])
    assert f": {'--data.tree' if reader == 'tree' else reader}: " in found
    # In a tree everything is text, dates and numbers too, and these are no lists of classes.
    is_text = reader == "tree" and content in (YAMLS["a date"][0], YAMLS["an integer without an end"][0])
    assert ("expected a list of classes for each main class; got" if is_text else expected) in found


@settings(BOUNDED, max_examples=200)
@given(st.binary(max_size=300) | st.text("&*a-[]{}:,!<>?|'\"%@ \n\t01#", max_size=60).map(str.encode))
def test_random_bytes_are_yaml_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_bytes(content)
    found, words = attempt(lambda: read_yaml(path, "tree"))
    assert words is None or re.fullmatch(r"tree: expected [^\n]*; got [^\n]*\.", words)
    assert isinstance(found, str | int | float | bool | list | dict | None)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(BOUNDED, max_examples=30)
@given(PLAIN)
def test_plain_values_are_read_as_they_are(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "plain.yaml"
    text = yaml.safe_dump([values, values], allow_unicode=True)  # lists and mappings by an alias the second time
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path, "tree") == yaml.safe_load(text)


def _fit_in_little_memory(config):
    """Run `ssvae fit --config=…`; raise if the most memory that this process ever had has grown by 100 MB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = main(["fit", f"--config={config}"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 100_000, "kB"
    return status


def test_a_growing_file_takes_no_memory_and_no_time(here):
    (here / "bomb.yaml").write_text(f"{ALIASES}data: *a9\n")
    reading = forked.Forked(_fit_in_little_memory, "bomb.yaml")
    out, err = reading.communicate(timeout=120)
    assert (reading.returncode, out, err.count("\n")) == (2, "", 1), err
    assert "expected at most 100,000 values" in err


@pytest.mark.parametrize("keys", ["3: 4", "objective: {3: 4}", ".nan: 1", "null: 1"])
def test_options_without_names_are_refused(here, capsys, keys):
    (here / "file.yaml").write_text(keys)
    assert "--config: expected the names of options in file.yaml; got " in sentence(capsys, "fit", "--config=file.yaml")


STUDY = {"data": {"d": {"data": "Digits"}}, "models": {"m": {"recipe": "none"}}, "labels": [100], "seeds": [0]}
NAMES = "expected names that a folder can have; got "
STUDIES = {
    "above": ({"data": {"../../../evil": {}}}, f"data: {NAMES}'../../../evil'"),
    "absolute": ({"models": {"/tmp/evil": {}}}, f"models: {NAMES}'/tmp/evil'"),
    "another system's": ({"models": {"a\\b": {}}}, f"models: {NAMES}"),
    "no name on Windows": ({"models": {"M2: few labels": {}}}, f"models: {NAMES}'M2: few labels'"),
    "an end": ({"data": {"a\0b": {}}}, f"data: {NAMES}"),
    "two lines": ({"data": {"a\nb": {}}}, f"data: {NAMES}"),
    "no numbers": ({"published": {"x": {"a": 1}}}, "published: expected accuracies"),
    "no accuracies": ({"published": {"x": {1: [1]}}}, "published: expected accuracies"),
}


@pytest.mark.parametrize(("change", "expected"), STUDIES.values(), ids=STUDIES)
def test_a_studys_runs_stay_in_its_folder(here, capsys, change, expected):
    (here / "study.yaml").write_text(yaml.safe_dump({**STUDY, **change}))
    assert expected in sentence(capsys, "study", "study.yaml")


# Names of classes, and files in their place


CALLABLES = [
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "antigravity.fly",
    "this.s",
    "pickle.loads",
    "torch.load",
]


@pytest.mark.parametrize("name", CALLABLES)
@pytest.mark.parametrize("where", ["data", "model", "model.prior", "run", "checkpoint"])
def test_nothing_but_parts_of_a_model_is_built(run, capsys, name, where):
    part = {"class_path": name, "init_args": {"command": "touch was_here", "args": ["touch", "was_here"]}}
    loaded = {module for module in ("antigravity", "this") if module in sys.modules}
    if where in ("run", "checkpoint"):
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data" if where == "run" else "model"] = part
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for path in run.rglob("*.ckpt") if where == "checkpoint" else ():
            saved = torch.load(path, weights_only=True)
            saved["ssvae"]["model"] = part
            torch.save(saved, path)
        found = sentence(capsys, "evaluate", "run")
        assert re.search("class_path: expected a (class|model)", found), found
    else:
        inner = {"class_path": "ssvae.models.M2", "init_args": {"prior": part}} if where == "model.prior" else part
        Path("file.yaml").write_text(yaml.safe_dump({where.partition(".")[0]: inner}))
        assert f"--{where}: expected " in sentence(capsys, "fit", "--config=file.yaml")
        assert f"--{where}: expected " in sentence(capsys, "fit", f"--{where}={name}")
    assert {module for module in ("antigravity", "this") if module in sys.modules} == loaded


@pytest.mark.parametrize("option", ["--data", "--model", "--model.prior", "--objective", "--trainer", "--augmentation"])
@pytest.mark.parametrize("name", ["../secret", "pipe", "/dev/zero"])
def test_a_file_in_the_place_of_options_is_not_read(here, capsys, option, name):
    os.mkfifo(here / "pipe")
    found = sentence(capsys, "fit", f"{option}={name}")
    assert f"{option}: expected a name (a file of options follows --config); got the file {name!r}" in found


@pytest.mark.parametrize("words", [["fit", "--config"], ["study"], ["evaluate"], ["fit", "--resume"], ["classify"]])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "loop", "a\0b", "x" * 300, ".."])
def test_what_is_no_file_is_not_waited_for(here, capsys, words, name):
    os.mkfifo(here / "pipe")
    (here / "loop").symlink_to("loop")
    last = words[-1]
    given = [*words[:-1], f"{last}={name}"] if last.startswith("--") else [*words, name]
    more = ["a.png"] if last == "classify" else []
    found = sentence(capsys, *given, *more)
    assert "expected a" in found or "File name too long" in found


def test_a_run_may_be_a_link_and_is_not_written_to(run, capsys):
    run.rename(run.with_name("elsewhere"))
    run.symlink_to("elsewhere")
    before = listing(".")
    assert main(["evaluate", "run", "--num_samples=2", "--num_images=2"]) == 0
    assert "q(y" in capsys.readouterr().out
    assert listing(".") == before


# Checkpoints


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_here",)


def weight(change):
    """Change one of a checkpoint's weights."""

    def spoil(saved):
        name = next(name for name in saved["state_dict"] if name.endswith("weight"))
        saved["state_dict"][name] = change(saved["state_dict"][name])

    return spoil


def story(**changes):
    return lambda saved: saved["ssvae"].update(changes)


def without(name):
    return lambda saved: (saved if name in saved else saved["ssvae"]).pop(name)


NOT_OURS, NOT_TRAINED = "expected one of this project", "expected one that training saved"
OF_ANOTHER, DAMAGED = "where names or shapes differ", "expected one to resume training from"
SPOILED = {
    "no class names": (without("class_names"), NOT_TRAINED, NOT_TRAINED),
    "no history": (without("history"), NOT_TRAINED, NOT_TRAINED),
    "no time": (without("seconds"), NOT_TRAINED, NOT_TRAINED),
    "an empty history": (story(history=[]), NOT_TRAINED, NOT_TRAINED),
    "a number for a history": (story(history=3), NOT_TRAINED, NOT_TRAINED),
    "too few class names": (story(class_names=["a"]), NOT_TRAINED, NOT_TRAINED),
    "numbers for class names": (story(class_names=[1] * 10), NOT_TRAINED, NOT_TRAINED),
    "NaN": (weight(lambda w: w * torch.nan), "expected finite weights", "expected finite weights"),
    "infinity": (weight(lambda w: w + torch.inf), "expected finite weights", "expected finite weights"),
    "a number": (weight(lambda w: 3), NOT_OURS, NOT_OURS),
    "another shape": (weight(lambda w: w[:1].clone()), OF_ANOTHER, DAMAGED),
    "complex": (weight(lambda w: w.to(torch.complex64)), NOT_OURS, NOT_OURS),
    "nowhere": (weight(lambda w: w.to("meta")), NOT_OURS, NOT_OURS),
    "one for a billion": (weight(lambda w: w[:1, :1].clone().expand(10**5, 10**5)), NOT_OURS, NOT_OURS),
    "a name that is a number": (lambda saved: saved["state_dict"].update({3: torch.ones(1)}), NOT_OURS, NOT_OURS),
    "no optimiser": (without("optimizer_states"), None, DAMAGED),
    "half an optimiser": (lambda saved: saved.update(optimizer_states=[{}]), None, DAMAGED),
    "no loops": (without("loops"), None, DAMAGED),
    "no version": (without("pytorch-lightning_version"), None, DAMAGED),
    "a number for callbacks": (lambda saved: saved.update(callbacks=3), None, DAMAGED),
}


@pytest.mark.parametrize(("spoil", "loaded", "resumed"), SPOILED.values(), ids=SPOILED)
def test_a_checkpoint_that_is_not_as_training_saved_it_is_refused(run, capsys, spoil, loaded, resumed):
    last = run / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    spoil(saved)
    torch.save(saved, last)
    if loaded is None:  # all that is looked at is there
        assert main(["evaluate", "run", "--num_samples=2", "--num_images=2"]) == 0
        capsys.readouterr()
    else:
        assert loaded in sentence(capsys, "evaluate", "run")
    # Lightning opens its log of events, and the run is announced, before it reads a checkpoint.
    assert main(["fit", "--resume=run"]) == 2
    written = capsys.readouterr().err
    assert resumed in written
    assert written.count("\n") == 1


def test_the_initial_weights_are_no_result(run, capsys):
    shutil.copy(run / "checkpoints" / "initial.ckpt", run / "checkpoints" / "last.ckpt")
    assert NOT_TRAINED in sentence(capsys, "evaluate", "run")


@pytest.mark.parametrize("name", ["model.event_shape", "networks.hidden", "prior.latent_dim"])
def test_sizes_for_which_there_is_no_room_are_refused(run, capsys, name):
    part, _, argument = name.partition(".")
    sizes = {"event_shape": [1, 10**7, 10**7], "hidden": [10**13], "latent_dim": 10**14}
    for path in run.rglob("*.ckpt"):
        saved = torch.load(path, weights_only=True)
        described = saved["ssvae"]["model"]
        inner = described if part == "model" else described["init_args"][part]
        inner["init_args"][argument] = sizes[argument]
        torch.save(saved, path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    of_data = ("event_shape", "num_classes")
    init_args = {name: value for name, value in described["init_args"].items() if name not in of_data}
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "model": {**described, "init_args": init_args}}))
    assert "memory: expected enough" in sentence(capsys, "evaluate", "run")


@settings(BOUNDED, max_examples=150)
@given(st.data())
def test_a_checkpoint_with_changed_bytes_is_read_or_refused(tmp_path_factory, finished, data):
    content = bytearray((finished / "checkpoints" / "last.ckpt").read_bytes())
    whole = len(content)
    for _ in range(data.draw(st.integers(1, 5))):
        # The pickle, at the start, and the zip file's directory, at the end, are where it hurts.
        near = data.draw(st.integers(0, 3000))
        place = near if data.draw(st.booleans()) else whole - 1 - near
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.ckpt"
    path.write_bytes(content[: data.draw(st.sampled_from([whole, whole, whole - 1, whole // 2]))])
    found, words = attempt(lambda: read_checkpoint(path))
    if found is None:
        assert re.fullmatch(r"checkpoint: expected [^\n]*\.", words)
    else:
        assert found["ssvae"]["model"]["class_path"]


def test_a_pickle_runs_nowhere(run, capsys):
    config = run / "config.yaml"
    images = [Path("a.png"), Path("b.jpg")]
    for path in (config, *run.rglob("*.ckpt"), *images):
        path.write_bytes(pickle.dumps(Malicious(), protocol=0))
    for words in (["evaluate", "run"], ["fit", "--resume=run"], ["fit", "--config=run/config.yaml"]):
        sentence(capsys, *words)
    for path in images:
        with pytest.raises(ValueError, match="expected an image file; got one that cannot be read"):
            read_image(path, (1, 8, 8))
    assert not Path("was_here").exists()
    with contextlib.suppress(pickle.UnpicklingError):
        pickle.loads(images[0].read_bytes())
    assert Path("was_here").exists(), "the test's pickle is to be malicious"


# Folders of images


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pictures(here):
    """Two classes of three images, and an image and a folder beside them."""
    for number in range(6):
        picture(here / "pictures" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    picture(here / "beside" / "private.png", 9)
    return here / "pictures"


def read(root, **options):
    return ImageFolder(str(root), validation_fraction=0, test_fraction=0, **options)


LINKS = {
    "an image elsewhere": ("cat/9.png", "../../beside/private.png"),
    "a folder elsewhere": ("bird", "../beside"),
    "an image of the folder": ("cat/9.png", "0.png"),
    "a class of the folder": ("bird", "cat"),
    "the folder": ("cat/inside", None),
}


@pytest.mark.parametrize(("name", "target"), LINKS.values(), ids=LINKS)
def test_no_link_in_a_folder_is_followed(pictures, name, target):
    (pictures / name).symlink_to(pictures if target is None else target)
    if target is None:  # a loop: folders in a class's folder are passed over
        assert len(read(pictures).train_images) == 6
        return
    with pytest.raises(
        ValueError, match=rf"^root: expected files and folders themselves; got .*{name}', which is a sym"
    ):
        read(pictures)


@pytest.mark.parametrize("target", ["nowhere", "9.png", "/dev/zero", "../../pipe"])
def test_pipes_devices_and_links_to_nothing_are_passed_over(pictures, here, target):
    os.mkfifo(here / "pipe")
    os.mkfifo(pictures / "dog" / "pipe.png")
    (pictures / "cat" / "9.png").symlink_to(target)
    assert len(read(pictures).train_images) == 6
    assert len(find_images(pictures / "cat")) == 3


def test_a_folder_may_itself_be_a_link(pictures, here):
    (here / "link").symlink_to("pictures")
    assert torch.equal(read(here / "link").train_images, read(pictures).train_images)


def test_no_link_is_classified(finished, pictures, capsys):
    (pictures / "cat" / "9.png").symlink_to("../../beside/private.png")
    assert "path: expected files and folders themselves" in sentence(capsys, "classify", str(finished), "pictures/cat")


ROWS = {
    "above": ("../beside/private.png,cat", "files in .* alone; got '../beside/private.png' in line 2"),
    "above and back": ("cat/../../pictures/cat/0.png,cat", "each file once; got .* again in line 2"),
    "the same": ("cat/../cat/0.png,dog", "each file once; got 'cat/../cat/0.png' again in line 2"),
    "absolute": ("/dev/zero,cat", "files in .* alone; got '/dev/zero' in line 2"),
    "a link": ("cat/link.png,cat", "files and folders themselves; got .*link.png'"),
    "in a link": ("link/private.png,cat", "files and folders themselves; got .*link'"),
    "a pipe": ("pipe.png,cat", "a file in .* in line 2; got 'pipe.png'"),
    "an end": ("a\0b.png,cat", "a file in .* in line 2; got"),
}


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_no_file_outside_of_the_folder_is_read_by_a_table(pictures, here, row, expected):
    (pictures / "cat" / "link.png").symlink_to("../../beside/private.png")
    (pictures / "link").symlink_to("../beside")
    os.mkfifo(pictures / "pipe.png")
    (here / "labels.csv").write_text(f"cat/0.png,cat\n{row}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=f"^csv: expected {expected}"):
        read(pictures, csv="labels.csv")


@pytest.mark.parametrize("name", [b"a\nb", b"\xff\xfe", b"a\x1b[31mb", "a\u202eb".encode()])
def test_names_of_classes_are_printable(pictures, name):
    picture(pictures / os.fsdecode(name) / "0.png")
    with pytest.raises(ValueError, match=r"^class_names: expected printable text in UTF-8; got "):
        read(pictures)


def test_names_that_are_not_utf_8_keep_their_bytes(finished, here, capfdbinary, monkeypatch):
    name = os.fsdecode(b"\xff\xfe, \n.png")
    picture(here / name)
    # As Python's UTF-8 mode opens it.
    with open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["classify", str(finished), name]) == 0
    written = capfdbinary.readouterr()
    assert written.err == b""
    assert written.out.splitlines()[1].startswith(b'"\xff\xfe, ')


def postscript():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(was_here) (w) file\n%%EOF\n"


def archive(kind):
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("../../evil.png", bytes(10**6))
    else:
        with tarfile.open(fileobj=content, mode="w:gz") as opened:
            entry = tarfile.TarInfo("../../evil.png")
            entry.size = 10**6
            opened.addfile(entry, io.BytesIO(bytes(10**6)))
    return content.getvalue()


def encoded(kind, **options):
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def enormous_gif():
    return b"GIF89a" + struct.pack("<HH", 65535, 65535) + encoded("GIF")[10:]


def enormous_bmp():
    content = bytearray(encoded("BMP"))
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(content)


FILES = {
    "PostScript": (postscript, "cannot be read"),
    "a zip file": (lambda: archive("zip"), "cannot be read"),
    "a tar file": (lambda: archive("tar"), "cannot be read"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "cannot be"),
    "PDF": (lambda: encoded("PDF"), "cannot be read"),
    "an icon": (lambda: encoded("ICO"), "cannot be read"),
    "a large GIF": (enormous_gif, "at most [0-9]+ pixels; got a larger one"),
    "a large BMP": (enormous_bmp, "at most [0-9]+ pixels; got a larger one"),
    "half a PNG": (lambda: encoded("PNG")[:500], "cannot be read"),
    "half a JPEG": (lambda: encoded("JPEG")[:400], "cannot be read"),
    "half a TIFF": (lambda: encoded("TIFF")[:600], "cannot be read"),
    "half a WebP": (lambda: encoded("WEBP")[:100], "cannot be read"),
    "nothing": (lambda: b"", "cannot be read"),
}


@pytest.mark.parametrize(("content", "expected"), FILES.values(), ids=FILES)
def test_what_is_called_an_image_and_is_none_is_refused(pictures, here, monkeypatch, content, expected):
    # Of PostScript, Pillow asks a program of this name for pixels.
    (here / "gs").write_text(f"#!/bin/sh\ntouch {here}/was_here\nexit 1\n")
    (here / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    (pictures / "cat" / "9.png").write_bytes(content())
    before = listing(here.parent)
    with pytest.raises(ValueError, match=f"9.png': expected an image .*{expected}"):
        ImageFolder(str(pictures), size=8)
    with pytest.raises(ValueError, match=f"9.png': expected an image .*{expected}"):
        read_image(pictures / "cat" / "9.png", (1, 8, 8))
    assert listing(here.parent) == before


WHOLE = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")}


@settings(BOUNDED, max_examples=300)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_damaged_image_is_read_or_refused(tmp_path_factory, kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 120)))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content)
    for call in (lambda: read_image(path, (1, 8, 8)), lambda: read_upload(content, (1, 8, 8))):
        found, words = attempt(call)
        if found is None:
            assert re.fullmatch(r"[^\n]*: expected [^\n]*[,;] got [^\n]*\.", words)
        else:
            assert (found.dtype, found.shape) == (torch.uint8, (1, 8, 8))


# The explorer


class Complaints(logging.Handler):
    """What the server writes on its terminal beside warnings."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        self.found.append(self.format(record))


@pytest.fixture(scope="module")
def server():
    """A served run: its address, and what the server complains of."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    complaints = Complaints()
    logging.getLogger("uvicorn.error").addHandler(complaints)
    with exploring.serving([exploring.untrained()]) as (url, _):
        host, _, port = url.removeprefix("http://").partition(":")
        yield (host, int(port)), complaints
    logging.getLogger("uvicorn.error").removeHandler(complaints)
    torch.set_default_dtype(dtype)


@pytest.fixture(autouse=True)
def _no_complaints(request):
    """Whatever is asked: no traceback, and nothing written beside the page."""
    if "server" not in request.fixturenames:
        yield
        return
    _, complaints = request.getfixturevalue("server")
    before = listing(ROOT / "inference" / "explorer" / "page")
    yield
    assert complaints.found == []
    assert listing(ROOT / "inference" / "explorer" / "page") == before


def talk(address, content, *, half=False):
    """Send bytes as they are; return the status and what was said, or None where there was no answer."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(content)
        if half:
            connection.shutdown(socket.SHUT_WR)
        with contextlib.closing(http.client.HTTPResponse(connection)) as answer:
            try:
                answer.begin()
                return answer.status, answer.read()
            except (http.client.BadStatusLine, ConnectionError):
                return None


def asked(address, path, *, method="GET", body=b"", **headers):
    """Return a request's bytes; headers may be overridden."""
    fields = {"Host": f"{address[0]}:{address[1]}", "Connection": "close"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        f"{method} ".encode() + path + b" HTTP/1.1",
        *(f"{name}: {value}".encode() for name, value in fields.items()),
    ]
    return b"\r\n".join([*lines, b"", body])


PATHS = [
    b"/../../../../etc/passwd",
    b"/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    b"/..%2f..%2f..%2fetc%2fpasswd",
    b"/..%5c..%5cserver.py",
    b"//etc/passwd",
    b"/%2fetc/passwd",
    b"/explorer.js%00.png",
    b"/%00",
    b"/%ff%fe",
    b"/" + b"a" * 5000,
    b"/" + b"a/" * 5000,
    b"/api/runs/%00/map",
    b"/api/runs/..%2f0/map",
    b"/api/runs/99999999999999999999999/map",
    b"http://elsewhere.example/etc/passwd",
    b"*",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30].decode())
def test_no_path_leads_out_of_the_page(server, path):
    status, content = talk(server[0], asked(server[0], path))
    assert status == 404
    assert set(json.loads(content)) == {"error"}
    assert b"root:" not in content


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FETCH"])
@pytest.mark.parametrize("path", [b"/", b"/explorer.js", b"/api/runs", b"/api/runs/0/drawing"])
def test_no_other_method_is_answered(server, method, path):
    status, content = talk(server[0], asked(server[0], path, method=method))
    assert (status, json.loads(content)) == (405, {"error": "Method Not Allowed"})


@pytest.mark.parametrize("host", ["attacker.example", "localhost.attacker.example", "127.0.0.1@attacker.example", ""])
def test_no_other_name_is_answered_to(server, host):
    # A name that an attacker owns can be pointed to this machine.
    assert talk(server[0], asked(server[0], b"/api/runs", Host=host)) == (400, b"Invalid host header")


IMAGE = b"/api/runs/0/image?invert=false"
LENGTHS = {
    "negative": ({"Content_Length": "-5"}, 400),
    "no number": ({"Content_Length": "many"}, 400),
    "of 40 digits": ({"Content_Length": "9" * 40}, 400),
    "two": ({"Content_Length": "3\r\nContent-Length: 4"}, 400),
    "no chunks": ({"Transfer_Encoding": "chunked"}, 400),
}


@pytest.mark.parametrize(("headers", "status"), LENGTHS.values(), ids=LENGTHS)
def test_a_wrong_length_is_refused(server, headers, status):
    request = asked(server[0], IMAGE, method="POST", Content_Type="application/octet-stream", **headers) + b"xyz\r\n"
    assert talk(server[0], request)[0] == status


def test_who_hangs_up_leaves_no_trace(server):
    address, _ = server
    request = (
        asked(address, IMAGE, method="POST", Content_Type="application/octet-stream", Content_Length="100") + b"abc"
    )
    assert talk(address, request, half=True) in (None, (400, mock.ANY))
    for length in (10, len(request)):
        with socket.create_connection(address) as connection:
            connection.sendall(request[:length])
    assert talk(address, asked(address, b"/api/runs"))[0] == 200


def test_who_waits_keeps_nobody_waiting(server):
    address, _ = server
    with contextlib.ExitStack() as open_connections:
        for _ in range(20):
            connection = open_connections.enter_context(socket.create_connection(address))
            connection.sendall(b"POST /api/runs/0/drawing HTTP/1.1\r\nHost: ")
        assert talk(address, asked(address, b"/api/runs"))[0] == 200


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 8, b"\x16\x03\x01\x02\x00\x01" * 99, b"GET\r\n\r\n", b"\n" * 999]
)
def test_what_is_no_http_is_refused(server, content):
    answer = talk(server[0], content + b"\r\n\r\n", half=True)
    assert answer is None or answer[0] == 400


STROKES = 'strokes: expected {"strokes": [[[x, y], …], …]} in JSON; got another text.'
COORDINATES = "strokes: expected coordinates from 0 to 1; got others."
DRAWINGS = [
    (b'{"strokes": [[[%s, 0.5]]]}' % (b"9" * 400), COORDINATES),
    (b'{"strokes": [[[%s, 0.5]]]}' % (b"9" * 5000), STROKES),
    (b'{"strokes": [[[1e400, 0.5]]]}', COORDINATES),
    (b'{"strokes": [[[-Infinity, 0.5]]]}', COORDINATES),
    (b'{"strokes": [[[true, false]]]}', STROKES),
    (b'{"strokes": [[["0", "1"]]]}', STROKES),
    (b'{"strokes": [["01", "10"]]}', STROKES),
    (b'{"strokes": [{"01": 2}]}', STROKES),
    (b'{"strokes": {"a": [[0, 1]]}}', STROKES),
    (b'{"strokes": "ab"}', STROKES),
    (b'{"strokes": [[[null, 1]]]}', STROKES),
    (b'{"strokes": [[[0, 1, 0]]]}', STROKES),
    (b'{"strokes": null}', STROKES),
    (b"\xff\xfe{}", STROKES),
    (b'{"a":' * 50_000, STROKES),
    (b'{"strokes": [[' + b"[0, 1], " * 20_000 + b"[0, 1]]]}", "strokes: expected at most 20000 points; got 20001."),
]


@pytest.mark.parametrize(("body", "expected"), DRAWINGS, ids=lambda value: str(value)[:30])
def test_a_drawing_of_other_types_is_refused(server, body, expected):
    status, content = talk(server[0], asked(server[0], b"/api/runs/0/drawing", method="POST", body=body))
    assert (status, json.loads(content)) == (400, {"error": expected})


@settings(BOUNDED, max_examples=60)
@given(
    st.binary(max_size=200)
    | PLAIN.map(lambda value: json.dumps({"strokes": value}).encode())
    | st.lists(st.lists(st.lists(st.floats() | st.integers(), min_size=1, max_size=3), max_size=3), max_size=3).map(
        lambda value: json.dumps({"strokes": value}).encode()
    )
)
def test_any_drawing_is_answered_or_refused(server, body):
    status, content = talk(server[0], asked(server[0], b"/api/runs/0/drawing", method="POST", body=body or b" "))
    found = json.loads(content)
    assert (status, set(found)) == (400, {"error"}) or (
        status == 200 and sum(found["probabilities"]) == pytest.approx(1)
    )


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_no_upload(server, kind):
    request = asked(server[0], IMAGE, method="POST", body=archive(kind), Content_Type="application/octet-stream")
    status, content = talk(server[0], request)
    assert (status, json.loads(content)["error"]) == (
        400,
        "file: expected a PNG or JPEG image; got a file that is neither.",
    )


def test_many_large_uploads_leave_no_thread_and_no_memory(server):
    address, _ = server
    threads = threading.active_count()
    body = bytes(6 * 10**6)
    for _ in range(5):
        request = asked(address, IMAGE, method="POST", body=body, Content_Type="application/octet-stream")
        with socket.create_connection(address, timeout=20) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(request)
            with contextlib.closing(http.client.HTTPResponse(connection)) as answer:
                answer.begin()
                assert answer.status == 413
    assert threading.active_count() == threads
    assert talk(address, asked(address, b"/api/runs"))[0] == 200
