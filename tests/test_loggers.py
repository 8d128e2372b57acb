"""Lightning's callbacks and loggers take part in training, and what they are told is the run's history."""

import json
import struct
import sys

import pytest
from support import tiny

from ssvae.inference import Recipe, TrainerOptions, extras, fit, load, resume
from ssvae.inference._lightning import Callback, Logger, lightning
from ssvae.inference.storage.checkpoints import read_checkpoint
from ssvae.inference.training import loggers, train

pytestmark = pytest.mark.slow

TRAINER = TrainerOptions(progress_bar=False)


@pytest.fixture(autouse=True)
def _without_report(monkeypatch):
    """Pictures take seconds: leave them out."""
    monkeypatch.setattr("ssvae.inference.runs.report.write_report", lambda run: None)


class Noting(Callback):
    """Notes the metrics after every epoch; its state is how many it has noted."""

    def __init__(self):
        self.noted = []
        self.before = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.noted.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    def state_dict(self):
        return {"noted": self.before + len(self.noted)}

    def load_state_dict(self, state):
        self.before = state["noted"]


class Telling(Logger):
    """Keeps what it is told."""

    name, version = "telling", 0

    def __init__(self):
        super().__init__()
        self.metrics, self.hyperparameters = [], []

    def log_metrics(self, metrics, step=None):
        self.metrics.append(metrics)

    def log_hyperparams(self, params):
        self.hyperparameters.append(params)


def metrics(history):
    return [{name: value for name, value in row.items() if name not in ("epoch", "step")} for row in history]


def test_early_stopping_of_lightnings_ends_training_and_the_baselines_train_on(tmp_path):
    # 205 epochs have a row after every second one, but for callbacks.
    stop = lightning.callbacks.EarlyStopping("validation_accuracy", mode="max", stopping_threshold=-1.0)
    recipe = Recipe(max_epochs=205, batch_size=34, trainer=TRAINER)
    run = fit(tiny.m2(), tiny.arrays(), recipe, folder=str(tmp_path / "run"), callbacks=stop)
    assert [row["epoch"] for row in run.history] == [1]
    assert load(str(tmp_path / "run"), with_data=False).history == run.history
    supervised = read_checkpoint(tmp_path / "run" / "baselines" / "supervised" / "checkpoints" / "last.ckpt")
    assert supervised["ssvae"]["history"][-1]["epoch"] == 204


def test_callbacks_change_nothing_of_training_and_see_the_rows(tmp_path):
    alone, model, noting = tiny.m2(), tiny.m2(), Noting()
    train(alone, tiny.arrays(), tiny.recipe(trainer=TRAINER), None)
    rows = train(model, tiny.arrays(), tiny.recipe(trainer=TRAINER), None, callbacks=[noting])
    tiny.assert_same_tensors(model.state_dict(), alone.state_dict())
    assert len(rows) == 3
    # Lightning's own hooks of a callback come before the module's, but for those of EarlyStopping.
    assert noting.noted[1:] == metrics(rows)[:-1]


def test_the_state_of_a_callback_comes_back(tmp_path):
    run = fit(
        tiny.m2(), tiny.arrays(), tiny.recipe(trainer=TRAINER), folder=str(tmp_path / "run"), callbacks=[Noting()]
    )
    again = Noting()
    resume(str(run.folder), tiny.arrays(), callbacks=[again])
    assert (again.before, again.noted) == (3, [])


def test_a_state_that_needs_code_to_be_read_is_refused(tmp_path):
    class Odd(Noting):
        def state_dict(self):
            return {"noted": [{"deep": object()}]}

    with pytest.raises(TypeError, match=r"^callbacks: expected states of tensors and plain values, .* by .*Odd"):
        fit(tiny.m2(), tiny.arrays(), tiny.recipe(trainer=TRAINER), folder=str(tmp_path / "run"), callbacks=Odd())


