"""GMVAE: its ELBO by hand, the nearest mean for the best classifier, and the M2 that it is a case of."""

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays, recipe

from ssvae import inference
from ssvae.inference.evaluation import importance_sampling, log_weights
from ssvae.inference.evaluation.diagnostics import effective_samples, pareto_k
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.inference.predict import class_probabilities
from ssvae.models import GMVAE, M2
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.normal import LogScaleNormal
from ssvae.models.posteriors import FixedScaleNormal
from ssvae.models.priors import ClassConditional, ClassPrior, SeparatedMeans, StandardNormal

CLASSES, LATENT, BATCH = 3, 4, 5
IMAGE = (1, 8, 8)
EXACT = {"rtol": 0, "atol": 1e-9}
Y = torch.tensor([0, 2, 1, 1, 2])
PI = [0.5, 0.3, 0.2]
SCALE, DISTANCE = 0.4, 3.0


def _model(networks=None, **options):
    return GMVAE(
        IMAGE,
        CLASSES,
        prior=SeparatedMeans(LATENT, DISTANCE),
        likelihood=Bernoulli(),
        networks=networks or MLP(hidden=(6,)),
        class_prior=ClassPrior(CLASSES, PI),
        posterior=FixedScaleNormal(SCALE),
        **options,
    )


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _seeded_loss(model, seen, sizes, **options):
    torch.manual_seed(7)
    return Objective(**options)(model, seen, sizes)[0]


def _log_normal(z, loc, scale):
    return torch.distributions.Normal(loc, scale).log_prob(z).sum(-1)


def test_its_elbo_is_the_papers_story_by_hand_in_value_and_gradient():
    model, x, unlabelled = _model(), _images(), _images(4)
    loss = _seeded_loss(model, Observations(x, Y, unlabelled), Sizes(10, 30), alpha=0.7)

    encoder, decoder, means = model.z_encoder.perceptron, model.decoder.perceptron, model.prior.means
    log_pi = torch.tensor(PI).log()
    torch.manual_seed(7)

    def f(images):
        return encoder.rest[-1](F.softplus(encoder.first.linear(images.flatten(1))))

    def log_p_x(images, z):
        logits = decoder.rest[-1](F.softplus(decoder.first.linear(z)))
        return torch.distributions.Bernoulli(logits=logits).log_prob(images.flatten(1)).sum(-1)

    # -L(x, y)
    loc = f(x)
    z = loc + SCALE * torch.randn_like(loc)
    elbo = log_p_x(x, z) + _log_normal(z, means[Y], 1.0) - _log_normal(z, loc, SCALE) + log_pi[Y]
    by_hand = -0.25 * elbo.mean()
    # -U(x), class by class
    loc = f(unlabelled)
    z = loc + SCALE * torch.randn_like(loc)
    q_y = (log_pi - 0.5 * (loc[:, None] - means).square().sum(-1)).softmax(-1)
    bound = torch.zeros(len(unlabelled))
    for y in range(CLASSES):
        inner = log_p_x(unlabelled, z) + _log_normal(z, means[y], 1.0) - _log_normal(z, loc, SCALE) + log_pi[y]
        bound = bound + q_y[:, y] * (inner - q_y[:, y].log())
    by_hand = by_hand - 0.75 * bound.mean()
    # -log q(y | x)
    squared = (f(x)[:, None] - means).square().sum(-1)
    by_hand = by_hand + 0.7 * F.cross_entropy(log_pi - 0.5 * squared, Y)

    torch.testing.assert_close(loss, by_hand, **EXACT)
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(each, parameters) for each in (loss, by_hand))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
        assert (one != 0).any()


def test_the_most_probable_class_is_that_of_the_nearest_mean_where_all_are_as_likely():
    model = GMVAE(IMAGE, CLASSES, prior=SeparatedMeans(LATENT, 0.5), networks=MLP(hidden=(6,)))
    x = _images(200)
    with torch.no_grad():
        model.z_encoder.perceptron.rest[-1].bias.sub_(model.encode(x).mean(0))  # images all around the origin
    distances = torch.cdist(model.encode(x), model.prior(torch.arange(CLASSES)).mean)
    nearest = distances.argmin(-1)
    assert nearest.bincount(minlength=CLASSES).min() > 0
    assert torch.equal(model.classify(x).probs.argmax(-1), nearest)


