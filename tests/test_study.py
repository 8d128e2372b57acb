"""Studies: what a file asks for, what is done again and what is not, what is never mixed, and the table of it all."""

import csv
import json
import math
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from support import forked

from ssvae.inference.command_line.commands import run_command
from ssvae.inference.study import results, work
from ssvae.inference.study.plan import read_plan
from ssvae.inference.study.results import Result
from ssvae.inference.study.work import run_study

STUDY = {
    "data": {"Digits": {"data": "Digits"}},
    "models": {"M2": {"max_steps": 20}, "M1, fast": {"model": "M1", "objective.consistency": None}},
    "labels": [20, None],
    "seeds": [0, 1],
    "options": {"trainer.precision": "32-true"},
    "published": {"Somebody": {20: 95.0}},
}


@pytest.fixture
def study(tmp_path):
    """Write a study file, with some sections replaced, and return its path."""

    def write(**sections):
        path = tmp_path / "some.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **sections}, sort_keys=False))
        return str(path)

    return write


class Fits:
    """Stands for `ssvae fit`: leaves the files of a run, or stops half-way where it is told to."""

    def __init__(self):
        self.calls = []
        self.fails = set()
        self.dies = set()

    def __call__(self, words):
        self.calls.append(words)
        folder = Path(words[-1].partition("=")[2])
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        if folder.name in self.fails:
            return False
        (folder / "config.yaml").write_text("")
        (folder / "checkpoints" / "initial.ckpt").write_text("")
        if folder.name in self.dies:
            raise KeyboardInterrupt
        numbers = {
            "classifier": {"accuracy": 0.9 + 0.001 * len(self.calls), "ece": 0.02},
            "log_likelihood": None,
            "reconstruction_error": 0.03,
            "baselines": {"supervised": {"accuracy": 0.8}},
            "seconds": {"model": 1.5},
        }
        (folder / "evaluation.json").write_text(json.dumps(numbers))
        (folder / "metrics.csv").write_text("epoch,step\n1,10\n2,20\n")
        (folder / "report.md").write_text("")
        return True


# The plan


def test_a_study_is_every_model_on_all_data_with_all_numbers_of_labels_and_seeds(study):
    plan = read_plan(study(), ("--data.root=DIR",))
    assert plan.name == "some"
    assert [(cell.seed, cell.labels, cell.model) for cell in plan.cells] == [
        (seed, labels, model) for seed in (0, 1) for labels in (20, None) for model in ("M2", "M1, fast")
    ]
    assert plan.cells[3].words == (
        "--data=Digits",
        "--data.num_labels=null",
        "--data.seed=0",
        "--seed=0",
        "--trainer.precision=32-true",
        "--model=M1",
        "--objective.consistency=null",
        "--data.root=DIR",
    )
    assert plan.cells[3].name == "Digits-M1,_fast-all-0"
    assert plan.published == {"Somebody": {20: 95.0}}


def test_where_files_are_does_not_decide_a_result(study):
    here, there = (read_plan(study(), (f"--data.root={root}",)).cells[0] for root in "ab")
    assert here.words != there.words
    assert here.identity == there.identity


ERRORS = {
    "no models": ({"models": {}}, r"models: expected names with the options of each; got \{\}"),
    "models by name alone": ({"models": ["M2"]}, "models: expected names"),
    "a model without options": ({"models": {"M2": None}}, "models, M2: expected options as of `ssvae fit`"),
    "no numbers": ({"labels": ["few"]}, r"labels: expected numbers of labels, null for all; got \['few'\]"),
    "a negative number": ({"labels": [-1]}, r"labels: .* got \[-1\]"),
    "no list": ({"seeds": 3}, "seeds: expected integers; got 3"),
    "true": ({"seeds": [True]}, r"seeds: expected integers; got \[True\]"),
    "null": ({"seeds": [None]}, "seeds: expected integers"),
    "twice the same": ({"seeds": [1, 1]}, "study: expected every run once; got Digits-M1,_fast-20-1 twice"),
    "another section": ({"model": {}}, "study: expected the sections .*; got 'model'"),
    "published without numbers": ({"published": {"me": 99.0}}, "published: expected accuracies"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_in_the_file_is_refused_in_words(study, name):
    sections, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        read_plan(study(**sections))


def test_a_file_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"study: expected a YAML file; got 'no\.yaml'"):
        read_plan("no.yaml")
    for content in (b"- 1", b"a: [", b"\xff\xfe\x00"):
        (tmp_path / "odd.yaml").write_bytes(content)
        with pytest.raises(ValueError, match="study: expected"):
            read_plan(str(tmp_path / "odd.yaml"))


# Doing it


def test_what_is_done_is_skipped_and_what_was_begun_is_resumed(study, tmp_path):
    plan, fit, folder = read_plan(study()), Fits(), tmp_path / "study"
    third = plan.cells[2].name
    fit.dies = {third}
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, folder, fit)
    assert len(fit.calls) == 3
    fit.dies = set()
    assert run_study(plan, folder, fit) == []
    assert fit.calls[3] == [f"--resume={folder / 'runs' / third}"]
    assert fit.calls[4] == [*plan.cells[3].words, f"--folder={folder / 'runs' / plan.cells[3].name}"]
    assert len(fit.calls) == 3 + 6
    assert run_study(plan, folder, fit) == []
    assert len(fit.calls) == 9


