"""Training is the loop that is written out here; what it saves, notes, stops at and refuses."""

import copy
import csv
import random
import signal

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from support import tiny
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.torch_version import TorchVersion

from ssvae.data import Batches
from ssvae.inference import Objective, TrainerOptions
from ssvae.inference.objective import Observations, Sizes
from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.storage.checkpoints import read_checkpoint
from ssvae.inference.training import Recipe, check_trainable, train
from ssvae.inference.training.module import Training, epoch_seed
from ssvae.models import M1M2, DistilledM1, DistilledM2
from ssvae.models.networks import MLP, Network
from ssvae.models.priors import StandardNormal

pytestmark = pytest.mark.slow


class Watching(StandardNormal):
    """N(0, I) that runs a function whenever a step asks for it."""

    def __init__(self, watch):
        super().__init__(3)
        self.__dict__["watch"] = watch
        self.calls = 0

    def forward(self, y=None):
        self.calls += 1
        self.watch(self.calls)
        return super().forward(y)


class Turning(StandardNormal):
    """N(0, I), whose mean is NaN from a certain call on."""

    def __init__(self, at):
        super().__init__(3)
        self.at = at
        self.calls = 0

    def forward(self, y=None):
        self.calls += 1
        loc = torch.full_like(self.zero, float("nan") if self.calls >= self.at else 0)
        return dist.Independent(dist.Normal(loc, 1.0, validate_args=False), 1)


CALLS_PER_STEP = 2  # a labelled and an unlabelled batch


@pytest.fixture
def float32():
    """Autocast knows float32 only; conftest.py brings the other type back."""
    torch.set_default_dtype(torch.float32)


# The loop


def by_hand(model, data, recipe):
    """Train as one would in a notebook; return the mean terms of every epoch."""
    sizes = Sizes(data.num_labelled, data.num_unlabelled)
    batches = Batches(data, recipe.batch_size, recipe.labelled_batch_size, seed=recipe.seed)
    steps = len(batches) * recipe.max_epochs
    alignment, student = Alignment(model), copy.deepcopy(model)
    adam = torch.optim.Adam(student.parameters(), lr=recipe.learning_rate, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.learning_rate, total_steps=steps)
    step, rows = 0, []
    for epoch in range(recipe.max_epochs):
        batches.set_epoch(epoch)
        torch.manual_seed(np.random.SeedSequence(recipe.seed, spawn_key=(epoch, 0)).generate_state(1)[0].item())
        totals = {}
        for batch in batches:
            labelled = recipe.augmentation.move(data.preprocess(data.train_images[batch.labelled]))
            disturbed = data.observe(recipe.augmentation.disturb(labelled))
            unlabelled = data.preprocess(data.train_images[batch.unlabelled])
            transformed = data.observe(recipe.augmentation(unlabelled))
            labelled, y = data.observe(labelled), data.train_labels[batch.labelled]
            seen = Observations(labelled, y, data.observe(unlabelled), transformed, disturbed=disturbed)
            loss, terms = recipe.objective(student, seen, sizes, step / steps, alignment, model)
            adam.zero_grad()
            loss.backward()
            adam.step()
            cycle.step()
            step += 1
            for name, mean in model.state_dict().items():
                weight = 1 - min(0.5, step / (step + 9)) if mean.is_floating_point() else 1
                mean.lerp_(student.state_dict()[name], weight) if weight < 1 else mean.copy_(student.state_dict()[name])
            for name, value in {"loss": loss.detach(), **terms}.items():
                totals[name] = totals.get(name, 0) + value.item() / len(batches)
        rows.append(totals)
    return rows


def test_the_seed_of_an_epoch_is_a_number_that_stays():
    seeds = [epoch_seed(0, 0), epoch_seed(0, 1), epoch_seed(0, 0, 1), epoch_seed(1, 0), epoch_seed(2**31, 7, 3)]
    assert seeds == [4088532484, 3953331965, 3581274545, 3023998541, 1897491252]


