"""Missing entries: their likelihood, the mask, bounds of log p(x_seen), imputation, training and the commands."""

import copy
import csv
import io
import math

import numpy as np
import pyro
import pytest
import torch

from ssvae.data import LinearGaussianStory, Moons, Table, Vectors, hide
from ssvae.data.standardisation import Standardisation
from ssvae.inference import Recipe, evaluate, fit, impute
from ssvae.inference.contracts import check_model
from ssvae.inference.evaluation import importance_sampling
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.inference.storage.description import build, describe
from ssvae.inference.training.checks import check_trainable
from ssvae.inference.training.recipe_choice import for_features, for_missing
from ssvae.models import (
    ADGM,
    GMVAE,
    M1,
    M1M2,
    M2,
    SDGM,
    SOMVAE,
    AdversarialAutoencoder,
    ClassProbabilities,
    ConditionalVAE,
    DistilledM1,
    DistilledM2,
    LadderVAE,
    SparseLabelVAE,
    Torchvision,
)
from ssvae.models.importance import WeightedSamples, weighted_samples
from ssvae.models.importance import impute as impute_by
from ssvae.models.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    ExpectedBernoulli,
    Gaussian,
    Likelihood,
    MissingEntries,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from ssvae.models.networks import MLP, Convolutional, Network, WithMask
from ssvae.models.priors import StandardNormal, VampPrior

NAN = math.nan
EXACT = {"rtol": 1e-12, "atol": 1e-12}
ROW = (4,)
COMPLETE = {
    "Bernoulli": Bernoulli,
    "ExpectedBernoulli": ExpectedBernoulli,
    "ContinuousBernoulli": ContinuousBernoulli,
    "DiscretizedLogistic": DiscretizedLogistic,
    "Gaussian": lambda: Gaussian(per_feature=True),
    "StudentT": lambda: StudentT(per_feature=True),
    "Poisson": Poisson,
    "NegativeBinomial": NegativeBinomial,
    "Categorical": lambda: Categorical(3),
    "Mixed": Mixed.example,
}


def _some_missing(x, generator_seed=0):
    """Return x with some entries of each row missing, all of the first row, and none of the last."""
    missing = torch.rand(x.shape, generator=torch.Generator().manual_seed(generator_seed)) < 0.5
    missing[0], missing[-1] = True, False
    return x.masked_fill(missing, NAN)


def _pair(name, event_shape):
    """Return a likelihood, and one of missing entries with the same parameters."""
    complete = COMPLETE[name]()
    complete.set_event_shape(event_shape)
    missing = MissingEntries(copy.deepcopy(complete))
    missing.set_event_shape(event_shape)
    return complete, missing


# The likelihood


@pytest.mark.parametrize("name", COMPLETE)
def test_log_p_is_the_sum_over_the_entries_that_were_seen(name):
    complete, missing = _pair(name, ROW)
    parameters = torch.randn(6, *complete.decoder_shape(ROW))
    p, q = complete(parameters), missing(parameters)
    x = _some_missing(p.sample())
    by_hand = []
    for row, seen in enumerate(~x.isnan()):
        entries = p.base_dist.log_prob(x.nan_to_num(0))[row]
        by_hand.append(sum((entries[i] for i in range(4) if seen[i]), torch.tensor(0.0)))
    torch.testing.assert_close(q.log_prob(x), torch.stack(by_hand), **EXACT)
    assert q.log_prob(x)[0].item() == 0


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_row_has_the_density_of_the_likelihood_itself(name):
    complete, missing = _pair(name, ROW)
    parameters = torch.randn(6, *complete.decoder_shape(ROW))
    p, q = complete(parameters), missing(parameters)
    x = p.sample()
    if name in ("Bernoulli", "ExpectedBernoulli"):  # whose own sum is another expression
        torch.testing.assert_close(q.log_prob(x), p.log_prob(x), **EXACT)
    else:
        assert torch.equal(q.log_prob(x), p.log_prob(x))
    assert torch.equal(q.mean, p.mean)
    torch.manual_seed(1)
    drawn = p.sample()
    torch.manual_seed(1)
    assert torch.equal(q.sample(), drawn)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_entry_has_no_gradient_and_the_others_have_their_own(name):
    complete, missing = _pair(name, ROW)
    # Far out, where a density at a value that was not seen could be 0 and its gradient NaN.
    parameters = (100 * torch.randn(6, *complete.decoder_shape(ROW))).requires_grad_()
    x = _some_missing(complete(parameters).sample())
    (gradient,) = torch.autograd.grad(missing(parameters).log_prob(x).sum(), parameters)
    assert gradient.isfinite().all()
    assert not gradient[0].any()
    (of_entries,) = torch.autograd.grad(
        (complete(parameters).base_dist.log_prob(x.nan_to_num(0)) * ~x.isnan()).sum(), parameters
    )
    torch.testing.assert_close(gradient, of_entries, rtol=1e-10, atol=1e-10)
    for parameter in missing.parameters():
        missing(parameters.detach()).log_prob(x).sum().backward()
        assert parameter.grad.isfinite().all()