def test_a_run_that_was_killed_before_its_first_weights_begins_anew(study, tmp_path):
    plan, fit, folder = read_plan(study(seeds=[0])), Fits(), tmp_path / "study"
    first = plan.cells[0].name
    fit.fails = {first}
    assert run_study(plan, folder, fit) == [first]
    assert len(fit.calls) == 4  # the others were done
    fit.fails = set()
    assert run_study(plan, folder, fit) == []
    assert fit.calls[4] == fit.calls[0]


def test_results_of_two_versions_of_the_code_are_never_mixed(study, tmp_path, monkeypatch):
    plan, fit, folder = read_plan(study()), Fits(), tmp_path / "study"
    run_study(plan, folder, fit)
    monkeypatch.setattr(work, "code_version", lambda: "0123456789ab")
    with pytest.raises(ValueError, match=r"of this version of the code, 0123456789ab; got .*M2-20-0, which is"):
        run_study(plan, folder, fit)
    assert len(fit.calls) == 8


def test_results_of_other_options_are_never_mixed(study, tmp_path):
    fit, folder = Fits(), tmp_path / "study"
    run_study(read_plan(study()), folder, fit)
    changed = study(models={"M2": {"max_steps": 30}})
    with pytest.raises(ValueError, match="options differ: --max_steps=20, --max_steps=30"):
        run_study(read_plan(changed), folder, fit)
    elsewhere = read_plan(study(), ("--data.root=DIR",))
    assert run_study(elsewhere, folder, fit) == []


def test_a_run_that_came_from_elsewhere_is_not_counted(study, tmp_path):
    plan, fit, folder = read_plan(study()), Fits(), tmp_path / "study"
    (folder / "runs" / plan.cells[0].name).mkdir(parents=True)
    with pytest.raises(ValueError, match="whose origin is unknown"):
        run_study(plan, folder, fit)


def test_two_processes_do_not_work_on_one_study(study, tmp_path):
    plan, folder = read_plan(study()), tmp_path / "study"

    def fit(words):
        with pytest.raises(ValueError, match="expected no other process that works"):
            run_study(plan, folder, Fits())
        return False

    assert len(run_study(plan, folder, fit)) == 8


# The table


def _result(seed=0, accuracy=90.0, labels=100, model="M2", **changes):
    numbers = {"ece": 1.0, "log_likelihood": -100.0, "reconstruction_error": 0.01, "supervised": 80.0}
    numbers |= {"effective_samples": None, "share_unreliable": None, **changes}
    return Result(
        "MNIST",
        model,
        labels,
        seed,
        accuracy,
        consistency=None,
        steps=20,
        seconds=3.0,
        hardware="h",
        commit="c",
        **numbers,
    )


def test_classes_without_labels_have_columns_of_their_own():
    found = [
        _result(seed, labels=25, known=90.0 + seed, new=70.0 + 2 * seed, among_known=10.0, nmi=0.8 + 0.01 * seed)
        for seed in range(3)
    ]
    assert results.from_csv(results.to_csv(found)) == found
    heading, _, row, *_, explanation = results.table(found).splitlines()
    assert "| accuracy | known | new | put among known | NMI | supervised |" in heading
    assert "| 90.00 ± 0.00 | 91.0 ± 1.0 | 72.0 ± 2.0 | 10.0 ± 0.0 | 0.810 ± 0.010 | 80.00 ± 0.00 |" in row
    assert "(Hungarian assignment). known, new: accuracy (%)" in explanation
    assert heading.count("|") == row.count("|")
    assert "known" not in results.table([_result()])


