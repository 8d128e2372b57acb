"""Every prior keeps the contract, which `ssvae.inference.contracts` states, and is what its docstring says.

What stands in `ssvae.models.priors.__all__` is tested here, and in `tests/test_models.py` and
`tests/test_objective.py`.
"""

import copy
import math
import pickle

import pytest
import torch

from ssvae.inference.command_line.choices import offered
from ssvae.inference.contracts import check_prior
from ssvae.models import ADGM, M1, M1M2, M2, priors
from ssvae.models.networks import MLP
from ssvae.models.normal import diagonal_normal
from ssvae.models.priors import (
    ClassConditional,
    ClassPrior,
    GaussianMixture,
    GenerativeTopographicMapping,
    NormalizingFlow,
    Prior,
    SeparatedMeans,
    StandardNormal,
    VampPrior,
)

PRIORS = {kind.__name__: kind.example for kind in offered(priors, Prior)} | {
    "ClassConditional of 3 components": lambda latent_dim: ClassConditional(latent_dim, num_components=3),
    "VampPrior per class": lambda latent_dim: VampPrior(latent_dim, num_components=3, per_class=True),
    "GenerativeTopographicMapping per class": lambda latent_dim: GenerativeTopographicMapping(
        latent_dim, 2, 3, num_basis=2, per_class=True
    ),
}
LOOKS_AT_Y = {name for name, make in PRIORS.items() if make(2).is_class_conditional}

CLASSES, BATCH, LATENT = 3, 5, 2
IMAGE = (1, 4, 4)


