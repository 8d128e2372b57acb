"""Processes that train together: the same J, gradients, images and files as of one process."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import forked, tiny

from ssvae.data import Batches
from ssvae.inference import Objective, TrainerOptions
from ssvae.inference.command_line.main import main
from ssvae.inference.storage.checkpoints import read_checkpoint
from ssvae.inference.training.trainer import strategy_of
from ssvae.models import M1M2

ROOT = Path(__file__).parents[1]
NONE = torch.empty(0, dtype=torch.int64)


def torchrun(num_processes, *words):
    """Run a program in several processes."""
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(num_processes)),
            # Any free port: tests run side by side.
            *("--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"),
            *words,
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "typing"), str(ROOT / "tests")]),
            "OMP_NUM_THREADS": "1",
        },
        timeout=300,
        check=True,
    )


def done(running):
    """Wait for processes that train together; return what each of them wrote."""
    written = [each.communicate() for each in running]
    assert [each.returncode for each in running] == [0] * len(running), written
    return [output for output, _ in written]


# The batches


@pytest.mark.parametrize("num_processes", [2, 3, 6])
def test_the_shares_of_a_batch_are_equal_and_make_the_batch(num_processes):
    indices = torch.arange(100, 107), torch.arange(20), torch.arange(200, 211)
    shares = []
    for process in range(num_processes):
        batches = Batches(indices, 6, 6, seed=3, num_processes=num_processes)
        batches.process = process
        batches.set_epoch(4)
        shares.append(list(batches))
    whole = Batches(indices, 6, 6, seed=3)
    whole.partial_batch_size = batches.partial_batch_size
    whole.set_epoch(4)
    for batch, *parts in zip(whole, *shares, strict=True):
        for kind, images in enumerate(batch):
            of_processes = [part[kind] for part in parts]
            assert {len(part) for part in of_processes} == {len(images) // num_processes}
            assert sorted(torch.cat(of_processes).tolist()) == sorted(images.tolist())


def test_as_many_labelled_images_as_can_be_shared_stand_beside():
    batches = Batches((torch.arange(7), torch.arange(20), torch.arange(5)), 6, num_processes=3)
    assert (batches.labelled_batch_size, batches.partial_batch_size) == (6, 3)


@pytest.mark.parametrize(
    ("indices", "sizes", "sentence"),
    [
        ((7, 20, 0), (5, 2), "batch_size: expected a multiple of 2, the number of processes; got 5"),
        ((7, 20, 0), (6, 3), "labelled_batch_size: expected a multiple of 2, the number of processes; got 3"),
        ((1, 20, 0), (6, None), "data: expected a labelled image for each of the 2 processes; got 1"),
        ((4, 20, 1), (6, None), "data: expected a partially labelled image for each of the 2 processes; got 1"),
    ],
)
def test_what_cannot_be_shared_is_refused(indices, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Batches(tuple(torch.arange(number) for number in indices), *sizes, num_processes=2)


# The steps


def _train_alone(folder):
    from support import together  # which changes torch

    together.main(folder, 1)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    done([forked.Forked(_train_alone, one)])
    torchrun(2, str(ROOT / "tests" / "support" / "together.py"), str(two), "2")
    alone = torch.load(one / "0.pt")
    pair = [torch.load(two / f"{rank}.pt") for rank in range(2)]

    # J and its terms, of the joined batches; validation by one process, and known to both.
    for of_one, *of_two in zip(alone["rows"], *(each["rows"] for each in pair), strict=True):
        of_one.pop("seconds")
        assert {"loss", "labelled/kl", "partial/kl", "validation_accuracy"} <= of_one.keys()
        for row in of_two:
            assert {name: row[name] for name in of_one} == pytest.approx(of_one, rel=1e-6, abs=1e-9)
    # The gradients: what gradient descent has made of the weights, which have moved.
    untrained = {**tiny.m2().double().state_dict(), "alignment": torch.full((3,), 1 / 3).double()}
    for name, value in alone["state"].items():
        for each in pair:
            torch.testing.assert_close(each["state"][name], value, rtol=1e-6, atol=1e-9)
    moved = [name for name, value in alone["state"].items() if not torch.allclose(value, untrained[name], atol=1e-6)]
    assert len(moved) > 5
    # Every image of a step, labelled ones too, is seen by one process.
    for whole, *shares in zip(alone["seen"], *(each["seen"] for each in pair), strict=True):
        for kind, images in enumerate(whole):
            assert sorted(images) == sorted(share for each in shares for share in each[kind])
            assert len({len(each[kind]) for each in shares}) == 1


@pytest.mark.parametrize(
    ("model", "objective", "strategy", "expected"),
    [
        (tiny.m2, Objective(), "auto", "auto"),
        (tiny.m2, Objective(generative=False), "auto", "ddp_find_unused_parameters_true"),
        (tiny.m2, Objective(alpha=0), "ddp", "ddp_find_unused_parameters_true"),
        (tiny.m2, Objective(alpha=0), "fsdp", "fsdp"),
        (lambda: M1M2((1, 8, 8), 3), Objective(), "auto", "ddp_find_unused_parameters_true"),
    ],
)
def test_processes_know_where_a_step_may_leave_networks_out(model, objective, strategy, expected):
    recipe = tiny.recipe(objective=objective, trainer=TrainerOptions(strategy=strategy))
    assert strategy_of(model(), recipe) == expected


# The command

SMALL = (
    *("--data.num_labels=20", "--data.num_test=40", "--data.num_validation=40"),
    *("--model.networks.hidden=[20]", "--max_steps=48", "--batch_size=100"),
    *("--objective.consistency=null", "--trainer.accelerator=cpu", "--trainer.devices=2"),
)


def fit(*words):
    """Start `ssvae fit` in two processes, which have left their group when they are done."""
    return forked.ranks(2, _fit, *words)


def _fit(*words):
    status = forked.main_without_pictures("fit", *words)
    assert not torch.distributed.is_initialized()
    return status


@pytest.mark.slow
def test_killed_and_resumed_two_processes_end_as_two_that_were_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed = fit(*SMALL, "--folder=killed")
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    started = time.monotonic()
    while not last.exists():
        assert [each.poll() for each in killed] == [None, None], [each.communicate() for each in killed]
        assert time.monotonic() - started < 120
        time.sleep(0.01)
    for each in killed:
        each.send_signal(signal.SIGKILL)
    for each in killed:
        each.communicate()

    whole = "".join(done(fit(*SMALL, "--folder=whole")))
    resumed = "".join(done(fit("--resume=killed")))
    # One process speaks: each epoch of the model and of its baseline has one line, and the result is told once.
    assert re.findall(r"^epoch (\d+)/", whole, re.MULTILINE) == [str(epoch) for epoch in range(1, 4)] * 2
    assert [said.count("The whole report") for said in (whole, resumed)] == [1, 1]
    for folder in (".", "baselines/supervised"):
        first, second = (
            read_checkpoint(tmp_path / name / folder / "checkpoints" / "last.ckpt") for name in ("whole", "killed")
        )
        tiny.assert_same_tensors(first["state_dict"], second["state_dict"])
        assert [row["step"] for row in second["ssvae"]["history"]] == [16, 32, 48]
    reports = [(tmp_path / name / "report.md").read_text().split("## Evaluation")[1] for name in ("whole", "killed")]
    assert reports[0].replace("whole", "killed") == reports[1]


def test_processes_that_are_not_told_of_one_folder_are_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL]) == 2
    expected = "folder: expected a common folder for the 2 processes that train together; got None."
    assert expected in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
