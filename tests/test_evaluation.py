"""Evaluation against a model whose evidence and posteriors are known, and against sums done by hand."""

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from test_models import MODELS
from test_models import _images as made_up_x

from ssvae.data import ImageData, VectorData
from ssvae.inference import predict
from ssvae.inference.evaluation import (
    bits_per_dimension,
    calibrate,
    calibration,
    evaluate,
    evaluation,
    importance_sampling,
    log_weights,
    proposal,
    reliability_bins,
)
from ssvae.inference.evaluation.diagnostics import effective_samples, pareto_k
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.inference.predict import class_probabilities, predict_probabilities
from ssvae.inference.runs.captions import elbo_in_words, signed_terms, terms_table
from ssvae.inference.runs.report import evaluation_lines, reliability_lines
from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.likelihoods import Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Gaussian
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassPrior, StandardNormal

SHAPE, PIXELS, LATENT, CLASSES = (1, 2, 3), 6, 2, 3


class LinearGaussian(SemiSupervisedModel):
    """p(y) = π, p(z) = N(0, I), p(x | y, z) = N(W z + b_y, s²): everything is known.

    q(z | x, y) is the posterior, its scale times `spread`; q(y | x) is the posterior to the power `trust`.
    """

    def __init__(self, spread=1.0, trust=1.0):
        super().__init__(
            SHAPE,
            CLASSES,
            prior=StandardNormal(LATENT),
            likelihood=Gaussian(),
            class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]),
        )
        self.spread, self.trust = spread, trust
        generator = torch.Generator().manual_seed(3)
        self.W = 0.3 * torch.randn(PIXELS, LATENT, generator=generator)
        self.b = torch.rand(CLASSES, PIXELS, generator=generator)

    @property
    def noise(self):
        return self.p_x(torch.zeros(1, LATENT), torch.tensor([0])).base_dist.scale.flatten()[0]

    def log_joint(self, x):
        """The exact log p(x, y), (batch, classes)."""
        covariance = self.W @ self.W.T + self.noise**2 * torch.eye(PIXELS)
        marginal = dist.MultivariateNormal(self.b, covariance)
        return marginal.log_prob(x.flatten(1).unsqueeze(1)) + self.class_prior().logits

    def model(self, x, y=None):
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", self.class_prior(), obs=y)
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.p_x(z, y), obs=x)
            self.more_of_model()

    def guide(self, x, y=None):
        with pyro.plate("images", len(x)):
            if y is None:
                y = pyro.sample("y", self.classify(x), infer={"enumerate": "parallel"})
            pyro.sample("z", self.q_z(x, y))
            self.more_of_guide(x)

    def more_of_model(self):
        """For another latent variable."""

    def more_of_guide(self, x):
        """For another latent variable."""

    def classify(self, x):
        return dist.Categorical(logits=self.trust * self.log_joint(x))

    def q_z(self, x, y):
        precision = torch.eye(LATENT) + self.W.T @ self.W / self.noise**2
        covariance = torch.linalg.inv(precision)
        mean = (x.flatten(1) - self.b[y]) @ self.W @ covariance / self.noise**2
        return dist.MultivariateNormal(mean, covariance * self.spread**2)

    def p_x(self, z, y):
        return self.likelihood((z @ self.W.T + self.b[y]).unflatten(-1, SHAPE))


class WithHelper(LinearGaussian):
    """A latent variable more, which knows nothing of y and whose q(a | x) is not its posterior."""

    def more_of_model(self):
        pyro.sample("a", dist.Normal(0.0, 1.0))

    def more_of_guide(self, x):
        pyro.sample("a", dist.Normal(0.2 * x.flatten(1).mean(-1), 1.1))


def images(n, shape=SHAPE, seed=0):
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def made_up_data(n, shape=SHAPE, num_classes=CLASSES, **options):
    x, y = images(n, shape), torch.arange(n) % num_classes
    return ImageData(
        "made up",
        images(num_classes, shape),
        torch.arange(num_classes),
        class_names=[str(k) for k in range(num_classes)],
        test_images=x,
        test_labels=y,
        **options,
    )