@pytest.mark.parametrize("binarise", [False, True])
def test_training_is_the_loop_by_hand(tmp_path, binarise):
    data, recipe = tiny.arrays(binarise=binarise), tiny.everything()
    trained, expected = tiny.m2(batch_norm=True, dropout=0.1), tiny.m2(batch_norm=True, dropout=0.1)
    history = train(trained, data, recipe, tmp_path, interactive=False)
    rows = by_hand(expected, data, recipe)
    tiny.assert_same_tensors(trained.state_dict(), expected.state_dict())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["step"] for row in history] == [3, 6, 9]
    for noted, row in zip(history, rows, strict=True):
        assert set(noted) - set(row) == {
            "epoch", "step", "seconds", "kl_weight", "learning_rate", "validation_accuracy", "validation_nll"
        }  # fmt: skip
        assert {name: noted[name] for name in row} == pytest.approx(row, rel=1e-9)
        assert noted["kl_weight"] == pytest.approx(3 - 2 * min(1, noted["step"] / 9 / 0.8))
    probabilities = predict_probabilities(expected, data, data.validation_images)
    accuracy = (probabilities.argmax(-1) == data.validation_labels).double().mean().item()
    assert history[-1]["validation_accuracy"] == accuracy


def test_the_learning_rate_is_constant_without_a_cycle(tmp_path):
    history = train(tiny.m2(), tiny.arrays(), tiny.recipe(), tmp_path)
    assert {row["learning_rate"] for row in history} == {1e-2}


def test_hidden_labels_are_not_there_to_influence_anything(tmp_path):
    hidden = tiny.arrays()
    generator = torch.Generator().manual_seed(5)
    never_known = tiny.arrays(num_labels=None)
    never_known.train_labels = hidden.train_labels.clone()
    shuffled = tiny.arrays(num_labels=None)
    known = hidden.train_labels >= 0
    # The classes of the others in another order: whoever could look at them would train another model.
    true = shuffled.train_labels.clone()
    true[~known] = true[~known][torch.randperm(int((~known).sum()), generator=generator)]
    shuffled.train_labels = torch.where(known, true, -1)
    models = []
    for name, data in {"hidden": hidden, "never_known": never_known, "shuffled": shuffled}.items():
        models.append(tiny.m2())
        train(models[-1], data, tiny.everything(), tmp_path / name)
    tiny.assert_same_tensors(models[0].state_dict(), models[1].state_dict())
    tiny.assert_same_tensors(models[0].state_dict(), models[2].state_dict())


def test_a_second_model_in_the_same_process_trains_as_if_it_were_the_first(tmp_path):
    first, second, again = tiny.m2(seed=1), tiny.m2(seed=2), tiny.m2(seed=1)
    train(first, tiny.arrays(), tiny.recipe(), tmp_path / "first")
    train(second, tiny.arrays(seed=3), tiny.recipe(seed=4), tmp_path / "second")
    train(again, tiny.arrays(), tiny.recipe(), tmp_path / "again")
    tiny.assert_same_tensors(first.state_dict(), again.state_dict())
    start = tiny.m2(seed=2).state_dict()
    assert all(not torch.equal(start[name], value) for name, value in second.named_parameters())


def test_every_random_state_is_as_it_was(tmp_path):
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    before = states()
    train(tiny.m2(dropout=0.5), tiny.arrays(binarise=True), tiny.everything(), tmp_path)
    assert states() == before


def test_a_seed_decides_the_run(tmp_path):
    models = []
    for seed in (0, 1):
        models.append(tiny.m2())
        train(models[-1], tiny.arrays(), tiny.recipe(seed=seed), tmp_path / str(seed))
    assert not torch.equal(*(next(model.parameters()) for model in models))


def test_a_model_that_was_evaluated_trains_in_training_mode_and_comes_back_in_evaluation_mode(tmp_path):
    modes = []
    model = tiny.m2(prior=Watching(lambda call: modes.append(model.training)), dropout=0.5)
    model.eval()
    train(model, tiny.arrays(num_validation=0), tiny.recipe(max_epochs=1), tmp_path)
    assert set(modes) == {True}
    assert not any(module.training for module in model.modules())