def test_the_csv_holds_every_number_and_can_be_read_again(study, tmp_path):
    plan, fit, folder = read_plan(study()), Fits(), tmp_path / "study"
    run_study(plan, folder, fit)
    found = results.collect(plan, folder)
    assert [(each.model, each.labels, each.seed) for each in found] == [(c.model, c.labels, c.seed) for c in plan.cells]
    assert [each.accuracy for each in found] == pytest.approx([90.1 + 0.1 * i for i in range(8)])
    assert {(each.supervised, each.consistency, each.steps, each.seconds) for each in found} == {(80.0, None, 20, 1.5)}
    text = results.to_csv(found)
    assert results.from_csv(text) == found
    assert len(list(csv.reader(text.splitlines()))) == 9


def test_the_table_has_means_and_standard_deviations_over_the_seeds():
    found = [_result(0, 90.0), _result(1, 92.0), _result(2, 97.0), _result(0, 99.0, labels=None, log_likelihood=None)]
    first, last = results.table(found).splitlines()[2:4]
    spread = math.sqrt((9 + 1 + 16) / 2)
    assert first.startswith(f"| MNIST | 100 | M2 | 93.00 ± {spread:.2f} | 80.00 ± 0.00 |  | 1.0 ± 0.0 | -100.0 ± 0.0 |")
    assert first.endswith("| 20 | 3 | 3 |")
    assert last.startswith("| MNIST | all | M2 | 99.00 | 80.00 |  | 1.0 |  | 0.0100 |")


def test_the_table_says_how_far_log_p_can_be_relied_on():
    old = _result(model="M1")  # of a table that was written before effective sample sizes were noted
    found = [old, *(_result(seed, effective_samples=60.0 + 4 * seed, share_unreliable=9.0) for seed in (0, 1))]
    text = results.table(found)
    assert "| log p(x) | ESS | k̂ > 0.7 | error |" in text
    assert "| -100.0 |  |  | 0.0100 |" in text
    assert "| -100.0 ± 0.0 | 62 | 9 | 0.0100 ± 0.0000 |" in text
    assert "Warning" not in text
    assert "of q(y|x) on images that are not binarised" in text
    narrow = _result(model="GMVAE", effective_samples=2.0, share_unreliable=86.0)
    assert "Warning: log p(x) of GMVAE is unreliable" in results.table([*found, narrow])
    assert results.from_csv(results.to_csv([*found, narrow])) == [*found, narrow]
    head, line = results.to_csv([old]).splitlines()
    without = [name for name in head.split(",") if name not in ("effective_samples", "share_unreliable")]
    values = dict(zip(head.split(","), line.split(","), strict=True))
    assert results.from_csv("\n".join([",".join(without), ",".join(values[name] for name in without)])) == [old]
    assert "ESS" not in results.table([old])


def test_the_plot_has_a_curve_for_every_model_and_published_figure():
    found = [_result(seed, 90.0 + seed, labels, model) for seed in (0, 1) for labels in (100, None) for model in "ab"]
    (ax,) = results.plot(found, {"Somebody": {100: 95.0, 5: 1.0}, "Nobody here": {7: 1.0}}).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Somebody", "a", "b"]
    curves = {tuple(line.get_ydata()) for line in ax.get_lines()}
    assert {(90.5, 90.5), (80.0, 80.0), (95.0,)} <= curves
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "all"]


def test_a_study_that_is_stopped_has_left_the_table_of_the_runs_that_are_done(study, tmp_path):
    plan, fit, folder = read_plan(study()), Fits(), tmp_path / "study"
    fit.fails.add(plan.cells[1].name)
    fit.dies.add(plan.cells[3].name)
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, folder, fit, after_each=lambda: results.write(plan, folder))
    found = results.from_csv((folder / "results.csv").read_text())
    assert [(each.model, each.labels, each.seed) for each in found] == [
        (cell.model, cell.labels, cell.seed) for cell in (plan.cells[0], plan.cells[2])
    ]
    assert results.table(found) == (folder / "results.md").read_text()
    assert (folder / "results.png").stat().st_size > 10_000


def test_without_a_run_that_is_done_there_is_no_table(study, tmp_path):
    assert results.write(read_plan(study()), tmp_path) is None
    assert list(tmp_path.glob("results.*")) == []


# The command


@pytest.fixture
def quick_study(study):
    networks = {"model.networks.hidden": [20], "model.classifier.hidden": [20], "model.prior.latent_dim": 2}
    model = {"max_steps": 40, "augmentation": None, "objective.consistency": None, **networks}
    return study(
        models={"M2": model},
        labels=[20],
        options={
            "trainer.precision": "32-true",
            "trainer.progress_bar": False,
            "baselines": False,
            "data.num_test": 40,
        },
    )