def made_up_data_for(model, n):
    """Images, or vectors that the model's likelihood can have drawn."""
    if len(model.event_shape) == 3:
        binarise = isinstance(model.likelihood, Bernoulli)
        return made_up_data(n, model.event_shape, model.num_classes, binarise=binarise)
    names = [str(k) for k in range(model.num_classes)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        train_x, test_x = (made_up_x(model, number).detach().float() for number in (model.num_classes, n))
    classes = torch.arange(model.num_classes)
    return VectorData(
        "made up",
        train_x,
        classes,
        class_names=names,
        test_x=test_x,
        test_labels=torch.arange(n) % model.num_classes,
        standardise=False,
    )


# Importance sampling


@pytest.mark.parametrize("num_samples", [1, 7])
def test_the_exact_posterior_makes_every_sample_exact(num_samples):
    model, x = LinearGaussian(), images(9) / 255.0
    estimate = importance_sampling(model, x, num_samples)
    exact = model.log_joint(x)
    torch.testing.assert_close(estimate.log_joint, exact, rtol=0, atol=1e-9)
    torch.testing.assert_close(estimate.log_evidence, exact.logsumexp(-1), rtol=0, atol=1e-9)
    torch.testing.assert_close(estimate.posterior, exact.softmax(-1), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_the_bound_rises_with_samples_up_to_the_evidence():
    model, x = LinearGaussian(spread=2.0), images(3000) / 255.0
    exact = model.log_joint(x).logsumexp(-1)
    y = torch.arange(CLASSES).unsqueeze(-1)
    bounds = [log_weights(model, x, y, size).logsumexp((0, 1)) - math.log(size) for size in (1, 3, 9)]
    for lower, higher in zip(bounds, [*bounds[1:], exact], strict=True):
        rise = higher - lower
        assert rise.mean() > 4 * rise.std() / len(x) ** 0.5
    elbo = -evaluation._elbo_terms(model, x)["negative_elbo"]
    assert elbo < bounds[0].mean()
    # Fitted to the image, one sample is worth more than nine of the guide's, and still no more than there is.
    fitted = importance_sampling(model, x, 1).log_evidence
    assert fitted.mean() > bounds[-1].mean()
    assert (fitted - exact).mean() < 4 * (fitted - exact).std() / len(x) ** 0.5
    # Many samples leave no more than noise.
    error = importance_sampling(model, x[:200], 5000).log_evidence - exact[:200]
    assert abs(error.mean()) < 4 * error.std() / 200**0.5


class Shifted(LinearGaussian):
    """A guide that is off by `shift` in each dimension too."""

    shift = 0.0

    def q_z(self, x, y):
        q = super().q_z(x, y)
        return dist.MultivariateNormal(q.loc + self.shift, q.covariance_matrix)


@pytest.mark.parametrize(("spread", "shift"), [(0.3, 0.0), (3.0, 0.0), (0.5, 1.5)])
@pytest.mark.slow
def test_a_proposal_is_fitted_where_the_guide_is_no_good(spread, shift):
    model, x = Shifted(spread=spread), images(300) / 255.0
    model.shift = shift
    exact = model.log_joint(x)
    found = importance_sampling(model, x, 100)
    evidence, error = exact.logsumexp(-1), found.log_evidence - exact.logsumexp(-1)
    log_v = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), 100).logsumexp(1)
    assert found.effective_samples.median() > 2 * effective_samples(log_v).median()
    unreliable = (found.pareto_k > 0.7).double().mean()
    assert unreliable < 0.2
    if spread < 1:
        assert (pareto_k(log_v) > 0.7).double().mean() > 2 * unreliable + 0.4
    # ELBO <= estimate <= log p(x) but for noise
    assert -evaluation._elbo_terms(model, x)["negative_elbo"] < found.log_evidence.mean()
    assert -0.02 - 0.1 * shift < error.mean() < 4 * error.std() / len(x) ** 0.5
    # for every class, also one that is improbable
    assert ((found.log_joint - exact).mean(0).abs() < 0.02 + 0.3 * shift).all()
    # The estimate of p(x) has no bias: none of its samples has a part in the fit.
    ratio = (importance_sampling(model, x.repeat(4, 1, 1, 1), 2).log_evidence - evidence.repeat(4)).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(ratio) ** 0.5


