"""Where a general thing has a special case, the two agree."""

import pytest
import torch
import torch.nn.functional as F

from ssvae.inference.objective import Consistency, KLWeight, Objective, Observations, Sizes
from ssvae.models import M2
from ssvae.models.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic
from ssvae.models.networks import MLP, Convolutional
from ssvae.models.normal import LogScaleNormal
from ssvae.models.priors import (
    ClassConditional,
    ClassPrior,
    GaussianMixture,
    GenerativeTopographicMapping,
    NormalizingFlow,
    StandardNormal,
    VampPrior,
)

CLASSES, LATENT, BATCH = 3, 2, 5
IMAGE = (1, 4, 4)
EXACT = {"rtol": 0, "atol": 1e-9}
SIZES = Sizes(10, 40)


def _m2(prior, num_classes=CLASSES, **options):
    return M2(IMAGE, num_classes, prior=prior, likelihood=Bernoulli(), networks=MLP(hidden=(6,)), **options)


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _assert_same_objective(one, other, objective=None, num_classes=CLASSES):
    """With the same networks and the same noise, both models have the same loss and gradients."""
    for name in ("y_encoder", "z_encoder", "decoder"):
        getattr(other, name).load_state_dict(getattr(one, name).state_dict())
    seen = Observations(_images(), torch.arange(BATCH) % num_classes, _images(4))
    losses = []
    for model in (one, other):
        torch.manual_seed(7)
        loss, _ = (objective or Objective())(model, seen, SIZES)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, **EXACT)
    for name in ("y_encoder", "z_encoder", "decoder"):
        for (key, p), q in zip(getattr(one, name).named_parameters(), getattr(other, name).parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, **EXACT, msg=lambda text, key=key: f"{key}: {text}")


# Priors


def test_a_mixture_of_one_component_is_that_gaussian():
    prior, z = GaussianMixture(LATENT, num_components=1), torch.randn(50, LATENT)
    with torch.no_grad():
        prior.log_scale.copy_(torch.tensor([[0.5, -0.3]]))
    scale = (6 * torch.tanh(prior.log_scale / 6)).exp()
    expected = torch.distributions.Normal(prior.loc[0], scale[0]).log_prob(z).sum(-1)
    torch.testing.assert_close(prior().log_prob(z), expected, **EXACT)


@pytest.mark.parametrize("components", [1, 4])
def test_a_mixture_of_standard_normals_is_the_standard_normal(components):
    mixture = GaussianMixture(LATENT, components)
    with torch.no_grad():
        mixture.loc.zero_()
        mixture.logits.copy_(torch.randn(components))
    _assert_same_objective(_m2(mixture), _m2(StandardNormal(LATENT)))


def test_one_component_for_each_class_is_a_gaussian_for_each_class():
    prior, z = ClassConditional(LATENT, num_classes=CLASSES), torch.randn(BATCH, LATENT)
    y = torch.tensor([0, 2, 1, 1, 2])
    with torch.no_grad():
        prior.log_scale.copy_(0.5 * torch.randn_like(prior.log_scale))
    scale = (6 * torch.tanh(prior.log_scale / 6)).exp()
    expected = torch.distributions.Normal(prior.loc[y, 0], scale[y, 0]).log_prob(z).sum(-1)
    torch.testing.assert_close(prior(y).log_prob(z), expected, **EXACT)
    # Without y they are the components of one mixture.
    mixture = GaussianMixture(LATENT, CLASSES)
    with torch.no_grad():
        mixture.loc.copy_(prior.loc[:, 0])
        mixture.log_scale.copy_(prior.log_scale[:, 0])
    torch.testing.assert_close(prior().log_prob(z), mixture().log_prob(z), **EXACT)