def test_what_was_not_seen_is_integrated_out():
    _, missing = _pair("Gaussian", (2,))
    p = missing(torch.tensor([[0.3, -0.5]]))
    grid = torch.linspace(-8, 8, 4001)
    joint = p.log_prob(torch.stack([torch.full_like(grid, 0.1), grid], -1)).exp()
    assert torch.trapezoid(joint, grid).log().item() == pytest.approx(p.log_prob(torch.tensor([[0.1, NAN]])).item())


def test_images_have_missing_pixels():
    complete, missing = _pair("Bernoulli", (3, 4, 4))
    logits = torch.randn(2, 3, 4, 4)
    x = complete(logits).sample()
    x[:, :, :2] = NAN
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x.nan_to_num(0))[:, :, 2:].sum((1, 2, 3))
    torch.testing.assert_close(missing(logits).log_prob(x), expected, **EXACT)


def test_validation_stays_on():
    _, missing = _pair("Bernoulli", ROW)
    p = missing(torch.zeros(4))
    support = p.support.base_constraint
    assert support.check(torch.tensor([0.0, 1.0, NAN, 0.5])).tolist() == [True, True, True, False]
    with pyro.validation_enabled(True):
        p = missing(torch.zeros(4))
        p.log_prob(torch.tensor([0.0, 1.0, NAN, 0.0]))
        with pytest.raises(ValueError, match="support"):
            p.log_prob(torch.tensor([0.0, 1.0, NAN, 0.5]))


BAD = {
    "Gaussian": (math.inf, "expected finite numbers; got inf"),
    "Bernoulli": (1.5, r"expected features in \[0, 1\]"),
    "Poisson": (-1.0, "expected counts 0, 1, 2"),
    "Categorical": (3.0, "expected categories from 0 to 2; got 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_nan_passes_the_checks_and_what_the_likelihood_refuses_does_not(name):
    _, missing = _pair(name, ROW)
    value, words = BAD[name]
    for check in (missing.check, missing.check_input):
        check(torch.tensor([[0.0, NAN, 1.0, NAN], [NAN] * 4]))
    with pytest.raises(ValueError, match=words):
        missing.check_input(torch.tensor([[0.0, NAN, value, 1.0]]))


class _Positive(Likelihood):
    """A likelihood whose support has no 0."""

    def forward(self, parameters):
        return pyro.distributions.LogNormal(parameters, 1.0).to_event(self.event_dim)

    def check_input(self, x):
        if not (x > 0).all():
            raise ValueError("x: expected positive numbers.")


def test_likelihoods_of_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"^likelihood: expected independent entries of x; got Multinomial\(\)"):
        MissingEntries(Multinomial())
    with pytest.raises(ValueError, match=r"^likelihood: expected one of complete x; got MissingEntries"):
        MissingEntries(MissingEntries(Gaussian()))
    with pytest.raises(ValueError, match=r"^likelihood: expected one for which 0 has a density; got _Positive\(\)"):
        M2(ROW, 2, likelihood=MissingEntries(_Positive()))


def test_some_columns_of_a_mixed_likelihood_may_be_missing():
    mixed = Mixed([MissingEntries(Gaussian()), Categorical(3)], [(0, 2), (1,)])
    assert mixed.admits_missing
    p = mixed(torch.randn(1, 5))
    x = torch.tensor([[0.5, 1.0, NAN]])
    expected = p.base_dist.log_prob(x)
    assert expected[0, 2] == 0
    assert p.log_prob(x).item() == pytest.approx(expected.sum().item())
    with pytest.raises(ValueError, match="expected categories"):
        mixed.check_input(torch.tensor([[0.5, NAN, 0.1]]))


# What the networks see


def test_an_encoder_sees_zeros_and_a_mask():
    architecture = WithMask(MLP(hidden=(7,)))
    masked = architecture.encoder((3,), 2, num_classes=2)
    x, y = torch.tensor([[0.5, NAN, -1.0], [NAN, NAN, NAN]]), torch.tensor([0, 1])
    seen = torch.tensor([[0.5, 0.0, -1.0, 1.0, 0.0, 1.0], [0.0] * 6])
    assert torch.equal(masked(x, y), masked.encoder(seen, y))
    assert not torch.equal(masked(x, y), masked(x.nan_to_num(0), y))
    images = WithMask(Convolutional(channels=(4,), hidden=8)).encoder((3, 8, 8), 2)
    picture = hide(torch.rand(2, 3, 8, 8), 0.5)
    both = torch.cat([picture.nan_to_num(0), (~picture.isnan()).to(picture)], 1)
    assert torch.equal(images(picture), images.encoder(both))
    assert architecture.decoder(2, (3,))(torch.zeros(1, 2)).shape == (1, 3)
    assert architecture.dense(2, 4)(torch.zeros(1, 2)).shape == (1, 4)


def test_the_likelihood_is_the_one_switch():
    plain, missing = M2(ROW, 2, likelihood=Gaussian()), M2(ROW, 2, likelihood=MissingEntries(Gaussian()))
    assert isinstance(plain.networks, MLP)
    assert isinstance(missing.networks, WithMask)
    assert missing.networks is missing.classifier
    own = M2(ROW, 2, likelihood=MissingEntries(Gaussian()), classifier=MLP(hidden=(3,)))
    assert isinstance(own.classifier, WithMask)
    again = build(describe(own))
    assert describe(again) == describe(own)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in own.state_dict().items()
    }
    with pytest.raises(
        ValueError, match=r"^networks: expected an architecture whose encoders take a mask .* Torchvision"
    ):
        M2((3, 32, 32), 2, likelihood=MissingEntries(ContinuousBernoulli()), classifier=Torchvision())
    with pytest.raises(ValueError, match=r"^x: expected finite numbers; got nan\."):
        plain.classify(torch.tensor([[0.0, NAN, 0.0, 0.0]]))