def test_validation_is_on_in_the_first_step_only(tmp_path):
    flags = []
    model = tiny.m2(prior=Watching(lambda call: flags.append(pyro.settings.get("validate_distributions_pyro"))))
    train(model, tiny.arrays(), tiny.recipe(), tmp_path)
    steps = [all(flags[n : n + CALLS_PER_STEP]) for n in range(0, len(flags), CALLS_PER_STEP)]
    assert steps == [True] + [False] * (len(steps) - 1)
    assert pyro.settings.get("validate_distributions_pyro")  # as conftest.py has it


def test_gradients_are_clipped(tmp_path):
    norms = []

    def note(optimizer, arguments, options):
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    hook = register_optimizer_step_post_hook(note)
    try:
        for clip in (None, 0.01):
            options = TrainerOptions(gradient_clip=clip)
            train(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=1, trainer=options), tmp_path / str(clip))
    finally:
        hook.remove()
    free, clipped = norms[:3], norms[3:]
    assert min(free) > 0.1
    assert clipped == pytest.approx([0.01] * 3, rel=1e-3)


# bfloat16


def compute_dtypes(model):
    return {part.compute_dtype for part in model.modules() if isinstance(part, Network)}


@pytest.mark.usefixtures("float32")
def test_bf16_is_inside_the_networks_and_gone_afterwards(tmp_path):
    during, outputs = [], []
    model = tiny.m2(prior=Watching(lambda call: during.append(compute_dtypes(model))))
    model.y_encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output.dtype))
    options = TrainerOptions(precision="bf16-mixed")
    history = train(model, tiny.arrays(), tiny.recipe(trainer=options), tmp_path)
    assert all(dtypes == {torch.bfloat16} for dtypes in during)
    assert torch.bfloat16 not in outputs
    assert compute_dtypes(model) == {None}
    full = train(tiny.m2(), tiny.arrays(), tiny.recipe(), tmp_path / "full")
    assert history[0]["loss"] == pytest.approx(full[0]["loss"], rel=0.02)
    assert history[0]["loss"] != full[0]["loss"]


@pytest.mark.usefixtures("float32")
def test_bf16_is_gone_after_an_error(tmp_path):
    def fail(call):
        if call == 3 * CALLS_PER_STEP:
            raise ZeroDivisionError

    model = tiny.m2(prior=Watching(fail))
    with pytest.raises(ZeroDivisionError):
        train(model, tiny.arrays(), tiny.recipe(trainer=TrainerOptions(precision="bf16-mixed")), tmp_path)
    assert compute_dtypes(model) == {None}


