"""A run: what its folder holds, that it comes back, goes on and is never overwritten, and what is refused."""

import errno
import json
import math
import os
import random
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from matplotlib import pyplot
from safetensors import safe_open
from safetensors.torch import load_file
from support import tiny

import ssvae.inference.runs.runs
from ssvae.data import Arrays, Digits
from ssvae.inference import Objective, Recipe, figures, fit, load, resume
from ssvae.inference.runs import baseline_objectives
from ssvae.inference.runs.captions import CAPTIONS
from ssvae.inference.runs.report import verdict
from ssvae.inference.runs.runs import report_images
from ssvae.inference.storage.checkpoints import FORMAT, METADATA, read_checkpoint
from ssvae.inference.storage.weights import save_weights
from ssvae.inference.training import train
from ssvae.models import M2
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

pytestmark = pytest.mark.slow

SENTENCE_OF_INTERRUPTION = r"interrupted; ssvae fit --resume .*run continues from the last saved epoch\."


def digits(**options):
    return Digits(20, num_validation=30, num_test=20, **options)


def m2(**options):
    torch.manual_seed(0)
    return M2((1, 8, 8), 10, prior=StandardNormal(2), networks=MLP((6,), dropout=0.1, batch_norm=True), **options)


def options(**changed):
    """A recipe of six steps on the digits."""
    recipe = {"max_epochs": 3, "batch_size": 700, "objective": tiny.everything().objective}
    everything = tiny.everything()
    return Recipe(**{**recipe, "augmentation": everything.augmentation, "trainer": everything.trainer, **changed})


@pytest.mark.parametrize(
    ("shape", "num_classes", "num_test", "expected"),
    [
        ((1, 28, 28), 10, 1200, 1000),
        ((1, 32, 32), 10, 1200, 1000),
        ((1, 32, 32), 11, 120, 100),
        ((3, 32, 32), 10, 120, 100),
        ((3, 64, 64), 2, 90, 90),
        ((3, 40, 40), 10, 120, 64),
        ((3, 64, 64), 10, 120, 50),
    ],
)
def test_the_report_samples_fewer_images_if_they_are_large(shape, num_classes, num_test, expected):
    images = torch.arange(256).to(torch.uint8).repeat(math.ceil(math.prod(shape) / 256))[: math.prod(shape)]
    train, test = (images.view(shape).expand(number, *shape) for number in (num_classes, num_test))
    data = Arrays(
        train,
        torch.arange(num_classes),
        test_images=test,
        test_labels=torch.arange(num_test) % num_classes,
        class_names=[f"class {k}" for k in range(num_classes)],
    )
    assert report_images(data) == expected


def test_a_report_of_some_images_names_the_command_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.runs.REPORT_IMAGES", 7)
    monkeypatch.setattr("ssvae.inference.runs.report.save_pictures", lambda *arguments, **options: [])
    run = fit(m2(), digits(), options(max_epochs=1), folder=str(tmp_path / "run"), baselines=False)
    assert run.evaluation.num_likelihood_images == 7
    lines = (run.folder / "report.md").read_text().split("\n")
    assert "- ELBO and samples: of 7 images; `ssvae evaluate` takes all 20" in lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with its baselines, and its folder, which no test changes."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = fit(m2(), digits(), options(), folder=str(folder))
    torch.set_default_dtype(dtype)
    return run


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run's folder."""
    return shutil.copytree(finished.folder, tmp_path / "run")


@pytest.fixture
def without_report(monkeypatch):
    """Pictures take seconds: leave them out."""
    monkeypatch.setattr("ssvae.inference.runs.report.write_report", lambda run: None)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is left of a run