# Every model

KINDS = {
    kind.__name__: kind
    for kind in (
        M1,
        M2,
        M1M2,
        ConditionalVAE,
        LadderVAE,
        ADGM,
        SDGM,
        GMVAE,
        SparseLabelVAE,
        SOMVAE,
        AdversarialAutoencoder,
        DistilledM1,
        DistilledM2,
    )
}
WITHOUT_DENSITY = ("SparseLabelVAE", "SOMVAE", "AdversarialAutoencoder")


def _made(name, likelihood=None, **changes):
    torch.manual_seed(0)
    likelihood = MissingEntries(Gaussian()) if likelihood is None else likelihood
    return KINDS[name](ROW, 3, likelihood=likelihood, networks=MLP(hidden=(8,)), **changes)


def _observations():
    x = _some_missing(torch.randn(6, 4))
    return Observations(x, torch.arange(6) % 3, _some_missing(torch.randn(6, 4), 1))


@pytest.mark.parametrize("name", KINDS)
def test_every_model_trains_on_missing_entries(name):
    model = _made(name)
    loss, terms = Objective()(model, _observations(), Sizes(6, 6))
    loss.backward()
    assert all(value.isfinite() for value in terms.values())
    trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert any(key.startswith("likelihood") for key in trained)
    assert all(gradient.isfinite().all() for gradient in trained.values())


@pytest.mark.parametrize("name", KINDS)
def test_every_model_imputes_or_says_why_not(name):
    model = _made(name)
    x = _some_missing(torch.randn(6, 4))
    if name in WITHOUT_DENSITY:
        with pytest.raises(ValueError, match=r"^model: expected one whose guide has a density"):
            model.impute(x)
        with pytest.raises(ValueError, match=r"^model: expected one whose guide has a density"):
            impute(model, x)
        return
    filled = model.impute(x, num_samples=5)
    assert filled.isfinite().all()
    assert torch.equal(filled[~x.isnan()], x[~x.isnan()])
    imputation = impute(model, x, 5, num_draws=2)
    assert imputation.draws.shape == imputation.draw_means.shape == (2, 6, 4)
    assert imputation.draws.isfinite().all()
    assert (imputation.draw_classes is not None) is model.has_label_site
    assert ((imputation.effective_samples >= 1 - 1e-9) & (imputation.effective_samples <= 5 + 1e-9)).all()


@pytest.mark.parametrize("name", ["M2", "GMVAE"])
def test_the_contract_holds(name):
    assert check_model(_made(name))