def test_a_latent_variable_that_all_classes_share_is_fitted_to_the_probable_ones():
    model, x = WithHelper(spread=0.4), images(100) / 255.0
    model.more_of_guide = lambda x: pyro.sample("a", dist.Normal(1.5 + 0 * x.flatten(1).mean(-1), 0.3))
    found, exact = importance_sampling(model, x, 100), model.log_joint(x)
    assert abs((found.log_evidence - exact.logsumexp(-1)).mean()) < 0.02
    torch.testing.assert_close(found.posterior, exact.softmax(-1), rtol=0, atol=0.1)
    assert (found.pareto_k > 0.7).double().mean() < 0.1


def test_a_latent_variable_that_cannot_be_moved_stays_as_it_is():
    model, x = LinearGaussian(spread=0.5), images(50) / 255.0
    model.more_of_model = lambda: (pyro.sample("share", dist.Beta(2.0, 2.0)), pyro.sample("coin", dist.Bernoulli(0.3)))
    model.more_of_guide = lambda x: (
        pyro.sample("share", dist.Beta(2.0, 1.5)),
        pyro.sample("coin", dist.Bernoulli(0.5)),
    )
    error = importance_sampling(model, x, 200).log_evidence - model.log_joint(x).logsumexp(-1)
    assert abs(error.mean()) < 0.05


def test_the_fit_of_the_proposal_computes_no_gradients_of_the_weights(monkeypatch):
    model = MODELS["M2"]()
    first, *others = model.parameters()
    first.requires_grad_(False)
    learned, weigh = set(), proposal.weigh

    def watched(*arguments):
        if torch.is_grad_enabled():
            learned.update(parameter.requires_grad for parameter in model.parameters())
        return weigh(*arguments)

    monkeypatch.setattr(proposal, "weigh", watched)
    importance_sampling(model, torch.ones(2, *model.event_shape), 3)
    assert learned == {False}
    assert not first.requires_grad
    assert all(parameter.requires_grad for parameter in others)


def test_what_effective_samples_are_by_hand():
    w = torch.tensor([[1.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    torch.testing.assert_close(effective_samples(w.log() - 900), torch.tensor([16 / 6, 1.0]))


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0, 1.5])
def test_pareto_k_is_that_of_a_pareto_distribution(k):
    uniform = torch.rand(4000, 30, generator=torch.Generator().manual_seed(1))
    found = pareto_k(-k * uniform.log() - 700)  # U^-k has a tail of shape k
    assert found.mean().item() == pytest.approx(k, abs=0.05)


def test_pareto_k_of_a_few_or_of_equal_weights():
    assert pareto_k(torch.randn(24, 2)).isnan().all()
    assert pareto_k(torch.randn(25, 2)).isfinite().all()
    assert pareto_k(torch.full((100, 2), -50.0) + 1e-13 * torch.randn(100, 2)).tolist() == [0.0, 0.0]


def test_one_sample_weighted_by_the_classifier_is_the_objective():
    model, x = LinearGaussian(spread=1.4, trust=0.5), images(5) / 255.0
    y = torch.arange(CLASSES).unsqueeze(-1)
    torch.manual_seed(2)
    log_w = log_weights(model, x, y, 1)[0].T  # (batch, classes)
    torch.manual_seed(2)
    loss, _ = Objective()(model, Observations(x[:0], y[:0, 0], x), Sizes(0, 5))
    log_q = model.classify(x).logits
    by_hand = (log_q.exp() * (log_w - log_q)).sum(-1).mean()
    assert -loss.item() == pytest.approx(by_hand.item(), abs=1e-9)
    torch.manual_seed(2)
    assert evaluation._elbo_terms(model, x)["negative_elbo"] == pytest.approx(loss.item(), abs=1e-9)


def test_known_classes_have_weights_of_their_own():
    model, x, y = LinearGaussian(), images(4) / 255.0, torch.tensor([0, 2, 1, 1])
    log_w = log_weights(model, x, y, 5)
    assert log_w.shape == (5, 4)
    torch.testing.assert_close(log_w[0], model.log_joint(x).gather(1, y.unsqueeze(1)).squeeze(1), rtol=0, atol=1e-9)


def test_every_latent_variable_is_drawn_for_every_sample():
    model, x = WithHelper(), images(3) / 255.0
    log_w = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), 2000)
    assert log_w.shape == (2000, CLASSES, 3)
    assert (log_w.std(0) > 0.05).all()
    # a has the same draw for every class, and a new one for every sample and image.
    noise = log_w - model.log_joint(x).T
    torch.testing.assert_close(noise[:, 0], noise[:, 1], rtol=0, atol=1e-9)
    assert noise[:, 0].unique().numel() == 2000 * 3
    weights = noise[:, 0].exp()
    assert (abs(weights.mean(0) - 1) < 5 * weights.std(0) / 2000**0.5).all()