def _model(prior, num_classes=CLASSES, **options):
    """An M2 with this prior, away from its initial values: what holds there only is not what is tested."""
    model = M2(IMAGE, num_classes, prior=prior, networks=MLP(hidden=(6,)), **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=PRIORS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return _model(PRIORS[name](LATENT))


def test_it_keeps_the_contract(name):
    rules = check_prior(PRIORS[name](LATENT), CLASSES)
    assert "the density integrates to one, and samples agree with it" in rules


def test_it_keeps_the_contract_in_single_precision(name):
    torch.set_default_dtype(torch.float32)
    check_prior(PRIORS[name](LATENT), CLASSES)


def test_the_classes_differ_exactly_where_the_prior_looks_at_them(model, name):
    z = torch.randn(50, LATENT)
    first, second = (model.prior(torch.tensor(k)).log_prob(z) for k in (0, 1))
    assert torch.equal(first, second) == (name not in LOOKS_AT_Y)


PRIOR_KEYS = {
    "StandardNormal": set(),
    "GaussianMixture": {"logits", "loc", "log_scale"},
    "ClassConditional": {"logits", "loc", "log_scale"},
    "ClassConditional of 3 components": {"logits", "loc", "log_scale"},
    "SeparatedMeans": set(),
    "VampPrior": {"pseudo_inputs"},
    "VampPrior per class": {"pseudo_inputs"},
    "GenerativeTopographicMapping": {"weights", "log_scale"},
    "GenerativeTopographicMapping per class": {"weights", "log_scale"},
}


def test_nothing_but_the_parameters_is_saved(model, name):
    keys = {key.removeprefix("prior.") for key in model.state_dict() if key.startswith("prior.")}
    assert keys == {key for key, _ in model.prior.named_parameters()}
    if name == "NormalizingFlow":
        assert {key.split(".")[0] for key in keys} == {"layers"}
    # Run folders keep them under these names.
    assert keys == PRIOR_KEYS.get(name, keys)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


def test_a_pickled_copy_is_equal_and_independent_even_after_training(model):
    x, y, z = torch.rand(BATCH, *IMAGE), torch.tensor([0, 2, 1, 1, 0]), torch.randn(BATCH, LATENT)
    # Used before it is copied: what a step has left behind must not stand in the way.
    model.prior(y).log_prob(model.q_z(x, y).rsample()).sum().backward()
    model.p_x(z, y).mean.sum().backward()
    duplicate = COPIES["pickle"](model)
    before = model.prior(y).log_prob(z)
    torch.testing.assert_close(duplicate.prior(y).log_prob(z), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in duplicate.parameters():
            parameter.add_(0.5)
    torch.testing.assert_close(model.prior(y).log_prob(z), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", ["VampPrior", "VampPrior per class"])
def test_a_copied_vamp_prior_asks_the_copys_encoder(model, kind):
    z = torch.randn(BATCH, LATENT)
    duplicate = COPIES[kind](model)
    before = duplicate.prior().log_prob(z)
    assert duplicate.prior.__dict__["posterior"].encode.__self__ is duplicate
    with torch.no_grad():
        for parameter in duplicate.z_encoder.parameters():
            parameter.add_(0.5)
    assert not torch.allclose(duplicate.prior().log_prob(z), before)
    with torch.no_grad():
        for parameter in model.z_encoder.parameters():
            parameter.zero_()
    assert not torch.allclose(duplicate.prior().log_prob(z), model.prior().log_prob(z))


MIXED = [
    pytest.param(lambda: ClassConditional(LATENT), id="ClassConditional"),
    pytest.param(lambda: ClassConditional(LATENT, num_components=3), id="ClassConditional of 3 components"),
    pytest.param(lambda: SeparatedMeans(LATENT, distance=2.0), id="SeparatedMeans"),
    pytest.param(lambda: VampPrior(LATENT, 3, per_class=True), id="VampPrior per class"),
    pytest.param(
        lambda: GenerativeTopographicMapping(LATENT, 2, 3, per_class=True), id="GenerativeTopographicMapping per class"
    ),
]
PI = [0.7, 0.2, 0.1]


def _mixed_by(model, pi, z):
    """log Σ_y p(y) p(z | y), class after class."""
    return sum(pi[k] * model.prior(torch.tensor(k)).log_prob(z).exp() for k in range(CLASSES)).log()


def _assert_samples_of(distribution, pi, model):
    """Where classes are far apart, so many samples come from each."""
    means = torch.stack([model.prior(torch.tensor(k)).mean for k in range(CLASSES)]).detach()
    expected = sum(p * mean for p, mean in zip(pi, means, strict=True))
    samples = distribution.sample((50_000,))
    error = samples.std(0) / 50_000**0.5
    assert ((samples.mean(0) - expected).abs() < 4.5 * error).all()
    torch.testing.assert_close(distribution.mean.detach(), expected)


@pytest.mark.parametrize("make", MIXED)
@pytest.mark.parametrize("learned", [False, True])
def test_without_a_class_it_is_the_mixture_by_the_models_class_prior(make, learned):
    model, z = _model(make(), class_prior=ClassPrior(CLASSES, PI, learned=learned)), torch.randn(BATCH, LATENT)
    pi = model.class_prior().probs
    assert (pi != 1 / CLASSES).any()
    torch.testing.assert_close(model.prior().log_prob(z), _mixed_by(model, pi, z), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.prior(None).log_prob(z).exp().mean(), _mixed_by(model, pi, z).exp().mean())
    _assert_samples_of(model.prior(), pi.detach(), model)
    # It is the model's p(y) as it stands, that is learned elsewhere or loaded.
    with torch.no_grad():
        model.class_prior.logits.copy_(torch.tensor([-0.3, 1.1, 0.4]))
    now = model.class_prior().probs
    torch.testing.assert_close(model.prior().log_prob(z), _mixed_by(model, now, z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", MIXED)
def test_a_learned_class_prior_learns_from_the_mixture(make):
    model, z = _model(make(), class_prior=ClassPrior(CLASSES, PI, learned=True)), torch.randn(BATCH, LATENT)
    model.prior().log_prob(z).sum().backward()
    found, model.class_prior.logits.grad = model.class_prior.logits.grad, None
    _mixed_by(model, model.class_prior().probs, z).sum().backward()
    torch.testing.assert_close(found, model.class_prior.logits.grad, rtol=0, atol=1e-12)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("kind", [ClassConditional, SeparatedMeans])
def test_without_a_model_it_is_the_mixture_in_equal_parts(kind):
    prior, z = kind(LATENT, num_classes=CLASSES), torch.randn(BATCH, LATENT)
    parts = torch.stack([prior(torch.tensor(k)).log_prob(z).exp() for k in range(CLASSES)])
    torch.testing.assert_close(prior().log_prob(z), parts.mean(0).log(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", MIXED)
@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_mixed_by_its_own_class_prior(make, kind):
    model, z = _model(make(), class_prior=ClassPrior(CLASSES, PI, learned=True)), torch.randn(BATCH, LATENT)
    model.prior().log_prob(z).sum().backward()
    before = model.prior().log_prob(z).detach()
    whole, alone = COPIES[kind](model), COPIES[kind](model.prior)
    assert whole.state_dict().keys() == model.state_dict().keys()
    assert [name for name in model.state_dict() if name.endswith("logits") and "class_prior" in name] == [
        "class_prior.logits"
    ]
    with torch.no_grad():
        model.class_prior.logits.copy_(torch.tensor([-2.0, 0.0, 2.0]))
    for duplicate in (whole.prior, alone):
        torch.testing.assert_close(duplicate().log_prob(z), before, rtol=0, atol=0)
    with torch.no_grad():
        whole.class_prior.logits.zero_()
    expected = _mixed_by(whole, torch.full((CLASSES,), 1 / CLASSES), z)
    torch.testing.assert_close(whole.prior().log_prob(z), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(model.prior().log_prob(z), whole.prior().log_prob(z))


@pytest.mark.parametrize("kind", COPIES)
def test_a_vamp_prior_copied_alone_asks_an_encoder_of_its_own(kind):
    model, z = _model(VampPrior(LATENT, 3, per_class=True)), torch.randn(BATCH, LATENT)
    duplicate = COPIES[kind](model.prior)
    before = duplicate().log_prob(z).detach()
    assert duplicate.__dict__["posterior"].encode.__self__.prior is duplicate
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    torch.testing.assert_close(duplicate().log_prob(z), before, rtol=0, atol=0)


def test_a_mixture_follows_its_model_into_single_precision():
    model = _model(ClassConditional(LATENT), class_prior=ClassPrior(CLASSES, PI)).float()
    z = torch.randn(BATCH, LATENT, dtype=torch.float32)
    found = model.prior().log_prob(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, _mixed_by(model, torch.tensor(PI, dtype=torch.float32), z))


@pytest.mark.parametrize("make", MIXED[:3])
def test_two_models_with_other_class_priors_cannot_share_a_prior(make):
    prior = make()
    _m2(prior=prior, class_prior=ClassPrior(CLASSES, PI))
    _m2(prior=prior, class_prior=ClassPrior(CLASSES, PI))
    with pytest.raises(
        ValueError, match=r"^prior: expected a separate \w+ for each model, or models with the same p\(y\); .*"
    ):
        _m2(prior=prior)
    with pytest.raises(ValueError, match=r"got a prior of a model with ClassPrior\(3 classes, \[0.7, 0.2, 0.1\]\)"):
        _m2(prior=prior, class_prior=ClassPrior(CLASSES, PI, learned=True))
    shared = ClassPrior(CLASSES, learned=True)
    prior = make()
    models = [_m2(prior=prior, class_prior=shared) for _ in range(2)]
    assert models[0].prior is models[1].prior


def test_vamp_components_are_the_posteriors_at_the_pseudo_inputs():
    model = _model(VampPrior(LATENT, num_components=4, per_class=True))
    prior, z = model.prior, torch.randn(BATCH, LATENT)
    assert prior.pseudo_classes.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for k in range(CLASSES):
        parts = [
            model.q_z(u.sigmoid().unsqueeze(0), torch.tensor([k])).log_prob(z)
            for u in prior.pseudo_inputs[4 * k : 4 * k + 4]
        ]
        expected = torch.stack(parts).exp().mean(0).log()
        torch.testing.assert_close(prior(torch.full((BATCH,), k)).log_prob(z), expected)


@pytest.mark.parametrize("kind", [M1, M2, ADGM, M1M2])
def test_with_all_images_for_pseudo_inputs_a_vamp_prior_is_the_aggregate_posterior_of_some_models(kind):
    n, draws, networks = 6, 5_000, MLP(hidden=(6,))
    options = {"inner_networks": networks} if kind is M1M2 else {}
    model = kind(IMAGE, CLASSES, prior=VampPrior(LATENT, n), networks=networks, **options).eval()
    if kind is M1M2:
        model.advance(1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        x, z = torch.rand(n, *IMAGE), torch.randn(BATCH, LATENT)
        model.prior.pseudo_inputs.copy_(x.logit())
        y = model.prior.pseudo_classes
        if kind is ADGM:
            a = model.q_a(x).sample((draws,))
            posterior = diagonal_normal(model.z_encoder(x, y.expand(draws, n), a))
        elif kind is M1M2:
            z1 = diagonal_normal(model.z1_encoder(x)).sample((draws,))
            posterior = diagonal_normal(model.z2_encoder(z1, y.expand(draws, n)))
        else:
            posterior = model.q_z(x, y).expand((1, n))
        # 1/N Σ_n q(z | x_n, y_n), each the mean over the other variable where there is one
        density = posterior.log_prob(z[:, None, None]).exp().mean(-1)  # (points, draws)
        found, error = model.prior().log_prob(z).exp(), density.std(-1, correction=0) / draws**0.5
    if kind in (M1, M2):
        torch.testing.assert_close(found, density.mean(-1), rtol=0, atol=1e-12)
    else:
        assert ((found - density.mean(-1)).abs() > 6 * error).any()


def test_the_pseudo_classes_of_a_shared_vamp_prior_are_dealt_out_evenly():
    model = _model(VampPrior(LATENT, num_components=7))
    assert model.prior.pseudo_classes.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_the_pseudo_inputs_train_the_encoder_too():
    model = _model(VampPrior(LATENT, num_components=4))
    model.prior().log_prob(torch.randn(BATCH, LATENT)).sum().backward()
    for name, parameter in model.z_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_every_dimension_of_a_flow_is_transformed():
    # After two reversals every dimension is back in its place.
    prior = _model(NormalizingFlow(4, num_layers=2, hidden=8)).prior
    z = torch.randn(20, 4)
    with torch.no_grad():
        epsilon = torch.distributions.ComposeTransform(prior().transforms).inv(z)
    assert ((epsilon - z).abs().mean(0) > 1e-3).all()


@pytest.mark.parametrize("num_layers", [1, 4, 16])
def test_a_flow_starts_close_to_the_standard_normal_however_long_it_is(num_layers):
    z = torch.randn(200, 50)
    with torch.no_grad():
        log_prob = NormalizingFlow(50, num_layers)().log_prob(z)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert (log_prob - expected).abs().mean() < 1.0  # nats, of 71


def test_the_means_of_a_topographic_map_are_what_its_formula_says():
    prior = GenerativeTopographicMapping(LATENT, rows=2, columns=3, num_basis=2)
    corners = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    for row, v in enumerate((-1.0, 1.0)):
        for column, h in enumerate((-1.0, 0.0, 1.0)):
            # The centres are two apart, which is the width of the basis functions.
            phi = [1.0] + [math.exp(-((v - a) ** 2 + (h - b) ** 2) / (2 * 2.0**2)) for a, b in corners]
            expected = sum(weight * of_basis for weight, of_basis in zip(prior.weights, phi, strict=True))
            torch.testing.assert_close(prior.nodes(torch.tensor(0))[row, column], expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        prior.log_scale.fill_(-0.4)
    scale = math.exp(6 * math.tanh(-0.4 / 6))
    z = torch.randn(BATCH, LATENT)
    parts = [
        torch.distributions.Normal(mean, scale).log_prob(z).sum(-1)
        for mean in prior.nodes(torch.tensor(0)).flatten(0, 1)
    ]
    expected = torch.stack(parts).exp().mean(0).log()
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=0, atol=1e-12)


def test_a_topographic_map_is_the_smoother_the_fewer_basis_functions_it_has():
    def roughness(num_basis):
        torch.manual_seed(0)
        nodes = GenerativeTopographicMapping(200, 10, 10, num_basis).nodes(torch.tensor(0))
        return ((nodes[1:] - nodes[:-1]).square().mean() / nodes.var((0, 1)).mean()).item()

    found = [roughness(num_basis) for num_basis in (2, 4, 8)]
    assert found == sorted(found)
    assert found[1] < 0.2  # of independent nodes it would be 2


def test_the_means_of_a_topographic_map_start_as_far_out_as_those_of_other_mixtures():
    for prior in (GenerativeTopographicMapping(500), GenerativeTopographicMapping(500, 1, 1, num_basis=1)):
        assert prior.nodes(torch.tensor(0)).square().mean().item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("per_class", [False, True])
def test_the_nodes_of_a_map_are_looked_up_by_class(per_class):
    prior = _model(GenerativeTopographicMapping(LATENT, 2, 3, per_class=per_class)).prior
    y = torch.tensor([[0, 1], [2, 2]])
    nodes = prior.nodes(y)
    assert nodes.shape == (2, 2, 2, 3, LATENT)
    assert torch.equal(nodes[1, 0], nodes[1, 1])
    assert torch.equal(nodes[0, 0], nodes[0, 1]) != per_class
    means = prior(y).loc  # (..., nodes, latent)
    torch.testing.assert_close(nodes.flatten(2, 3).expand(2, 2, 6, LATENT), means.expand(2, 2, 6, LATENT))


def test_most_priors_are_no_map():
    assert StandardNormal(LATENT).nodes(torch.tensor([0])) is None


def test_component_scales_are_bounded():
    mixtures = (
        GaussianMixture(LATENT, 2),
        ClassConditional(LATENT, 2, num_classes=CLASSES),
        GenerativeTopographicMapping(LATENT),
    )
    for prior in mixtures:
        with torch.no_grad():
            prior.log_scale.fill_(-1e6)
        assert prior(torch.tensor([0])).log_prob(torch.zeros(1, LATENT)).isfinite().all()
        prior.log_scale.data.fill_(1e6)
        assert prior(torch.tensor([0])).log_prob(torch.zeros(1, LATENT)).item() > -30


def test_a_uniform_class_prior_has_nothing_to_learn():
    prior = ClassPrior(4)
    torch.testing.assert_close(prior().probs, torch.full((4,), 0.25))
    assert list(prior.parameters()) == []
    assert prior().batch_shape == ()


def test_a_given_class_prior_is_kept_and_saved():
    prior = ClassPrior(3, probabilities=[0.5, 0.3, 0.2])
    torch.testing.assert_close(prior().probs, torch.tensor([0.5, 0.3, 0.2]))
    assert list(prior.parameters()) == []
    other = ClassPrior(3)
    other.load_state_dict(prior.state_dict())
    torch.testing.assert_close(other().probs, torch.tensor([0.5, 0.3, 0.2]))


def test_a_learned_class_prior_finds_the_frequencies():
    prior = ClassPrior(3, learned=True)
    torch.testing.assert_close(prior().probs, torch.full((3,), 1 / 3))
    y = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        (-prior().log_prob(y).mean()).backward()
        optimiser.step()
    torch.testing.assert_close(prior().probs.detach(), torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=1e-3)


def _m2(**options):
    return M2(IMAGE, CLASSES, networks=MLP(hidden=(6,)), **options)


ERRORS = {
    "StandardNormal(0)": (lambda: StandardNormal(0), "latent_dim"),
    "GaussianMixture(0)": (lambda: GaussianMixture(0), "latent_dim"),
    "GaussianMixture without components": (lambda: GaussianMixture(2, 0), "num_components"),
    "ClassConditional(0)": (lambda: ClassConditional(0), "latent_dim"),
    "ClassConditional without components": (lambda: ClassConditional(2, 0), "num_components"),
    "ClassConditional of other classes": (
        lambda: _m2(prior=ClassConditional(2, num_classes=7)),
        "expected one for 3 classes; got one for 7",
    ),
    "SeparatedMeans(0)": (lambda: SeparatedMeans(0), "latent_dim"),
    "SeparatedMeans in too few dimensions": (
        lambda: _m2(prior=SeparatedMeans(1)),
        "latent_dim: expected an integer of at least 2; got 1",
    ),
    "SeparatedMeans at no distance": (lambda: SeparatedMeans(2, distance=0), "distance"),
    "SeparatedMeans of other classes": (
        lambda: _m2(prior=SeparatedMeans(6, num_classes=7)),
        "expected one for 3 classes; got one for 7",
    ),
    "VampPrior(0)": (lambda: VampPrior(0), "latent_dim"),
    "VampPrior without components": (lambda: VampPrior(2, 0), "num_components"),
    "VampPrior without a model": (lambda: VampPrior(2)(), "build a model first"),
    "NormalizingFlow(1)": (
        lambda: NormalizingFlow(1),
        "latent_dim: expected an integer of at least 2; got 1",
    ),
    "NormalizingFlow without layers": (lambda: NormalizingFlow(2, num_layers=0), "num_layers"),
    "NormalizingFlow without hidden units": (lambda: NormalizingFlow(2, hidden=0), "hidden"),
    "GenerativeTopographicMapping(0)": (lambda: GenerativeTopographicMapping(0), "latent_dim"),
    "GenerativeTopographicMapping without rows": (lambda: GenerativeTopographicMapping(2, 0, 3), "rows: .* got 0"),
    "GenerativeTopographicMapping without columns": (
        lambda: GenerativeTopographicMapping(2, 3, -1),
        "columns: .* got -1",
    ),
    "GenerativeTopographicMapping without basis": (lambda: GenerativeTopographicMapping(2, num_basis=0), "num_basis"),
    "GenerativeTopographicMapping per class without a model": (
        lambda: GenerativeTopographicMapping(2, per_class=True)(),
        "build a model first",
    ),
    "ClassPrior(0)": (lambda: ClassPrior(0), "num_classes"),
    "ClassPrior of the wrong length": (lambda: ClassPrior(3, [0.5, 0.5]), "expected 3 positive numbers"),
    "ClassPrior that does not sum to one": (lambda: ClassPrior(2, [0.5, 0.6]), "sum to 1"),
    "ClassPrior with a zero": (lambda: ClassPrior(2, [1.0, 0.0]), "positive"),
    "ClassPrior of other classes": (
        lambda: _m2(class_prior=ClassPrior(7)),
        "expected one for 3 classes; got one for 7",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()


def test_a_vamp_prior_belongs_to_one_model():
    prior = VampPrior(2, 3)
    _model(prior)
    with pytest.raises(ValueError, match=r"^prior: expected a separate VampPrior for each model"):
        _model(prior)


@pytest.mark.parametrize("prior", [ClassConditional, SeparatedMeans])
def test_a_prior_for_each_class_without_a_model_asks_for_the_number_of_classes(prior):
    with pytest.raises(ValueError, match=rf"^prior: {prior.__name__} expected num_classes"):
        prior(2)()


@pytest.mark.parametrize(("num_classes", "latent_dim"), [(1, 3), (2, 1), (3, 2), (10, 9), (10, 20)])
def test_separated_means_are_the_corners_of_a_simplex_around_the_origin(num_classes, latent_dim):
    prior = SeparatedMeans(latent_dim, distance=7.0, num_classes=num_classes)
    means = prior(torch.arange(num_classes)).mean
    apart = 7.0 * (1 - torch.eye(num_classes))
    torch.testing.assert_close((means[:, None] - means).square().sum(-1).sqrt(), apart, rtol=0, atol=1e-9)
    torch.testing.assert_close(means.mean(0), torch.zeros(latent_dim), rtol=0, atol=1e-12)
    assert prior().batch_shape == ()
    assert list(prior.parameters()) == []


def test_separated_means_are_a_class_conditional_prior_with_these_means():
    prior, learned = SeparatedMeans(LATENT, 3.0, CLASSES), ClassConditional(LATENT, num_classes=CLASSES)
    with torch.no_grad():
        learned.loc.copy_(prior.means.unsqueeze(1))
    z = torch.randn(BATCH, LATENT)
    for y in (None, torch.tensor([0, 2, 1, 1, 0]), torch.arange(CLASSES).unsqueeze(-1)):
        torch.testing.assert_close(prior(y).log_prob(z), learned(y).log_prob(z), rtol=0, atol=1e-12)
