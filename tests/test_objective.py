"""J against sums written by hand: value, gradient, units, and every option."""

import copy
import itertools
import math
from dataclasses import replace

import pyro
import pyro.distributions
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import TraceEnum_ELBO
from support import tiny
from test_priors import PRIORS

from ssvae.inference import fit
from ssvae.inference.objective import Consistency, KLWeight, Objective, Observations, Sizes
from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.objective.bounds import SummedBound
from ssvae.models import M2, LadderVAE
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.normal import LogScaleNormal
from ssvae.models.posteriors import FullRankNormal
from ssvae.models.priors import ClassPrior, GaussianMixture, StandardNormal

CLASSES, LATENT = 3, 2
IMAGE = (1, 4, 4)
PI = [0.5, 0.3, 0.2]
# Sums in another order, in float64. A flow away from its initial values has gradients of 1e6, hence rtol.
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def _model(prior="StandardNormal", cls=M2):
    """An M2 away from its initial values, of black and white images, with classes of unequal frequency."""
    model = cls(
        IMAGE,
        CLASSES,
        prior=PRIORS[prior](LATENT),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        class_prior=ClassPrior(CLASSES, PI, learned=True),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def _images(n):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _seen(labelled=4, unlabelled=5):
    y = torch.arange(labelled) % CLASSES
    return Observations(_images(labelled), y, _images(unlabelled), transformed=_images(unlabelled))


SIZES = Sizes(num_labelled=10, num_unlabelled=40)


# The sums written by hand: nothing is Pyro's but the prior's density, which tests/test_priors.py integrates.


def _noise(*shape):
    """ε ~ N(0, I), drawn as `Normal.rsample` draws it, so that one seed gives one and the same noise to both.

    An observed or enumerated y draws nothing from the generator, so that z is the only draw of each bound:
    (labelled batch, latent), then (classes, unlabelled batch, latent).
    """
    return torch.normal(torch.zeros(shape), torch.ones(shape))


def _terms_by_hand(model, x, y, noise):
    """-log p(x | y, z), log q(z | x, y) - log p(z | y) and -log p(y), each (batch,), at z = μ + σ ε."""
    loc, log_scale = model.z_encoder(x, y).chunk(2, dim=-1)
    scale = (6 * torch.tanh(log_scale / 6)).exp()
    z = loc + scale * noise
    log_q_z = torch.distributions.Normal(loc, scale).log_prob(z).sum(-1)
    log_p_z = model.prior(y).log_prob(z)
    logits = model.decoder(z, y)
    log_p_x = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    log_p_y = model.class_prior.logits.log_softmax(0)[y]
    return -log_p_x, log_q_z - log_p_z, -log_p_y


def _labelled_by_hand(model, x, y, noise, beta=1.0):
    """L(x, y), (batch,)."""
    reconstruction, kl, cross_entropy = _terms_by_hand(model, x, y, noise)
    return reconstruction + beta * kl + cross_entropy


def _unlabelled_by_hand(model, x, noise, beta=1.0):
    """U(x) = Σ_y q(y|x) L(x, y) - H(q(y|x)), (batch,)."""
    log_q_y = model.y_encoder(x).log_softmax(-1)
    total = torch.zeros(len(x))
    for k in range(CLASSES):
        bound = _labelled_by_hand(model, x, torch.full((len(x),), k), noise[k], beta)
        total = total + log_q_y[:, k].exp() * (bound + log_q_y[:, k])
    return total


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_same_gradients(one, two):
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two[name], **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("beta", [1.0, 3.0])
@pytest.mark.parametrize("batches", ["both", "labelled only", "unlabelled only"])
@pytest.mark.parametrize("prior", PRIORS)
def test_the_objective_is_the_sum_over_classes_written_by_hand_in_value_and_gradient(prior, batches, beta):
    model = _model(prior)
    seen = _seen(4 if batches != "unlabelled only" else 0, 5 if batches != "labelled only" else 0)
    objective = Objective(alpha=0.1, kl_weight=KLWeight(start=beta, end=beta))
    torch.manual_seed(7)
    loss, _ = objective(model, seen, SIZES)

    torch.manual_seed(7)
    expected = torch.zeros(())
    if len(seen.labelled):
        bound = _labelled_by_hand(model, seen.labelled, seen.y, _noise(4, LATENT), beta)
        log_q_y = model.y_encoder(seen.labelled).log_softmax(-1)[torch.arange(4), seen.y]
        expected = expected + 10 / 50 * bound.mean() - 0.1 * log_q_y.mean()
    if len(seen.unlabelled):
        bound = _unlabelled_by_hand(model, seen.unlabelled, _noise(CLASSES, 5, LATENT), beta)
        expected = expected + 40 / 50 * bound.mean()

    torch.testing.assert_close(loss, expected, **EXACT)
    gradients = _gradients(model, loss)
    _assert_same_gradients(gradients, _gradients(model, expected))
    assert any(name.startswith("decoder") for name in gradients)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_terms_are_those_of_the_sum_written_by_hand(prior):
    model, seen = _model(prior), _seen()
    torch.manual_seed(7)
    _, terms = Objective(kl_weight=KLWeight(3.0, 3.0))(model, seen, SIZES)

    torch.manual_seed(7)
    reconstruction, kl, cross_entropy = _terms_by_hand(model, seen.labelled, seen.y, _noise(4, LATENT))
    expected = {
        "labelled/reconstruction": reconstruction.mean(),
        "labelled/kl": kl.mean(),
        "labelled/class": cross_entropy.mean(),
        "labelled/negative_elbo": (reconstruction + kl + cross_entropy).mean(),
        "classification": F.cross_entropy(model.y_encoder(seen.labelled), seen.y),
    }
    noise = _noise(CLASSES, 5, LATENT)
    log_q_y = model.y_encoder(seen.unlabelled).log_softmax(-1)
    by_class = [_terms_by_hand(model, seen.unlabelled, torch.full((5,), k), noise[k]) for k in range(CLASSES)]
    sums = [sum(log_q_y[:, k].exp() * by_class[k][i] for k in range(CLASSES)).mean() for i in range(3)]
    entropy = -(log_q_y.exp() * log_q_y).sum(-1).mean()
    expected |= {
        "unlabelled/reconstruction": sums[0],
        "unlabelled/kl": sums[1],
        "unlabelled/class": sums[2] - entropy,
        "unlabelled/entropy": entropy,
        "unlabelled/negative_elbo": sum(sums) - entropy,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value.detach(), **EXACT, msg=lambda text, name=name: f"{name}: {text}")
        assert not terms[name].requires_grad, name


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("labelled_weight", [0.0, 1.0, 5.0])
def test_the_terms_add_up_to_the_loss_with_their_weights(labelled_weight, beta):
    objective = Objective(
        alpha=0.3,
        labelled_weight=labelled_weight,
        kl_weight=KLWeight(beta, beta),
        consistency=Consistency(weight=2.0),
    )
    loss, terms = objective(_model("ClassConditional"), _seen(), SIZES)
    bounds = {
        kind: terms[f"{kind}/reconstruction"] + beta * terms[f"{kind}/kl"] + terms[f"{kind}/class"]
        for kind in ("labelled", "unlabelled")
    }
    total = (
        labelled_weight * 10 / 50 * bounds["labelled"]
        + 40 / 50 * bounds["unlabelled"]
        + 0.3 * terms["classification"]
        + 2.0 * terms["consistency"]
    )
    torch.testing.assert_close(loss.detach(), total, **EXACT)


class _NormalAtItsMean(pyro.distributions.Normal):
    """A Normal whose draw is its mean: the noise of every image is 0, whatever batch it is in."""

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        return self.loc.expand(self._extended_shape(sample_shape))


class _M2WithoutNoise(M2):
    def q_z(self, x, y):
        normal = super().q_z(x, y).base_dist
        return _NormalAtItsMean(normal.loc, normal.scale).to_event(1)


@pytest.mark.parametrize("prior", ["StandardNormal", "ClassConditional", "VampPrior"])
@pytest.mark.slow
def test_the_loss_of_a_step_is_an_unbiased_estimate_of_the_objective(prior):
    model = _model(prior, cls=_M2WithoutNoise)
    x, y, u = _images(5), torch.tensor([0, 1, 2, 2, 1]), _images(7)
    sizes, objective = Sizes(5, 7), Objective(alpha=0.3, kl_weight=KLWeight(2.0, 2.0))

    # J / N on everything: sums, not means.
    labelled = _labelled_by_hand(model, x, y, torch.zeros(5, LATENT), beta=2.0).sum()
    unlabelled = _unlabelled_by_hand(model, u, torch.zeros(CLASSES, 7, LATENT), beta=2.0).sum()
    classification = F.cross_entropy(model.y_encoder(x), y)
    expected = (labelled + unlabelled + 0.3 * 12 * classification) / 12

    # Every labelled and every unlabelled subset of two is drawn with the same probability.
    losses = [
        objective(model, Observations(x[list(i)], y[list(i)], u[list(j)]), sizes)[0]
        for i, j in itertools.product(itertools.combinations(range(5), 2), itertools.combinations(range(7), 2))
    ]
    assert len(losses) == 10 * 21
    estimates = torch.stack(losses)
    torch.testing.assert_close(estimates.mean(), expected, **EXACT)
    assert estimates.std() > 0.01  # single steps do differ
    _assert_same_gradients(_gradients(model, estimates.mean()), _gradients(model, expected))


@pytest.mark.parametrize(
    ("num_labelled", "weight"),
    [(100, 50.0), (600, 50 / 6), (1000, 5.0), (3000, 5 / 3), (50_000, 0.1), (0, 0.0)],
)
def test_the_papers_alpha_weighs_so_much_per_labelled_image_among_50000(num_labelled, weight):
    sizes = Sizes(num_labelled, 50_000 - num_labelled)
    assert sizes.total == 50_000
    assert Objective().weight_per_labelled_image(sizes) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 2.5])