def test_m2_agrees_with_an_integral_over_z():
    model = M2((1, 8, 8), CLASSES, prior=StandardNormal(1), networks=MLP((8,)), likelihood=Bernoulli())
    x = (images(4, (1, 8, 8)) > 127).double()
    z = torch.linspace(-9, 9, 4001)
    integrals = []
    for y in range(CLASSES):
        image = model.p_x(z[:, None, None], torch.tensor([[y]])).log_prob(x)  # (4001, 4)
        density = image + dist.Normal(0.0, 1.0).log_prob(z)[:, None] - math.log(CLASSES)
        integrals.append(density.logsumexp(0) + (z[1] - z[0]).log())
    log_w = log_weights(model, x, torch.arange(CLASSES).unsqueeze(-1), 4000)
    error = importance_sampling(model, x, 4000).log_joint - torch.stack(integrals, -1)
    relative = (log_w - torch.stack(integrals)).exp()
    standard_error = relative.std(0).T / 4000**0.5
    assert (error.abs() < 5 * standard_error).all()


@pytest.mark.parametrize("pixels", [1, 40, 10**6])
def test_chunks_change_nothing(monkeypatch, pixels):
    model, x = LinearGaussian(), images(7) / 255.0
    monkeypatch.setattr(predict, "_PIXELS_AT_ONCE", pixels)
    monkeypatch.setattr(proposal, "_STEPS", 2)  # an image at a time takes long
    torch.testing.assert_close(importance_sampling(model, x, 5).log_joint, model.log_joint(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(class_probabilities(model, x), model.classify(x).probs, rtol=0, atol=1e-12)
    data = made_up_data(7)
    result = evaluate(model, data, num_samples=3)
    exact = model.log_joint(data.preprocess(data.test_images)).logsumexp(-1)
    assert result.log_likelihood == pytest.approx(exact.mean().item(), abs=1e-9)
    # With exact posteriors the ELBO is the evidence, whatever the noise; an uneven last chunk counts less.
    assert result.elbo == pytest.approx(exact.mean().item(), abs=1e-9)


# The whole evaluation


@pytest.mark.parametrize(("pixels", "expected"), [(6, 5 * ([0] * 40 + [1])), (1000, [4, 0, 0, 0, 1])])
def test_progress_counts_images_in_proportion_to_the_work(monkeypatch, pixels, expected):
    monkeypatch.setattr(predict, "_PIXELS_AT_ONCE", pixels)
    counts = []
    importance_sampling(LinearGaussian(), torch.rand(5, *SHAPE), 40, counts.append)
    assert counts == expected


def test_evaluation_of_a_model_that_is_known():
    model, data = LinearGaussian(trust=0.7), made_up_data(11)
    x = data.preprocess(data.test_images)
    result = evaluate(model, data, num_samples=2, num_images=5, seed=4)
    chosen = torch.randperm(11, generator=torch.Generator().manual_seed(4))[:5]
    exact = model.log_joint(x[chosen])
    evidence = exact.logsumexp(-1)
    assert (result.num_images, result.num_likelihood_images, result.num_samples, result.seed) == (11, 5, 2, 4)
    assert result.log_likelihood == pytest.approx(evidence.mean().item(), abs=1e-9)
    assert result.log_likelihood_error == pytest.approx(evidence.std().item() / 5**0.5, abs=1e-9)
    bits = -(evidence.mean().item() - 6 * math.log(256)) / (6 * math.log(2))
    assert result.bits_per_dimension == pytest.approx(bits, abs=1e-9)
    torch.testing.assert_close(result.posterior_probabilities, exact.softmax(-1), rtol=0, atol=1e-9)
    assert torch.equal(result.posterior_labels, data.test_labels[chosen])
    assert torch.equal(result.labels, data.test_labels)
    torch.testing.assert_close(result.probabilities, model.classify(x).probs, rtol=0, atol=1e-12)
    assert result.classifier == calibrate(model.classify(x).probs, data.test_labels)
    right = (model.log_joint(x).argmax(-1) == data.test_labels).double().mean().item()
    assert result.classifier.accuracy == pytest.approx(right)
    assert result.elbo == -result.terms["negative_elbo"]
    assert result.elbo < result.log_likelihood
    parts = [result.terms[name] for name in ("reconstruction", "kl", "class")]
    assert sum(parts) == pytest.approx(result.terms["negative_elbo"], abs=1e-9)


def test_evaluation_is_deterministic_and_leaves_no_trace():
    model, data = LinearGaussian(spread=1.5), made_up_data(6)
    model.likelihood.eval()
    state = torch.get_rng_state()
    first = evaluate(model, data, num_samples=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.likelihood.training
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.rand(5)
    assert evaluate(model, data, num_samples=3, seed=1).to_dict() == first.to_dict()
    assert evaluate(model, data, num_samples=3, seed=2).log_likelihood != first.log_likelihood


def test_evaluation_switches_dropout_off():
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), networks=MLP((16,), batch_norm=True, dropout=0.5))
    data = made_up_data(9, (1, 8, 8))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    first = predict_probabilities(model, data, data.test_images)
    evaluate(model, data, num_samples=2)
    assert torch.equal(first, predict_probabilities(model, data, data.test_images))
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert model.training


def test_one_binarisation_for_every_number_of_samples():
    data = made_up_data(20, (1, 8, 8), binarise=True)
    seen = {}

    def observe(pixels, generator):
        x = ImageData.observe(data, pixels, generator)
        seen.setdefault(num_samples, []).append(x)
        return x

    data.observe = observe
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), networks=MLP((4,)), likelihood=Bernoulli())
    for num_samples in (1, 30):
        evaluate(model, data, num_samples=num_samples)
    once, again = (torch.cat(chunks) for chunks in seen.values())
    assert torch.equal(once, again)
    assert set(once.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_how_far_the_likelihood_is_and_nothing_of_it_stays(terminal, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    data = made_up_data(7)
    with_bar = evaluate(LinearGaussian(), data, num_samples=2, progress_bar=True).to_dict()
    shown = screen.getvalue()
    assert ("log p(x)" in shown and "/7" in shown) == terminal
    assert shown.rstrip("\r").rpartition("\r")[2].strip() == ""
    assert with_bar == evaluate(LinearGaussian(), data, num_samples=2).to_dict()
    assert screen.getvalue() == shown


@pytest.mark.parametrize(
    ("name", "sampled"), [("M1", "3 importance samples,"), ("M2", "3 importance samples for each class,")]
)
def test_the_report_says_log_p_and_how_it_was_sampled(name, sampled):
    model = MODELS[name]()
    data = made_up_data(5, model.event_shape, model.num_classes)
    result = evaluate(model, data, num_samples=3)
    (line,) = [line for line in evaluation_lines(result, data) if line.startswith("- log p(x)")]
    assert line == (
        f"- log p(x) {result.log_likelihood:.2f} ± {result.log_likelihood_error:.2f} nats "
        f"({result.bits_per_dimension:.4f} bits per dimension), a lower bound by {sampled} "
        "mean and standard error over 5 images"
    )


def test_one_image_has_no_standard_error():
    result = evaluate(LinearGaussian(), made_up_data(3), num_samples=1, num_images=1)
    assert math.isnan(result.log_likelihood_error)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["log_likelihood_error"] is None


def test_plain_numbers():
    found = evaluate(LinearGaussian(), made_up_data(3), num_samples=1)
    plain = found.to_dict()
    beside = calibrate(found.probabilities_beside_posterior, found.posterior_labels)
    assert set(plain["classifier"]) == {"accuracy", "nll", "ece", "brier"} == set(plain["posterior"])
    assert plain.pop("main_classes") is None  # the data have none
    assert plain.pop("discovery") is None  # all classes have labels
    assert plain.pop("classifier_beside_posterior") == beside.to_dict()
    assert (plain.pop("seen_by_classifier"), plain.pop("seen_by_posterior")) == ("grey", "grey")
    assert (plain.pop("pareto_k"), plain.pop("share_unreliable")) == (None, None)  # of one sample
    numbers = [value for key, value in plain.items() if key not in ("classifier", "posterior", "terms")]
    numbers += [*plain["classifier"].values(), *plain["posterior"].values(), *plain["terms"].values()]
    assert all(type(number) in (int, float) for number in numbers)


def test_the_classifier_is_scored_on_the_very_pixels_that_the_posterior_sees():
    data = made_up_data(20, (1, 8, 8), binarise=True)
    seen = []

    def observe(pixels, generator):
        seen.append(ImageData.observe(data, pixels, generator))
        return seen[-1]

    data.observe = observe
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), networks=MLP((4,)), likelihood=Bernoulli())
    found = evaluate(model, data, num_samples=2, num_images=12)
    (x,) = seen
    expected = model.classify(x).probs
    torch.testing.assert_close(found.probabilities_beside_posterior, expected, rtol=0, atol=1e-12)
    assert found.classifier_beside_posterior == calibrate(expected, found.posterior_labels)
    grey = model.classify(data.preprocess(data.test_images)).probs
    assert found.classifier == calibrate(grey, data.test_labels)
    lines = [line.split(" | ") for line in evaluation_lines(found, data)[2:5]]
    assert [(name, pixels, int(number)) for name, pixels, number, *_ in lines] == [
        ("| q(y\\|x), the classifier", "grey", 20),
        ("| q(y\\|x), same pixels as p(y\\|x)", "binarised once", 12),
        ("| p(y\\|x), 2 importance samples", "binarised once", 12),
    ]
    assert [float(line[3].rstrip("%")) for line in lines[1:]] == pytest.approx(
        [100 * of.accuracy for of in (found.classifier_beside_posterior, found.posterior)], abs=0.01
    )


