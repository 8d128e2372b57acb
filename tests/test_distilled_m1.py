"""DistilledM1: M1's story, a classifier on features, fitted when it is time, and the network that it teaches."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import kneighbors_graph
from support import distilled, tiny
from support.distilled import CLASSES, EXACT, IMAGE, LATENT, LESSON, SIZES

from ssvae.data import Augmentation
from ssvae.inference import Objective, Recipe, TrainerOptions, fit, load
from ssvae.inference.predict import class_probabilities
from ssvae.models import M1, M2, DistilledM1
from ssvae.models.feature_classifiers import KNearestNeighbours, LabelSpreading, _graph
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal


def _model(**options):
    return distilled.model(DistilledM1, **options)


# Stages


def test_at_first_it_is_m1():
    model, seen = _model(), distilled.seen()
    m1 = M1(IMAGE, CLASSES, prior=StandardNormal(LATENT), likelihood=Bernoulli(), networks=MLP((6,)))
    m1.load_state_dict({name: value for name, value in model.state_dict().items() if name in m1.state_dict()})
    ours, theirs = distilled.losses(tiny.at(model, 0.0), seen), distilled.losses(m1, seen)
    assert torch.equal(ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()
    for one in (model, m1):
        one.zero_grad()
        distilled.losses(one, seen)[0].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in m1.named_parameters():
        assert torch.equal(parameter.grad, gradients.pop(name)), name
    assert all(gradient is None for gradient in gradients.values())
    torch.testing.assert_close(model.classify(seen.unlabelled).probs, torch.full((13, CLASSES), 1 / 3), **EXACT)


def test_c_is_fitted_when_it_is_time_and_the_network_learns_from_the_next_step_on():
    model = _model()
    stages = []
    for share in (0.2, 0.39, 0.4, 0.5, 0.69, 0.71, 0.99):
        tiny.at(model, share)
        stages.append(
            (
                int(model.num_fits),
                len(model.feature_bank.y),
                len(model.feature_teacher.feature_bank.y),
                model.learns_classifier,
            )
        )
    assert stages == [(0, 0, 0, False), (0, 0, 0, False), *[(1, 42, 0, True)] * 3, *[(2, 42, 42, True)] * 2]


def test_until_the_network_learns_the_classes_are_c_s():
    model, x = _model(feature_classifier=KNearestNeighbours(1)), distilled.images(9)
    model.advance(0.5)
    with torch.no_grad():
        model.eval().refit(distilled.images(12), torch.arange(12) % CLASSES, x[:0])
    assert torch.equal(model.classify(x).probs, model.feature_bank.probabilities(model.encode(x)))
    model.advance(0.5)
    by_network = model.y_encoder(model.h_encoder(x)).log_softmax(-1)
    torch.testing.assert_close(model.classify(x).logits, by_network, **EXACT)


def test_what_is_learned_in_each_stage():
    model, seen, learned = _model(), distilled.seen(), []
    for share in (0.0, 0.5, 0.8):
        tiny.at(model, share)
        model.zero_grad()
        distilled.losses(model, seen)[0].backward()
        learned.append({name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None})
    assert learned == [{"z_encoder", "decoder"}, *[{"decoder", "h_encoder", "y_encoder"}] * 2]


def test_what_rests_stands_in_evaluation_mode():
    model, seen = _model(networks=MLP((6,), batch_norm=True), classifier=MLP((5,), batch_norm=True)), distilled.seen()
    norms = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm1d)}
    moved = []
    for share in (0.2, 0.5, 0.8):
        tiny.at(model, share)
        before = {name: norm.running_mean.clone() for name, norm in norms.items()}
        distilled.losses(model, seen)
        moved.append({name.split(".")[0] for name, norm in norms.items() if not norm.running_mean.equal(before[name])})
    assert moved == [{"z_encoder", "decoder"}, *[{"decoder", "h_encoder", "y_encoder"}] * 2]


# What c teaches


def test_the_first_lesson_is_what_c_says_of_the_vae_s_features_by_hand():
    model, seen = tiny.at(_model(), 0.5), distilled.seen()
    loss, terms = distilled.losses(model, seen)
    c = model.feature_bank.probabilities(model.q_z(seen.unlabelled, seen.y[:1]).mean)
    log_q = model.y_encoder(model.h_encoder(seen.transformed)).log_softmax(-1)
    lesson = -(c * log_q).sum(-1).mean()
    torch.testing.assert_close(terms["consistency"], lesson.detach(), **EXACT)
    classification = F.cross_entropy(model.y_encoder(model.h_encoder(seen.labelled)), seen.y)
    torch.testing.assert_close(terms["classification"], classification.detach(), **EXACT)
    bound = distilled.losses(model, seen, Objective(alpha=0))[0]
    torch.testing.assert_close(loss, bound + 2 * lesson + classification, **EXACT)


def test_the_second_lesson_is_what_c_says_of_the_network_s_features_as_they_were():
    model, seen = tiny.at(_model(), 0.5, 0.8), distilled.seen()
    h = model.h_encoder(seen.unlabelled)
    c = model.feature_teacher.feature_bank.probabilities(h / h.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(model.consistency_targets(seen.unlabelled).exp(), c, **EXACT)
    assert not torch.allclose(c, model.feature_bank.probabilities(model.encode(seen.unlabelled)))
    with torch.no_grad():
        for parameter in model.h_encoder.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(model.consistency_targets(seen.unlabelled).exp(), c, **EXACT)


def test_a_class_that_c_rules_out_has_a_finite_lesson():
    model, seen = tiny.at(_model(feature_classifier=KNearestNeighbours(1)), 0.5), distilled.seen()
    targets = model.consistency_targets(seen.unlabelled)
    assert targets.isfinite().all()
    c = targets.exp()
    torch.testing.assert_close(c, c.round(), **EXACT)
    assert (c.round().sum(-1) == 1).all()
    assert distilled.losses(model, seen)[0].isfinite()


def test_where_a_mean_teacher_is_there_too_the_lesson_is_c_s():
    model, other, seen = tiny.at(_model(), 0.5), tiny.at(_model(), 0.5), distilled.seen()
    torch.manual_seed(7)
    taught = LESSON(model, seen, SIZES, teacher=other)[1]["consistency"]
    assert torch.equal(taught, distilled.losses(model, seen)[1]["consistency"])


# Label spreading


@pytest.mark.parametrize("number", [3, 60, 600])
def test_the_graph_is_that_of_scikit_learns_neighbours(number):
    torch.manual_seed(0)
    z = torch.randn(number, 5).repeat(2, 1)  # each twice: the twin is a neighbour, nobody its own
    directed = kneighbors_graph(z.numpy(), 5)
    theirs = (directed + directed.T).toarray()
    assert (_graph(z, 5).toarray() == theirs).all()
    assert not theirs.diagonal().any()


def test_balanced_spreading_gives_every_class_as_much_of_the_images():
    # One class lies close together in the middle of the other's row, which it would take over.
    torch.manual_seed(0)
    z = torch.cat([torch.randn(150, 2), 0.3 * torch.randn(50, 2)])
    y = torch.full((200,), -1)
    y[[0, 1, 150, 151]] = torch.tensor([0, 0, 1, 1])
    spreads = {}
    for balanced in (False, True):
        fitted = LabelSpreading(num_neighbours=10, alpha=0.9, balanced=balanced).fit(z, y)
        spreads[balanced] = fitted.values
    plain, balanced = spreads[False], spreads[True]
    shares = balanced.sum(0) / balanced.sum()
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.5]), rtol=0, atol=1e-6)
    assert (plain.sum(0) / plain.sum() - 0.5).abs().max() > 0.05
    torch.testing.assert_close(balanced.sum(1), plain.sum(1), rtol=0, atol=1e-6)
    # Odds are scaled by one number: who is surest of a class stays surest.
    odds = (balanced[:, 0] / balanced[:, 1]) / (plain[:, 0] / plain[:, 1])
    torch.testing.assert_close(odds, odds[:1].expand(200), rtol=1e-6, atol=0)


# Saved and trained


@pytest.mark.parametrize("shares", [(0.0,), (0.5,), (0.5, 0.8)])
def test_a_loaded_model_is_in_the_stage_that_was_saved(shares):
    model, other, x = tiny.at(_model(), *shares), _model(), distilled.images(9)
    other.load_state_dict(model.state_dict())
    assert other.learns_classifier == model.learns_classifier == (shares[-1] > 0)
    learns = [{name for name, p in one.named_parameters() if p.requires_grad} for one in (model, other)]
    assert learns[0] == learns[1]
    assert torch.equal(model.eval().classify(x).probs, other.eval().classify(x).probs)
    assert torch.equal(model.consistency_targets(x), other.consistency_targets(x))


RECIPE = Recipe(
    objective=LESSON,
    augmentation=Augmentation(),
    max_epochs=6,
    batch_size=10,
    learning_rate=0.01,
    one_cycle=True,
    trainer=TrainerOptions(progress_bar=False),
)


def _for_tiny():
    torch.manual_seed(3)
    return DistilledM1((1, 8, 8), 3, prior=StandardNormal(3), networks=MLP((7,)), fitted_at=(0.25, 0.6))


@pytest.mark.slow
def test_a_run_that_stopped_in_any_stage_ends_as_one_that_did_not(tmp_path, monkeypatch):
    # It stops before c is fitted, when it has been fitted once, and twice.
    rows = tiny.assert_resumed_in_any_stage(_for_tiny, RECIPE, {1: 0, 2: 1, 4: 2}, tmp_path, monkeypatch)
    assert [("classification" in row, "consistency" in row) for row in rows] == [(False,) * 2] * 2 + [(True,) * 2] * 4


@pytest.mark.slow
def test_it_is_trained_and_saved_and_predicts_the_same_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    data = tiny.arrays()
    options = {name: getattr(RECIPE, name) for name in ("objective", "augmentation", "max_epochs", "batch_size")}
    model = _for_tiny()
    run = fit(model, data, Recipe(**options), folder="run")
    again = load("run", with_data=False).model
    assert (int(again.num_fits), again.learns_classifier) == (2, True)
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(again, x), class_probabilities(run.model, x))
    assert set(run.baselines) == {"supervised", "consistency alone"}


def test_its_baseline_is_a_classifier_of_the_image_with_the_same_networks():
    baseline = tiny.at(_model(), 0.5).baseline()
    assert isinstance(baseline, M2)
    assert (baseline.networks, baseline.classifier) == (MLP((6,)), MLP((5,)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fitted_at": ()}, r"fitted_at: expected increasing shares .* got \(\)"),
        ({"fitted_at": (0.5, 1.0)}, r"fitted_at: expected .* got \(0.5, 1.0\)"),
        ({"fitted_at": (0.7, 0.4)}, "fitted_at: expected"),
        ({"fitted_at": (-0.1,)}, "fitted_at: expected"),
        ({"feature_dim": 0}, "feature_dim: expected a positive integer; got 0"),
    ],
)
def test_a_mistake_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        DistilledM1(IMAGE, CLASSES, **options)
