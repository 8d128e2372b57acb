"""ADGM, and what SDGM shares with it: the bound by hand, one a for all that follows it, q(y|x) as an average over a."""

import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from support.tiny import arrays, assert_same_tensors, recipe

from ssvae import inference
from ssvae.inference.evaluation import log_weights
from ssvae.inference.objective import KLWeight, Objective, Observations, Sizes
from ssvae.models import ADGM, M2, SDGM
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.normal import LogScaleNormal
from ssvae.models.priors import ClassConditional, ClassPrior, StandardNormal, VampPrior

CLASSES, LATENT, AUXILIARY = 3, 2, 4
IMAGE = (1, 4, 4)
SIZES = Sizes(10, 40)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
KINDS = pytest.mark.parametrize("kind", [ADGM, SDGM], ids=["ADGM", "SDGM"])


def _model(kind, prior=None, networks=None, **options):
    """A model away from its initial values, of black and white images."""
    options = {"auxiliary_dim": AUXILIARY, "class_prior": ClassPrior(CLASSES, [0.5, 0.3, 0.2])} | options
    networks = networks or MLP(hidden=(6,))
    model = kind(
        IMAGE, CLASSES, prior=prior or StandardNormal(LATENT), likelihood=Bernoulli(), networks=networks, **options
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def _images(n):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _normal(outputs):
    loc, log_scale = outputs.chunk(2, dim=-1)
    return torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())


def _f(model, x, y, a, noise):
    """log p(a, x, y, z) - log q(a|x) - log q(z|a,x,y) at z = μ + σ ε, (batch,)."""
    q_z = _normal(model.z_encoder(x, y, a))
    z = q_z.loc + q_z.scale * noise
    story = model.class_prior.logits.log_softmax(0)[y] + model.prior(y).log_prob(z)
    if isinstance(model, SDGM):
        logits = model.decoder(torch.cat([z, a], dim=-1), y)
        p_a = _normal(model.a_decoder(z, y))
    else:
        logits = model.decoder(z, y)
        p_a = _normal(model.a_decoder(x, y, z))
    story = story + torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    story = story + p_a.log_prob(a).sum(-1)
    return story - _normal(model.a_encoder(x)).log_prob(a).sum(-1) - q_z.log_prob(z).sum(-1)


def _drawn(model, x):
    q_a = _normal(model.a_encoder(x))
    return q_a.loc + q_a.scale * torch.randn(len(x), AUXILIARY)


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_same_gradients(one, two):
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two[name], **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("batches", ["both", "labelled only", "unlabelled only"])
@pytest.mark.parametrize("prior", [StandardNormal, ClassConditional])
@KINDS
def test_the_objective_is_the_sum_written_by_hand_in_value_and_gradient(kind, prior, batches):
    model = _model(kind, prior(LATENT))
    x, y = _images(4 if batches != "unlabelled only" else 0), torch.tensor([0, 1, 2, 0])
    u = _images(5 if batches != "labelled only" else 0)
    y = y[: len(x)]
    torch.manual_seed(7)
    loss, terms = Objective(alpha=0.1)(model, Observations(x, y, u), SIZES)

    torch.manual_seed(7)
    expected = torch.zeros(())
    if len(x):
        # -L(x, y) = E[ f ]
        a = _drawn(model, x)
        expected = expected - 10 / 50 * _f(model, x, y, a, torch.randn(len(x), LATENT)).mean()
    if len(u):
        # -U(x) = Σ_y q(y|a,x) ( E[ f ] - log q(y|a,x) )
        a, noise = _drawn(model, u), torch.randn(CLASSES, len(u), LATENT)
        log_q_y = model.y_encoder(u, beside=a).log_softmax(-1)
        for k in range(CLASSES):
            f = _f(model, u, torch.full((len(u),), k), a, noise[k])
            expected = expected - 40 / 50 * (log_q_y[:, k].exp() * (f - log_q_y[:, k])).mean()
    if len(x):
        # -log q(y | a, x), a drawn anew
        expected = expected + 0.1 * F.cross_entropy(model.y_encoder(x, beside=_drawn(model, x)), y)

    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))
    for seen in {name.partition("/")[0] for name in terms if "/" in name}:
        # Each of the two latent variables has its own term.
        torch.testing.assert_close(terms[f"{seen}/kl/a"] + terms[f"{seen}/kl/z"], terms[f"{seen}/kl"], **EXACT)


