"""The time left: said early, often enough, not too often, and right within a factor of two. Clocks are faked."""

import io
import sys

import pytest
from support import tiny

from ssvae.data.time_left import TimeLeft, in_words, progress
from ssvae.inference import TrainerOptions
from ssvae.inference.training import module, train
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal
from ssvae.models.stages import Staged


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def said(seconds_of_pieces, capsys, **options):
    """Do a task whose pieces take these seconds; return the times of its lines, the lines, and the estimates."""
    clock, times, lines, estimates = Clock(), [], [], []
    task = TimeLeft("training", len(seconds_of_pieces), "steps", clock=clock, **options)
    for seconds in seconds_of_pieces:
        clock.now += seconds
        task.advance()
        estimates.append((clock.now, task.seconds))
        new = capsys.readouterr().err.splitlines()
        lines += new
        times += [clock.now] * len(new)
    return times, lines, estimates


# Steps of equal length; slow at first; slower from step to step; a slow one at the end of each epoch.
STEPS = {
    "equal": [0.3] * 500,
    "slow at first": [20.0, 4.0, 2.0] + [0.3] * 497,
    "slow epochs": ([0.3] * 13 + [2.0]) * 37,
    "long": [7.0] * 300,
    "slower": [0.3 + 0.0003 * step for step in range(500)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_after_a_twentieth_of_the_steps_the_estimate_is_within_a_factor_of_two(steps, capsys):
    _, _, estimates = said(steps, capsys)
    later = [(now, seconds) for now, seconds in estimates[len(steps) // 20 - 1 :] if now < sum(steps) - 10]
    assert len(later) > 0.8 * len(steps)
    for now, estimate in later:
        assert 1 / 2 <= estimate / (sum(steps) - now) <= 2


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_a_line_within_five_seconds_and_then_one_in_30(steps, capsys):
    times, _, _ = said(steps, capsys)
    assert times[0] <= max(5, steps[0])
    gaps = [after - before for before, after in zip(times, [*times[1:], sum(steps)], strict=True)]
    assert max(gaps) <= 30 + 1e-6
    assert min(gaps[:-1]) > 28 - 2 * max(steps[len(steps) // 2 :])


def test_lines_say_task_time_and_pieces(capsys):
    _, lines, _ = said([0.5] * 500, capsys)
    assert lines[:2] == [
        "training: about 4 minutes left (8 of 500 steps)",
        "training: about 4 minutes left (64 of 500 steps)",
    ]
    assert lines[-1] == "training: about 20 seconds left (456 of 500 steps)"


def test_a_short_task_has_no_line(capsys):
    assert said([0.3] * 33, capsys)[1] == []
    assert said([0.3] * 35, capsys)[1] == ["training: less than 10 seconds left (13 of 35 steps)"]


def test_a_resumed_task_is_estimated_by_its_own_pieces(capsys):
    clock = Clock()
    task = TimeLeft("training", 500, "steps", done=400, clock=clock)
    assert task.seconds is None
    for _ in range(5):
        clock.now += 1.0
        task.advance()
    assert task.seconds == pytest.approx(95)
    assert capsys.readouterr().err == "training: about 2 minutes left (404 of 500 steps)\n"


def test_a_new_stage_is_estimated_by_its_own_pieces(capsys):
    clock = Clock()
    task = TimeLeft("training", 200, "steps", clock=clock)
    task.restart(" at the pace of this stage")
    for _ in range(100):
        clock.now += 0.125
        task.advance()
    task.restart()
    assert task.seconds is None
    for _ in range(6):
        clock.now += 1.0
        task.advance()
    assert task.seconds == pytest.approx(94)
    assert capsys.readouterr().err.splitlines() == [
        "training: about 20 seconds left at the pace of this stage (32 of 200 steps)",
        "training: about 2 minutes left (104 of 200 steps)",
    ]


def test_durations_in_words_are_right_within_a_third():
    units = {"second": 1, "minute": 60, "hour": 3600}
    for seconds in range(10, 40_000, 7):
        about, number, unit = in_words(seconds).split()
        assert about == "about"
        assert 2 / 3 <= float(number) * units[unit.removesuffix("s")] / seconds <= 3 / 2


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_in_a_terminal_and_lines_elsewhere(terminal, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    clock = Clock()
    monkeypatch.setattr(TimeLeft.__init__, "__kwdefaults__", TimeLeft.__init__.__kwdefaults__ | {"clock": clock})
    with progress("log p(x)", 100, "images") as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    lines = ["log p(x): about 2 minutes left (4 of 100 images)"]
    assert ("left (" in screen.getvalue()) == (not terminal)
    assert ("0/100" in screen.getvalue()) == terminal
    if not terminal:
        assert screen.getvalue().splitlines()[:1] == lines
        assert len(screen.getvalue().splitlines()) == 4
    screen.truncate(0)
    with progress("log p(x)", 100, "images", is_shown=False) as advance:
        clock.now += 60
        advance(50)
    assert screen.getvalue().strip("\0") == ""


# Training: 18 steps of five seconds


@pytest.fixture
def slow(monkeypatch):
    """Let each look at the clock be five seconds later."""
    clock = iter(range(0, 10**6, 5))
    monkeypatch.setattr(
        TimeLeft.__init__, "__kwdefaults__", TimeLeft.__init__.__kwdefaults__ | {"clock": lambda: float(next(clock))}
    )


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("interactive", "wanted"), [(True, False), (True, True), (False, False), (False, True)])
def test_training_says_how_long_it_takes_unless_a_bar_does(capsys, interactive, wanted):
    recipe = tiny.recipe(max_epochs=6, trainer=TrainerOptions(progress_bar=wanted))
    train(tiny.m2(), tiny.arrays(), recipe, None, interactive, task="baseline: supervised")
    written = capsys.readouterr()
    bar = interactive and wanted
    lines = [line for line in written.err.splitlines() if " left" in line]
    assert len(lines) == (0 if bar else 4)
    if not bar:
        assert lines[0] == "baseline: supervised: about 1 minute left (1 of 18 steps)"
    assert ("left=" in written.out) == bar
    train(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=1, trainer=recipe.trainer), None, interactive)
    assert " left" not in capsys.readouterr().err


class _TwoStages(Staged, M2):
    """M2 whose second stage begins in the middle of training."""

    last_stage_from = 0.5

    def advance(self, progress):
        self.current_stage = int(progress >= self.last_stage_from)


@pytest.mark.usefixtures("slow")
def test_each_stage_of_training_says_how_long_it_takes(capsys):
    model = _TwoStages((1, 8, 8), 3, prior=StandardNormal(3), networks=MLP((7,)))
    train(model, tiny.arrays(), tiny.recipe(max_epochs=6), None, interactive=False, task="training")
    assert capsys.readouterr().err.splitlines() == [
        "training: about 1 minute left at the pace of this stage (1 of 18 steps)",
        "training: about 1 minute left at the pace of this stage (6 of 18 steps)",
        "training: about 40 seconds left (10 of 18 steps)",
        "training: about 20 seconds left (15 of 18 steps)",
    ]


def test_compiling_is_said_before_it_begins(monkeypatch, capsys):
    monkeypatch.setattr(module, "CapturedStep", lambda step, *arguments: step)
    recipe = tiny.recipe(trainer=TrainerOptions(step="compiled", accelerator="cpu"))
    train(tiny.m2(), tiny.arrays(), recipe, None, interactive=False, task="training")
    assert capsys.readouterr().err == "training: compiling takes about a minute\n"


@pytest.mark.usefixtures("slow")
def test_early_stopping_is_part_of_the_line(capsys):
    recipe = tiny.recipe(max_epochs=6, early_stopping=30)
    train(tiny.m2(), tiny.arrays(), recipe, None, interactive=False, task="training")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: about 1 minute left, unless it stops early (1 of 18 steps)"