def test_no_other_classifier_has_a_higher_elbo():
    model, x = _model(), _images()
    loc, means = model.encode(x).detach(), model.prior.means
    # E_q(z|x) log p(z|y) in closed form: -½ ( |f(x) - μ_y|² + latent s² ) - ½ latent log 2π
    expected = -0.5 * ((loc[:, None] - means).square().sum(-1) + LATENT * (SCALE**2 + torch.tensor(2 * torch.pi).log()))
    z = loc + SCALE * torch.randn(20000, BATCH, LATENT)
    sampled = _log_normal(z[:, :, None], means, 1.0)
    assert ((sampled.mean(0) - expected).abs() < 5 * sampled.std(0) / 20000**0.5).all()

    def elbo(q):  # as far as it depends on q(y|x)
        return (q * (expected + torch.tensor(PI).log() - q.log())).sum(-1)

    q = model.classify(x).probs.detach()
    logits = q.log().requires_grad_()
    (gradient,) = torch.autograd.grad(elbo(logits.softmax(-1)).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **EXACT)
    for _ in range(20):
        other = (q.log() + 0.3 * torch.randn_like(q)).softmax(-1)
        assert (elbo(other) < elbo(q)).all()


def test_it_is_an_m2_whose_networks_ignore_the_class_with_the_nearest_mean_for_a_classifier(monkeypatch):
    model = _model()
    m2 = M2(
        IMAGE,
        CLASSES,
        prior=SeparatedMeans(LATENT, DISTANCE),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        class_prior=ClassPrior(CLASSES, PI),
    )
    encoder = model.z_encoder.state_dict()
    no_class = {"perceptron.first.embedding.weight": torch.zeros(CLASSES, 6)}
    m2.decoder.load_state_dict(model.decoder.state_dict() | no_class)
    weight, bias = encoder["perceptron.rest.1.weight"], encoder["perceptron.rest.1.bias"]
    # log σ = 6 tanh(· / 6), the same for all images
    log_scale = 6 * torch.atanh(torch.tensor(SCALE).log() / 6)
    heads = {
        "perceptron.rest.1.weight": torch.cat([weight, torch.zeros_like(weight)]),
        "perceptron.rest.1.bias": torch.cat([bias, log_scale.expand(LATENT)]),
    }
    m2.z_encoder.load_state_dict(encoder | heads | no_class)
    # -½ |f - μ_y|² is μ_y·f - ½ |μ_y|², and what is the same for all y: linear in f.
    means = model.prior.means
    linear = {
        "perceptron.rest.1.weight": means @ weight,
        "perceptron.rest.1.bias": means @ bias - 0.5 * means.square().sum(-1) + torch.tensor(PI).log(),
    }
    m2.y_encoder.load_state_dict(encoder | linear)

    x, unlabelled = _images(), _images(4)
    torch.testing.assert_close(model.classify(x).logits, m2.classify(x).logits, **EXACT)
    # One draw of z for all classes: M2 would make one for each.
    noise = {5: torch.randn(5, LATENT), 4: torch.randn(4, LATENT)}
    monkeypatch.setattr(
        LogScaleNormal, "rsample", lambda q, shape=(): q.loc + q.scale * noise[q.batch_shape[-2]].expand(q.loc.shape)
    )
    seen = Observations(x, Y, unlabelled)
    losses = [_seeded_loss(one, seen, Sizes(10, 30), alpha=0.7) for one in (model, m2)]
    torch.testing.assert_close(*losses, **EXACT)
    for loss in losses:
        loss.backward()
    theirs = {key: parameter.grad for key, parameter in m2.named_parameters()}
    for key, parameter in model.decoder.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[f"decoder.{key}"], **EXACT, msg=key)
    # The encoder learns from both of M2's, through the maps above.
    first = "perceptron.first.linear.weight"
    expected = theirs[f"z_encoder.{first}"] + theirs[f"y_encoder.{first}"]
    torch.testing.assert_close(model.z_encoder.get_parameter(first).grad, expected, **EXACT)
    last = "perceptron.rest.1.weight"
    expected = theirs[f"z_encoder.{last}"][:LATENT] + means.T @ theirs[f"y_encoder.{last}"]
    torch.testing.assert_close(model.z_encoder.get_parameter(last).grad, expected, **EXACT)


def test_of_all_classes_one_z_is_drawn_and_decoded_once():
    model, x, decoded = _model(), _images(), []
    model.decoder.register_forward_pre_hook(lambda module, arguments: decoded.append(tuple(arguments[0].shape)))
    Objective(alpha=0.0)(model, Observations(x[:0], Y[:0], x), Sizes(0, BATCH))
    assert decoded == [(BATCH, LATENT)]


def test_importance_sampling_agrees_with_an_integral_over_z():
    model = GMVAE(
        IMAGE,
        2,
        prior=SeparatedMeans(1, 2.0),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        posterior=FixedScaleNormal(1.2),
    )
    x, z = _images(4), torch.linspace(-12, 12, 4001)
    log_p_x = model.p_x(z.view(-1, 1, 1)).log_prob(x)  # (4001, 4)
    log_joint = [_log_normal(z.view(-1, 1, 1), mean, 1.0) + log_p_x for mean in (model.prior.means)]
    exact = torch.stack(log_joint, -1).logsumexp(0) + (z[1] - z[0]).log() - torch.tensor(2.0).log()
    estimate = importance_sampling(model, x, 20000).log_joint
    torch.testing.assert_close(estimate, exact.detach(), rtol=0, atol=0.05)