def test_a_run_leaves_a_folder(finished):
    folder = finished.folder
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "metrics.csv", "checkpoints", "model.safetensors", "tensorboard", "baselines", "figures",
        "report.md", "evaluation.json",
    }  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"initial.ckpt", "last.ckpt", "best.ckpt"}
    assert all(path.name.startswith("events.") for path in (folder / "tensorboard").iterdir())
    for name in ("supervised", "consistency_alone"):
        assert {"metrics.csv", "checkpoints"} <= {path.name for path in (folder / "baselines" / name).iterdir()}
    report = (folder / "report.md").read_text()
    warned = "".join(f"> **Warning.** {sentence}\n\n" for sentence in finished.problems)
    assert report.startswith(f"# run\n\n**{verdict(finished)}**\n\n{warned}## Result\n\n| classifier |")
    pictures = re.findall(r"!\[.*\]\((.*)\)", report)
    assert {path.name for path in (folder / "figures").iterdir()} == {os.path.basename(name) for name in pictures}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    captions = dict(re.findall(r"!\[(\w+)\]\(.*\)\n\n\*(.*Check .*)\*(?:\n|$)", report))
    assert captions == {Path(name).stem: CAPTIONS[Path(name).stem] for name in pictures}
    assert pyplot.get_fignums() == []  # a notebook would show them, once more
    assert f"{finished.evaluation.classifier.accuracy:.2%}" in report
    assert "alpha = 1 N = 1,747" in report
    assert "validation: 30 labels, for monitoring only" in report
    numbers = json.loads((folder / "evaluation.json").read_text())
    assert numbers["classifier"]["accuracy"] == finished.evaluation.classifier.accuracy
    assert numbers["baselines"]["supervised"]["accuracy"] == finished.baselines["supervised"].accuracy
    for name, comparison in numbers["comparisons"].items():
        accuracies = finished.evaluation.classifier.accuracy, finished.baselines[name].accuracy
        assert comparison["difference"] == pytest.approx(accuracies[0] - accuracies[1], abs=1e-12)
        assert comparison["num_images"] == len(finished.data.test_images)
    assert numbers["comparisons"].keys() == {"supervised", "consistency alone"}
    assert finished.seconds.keys() == {"model", "supervised", "consistency alone"}


def test_the_weights_alone_are_a_file_that_other_programs_read(finished):
    path = finished.folder / "model.safetensors"
    torch.manual_seed(1)
    fresh = M2((1, 8, 8), 10, prior=StandardNormal(2), networks=MLP((6,), dropout=0.1, batch_norm=True)).eval()
    x = finished.data.preprocess(finished.data.test_images)
    assert not torch.equal(fresh.classify(x).logits, finished.model.classify(x).logits)
    fresh.load_state_dict(load_file(path))
    assert torch.equal(fresh.classify(x).logits, finished.model.classify(x).logits)
    with safe_open(path, "pt") as opened:
        said = opened.metadata()
    assert json.loads(said["class_names"]) == list(finished.class_names)
    assert said["class_path"] == "ssvae.models.m2.M2"