@pytest.mark.parametrize(
    ("capabilities", "accelerator", "expected"),
    [
        ({"avx512_f": True}, "cpu", "32-true"),
        ({"avx512_bf16": True}, "cpu", "bf16-mixed"),
        ({"amx_bf16": True, "avx512_bf16": False}, "auto", "bf16-mixed"),
        ({"amx_bf16": True}, "mps", "32-true"),
    ],
)
def test_the_automatic_precision_is_what_the_processor_multiplies_fast(
    monkeypatch, capabilities, accelerator, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert TrainerOptions(precision="auto", accelerator=accelerator).precision == expected


def test_the_automatic_precision_is_float32_where_torch_cannot_say(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert TrainerOptions(precision="auto").precision == "32-true"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_the_automatic_precision_asks_the_gpu_where_there_is_one(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert TrainerOptions(precision="auto", accelerator="gpu").precision == expected


# What is noted and kept


@pytest.mark.parametrize(
    ("max_epochs", "every", "epochs"),
    [(1, 1, 1), (99, 1, 99), (199, 1, 199), (200, 2, 200), (205, 2, 204), (1050, 10, 1050), (1059, 10, 1050)],
)
def test_small_data_are_noted_every_hundredth_of_the_epochs(tmp_path, max_epochs, every, epochs):
    training = Training(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=max_epochs), tmp_path, print_lines=False)
    assert (training.every, training.epochs) == (every, epochs)
    assert training.total_steps == 3 * epochs


def test_a_long_run_has_a_row_for_every_second_epoch(tmp_path):
    data = tiny.arrays(num_train=16)
    recipe = tiny.recipe(max_epochs=205, learning_rate=1e-3)
    history = train(tiny.m2(), data, recipe, tmp_path)
    assert [row["epoch"] for row in history] == list(range(2, 205, 2))
    assert [row["step"] for row in history] == list(range(2, 205, 2))
    # A row is the mean since the row before: its loss is that of two epochs, not twice or half of it.
    single = train(tiny.m2(), data, tiny.recipe(max_epochs=2, learning_rate=1e-3), tmp_path / "single")
    assert history[0]["loss"] == pytest.approx((single[0]["loss"] + single[1]["loss"]) / 2, rel=1e-12)
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert checkpoint["ssvae"]["history"] == history


@pytest.mark.parametrize(("max_epochs", "max_steps", "expected"), [(4, None, 4), (None, 7, 3), (2, 30, 2), (9, 6, 2)])
def test_the_tighter_of_two_limits_holds(tmp_path, max_epochs, max_steps, expected):
    recipe = tiny.recipe(max_epochs=max_epochs, max_steps=max_steps)
    assert Training(tiny.m2(), tiny.arrays(), recipe, tmp_path, print_lines=False).epochs == expected


def test_metrics_events_and_checkpoints(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, data = tiny.m2(), tiny.arrays()
    history = train(model, data, tiny.recipe(max_epochs=6, learning_rate=0.03), tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == history
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    tiny.assert_same_tensors(
        {name.removeprefix("model."): value for name, value in last["state_dict"].items()}, model.state_dict()
    )
    accuracies = [row["validation_accuracy"] for row in history]
    assert len(set(accuracies)) > 1, "the run is to have a best epoch"
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["ssvae"]["history"]
    assert len(best) == 1 + accuracies.index(max(accuracies))
    assert not list(tmp_path.rglob("*.partial"))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row["loss"] for row in history])
    assert [event.step for event in events.Scalars("unlabelled/kl")] == [row["step"] - 1 for row in history]


def test_without_validation_images_there_is_no_best_epoch(tmp_path):
    history = train(tiny.m2(), tiny.arrays(num_validation=0), tiny.recipe(), tmp_path)
    assert "validation_accuracy" not in history[0]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(("interactive", "wanted"), [(True, False), (True, True), (False, False), (False, True)])
def test_a_bar_where_it_can_be_drawn_and_lines_elsewhere(tmp_path, capsys, interactive, wanted):
    options = TrainerOptions(progress_bar=wanted)
    train(tiny.m2(), tiny.arrays(), tiny.recipe(trainer=options), tmp_path, interactive)
    written = capsys.readouterr()
    lines = [line for line in written.out.split("\n") if line.startswith("epoch")]
    assert len(lines) == (3 if wanted and not interactive else 0)
    assert ("epoch 3/3: 100%" in written.out) == (wanted and interactive)
    assert "v_num" not in written.out
    assert written.err == ""


def test_without_a_folder_nothing_is_written_and_training_is_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    models, rows = [], []
    for folder in (None, tmp_path / "run"):
        models.append(tiny.m2())
        rows.append(train(models[-1], tiny.arrays(), tiny.everything(), folder))
    assert list((tmp_path / "empty").iterdir()) == []
    assert capsys.readouterr() == ("", "")
    tiny.assert_same_tensors(*(model.state_dict() for model in models))
    assert [{**row, "seconds": 0} for row in rows[0]] == [{**row, "seconds": 0} for row in rows[1]]


# Early stopping


@pytest.mark.parametrize(("max_epochs", "patience", "last"), [(50, 4, 5), (300, 7, 12), (3, 4, 3)])
def test_early_stopping_counts_epochs(tmp_path, max_epochs, patience, last):
    # Nothing is learned, so that the first noted epoch (1, or 3 of 300) is the best one.
    recipe = tiny.recipe(max_epochs=max_epochs, early_stopping=patience, learning_rate=1e-30)
    data = tiny.arrays(num_train=16)
    model = tiny.m2()
    history = train(model, data, recipe, tmp_path)
    assert history[-1]["epoch"] == last
    # Resumed, it has stopped already.
    again = tiny.m2()
    assert train(again, data, recipe, tmp_path) == history
    tiny.assert_same_tensors(again.state_dict(), model.state_dict())


STAGED = {
    "M1M2, end to end at last": (lambda: M1M2((1, 8, 8), 3, networks=MLP((7,)), m1_until=0.2, m2_until=0.6), 0.6),
    "M1M2": (lambda: M1M2((1, 8, 8), 3, networks=MLP((7,)), m1_until=0.4), 0.4),
    "DistilledM1": (lambda: DistilledM1((1, 8, 8), 3, networks=MLP((7,)), fitted_at=(0.2, 0.6)), 0.6),
    "DistilledM2": (lambda: DistilledM2((1, 8, 8), 3, networks=MLP((7,)), fitted_at=(0.2, 0.6)), 0.6),
}


@pytest.mark.parametrize("name", STAGED)
def test_a_model_in_stages_is_not_stopped_before_the_last_of_them(name):
    make, share = STAGED[name]
    # Nothing is learned: the first epoch after the last stage has begun is the best of those that count.
    recipe = tiny.recipe(max_epochs=20, early_stopping=2, learning_rate=1e-30)
    history = train(make(), tiny.arrays(num_train=16), recipe, None)
    assert history[-1]["epoch"] == 20 * share + 3


# Interruption


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("at", [2, 5, 8, 9])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, at, precision):
    def interrupt(call):
        if call == at * CALLS_PER_STEP:
            raise KeyboardInterrupt

    networks = {"batch_norm": True, "dropout": 0.2}
    data, recipe = tiny.arrays(binarise=True), tiny.everything(precision, max_steps=9)
    whole = tiny.m2(prior=Watching(lambda call: None), **networks)
    history = train(whole, data, recipe, tmp_path / "whole")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny.m2(prior=Watching(interrupt), **networks), data, recipe, tmp_path / "interrupted")
    assert signal.getsignal(signal.SIGINT) is handler
    moved = (tmp_path / "interrupted").rename(tmp_path / "moved")  # the folder may have been moved in between
    resumed = tiny.m2(prior=Watching(lambda call: None), **networks)
    rows = train(resumed, data, recipe, moved)

    tiny.assert_same_tensors(resumed.state_dict(), whole.state_dict())
    assert [row | {"seconds": 0} for row in rows] == [row | {"seconds": 0} for row in history]
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_checkpoint(folder / "checkpoints" / name) for folder in (tmp_path / "whole", moved))
        tiny.assert_same_tensors(first["state_dict"], second["state_dict"])


