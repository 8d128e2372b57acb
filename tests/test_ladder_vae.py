"""The ladder VAE: the merge, the bound by hand, one layer = M2, and the style layer by layer."""

import math

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from support.tiny import arrays, assert_same_tensors, recipe

from ssvae import inference
from ssvae.inference.evaluation import log_weights
from ssvae.inference.objective import KLWeight, Objective, Observations, Sizes
from ssvae.models import M2, LadderVAE
from ssvae.models.ladder_vae import merge
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.normal import diagonal_normal
from ssvae.models.priors import ClassConditional, ClassPrior, StandardNormal, VampPrior

CLASSES, LATENT = 3, 2
IMAGE = (1, 4, 4)
SIZES = Sizes(10, 40)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
LADDERS = {1: ((), ()), 2: ((4,), (7,)), 3: ((5, 3), (7, 6)), 5: ((6, 5, 4, 3), (9, 8, 7, 6))}
LAYERS = pytest.mark.parametrize("layers", LADDERS)


def _moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def _model(layers, prior=None, networks=None):
    """A ladder away from its initial values, of black and white images."""
    latent_dims, hidden = LADDERS[layers]
    return _moved(
        LadderVAE(
            IMAGE,
            CLASSES,
            prior=prior or StandardNormal(LATENT),
            likelihood=Bernoulli(),
            networks=networks or MLP(hidden=(6,)),
            class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]),
            latent_dims=latent_dims,
            hidden=hidden,
        )
    )


def _images(n):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _normal(outputs):
    loc, log_scale = outputs.chunk(2, dim=-1)
    return torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())


def _merged(one, other):
    """By precisions, as the paper writes it."""
    variance = 1 / (one.scale**-2 + other.scale**-2)
    loc = (one.loc * one.scale**-2 + other.loc * other.scale**-2) * variance
    return torch.distributions.Normal(loc, variance.sqrt())


def _rungs_by_hand(model, x, y, noises):
    """Go up and down by hand: (i, q, p, z) of every layer from the top, p None at the top; z = μ + σ ε."""
    d, seen = x, []
    for network, size in zip(model.up, model.hidden, strict=True):
        outputs = network(d)
        d = outputs[..., :size]
        seen.append(_normal(outputs[..., size:]))
    layers, p = [], None
    for i, noise in zip(range(model.num_layers, 0, -1), noises, strict=True):
        q = _normal(model.z_encoder(d, y)) if p is None else _merged(seen[i - 1], p)
        z = q.loc + q.scale * noise
        layers.append((i, q, p, z))
        if i > 1:
            # The class is seen right below the top and nowhere else.
            p = _normal(model.down[i - 2](z, y) if i == model.num_layers else model.down[i - 2](z))
    return layers


def _terms_by_hand(model, x, y, noises):
    """-log p(x|·), {i: log q(z_i) - log p(z_i)} and -log p(y), each (batch,)."""
    layers = _rungs_by_hand(model, x, y, noises)
    kl = {}
    for i, q, p, z in layers:
        log_p = model.prior(y).log_prob(z) if p is None else p.log_prob(z).sum(-1)
        kl[i] = q.log_prob(z).sum(-1) - log_p
    z = layers[-1][-1]
    logits = model.decoder(z, y) if model.num_layers == 1 else model.decoder(z)
    log_p_x = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    return -log_p_x, kl, -model.class_prior.logits.log_softmax(0)[y]


def _noises(model, *leading):
    return [torch.randn(*leading, size) for size in [LATENT, *reversed(model.latent_dims)]]


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], **EXACT, msg=lambda text, name=name: f"{name}: {text}")


# The merge


def _of_log_scale(loc, log_scale):
    return diagonal_normal(torch.cat([loc, 6 * torch.atanh(log_scale / 6)], dim=-1))


def test_the_merge_is_the_product_of_the_two_densities_normalised():
    one, two = _normal(torch.randn(7, 2)), _normal(torch.randn(7, 2))  # one dimension each
    both = merge(*(_of_log_scale(each.loc, each.scale.log()) for each in (one, two))).base_dist
    grid = torch.linspace(-40, 40, 400_001)
    product = (one.log_prob(grid.unsqueeze(-1).unsqueeze(-1)) + two.log_prob(grid.unsqueeze(-1).unsqueeze(-1))).exp()
    mass = torch.trapezoid(product, grid, dim=0)
    mean = torch.trapezoid(product * grid.view(-1, 1, 1), grid, dim=0) / mass
    variance = torch.trapezoid(product * (grid.view(-1, 1, 1) - mean).square(), grid, dim=0) / mass
    torch.testing.assert_close(both.loc, mean, rtol=0, atol=1e-7)
    torch.testing.assert_close(both.scale, variance.sqrt(), rtol=0, atol=1e-7)
    torch.testing.assert_close(both.log_scale.exp(), both.scale, **EXACT)
    # Also as the paper writes it.
    expected = _merged(one, two)
    torch.testing.assert_close(both.loc, expected.loc, **EXACT)
    torch.testing.assert_close(both.scale, expected.scale, **EXACT)