def test_the_report_says_how_far_the_samples_can_be_relied_on():
    data = made_up_data(6)
    found = evaluate(LinearGaussian(spread=1.5), data, num_samples=30)
    said = " ".join(reliability_lines(found))
    assert f"effective sample size {found.effective_samples:.1f} of 30" in said
    assert f"Pareto k̂ {found.pareto_k:.2f} (median), above 0.7 for {found.share_unreliable:.0%} of the images" in said
    assert "Warning" not in " ".join(reliability_lines(replace(found, share_unreliable=0.05)))
    warned = reliability_lines(replace(found, share_unreliable=0.34))[-1]
    assert warned.startswith("Warning: 34% of the images have a k̂ above 0.7")
    assert "log p(x) and p(y|x) cannot be relied on" in warned
    few = evaluate(LinearGaussian(spread=1.5), data, num_samples=24)
    assert "Pareto k̂ needs at least 25 samples" in reliability_lines(few)[0]
    assert set(f"- {line}" for line in reliability_lines(found)) <= set(evaluation_lines(found, data))


@pytest.mark.parametrize("name", MODELS)
def test_the_terms_of_the_elbo_that_are_shown_add_up_to_it(name):
    model = MODELS[name]().eval()
    data = made_up_data_for(model, 5)
    x = data.observe(data.preprocess(data.test_x), torch.Generator().manual_seed(0))
    terms = evaluation._elbo_terms(model, x)
    signed = signed_terms(terms)
    assert sum(signed.values()) == pytest.approx(terms["negative_elbo"], abs=1e-9)
    assert signed.get("entropy", 0.0) <= 0
    if "class prior" in signed:
        with torch.no_grad():
            expected = -(model.classify(x).probs * model.class_prior().logits).sum(-1).mean()
        if name not in ("ADGM", "SDGM", "M1M2"):  # whose q(y|x) is a mean over another latent variable
            assert signed["class prior"] == pytest.approx(expected.item())
    _, names, numbers = elbo_in_words(terms).split(" (KL:")[0].split(" = ", 2)
    written, total = numbers.removesuffix(" nats").split(" = ")
    assert float(total) == pytest.approx(-terms["negative_elbo"], abs=0.006)
    parts = [float(part) for part in re.sub(r" ([+-]) ", r" \1", written).split(" ")]
    assert parts == pytest.approx([-value for value in signed.values()], abs=0.006)
    assert len(parts) == len(re.split(r" [+-] ", names))


