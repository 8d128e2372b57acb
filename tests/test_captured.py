"""A compiled step is the step, on a processor; `test_gpu` has the same for a GPU, and for CUDA graphs."""

import pytest
import torch
from support import captured, tiny
from test_models import CLASSES, MODELS, ROW

from ssvae.inference.training import module
from ssvae.inference.training.captured_step import CapturedStep
from ssvae.models import M1M2, M2, DistilledM2
from ssvae.models.likelihoods import ContinuousBernoulli, MissingEntries, Mixed
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

pytestmark = pytest.mark.slow


def _small():
    """M2 with few operations, of which each is compiled: the noise of dropout, missing pixels, batch norm's buffers."""
    parts = {"likelihood": MissingEntries(ContinuousBernoulli()), "prior": StandardNormal(2), "networks": MLP((4,))}
    return M2((1, 4, 4), CLASSES, classifier=MLP((4,), batch_norm=True, dropout=0.2), **parts)


def _incomplete_rows():
    """M2 of rows with missing entries in columns of each kind."""
    likelihood = MissingEntries(Mixed.example())
    return M2(ROW, CLASSES, prior=StandardNormal(2), likelihood=likelihood, networks=MLP((4,)))


@pytest.mark.skipif(torch.__version__ < "2.13", reason="compiled steps are refused before torch 2.13")
def test_a_compiled_step_is_the_step():
    captured.assert_is_the_step(_small, "cpu", captured.OBJECTIVE, compiled=True)


@pytest.fixture
def written(monkeypatch):
    """Have what was written down of a step done as it stands: compiling takes most of a minute."""
    monkeypatch.setattr(torch, "compile", lambda written, fullgraph: written)


@pytest.mark.parametrize(
    "name", ["M2, the class in the prior, p(y) learned", "M2, a full-rank posterior", "M2, rows of a table"]
)
def test_a_step_of_any_model_can_be_captured(name, written):
    captured.assert_is_the_step(MODELS[name], "cpu", captured.OBJECTIVE, compiled=True)


def test_a_step_on_missing_entries_can_be_captured(written):
    captured.assert_is_the_step(_incomplete_rows, "cpu", captured.OBJECTIVE, compiled=True)


def test_dropout_is_not_drawn_in_place(monkeypatch):
    """torch 2.13 may compile what reads `bernoulli_` into a kernel that runs before it; not in a model so small."""
    written = []

    def keep(traced, fullgraph):
        written.extend(node.target for node in traced.graph.nodes)
        return traced

    monkeypatch.setattr(torch, "compile", keep)
    captured.assert_is_the_step(_small, "cpu", captured.OBJECTIVE, compiled=True)
    assert torch.ops.aten.native_dropout.default in written
    assert torch.ops.aten.bernoulli_.float not in written


def _trained(step):
    return captured.trained(step, "cpu", max_epochs=4, dropout=0.3)


def _assert_same(ours, theirs, epochs):
    (our_model, our_rows), (their_model, their_rows) = ours, theirs
    for name, value in their_model.state_dict().items():
        torch.testing.assert_close(our_model.state_dict()[name], value, rtol=1e-9, atol=1e-12)
    assert len(our_rows) == epochs
    for our_row, their_row in zip(our_rows, their_rows, strict=True):
        del our_row["seconds"], their_row["seconds"]
        assert our_row == pytest.approx(their_row, rel=1e-6)


def test_training_is_what_it_is_without(written):
    _assert_same(_trained("compiled"), _trained("eager"), epochs=4)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(written, tmp_path, monkeypatch):
    whole, _ = _trained("compiled")
    resumed, rows = captured.stopped_and_resumed("compiled", "cpu", tmp_path, monkeypatch, max_epochs=4, dropout=0.3)
    assert len(rows) == 4
    tiny.assert_same_tensors(resumed.state_dict(), whole.state_dict())


def test_a_step_that_looks_at_a_value_is_refused_in_one_sentence():
    weight = torch.nn.Parameter(torch.ones(()))

    def step(x):
        return weight * x.sum().item(), {}

    captured_step = CapturedStep(step, [weight], [], compiled=True)
    with pytest.raises(ValueError, match=r"^trainer.step: expected a step that can be captured; .* Use 'eager'\.$"):
        captured_step(torch.ones(3))


@pytest.mark.parametrize("kind", [M1M2, DistilledM2])
def test_each_stage_has_a_step_of_its_own(kind, written, monkeypatch):
    made = []
    monkeypatch.setattr(module, "CapturedStep", lambda *given: made.append(CapturedStep(*given)) or made[-1])
    ours, theirs = (
        captured.trained(step, "cpu", max_epochs=5, model=captured.in_stages(kind)) for step in ("compiled", "eager")
    )
    assert len(made) == 3
    _assert_same(ours, theirs, epochs=5)