def test_sigterm_is_an_interruption_too(tmp_path):
    def terminate(call):
        if call == 2 * CALLS_PER_STEP:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(tiny.m2(prior=Watching(terminate)), tiny.arrays(), tiny.recipe(), tmp_path)


# Numbers that are not finite


def test_a_term_that_is_not_finite_stops_the_run_and_is_named(tmp_path):
    model = tiny.m2(prior=Turning(at=4 * CALLS_PER_STEP + 1))
    with pytest.raises(FloatingPointError, match=r"^loss: expected finite numbers; got others in the term "
                       r"'labelled/kl' at step 5, epoch 2, .*last\.ckpt holds epoch 1\)"):  # fmt: skip
        train(model, tiny.arrays(), tiny.recipe(), tmp_path)
    kept = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert [row["epoch"] for row in kept["ssvae"]["history"]] == [1]
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_an_absurd_learning_rate_is_refused_to_be_saved(tmp_path):
    with pytest.raises(FloatingPointError, match=r"got others in .* \(last good checkpoint: none\)"):
        train(tiny.m2(), tiny.arrays(), tiny.recipe(learning_rate=1e200), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_without_a_folder_a_loss_that_is_not_finite_is_told_without_checkpoints():
    with pytest.raises(
        FloatingPointError, match=r"epoch \d+, and stopped\. A lower learning_rate or trainer\."
    ) as told:
        train(tiny.m2(), tiny.arrays(), tiny.recipe(learning_rate=1e200), None)
    assert "checkpoint" not in str(told.value)


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    class Spoiling(nn.Module):
        """Finite in every step, and spoilt behind the last one's back."""

    model = tiny.m2()
    model.spoilt = Spoiling()
    model.spoilt.register_buffer("average", torch.tensor(float("inf")))
    with pytest.raises(FloatingPointError, match=r"got others in 'spoilt\.average'"):
        train(model, tiny.arrays(), tiny.recipe(), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_numbers_of_numpys_become_pythons_own_which_a_configuration_can_hold():
    recipe = Recipe(max_steps=np.int64(3), batch_size=np.int32(2), learning_rate=np.float32(0.5), max_epochs=None)
    assert [type(each) for each in (recipe.max_steps, recipe.batch_size, recipe.learning_rate)] == [int, int, float]
    assert (recipe.max_steps, recipe.batch_size, recipe.learning_rate) == (3, 2, 0.5)


# Refusals


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        ({}, {"batch_size": 35}, "batch_size: expected at most 34, the number of unlabelled images; got 35"),
        ({}, {"labelled_batch_size": 7}, "labelled_batch_size: expected at most 6"),
        ({}, {"seed": -1}, "seed: expected 0 or more; got -1"),
        ({"num_validation": 0}, {"early_stopping": 3}, "early_stopping: expected validation images"),
        ({"num_labels": 0}, {"objective": Objective(generative=False)}, "data: expected labelled images"),
        ({}, {"trainer": TrainerOptions(accelerator="gpuu")}, "trainer: .*gpuu"),
        ({}, {"trainer": TrainerOptions(strategy="foo")}, "trainer: .*foo"),
        ({}, {"trainer": TrainerOptions(accelerator="cpu", devices=0)}, "trainer: .*devices=0"),
        ({}, {"trainer": TrainerOptions(accelerator="cpu", step="cuda_graph")}, "trainer.step: expected a GPU"),
        ({}, {"trainer": TrainerOptions(accelerator="cpu", step="compiled", devices=2)}, "trainer.step: .*; got 2"),
    ],
)
def test_what_cannot_be_trained_is_refused_beforehand(data, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_trainable(tiny.m2(), tiny.arrays(**data), tiny.recipe(**options), None)


def test_a_compiled_step_of_an_old_torch_is_refused_beforehand(monkeypatch):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.6.0"))
    recipe = tiny.recipe(trainer=TrainerOptions(accelerator="cpu", step="compiled"))
    sentence = r"^trainer\.step: expected torch 2\.13 or newer for 'compiled'; got 2\.6\.0\. Use 'eager'\.$"
    with pytest.raises(ValueError, match=sentence):
        check_trainable(tiny.m2(), tiny.arrays(), recipe, None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrainerOptions(step="lazy"), "trainer.step: expected 'eager', 'cuda_graph' or 'compiled'; got 'lazy'"),
        (lambda: Recipe(), "max_epochs: expected a number of epochs, or max_steps"),
        *(
            (lambda name=name: Recipe(**{"max_epochs": 1, name: 0}), f"{name}: expected a positive number; got 0")
            for name in ("max_epochs", "max_steps", "batch_size", "labelled_batch_size", "learning_rate", "cycles")
        ),
        (lambda: Recipe(max_epochs=1, early_stopping=-1), "early_stopping: expected a positive number; got -1"),
        (lambda: Recipe(max_epochs=1, cycles=2), "cycles: expected 1 for a learning rate that stays constant; got 2"),
        (
            lambda: Recipe(max_epochs=1, objective=tiny.everything().objective),
            "augmentation: expected one, since consistency",
        ),
        (
            lambda: TrainerOptions(precision="16"),
            "trainer.precision: expected '32-true', 'bf16-mixed' or 'auto'; got '16'",
        ),
        (lambda: TrainerOptions(gradient_clip=0), "trainer.gradient_clip: expected a positive number or None; got 0"),
    ],
)
def test_options_are_checked(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_checkpoint_of_another_model_is_not_resumed_from(tmp_path):
    train(tiny.m2(), tiny.arrays(), tiny.recipe(), tmp_path)
    with pytest.raises(ValueError, match=r"last\.ckpt, whose prior differs"):
        train(tiny.m2(prior=StandardNormal(4)), tiny.arrays(), tiny.recipe(), tmp_path)