def test_bfloat16_leaves_the_density_in_full_precision():
    torch.set_default_dtype(torch.float32)
    model = _made("M2")
    for network in model.modules():
        if isinstance(network, Network):
            network.compute_dtype = torch.bfloat16
    x = _some_missing(torch.randn(6, 4))
    loss, _ = Objective()(model, Observations(x, torch.arange(6) % 3, x), Sizes(6, 6))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_an_exported_classifier_takes_missing_entries():
    torch.set_default_dtype(torch.float32)
    model = _made("M2").eval()
    exported = torch.export.export(
        ClassProbabilities(model), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
    x = _some_missing(torch.randn(5, 4))
    torch.testing.assert_close(exported.module()(x), model.classify(x).probs)


def test_pseudo_inputs_start_without_missing_entries():
    x = _some_missing(torch.randn(40, 2).float()).numpy()
    data = Vectors(x, np.arange(40) % 2, num_labels=10)
    model = M2((2,), 2, prior=VampPrior(2, 4), likelihood=MissingEntries(Gaussian()), networks=MLP(hidden=(4,)))
    from ssvae.inference.training.module import Training

    training = Training(model, data, Recipe(max_epochs=1, batch_size=10), None, print_lines=False)
    training.start()
    assert model.prior.pseudo_inputs.isfinite().all()


# The closed form

STORY = LinearGaussianStory(num_points=50, num_test=6)
TRUTH = STORY.exact


class _Exact(M2):
    """An M2 with the story's own p(x | y, z), and a guide that is p(z | x_seen, y), p(y | x_seen), or near to it."""

    def __init__(self, shift=0.0, stretch=1.0):
        super().__init__(
            (5,), 3, prior=StandardNormal(2), likelihood=MissingEntries(Gaussian()), networks=MLP(hidden=(4,))
        )
        self.shift, self.stretch = shift, stretch
        self.likelihood.likelihood.log_scale.data.fill_(6 * math.atanh(math.log(TRUTH.noise) / 6))

    def p_x(self, z, y):
        return self.likelihood(z @ TRUTH.weight.T + TRUTH.bias[y])

    def classify(self, x):
        log_q = TRUTH.log_joint(x).log_softmax(-1)
        return pyro.distributions.Categorical(logits=(1 - abs(self.shift)) * log_q)

    def q_z(self, x, y):
        exact = TRUTH.posterior(x, y)
        return pyro.distributions.MultivariateNormal(
            exact.mean + self.shift, scale_tril=self.stretch * exact.scale_tril
        )


def _incomplete():
    x = STORY.test_x.double()
    x = x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.4, NAN)
    x[0] = NAN
    x[1] = STORY.test_x[1].double()
    return x


def test_the_marginals_of_the_story_are_those_of_a_normal_distribution():
    x = _incomplete()
    covariance = TRUTH.weight @ TRUTH.weight.T + TRUTH.noise**2 * torch.eye(5, dtype=torch.float64)
    for row in x:
        seen = ~row.isnan()
        joint, means = [], []
        for y in range(3):
            mean = TRUTH.bias[y].clone()
            if seen.any():
                difference = row[seen] - mean[seen]
                part = covariance[seen][:, seen]
                marginal = torch.distributions.MultivariateNormal(mean[seen], part)
                joint.append(marginal.log_prob(row[seen]) - math.log(3))
                mean = mean + covariance[:, seen] @ torch.linalg.solve(part, difference)
            else:
                joint.append(torch.tensor(-math.log(3)))
            means.append(mean)
        joint = torch.stack([each.double() for each in joint])
        torch.testing.assert_close(TRUTH.log_joint(row), joint, rtol=1e-9, atol=1e-9)
        expected = torch.where(seen, row, joint.softmax(0) @ torch.stack(means))
        torch.testing.assert_close(TRUTH.impute(row), expected, rtol=1e-9, atol=1e-9)