def test_the_surer_one_prevails_and_equals_meet_in_the_middle():
    loc = torch.tensor([[3.0]]), torch.tensor([[-1.0]])
    of_equals = merge(*(_of_log_scale(each, torch.tensor([[0.4]])) for each in loc)).base_dist
    torch.testing.assert_close(of_equals.loc, torch.tensor([[1.0]]), **EXACT)
    torch.testing.assert_close(of_equals.log_scale, torch.tensor([[0.4 - 0.5 * math.log(2)]]), **EXACT)
    sure, unsure = torch.tensor([[-5.0]]), torch.tensor([[5.0]])
    for log_scales, expected in (((sure, unsure), 3.0), ((unsure, sure), -1.0)):
        of_both = merge(*(_of_log_scale(*each) for each in zip(loc, log_scales, strict=True))).base_dist
        torch.testing.assert_close(of_both.loc, torch.tensor([[expected]]), rtol=0, atol=1e-7)
        torch.testing.assert_close(of_both.log_scale, torch.tensor([[-5.0]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("log_scale", "other"), [(5.99, -5.99), (-5.99, 5.99), (5.99, 5.99), (-5.99, -5.99)])
def test_the_merge_holds_in_single_precision_at_the_bounds_of_the_scales(log_scale, other):
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [torch.full((1, 4), value, dtype=dtype, requires_grad=True) for value in (2.0, log_scale, -3.0, other)]
        loc, log_scales, loc_other, log_scales_other = leaves
        both = merge(_of_log_scale(loc, log_scales), _of_log_scale(loc_other, log_scales_other)).base_dist
        gradients = torch.autograd.grad((both.loc + both.log_scale).sum(), leaves)
        results.append([both.loc, both.log_scale, *gradients])
    for single, double in zip(*results, strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


# The bound


@pytest.mark.parametrize("batches", ["both", "labelled only", "unlabelled only"])
@pytest.mark.parametrize("prior", [StandardNormal, ClassConditional])
@pytest.mark.parametrize("layers", [2, 3])
def test_the_objective_is_the_sum_over_classes_written_by_hand_in_value_and_gradient(layers, prior, batches):
    model, beta = _model(layers, prior(LATENT)), 0.7
    x, y = _images(4 if batches != "unlabelled only" else 0), torch.tensor([0, 1, 2, 0])
    u = _images(5 if batches != "labelled only" else 0)
    y = y[: len(x)]
    torch.manual_seed(7)
    loss, terms = Objective(alpha=0.1, kl_weight=KLWeight(beta, beta))(model, Observations(x, y, u), SIZES)

    torch.manual_seed(7)
    expected, by_layer = torch.zeros(()), {}
    if len(x):
        reconstruction, kl, cross_entropy = _terms_by_hand(model, x, y, _noises(model, len(x)))
        expected = expected + 10 / 50 * (reconstruction + beta * sum(kl.values()) + cross_entropy).mean()
        expected = expected + 0.1 * F.cross_entropy(model.y_encoder(x), y)
        by_layer |= {f"labelled/kl/z_{i}": value.mean().detach() for i, value in kl.items()}
    if len(u):
        noises, log_q_y = _noises(model, CLASSES, len(u)), model.y_encoder(u).log_softmax(-1)
        for k in range(CLASSES):
            of_class = [noise[k] for noise in noises]
            reconstruction, kl, cross_entropy = _terms_by_hand(model, u, torch.full((len(u),), k), of_class)
            bound = reconstruction + beta * sum(kl.values()) + cross_entropy
            q = log_q_y[:, k].exp()
            expected = expected + 40 / 50 * (q * (bound + log_q_y[:, k])).mean()
            for i, value in kl.items():
                name = f"unlabelled/kl/z_{i}"
                by_layer[name] = by_layer.get(name, 0.0) + (q * value).mean().detach()

    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same(_gradients(model, loss), _gradients(model, expected))
    _assert_same({name: value for name, value in terms.items() if "/kl/" in name}, by_layer)


@pytest.mark.parametrize("prior", [StandardNormal, ClassConditional, lambda latent: VampPrior(latent, 3)])
def test_with_one_rung_it_is_m2_in_value_and_gradient(prior):
    ladder = _model(1, prior(LATENT))
    m2 = M2(
        IMAGE,
        CLASSES,
        prior=prior(LATENT),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        class_prior=ladder.class_prior,
    )
    m2.load_state_dict(ladder.state_dict())  # all the names and sizes are M2's
    x, y, u = _images(4), torch.tensor([0, 1, 2, 0]), _images(5)
    found = []
    for model in (ladder, m2):
        torch.manual_seed(7)
        loss, terms = Objective(alpha=0.3, kl_weight=KLWeight(2.0, 2.0))(model, Observations(x, y, u), SIZES)
        found.append((terms | {"J / N": loss.detach()}, _gradients(model, loss)))
    _assert_same(found[0][0], found[1][0])
    _assert_same(found[0][1], found[1][1])
    torch.manual_seed(7)
    samples = ladder.sample(y, 2)
    torch.manual_seed(7)
    torch.testing.assert_close(samples, m2.sample(y, 2), **EXACT)
    for method in ("encode", "reconstruct", "analogies"):
        torch.testing.assert_close(getattr(ladder, method)(x, y), getattr(m2, method)(x, y), **EXACT)


@LAYERS
def test_importance_weights_are_those_written_by_hand(layers):
    model, x = _model(layers).eval(), _images(4)
    torch.manual_seed(7)
    log_w = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), num_samples=3)
    torch.manual_seed(7)
    noises = _noises(model, 3, CLASSES, 4)
    for s in range(3):
        for k in range(CLASSES):
            of_class = [noise[s, k] for noise in noises]
            reconstruction, kl, cross_entropy = _terms_by_hand(model, x, torch.full((4,), k), of_class)
            expected = -(reconstruction + sum(kl.values()) + cross_entropy)
            torch.testing.assert_close(log_w[s, k], expected.detach(), **EXACT)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_guide_that_has_seen_nothing_below_the_top_expects_what_the_story_expects(layers):
    # σ̂ as large as it may be: the merge leaves the story's expectation, and the layer has no KL divergence.
    model, x, y = _model(layers), _images(4), torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        for network, size, latent_dim in zip(model.up, model.hidden, model.latent_dims, strict=True):
            network.perceptron.rest[-1].weight[size:] = 0
            network.perceptron.rest[-1].bias[size : size + latent_dim] = 0
            network.perceptron.rest[-1].bias[size + latent_dim :] = 100.0
        for network in model.down:
            network.perceptron.rest[-1].weight[len(network.perceptron.rest[-1].weight) // 2 :] = 0
            network.perceptron.rest[-1].bias[len(network.perceptron.rest[-1].bias) // 2 :] = -1.0
    _, terms = Objective()(model, Observations(x, y, x), SIZES)
    for kind in ("labelled", "unlabelled"):
        for i in range(1, layers):
            assert abs(terms[f"{kind}/kl/z_{i}"]) < 1e-3
        assert terms[f"{kind}/kl/z_{layers}"].abs() > 0.01
    torch.testing.assert_close(
        model.encode(x, y)[:, LATENT:], torch.zeros(4, sum(model.latent_dims)), rtol=0, atol=0.01
    )


# The style, layer by layer


@LAYERS
def test_the_reconstruction_is_of_every_rungs_mean(layers):
    model, x, y = _model(layers).eval(), _images(4), torch.tensor([0, 1, 2, 0])
    by_hand = _rungs_by_hand(model, x, y, [torch.zeros(1)] * layers)
    z = by_hand[-1][-1]
    logits = model.decoder(z, y) if layers == 1 else model.decoder(z)
    torch.testing.assert_close(model.reconstruct(x, y), logits.sigmoid(), **EXACT)
    expected = [q.loc if p is None else (q.loc - p.loc) / p.scale for _, q, p, _ in by_hand]
    torch.testing.assert_close(model.encode(x, y), torch.cat(expected, dim=-1), **EXACT)
    torch.testing.assert_close(model.q_z(x, y).base_dist.scale, by_hand[0][1].scale, **EXACT)


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_an_analogy_keeps_what_the_image_adds_on_every_layer(layers):
    model, x, y = _model(layers).eval(), _images(4), torch.tensor([0, 1, 2, 0])
    top, *noise = model.encode(x, y).split([LATENT, *reversed(model.latent_dims)], dim=-1)
    for k, analogy in enumerate(model.analogies(x, y)):
        z = top
        for i, epsilon in zip(range(layers - 1, 0, -1), noise, strict=True):
            of_class = torch.full((4,), k) if i == layers - 1 else None
            p = _normal(model.down[i - 1](z, of_class))
            z = p.loc + p.scale * epsilon
        torch.testing.assert_close(analogy, model.decoder(z).sigmoid(), **EXACT)


@pytest.mark.parametrize("layers", [2, 3])
def test_what_is_drawn_and_decoded_is_what_the_program_draws(layers):
    model, y = _model(layers, ClassConditional(LATENT)).eval(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.manual_seed(1)
        ours = model.sample(y, num_samples=4000)  # (samples, classes, channels, height, width)
        torch.manual_seed(2)
        story = poutine.condition(poutine.uncondition(model.model), data={"y": y.repeat(4000)})
        trace = poutine.trace(story).get_trace(torch.zeros(3 * 4000, *IMAGE))
        drawn = trace.nodes["x"]["fn"].mean.view(4000, 3, *IMAGE)
    for moment in (torch.mean, torch.std):
        difference = moment(ours, 0) - moment(drawn, 0)
        assert difference.abs().max() < 5 * (2 / 4000) ** 0.5 * drawn.std(0).max()


def test_the_class_is_at_the_top_of_the_story():
    model, x = _model(3, ClassConditional(LATENT)), _images(4)

    def arrows(program):
        drawing = pyro.render_model(program, model_args=(x,)).source
        return {tuple(line.split(" -> ")) for line in drawing.replace("\t", "").splitlines() if " -> " in line}

    assert arrows(model.model) == {("y", "z_3"), ("y", "z_2"), ("z_3", "z_2"), ("z_2", "z_1"), ("z_1", "x")}
    assert {("y", "z_3"), ("z_3", "z_2"), ("z_2", "z_1")} <= arrows(model.guide)
    densities = [line.split("  ")[1] for line in repr(model).splitlines()[1:-1]]
    assert densities == [
        *("p(y)", "p(z_3 | y)", "p(z_2 | y, z_3)", "p(z_1 | z_2)", "p(x | z_1)"),
        *("q(y | x)", "q(z_3 | x, y)", "q(z_2 | z_3, x, y)", "q(z_1 | z_2, x, y)"),
    ]


def test_with_one_rung_the_densities_are_those_of_m2():
    densities = [line.split("  ")[1] for line in repr(_model(1)).splitlines()[1:-1]]
    assert densities == ["p(y)", "p(z_1)", "p(x | y, z_1)", "q(y | x)", "q(z_1 | x, y)"]


# The whole way


@pytest.mark.slow
def test_it_is_trained_saved_and_loaded_and_predicts_the_same(tmp_path):
    networks = MLP((7,), batch_norm=True)
    model = LadderVAE((1, 8, 8), 3, prior=StandardNormal(LATENT), networks=networks, latent_dims=(4, 3), hidden=(6, 5))
    objective = Objective(kl_weight=KLWeight(start=0.0), free_bits=0.5)
    run = inference.fit(model, arrays(), recipe(objective=objective), folder=tmp_path / "run")
    loaded = inference.load(run.folder, with_data=False).model
    assert isinstance(loaded, LadderVAE)
    assert tuple(loaded.latent_dims) == (4, 3)
    assert_same_tensors(loaded.state_dict(), model.state_dict())
    x = torch.rand(5, 1, 8, 8)
    for method in ("encode", "reconstruct", "analogies"):
        assert torch.equal(getattr(loaded, method)(x), getattr(model, method)(x))
    assert {f"unlabelled/kl/z_{i}" for i in (1, 2, 3)} < run.history[-1].keys()


MISTAKES = {
    "a layer without dimensions": (
        {"latent_dims": (4, 0), "hidden": (6, 6)},
        r"latent_dims: expected positive .*\(4, 0\)",
    ),
    "an empty layer": ({"latent_dims": (4,), "hidden": (0,)}, r"hidden: expected positive sizes; got \(0,\)"),
    "a layer too few": (
        {"latent_dims": (4, 3), "hidden": (6,)},
        "hidden: expected a size for each of 2 latent_dims; got 1",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_sizes_that_do_not_fit_are_refused_in_words(name):
    sizes, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        LadderVAE(IMAGE, CLASSES, **sizes)