def test_weights_that_share_memory_are_saved_and_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    model, path = m2(), tmp_path / "model.safetensors"
    model.again = model.y_encoder  # the same tensors under two names
    save_weights(model, ("a",), path)
    tiny.assert_same_tensors(load_file(path), dict(model.state_dict()))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_weights(m2(), ("a",), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_baselines_are_the_same_classifier_trained_without_the_generative_terms(finished, tmp_path):
    for name, objective in baseline_objectives(options().objective).items():
        baseline = m2()
        train(baseline, digits(), options(objective=objective), tmp_path / name)
        saved = read_checkpoint(finished.folder / "baselines" / name.replace(" ", "_") / "checkpoints" / "last.ckpt")
        state = ssvae.inference.runs.runs._state(saved["state_dict"])
        tiny.assert_same_tensors(state, baseline.state_dict())
        start = m2().state_dict()
        untouched = [key for key in start if not key.startswith("y_encoder")]
        tiny.assert_same_tensors({key: state[key] for key in untouched}, {key: start[key] for key in untouched})


def test_which_baselines_there_are():
    consistent, generative = tiny.everything().objective, Objective(alpha=0)
    found = baseline_objectives(consistent)
    assert {name: (each.generative, each.consistency is None) for name, each in found.items()} == {
        "supervised": (False, True),
        "consistency alone": (False, False),
    }
    assert {each.alpha for each in found.values()} == {consistent.alpha}
    assert baseline_objectives(generative).keys() == {"supervised"}
    assert baseline_objectives(generative)["supervised"].alpha == 0.1  # a classifier trained on nothing is none
    assert baseline_objectives(Objective(generative=False)) == {}


@pytest.mark.usefixtures("without_pictures")
def test_where_all_is_labelled_there_is_no_baseline_of_consistency_alone(tmp_path):
    recipe = replace(tiny.everything(), max_epochs=1)
    run = fit(tiny.m2(), tiny.arrays(num_labels=None), recipe, folder=str(tmp_path / "run"))
    assert run.data.num_unlabelled == 0
    assert set(run.baselines) == {"supervised"}


def test_a_loaded_model_predicts_identically(finished):
    before = torch.get_rng_state()
    run = load(str(finished.folder))
    x = run.data.preprocess(run.data.test_images)
    assert torch.equal(run.model.classify(x).logits, finished.model.classify(x).logits)
    assert run.class_names == finished.class_names
    assert run.history == finished.history
    assert run.recipe == finished.recipe
    assert not run.model.training
    assert torch.equal(torch.get_rng_state(), before)
    without_data = load(str(finished.folder), with_data=False)
    assert without_data.data is None
    tiny.assert_same_tensors(without_data.model.state_dict(), run.model.state_dict())


def test_the_best_epoch_can_be_loaded(finished):
    accuracies = [row["validation_accuracy"] for row in finished.history]
    assert len(load(str(finished.folder), checkpoint="best").history) == 1 + accuracies.index(max(accuracies))


@pytest.mark.parametrize("num_labels", [0, 6])
def test_without_labels_all_classes_are_new_and_the_report_says_so(tmp_path, monkeypatch, num_labels):
    names, class_samples = [], figures.class_samples

    def drawn(model, num_samples, class_names):
        names.append(class_names)
        return class_samples(model, num_samples, class_names)

    monkeypatch.setattr(figures, "class_samples", drawn)
    data = tiny.arrays(num_labels=num_labels, class_names=["shirt", "boot", "bag"])
    fit(tiny.m2(), data, tiny.recipe(max_epochs=1, batch_size=9), folder=str(tmp_path / "run"), baselines=False)
    report = (tmp_path / "run" / "report.md").read_text()
    assert ("No class has a label: " in report) == (num_labels == 0)
    assert names == [("new 1", "new 2", "new 3") if num_labels == 0 else ("shirt", "boot", "bag")]


def test_without_test_images_there_is_no_result(tmp_path, capsys):
    data = tiny.arrays(num_test=0)
    run = fit(tiny.m2(), data, tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"))
    assert run.evaluation is None
    assert run.baselines == {}
    report = (tmp_path / "run" / "report.md").read_text()
    assert "no test images" in report
    assert "## Evaluation" not in report
    assert not (tmp_path / "run" / "evaluation.json").exists()


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("num_labels", [0, None])
def test_data_of_one_kind_only_are_trained_on(tmp_path, num_labels):
    data = tiny.arrays(num_labels=num_labels)
    run = fit(tiny.m2(), data, tiny.recipe(max_epochs=1, batch_size=9), folder=str(tmp_path / "run"))
    kinds = {name.split("/")[0] for name in run.history[-1] if "/" in name}
    assert kinds == ({"unlabelled"} if num_labels == 0 else {"labelled"})
    assert run.baselines.keys() == (set() if num_labels == 0 else {"supervised"})


@pytest.mark.usefixtures("without_report")
def test_no_random_state_is_touched(tmp_path):
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    model, data = tiny.m2(dropout=0.5), tiny.arrays(binarise=True)
    before = states()
    fit(model, data, tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"))
    assert states() == before


@pytest.mark.usefixtures("without_report")
def test_a_folder_is_named_after_time_data_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [fit(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=1), baselines=False) for _ in range(2)]
    names = [run.folder.as_posix() for run in runs]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"runs/\d{8}-\d{6}-Arrays-M2(-\d{6})?", name) for name in names)


