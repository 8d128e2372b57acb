"""M1+M2: its bounds by hand, its stages, the features that it drops, and what is left of them when it is loaded."""

import math

import pytest
import torch
from pyro import poutine
from support import tiny
from torch.distributions import Normal

from ssvae.inference import Objective, Recipe, fit, load
from ssvae.inference.objective import Observations, Sizes
from ssvae.inference.predict import class_probabilities
from ssvae.models import M1, M1M2, M2
from ssvae.models.likelihoods import Bernoulli, Gaussian
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, ClassPrior, StandardNormal

IMAGE, CLASSES, LATENT, Z1, BATCH = (1, 4, 4), 3, 2, 5, 6
EXACT = {"rtol": 0, "atol": 1e-9}
SIZES = Sizes(10, 40)
OF_M1 = ("z1_encoder", "decoder", "likelihood")


def _m1m2(progress=0.0, prior=None, **options):
    options = {
        "likelihood": Bernoulli(),
        "inner_networks": MLP(hidden=(7,)),
        "m1_until": 0.4,
        "m2_until": 0.8,
        **options,
    }
    model = M1M2(IMAGE, CLASSES, prior=prior or StandardNormal(LATENT), networks=MLP(hidden=(6,)), z1_dim=Z1, **options)
    model.advance(progress)
    return model


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _observations():
    return Observations(_images(), torch.arange(BATCH) % CLASSES, _images(4))


def _bounded(log_scale):
    return (6 * torch.tanh(log_scale / 6)).exp()


def _same_gradients(model, loss, by_hand):
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients = [
        torch.autograd.grad(one, list(parameters.values()), retain_graph=True, materialize_grads=True)
        for one in (loss, by_hand)
    ]
    for name, ours, theirs in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


# Stage one


def test_at_first_its_bound_is_m1s():
    m1m2, seen = _m1m2(), _observations()
    m1 = M1(IMAGE, CLASSES, prior=StandardNormal(Z1), likelihood=Bernoulli(), networks=MLP(hidden=(6,)))
    for ours, theirs in (("z1_encoder", "z_encoder"), ("decoder", "decoder")):
        getattr(m1, theirs).load_state_dict(getattr(m1m2, ours).state_dict())
    losses = []
    for model in (m1m2, m1):
        torch.manual_seed(7)
        loss, _ = Objective(alpha=3.0)(model, seen, SIZES)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, **EXACT)
    for ours, theirs in (("z1_encoder", "z_encoder"), ("decoder", "decoder")):
        pairs = zip(getattr(m1m2, ours).parameters(), getattr(m1, theirs).parameters(), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one.grad, other.grad, **EXACT)
    for name, parameter in m1m2.named_parameters():
        assert (parameter.grad is None) == (name.split(".")[0] not in OF_M1), name


# Stage two and three


def _m2_by_hand(model, z1, y):
    """-L(z1, y) of an M2 whose image is z1, with one draw of z2: (batch,), or (classes, batch)."""
    used = model.used.to(z1)
    loc, log_scale = model.z2_encoder(z1 * used, y).chunk(2, -1)
    q = Normal(loc, _bounded(log_scale))
    z2 = q.rsample()
    loc, log_scale = model.z1_decoder(z2, y).chunk(2, -1)
    p_used = Normal(loc, _bounded(log_scale)).log_prob(z1) * used
    p_unused = Normal(0.0, 1.0).log_prob(z1) * (1 - used)
    log_p_z2 = Normal(0.0, 1.0).log_prob(z2).sum(-1)
    return (p_used + p_unused).sum(-1) + log_p_z2 - q.log_prob(z2).sum(-1) - math.log(CLASSES)


def _m1s_share(model, x, z1):
    """Return log p(x | z1) - log q(z1 | x)."""
    loc, log_scale = model.z1_encoder(x).chunk(2, -1)
    log_q = Normal(loc, _bounded(log_scale)).log_prob(z1).sum(-1)
    logits = model.decoder(z1)
    return torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-3, -2, -1)) - log_q