def test_an_exact_guide_gives_log_p_of_what_was_seen_without_error():
    x, model = _incomplete(), _Exact()
    estimate = importance_sampling(model, x, 10)
    torch.testing.assert_close(estimate.log_evidence, TRUTH.log_prob(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(estimate.effective_samples, torch.full((6,), 10.0), rtol=1e-9, atol=0)


def test_the_elbo_is_a_bound_of_log_p_of_what_was_seen_with_the_noise_on():
    x = _incomplete()
    model = _Exact(shift=0.1, stretch=1.2)
    torch.manual_seed(0)
    unlabelled = Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)
    losses = torch.tensor([Objective()(model, unlabelled, Sizes(0, 6))[0].item() for _ in range(400)])
    mean, error = losses.mean(), losses.std() / 20
    evidence = TRUTH.log_prob(x).mean()
    # The gap is the KL divergence of q(y, z | x_seen) from p(y, z | x_seen), which is known too.
    q_y, p_y = model.classify(x).probs, TRUTH.class_probabilities(x)
    gap = (q_y * (q_y / p_y).log()).sum(-1)
    for y in range(3):
        classes = torch.full((6,), y)
        kl = torch.distributions.kl_divergence(model.q_z(x, classes), TRUTH.posterior(x, classes))
        gap = gap + q_y[:, y] * kl
    assert gap.mean() > 0.02
    assert abs(mean - (gap.mean() - evidence)) < 4 * error
    assert -mean + 4 * error < evidence


def test_importance_sampling_converges_to_the_exact_imputation():
    x, model = _incomplete(), _Exact(shift=0.2, stretch=1.4)
    torch.manual_seed(0)
    exact = TRUTH.impute(x)
    errors = [(model.impute(x, number) - exact).abs().max().item() for number in (5, 20_000)]
    assert errors[1] < 0.03
    assert errors[1] < errors[0] / 5
    fitted = impute(model, x, 2000)
    assert (fitted.mean - exact).abs().max() < 0.06
    # The fitted proposal is the posterior.
    assert fitted.effective_samples.min() > 1500


def test_draws_are_from_the_conditional_distribution():
    x, model = _incomplete(), _Exact()
    torch.manual_seed(0)
    draws = impute(model, x[2:3], 500, num_draws=2000).draws[:, 0]
    seen = ~x[2].isnan()
    assert 0 < seen.sum() < 5
    assert torch.equal(draws[:, seen], x[2, seen].expand(2000, -1))
    exact = TRUTH.impute(x[2])
    spread = draws[:, ~seen].std(0)
    # Once from the samples that are drawn again, once from the 500 samples themselves.
    error = spread * math.sqrt(1 / 2000 + 1 / 500)
    assert ((draws[:, ~seen].mean(0) - exact[~seen]).abs() < 4 * error).all()
    # Var[x_missing | x_seen] by the law of total variance, over classes and z.
    posterior, p_y = TRUTH.posterior(x[2].expand(3, -1), torch.arange(3)), TRUTH.class_probabilities(x[2])
    means = posterior.mean @ TRUTH.weight.T + TRUTH.bias
    variances = (TRUTH.weight @ posterior.covariance_matrix @ TRUTH.weight.T).diagonal(dim1=-2, dim2=-1)
    variance = p_y @ (variances + TRUTH.noise**2 + (means - exact.nan_to_num()).square())
    torch.testing.assert_close(draws[:, ~seen].var(0), variance[~seen], rtol=0.2, atol=0)


def test_self_normalised_weights_by_hand():
    likelihood = Mixed([MissingEntries(Gaussian()), MissingEntries(Categorical(3))], [(0,), (1,)])
    torch.manual_seed(0)
    parameters, log_w = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4)  # (samples, classes, batch)
    x = torch.full((4, 2), NAN)
    x[3, 0] = 7.0
    imputation = impute_by(WeightedSamples(log_w, likelihood(parameters)), likelihood, x, num_draws=3)
    for row in range(4):
        weights = {(s, y): log_w[s, y, row].exp().item() for s in range(2) for y in range(3)}
        total = sum(weights.values())
        mean = sum(weight * parameters[s, y, row, 0].item() for (s, y), weight in weights.items()) / total
        probabilities = sum(w * parameters[s, y, row, 1:].softmax(-1) for (s, y), w in weights.items()) / total
        v = [sum(weights[s, y] for y in range(3)) / total for s in range(2)]
        assert imputation.mean[row, 0].item() == pytest.approx(mean if row < 3 else 7.0)
        assert imputation.mean[row, 1].item() == probabilities.argmax().item()
        assert imputation.effective_samples[row].item() == pytest.approx(1 / sum(each**2 for each in v))
    assert imputation.draws.shape == (3, 4, 2)
    assert (imputation.draws[:, 3, 0] == 7).all()


