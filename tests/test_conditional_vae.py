"""ConditionalVAE: with labels M2's L(x, y), without them a VAE of a class more; Bayes' rule classifies."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays, recipe
from test_evaluation import LinearGaussian

from ssvae import inference
from ssvae.inference.evaluation import log_weights
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.inference.predict import class_probabilities
from ssvae.models import M2, ConditionalVAE
from ssvae.models.likelihoods import Bernoulli, Gaussian
from ssvae.models.networks import MLP, Convolutional
from ssvae.models.normal import LogScaleNormal
from ssvae.models.priors import (
    ClassConditional,
    ClassPrior,
    GenerativeTopographicMapping,
    SeparatedMeans,
    StandardNormal,
    VampPrior,
)

CLASSES, LATENT, BATCH = 3, 2, 5
IMAGE = (1, 8, 8)
EXACT = {"rtol": 0, "atol": 1e-9}
Y = torch.tensor([0, 2, 1, 1, 2])
NONE = torch.zeros(0, dtype=torch.int64)


def _model(prior=None, likelihood=None, **options):
    return ConditionalVAE(
        IMAGE,
        CLASSES,
        prior=prior or StandardNormal(LATENT),
        likelihood=likelihood or Bernoulli(),
        networks=MLP(hidden=(6,)),
        **options,
    )


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _seeded_loss(model, seen, sizes, **options):
    torch.manual_seed(7)
    return Objective(alpha=0.0, **options)(model, seen, sizes)[0]


def _embeddings(model):
    return [getattr(model, name).perceptron.first.embedding.weight for name in ("z_encoder", "decoder")]


@pytest.mark.parametrize(
    "prior",
    [lambda: StandardNormal(LATENT), lambda: ClassConditional(LATENT), lambda: VampPrior(LATENT, 3, per_class=True)],
    ids=["p(z)", "p(z|y)", "vamp"],
)
def test_with_all_labels_its_bound_is_m2s(prior):
    model = _model(prior(), class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]))
    m2 = M2(
        IMAGE,
        CLASSES,
        prior=prior(),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]),
    )
    m2.prior.load_state_dict(model.prior.state_dict())
    for name in ("z_encoder", "decoder"):
        state = getattr(model, name).state_dict()
        state["perceptron.first.embedding.weight"] = state["perceptron.first.embedding.weight"][:CLASSES]
        getattr(m2, name).load_state_dict(state)
    x = _images()
    losses = []
    for one in (model, m2):
        losses.append(_seeded_loss(one, Observations(x, Y, x[:0]), Sizes(BATCH, 0)))
        losses[-1].backward()
    torch.testing.assert_close(*losses, **EXACT)
    theirs = dict(m2.named_parameters())
    for key, parameter in model.named_parameters():
        gradient = parameter.grad
        if key.endswith("embedding.weight"):
            # 'unknown' does not learn from labelled images.
            assert (gradient[CLASSES] == 0).all()
            gradient = gradient[:CLASSES]
        torch.testing.assert_close(gradient, theirs[key].grad, **EXACT)


@pytest.mark.parametrize("k", range(CLASSES))
def test_where_unknown_is_a_class_an_unlabelled_image_is_one_of_that_class(k):
    model, x = _model(), _images()
    with torch.no_grad():
        for weight in _embeddings(model):
            weight[CLASSES] = weight[k]
    y = torch.full((BATCH,), k)
    given = _seeded_loss(model, Observations(x, y, x[:0]), Sizes(BATCH, 0))
    unknown = _seeded_loss(model, Observations(x[:0], NONE, x), Sizes(0, BATCH))
    # All but -log p(y), of a class that is not in the story.
    torch.testing.assert_close(unknown, given - torch.tensor(float(CLASSES)).log(), **EXACT)
    parameters = dict(model.named_parameters())
    gradients = [torch.autograd.grad(loss, list(parameters.values())) for loss in (given, unknown)]
    for key, one, other in zip(parameters, *gradients, strict=True):
        if key.endswith("embedding.weight"):
            one, other = one[k], other[CLASSES]
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize(
    "prior",
    [
        lambda: ClassConditional(LATENT, num_components=2),
        lambda: SeparatedMeans(LATENT, distance=2.0),
        lambda: VampPrior(LATENT, 3, per_class=True),
        lambda: GenerativeTopographicMapping(LATENT, 2, 3, per_class=True),
    ],
    ids=["ClassConditional", "SeparatedMeans", "VampPrior", "GenerativeTopographicMapping"],
)
@pytest.mark.parametrize("learned", [False, True])
def test_the_bound_without_a_class_mixes_the_prior_by_the_class_prior(prior, learned):
    model, x = _model(prior(), class_prior=ClassPrior(CLASSES, [0.9, 0.07, 0.03], learned=learned)), _images()
    loss = _seeded_loss(model, Observations(x[:0], NONE, x), Sizes(0, BATCH))
    torch.manual_seed(7)
    unknown = torch.full((BATCH,), CLASSES)
    q = model.q_z(x, unknown)
    z = q.rsample()
    pi = model.class_prior.logits.softmax(0)
    # Σ_y p(y) p(z | y)
    p_z = sum(pi[k] * model.prior(torch.full((BATCH,), k)).log_prob(z).exp() for k in range(CLASSES))
    expected = -(model.p_x(z, unknown).log_prob(x) + p_z.log() - q.log_prob(z)).mean()
    torch.testing.assert_close(loss, expected, **EXACT)
    if learned:
        found, by_hand = (torch.autograd.grad(of, model.class_prior.logits)[0] for of in (loss, expected))
        torch.testing.assert_close(found, by_hand, **EXACT)
        assert found.abs().max() > 1e-3


def test_the_bound_without_a_class_is_that_of_a_vae_by_hand():
    model, x = _model(), _images()
    loss = _seeded_loss(model, Observations(x[:0], NONE, x), Sizes(0, BATCH))

    torch.manual_seed(7)
    encoder, decoder = model.z_encoder.perceptron, model.decoder.perceptron
    hidden = F.softplus(encoder.first.linear(x.flatten(1)) + encoder.first.embedding.weight[CLASSES])
    loc, log_scale = encoder.rest[-1](hidden).chunk(2, dim=-1)
    q_z = torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())
    z = q_z.rsample()
    logits = decoder.rest[-1](F.softplus(decoder.first.linear(z) + decoder.first.embedding.weight[CLASSES]))
    log_p_x = torch.distributions.Bernoulli(logits=logits).log_prob(x.flatten(1)).sum(-1)
    log_p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    by_hand = -(log_p_x + log_p_z - q_z.log_prob(z).sum(-1)).mean()

    torch.testing.assert_close(loss, by_hand, **EXACT)
    parameters = dict(model.named_parameters())
    ours, theirs = (torch.autograd.grad(each, list(parameters.values())) for each in (loss, by_hand))
    for key, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
        if key.endswith("embedding.weight"):
            # Of the classes only 'unknown' learns.
            assert (one[:CLASSES] == 0).all()
            assert (one[CLASSES] != 0).any()


@pytest.mark.parametrize("num_samples", [1, 4])
@pytest.mark.parametrize("prior", [StandardNormal, ClassConditional])
def test_it_classifies_as_importance_sampling_with_the_same_noise(monkeypatch, prior, num_samples):
    model, x = (
        _model(prior(LATENT), class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]), num_samples=num_samples),
        _images(),
    )
    with torch.no_grad():
        for weight in _embeddings(model):
            weight.mul_(5)

    def drawn(normal, sample_shape=()):
        # (samples, classes, batch, latent)
        return normal.loc + normal.scale * model.noise.view(num_samples, 1, 1, LATENT)

    monkeypatch.setattr(LogScaleNormal, "rsample", drawn)
    monkeypatch.setattr(LogScaleNormal, "sample", drawn)
    # By the guide's own samples, as `classify` has them; `importance_sampling` fits its proposal to the image.
    expected = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), num_samples).logsumexp(0).softmax(0).T
    torch.testing.assert_close(model.classify(x).probs.detach(), expected, **EXACT)
    assert (expected - model.class_prior().probs).abs().amax(-1).min() > 0.01  # the images have a say


def test_a_linear_decoder_and_its_exact_posterior_give_bayes_rule_exactly():
    linear = LinearGaussian()
    shape = linear.event_shape
    model = ConditionalVAE(
        shape,
        CLASSES,
        prior=StandardNormal(linear.prior.latent_dim),
        likelihood=Gaussian(),
        networks=MLP(hidden=(6,)),
        class_prior=linear.class_prior,
        num_samples=3,
    )
    # x ~ N(W z + b_y, s²) and its posterior, which is correlated: with it all weights are p(x, y).
    precision = torch.eye(linear.prior.latent_dim) + linear.W.T @ linear.W / linear.noise**2
    values, vectors = torch.linalg.eigh(torch.linalg.inv(precision))
    rotated = linear.W @ vectors  # in these axes it is not

    def q_z(x, y):
        loc = (x.flatten(1) - linear.b[y]) @ rotated * values / linear.noise**2
        return torch.distributions.Independent(LogScaleNormal(loc, (values.log() / 2).expand_as(loc)), 1)

    model.q_z = q_z
    model.p_x = lambda z, y: linear.likelihood((z @ rotated.T + linear.b[y]).unflatten(-1, shape))
    x = torch.randint(0, 256, (9, *shape)) / 255
    torch.testing.assert_close(model.classify(x).probs, linear.log_joint(x).softmax(-1), **EXACT)


def test_an_answer_is_the_images_own_whatever_the_batch_and_the_random_state(monkeypatch):
    model, x = _model().eval(), _images(40)
    with torch.no_grad():
        together = model.classify(x).logits
        torch.manual_seed(123)
        assert torch.equal(model.classify(x).logits, together)
        for image, logits in zip(x, together, strict=True):
            torch.testing.assert_close(model.classify(image[None]).logits[0], logits, **EXACT)
        sizes = []
        monkeypatch.setattr("ssvae.models.conditional_vae._PIXELS_AT_ONCE", 7 * CLASSES * 64)
        model.decoder.register_forward_pre_hook(lambda module, arguments: sizes.append(arguments[0].shape[1]))
        torch.testing.assert_close(model.classify(x).logits, together, **EXACT)
    assert max(sizes) == 7
    assert len(sizes) == 6 * model.num_samples


def test_grey_pixels_are_the_mean_of_binarised_ones():
    model, x = _model(num_samples=1), torch.rand(1, *IMAGE)
    y = torch.arange(CLASSES).unsqueeze(-1)
    q_z = model.q_z(x, y)
    z = q_z.base_dist.loc + q_z.base_dist.scale * model.noise[0]
    logits = model.p_x(z, y).base_dist.logits
    log_p_x = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum((-1, -2, -3))
    expected = log_p_x + model.prior().log_prob(z) - q_z.log_prob(z)  # (classes, batch)
    torch.testing.assert_close(model.classify(x).probs, expected.T.softmax(-1), **EXACT)


def test_without_a_class_it_encodes_and_reconstructs_as_unknown_and_finds_the_class_for_analogies():
    model, x = _model().eval(), _images()
    with torch.no_grad():
        for weight in _embeddings(model):
            weight.mul_(5)
        unknown = torch.full((BATCH,), CLASSES)
        z = model.q_z(x, unknown).mean
        torch.testing.assert_close(model.encode(x), z, **EXACT)
        torch.testing.assert_close(model.reconstruct(x), model.p_x(z, unknown).mean, **EXACT)
        guess = model.classify(x).probs.argmax(-1)
        torch.testing.assert_close(model.analogies(x), model.analogies(x, guess), **EXACT)
        assert not torch.allclose(model.analogies(x), model.analogies(x, (guess + 1) % CLASSES))


def test_its_baseline_is_a_classifier_of_the_same_networks():
    networks = Convolutional(channels=(4, 4), hidden=16)
    model = ConditionalVAE(IMAGE, CLASSES, prior=VampPrior(LATENT, 3), networks=networks)
    baseline = model.baseline()
    assert isinstance(baseline, M2)
    assert baseline.classifier == networks
    loss, terms = Objective(generative=False)(baseline, Observations(_images(), Y, _images(0)), Sizes(BATCH, 0))
    assert terms.keys() == {"classification"}
    assert loss.requires_grad


def test_the_classification_term_is_not_in_its_objective():
    model, x = _model(), _images()
    seen = Observations(x, Y, x)
    torch.manual_seed(7)
    loss, terms = Objective(alpha=100.0)(model, seen, Sizes(BATCH, BATCH))
    assert "classification" not in terms
    torch.testing.assert_close(loss, _seeded_loss(model, seen, Sizes(BATCH, BATCH)), **EXACT)


@pytest.mark.slow
def test_it_learns_is_saved_and_answers_the_same_when_loaded(tmp_path):
    torch.manual_seed(1)
    model = ConditionalVAE(IMAGE, CLASSES, prior=StandardNormal(3), networks=MLP((16,)), num_samples=4)
    options = recipe(max_epochs=30, objective=Objective(labelled_weight=10.0))
    data = arrays(num_labels=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run = inference.fit(model, data, folder=str(tmp_path / "run"), **vars(options))
    assert run.history[-1]["validation_accuracy"] > 0.9
    assert run.evaluation.classifier.accuracy > 0.9
    assert run.evaluation.posterior.accuracy > 0.9
    assert run.baselines["supervised"].accuracy > 0.9
    loaded = inference.load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(loaded, x), class_probabilities(run.model, x))
    assert torch.equal(loaded.encode(x), run.model.encode(x))


ERRORS = {
    "an image without channels": (lambda: ConditionalVAE((8, 8), 3), "event_shape: expected"),
    "no classes": (lambda: ConditionalVAE(IMAGE, 0), "num_classes: expected"),
    "no samples": (lambda: ConditionalVAE(IMAGE, 3, num_samples=0), "num_samples: expected at least 1; got 0"),
    "the class prior of others": (
        lambda: ConditionalVAE(IMAGE, 3, class_prior=ClassPrior(4)),
        "class_prior: expected one for 3 classes; got one for 4",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_model_that_cannot_be_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()