def _draw_z1(model, x):
    loc, log_scale = model.z1_encoder(x).chunk(2, -1)
    return Normal(loc, _bounded(log_scale)).rsample()


@pytest.mark.parametrize("progress", [0.5, 0.9], ids=["M2 on M1's features", "end to end"])
def test_with_y_given_it_is_m2_on_the_features(progress):
    model, x, y = _m1m2(progress), _images(), torch.arange(BATCH) % CLASSES
    model.used[1] = False
    torch.manual_seed(7)
    loss, _ = Objective(alpha=0.0)(model, Observations(x, y, x[:0]), Sizes(BATCH, 0))
    torch.manual_seed(7)
    z1 = _draw_z1(model, x)
    by_hand = -(_m2_by_hand(model, z1, y) + _m1s_share(model, x, z1)).mean()
    torch.testing.assert_close(loss, by_hand, **EXACT)
    _same_gradients(model, loss, by_hand)
    if progress == 0.5:
        # M1's share is a constant, and M2's gradient that of an M2 to which z1 is the image.
        torch.manual_seed(7)
        z1 = _draw_z1(model, x)
        _same_gradients(model, loss, -_m2_by_hand(model, z1, y).mean())


@pytest.mark.parametrize("progress", [0.5, 0.9], ids=["M2 on M1's features", "end to end"])
def test_without_y_it_sums_over_the_classes_of_the_features(progress):
    model, x = _m1m2(progress), _images()
    model.used[1] = False
    torch.manual_seed(7)
    loss, terms = Objective(alpha=0.0)(
        model, Observations(x[:0], torch.zeros(0, dtype=torch.int64), x), Sizes(0, BATCH)
    )
    torch.manual_seed(7)
    z1 = _draw_z1(model, x)
    log_q_y = model.y_encoder(z1 * model.used).log_softmax(-1).T  # (classes, batch)
    each = _m2_by_hand(model, z1, torch.arange(CLASSES).unsqueeze(-1))
    u = (log_q_y.exp() * (each - log_q_y)).sum(0)
    by_hand = -(u + _m1s_share(model, x, z1)).mean()
    torch.testing.assert_close(loss, by_hand, **EXACT)
    _same_gradients(model, loss, by_hand)
    entropy = -(log_q_y.exp() * log_q_y).sum(0).mean()
    torch.testing.assert_close(terms["unlabelled/entropy"], entropy.detach(), **EXACT)
    if progress == 0.5:
        _same_gradients(model, loss, -u.mean())


def test_where_the_features_are_the_images_it_is_m2():
    """M2 with a Gaussian likelihood on a picture of z1: the same networks, the same L."""
    model, y = _m1m2(0.5, inner_networks=MLP(hidden=(7,))), torch.arange(BATCH) % CLASSES
    x = _images()
    z1 = model.q_z1(x).mean.detach()
    # z1 at its mean, and p(z1 | y, z2) with a scale of one, as of a Gaussian likelihood that has learned nothing.
    with torch.no_grad():
        model.z1_decoder.perceptron.rest[-1].weight[Z1:].zero_()
        model.z1_decoder.perceptron.rest[-1].bias[Z1:].zero_()
    m2 = M2((1, 1, Z1), CLASSES, prior=StandardNormal(LATENT), likelihood=Gaussian(), networks=MLP(hidden=(7,)))
    with torch.no_grad():
        for parameter in m2.likelihood.parameters():
            parameter.zero_()
    m2.z_encoder.perceptron.load_state_dict(model.z2_encoder.perceptron.state_dict())
    state = model.z1_decoder.perceptron.state_dict()
    m2.decoder.perceptron.load_state_dict({k: v[:Z1] if k.startswith("rest.1") else v for k, v in state.items()})
    z2 = torch.randn(BATCH, LATENT)
    picture = z1.view(BATCH, 1, 1, Z1)
    torch.testing.assert_close(model.p_z1(z2, y).log_prob(z1), m2.p_x(z2, y).log_prob(picture), **EXACT)
    torch.testing.assert_close(model.q_z(x, y).mean, m2.q_z(picture, y).mean, **EXACT)