def test_a_logger_of_ones_own_is_told_the_history_and_what_is_trained(tmp_path):
    first, second = Telling(), Telling()
    recipe = tiny.recipe(trainer=TRAINER)
    run = fit(tiny.m2(), tiny.arrays(), recipe, folder=str(tmp_path / "run"), logger=[first, second])
    assert [{name: value for name, value in row.items() if name != "epoch"} for row in first.metrics] == [
        pytest.approx(row) for row in metrics(run.history)
    ]
    assert second.metrics == first.metrics
    (told,) = first.hyperparameters
    assert told["model"]["class_path"] == "ssvae.models.m2.M2"
    assert (told["learning_rate"], told["batch_size"]) == (0.01, 10)
    assert run.baselines.keys() == {"supervised"}  # of whose training they are not told


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"callbacks": ["EarlyStopping"]},
            "^callbacks: expected objects of Lightning's class Callback .*; got 'EarlyS",
        ),
        ({"logger": [3]}, "^logger: expected objects of Lightning's class Logger .*; got 3"),
        ({"logger": "tensorboard"}, "^trainer.logger: expected 'mlflow', 'wandb' or None; got 'tensorboard'"),
    ],
)
def test_what_is_no_callback_and_no_logger_is_refused(tmp_path, given, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        fit(tiny.m2(), tiny.arrays(), tiny.recipe(), folder=str(tmp_path / "run"), **given)
    assert not (tmp_path / "run").exists()


def test_a_logger_by_name_needs_a_folder():
    recipe = tiny.recipe(trainer=TrainerOptions(progress_bar=False, logger="mlflow"))
    with pytest.raises(ValueError, match=r"^trainer\.logger: expected None without a run folder; got 'mlflow'"):
        train(tiny.m2(), tiny.arrays(), recipe, None)


@pytest.mark.parametrize(("name", "package"), [("mlflow", "alembic"), ("wandb", "wandb")])
def test_a_package_that_is_missing_is_named_before_anything_is_written(tmp_path, monkeypatch, name, package):
    find = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda each: None if each == package else find(each))
    sentence = rf"^trainer\.logger: .* the extra `{name}`; got no {package}\. pip install 'ssvae\[{name}\]' installs"
    with pytest.raises(ValueError, match=sentence):
        fit(tiny.m2(), tiny.arrays(), tiny.recipe(), folder=str(tmp_path / "run"), logger=name)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:::mlflow", "ignore:::alembic", "ignore:::sqlalchemy")
def test_mlflow_holds_the_history_in_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = tiny.recipe(max_epochs=2, trainer=TRAINER)
    run = fit(tiny.m2(), tiny.arrays(), recipe, folder="run", logger="mlflow")
    assert load("run", with_data=False).seconds["model"] == run.seconds["model"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "ssvae"]
    (found,) = client.search_runs([experiment.experiment_id])  # the model's, not the baseline's
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["model/class_path"] == "ssvae.models.m2.M2"
    for name in metrics(run.history)[0]:
        values = [each.value for each in client.get_metric_history(found.info.run_id, name)]
        assert values == pytest.approx([row[name] for row in run.history]), name
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "mlruns"}


@pytest.mark.filterwarnings("ignore:::wandb")
def test_weights_and_biases_holds_the_history_offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = fit(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=2, trainer=TRAINER), folder="run", logger="wandb")
    assert sys.modules["wandb"].run is None  # ended, so that the next run is one of its own
    (path,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    told = written(path)
    assert len(told) == len(run.history)
    for row, expected in zip(told, metrics(run.history), strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected)


def written(path):
    """Return the rows of metrics in a file of Weights & Biases': records as in LevelDB's log, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts, rows = path.read_bytes(), 7, b"", []  # 7: the file's own header
    while at + 7 <= len(content):
        left = 2**15 - at % 2**15
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({each.key or "/".join(each.nested_key): json.loads(each.value_json) for each in items})
    return rows


def test_weights_and_biases_without_a_key_gets_a_sentence(tmp_path, monkeypatch):
    class Refusing(loggers.WandbLogger):
        @property
        def experiment(self):
            raise RuntimeError("No API key configured.")

    monkeypatch.setattr(loggers, "WandbLogger", Refusing)
    with pytest.raises(
        ValueError, match=r"^trainer\.logger: .*WANDB_MODE=offline .*; got an error: No API key configured"
    ):
        fit(tiny.m2(), tiny.arrays(), tiny.recipe(trainer=TRAINER), folder=str(tmp_path / "run"), logger="wandb")
