"""On a GPU: the numbers are those of the processor, and a captured step is the step.

Needs one of NVIDIA's; elsewhere nothing of this runs.
"""

from dataclasses import replace

import pytest
import torch
from support import captured, tiny
from test_models import MODELS

from ssvae.inference import Objective, Recipe, TrainerOptions, evaluate, evaluation, fit, load
from ssvae.inference.command_line.main import main
from ssvae.inference.objective.alignment import Alignment
from ssvae.models import M1M2, DistilledM1, DistilledM2

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def _same_noise(monkeypatch):
    """Have all noise drawn by the processor, whatever the device."""
    for name in ("randn", "rand"):
        draw = getattr(torch, name)

        def drawn(*shape, device=None, _draw=draw, **options):
            return _draw(*shape, **options).to(device or "cpu")

        monkeypatch.setattr(torch, name, drawn)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if name.startswith(("M2", "GMVAE", "Ladder", "ADGM", "SDGM"))]
)
def test_j_and_its_gradient_are_those_of_the_processor(name, monkeypatch):
    _same_noise(monkeypatch)
    torch.manual_seed(0)
    model = MODELS[name]().eval()  # dropout draws where the model is
    found = {}
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        torch.manual_seed(3)
        loss, terms = captured.OBJECTIVE(model, captured.seen(model, device), captured.SIZES, 0.2, Alignment(model))
        loss.backward()
        gradient = {name: p.grad.cpu().clone() for name, p in model.named_parameters() if p.grad is not None}
        found[device] = {"loss": loss.detach().cpu()} | {name: value.cpu() for name, value in terms.items()} | gradient
    assert found["cpu"].keys() == found["cuda"].keys()
    for name, value in found["cpu"].items():
        torch.testing.assert_close(found["cuda"][name], value, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("summed_classes", [None, 1])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_a_cuda_graph_is_the_step(name, summed_classes):
    captured.assert_is_the_step(
        MODELS[name], "cuda", replace(captured.OBJECTIVE, summed_classes=summed_classes), compiled=False
    )


# Without dropout, which compiled code draws by other kernels, and so other units.
@pytest.mark.parametrize("name", ["M2, convolutional, colour, VampPrior", "LadderVAE, three layers"])
def test_a_compiled_step_is_the_step(name):
    captured.assert_is_the_step(MODELS[name], "cuda", captured.OBJECTIVE, compiled=True)


def test_training_with_the_graph_is_training_without():
    with_graph, without = (captured.trained(step, "gpu") for step in ("cuda_graph", "eager"))
    for name, value in without[0].state_dict().items():
        torch.testing.assert_close(with_graph[0].state_dict()[name], value, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(with_graph[1], without[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["kl_weight"] == theirs["kl_weight"]


@pytest.mark.parametrize("kind", [M1M2, DistilledM1, DistilledM2])
def test_training_in_stages_with_the_graph_is_training_without(kind):
    with_graph, without = (
        captured.trained(step, "gpu", max_epochs=10, model=captured.in_stages(kind)) for step in ("cuda_graph", "eager")
    )
    for name, value in without[0].state_dict().items():
        torch.testing.assert_close(with_graph[0].state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole, rows = captured.trained("cuda_graph", "gpu")
    resumed, resumed_rows = captured.stopped_and_resumed("cuda_graph", "gpu", tmp_path, monkeypatch)
    assert len(resumed_rows) == len(rows)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_trained_evaluated_and_loaded(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]()
    data = tiny.arrays(binarise=model.likelihood.is_discrete) if model.event_shape[0] == 1 else None
    if data is None:
        pytest.skip("the images are grey")
    options = {"objective": Objective(alpha=1), "trainer": TrainerOptions(accelerator="gpu", progress_bar=False)}
    run = fit(model, data, Recipe(max_epochs=2, batch_size=10, **options), folder=str(tmp_path / "run"))
    loaded = load(run.folder, with_data=False)
    found = evaluate(loaded.model, data)
    assert found.classifier.accuracy == run.evaluation.classifier.accuracy
    assert found.classifier.nll == pytest.approx(run.evaluation.classifier.nll, rel=1e-5)


def test_the_command_evaluates_on_the_gpu(tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    folder = str(tmp_path / "run")
    assert main(["fit", "--max_steps=12", "--baselines=false", "--folder", folder]) == 0
    devices = []

    def evaluated(model, *arguments, **options):
        devices.append(next(model.parameters()).device.type)
        return evaluate(model, *arguments, **options)

    monkeypatch.setattr(evaluation, "evaluate", evaluated)
    assert main(["evaluate", folder, "--num_samples=5"]) == 0
    assert devices == ["cuda"]