@pytest.mark.parametrize("components", [1, 3])
def test_a_prior_with_equal_classes_is_the_mixture_that_they_share(components):
    mixture = GaussianMixture(LATENT, components)
    with torch.no_grad():
        mixture.logits.copy_(torch.randn(components))
        mixture.log_scale.copy_(0.5 * torch.randn(components, LATENT))
    by_class = ClassConditional(LATENT, components, num_classes=CLASSES)
    with torch.no_grad():
        for name in ("logits", "loc", "log_scale"):
            shared = getattr(mixture, name)
            getattr(by_class, name).copy_(shared.expand(CLASSES, *shared.shape))
    z = torch.randn(BATCH, LATENT)
    for y in (None, torch.tensor([0, 2, 1, 1, 2]), torch.arange(CLASSES).unsqueeze(-1)):
        expected = mixture(y).log_prob(z)
        torch.testing.assert_close(by_class(y).log_prob(z), expected.expand_as(by_class(y).log_prob(z)), **EXACT)
    one, other = _m2(mixture), _m2(by_class)
    _assert_same_objective(one, other)
    # What every class has learned for itself adds up to what the shared mixture has learned.
    for name in ("loc", "log_scale"):
        shared = getattr(one.prior, name).grad
        torch.testing.assert_close(getattr(other.prior, name).grad.sum(0), shared, **EXACT)


def test_a_topographic_map_of_one_node_is_a_gaussian():
    gaussian, one_node = GaussianMixture(LATENT, 1), GenerativeTopographicMapping(LATENT, 1, 1, num_basis=1)
    with torch.no_grad():
        gaussian.log_scale.fill_(0.3)
        one_node.log_scale.fill_(0.3)
        # A one and a basis function at its centre: the mean is the sum of two weights.
        gaussian.loc.copy_(one_node.weights.sum(0))
    one, other = _m2(gaussian), _m2(one_node)
    _assert_same_objective(one, other)
    for weights in other.prior.weights.grad:
        torch.testing.assert_close(weights, one.prior.loc.grad[0], **EXACT)
    torch.testing.assert_close(other.prior.log_scale.grad, one.prior.log_scale.grad.sum(), **EXACT)


def test_a_topographic_map_is_a_mixture_whose_means_are_tied():
    mixture, topographic = GaussianMixture(LATENT, 6), GenerativeTopographicMapping(LATENT, 2, 3, num_basis=2)
    with torch.no_grad():
        mixture.loc.copy_(topographic.basis @ topographic.weights)
    one, other = _m2(mixture), _m2(topographic)
    _assert_same_objective(one, other)
    torch.testing.assert_close(other.prior.weights.grad, topographic.basis.T @ one.prior.loc.grad, **EXACT)
    torch.testing.assert_close(other.prior.log_scale.grad, one.prior.log_scale.grad.sum(), **EXACT)


def test_topographic_maps_with_equal_classes_are_the_map_that_they_share():
    shared = GenerativeTopographicMapping(LATENT, 2, 3)
    by_class = GenerativeTopographicMapping(LATENT, 2, 3, per_class=True)
    one, other = _m2(shared), _m2(by_class)
    with torch.no_grad():
        by_class.weights.copy_(shared.weights.expand_as(by_class.weights))
    z = torch.randn(BATCH, LATENT)
    for y in (None, torch.tensor([0, 2, 1, 1, 2]), torch.arange(CLASSES).unsqueeze(-1)):
        expected = shared(y).log_prob(z)
        torch.testing.assert_close(by_class(y).log_prob(z), expected.expand_as(by_class(y).log_prob(z)), **EXACT)
    _assert_same_objective(one, other)
    torch.testing.assert_close(by_class.weights.grad.sum(0), shared.weights.grad, **EXACT)
    torch.testing.assert_close(by_class.log_scale.grad, shared.log_scale.grad, **EXACT)


def test_a_flow_whose_networks_say_nothing_is_the_standard_normal():
    flow = NormalizingFlow(LATENT, num_layers=3, hidden=4)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    _assert_same_objective(_m2(flow), _m2(StandardNormal(LATENT)))


@pytest.mark.parametrize("per_class", [False, True])
def test_a_vamp_prior_of_one_component_is_the_posterior_at_its_pseudo_input(per_class):
    model = _m2(VampPrior(LATENT, num_components=1, per_class=per_class))
    z = torch.randn(BATCH, LATENT)
    y = torch.tensor([0, 2, 1, 1, 2])
    pseudo = model.prior.pseudo_inputs.sigmoid()
    expected = model.q_z(pseudo[y], y) if per_class else model.q_z(pseudo, torch.tensor([0]))
    torch.testing.assert_close(model.prior(y).log_prob(z), expected.log_prob(z), **EXACT)


