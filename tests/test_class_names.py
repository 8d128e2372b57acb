"""Names for classes that nobody has labelled: kept in the run folder, used by all commands, refused where wrong."""

import json

import pytest
from safetensors import safe_open
from support import tiny

from ssvae.data import Arrays
from ssvae.inference import fit, load, resume
from ssvae.inference.command_line.main import main
from ssvae.inference.runs import name_classes
from ssvae.inference.runs.class_names import named, rename

IN_TRAINING = ("a", "b", "new 1", "new 2", "new 3")


def test_names_are_kept_in_the_folder(tmp_path):
    assert named(tmp_path, IN_TRAINING) == IN_TRAINING
    assert rename(tmp_path, IN_TRAINING, {"new 2": "boots"}) == ("a", "b", "new 1", "boots", "new 3")
    # By the given name too, and exchanged in one command.
    both = rename(tmp_path, IN_TRAINING, {"boots": " new  boots ", "new 3": "bags"})
    assert both == ("a", "b", "new 1", "new boots", "bags")
    assert named(tmp_path, IN_TRAINING) == both
    exchanged = rename(tmp_path, IN_TRAINING, {"new boots": "bags", "bags": "new boots"})
    assert exchanged == ("a", "b", "new 1", "bags", "new boots")
    assert [path.name for path in tmp_path.iterdir()] == ["class_names.json"]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ({"new 4": "x"}, "names: expected one of 'new 1', 'boots', 'new 3'; got 'new 4'"),
        ({"a": "x"}, "names: expected one of 'new 1', 'boots', 'new 3'; got 'a', which has labels"),
        ({"new 1": "a"}, "names: expected another name for each class; got 'a' for two"),
        ({"new 1": "boots"}, "names: expected another name for each class; got 'boots' for two"),
        ({"new 1": " "}, "names: expected printable text after '='; got ' '"),
        ({"new 1": "x\0"}, r"names: expected printable text after '='; got 'x\\x00'"),
        ({"new 1": "x", "new 9": "y"}, "got 'new 9'"),
    ],
)
def test_wrong_names_change_nothing(tmp_path, names, match):
    before = rename(tmp_path, IN_TRAINING, {"new 2": "boots"})
    content = (tmp_path / "class_names.json").read_bytes()
    with pytest.raises(ValueError, match=match):
        rename(tmp_path, IN_TRAINING, names)
    assert (tmp_path / "class_names.json").read_bytes() == content
    assert named(tmp_path, IN_TRAINING) == before


def test_a_full_disk_loses_no_name(tmp_path, monkeypatch):
    rename(tmp_path, IN_TRAINING, {"new 2": "boots"})

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rename(tmp_path, IN_TRAINING, {"new 1": "bags"})
    monkeypatch.undo()
    assert named(tmp_path, IN_TRAINING) == ("a", "b", "new 1", "boots", "new 3")


def test_names_need_new_classes_and_an_undamaged_file(tmp_path):
    with pytest.raises(
        ValueError, match="names: expected a run with classes that nobody has labelled; got one without"
    ):
        rename(tmp_path, ("a", "b"), {"a": "c"})
    for content in ("{", '{"new 9": "x"}', '{"a": "x"}', '["new 1"]', '{"new 1": 3}'):
        (tmp_path / "class_names.json").write_text(content)
        with pytest.raises(ValueError, match="run: expected names of"):
            named(tmp_path, IN_TRAINING)


def _data():
    data = tiny.arrays()
    labels = data.train_labels.clone()
    labels[labels == 2] = -1
    return Arrays(data.images, labels, test_images=data.test_images, test_labels=data.test_labels, num_new_classes=1)


@pytest.mark.slow
def test_a_run_with_names(tmp_path, capsys, without_pictures):
    folder = tmp_path / "run"
    data = _data()
    run = fit(tiny.m2(), data, tiny.recipe(max_epochs=1), folder=str(folder))
    assert run.class_names == ("0", "1", "new 1")
    report = (folder / "report.md").read_text()
    assert "on 8 test images of the classes with labels" in report
    assert "Of the test images of the classes without labels, " in report
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["discovery"]["accuracy"] == pytest.approx(found["classifier"]["accuracy"])
    assert found["discoveries"]["supervised"]["num_known_classes"] == 2
    # Accuracies of a baseline are for its own assignment, and the comparison is on known classes.
    assert found["comparisons"]["supervised"]["num_images"] == 8

    assert main(["name", str(folder), "new 2=boots"]) == 2
    assert "expected one of 'new 1'; got 'new 2'" in capsys.readouterr().err
    assert main(["name", str(folder), "new 1"]) == 2
    assert "expected \"new 2=boots\", for example; got 'new 1'" in capsys.readouterr().err
    assert main(["name", str(folder), "new 1=a", "new 1=b"]) == 2
    assert "expected one name for each class; got two for 'new 1'" in capsys.readouterr().err
    assert main(["name", str(folder), "new 1=ankle boot"]) == 0
    assert capsys.readouterr().out.splitlines() == ["0", "1", "ankle boot"]

    assert load(str(folder), with_data=False).class_names == ("0", "1", "ankle boot")
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert json.loads(weights.metadata()["class_names"]) == ["0", "1", "ankle boot"]
    # The names in training stay in checkpoints, so that a run can be resumed and named again.
    resumed = resume(str(folder), data)
    assert resumed.class_names == ("0", "1", "ankle boot")
    assert name_classes(str(folder), {"ankle boot": "boot"}) == ("0", "1", "boot")