def test_draws_have_the_class_and_the_mean_of_their_sample():
    likelihood = MissingEntries(Gaussian())
    likelihood.set_event_shape((2,))
    torch.manual_seed(0)
    parameters, log_w = torch.randn(2, 3, 1, 2), torch.randn(2, 3, 1)  # (samples, classes, batch, features)
    x = torch.tensor([[NAN, 0.5]])
    samples = WeightedSamples(log_w, likelihood(parameters))
    imputation = impute_by(samples, likelihood, x, num_draws=4000)
    assert (imputation.draw_means[:, 0, 1] == 0.5).all()
    by_sample = torch.zeros(2, 3)
    for s, y in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
        of_sample = imputation.draw_means[:, 0, 0] == parameters[s, y, 0, 0]
        assert (imputation.draw_classes[of_sample, 0] == y).all()
        by_sample[s, y] = of_sample.double().mean()
    # A share of 4000 draws has a standard error of at most 0.008.
    torch.testing.assert_close(by_sample, log_w[..., 0].exp() / log_w.exp().sum(), rtol=0, atol=0.032)
    noise = (imputation.draws - imputation.draw_means)[:, 0, 0]
    scale = likelihood.likelihood(parameters).stddev[0, 0, 0, 0].item()
    assert noise.std().item() == pytest.approx(scale, rel=0.05)
    without = impute_by(WeightedSamples(log_w[:, 0], likelihood(parameters[:, 0])), likelihood, x, num_draws=4)
    assert without.draw_classes is None
    assert set(without.draw_means[:, 0, 0].tolist()) <= set(parameters[:, 0, 0, 0].tolist())


def test_a_complete_row_is_unchanged():
    model, x = _Exact(), STORY.test_x.double()
    assert torch.equal(model.impute(x, 3), x)


def test_bad_arguments_of_imputation_are_refused():
    with pytest.raises(ValueError, match=r"^model: expected the likelihood MissingEntries, .*; got Gaussian\(\)\.$"):
        M2(ROW, 2).impute(torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"^num_samples: expected at least 1; got 0\.$"):
        _made("M2").impute(torch.zeros(1, 4), 0)
    with pytest.raises(ValueError, match=r"^num_draws: expected at least 0; got -1\.$"):
        impute(_made("M2"), torch.zeros(1, 4), num_draws=-1)
    with pytest.raises(ValueError, match=r"^x: expected vectors of shape \(batch, 4\)"):
        _made("M2").impute(torch.zeros(1, 5))


def test_gradients_and_parameters_are_left_alone_by_weighting():
    model = _Exact()
    pyro.clear_param_store()
    weighted_samples(model.model, model.guide, _incomplete(), None, 3)
    assert not list(pyro.get_param_store().keys())


# Data and training


def test_hidden_entries_are_a_share_and_pixels_lose_all_channels():
    generator = torch.Generator().manual_seed(0)
    assert hide(torch.ones(200, 50), 0.3, generator).isnan().double().mean().item() == pytest.approx(0.3, abs=0.02)
    images = hide(torch.ones(20, 3, 8, 8), 0.5, generator).isnan()
    assert torch.equal(images[:, 0], images[:, 2])
    assert images.double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert not hide(torch.ones(2, 3), 0.0).isnan().any()


def test_gaps_do_not_enter_the_standardisation():
    rows = torch.tensor([[1.0, 5.0], [2.0, NAN], [3.0, 5.0], [NAN, NAN], [4.0, 5.0]])
    standardisation = Standardisation.robust(rows)
    assert standardisation == Standardisation.robust(torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]]))


def test_the_likelihood_of_a_data_set_with_gaps_is_chosen():
    x = _some_missing(torch.randn(20, 3)).float()
    data = Vectors(x, np.arange(20) % 2)
    plain = {
        "class_path": "ssvae.models.M2",
        "init_args": {"likelihood": {"class_path": "ssvae.models.likelihoods.StudentT"}},
    }
    chosen = for_missing(plain, data)
    likelihood = build(chosen["init_args"]["likelihood"])
    assert repr(likelihood) == "MissingEntries(likelihood=StudentT())"
    assert for_missing(chosen, data) == chosen
    assert repr(build(for_missing({"class_path": "ssvae.models.M2"}, data)["init_args"]["likelihood"])) == (
        "MissingEntries(likelihood=Gaussian())"
    )
    assert for_features(plain, data) is None