def test_the_terms_of_j_are_shown_with_the_signs_by_which_they_add_up():
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), networks=MLP((4,)), likelihood=Bernoulli())
    x, y = (torch.rand(4, 1, 8, 8) > 0.5).double(), torch.tensor([0, 2, 1, 1])
    loss, terms = Objective()(model, Observations(x, y, x), Sizes(4, 4))
    row = {"epoch": 1.0, "step": 2.0, "seconds": 3.0, "loss": loss.item()}
    table = terms_table(row | {name: value.item() for name, value in terms.items()})
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    for part in ("labelled", "unlabelled"):
        added = [float(value) for name, value, _ in rows if name.startswith(f"{part}: ") and "sum" not in name]
        (total,) = [float(value) for name, value, _ in rows if name == f"{part}: **sum**"]
        assert sum(added) == pytest.approx(total, abs=0.03)
        assert total == pytest.approx(terms[f"{part}/negative_elbo"].item(), rel=1e-3)
    assert [name for name, *_ in rows] == [
        *("labelled: reconstruction", "labelled: kl", "labelled: class prior", "labelled: **sum**"),
        *("unlabelled: reconstruction", "unlabelled: kl", "unlabelled: class prior", "unlabelled: entropy"),
        *("unlabelled: **sum**", "loss", "classification"),
    ]
    assert all(len(words) > 10 for *_, words in rows)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("quick_proposals")