def test_alpha_multiplies_the_gradient_of_the_mean_cross_entropy(alpha):
    model, seen = _model(), _seen()
    gradients = []
    for objective in (Objective(alpha=alpha), Objective(alpha=0.0)):
        torch.manual_seed(7)
        gradients.append(_gradients(model, objective(model, seen, SIZES)[0]))
    of_classifier = _gradients(model, F.cross_entropy(model.y_encoder(seen.labelled), seen.y))
    assert len(of_classifier) == 4
    for name, gradient in gradients[0].items():
        expected = alpha * of_classifier.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient - gradients[1][name], expected, **EXACT)


def test_the_weight_per_labelled_image_is_the_ratio_of_the_two_terms_in_the_loss():
    model, seen, objective = _model(cls=_M2WithoutNoise), _seen(unlabelled=0), Objective(alpha=0.4)
    bounds = Objective(alpha=0.0)(model, seen, SIZES)[0]  # 10/50 mean L
    classification = objective(model, seen, SIZES)[0] - bounds
    per_bound = bounds / _labelled_by_hand(model, seen.labelled, seen.y, torch.zeros(4, LATENT)).mean()
    per_classification = classification / F.cross_entropy(model.y_encoder(seen.labelled), seen.y)
    ratio = (per_classification / per_bound).item()
    assert ratio == pytest.approx(objective.weight_per_labelled_image(SIZES), rel=1e-9)
    assert ratio == pytest.approx(0.4 * 50 / 10, rel=1e-9)