def test_a_model_that_admits_no_missing_entries_is_refused_with_the_words_to_write(tmp_path):
    data = Vectors(_some_missing(torch.randn(20, 3)).float(), np.arange(20) % 2)
    with pytest.raises(
        ValueError,
        match=r"^likelihood: expected one that admits missing entries, as Vectors has some; got Gaussian\(\): write "
        r"likelihoods\.MissingEntries\(Gaussian\(\)\)\.$",
    ):
        fit(M2((3,), 2), data, folder=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"^hidden_fraction: expected 0 for a likelihood that admits no missing"):
        check_trainable(M2((2,), 2), Moons(), Recipe(max_epochs=1, hidden_fraction=0.5), None)
    with pytest.raises(ValueError, match=r"^hidden_fraction: expected a number in \[0, 1\); got 1"):
        Recipe(max_epochs=1, hidden_fraction=1)


def test_hidden_entries_change_with_each_step():
    from ssvae.inference.training.module import Training

    data = Moons(num_points=100)
    model = M2((2,), 2, likelihood=MissingEntries(Gaussian()), networks=MLP(hidden=(4,)))
    seen = []
    for fraction in (0.5, 0.0):
        recipe = Recipe(max_epochs=1, batch_size=50, hidden_fraction=fraction)
        training = Training(model, data, recipe, None, print_lines=False)
        batch = next(iter(training.batches))
        seen.append([training.observations(batch).unlabelled.isnan() for _ in range(2)])
    assert 0.3 < seen[0][0].double().mean() < 0.7
    assert not torch.equal(*seen[0])
    assert not any(each.any() for each in seen[1])


def test_log_p_is_in_the_units_of_the_entries_that_were_seen():
    torch.manual_seed(0)
    x = (_some_missing(torch.randn(40, 4)) * torch.tensor([1.0, 100.0, 0.01, 5.0])).float()
    y = np.arange(40) % 3
    data = Vectors(x, y, test_x=x, test_y=y)
    model = _made("M2")
    torch.set_default_dtype(torch.float64)
    evaluation = evaluate(model, data, num_samples=30)
    with torch.random.fork_rng():
        plain = evaluate(
            model,
            Vectors(data.preprocess(x).float(), y, test_x=data.preprocess(x).float(), test_y=y, standardise=False),
            num_samples=30,
        )
    seen = ~x.isnan()
    shift = -(seen * data.scale.log()).sum(-1).mean().item()
    assert evaluation.log_likelihood == pytest.approx(plain.log_likelihood + shift, abs=1e-4)
    assert evaluation.elbo == pytest.approx(plain.elbo + shift, abs=1e-4)
    reconstruction = model.reconstruct(data.preprocess(x)).detach()
    error = (reconstruction - data.preprocess(x))[seen].square().mean().item()
    assert evaluation.reconstruction_error == pytest.approx(error, rel=1e-9)


# Tables


def write_table(path, rows=60):
    """Write a table with gaps in every kind of column; the second half is unlabelled."""
    random = np.random.default_rng(0)
    lines = [["length", "visits", "island", "tagged", "note", "species"]]
    for number in range(rows):
        y = number % 2
        line = [
            f"{random.normal(3 * y, 0.5):.3f}",
            str(random.poisson(2 + 4 * y)),
            ["Biscoe", "Dream", "Torgersen"][2 * y if random.random() < 0.9 else 1],
            str(y if random.random() < 0.9 else 1 - y),
            f"note {number}",
            ["cat", "dog"][y] if number < rows // 2 else "",
        ]
        line[:4] = [random.choice(["", "NA"]) if random.random() < 0.2 else cell for cell in line[:4]]
        lines.append([str(cell) for cell in line])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8")
    return lines


def test_a_table_keeps_its_gaps(tmp_path):
    lines = write_table(tmp_path / "animals.csv")
    data = Table(str(tmp_path / "animals.csv"), "species", ignore=["note"], test_fraction=0, validation_fraction=0)
    assert data.feature_kinds == ("real", "count", "categorical", "binary")
    expected = [[cell in ("", "NA") for cell in line[:4]] for line in lines[1:]]
    assert data.train_x.isnan().tolist() == expected
    assert len(data.train_x) == 60
    assert data.num_categories(2) == 3
    assert data.feature_categories["island"] == ("Biscoe", "Dream", "Torgersen")
    lengths = np.array([float(line[0]) for line in lines[1:] if line[0] not in ("", "NA")], dtype=np.float32)
    assert data.centre[0].item() == pytest.approx(np.median(lengths))
    assert torch.equal(data.read(str(tmp_path / "animals.csv")).isnan(), data.train_x.isnan())