@KINDS
def test_the_class_and_the_style_see_the_same_auxiliary_variable(kind):
    model, x = _model(kind), _images(5)
    seen = {}
    for name in ("y_encoder", "z_encoder"):
        network = getattr(model, name)
        network.register_forward_pre_hook(
            lambda module, arguments, options, name=name: seen.update({name: (*arguments, *options.values())[-1]}),
            with_kwargs=True,
        )
    guide = poutine.trace(poutine.enum(model.guide, first_available_dim=-2)).get_trace(x)
    a = guide.nodes["a"]["value"]
    assert a.shape == (5, AUXILIARY)
    assert guide.nodes["z"]["value"].shape == (CLASSES, 5, LATENT)
    assert seen["y_encoder"] is a
    assert seen["z_encoder"] is a


@KINDS
def test_importance_samples_draw_an_auxiliary_variable_for_each(kind):
    model, x = _model(kind).eval(), _images(5)
    torch.manual_seed(7)
    log_w = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), num_samples=4)
    assert log_w.shape == (4, CLASSES, 5)
    torch.manual_seed(7)
    noise = torch.randn(4, 1, 5, AUXILIARY), torch.randn(4, CLASSES, 5, LATENT)
    q_a = _normal(model.a_encoder(x))
    for s in range(4):
        a = q_a.loc + q_a.scale * noise[0][s, 0]
        for k in range(CLASSES):
            expected = _f(model, x, torch.full((5,), k), a, noise[1][s, k])
            torch.testing.assert_close(log_w[s, k], expected.detach(), **EXACT)


# q(y | x)


@KINDS
def test_in_evaluation_the_classifier_is_the_average_over_fixed_noise(kind):
    model, x = _model(kind, num_samples=6).eval(), _images(5)
    q_a = _normal(model.a_encoder(x))
    noise = torch.randn(6, 1, AUXILIARY, generator=torch.Generator().manual_seed(0))
    expected = sum(model.y_encoder(x, beside=q_a.loc + q_a.scale * noise[s]).softmax(-1) for s in range(6)) / 6
    torch.testing.assert_close(model.classify(x).probs, expected, **EXACT)
    torch.testing.assert_close(model.classify(x).logits, expected.log(), **EXACT)
    before = torch.get_rng_state()
    assert torch.equal(model.classify(x).logits, model.classify(x).logits)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(model.classify(x[3:]).probs, expected[3:], **EXACT)


@KINDS
def test_in_training_the_classifier_sees_one_fresh_sample(kind):
    model, x = _model(kind), _images(5)
    torch.manual_seed(3)
    answers = [model.classify(x).logits, model.classify(x).logits]
    torch.manual_seed(3)
    for answer in answers:
        expected = model.y_encoder(x, beside=_drawn(model, x)).log_softmax(-1)
        torch.testing.assert_close(answer, expected, **EXACT)
    assert not torch.allclose(*answers)


@KINDS
def test_more_samples_come_closer_to_the_expectation(kind):
    few, many = _model(kind, num_samples=4), _model(kind, num_samples=2000)
    many.load_state_dict(few.state_dict())
    x = _images(6)
    q_a = _normal(few.a_encoder(x))
    with torch.no_grad():
        draws = few.y_encoder(x, beside=q_a.loc + q_a.scale * torch.randn(20_000, 1, AUXILIARY)).softmax(-1).mean(0)
        errors = [(model.eval().classify(x).probs - draws).abs().max() for model in (few, many)]
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


@KINDS
def test_its_baseline_is_the_classifier_without_an_auxiliary_variable(kind):
    classifier = MLP((7, 5), batch_norm=True)
    baseline = _model(kind, VampPrior(LATENT, 2), classifier=classifier).baseline()
    assert type(baseline) is M2
    expected = classifier.encoder(IMAGE, CLASSES)
    assert {k: v.shape for k, v in baseline.y_encoder.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }


# Reductions


class _SameNoise(LogScaleNormal):
    """A draw whose noise depends on its last dimension and its number of classes alone, not on what came before."""

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        shape = self._extended_shape(sample_shape)
        generator = torch.Generator().manual_seed(shape[-1] + 100 * len(shape))
        return self.loc + self.scale * torch.randn(shape, generator=generator)