@pytest.mark.parametrize("consistency", [None, Consistency(weight=2.0)], ids=["alone", "with consistency"])
def test_of_images_that_are_cut_the_story_sees_the_whole_and_the_classifier_the_rest(consistency):
    model, whole = _model(), _seen()
    cut = _images(4)
    objective = Objective(alpha=0.3, consistency=consistency)
    torch.manual_seed(7)
    loss, _ = objective(model, replace(whole, disturbed=cut), SIZES)
    gradients = _gradients(model, loss)

    torch.manual_seed(7)
    expected, _ = objective(model, whole, SIZES)
    of_whole, of_cut = (F.cross_entropy(model.y_encoder(x), whole.y) for x in (whole.labelled, cut))
    expected = expected + 0.3 * (of_cut - of_whole)
    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same_gradients(gradients, _gradients(model, expected))


def test_with_alpha_zero_there_is_no_classification_term():
    model, seen = _model(), _seen(unlabelled=0)
    loss, terms = Objective(alpha=0.0)(model, seen, SIZES)
    assert "classification" not in terms
    torch.testing.assert_close(loss.detach(), 10 / 50 * terms["labelled/negative_elbo"], **EXACT)
    # Labelled images then say nothing about the classifier: Kingma et al.'s reason for the term.
    assert not any(name.startswith("y_encoder") for name in _gradients(model, loss))


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (KLWeight(), (1.0, 1.0, 1.0, 1.0)),
        (KLWeight(start=0.0), (0.0, 0.5, 1.0, 1.0)),
        (KLWeight(start=10.0), (10.0, 5.5, 1.0, 1.0)),
        (KLWeight(start=0.0, end=2.0, until=1.0), (0.0, 0.5, 1.0, 2.0)),
        (KLWeight(start=0.0, end=2.0, until=0.25), (0.0, 2.0, 2.0, 2.0)),
        (KLWeight(start=10.0, end=3.0, until=0.0), (3.0, 3.0, 3.0, 3.0)),
    ],
    ids=["none", "warm-up", "starved style", "to the end", "a quarter", "until 0"],
)
def test_the_kl_weight_is_linear_and_then_constant(schedule, values):
    assert [schedule(t) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(values, abs=1e-12)


def test_progress_reaches_the_schedule_and_the_default_is_the_end_of_training():
    model, seen = _model(cls=_M2WithoutNoise), _seen()
    objective = Objective(kl_weight=KLWeight(start=4.0, end=1.0, until=0.5))

    def loss(*progress):
        return objective(model, seen, SIZES, *progress)[0].detach()

    _, terms = objective(model, seen, SIZES)
    kl = 10 / 50 * terms["labelled/kl"] + 40 / 50 * terms["unlabelled/kl"]
    torch.testing.assert_close(loss(), loss(1.0), **EXACT)
    for progress, weight in ((0.0, 4.0), (0.25, 2.5), (0.5, 1.0)):
        torch.testing.assert_close(loss(progress) - loss(), (weight - 1) * kl, **EXACT)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_labelled_weight_multiplies_the_labelled_bound_and_nothing_else(weight):
    model, seen = _model(), _seen()
    torch.manual_seed(7)
    one, terms = Objective()(model, seen, SIZES)
    torch.manual_seed(7)
    other, _ = Objective(labelled_weight=weight)(model, seen, SIZES)
    difference = (weight - 1) * 10 / 50 * terms["labelled/negative_elbo"]
    torch.testing.assert_close((other - one).detach(), difference, **EXACT)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("generative", [True, False])
def test_consistency_is_a_cross_entropy_whose_target_is_held_fixed(generative, temperature):
    model, seen = _model(), _seen()
    losses = []
    for consistency in (Consistency(weight=20.0, temperature=temperature), None):
        torch.manual_seed(7)
        objective = Objective(consistency=consistency, generative=generative)
        losses.append(objective(model, seen, SIZES))
    (with_it, terms), (without, _) = losses

    powers = model.y_encoder(seen.unlabelled).softmax(-1).detach() ** (1 / temperature)
    target = powers / powers.sum(-1, keepdim=True)
    log_q = model.y_encoder(seen.transformed).log_softmax(-1)
    expected = -(target * log_q).sum(-1).mean()
    torch.testing.assert_close(terms["consistency"], expected.detach(), **EXACT)
    torch.testing.assert_close(with_it - without, 20 * expected, **EXACT)
    gradients, expected = _gradients(model, with_it - without), _gradients(model, 20 * expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected.get(name, torch.zeros_like(gradient)), **EXACT)
    assert max(gradient.abs().max() for gradient in expected.values()) > 0.1


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_aligned_targets_are_pulled_to_p_of_y(temperature):
    model, seen = _model(), _seen()
    prior = torch.tensor([0.5, 0.3, 0.2])
    model.class_prior.logits.data = prior.log()
    alignment, mean = Alignment(model), prior
    objective = Objective(
        consistency=Consistency(weight=1.0, temperature=temperature, aligned=True), generative=False, alpha=0.0
    )
    q_y = model.classify(seen.unlabelled).probs.detach()
    log_q = model.classify(seen.transformed).logits
    for _ in range(3):
        mean = 0.98 * mean + 0.02 * q_y.mean(0)
        powers = (q_y * prior / mean) ** (1 / temperature)
        expected = -(powers / powers.sum(-1, keepdim=True) * log_q).sum(-1).mean()
        loss, terms = objective(model, seen, SIZES, alignment=alignment)
        torch.testing.assert_close(terms["consistency"], expected.detach(), **EXACT)
        torch.testing.assert_close(alignment.mean, mean, **EXACT)
    gradients, expected = _gradients(model, loss), _gradients(model, expected)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], **EXACT)


