"""`ssvae export`: a run's classifier as a file, and what is refused before any work is done."""

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from support import tiny
from test_missing import write_table
from torch.torch_version import TorchVersion

from ssvae.data import Moons, Table
from ssvae.inference import extras, load
from ssvae.inference.command_line.main import main
from ssvae.inference.runs.export import export_classifier
from ssvae.inference.training import train
from ssvae.models import M1, M2
from ssvae.models.likelihoods import Gaussian, MissingEntries
from ssvae.models.networks import MLP

pytestmark = pytest.mark.slow

NAMES = [str(k) for k in range(10)]
SMALL = ["--max_steps=12", "--batch_size=500", "--baselines=false", "--trainer.progress_bar=false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the digits, with batch norm and dropout, in float32 as users' runs are; no test changes it."""
    folder = tmp_path_factory.mktemp("export") / "run"
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssvae.inference.runs.report.write_report", lambda run: None)
        assert main(["fit", *SMALL, "--model.networks.hidden=[8]", "--folder", str(folder)]) == 0
    torch.set_default_dtype(dtype)
    return folder


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)


def expected(run, batch):
    loaded = load(str(run))
    x = loaded.data.preprocess(loaded.data.test_images[:batch])
    with torch.no_grad():
        return x, loaded.model.classify(x).probs


@pytest.mark.skipif(torch.__version__ < "2.7", reason="ONNX needs torch 2.7")
def test_an_onnx_file_answers_as_the_model(run, capsys):
    assert main(["export", str(run), "classifier.onnx"]) == 0
    assert capsys.readouterr().out.endswith("classifier.onnx\n")
    session = onnxruntime.InferenceSession("classifier.onnx")
    said = session.get_modelmeta().custom_metadata_map
    assert (json.loads(said["class_names"]), said["class_path"]) == (NAMES, "ssvae.models.m2.M2")
    for batch in (1, 7):
        x, probabilities = expected(run, batch)
        (found,) = session.run(["probabilities"], {"pixels": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), probabilities, rtol=0, atol=1e-5)
    assert probabilities.std(0).max() > 1e-3  # the images do not all have one answer


def test_an_old_torch_is_refused_for_onnx_before_any_work(run, capsys, monkeypatch):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.6.0"))
    assert main(["export", str(run), "classifier.onnx"]) == 2
    sentence = "file: expected torch 2.7 or newer for .onnx; got 2.6.0. Use .pt2, or update torch."
    assert capsys.readouterr().err == f"ssvae export: {sentence}\n"
    assert not Path("classifier.onnx").exists()


def test_a_program_of_torch_answers_as_the_model(run):
    assert main(["export", str(run), "classifier.pt2", "--checkpoint=last"]) == 0
    files = {"class_names.json": "", "class_path": ""}
    program = torch.export.load("classifier.pt2", extra_files=files).module()
    assert json.loads(files["class_names.json"]) == NAMES
    assert files["class_path"] == "ssvae.models.m2.M2"
    for batch in (1, 7):
        x, probabilities = expected(run, batch)
        torch.testing.assert_close(program(x), probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            "there.onnx",
            "file: expected a name that is not taken; got there.onnx, which exists and is never overwritten.",
        ),
        ("classifier.h5", "file: expected a name that ends in .onnx or .pt2; got classifier.h5."),
        ("classifier", "file: expected a name that ends in .onnx or .pt2; got classifier."),
        ("nowhere/classifier.onnx", "file: expected an existing folder; got nowhere, which does not exist."),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(run, tmp_path, capsys, monkeypatch, file, sentence):
    monkeypatch.setattr("ssvae.inference.runs.runs.load", lambda *arguments, **options: 1 / 0)
    (tmp_path / "there.onnx").write_text("precious")
    assert main(["export", str(run), file]) == 2
    assert capsys.readouterr().err == f"ssvae export: {sentence}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "precious"


def test_a_package_that_is_missing_is_named_before_any_work(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.runs.load", lambda *arguments, **options: 1 / 0)
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    assert main(["export", str(run), "classifier.onnx"]) == 2
    sentence = "got no onnx. pip install 'ssvae[export]' installs them."
    assert capsys.readouterr().err.endswith(f"for .onnx; {sentence}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_learn_its_classifier_is_refused(tmp_path):
    model = M1((1, 8, 8), 3, networks=MLP((5,)))
    train(model, tiny.arrays(), tiny.recipe(max_epochs=1), None)
    with pytest.raises(ValueError, match=r"^model: expected one whose q\(y \| x\) is a network, .*; got M1, which"):
        export_classifier(model, ("a", "b", "c"), tmp_path / "classifier.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_takes_rows_with_gaps_in_the_units_of_the_table(tmp_path, suffix):
    if suffix == ".onnx" and torch.__version__ < "2.7":
        pytest.skip("ONNX needs torch 2.7")
    write_table(tmp_path / "animals.csv")
    data = Table(str(tmp_path / "animals.csv"), "species", ignore=["note"])
    torch.manual_seed(1)
    model = M2((4,), 2, likelihood=MissingEntries(Gaussian()), networks=MLP((8,)))
    path = tmp_path / f"classifier{suffix}"
    export_classifier(model, data.class_names, path, data)
    rows = data.read(str(tmp_path / "animals.csv"))
    assert rows.isnan().any(-1).any()
    assert not rows.isnan().any(-1).all()
    if suffix == ".onnx":
        session = onnxruntime.InferenceSession(path)
        said = session.get_modelmeta().custom_metadata_map
        names, categories = said["feature_names"], said["feature_categories"]
        probabilities = torch.from_numpy(session.run(["probabilities"], {"rows": rows.numpy()})[0])
    else:
        files = {"feature_names.json": "", "feature_categories.json": ""}
        probabilities = torch.export.load(path, extra_files=files).module()(rows)
        names, categories = files["feature_names.json"], files["feature_categories.json"]
    assert json.loads(names) == ["length", "visits", "island", "tagged"]
    assert json.loads(categories) == {"island": ["Biscoe", "Dream", "Torgersen"], "tagged": ["0", "1"]}
    expected = model.classify((rows - data.centre.float()) / data.scale.float()).probs
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-6)
    assert expected.std(0).min() > 1e-2  # the rows do not all have one answer
    unstandardised = model.classify(rows).probs
    assert (unstandardised - expected).abs().max() > 1e-2


def test_a_model_of_rows_is_not_exported_without_its_data(tmp_path):
    model = M2((3,), 2, likelihood=Gaussian(), networks=MLP((4,)))
    with pytest.raises(ValueError, match=r"^data: expected the data set of the model's 3 features; got None\.$"):
        export_classifier(model, ("a", "b"), tmp_path / "classifier.pt2")
    with pytest.raises(ValueError, match=r"^data: expected the data set of the model's 3 features; got one of 2\.$"):
        export_classifier(model, ("a", "b"), tmp_path / "classifier.pt2", Moons())
    assert list(tmp_path.iterdir()) == []