# Going on


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("where", ["before an epoch was saved", "in the model", "in a baseline", "in the evaluation"])
def test_an_interrupted_run_goes_on(finished, tmp_path, monkeypatch, where):
    left = {"before an epoch was saved": 1, "in the model": 3, "in a baseline": 9, "in the evaluation": None}[where]

    class Interrupted(Objective):
        """J, until Ctrl-C."""

        steps = 0

        def __call__(self, *arguments):
            Interrupted.steps += 1
            if Interrupted.steps == left:
                raise KeyboardInterrupt
            return super().__call__(*arguments)

    objective = options().objective
    interrupted = Interrupted(**vars(objective))
    with monkeypatch.context() as patch:
        if left is None:
            patch.setattr(
                "ssvae.inference.runs.runs.evaluate", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
            )
        with pytest.raises(KeyboardInterrupt, match=SENTENCE_OF_INTERRUPTION):
            fit(m2(), digits(), options(objective=interrupted), folder=str(tmp_path / "run"))
    run = resume(str(tmp_path / "run"))
    tiny.assert_same_tensors(run.model.state_dict(), finished.model.state_dict())
    assert run.evaluation.to_dict() == finished.evaluation.to_dict()
    assert run.baselines == finished.baselines
    for path in finished.folder.rglob("last.ckpt"):
        again = read_checkpoint(tmp_path / "run" / path.relative_to(finished.folder))
        tiny.assert_same_tensors(again["state_dict"], read_checkpoint(path)["state_dict"])


@pytest.mark.usefixtures("without_report")
def test_a_finished_run_can_be_resumed_to_no_effect(folder, finished):
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    run = resume(str(folder))
    tiny.assert_same_tensors(run.model.state_dict(), finished.model.state_dict())
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before


def test_a_run_that_was_killed_before_its_first_weights_cannot_be_resumed_and_nothing_says_it_can(folder):
    (folder / "checkpoints" / "initial.ckpt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"run, which was stopped before its first weights were saved\. Remove it"
    ):
        resume(str(folder))
    with pytest.raises(FileExistsError, match=r"run, which is never overwritten\.$"):
        fit(m2(), digits(), options(), folder=str(folder))


def interrupted_on_arrays(folder, monkeypatch):
    """Train on `tiny.arrays()`, three epochs, until the evaluation, where a user stops it."""
    with monkeypatch.context() as patch:
        patch.setattr("ssvae.inference.runs.runs.evaluate", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(
            KeyboardInterrupt, match=r"interrupted; ssvae\.inference\.resume\('.*run', data\) continues from"
        ):
            fit(tiny.m2(), tiny.arrays(), folder=folder, recipe=tiny.recipe())


@pytest.mark.usefixtures("without_report")
def test_a_run_on_arrays_goes_on_with_the_same_arrays(tmp_path, monkeypatch):
    finished = fit(tiny.m2(), tiny.arrays(), folder=str(tmp_path / "finished"), recipe=tiny.recipe())
    folder = str(tmp_path / "run")
    interrupted_on_arrays(folder, monkeypatch)
    run = resume(folder, tiny.arrays())
    tiny.assert_same_tensors(run.model.state_dict(), finished.model.state_dict())
    assert run.evaluation.to_dict() == finished.evaluation.to_dict()
    with pytest.raises(FileExistsError, match=r"ssvae\.inference\.resume\('.*run', data\) continues it"):
        fit(tiny.m2(), tiny.arrays(), folder=folder, recipe=tiny.recipe())


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"num_labels": 3},
        {"num_validation": 0},
        {"num_test": 11},
        {"binarise": True},
        {"class_names": ["a", "b", "c"]},
        {"candidates": torch.eye(3, dtype=torch.bool)[torch.arange(40) % 3]},
        {"tree": {"low": ["0", "1"], "high": ["2"]}},
    ],
)
def test_a_run_on_arrays_does_not_go_on_with_others(tmp_path, monkeypatch, other):
    folder = str(tmp_path / "run")
    interrupted_on_arrays(folder, monkeypatch)
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match=r"data: expected the images and labels that .*run began with; got others\."):
        resume(folder, tiny.arrays(**other))
    assert contents(tmp_path / "run") == before