def test_where_classes_are_taken_as_often_as_p_of_y_says_nothing_is_aligned():
    model, seen = _model(), _seen()
    log_q = model.classify(seen.unlabelled).logits.detach()
    model.class_prior.logits.data = log_q.exp().mean(0).log()
    torch.testing.assert_close(Alignment(model)(log_q, model), log_q, **EXACT)


def test_a_class_that_is_never_taken_leaves_numbers():
    model = _model()
    alignment = Alignment(model)
    alignment.mean[0] = 0.0
    log_q = torch.tensor([[-torch.inf, -0.7, -0.7], [-800.0, -0.7, -0.7]])
    aligned = alignment(log_q, model).softmax(-1)
    torch.testing.assert_close(aligned[:, 0], torch.zeros(2), **EXACT)


def test_targets_are_aligned_with_a_uniform_p_of_y_where_the_story_has_none():
    model = _model()
    del model.class_prior
    torch.testing.assert_close(Alignment(model).mean, torch.full((CLASSES,), 1 / CLASSES), **EXACT)


def test_targets_are_the_teachers_who_learns_by_no_gradient():
    model, teacher, seen = _model(), _model(), _seen()
    consistency = Consistency(weight=1.0, temperature=0.4, teacher_decay=0.9)
    objective = Objective(consistency=consistency, generative=False, alpha=0.0)
    loss, _ = objective(model, seen, SIZES, teacher=teacher)
    powers = teacher.classify(seen.unlabelled).probs.detach() ** (1 / 0.4)
    expected = -(powers / powers.sum(-1, keepdim=True) * model.classify(seen.transformed).logits).sum(-1).mean()
    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    own, _ = objective(model, seen, SIZES)
    assert abs(own - loss) > 1e-3