def test_with_one_class_a_vamp_prior_per_class_is_a_shared_one():
    one = _m2(VampPrior(LATENT, num_components=4), num_classes=1)
    other = _m2(VampPrior(LATENT, num_components=4, per_class=True), num_classes=1)
    with torch.no_grad():
        other.prior.pseudo_inputs.copy_(one.prior.pseudo_inputs)
    _assert_same_objective(one, other, num_classes=1)
    torch.testing.assert_close(one.prior.pseudo_inputs.grad, other.prior.pseudo_inputs.grad, **EXACT)


def test_a_class_prior_to_be_learned_starts_as_the_uniform_one():
    _assert_same_objective(
        _m2(StandardNormal(LATENT), class_prior=ClassPrior(CLASSES, learned=True)),
        _m2(StandardNormal(LATENT)),
    )


# Models


def test_m2_with_one_class_is_a_vae():
    model = _m2(StandardNormal(LATENT), num_classes=1)
    x = _images()
    torch.manual_seed(7)
    loss, terms = Objective(alpha=0.0)(
        model, Observations(x[:0], torch.zeros(0, dtype=torch.int64), x), Sizes(0, BATCH)
    )

    # A VAE: an encoder, a decoder, and the bias that the only class adds to either.
    torch.manual_seed(7)
    encoder, decoder = model.z_encoder.perceptron, model.decoder.perceptron
    hidden = F.softplus(encoder.first.linear(x.flatten(1)) + encoder.first.embedding.weight[0])
    loc, log_scale = encoder.rest[-1](hidden).chunk(2, dim=-1)
    posterior = torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())
    z = posterior.rsample()
    hidden = F.softplus(decoder.first.linear(z) + decoder.first.embedding.weight[0])
    pixels = torch.distributions.Bernoulli(logits=decoder.rest[-1](hidden))
    log_p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    elbo = pixels.log_prob(x.flatten(1)).sum(-1) + log_p_z - posterior.log_prob(z).sum(-1)

    torch.testing.assert_close(loss, -elbo.mean(), **EXACT)
    torch.testing.assert_close(terms["unlabelled/entropy"], torch.zeros(()), **EXACT)
    torch.testing.assert_close(terms["unlabelled/class"], torch.zeros(()), **EXACT)
    for ours, by_hand in zip(
        torch.autograd.grad(loss, list(encoder.parameters()) + list(decoder.parameters())),
        torch.autograd.grad(-elbo.mean(), list(encoder.parameters()) + list(decoder.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, by_hand, **EXACT)


def test_with_one_class_a_label_says_nothing():
    model, x = _m2(GaussianMixture(LATENT, 3), num_classes=1), _images()
    none, y = torch.zeros(0, dtype=torch.int64), torch.zeros(BATCH, dtype=torch.int64)
    torch.manual_seed(7)
    labelled, _ = Objective()(model, Observations(x, y, x[:0]), Sizes(BATCH, 0))
    torch.manual_seed(7)
    unlabelled, _ = Objective()(model, Observations(x[:0], none, x), Sizes(0, BATCH))
    torch.testing.assert_close(labelled, unlabelled, **EXACT)


def test_where_the_classifier_is_certain_an_unlabelled_image_is_a_labelled_one(monkeypatch):
    # z at its mean: the two bounds draw noise of different shapes.
    monkeypatch.setattr(LogScaleNormal, "rsample", lambda normal, shape=(): normal.mean)
    model, x = _m2(ClassConditional(LATENT)), _images()
    with torch.no_grad():
        last = model.y_encoder.perceptron.rest[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([800.0, 0.0, 0.0]))
    y = torch.zeros(BATCH, dtype=torch.int64)
    labelled, _ = Objective(alpha=0.0)(model, Observations(x, y, x[:0]), Sizes(BATCH, 0))
    unlabelled, _ = Objective(alpha=0.0)(model, Observations(x[:0], y[:0], x), Sizes(0, BATCH))
    torch.testing.assert_close(labelled, unlabelled, **EXACT)


# Objectives


def test_without_the_generative_terms_the_objective_is_supervised_training():
    model, x, y = _m2(StandardNormal(LATENT)), _images(), torch.arange(BATCH) % CLASSES
    loss, _ = Objective(alpha=1.0, generative=False)(model, Observations(x, y, _images()), SIZES)
    expected = F.cross_entropy(model.y_encoder(x), y)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_a_kl_weight_of_one_is_no_kl_weight():
    prior = StandardNormal(LATENT)
    model, seen = _m2(prior), Observations(_images(), torch.arange(BATCH) % CLASSES, _images())
    losses = []
    for weight in (1.0, 1.0 + 1e-12):  # the second goes the way of the weighted ones
        torch.manual_seed(7)
        losses.append(Objective(kl_weight=KLWeight(weight, weight))(model, seen, SIZES)[0])
    torch.testing.assert_close(*losses, **EXACT)


def test_consistency_with_the_image_itself_has_the_gradient_of_no_change_in_a_certain_classifier():
    model, x = _m2(StandardNormal(LATENT)), _images()
    seen = Observations(x, torch.arange(BATCH) % CLASSES, x, transformed=x)
    loss, _ = Objective(alpha=0.0, generative=False, consistency=Consistency(weight=1.0))(model, seen, SIZES)
    # -Σ q log q is the entropy; with the target held fixed, q is where it is smallest: the gradient vanishes.
    torch.testing.assert_close(loss.detach(), model.classify(x).entropy().mean().detach(), **EXACT)
    for gradient in torch.autograd.grad(loss, list(model.y_encoder.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), **EXACT)


# Likelihoods and networks


def test_continuous_bernoulli_with_logits_of_zero_is_uniform():
    distribution = ContinuousBernoulli()(torch.zeros(BATCH, *IMAGE))
    torch.testing.assert_close(distribution.log_prob(torch.rand(BATCH, *IMAGE)), torch.zeros(BATCH), **EXACT)


def test_continuous_bernoulli_is_bernoulli_and_a_normaliser_that_does_not_depend_on_the_pixel():
    logits = 3 * torch.randn(IMAGE)
    x = _images(20)
    difference = ContinuousBernoulli()(logits).log_prob(x) - Bernoulli()(logits).log_prob(x)
    normaliser = (logits / torch.tanh(logits / 2)).log().sum()
    torch.testing.assert_close(difference, normaliser.expand(20), rtol=0, atol=1e-8)


def test_a_wide_discretised_logistic_is_the_logistic_density_times_the_width_of_a_level():
    parameters = torch.cat([torch.zeros(1, 1, 1), torch.ones(1, 1, 1)])
    scale = (6 * torch.tanh(torch.tensor(-1.0) / 6)).exp()
    k = torch.arange(1, 255)
    ours = DiscretizedLogistic()(parameters).log_prob((k / 255).view(-1, 1, 1, 1))
    standard = (k / 255 - 0.5) / scale
    density = F.logsigmoid(standard) + F.logsigmoid(-standard) - scale.log()
    # The midpoint rule on one level: relative error (1 / 255 s)² / 24 of the second derivative.
    torch.testing.assert_close(ours, density - torch.log(torch.tensor(255.0)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("networks", [MLP(hidden=(6,)), Convolutional(channels=(2,), hidden=6)], ids=["MLP", "conv"])
def test_a_network_of_equal_classes_is_a_network_without_classes(networks):
    event_shape = (1, 8, 8)
    with_classes = networks.encoder(event_shape, 4, CLASSES)
    without = networks.encoder(event_shape, 4)
    state = {k: v for k, v in with_classes.state_dict().items() if "embedding" not in k}
    without.load_state_dict(state)
    with torch.no_grad():
        with_classes.perceptron.first.embedding.weight.zero_()
    x = torch.rand(BATCH, *event_shape)
    outputs = with_classes(x, torch.arange(CLASSES).unsqueeze(-1))
    torch.testing.assert_close(outputs, without(x).expand(CLASSES, BATCH, 4), **EXACT)