def test_a_filled_table_has_names_whole_counts_and_all_other_cells_as_they_were(tmp_path):
    lines = write_table(tmp_path / "animals.csv")
    data = Table(str(tmp_path / "animals.csv"), "species", ignore=["note"])
    x = torch.tensor([[1.25, 2.6, 1.0, 0.7]]).expand(60, -1)
    filled = list(csv.reader(io.StringIO(data.fill(str(tmp_path / "animals.csv"), x))))
    new = ["1.25", "3", "Dream", "1"]
    for before, after in zip(lines, filled, strict=True):
        assert after[4:] == before[4:]
        assert after[:4] == [new[i] if before[i] in ("", "NA") else before[i] for i in range(4)]
    with pytest.raises(ValueError, match=r"^x: expected 60 rows, as the file has; got 1\.$"):
        data.fill(str(tmp_path / "animals.csv"), x[:1])


@pytest.mark.parametrize(("delimiter", "line_end", "encoding"), [(";", "\r\n", "utf-8-sig"), ("\t", "\r", "utf-8")])
def test_a_filled_table_has_the_form_of_the_file(tmp_path, delimiter, line_end, encoding):
    lines = write_table(tmp_path / "animals.csv")
    data = Table(str(tmp_path / "animals.csv"), "species", ignore=["note"])
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(lines)
    content = text.getvalue().encode(encoding)
    (tmp_path / "other.csv").write_bytes(content)
    filled = data.fill(str(tmp_path / "other.csv"), torch.tensor([[1.25, 2.6, 1.0, 0.7]]).expand(60, -1)).encode()
    assert filled.startswith(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")
    assert filled.count(line_end.encode()) == content.count(line_end.encode()) == 61
    assert filled.count(b"\n") == content.count(b"\n")
    assert filled.count(delimiter.encode()) == content.count(delimiter.encode())


@pytest.mark.slow
def test_a_table_with_gaps_trains_classifies_and_is_filled_in(tmp_path, capsys, monkeypatch):
    from ssvae.inference.command_line.main import main

    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    lines = write_table(tmp_path / "animals.csv")
    words = "fit --data Table --data.file animals.csv --data.label species --data.ignore ['note'] --folder run"
    assert (
        main([*words.split(), "--max_steps=60", "--batch_size=20", "--baselines=false", "--trainer.progress_bar=false"])
        == 0
    )
    assert "entries missing" in capsys.readouterr().out
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "MissingEntries" in config
    assert {"marginals.png", "latent_map.png"} <= {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert main(["classify", "run", "animals.csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 61
    right = [row[1] == ["cat", "dog"][number % 2] for number, row in enumerate(rows[1:])]
    assert np.mean(right) > 0.85
    assert main(["export", "run", "classifier.pt2"]) == 0
    assert capsys.readouterr().out == "classifier.pt2\n"
    data = Table("animals.csv", "species", ignore=["note"])
    exported = torch.export.load("classifier.pt2").module()(data.read("animals.csv"))
    answers = torch.tensor([[float(each) for each in row[2:]] for row in rows[1:]])
    torch.testing.assert_close(exported, answers, rtol=0, atol=1e-4)
    assert main(["impute", "run", "animals.csv", "--num_samples=20"]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == "animals_imputed.csv"
    assert "entries in" in shown.err
    filled = list(csv.reader(io.StringIO((tmp_path / "animals_imputed.csv").read_text(encoding="utf-8"))))
    assert len(filled) == len(lines)
    for before, after in zip(lines, filled, strict=True):
        assert not {"", "NA"} & set(after[:4])
        assert all(a == b for a, b in zip(after, before, strict=True) if b not in ("", "NA") or a == "")
    kept = (tmp_path / "animals_imputed.csv").read_bytes()
    assert main(["impute", "run", "animals.csv"]) == 2
    assert "animals_imputed.csv, which exists and is never overwritten" in capsys.readouterr().err
    assert (tmp_path / "animals_imputed.csv").read_bytes() == kept
    # The run, the options and the file are looked at before the output.
    for words, sentence in {
        "nowhere animals.csv": "run: expected a run folder",
        "run animals.csv --num_samples=0": "--num_samples: expected at least 1; got 0.",
        "run nowhere.csv": "file: expected a table; got 'nowhere.csv', which is not a file.",
    }.items():
        assert main(["impute", *words.split()]) == 2
        assert capsys.readouterr().err.startswith(f"ssvae impute: {sentence}")
    assert main(["impute", "run", "animals_imputed.csv"]) == 0
    assert capsys.readouterr() == (
        "animals_imputed_imputed.csv\n",
        "No entry of a feature is missing: the new file is a copy.\n",
    )
    assert (tmp_path / "animals_imputed_imputed.csv").read_bytes() == kept