def _numbers(folder):
    """Everything in the table that is no time."""
    rows = csv.DictReader((folder / "results.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_a_study_killed_in_the_middle_ends_with_the_numbers_of_one_that_was_not(quick_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # as in the process that is killed
    assert run_command("study", [quick_study]) == 0
    undisturbed = tmp_path / "runs" / "studies" / "some"
    assert "| Digits | 20 | M2 |" in (undisturbed / "results.md").read_text()
    assert (undisturbed / "results.png").stat().st_size > 10_000

    second = tmp_path / "killed" / "runs" / "Digits-M2-20-1"
    deadline = time.monotonic() + 120
    killed = forked.command("study", quick_study, "--folder=killed")
    while not (second / "checkpoints" / "last.ckpt").exists():
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (second / "report.md").exists()
    assert run_command("study", [quick_study, "--folder=killed"]) == 0
    assert _numbers(tmp_path / "killed") == _numbers(undisturbed)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_failed_runs_are_named_and_the_others_are_in_the_table(quick_study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    read = yaml.safe_load(Path(quick_study).read_text())
    read |= {"models": {**read["models"], "odd": {"model": "M2", "max_steps": -1}}, "seeds": [0]}
    Path(quick_study).write_text(yaml.safe_dump(read))
    assert run_command("study", [quick_study]) == 1
    said = capsys.readouterr()
    assert "max_steps: expected a positive number" in said.err
    assert "ssvae study: 1 of 2 runs failed: Digits-odd-20-0." in said.err
    assert "| Digits | 20 | M2 |" in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.yaml"], r"study: expected a YAML file; got 'no.yaml'"),
        (["no.yaml", "--objective.alpha", "3"], r"--objective.alpha: expected an option for every run with its value"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(words, said, capsys):
    assert run_command("study", words) == 2
    assert re.search(said, capsys.readouterr().err)


# On a cluster


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_ray_nothing_is_lost_when_a_worker_is_killed(study, tmp_path):
    pytest.importorskip("ray")
    plan, folder = read_plan(study()), tmp_path / "study"
    victim = plan.cells[1].name

    def fit(words):
        """Leaves the files of a run; the victim waits at first, to be killed, and begins anew after that."""
        run = Path(words[-1].partition("=")[2])
        run.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("a") as log:
            log.write(f"{run.name} {os.getpid()}\n")
        if run.name == victim and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (run / "evaluation.json").touch()
        (run / "report.md").touch()
        return True

    on_terminate = signal.getsignal(signal.SIGTERM)
    assert run_study(plan, folder, fit, ray="local") == []
    assert signal.getsignal(signal.SIGTERM) is on_terminate
    assert all(work.is_done(cell, folder) for cell in plan.cells)
    done = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert sorted(name for name, _ in done) == sorted([*(cell.name for cell in plan.cells), victim])
    assert len({pid for _, pid in done}) >= 2


@pytest.mark.slow
def test_on_a_cluster_of_two_machines_nothing_is_lost_when_one_dies(study, tmp_path):
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    plan, folder = read_plan(study()), tmp_path / "study"
    victim = plan.cells[1].name

    def fit(words):
        """Leaves the files of a run; with the victim its machine dies, once both machines have been at work."""
        run = Path(words[-1].partition("=")[2])
        run.mkdir(parents=True, exist_ok=True)
        machine = os.getppid()  # the process that stands for a machine, and starts those that work
        with (folder / "log").open("a") as log:
            log.write(f"{run.name} {machine}\n")
        while len({line.split()[1] for line in (folder / "log").read_text().splitlines()}) < 2:
            time.sleep(0.01)
        if run.name == victim and not (folder / "killed").exists():
            (folder / "killed").write_text(str(machine))
            for process in (machine, os.getpid()):
                os.kill(process, signal.SIGKILL)
        (run / "evaluation.json").touch()
        (run / "report.md").touch()
        return True

    # Ray's head node has an answer of its own to SIGTERM, and leaves it in the process that starts it.
    on_terminate = signal.getsignal(signal.SIGTERM)
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        assert run_study(plan, folder, fit, ray=cluster.address) == []
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, on_terminate)
    assert all(work.is_done(cell, folder) for cell in plan.cells)
    done = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert sorted(name for name, _ in done) == sorted([*(cell.name for cell in plan.cells), victim])
    # After its death the other machine did all.
    dead = (folder / "killed").read_text()
    machines = [machine for _, machine in done]
    assert len(set(machines)) == 2
    assert done[-1][1] != dead