@pytest.mark.slow
def test_every_model_can_be_evaluated(name):
    model = MODELS[name]()
    data = made_up_data_for(model, 5)
    result = evaluate(model, data, num_samples=3)
    x = data.observe(data.preprocess(data.test_x))
    if model.has_label_site:
        weights = log_weights(model, x, torch.arange(model.num_classes).unsqueeze(-1), 3)
        assert weights.shape == (3, model.num_classes, 5)
        assert not weights.requires_grad  # or every sample of every image would be kept
    if model.bounds_evidence:
        assert math.isfinite(result.log_likelihood)
    assert math.isfinite(result.elbo)
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_samples": 0}, "num_samples: expected at least 1; got 0"),
        ({"num_images": 0}, "num_images: expected 1 to 4, .* got 0"),
        ({"num_images": 5}, "num_images: expected 1 to 4, .* got 5"),
    ],
)
def test_refused_numbers(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(LinearGaussian(), made_up_data(4), **options)


def test_refused_data():
    with pytest.raises(ValueError, match="test_images: expected at least one image"):
        evaluate(LinearGaussian(), made_up_data(0))
    model = M2((1, 8, 8), 3, prior=StandardNormal(2), networks=MLP((4,)), likelihood=Bernoulli())
    with pytest.raises(ValueError, match="Bernoulli expected pixels that are 0 or 1"):
        evaluate(model, made_up_data(4, (1, 8, 8)))
    with pytest.raises(ValueError, match="num_samples: expected at least 1"):
        importance_sampling(LinearGaussian(), torch.rand(2, *SHAPE), 0)


def test_evaluation_does_not_import_matplotlib_and_arviz_only_where_it_is_asked():
    code = "import sys, ssvae.inference.evaluation; sys.exit(not {'matplotlib', 'arviz_stats'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Bits, by hand


def test_bits_per_dimension():
    # 12 numbers of 2 bits each.
    log_p = -12 * 2 * math.log(2)
    assert bits_per_dimension(log_p, (3, 2, 2), DiscretizedLogistic()) == pytest.approx(2)
    assert bits_per_dimension(log_p, (3, 2, 2), Bernoulli()) == pytest.approx(2)
    # The uniform density on [0, 1] is 8 bits for each of 256 levels; half as wide, one bit less.
    assert bits_per_dimension(0.0, (3, 2, 2), ContinuousBernoulli()) == pytest.approx(8)
    assert bits_per_dimension(12 * math.log(2), (3, 2, 2), Gaussian()) == pytest.approx(7)


# Calibration, by hand

PROBABILITIES = torch.tensor([[0.9, 0.1], [0.88, 0.12], [0.3, 0.7], [0.45, 0.55], [1.0, 0.0]])
LABELS = torch.tensor([0, 1, 1, 1, 0])


def test_bins_by_hand():
    bins = reliability_bins(PROBABILITIES, LABELS, num_bins=10)
    # (0.5, 0.6]: 0.55 right; (0.6, 0.7]: 0.7 right; (0.8, 0.9]: 0.9 right, 0.88 wrong; (0.9, 1]: 1.0 right.
    assert bins.count.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 2, 1]
    torch.testing.assert_close(bins.confidence[5:], torch.tensor([0.55, 0.7, 0.0, 0.89, 1.0]))
    torch.testing.assert_close(bins.accuracy[5:], torch.tensor([1.0, 1.0, 0.0, 0.5, 1.0]))
    assert bins.ece == pytest.approx((0.45 + 0.3 + 2 * 0.39 + 0.0) / 5)