def test_a_teacher_without_confidence_leaves_an_image_out():
    model, teacher, seen = _model(), _model(), _seen()
    q_y = teacher.classify(seen.unlabelled).probs.detach()
    threshold = q_y.amax(-1).sort().values[2:4].mean().item()  # two of five are above
    expected = -(q_y * model.classify(seen.transformed).logits).sum(-1)[q_y.amax(-1) > threshold].sum() / 5
    consistency = Consistency(weight=1.0, confidence=threshold, teacher_decay=0.9)
    loss, _ = Objective(consistency=consistency, generative=False, alpha=0.0)(model, seen, SIZES, teacher=teacher)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_images_without_confidence_do_not_take_part_in_consistency():
    model, seen = _model(), _seen()
    q_y = model.classify(seen.unlabelled).probs.detach()
    threshold = q_y.amax(-1).sort().values[2:4].mean().item()  # two of five are above
    confident = q_y.amax(-1) > threshold
    assert confident.sum() == 2
    log_q = model.classify(seen.transformed).logits
    # The mean is over all images of the batch: those without confidence count as 0.
    expected = -(q_y * log_q).sum(-1)[confident].sum() / 5
    objective = Objective(consistency=Consistency(weight=1.0, confidence=threshold), generative=False, alpha=0.0)
    loss, _ = objective(model, seen, SIZES)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_without_the_generative_terms_only_the_classifier_is_trained():
    model, seen = _model("VampPrior"), _seen()
    loss, terms = Objective(generative=False, alpha=0.1, consistency=Consistency(2.0))(model, seen, SIZES)
    assert terms.keys() == {"classification", "consistency"}
    torch.testing.assert_close(loss.detach(), 0.1 * terms["classification"] + 2 * terms["consistency"], **EXACT)
    names = {name for name, _ in model.named_parameters() if name.startswith("y_encoder")}
    assert _gradients(model, loss).keys() == names


@pytest.mark.parametrize("generative", [True, False])
def test_the_weight_prior_is_minus_the_log_density_of_every_weight_and_bias_over_the_number_of_images(generative):
    model, seen = _model(), _seen()
    losses = []
    for weight_prior in (False, True):
        torch.manual_seed(7)
        losses.append(Objective(weight_prior=weight_prior, generative=generative)(model, seen, SIZES))
    (without, terms), (with_it, more_terms) = losses
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    expected = -torch.distributions.Normal(0, 1).log_prob(weights).sum() / 50
    torch.testing.assert_close(with_it - without, expected, **EXACT)
    torch.testing.assert_close(more_terms.pop("weight_prior"), expected.detach(), **EXACT)
    assert more_terms.keys() == terms.keys()
    # d/dθ is θ / N.
    _assert_same_gradients(
        _gradients(model, with_it - without), {name: each.detach() / 50 for name, each in model.named_parameters()}
    )


# Free bits


def _kl_by_hand(model, seen):
    """KL of z, mean over the batch: labelled, and unlabelled as Σ_y q(y|x) KL(y); noise as in the objective."""
    _, labelled, _ = _terms_by_hand(model, seen.labelled, seen.y, _noise(4, LATENT))
    noise, q_y = _noise(CLASSES, 5, LATENT), model.y_encoder(seen.unlabelled).softmax(-1)
    by_class = [_terms_by_hand(model, seen.unlabelled, torch.full((5,), k), noise[k])[1] for k in range(CLASSES)]
    unlabelled = sum(q_y[:, k] * by_class[k] for k in range(CLASSES))
    return labelled.mean(), unlabelled.mean()


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("share", [0.9, 1.1])
def test_free_bits_replace_the_kl_divergence_by_the_larger_of_it_and_lambda(share, beta):
    model, seen = _model("ClassConditional"), _seen()
    torch.manual_seed(7)
    labelled, unlabelled = _kl_by_hand(model, seen)
    assert min(labelled, unlabelled) > 0.1
    free_bits = share * max(labelled, unlabelled).item()  # below one of the two, or above both
    losses = []
    for free in (0.0, free_bits):
        torch.manual_seed(7)
        losses.append(Objective(kl_weight=KLWeight(beta, beta), free_bits=free)(model, seen, SIZES))
    (without, terms), (with_them, same_terms) = losses
    # J / N without the KL divergences, and max(λ, KL) in their place.
    torch.manual_seed(7)
    labelled, unlabelled = _kl_by_hand(model, seen)
    expected = without
    for weight, kl in ((10 / 50, labelled), (40 / 50, unlabelled)):
        expected = expected - weight * beta * kl + weight * beta * torch.clamp(kl, min=free_bits)
    torch.testing.assert_close(with_them, expected, **EXACT)
    assert with_them > without + 1e-3
    _assert_same_gradients(_gradients(model, with_them), _gradients(model, expected))
    # What is shown is the bound itself.
    assert terms.keys() == same_terms.keys()
    for name, value in terms.items():
        torch.testing.assert_close(same_terms[name], value, **EXACT)