def test_a_guide_of_a_fixed_scale_that_is_too_narrow_does_not_make_log_p_too_small():
    prior = SeparatedMeans(1, 2.0)
    model = GMVAE(
        IMAGE, 2, prior=prior, likelihood=Bernoulli(), networks=MLP(hidden=(6,)), posterior=FixedScaleNormal(0.1)
    )
    x, z, y = _images(40), torch.linspace(-12, 12, 4001), torch.arange(2).unsqueeze(-1)
    with torch.no_grad():
        model.z_encoder.perceptron.rest[-1].bias.add_(2.0)
        log_p_x = model.p_x(z.view(-1, 1, 1)).log_prob(x)  # (4001, 40)
    log_joint = [_log_normal(z.view(-1, 1, 1), mean, 1.0) + log_p_x for mean in model.prior.means]
    exact = torch.stack(log_joint, -1).logsumexp((0, 2)) + (z[1] - z[0]).log() - torch.tensor(2.0).log()
    log_v = log_weights(model, x, y, 100).logsumexp(1)
    by_guide = log_v.logsumexp(0) - torch.tensor(100.0).log()
    assert (by_guide - exact).mean() < -0.3
    assert (pareto_k(log_v) > 0.7).double().mean() > 0.4
    found = importance_sampling(model, x, 100)
    assert abs((found.log_evidence - exact).mean()) < 0.02
    assert (found.pareto_k > 0.7).double().mean() < 0.1
    assert found.effective_samples.median() > 1.5 * effective_samples(log_v).median()  # 35 and 20


def test_an_analogy_is_as_far_from_its_mean_as_the_image_from_its_own():
    model, x, seen = _model(), _images(), []
    model.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    model.analogies(x, Y)
    style = model.encode(x) - model.prior.means[Y]
    torch.testing.assert_close(seen[0] - model.prior.means[:, None], style.expand(CLASSES, BATCH, LATENT), **EXACT)


def test_with_a_scale_of_its_own_for_each_class_it_still_answers_with_their_densities():
    prior = ClassConditional(LATENT)
    model = GMVAE(IMAGE, CLASSES, prior=prior, networks=MLP(hidden=(6,)))
    with torch.no_grad():
        prior.log_scale.copy_(0.3 * torch.randn_like(prior.log_scale))
    z = model.encode(_images())
    expected = torch.stack([prior(torch.tensor(k)).log_prob(z) for k in range(CLASSES)], -1).softmax(-1)
    torch.testing.assert_close(model._nearest(z).probs, expected, **EXACT)


@pytest.mark.slow
def test_it_learns_is_saved_and_answers_the_same_when_loaded(tmp_path):
    torch.manual_seed(1)
    model = GMVAE(IMAGE, CLASSES, prior=SeparatedMeans(3, 6.0), networks=MLP((16,)))
    data = arrays(num_labels=6)
    options = vars(recipe(max_epochs=30, objective=Objective(alpha=20.0)))
    run = inference.fit(model, data, folder=str(tmp_path / "run"), **options)
    assert run.evaluation.classifier.accuracy > 0.9
    assert run.evaluation.posterior.accuracy > 0.9
    assert run.evaluation.log_likelihood > run.evaluation.elbo
    loaded = inference.load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(loaded, x), class_probabilities(run.model, x))
    assert torch.equal(loaded.analogies(x), run.model.analogies(x))


ERRORS = {
    "an image without channels": (lambda: GMVAE((8, 8), 3), "event_shape: expected"),
    "no classes": (lambda: GMVAE(IMAGE, 0), "num_classes: expected"),
    "a prior without classes": (
        lambda: GMVAE(IMAGE, 3, prior=StandardNormal(2)),
        r"prior: expected p\(z \| y\), by which GMVAE classifies; got p\(z\), StandardNormal",
    ),
    "no scale": (lambda: FixedScaleNormal(scale=0.0), "scale: expected a positive number; got 0.0"),
    "too few dimensions": (lambda: GMVAE(IMAGE, 9, prior=SeparatedMeans(7)), "latent_dim: expected"),
    "the class prior of others": (
        lambda: GMVAE(IMAGE, 3, class_prior=ClassPrior(4)),
        "class_prior: expected one for 3 classes; got one for 4",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_model_that_cannot_be_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()


def test_the_default_has_room_for_any_number_of_classes():
    assert GMVAE(IMAGE, 3).prior.latent_dim == 10
    assert GMVAE(IMAGE, 20).prior.latent_dim == 19