def test_a_confidence_of_one_shares_the_last_bin():
    probabilities = torch.tensor([[1.0, 0.0], [0.96, 0.04]])
    bins = reliability_bins(probabilities, torch.tensor([1, 0]))
    assert bins.count.tolist() == [0] * 14 + [2]
    assert bins.ece == pytest.approx(0.98 - 0.5)


def test_calibration_by_hand():
    result = calibrate(PROBABILITIES, LABELS)
    assert result.accuracy == pytest.approx(4 / 5)
    nll = -(math.log(0.9) + math.log(0.12) + math.log(0.7) + math.log(0.55)) / 5
    assert result.nll == pytest.approx(nll)
    assert result.brier == pytest.approx(2 * (0.1**2 + 0.88**2 + 0.3**2 + 0.45**2) / 5)
    # Fifteen bins: 0.55 | 0.7 | 0.88 (12.3 to 13.2 fifteenths) and 0.9 have bins of their own | 1.
    assert result.ece == pytest.approx((0.45 + 0.3 + 2 * 0.39 + 0.0) / 5)
    assert result.to_dict() == {
        "accuracy": result.accuracy,
        "nll": result.nll,
        "ece": result.ece,
        "brier": result.brier,
    }


def test_calibrated_predictions_have_a_small_error():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(20000, 4, generator=generator).pow(3)
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    labels = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    assert calibrate(probabilities, labels).ece < 0.02
    assert calibrate(probabilities.pow(4) / probabilities.pow(4).sum(-1, keepdim=True), labels).ece > 0.1


def test_sure_mistakes_and_a_single_class():
    assert calibrate(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).nll == pytest.approx(708.396, abs=1e-3)
    single = calibrate(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))
    assert single == calibration.Calibration(accuracy=1.0, nll=0.0, ece=0.0, brier=0.0)


@pytest.mark.parametrize("num_classes", [2, 3, 13])
def test_accuracy_with_an_uneven_last_chunk(monkeypatch, num_classes):
    model = M2((1, 8, 8), num_classes, prior=StandardNormal(2), networks=MLP((16,)))
    data = made_up_data(23, (1, 8, 8), num_classes)
    by_hand = model.classify(data.preprocess(data.test_images)).probs
    right = (by_hand.argmax(-1) == data.test_labels).sum().item()
    monkeypatch.setattr(predict, "_PIXELS_AT_ONCE", 64 * 4)  # four images: a last chunk of three
    probabilities = predict_probabilities(model, data, data.test_images)
    torch.testing.assert_close(probabilities, by_hand, rtol=0, atol=1e-12)
    assert calibrate(probabilities, data.test_labels).accuracy == pytest.approx(right / 23)


@pytest.mark.parametrize(
    ("probabilities", "labels", "sentence"),
    [
        (torch.ones(0, 3), torch.zeros(0, dtype=torch.int64), "probabilities: expected shape"),
        (torch.full((2, 2), 0.5), torch.tensor([0]), "labels: expected one class for each of 2 images"),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), "labels: expected classes from 0 to 1; got 0 to 2"),
        (torch.ones(1, 2), torch.tensor([0]), "sum to 1"),
        (torch.tensor([[math.nan, 1.0]]), torch.tensor([0]), "sum to 1"),
    ],
)
def test_refused_probabilities(probabilities, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        calibrate(probabilities, labels)


def test_refused_bins():
    with pytest.raises(ValueError, match="num_bins: expected a positive number; got 0"):
        reliability_bins(PROBABILITIES, LABELS, num_bins=0)