def test_a_run_on_arrays_cannot_be_resumed_by_name(tmp_path, without_report):
    fit(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"), baselines=False)
    with pytest.raises(ValueError, match=r"run, which was trained on arrays in memory.* ssvae\.inference\.resume\("):
        resume(str(tmp_path / "run"))
    assert load(str(tmp_path / "run"), with_data=False).class_names == ("0", "1", "2")


def test_a_run_that_names_its_data_takes_no_others(folder):
    with pytest.raises(ValueError, match=r"data: expected None, as .*config\.yaml names the data set; got Digits"):
        resume(str(folder), digits())
    with pytest.raises(TypeError, match=r"data: expected a data set, such as .*; got str"):
        resume(str(folder), "Digits")


# Refusals: nothing is left behind, nothing is lost


@pytest.mark.parametrize(
    ("model", "data", "recipe", "sentence"),
    [
        (m2, tiny.arrays, {}, "model: expected one for 3 classes; got one for 10"),
        (lambda: M2((1, 9, 8), 10), digits, {}, r"model: expected one for images of \(1, 8, 8\)"),
        (lambda: m2(likelihood=Bernoulli()), digits, {}, "likelihood: Bernoulli expected pixels that are 0 or 1"),
        (m2, digits, {"max_epoch": 3}, r"max_epoch: expected an option of fit or Recipe; .* Did you mean 'max_epochs'"),
        (m2, digits, {"nonsense": 3}, r"nonsense: expected an option of fit or Recipe; got an unknown one\.$"),
        (m2, digits, {"batch_size": 5000}, "batch_size: expected at most"),
        (m2, digits, {"max_steps": 0}, "max_steps: expected a positive number"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path, model, data, recipe, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(model(), data(), folder=str(tmp_path / "run"), **recipe)
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_never_overwritten(finished):
    before = contents(finished.folder)
    with pytest.raises(FileExistsError, match=r"folder: expected a run folder that does not exist yet; .*--resume"):
        fit(m2(), digits(), options(), folder=str(finished.folder))
    assert contents(finished.folder) == before


def test_a_full_disk_keeps_the_last_good_epoch(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 8:  # config, initial weights; then three files for an epoch
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fit(m2(), digits(), options(), folder=str(tmp_path / "run"))
    assert str(tmp_path / "run") in caught.value.filename
    monkeypatch.undo()
    assert load(str(tmp_path / "run")).history[-1]["epoch"] in (1, 2)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("a: [1", "expected a YAML file; got .*, which cannot be read as that"),
        (b"\xff\xfe\x00", "expected a YAML file; got .*, which cannot be read as that"),
        ("", "expected the configuration of a run"),
        ("- 1", "expected the configuration of a run"),
        ("data: 3", "expected the configuration of a run"),
        ({"data": 3}, "expected a data set in .*; got 3"),
        ({"data": {"class_path": "ssvae.models.M2"}}, "expected a data set|event_shape"),
        ({"data": {"class_path": "ssvae.data.Nothing"}}, "expected a class that can be imported"),
        (
            {"data": {"class_path": "ssvae.data.Digits", "init_args": {"num_label": 3}}},
            "Digits: expected the arguments",
        ),
        (
            {"data": {"class_path": "ssvae.data.Digits", "init_args": {"num_labels": 13}}},
            "num_labels: expected a multiple",
        ),
        ({"objective": {"alfa": 3}}, "expected valid options of training .* got: .*got 'alfa'"),
        ({"objective": 3}, "expected valid options of training .* got: .*got 3"),
        ({"max_epochs": "x"}, "expected valid options of training"),
        ({"model": {"class_path": "ssvae.models.M2", "init_args": {}}}, r"initial\.ckpt, which is of another model"),
        ({"model": 3}, r"initial\.ckpt, which is of another model"),
    ],
)
def test_a_damaged_configuration_is_refused(folder, config, sentence):
    path = folder / "config.yaml"
    if isinstance(config, dict):
        config = yaml.safe_dump(yaml.safe_load(path.read_text()) | config)
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    before = contents(folder)
    with pytest.raises((ValueError, TypeError), match=sentence):
        resume(str(folder))
    assert contents(folder) == before


def test_missing_files_are_named(folder):
    with pytest.raises(
        FileNotFoundError, match=r"run: expected a run folder with a config.yaml; got .*nothing, which does not exist"
    ):
        load(str(folder / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"run: expected a run folder"):
        resume(str(folder / "metrics.csv"))
    for name in ("last", "best", "initial"):
        (folder / "checkpoints" / f"{name}.ckpt").unlink()
    for checkpoint in ("last", "best"):
        with pytest.raises(
            FileNotFoundError, match=rf"checkpoint: expected a file; got .*{checkpoint}\.ckpt, which does not"
        ):
            load(str(folder), checkpoint=checkpoint)
    with pytest.raises(
        FileNotFoundError, match=r"run: expected saved weights; got .*, which was stopped before its first"
    ):
        resume(str(folder))


def test_checkpoints_of_other_models_are_refused(folder, tmp_path):
    train(tiny.m2(), tiny.arrays(), tiny.recipe(), tmp_path / "other")
    other = tmp_path / "other" / "checkpoints" / "last.ckpt"
    last = shutil.copy(other, folder / "checkpoints" / "last.ckpt")
    for action in (load, resume):
        with pytest.raises(
            ValueError,
            match=r"checkpoint: expected one of the (given model|model in config\.yaml); got .*last\.ckpt, wh",
        ):
            action(str(folder))
    # Of this model by its own words, but not by its tensors.
    checkpoint = read_checkpoint(last)
    checkpoint["ssvae"]["model"] = read_checkpoint(folder / "checkpoints" / "initial.ckpt")["ssvae"]["model"]
    torch.save(checkpoint, last)
    with pytest.raises(ValueError, match=r"got .*last\.ckpt, where names or shapes differ"):
        load(str(folder))


def changed(folder, format_of_run, change=lambda saved, config: None):
    """Change a run's checkpoints and configuration to what another version wrote."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for path in (folder / "checkpoints").iterdir():
        saved = read_checkpoint(path)
        if format_of_run is None:
            del saved[METADATA]["format"]
        else:
            saved[METADATA]["format"] = format_of_run
        change(saved, config)
        torch.save(saved, path)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def _of_three_names(saved, config):
    saved[METADATA]["model"]["class_path"] = config["model"]["class_path"] = "models.m2.M2"


def _of_other_weights(saved, config):
    saved["state_dict"] = {f"{name}_": value for name, value in saved["state_dict"].items()}


def _of_other_parts(saved, config):
    for description in (saved[METADATA]["model"], config["model"]):
        description["init_args"]["prior"] = {"class_path": "ssvae.models.priors.Gone", "init_args": {}}


def _of_other_arguments(saved, config):
    for description in (saved[METADATA]["model"], config["model"]):
        description["init_args"]["hidden"] = [3]


def _of_other_data(saved, config):
    config["data"]["class_path"] = "ssvae.data.digits.Digits_"


def _of_other_options(saved, config):
    config["objective"]["beta"] = 1.0


OTHER_NAMES = [
    _of_three_names, _of_other_weights, _of_other_parts, _of_other_arguments, _of_other_data, _of_other_options,
]  # fmt: skip


OTHER_VERSIONS = [(None, "an earlier", change) for change in OTHER_NAMES]
OTHER_VERSIONS += [(FORMAT + 1, "a later", change) for change in OTHER_NAMES[1:]]


@pytest.mark.parametrize(("format_of_run", "version", "change"), OTHER_VERSIONS)
def test_a_run_of_another_version_with_other_names_gets_one_sentence(folder, format_of_run, version, change):
    changed(folder, format_of_run, change)
    sentence = (
        rf"^run: expected one that this version of ssvae can read; got .*run, which was made by {version} version with "
        r"other names of classes, options or weights\.$"
    )
    for action in (load, resume):
        with pytest.raises(ValueError, match=sentence):
            action(str(folder))


def test_a_run_of_an_earlier_version_with_the_same_names_is_read(folder, finished):
    changed(folder, None)
    tiny.assert_same_tensors(load(str(folder)).model.state_dict(), finished.model.state_dict())


@pytest.mark.parametrize("change", OTHER_NAMES[1:])
def test_a_damaged_run_of_this_version_is_not_taken_for_one_of_another(folder, change):
    changed(folder, FORMAT, change)
    with pytest.raises(ValueError, match=r"^(?!run: expected one that this version)"):
        load(str(folder))


def test_data_that_changed_are_refused(folder, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.runs.build", lambda description: tiny.arrays())
    with pytest.raises(ValueError, match=r"expected one of a model; .*Arrays"):
        load(str(folder))


def test_a_run_of_another_number_of_classes_is_refused(folder, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.runs._build_data", lambda config, path: tiny.arrays())
    for action in (load, resume):
        with pytest.raises(ValueError, match="model: expected one for 3 classes; got one for 10"):
            action(str(folder))


def test_a_run_of_a_class_from_a_notebook_is_loaded_there_and_nowhere_else(tmp_path, monkeypatch):
    styled = type("Styled", (M2,), {"__module__": "__main__"})  # as a cell of a notebook defines it
    monkeypatch.setattr(sys.modules["__main__"], "Styled", styled, raising=False)
    folder = str(tmp_path / "run")
    model = styled((1, 8, 8), 10, prior=StandardNormal(2), networks=MLP((6,)))
    run = fit(model, digits(), Recipe(max_epochs=1, trainer=tiny.everything().trainer), folder=folder, baselines=False)
    again = load(folder)
    assert type(again.model) is styled
    x = run.data.preprocess(run.data.test_images)
    assert torch.equal(again.model.classify(x).logits, run.model.classify(x).logits)

    monkeypatch.delattr(sys.modules["__main__"], "Styled")  # another notebook, or the command line
    sentence = r"^class_path: .* got '__main__\.Styled', which was written in a notebook, a script or a function; train"
    with pytest.raises(ValueError, match=sentence):
        load(folder)


# Main classes


ODD_OR_EVEN = {"odd": ["1", "3", "5", "7", "9"], "even": ["0", "2", "4", "6", "8"]}


def test_a_run_with_main_classes_reports_both_levels_and_goes_on_when_resumed(tmp_path):
    target = tmp_path / "run"
    data = digits(tree=ODD_OR_EVEN, num_coarse_labels=100)
    run = fit(m2(), data, options(), folder=str(target))
    numbers = json.loads((target / "evaluation.json").read_text())
    odd = run.evaluation.probabilities[:, 1::2].sum(-1)
    correct = (odd > 0.5) == (data.test_labels % 2 == 1)
    assert numbers["main_classes"]["accuracy"] == pytest.approx(correct.double().mean().item())
    assert set(numbers["main_class_baselines"]) == {"supervised", "consistency alone"}
    assert {"partial/negative_elbo", "partial_classification"} <= run.history[-1].keys()
    report = (target / "report.md").read_text()
    assert "| main classes, baseline: supervised |" in report
    assert "20 labelled, 100 partially labelled" in report
    again = load(str(target))
    assert torch.equal(again.data.train_candidates, data.train_candidates)
    tiny.assert_same_tensors(again.model.state_dict(), run.model.state_dict())


class _WithoutSum(M2):
    sums_over_class = False


def test_a_model_that_does_not_sum_over_classes_is_refused_where_labels_admit_several(tmp_path):
    model = _WithoutSum((1, 8, 8), 10, networks=MLP((6,)))
    sentence = "model: expected one that sums over the candidate classes, as 100 images are partially labelled"
    with pytest.raises(ValueError, match=sentence):
        fit(model, digits(tree=ODD_OR_EVEN, num_coarse_labels=100), options(), folder=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