def test_where_the_kl_divergence_is_free_it_has_no_gradient():
    model, seen = _model("ClassConditional"), _seen()
    names = ("prior.loc", "prior.log_scale")
    # The prior's only part in the bound is the KL divergence.
    for free_bits, learns in ((0.0, True), (1e-3, True), (1e3, False)):
        torch.manual_seed(7)
        gradients = _gradients(model, Objective(free_bits=free_bits)(model, seen, SIZES)[0])
        largest = max(gradients[name].abs().max().item() for name in names)
        assert (largest > 1e-3) if learns else (largest < 1e-12)
    # And the loss no longer changes with the posterior's distance from the prior.
    torch.manual_seed(7)
    loss = Objective(free_bits=1e3)(model, seen, SIZES)[0].detach()
    with torch.no_grad():
        model.prior.loc.add_(1.0)
    torch.manual_seed(7)
    torch.testing.assert_close(Objective(free_bits=1e3)(model, seen, SIZES)[0].detach(), loss, **EXACT)


def test_below_the_kl_divergence_free_bits_change_nothing():
    model, seen = _model(), _seen()
    results = []
    for free_bits in (0.0, 1e-6):
        torch.manual_seed(7)
        loss, terms = Objective(free_bits=free_bits)(model, seen, SIZES)
        results.append((loss.detach(), _gradients(model, loss)))
        assert min(terms["labelled/kl"], terms["unlabelled/kl"]) > 1e-6
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    _assert_same_gradients(results[0][1], results[1][1])


def test_every_latent_variable_has_free_bits_of_its_own():
    model, seen = _model(cls=LadderVAE), _seen(unlabelled=0)
    torch.manual_seed(7)
    without, terms = Objective(alpha=0.0)(model, seen, SIZES)
    kl = {name: terms[f"labelled/kl/{name}"] for name in ("z_1", "z_2")}
    between = (sum(kl.values()) / 2).item()
    assert min(kl.values()) < 0.9 * between
    torch.manual_seed(7)
    with_them, _ = Objective(alpha=0.0, free_bits=between)(model, seen, SIZES)
    # One is above and one below: the mean of the two is free of neither by itself.
    expected = 10 / 50 * (between - min(kl.values()))
    torch.testing.assert_close((with_them - without).detach(), expected, **EXACT)


@pytest.mark.parametrize("samples", [1, 3])
def test_every_dimension_has_free_bits_of_its_own_where_that_is_asked_for(samples):
    model, seen = _model("ClassConditional"), _seen()
    options = {"alpha": 0.0, "importance_samples": samples}
    torch.manual_seed(7)
    without, _ = Objective(**options)(model, seen, SIZES)
    torch.manual_seed(7)
    noise = torch.randn(samples, 4, LATENT), torch.randn(CLASSES, samples, 5, LATENT)

    def kl(x, y, epsilon):
        """log q(z_j|x, y) - log p(z_j|y) of each dimension, (samples, batch, latent)."""
        q, p = model.q_z(x, y).base_dist, model.prior(y).base_dist
        z = q.loc + q.scale * epsilon
        return torch.distributions.Normal(q.loc, q.scale).log_prob(z) - torch.distributions.Normal(
            p.loc, p.scale
        ).log_prob(z)

    labelled = kl(seen.labelled, seen.y, noise[0]).mean((0, 1))  # (latent,)
    q_y = model.y_encoder(seen.unlabelled).softmax(-1)
    unlabelled = sum(
        (q_y[:, y].unsqueeze(-1) * kl(seen.unlabelled, torch.full((5,), y), noise[1][y])).mean((0, 1))
        for y in range(CLASSES)
    )
    between = torch.cat([labelled, unlabelled]).mean().item()
    expected = without
    for share, of_dimensions in ((10 / 50, labelled), (40 / 50, unlabelled)):
        expected = expected + share * (between - of_dimensions).clamp(min=0).sum()
    torch.manual_seed(7)
    options |= {"free_bits": between, "free_bits_per_dimension": True}
    loss, _ = Objective(**options)(model, seen, SIZES)
    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))
    assert loss > without + 1e-3


def test_free_bits_per_dimension_need_densities_that_are_products():
    with pytest.raises(ValueError, match=r"free_bits_per_dimension: .* products over the dimensions of z; got NormalM"):
        Objective(free_bits=0.1, free_bits_per_dimension=True)(_model("GaussianMixture"), _seen(), SIZES)
    model, data = tiny.m2(prior=GaussianMixture(2)), tiny.arrays()
    words = r"objective.free_bits_per_dimension: expected a prior that is a product .* got GaussianMixture"
    with pytest.raises(ValueError, match=words):
        fit(model, data, tiny.recipe(objective=Objective(free_bits=0.1, free_bits_per_dimension=True)))
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), posterior=FullRankNormal(), networks=MLP((5,)))
    words = r"objective.free_bits_per_dimension: expected a posterior that is a product .* got FullRankNormal"
    with pytest.raises(ValueError, match=words):
        fit(model, data, tiny.recipe(objective=Objective(free_bits=0.1, free_bits_per_dimension=True)))


