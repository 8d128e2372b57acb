"""DistilledM2: M2's story, then what labels that spread over its features say, and a learning rate for each stage."""

import pytest
import torch
import torch.nn.functional as F
from support import distilled, tiny
from support.distilled import CLASSES, EXACT, IMAGE, LATENT, LESSON

from ssvae.data import Augmentation
from ssvae.inference import Objective, Recipe, TrainerOptions, fit, load
from ssvae.inference.predict import class_probabilities
from ssvae.inference.training.learning_rate import RepeatedCycle
from ssvae.models import M2, DistilledM2
from ssvae.models.feature_classifiers import KNearestNeighbours
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal


def _model(**options):
    return distilled.model(DistilledM2, **options)


def test_at_first_it_is_m2_without_consistency():
    model, seen = tiny.at(_model(), 0.0), distilled.seen()
    m2 = M2(IMAGE, CLASSES, prior=StandardNormal(LATENT), likelihood=Bernoulli(), networks=MLP((6,)))
    m2.y_encoder = torch.nn.Sequential(model.h_encoder, model.y_encoder)
    m2.z_encoder, m2.decoder = model.z_encoder, model.decoder
    ours, theirs = distilled.losses(model, seen), distilled.losses(m2, seen, Objective(alpha=1))
    assert torch.equal(ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()


def test_c_is_fitted_when_it_is_time_and_teaches_from_the_next_step_on():
    model, stages = _model(), []
    for share in (0.2, 0.39, 0.4, 0.5, 0.69, 0.71, 0.99):
        tiny.at(model, share)
        stages.append((int(model.num_fits), len(model.feature_teacher.feature_bank.y), model.is_consistent))
    assert stages == [(0, 0, False)] * 2 + [(1, 42, True)] * 3 + [(2, 42, True)] * 2


def test_the_lesson_is_what_c_says_of_the_features_as_they_were_by_hand():
    model, seen = tiny.at(_model(), 0.5), distilled.seen()
    loss, terms = distilled.losses(model, seen)
    h = model.h_encoder(seen.unlabelled)
    c = model.feature_teacher.feature_bank.probabilities(h / h.norm(dim=-1, keepdim=True))
    lesson = -(c * model.classify(seen.transformed).logits).sum(-1).mean()
    torch.testing.assert_close(terms["consistency"], lesson.detach(), **EXACT)
    classification = F.cross_entropy(model.y_encoder(model.h_encoder(seen.labelled)), seen.y)
    bound = distilled.losses(model, seen, Objective(alpha=0))[0]
    torch.testing.assert_close(loss, bound + 2 * lesson + classification, **EXACT)

    with torch.no_grad():
        for parameter in model.h_encoder.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(model.consistency_targets(seen.unlabelled).exp(), c, **EXACT)
    tiny.at(model, 0.8)
    assert not torch.allclose(model.consistency_targets(seen.unlabelled).exp(), c)


def test_everything_learns_in_every_stage_but_what_teaches():
    for shares in ((0.0,), (0.5,), (0.5, 0.8)):
        model, seen = tiny.at(_model(classifier=MLP((5,), batch_norm=True)), *shares), distilled.seen()
        before = {name: value.clone() for name, value in model.feature_teacher.state_dict().items()}
        distilled.losses(model, seen)[0].backward()
        learned = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        assert learned == {"h_encoder", "y_encoder", "z_encoder", "decoder"}
        tiny.assert_same_tensors(model.feature_teacher.state_dict(), before)


def test_a_class_that_c_rules_out_has_a_finite_lesson():
    model, seen = tiny.at(_model(feature_classifier=KNearestNeighbours(1)), 0.5), distilled.seen()
    assert model.consistency_targets(seen.unlabelled).isfinite().all()
    assert distilled.losses(model, seen)[0].isfinite()


RECIPE = Recipe(
    objective=LESSON,
    augmentation=Augmentation(),
    max_epochs=6,
    batch_size=10,
    learning_rate=0.01,
    one_cycle=True,
    cycles=2,
    trainer=TrainerOptions(progress_bar=False),
)


def _for_tiny():
    torch.manual_seed(3)
    return DistilledM2((1, 8, 8), 3, prior=StandardNormal(3), networks=MLP((7,)), fitted_at=(0.25, 0.6))


@pytest.mark.slow
def test_a_run_that_stopped_in_any_stage_ends_as_one_that_did_not(tmp_path, monkeypatch):
    # It stops before c is fitted, when it has been fitted once, and twice.
    rows = tiny.assert_resumed_in_any_stage(_for_tiny, RECIPE, {1: 0, 2: 1, 4: 2}, tmp_path, monkeypatch)
    assert ["consistency" in row for row in rows] == [False] * 2 + [True] * 4


@pytest.mark.slow
def test_it_is_trained_and_saved_and_predicts_the_same_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    data = tiny.arrays()
    options = {name: getattr(RECIPE, name) for name in ("objective", "augmentation", "max_epochs", "batch_size")}
    run = fit(_for_tiny(), data, Recipe(**options), folder="run")
    again = load("run", with_data=False).model
    assert int(again.num_fits) == 2
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(again, x), class_probabilities(run.model, x))
    assert torch.equal(again.consistency_targets(x), run.model.consistency_targets(x))
    assert set(run.baselines) == {"supervised", "consistency alone"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fitted_at": ()}, r"fitted_at: expected increasing shares .* got \(\)"),
        ({"fitted_at": (0.7, 0.4)}, "fitted_at: expected"),
        ({"feature_dim": 0}, "feature_dim: expected a positive integer; got 0"),
    ],
)
def test_a_mistake_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        DistilledM2(IMAGE, CLASSES, **options)


# The learning rate


def _rates(total_steps, cycles):
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    cycle = RepeatedCycle(adam, 0.1, total_steps, cycles)
    rates = []
    for _ in range(total_steps):
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        cycle.step()
    assert adam.param_groups[0]["lr"] == rates[-1]  # what the last row and its curve show
    return rates


def test_each_cycle_is_a_cycle_of_its_own():
    once = _rates(20, 1)
    assert once == _once(20)
    assert max(once) == pytest.approx(0.1)
    assert _rates(40, 2) == pytest.approx(once * 2, rel=1e-12)
    assert _rates(39, 2) == pytest.approx((once * 2)[:39], rel=1e-12)


def _once(total_steps):
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 0.1, total_steps=total_steps)
    rates = []
    for step in range(total_steps):
        rates.append(adam.param_groups[0]["lr"])
        adam.step()
        if step < total_steps - 1:
            cycle.step()
    return rates