def test_what_m1_has_learned_rests_while_m2_learns_and_both_learn_at_the_end():
    model, seen = _m1m2(), _observations()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    moved = []
    for progress in (0.0, 0.39, 0.4, 0.79, 0.8, 0.99):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        model.advance(progress)
        optimiser.zero_grad()
        Objective()(model, seen, SIZES)[0].backward()
        optimiser.step()
        of_m1 = {
            name.split(".")[0] in OF_M1 for name, p in model.named_parameters() if not torch.equal(p, before[name])
        }
        moved.append(of_m1)
    assert moved == [{True}, {True}, {False}, {False}, {True, False}, {True, False}]


def test_the_stage_depends_on_progress_alone():
    model = _m1m2()
    flags = []
    for progress in (0.9, 0.0, 0.5, 1.0):
        model.advance(progress)
        kinds = {model.has_label_site, model.sums_over_class, model.learns_classifier}
        flags.append((int(model.stage), kinds))
    assert flags == [(3, {True}), (1, {False}), (2, {True}), (3, {True})]
    never = _m1m2(m2_until=1.0)
    never.advance(0.999)
    assert int(never.stage) == 2


def test_what_rests_stands_in_evaluation_mode():
    model = M1M2(
        IMAGE, CLASSES, networks=MLP((6,), batch_norm=True), inner_networks=MLP((6,), batch_norm=True), z1_dim=Z1
    )
    model.train()
    norms = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm1d)}
    moved = []
    for progress in (0.2, 0.7):
        before = {name: norm.running_mean.clone() for name, norm in norms.items()}
        model.advance(progress)
        Objective()(model, _observations(), SIZES)
        moved.append({name.split(".")[0] for name, norm in norms.items() if not norm.running_mean.equal(before[name])})
    assert moved == [{"z1_encoder", "decoder"}, {"y_encoder", "z2_encoder", "z1_decoder"}]
    model.advance(0.2)
    assert model.z1_encoder.training


def test_a_part_that_never_learns_does_not_begin_to():
    model = _m1m2(0.9, prior=ClassConditional(LATENT))
    assert not model.prior.logits.requires_grad
    assert model.prior.loc.requires_grad


# The features that are used


def _with_means(model, means):
    """Let q(z1 | x) have mean x · slope, for the first pixel of x."""
    with torch.no_grad():
        for parameter in model.z1_encoder.parameters():
            parameter.zero_()
    model.z1_encoder.forward = lambda x: torch.cat([x.flatten(1)[:, :1] * means, torch.zeros(len(x), Z1)], -1)


def test_features_that_hardly_differ_between_images_are_dropped():
    model = _m1m2()
    x = torch.tensor([-1.0, 1.0]).repeat(10).view(20, 1, 1, 1).expand(20, *IMAGE)  # a standard deviation of one
    _with_means(model, torch.tensor([0.0, 0.09, 0.11, 1.0, -1.0]))
    model.refit(x[:4], torch.zeros(4, dtype=torch.int64), x[4:])
    assert model.used.tolist() == [False, False, True, True, True]
    # Neither q(y | z1) nor q(z2 | z1, y) sees them, and p(z1 | y, z2) is N(0, 1) there.
    model.advance(0.5)
    z1, y = torch.randn(4, Z1), torch.tensor([0, 1, 2, 0])
    other = torch.where(model.used, z1, torch.randn(4, Z1))
    assert torch.equal(model.q_y(z1).logits, model.q_y(other).logits)
    assert torch.equal(model.q_z2(z1, y).mean, model.q_z2(other, y).mean)
    p = model.p_z1(torch.randn(4, LATENT), y).base_dist
    assert p.loc[:, :2].abs().max() == 0
    assert torch.equal(p.scale[:, :2], torch.ones(4, 2))
    assert p.loc[:, 2:].abs().min() > 0