BATCHES = {
    "labelled only": ((4, 0), {"labelled/negative_elbo", "classification"}),
    "unlabelled only": ((0, 5), {"unlabelled/negative_elbo", "consistency"}),
    "both": (
        (4, 5),
        {"labelled/negative_elbo", "classification", "unlabelled/negative_elbo", "consistency"},
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_an_absent_kind_of_image_contributes_no_term(kind):
    sizes, expected = BATCHES[kind]
    seen = _seen(*sizes)
    loss, terms = Objective(consistency=Consistency(weight=1.0))(_model(), seen, SIZES)
    assert {name for name in terms if "/" not in name or name.endswith("negative_elbo")} == expected
    assert loss.isfinite()
    assert loss.requires_grad


def test_the_objective_leaves_the_store_empty_and_the_settings_alone():
    model = _model()
    before = pyro.settings.get()
    state = copy.deepcopy(model.state_dict())
    Objective()(model, _seen(), SIZES)[0].backward()
    assert len(pyro.get_param_store()) == 0
    assert pyro.settings.get() == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_step_draws_noise_afresh():
    model, seen = _model(), _seen()
    assert Objective()(model, seen, SIZES)[0] != Objective()(model, seen, SIZES)[0]


def test_the_average_over_draws_has_the_kl_divergence_in_closed_form():
    model, seen = _model(), _seen(unlabelled=0)
    model.prior = StandardNormal(LATENT)
    with torch.no_grad():
        draws = torch.stack([Objective(alpha=0.0)(model, seen, SIZES)[1]["labelled/kl"] for _ in range(400)])
        normal = model.q_z(seen.labelled, seen.y).base_dist
    expected = 0.5 * (normal.loc.square() + normal.scale.square() - 1 - 2 * normal.scale.log()).sum(-1).mean()
    assert abs(draws.mean() - expected) < 4 * draws.std() / math.sqrt(400)


ERRORS = {
    "negative alpha": (lambda: Objective(alpha=-0.1), "alpha"),
    "negative labelled weight": (lambda: Objective(labelled_weight=-1.0), "labelled_weight"),
    "free bits of no dimension": (
        lambda: Objective(free_bits_per_dimension=True),
        "free_bits_per_dimension: expected free_bits above 0 beside it; got 0",
    ),
    "negative free bits": (lambda: Objective(free_bits=-0.1), "free_bits: expected a number of nats of at least 0"),
    "nothing to train": (lambda: Objective(alpha=0.0, generative=False), "no term to train"),
    "consistency without weight": (lambda: Consistency(weight=0.0), r"consistency\.weight"),
    "temperature of zero": (
        lambda: Consistency(temperature=0.0),
        r"consistency\.temperature: expected a number above 0",
    ),
    "temperature above one": (lambda: Consistency(temperature=1.5), r"consistency\.temperature"),
    "confidence of one": (lambda: Consistency(confidence=1.0), r"consistency\.confidence"),
    "negative confidence": (lambda: Consistency(confidence=-0.1), r"consistency\.confidence"),
    "teacher that never learns": (
        lambda: Consistency(teacher_decay=1.0),
        r"consistency\.teacher_decay: expected a number in \(0, 1\); got 1\.0",
    ),
    "teacher that remembers nothing": (lambda: Consistency(teacher_decay=0.0), r"consistency\.teacher_decay"),
    "negative KL weight": (lambda: KLWeight(start=-1.0), "kl_weight: expected weights of at least 0"),
    "negative last KL weight": (lambda: KLWeight(end=-1.0), "kl_weight: expected weights of at least 0"),
    "KL weight after the end": (lambda: KLWeight(until=1.1), r"kl_weight\.until"),
    "alignment without the classes' frequencies": (
        lambda: Objective(consistency=Consistency(aligned=True))(_model(), _seen(), SIZES),
        r"alignment: expected one: consistency's targets are aligned with p\(y\); got None",
    ),
    "consistency without transformed images": (
        lambda: Objective(consistency=Consistency())(
            _model(), Observations(_images(2), torch.tensor([0, 1]), _images(2)), SIZES
        ),
        "augmentation: expected one",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()


# The order of the sum over classes is ours; the enumeration is Pyro's, and so is the number.


class _NotReparametrised(pyro.distributions.Normal):
    has_rsample = False


class _ScoreFunctionM2(M2):
    """Its style is not reparametrised: the gradient needs the score function, which is Pyro's to take."""

    def q_z(self, x, y):
        normal = super().q_z(x, y).base_dist
        return _NotReparametrised(normal.loc, normal.scale).to_event(1)


@pytest.mark.parametrize("cls", [M2, _ScoreFunctionM2], ids=["reparametrised", "not reparametrised"])
def test_the_sum_over_classes_is_that_of_pyros_enumerated_elbo_in_value_and_gradient(cls):
    model, x = _model(cls=cls), _images(5)
    losses, gradients = [], []
    for bound in (TraceEnum_ELBO(max_plate_nesting=1), SummedBound()):
        torch.manual_seed(1)
        with pyro.settings.context(module_local_params=True):
            losses.append(bound.differentiable_loss(model.model, model.guide, x))
        gradients.append(_gradients(model, losses[-1]))
    torch.testing.assert_close(*losses, **EXACT)
    _assert_same_gradients(*gradients)


def test_the_truncated_sum_refuses_latent_variables_that_need_a_score():
    with pytest.raises(ValueError, match=r"summed_classes: expected None .* not reparametrised; got 1"):
        Objective(summed_classes=1)(_model(cls=_ScoreFunctionM2), _seen(labelled=0), SIZES)


class _WideM2(M2):
    """Its style has a dimension too many, to the left of the images."""

    def q_z(self, x, y):
        normal = super().q_z(x, y).base_dist
        return LogScaleNormal(normal.loc.expand(2, -1, -1), normal.log_scale.expand(2, -1, -1)).to_event(1)


def test_where_nothing_is_summed_over_pyro_refuses_a_dimension_too_many():
    with pytest.raises(ValueError, match="shapes disagree at site 'z'"):
        Objective()(_model(cls=_WideM2), _seen(unlabelled=0), SIZES)


# Labels that admit some of the classes


def _partial_batch(candidates, x):
    none = x[:0]
    return Observations(none, torch.zeros(0, dtype=torch.int64), none, partial=x, candidates=candidates)


PARTIAL = Sizes(num_labelled=0, num_unlabelled=30, num_partially_labelled=10)


@pytest.mark.parametrize("prior", ["StandardNormal", "ClassConditional"])
def test_of_a_partial_label_the_bound_is_the_sum_over_its_candidate_classes_by_hand(prior):
    model, x = _model(prior), _images(4)
    candidates = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]]).bool()
    torch.manual_seed(7)
    loss, terms = Objective(alpha=0.5)(model, _partial_batch(candidates, x), PARTIAL)

    torch.manual_seed(7)
    noise = _noise(CLASSES, 4, LATENT)
    log_q_y = model.y_encoder(x).log_softmax(-1)
    bounds, classification = [], []
    for image, admitted in enumerate(candidates):
        log_q_a = log_q_y[image, admitted].logsumexp(0)
        bound = torch.zeros(())
        for k in admitted.nonzero().squeeze(1).tolist():
            of_class = _labelled_by_hand(model, x[image : image + 1], torch.tensor([k]), noise[k, image : image + 1])
            log_q_k = log_q_y[image, k] - log_q_a
            bound = bound + log_q_k.exp() * (of_class.squeeze() + log_q_k)
        bounds.append(bound)
        classification.append(-log_q_a)
    expected = 10 / 40 * torch.stack(bounds).mean() + 0.5 * torch.stack(classification).mean()
    torch.testing.assert_close(loss, expected, **EXACT)
    torch.testing.assert_close(terms["partial/negative_elbo"], torch.stack(bounds).mean().detach(), **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))