def _deaf(model):
    """Make the networks that see a deaf to it, and let q(a | x) and a's density in the story be one and the same."""
    with torch.no_grad():
        for network in (model.y_encoder, model.z_encoder):
            network.perceptron.first.beside.weight.zero_()
        if isinstance(model, SDGM):
            model.decoder.perceptron.first.linear.weight[:, LATENT:] = 0
        for network in (model.a_encoder, model.a_decoder):
            network.perceptron.rest[-1].weight.zero_()
            network.perceptron.rest[-1].bias.copy_(torch.linspace(-1, 1, 2 * AUXILIARY))
    return model


@KINDS
def test_where_nothing_listens_to_the_auxiliary_variable_the_model_is_m2(kind, monkeypatch):
    monkeypatch.setattr(LogScaleNormal, "rsample", _SameNoise.rsample)
    model = _deaf(_model(kind, ClassConditional(LATENT)))
    m2 = M2(
        IMAGE,
        CLASSES,
        prior=ClassConditional(LATENT),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        class_prior=model.class_prior,
    )
    m2.prior.load_state_dict(model.prior.state_dict())
    shared = {}
    for name in ("y_encoder", "z_encoder", "decoder"):
        state = {key: v for key, v in getattr(model, name).state_dict().items() if "beside" not in key}
        if name == "decoder":
            state["perceptron.first.linear.weight"] = state["perceptron.first.linear.weight"][:, :LATENT]
        getattr(m2, name).load_state_dict(state)
        shared |= {f"{name}.{key}": None for key in state}
    seen = Observations(_images(4), torch.tensor([0, 1, 2, 0]), _images(5))
    objective = Objective(alpha=0.3, kl_weight=KLWeight(2.0, 2.0))
    found = [objective(each, seen, SIZES) for each in (model, m2)]
    torch.testing.assert_close(found[0][0], found[1][0], **EXACT)
    for name, value in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], value, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    gradients, of_m2 = (_gradients(each, loss) for each, (loss, _) in zip((model, m2), found, strict=True))
    assert shared.keys() < of_m2.keys()
    for name, gradient in of_m2.items():
        ours = gradients[name]
        if name == "decoder.perceptron.first.linear.weight":
            ours = ours[:, :LATENT]
        torch.testing.assert_close(ours, gradient, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    x = seen.unlabelled
    torch.testing.assert_close(model.eval().classify(x).probs, m2.classify(x).probs, **EXACT)
    torch.testing.assert_close(model.encode(x)[:, :LATENT], m2.encode(x), **EXACT)
    torch.testing.assert_close(model.reconstruct(x), m2.reconstruct(x), **EXACT)


@KINDS
def test_a_bound_with_more_of_it_explained_is_no_longer_m2s(kind, monkeypatch):
    monkeypatch.setattr(LogScaleNormal, "rsample", _SameNoise.rsample)
    model = _deaf(_model(kind))
    seen = Observations(_images(4), torch.tensor([0, 1, 2, 0]), _images(5))
    deaf = Objective()(model, seen, SIZES)[0]
    with torch.no_grad():
        model.a_decoder.perceptron.rest[-1].bias.add_(0.5)
    assert (Objective()(model, seen, SIZES)[0] - deaf).abs() > 0.01


# The whole way


@KINDS
@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_it_is_trained_saved_and_loaded_and_predicts_the_same(kind, tmp_path):
    networks = MLP((7,), batch_norm=True)
    model = kind((1, 8, 8), 3, prior=StandardNormal(LATENT), networks=networks, auxiliary_dim=AUXILIARY)
    run = inference.fit(model, arrays(), recipe(), folder=tmp_path / "run")
    loaded = inference.load(run.folder, with_data=False).model
    assert type(loaded) is kind
    assert (loaded.auxiliary_dim, loaded.num_samples) == (AUXILIARY, 20)
    assert_same_tensors(loaded.state_dict(), model.state_dict())
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(loaded.classify(x).logits, model.classify(x).logits)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))


@pytest.mark.parametrize("name", ["auxiliary_dim", "num_samples"])
@KINDS
def test_a_size_that_is_not_one_is_refused_in_words(kind, name):
    with pytest.raises(ValueError, match=f"{name}: expected a positive integer; got 0"):
        kind(IMAGE, CLASSES, **{name: 0})


def test_the_densities_are_told_in_the_order_of_the_story():
    densities = [line.split("  ")[1] for line in repr(_model(ADGM)).splitlines()[1:-1]]
    assert densities == ["p(y)", "p(z)", "p(x | y, z)", "p(a | x, y, z)", "q(a | x)", "q(y | a, x)", "q(z | a, x, y)"]