def test_an_m1_that_uses_nothing_keeps_all_and_the_end_keeps_what_there_is():
    model, x = _m1m2(), _images()
    _with_means(model, torch.zeros(Z1))
    model.refit(x, torch.zeros(BATCH, dtype=torch.int64), x[:0])
    assert model.used.all()
    model.used[0] = False
    model.advance(0.9)
    model.refit(x, torch.zeros(BATCH, dtype=torch.int64), x[:0])
    assert model.used.tolist() == [False, True, True, True, True]


# What is asked of it


def test_it_classifies_by_the_mean_feature_and_in_training_by_one_that_is_drawn():
    model, x = _m1m2(0.5).eval(), _images()
    mean = model.z1_encoder(x)[:, :Z1]
    torch.testing.assert_close(model.classify(x).logits, model.y_encoder(mean).log_softmax(-1), **EXACT)
    model.train()
    torch.manual_seed(7)
    drawn = model.classify(x).logits
    torch.manual_seed(7)
    torch.testing.assert_close(drawn, model.y_encoder(_draw_z1(model, x)).log_softmax(-1), **EXACT)


def test_in_each_batch_the_features_are_drawn_anew():
    model, x = _m1m2(0.5), _images()
    draws = [poutine.trace(model.guide).get_trace(x).nodes["z1"]["value"] for _ in range(2)]
    assert not torch.equal(*draws)
    assert not draws[0].requires_grad


def test_its_baseline_is_a_classifier_of_the_image_with_the_same_networks():
    baseline = _m1m2(0.5).baseline()
    assert isinstance(baseline, M2)
    assert baseline.classifier == MLP(hidden=(6,))


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_a_loaded_model_is_in_the_stage_that_was_saved(progress):
    model, other = _m1m2(progress), _m1m2(0.9)
    model.used[2] = False
    other.load_state_dict(model.state_dict())
    assert other.has_label_site == other.sums_over_class == other.learns_classifier == (progress > 0)
    learns = [{name for name, p in one.named_parameters() if p.requires_grad} for one in (model, other)]
    assert learns[0] == learns[1]
    assert other.used.equal(model.used)


@pytest.mark.slow
def test_it_is_trained_in_stages_and_saved_and_predicts_the_same_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    data = tiny.arrays()
    networks = {"networks": MLP((7,)), "inner_networks": MLP((6,)), "z1_dim": 4}
    model = M1M2((1, 8, 8), 3, prior=StandardNormal(2), **networks, m1_until=0.4, m2_until=0.8)
    run = fit(model, data, Recipe(max_epochs=5, batch_size=10), folder="run")
    again = load("run", with_data=False).model
    assert int(again.stage) == 3
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(again, x), class_probabilities(run.model, x))
    assert [("unlabelled/class" in row, "classification" in row) for row in run.history] == [
        (False, False), (False, False), (True, True), (True, True), (True, True),
    ]  # fmt: skip
    assert {"unlabelled/kl/z1", "unlabelled/kl/z2"} <= run.history[-1].keys()
    assert run.evaluation.posterior is not None


MISTAKES = {
    "flat images": (lambda: M1M2((8, 8), 3), "event_shape"),
    "no features": (lambda: M1M2(IMAGE, 3, z1_dim=0), "z1_dim: expected a positive integer; got 0"),
    "no classes": (lambda: M1M2(IMAGE, 0), "num_classes"),
    "M2 before M1": (lambda: M1M2(IMAGE, 3, m1_until=0.6, m2_until=0.5), "m1_until: expected .* got 0.6 and 0.5"),
    "longer than training": (lambda: M1M2(IMAGE, 3, m2_until=1.5), "got 0.5 and 1.5"),
    "the class prior of others": (lambda: M1M2(IMAGE, 3, class_prior=ClassPrior(4)), "expected one for 3 classes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_is_refused_in_words(name):
    mistake, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        mistake()