def test_a_partial_label_with_every_class_is_none():
    model, x = _model(), _images(5)
    torch.manual_seed(7)
    loss, terms = Objective()(model, _partial_batch(torch.ones(5, CLASSES, dtype=torch.bool), x), Sizes(0, 0, 5))
    torch.manual_seed(7)
    none = torch.zeros(0, dtype=torch.int64)
    expected, _ = Objective()(model, Observations(x[:0], none, x), Sizes(0, 5))
    torch.testing.assert_close(loss, expected, **EXACT)
    torch.testing.assert_close(terms["partial_classification"], torch.zeros(()), **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))


def test_a_partial_label_with_one_class_is_that_class(monkeypatch):
    # z at its mean: the two bounds draw noise of different shapes.
    monkeypatch.setattr(LogScaleNormal, "rsample", lambda normal, shape=(): normal.mean)
    model, x, y = _model("ClassConditional"), _images(5), torch.arange(5) % CLASSES
    loss, terms = Objective()(model, _partial_batch(F.one_hot(y, CLASSES).bool(), x), Sizes(0, 0, 5))
    expected, by_class = Objective()(model, Observations(x, y, x[:0]), Sizes(5, 0))
    torch.testing.assert_close(loss, expected, **EXACT)
    torch.testing.assert_close(terms["partial_classification"], by_class["classification"], **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))


def test_partially_labelled_images_train_the_classifier_alone_where_the_generative_terms_are_off():
    model, x = _model(), _images(4)
    candidates = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]]).bool()
    loss, terms = Objective(alpha=2.0, generative=False)(model, _partial_batch(candidates, x), PARTIAL)
    q = model.classify(x).probs
    torch.testing.assert_close(loss, -2 * (q * candidates).sum(-1).log().mean(), **EXACT)
    assert list(terms) == ["partial_classification"]
