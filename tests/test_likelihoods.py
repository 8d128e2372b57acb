"""The likelihoods: they are normalised, they sample what they score, they refuse other pixels."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from ssvae.inference.command_line.choices import offered
from ssvae.models import likelihoods
from ssvae.models.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    CountLikelihood,
    DiscretizedLogistic,
    ExpectedBernoulli,
    Gaussian,
    Likelihood,
    PixelLikelihood,
    StudentT,
    log_bernoulli,
)
from ssvae.models.normal import LogScaleNormal, UnitNormal

LIKELIHOODS = {kind.__name__: kind.example for kind in offered(likelihoods, Likelihood)}
OF_IMAGES = [name for name in LIKELIHOODS if name != "Mixed"]
INDEPENDENT = [name for name, make in LIKELIHOODS.items() if make().has_independent_entries]
PIXELS = [name for name, make in LIKELIHOODS.items() if isinstance(make(), PixelLikelihood)]

LOGITS = [-40.0, -8.0, -1.0, -0.03, -0.019, -1e-3, 0.0, 1e-3, 0.019, 0.021, 0.5, 8.0, 40.0]

# The decoder's two outputs; location 0.5 + the first, log-scale 6 tanh((second - 2) / 6).
LOGISTICS = [
    (0.0, 0.0),
    (-0.5, 0.0),
    (0.5, -2.0),
    (0.1, -30.0),
    (0.25, 30.0),
    (-50.0, -30.0),
    (50.0, 3.0),
    (3.0, 0.0),
]

LEVELS = torch.arange(256, dtype=torch.float64) / 255


def _one_pixel(likelihood, *parameters):
    """p(x | ·) of one pixel, batch_shape (), from the decoder's outputs for it."""
    return likelihood(torch.tensor(parameters).view(len(parameters), 1, 1))


def _log_prob(distribution, x):
    return distribution.log_prob(x.view(-1, 1, 1, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_one_image_is_one_event(name, channels):
    likelihood = LIKELIHOODS[name]()
    distribution = likelihood(torch.randn(5, 2, likelihood.parameters_per_entry * channels, 4, 3))
    assert distribution.batch_shape == (5, 2)
    assert distribution.event_shape == (channels, 4, 3)
    assert distribution.mean.shape == (5, 2, channels, 4, 3)
    images = distribution.sample()
    assert images.shape == (5, 2, channels, 4, 3)
    assert distribution.log_prob(images).shape == (5, 2)
    # As the plate of a model does.
    wider = distribution.expand((7, 5, 2))
    torch.testing.assert_close(wider.log_prob(images), distribution.log_prob(images).expand(7, 5, 2))
    assert wider.sample().shape == (7, 5, 2, channels, 4, 3)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_one_vector_is_one_event_whose_entries_have_the_density_of_an_images(name):
    likelihood, of_images = LIKELIHOODS[name](), LIKELIHOODS[name]()
    likelihood.set_event_shape((4,))
    parameters = torch.randn(5, 2, *likelihood.decoder_shape((4,)))
    distribution = likelihood(parameters)
    assert distribution.batch_shape == (5, 2)
    assert distribution.event_shape == (4,)
    x = distribution.sample()
    assert x.shape == distribution.mean.shape == (5, 2, 4)
    likelihood.check(x)
    image = of_images(parameters[..., None, None])
    torch.testing.assert_close(distribution.log_prob(x), image.log_prob(x[..., None, None]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(distribution.mean, image.mean[..., 0, 0], rtol=0, atol=1e-12)
    wider = distribution.expand((7, 5, 2))
    torch.testing.assert_close(wider.log_prob(x), distribution.log_prob(x).expand(7, 5, 2))
    assert wider.sample().shape == (7, 5, 2, 4)


@pytest.mark.parametrize(("name", "event_shape"), [(name, (4,)) for name in INDEPENDENT] + [("Gaussian", (3, 2, 2))])
def test_log_p_of_each_entry_stands_before_their_sum(name, event_shape):
    likelihood = LIKELIHOODS[name]()
    likelihood.set_event_shape(event_shape)
    distribution = likelihood(torch.randn(5, *likelihood.decoder_shape(event_shape)))
    x = distribution.sample()
    entries = distribution.base_dist.log_prob(x)
    assert entries.shape == (5, *event_shape)
    torch.testing.assert_close(entries.flatten(1).sum(1), distribution.log_prob(x), rtol=1e-12, atol=1e-12)


def test_grey_pixels_have_an_expected_log_probability_each():
    logits, grey = torch.randn(3, 1, 2, 2), torch.rand(3, 1, 2, 2)
    distribution = ExpectedBernoulli()(logits)
    expected = grey * logits.sigmoid().log() + (1 - grey) * (-logits).sigmoid().log()
    torch.testing.assert_close(distribution.base_dist.log_prob(grey), expected, rtol=1e-12, atol=1e-12)


def test_a_likelihood_of_one_shape_is_refused_by_a_model_of_another():
    likelihood = ContinuousBernoulli()
    for _ in range(2):
        likelihood.set_event_shape((1, 8, 8))
    sentence = r"^likelihood: expected a separate ContinuousBernoulli for each shape .* event_shape \(3,\)\.$"
    with pytest.raises(ValueError, match=sentence):
        likelihood.set_event_shape((3,))


@pytest.mark.parametrize("name", [name for name in INDEPENDENT if name in OF_IMAGES])
def test_an_image_is_the_product_of_its_pixels(name):
    likelihood = LIKELIHOODS[name]()
    parameters = torch.randn(likelihood.parameters_per_entry * 3, 2, 2)
    x = likelihood(parameters).sample()
    pixels = [
        _log_prob(likelihood(parameters.unflatten(0, (-1, 3))[:, c, i, j].view(-1, 1, 1)), x[c, i, j])
        for c in range(3)
        for i in range(2)
        for j in range(2)
    ]
    torch.testing.assert_close(likelihood(parameters).log_prob(x), torch.stack(pixels).sum())


@pytest.mark.parametrize("logit", LOGITS)
def test_bernoulli_sums_to_one(logit):
    log_prob = _log_prob(_one_pixel(Bernoulli(), logit), torch.tensor([0.0, 1.0]))
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    # log(e^l / (1 + e^l)) = -log(1 + e^-l): no loss of digits where the probability is all but zero.
    expected = [-math.log1p(math.exp(logit)), -math.log1p(math.exp(-logit))]
    torch.testing.assert_close(log_prob, torch.tensor(expected), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("parameters", LOGISTICS)
def test_the_256_probabilities_of_a_discretised_logistic_sum_to_one(parameters):
    log_prob = _log_prob(_one_pixel(DiscretizedLogistic(), *parameters), LEVELS)
    assert log_prob.isfinite().all()
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("parameters", LOGISTICS)
def test_a_discretised_logistic_is_the_difference_of_its_distribution_function(parameters):
    distribution = _one_pixel(DiscretizedLogistic(), *parameters)
    loc, scale = 0.5 + parameters[0], math.exp(6 * math.tanh((parameters[1] - 2) / 6))
    edges = (torch.arange(257) - 0.5) / 255
    edges[0], edges[-1] = -torch.inf, torch.inf
    below = torch.from_numpy(scipy.stats.logistic.cdf(edges.numpy(), loc, scale))
    torch.testing.assert_close(_log_prob(distribution, LEVELS).exp(), below.diff(), rtol=0, atol=1e-12)


def test_a_discretised_logistic_sums_to_one_in_single_precision():
    torch.set_default_dtype(torch.float32)
    for parameters in LOGISTICS:
        log_prob = _log_prob(_one_pixel(DiscretizedLogistic(), *parameters), LEVELS.float())
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-4), parameters


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one(logit):
    x = torch.linspace(0, 1, 40_001)
    density = _log_prob(_one_pixel(ContinuousBernoulli(), logit), x).exp()
    # The trapezoid's error is h² l² / 12, 1e-7 for |l| = 40.
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=2e-7)


@pytest.mark.parametrize("loc", [-1.0, 0.0, 0.4])
def test_gaussian_integrates_to_one(loc):
    x = torch.linspace(loc - 5, loc + 5, 10_001)
    likelihood = Gaussian()
    density = _log_prob(_one_pixel(likelihood, loc), x).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-9)
    sigma = math.exp(6 * math.tanh(likelihood.log_scale.item() / 6))
    assert density.max().item() == pytest.approx(1 / (sigma * math.sqrt(2 * math.pi)), rel=1e-6)


@pytest.mark.parametrize("logit", [-15.0, -3.0, -0.5, 0.0, 0.5, 3.0, 15.0])
def test_continuous_bernoulli_is_that_of_torch_where_torch_is_accurate(logit):
    x = torch.linspace(0, 1, 101)
    ours = _one_pixel(ContinuousBernoulli(), logit)
    torchs = torch.distributions.ContinuousBernoulli(logits=torch.tensor(logit))
    torch.testing.assert_close(_log_prob(ours, x), torchs.log_prob(x), rtol=0, atol=1e-8)
    torch.testing.assert_close(ours.mean.squeeze(), torchs.mean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("logit", [*LOGITS, -120.0, 120.0])
def test_the_gradient_of_continuous_bernoulli_is_the_pixel_less_the_mean(logit):
    logits = torch.full((5, 1, 1, 1), logit, requires_grad=True)
    x = torch.linspace(0, 1, 5).view(5, 1, 1, 1)
    distribution = ContinuousBernoulli()(logits)
    distribution.log_prob(x).sum().backward()
    assert logits.grad.isfinite().all()
    # An exponential family with sufficient statistic x and natural parameter l; near zero the series of log C
    # leaves out 7 l⁴ / 1440, whose derivative is 1.6e-7 where the series ends.
    torch.testing.assert_close(logits.grad, x - distribution.mean.detach(), rtol=0, atol=2e-7)


@pytest.mark.parametrize("logit", LOGITS)
def test_the_mean_of_continuous_bernoulli_is_the_integral(logit):
    x = torch.linspace(0, 1, 40_001)
    distribution = _one_pixel(ContinuousBernoulli(), logit)
    integral = torch.trapezoid(x * _log_prob(distribution, x).exp(), x).item()
    assert distribution.mean.item() == pytest.approx(integral, abs=2e-7)


@pytest.mark.parametrize("logit", [-120.0, 120.0])
def test_continuous_bernoulli_is_finite_in_single_precision_at_extreme_logits(logit):
    torch.set_default_dtype(torch.float32)
    distribution = _one_pixel(ContinuousBernoulli(), logit)
    assert _log_prob(distribution, torch.tensor([0.0, 0.5, 1.0])).isfinite().all()
    samples = distribution.sample((1000,))
    assert samples.isfinite().all()
    assert abs(samples.mean().item() - distribution.mean.item()) < 4 * (1 / 120) / math.sqrt(1000)


@pytest.mark.parametrize("logit", [-40.0, -3.0, -1e-3, 0.0, 1e-3, 0.5, 40.0])
def test_continuous_bernoulli_samples_what_it_scores(logit):
    samples = _one_pixel(ContinuousBernoulli(), logit).sample((20_000,)).flatten()
    assert samples.min() >= 0
    assert samples.max() <= 1

    # F(x) is the integral of the density.
    grid = torch.linspace(0, 1, 20_001)
    density = _log_prob(_one_pixel(ContinuousBernoulli(), logit), grid).exp()
    cumulated = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(density, grid)])
    test = scipy.stats.kstest(samples.numpy(), lambda x: np.interp(x, grid.numpy(), cumulated.numpy()))
    assert test.pvalue > 1e-3


def test_continuous_bernoulli_samples_pass_gradients_to_the_logits():
    logits = torch.tensor([-3.0, -0.01, 0.0, 0.01, 3.0]).view(5, 1, 1, 1).requires_grad_()
    ContinuousBernoulli()(logits).rsample().sum().backward()
    assert logits.grad.isfinite().all()


def test_gaussian_samples_what_it_scores():
    distribution = _one_pixel(Gaussian(), 0.3)
    samples = distribution.sample((20_000,)).flatten().numpy()
    scale = distribution.base_dist.scale.item()
    assert scipy.stats.kstest(samples, scipy.stats.norm(0.3, scale).cdf).pvalue > 1e-3


@pytest.mark.parametrize("logit", [-2.0, 0.0, 3.0])
def test_bernoulli_samples_what_it_scores(logit):
    distribution = _one_pixel(Bernoulli(), logit)
    samples = distribution.sample((20_000,))
    p = _log_prob(distribution, torch.ones(1)).exp().item()
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    assert abs(samples.mean().item() - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


@pytest.mark.parametrize("parameters", [(0.0, 0.0), (-0.5, 0.0), (0.3, -2.0), (0.1, 30.0), (0.1, -30.0)])
def test_a_discretised_logistic_samples_what_it_scores(parameters):
    n = 20_000
    distribution = _one_pixel(DiscretizedLogistic(), *parameters)
    samples = distribution.sample((n,)).flatten()
    DiscretizedLogistic().check(samples)  # 8-bit pixels
    counts = torch.bincount((samples * 255).round().long(), minlength=256).double()
    expected = n * _log_prob(distribution, LEVELS).exp()
    often = expected >= 5
    counts = torch.cat([counts[often], counts[~often].sum().view(1)])
    expected = torch.cat([expected[often], expected[~often].sum().view(1)])
    keep = expected > 1e-3
    assert counts[~keep].sum() == 0
    # chisquare wants sums that agree to 1e-8, which dropping an all but empty cell could cost.
    expected = expected[keep] * (n / expected[keep].sum())
    assert len(expected) > 2
    assert scipy.stats.chisquare(counts[keep].numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "parameters", "mean"),
    [
        ("Bernoulli", (0.7,), 1 / (1 + math.exp(-0.7))),
        ("ExpectedBernoulli", (0.7,), 1 / (1 + math.exp(-0.7))),
        ("ContinuousBernoulli", (0.0,), 0.5),
        ("ContinuousBernoulli", (2.0,), 1 / (1 - math.exp(-2)) - 1 / 2),
        ("Gaussian", (0.7,), 0.7),
        ("DiscretizedLogistic", (0.0, 1.0), 0.5),  # by symmetry
        ("DiscretizedLogistic", (-50.0, -30.0), 0.0),  # all in one tail
        ("DiscretizedLogistic", (50.0, -30.0), 1.0),
    ],
)
def test_the_mean_has_its_closed_form(name, parameters, mean):
    assert _one_pixel(LIKELIHOODS[name](), *parameters).mean.item() == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("parameters", LOGISTICS)
def test_the_mean_of_a_discretised_logistic_is_the_sum_over_its_256_levels(parameters):
    distribution = _one_pixel(DiscretizedLogistic(), *parameters)
    expected = (LEVELS * _log_prob(distribution, LEVELS).exp()).sum().item()
    assert distribution.mean.item() == pytest.approx(expected, abs=1e-12)


def test_the_mean_of_a_discretised_logistic_is_not_its_location():
    # A location of 0: half of the logistic lies below black, and is black.
    distribution = _one_pixel(DiscretizedLogistic(), -0.5, 2 + 6 * math.atanh(math.log(0.1) / 6))  # s = 0.1
    assert distribution.mean.item() == pytest.approx(0.1 * math.log(2), abs=1e-4)  # s log 2, but for the levels


def test_the_gradient_of_the_mean_of_a_discretised_logistic_is_its_slope():
    parameters = torch.tensor([*LOGISTICS[:3], (0.3, -4.0)]).view(4, 2, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda outputs: DiscretizedLogistic()(outputs).mean, parameters)


def test_the_mean_of_a_discretised_logistic_holds_in_single_precision():
    for parameters in LOGISTICS:
        expected = _one_pixel(DiscretizedLogistic(), *parameters).mean.item()
        torch.set_default_dtype(torch.float32)
        found = _one_pixel(DiscretizedLogistic(), *parameters).mean
        torch.set_default_dtype(torch.float64)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in OF_IMAGES if name != "Categorical"])  # which has no mean
def test_the_mean_is_that_of_the_samples(name):
    likelihood = LIKELIHOODS[name]()
    distribution = likelihood(2 * torch.randn(likelihood.parameters_per_entry * 3, 4, 5))
    samples = distribution.sample((20_000,))
    error = samples.std(0) / 20_000**0.5 + 5e-5  # what is so rare that no sample shows it
    assert ((samples.mean(0) - distribution.mean).abs() < 4.5 * error).all()


BINARY = torch.tensor([0.0, 1.0])
# All numbers that have a probability, or all but those whose probabilities are below 1e-13 together.
SUPPORTS = {
    "Bernoulli": BINARY,
    "ExpectedBernoulli": BINARY,
    "DiscretizedLogistic": LEVELS,
    "Categorical": torch.arange(3.0),
    "Poisson": torch.arange(200.0),
    "NegativeBinomial": torch.arange(2000.0),
    "Multinomial": None,  # the entries of x together, below
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_only_probabilities_are_called_discrete(name):
    assert LIKELIHOODS[name]().is_discrete == (name in SUPPORTS)


@pytest.mark.parametrize("name", [name for name, support in SUPPORTS.items() if support is not None])
def test_the_probabilities_of_an_entry_sum_to_one(name):
    likelihood = LIKELIHOODS[name]()
    distribution = likelihood(2 * torch.randn(likelihood.parameters_per_entry, 1, 1))
    assert _log_prob(distribution, SUPPORTS[name].double()).exp().sum().item() == pytest.approx(1, abs=1e-12)


GOOD_PIXELS = {
    "Bernoulli": torch.tensor([0.0, 1.0, 1.0]),
    "ExpectedBernoulli": torch.tensor([0.0, 0.123, 1.0]),
    "ContinuousBernoulli": torch.tensor([0.0, 0.123, 1.0]),
    "Gaussian": torch.tensor([0.0, 0.123, 1.0, -300.0]),
    "StudentT": torch.tensor([0.0, 0.123, 1.0, -300.0]),
    "DiscretizedLogistic": torch.arange(256).float() / 255,
    "Poisson": torch.tensor([0.0, 1.0, 70_000.0]),
    "NegativeBinomial": torch.tensor([0.0, 1.0, 70_000.0]),
    "Multinomial": torch.tensor([0.0, 1.0, 70_000.0]),
    "MissingEntries": torch.tensor([0.0, torch.nan, 1.0, -300.0]),
    "Categorical": torch.arange(3.0),
}

BAD_PIXELS = {
    "0 to 255": (torch.tensor([0.0, 7.0, 255.0]), "got values in .0, 255."),
    "standardised": (torch.tensor([-0.4242, 0.1, 1.0]), "got values in .-0.4242, 1."),
    "not a number": (torch.tensor([0.0, float("nan"), 1.0]), "got values in .nan"),
}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_pixels_with_a_density_pass_the_check_and_have_one(name):
    likelihood, pixels = LIKELIHOODS[name](), GOOD_PIXELS[name]
    likelihood.check(pixels)
    distribution = likelihood(torch.zeros(likelihood.parameters_per_entry, 1, 1))
    assert _log_prob(distribution, pixels.to(torch.float64)).isfinite().all()


@pytest.mark.parametrize("kind", BAD_PIXELS)
@pytest.mark.parametrize("name", PIXELS)
def test_pixels_outside_the_unit_interval_are_refused(name, kind):
    pixels, words = BAD_PIXELS[kind]
    with pytest.raises(ValueError, match=words):
        LIKELIHOODS[name]().check(pixels)


@pytest.mark.parametrize("name", PIXELS)
def test_features_outside_the_unit_interval_are_refused_and_the_way_out_is_named(name):
    likelihood = LIKELIHOODS[name]()
    likelihood.set_event_shape((3,))
    with pytest.raises(ValueError, match=r"^features: expected values in \[0, 1\]; got values in \[-2, 3\]\.$"):
        likelihood.check(torch.tensor([[-2.0, 0.0, 3.0]]))
    sentence = rf"^x: expected features in \[0, 1\]; got values from -2 to 3\. .* Gaussian, not {name}\(\)\.$"
    with pytest.raises(ValueError, match=sentence):
        likelihood.check_input(torch.tensor([[-2.0, 0.0, 3.0]]))


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_real_numbers_are_finite(kind):
    kind().check(torch.tensor([-1e30, 0.0, 255.0]))
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"^x: expected finite numbers; got {value}\.$"):
            kind().check(torch.tensor([0.0, value]))


COUNTS = [name for name, make in LIKELIHOODS.items() if isinstance(make(), CountLikelihood)]


@pytest.mark.parametrize("value", [-1.0, 0.5, math.nan, math.inf])
@pytest.mark.parametrize("name", COUNTS)
def test_what_is_no_count_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^x: expected counts 0, 1, 2, … for {name}\(\); got {value:g}\.$"):
        LIKELIHOODS[name]().check(torch.tensor([0.0, value, 2.0]))


@pytest.mark.parametrize("value", [-1.0, 0.5, 3.0, math.nan])
def test_what_is_no_category_is_refused(value):
    with pytest.raises(ValueError, match=rf"^x: expected categories from 0 to 2; got {value:g}\.$"):
        Categorical(3).check(torch.tensor([0.0, value, 2.0]))


def test_features_between_zero_and_one_are_refused_by_bernoulli():
    likelihood = Bernoulli()
    likelihood.set_event_shape((3,))
    with pytest.raises(ValueError, match=r"^likelihood: Bernoulli expected features that are 0 or 1; got 0\.5\.$"):
        likelihood.check(torch.tensor([[0.0, 0.5, 1.0]]))


def test_grey_pixels_are_refused_by_bernoulli_and_the_way_out_is_named():
    with pytest.raises(ValueError, match=r"got grey ones such as 0.5.*binarise=True.*ContinuousBernoulli"):
        Bernoulli().check(torch.tensor([0.0, 0.5, 1.0]))


def _draws(grey):
    """All black and white images b that may be drawn from one in grey, and log p(b)."""
    draws = torch.tensor(list(itertools.product([0.0, 1.0], repeat=grey.numel()))).view(-1, *grey.shape)
    return draws, (grey * draws + (1 - grey) * (1 - draws)).log().sum((-3, -2, -1))


def test_the_expected_bernoulli_is_the_mean_of_the_bernoulli_over_all_draws():
    grey, logits = torch.rand(1, 2, 3), 3 * torch.randn(5, 1, 2, 3)
    draws, log_p = _draws(grey)
    expected = (log_p.exp() * Bernoulli()(logits.unsqueeze(1)).log_prob(draws)).sum(-1)  # (5,)
    torch.testing.assert_close(ExpectedBernoulli()(logits).log_prob(grey), expected, rtol=1e-12, atol=1e-12)
    black_and_white = grey.round()
    torch.testing.assert_close(
        ExpectedBernoulli()(logits).log_prob(black_and_white), Bernoulli()(logits).log_prob(black_and_white)
    )


def test_the_evidence_by_the_expected_bernoulli_bounds_the_mean_evidence_of_the_draws():
    grey, logits = torch.rand(1, 2, 3), 3 * torch.randn(4, 1, 2, 3)  # p(x | z) for each of four z, p(z) = 1/4
    draws, log_p = _draws(grey)
    bound = ExpectedBernoulli()(logits).log_prob(grey).logsumexp(0) - math.log(4)
    evidence = Bernoulli()(logits.unsqueeze(1)).log_prob(draws).logsumexp(0) - math.log(4)  # of each draw
    mean = (log_p.exp() * evidence).sum()
    assert bound < mean - 1e-3
    certain = grey.round()
    torch.testing.assert_close(
        ExpectedBernoulli()(logits).log_prob(certain).logsumexp(0), Bernoulli()(logits).log_prob(certain).logsumexp(0)
    )


def test_pixels_outside_the_unit_interval_have_no_expected_bernoulli():
    with pytest.raises(ValueError, match="within the support"):
        ExpectedBernoulli()(torch.zeros(1, 1, 3)).log_prob(torch.tensor([[[0.0, 0.5, 1.5]]]))


def test_pixels_between_the_levels_are_refused_by_the_discretised_logistic():
    with pytest.raises(ValueError, match=r"multiples of 1/255; got 0\.1234"):
        DiscretizedLogistic().check(torch.tensor([0.0, 0.1234, 1.0]))


def test_the_normal_by_its_log_scale_is_the_normal():
    loc, log_scale, value = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(2, 3, 4, 5)
    ours = LogScaleNormal(loc, log_scale).expand((2, 3, 4, 5))
    theirs = torch.distributions.Normal(loc, log_scale.exp())
    assert ours.batch_shape == (2, 3, 4, 5)
    assert torch.allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.mean, loc.expand(2, 3, 4, 5))
    assert torch.allclose(ours.stddev, log_scale.exp().expand(2, 3, 4, 5))


@pytest.mark.parametrize("num_samples", [(), (6,)])
def test_a_normal_that_knows_its_noise_has_the_normals_density_and_gradient(num_samples):
    seed = torch.randint(1000, ()).item()
    found = []
    for make in (LogScaleNormal, lambda loc, log_scale: torch.distributions.Normal(loc, log_scale.exp())):
        torch.manual_seed(seed)
        parameters = [torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)]
        normal = make(*parameters)
        z = normal.rsample(num_samples)
        log_prob = normal.log_prob(z)
        # A function of z beside the density: what z is worth to the rest of the ELBO.
        gradients = torch.autograd.grad((log_prob + z.sin()).sum(), parameters)
        found.append((z, log_prob, *gradients))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_normal_does_not_take_another_value_for_the_one_it_drew():
    normal = LogScaleNormal(torch.randn(4), torch.randn(4))
    z = normal.rsample()
    theirs = torch.distributions.Normal(normal.loc, normal.log_scale.exp())
    for value in (z + 1, z.clone(), z.detach()):
        assert torch.allclose(normal.log_prob(value), theirs.log_prob(value), rtol=1e-12, atol=1e-12)


def test_the_unit_normal_is_the_normal():
    value = torch.randn(2, 3, 4)
    ours, theirs = UnitNormal(torch.zeros(4)).expand((3, 4)), torch.distributions.Normal(0.0, 1.0)
    assert ours.batch_shape == (3, 4)
    assert torch.allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-12, atol=1e-12)


def test_log_bernoulli_is_minus_the_binary_cross_entropy_with_two_gradients():
    logits = torch.cat([torch.tensor(LOGITS), torch.linspace(-90, 90, 11)]).view(2, 1, 3, 4).requires_grad_()
    pixels = torch.rand(2, 1, 3, 4)
    theirs = -torch.nn.functional.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum((1, 2, 3))
    assert torch.allclose(log_bernoulli(logits, pixels), theirs, rtol=1e-12, atol=1e-12)
    moderate = torch.randn(5, 2, 1, 3, 4, requires_grad=True)  # five classes of two images
    assert torch.autograd.gradcheck(log_bernoulli, (moderate, pixels))
    vectors = torch.randn(5, 2, 6, requires_grad=True), torch.rand(2, 6)
    assert torch.autograd.gradcheck(lambda logits, x: log_bernoulli(logits, x, 1), vectors)
    assert torch.autograd.gradgradcheck(log_bernoulli, (moderate, pixels))


@pytest.mark.parametrize("name", ["Bernoulli", "ExpectedBernoulli", "ContinuousBernoulli"])
def test_logits_with_the_channels_last_have_the_same_density_and_gradients(name):
    likelihood = LIKELIHOODS[name]()
    logits = torch.randn(4, 2, 5, 6, 3) * torch.tensor([0.001, 1.0, 30.0, 800.0]).view(4, 1, 1, 1, 1)
    logits[0, 0, 0] = 0
    logits = logits.movedim(-1, -3).requires_grad_()  # (classes, images, channels, height, width)
    pixels = torch.rand(2, 3, 5, 6)
    pixels = pixels.round() if name == "Bernoulli" else pixels
    weights = torch.randn(4, 2)
    log_prob = likelihood(logits).log_prob(pixels)
    in_order = logits.detach().contiguous().requires_grad_()
    expected = likelihood(in_order).log_prob(pixels)
    torch.testing.assert_close(log_prob, expected, rtol=1e-12, atol=1e-8)
    gradient, reference = (
        torch.autograd.grad(each, of, weights)[0] for each, of in ((log_prob, logits), (expected, in_order))
    )
    # Near zero both are series; the pixels' own ends one term earlier.
    torch.testing.assert_close(gradient, reference, rtol=0, atol=5e-7)


def test_channels_last_continuous_bernoulli_has_a_gradient_of_the_pixels_and_refuses_those_outside_the_interval():
    logits = torch.randn(2, 4, 4, 3).movedim(-1, -3)
    pixels = torch.rand(2, 3, 4, 4, requires_grad=True)
    p_x = ContinuousBernoulli()(logits)
    (gradient,) = torch.autograd.grad(p_x.log_prob(pixels).sum(), pixels)
    torch.testing.assert_close(gradient, logits, rtol=0, atol=0)
    with pytest.raises(ValueError, match="support"):
        p_x.log_prob(pixels.detach() + 1)


@pytest.mark.parametrize("logit", [-1e4, -90.0, -1e-6, 0.0, 1e-6, 0.019, 0.021, 90.0, 1e4])
def test_channels_last_continuous_bernoulli_holds_in_single_precision(logit):
    logits = torch.full((1, 8, 8, 3), logit, dtype=torch.float32).movedim(-1, -3).requires_grad_()
    log_prob = ContinuousBernoulli()(logits).log_prob(torch.full((1, 3, 8, 8), 0.25, dtype=torch.float32))
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    exact = torch.tensor(logit, dtype=torch.float64)
    mean = 0.5 + exact / 12 if abs(logit) < 1e-3 else 0.5 + 0.5 / torch.tanh(exact / 2) - 1 / exact
    normaliser = 1 + exact / 2 if abs(logit) < 1e-3 else torch.expm1(exact.clamp(max=700)) / exact
    expected = 0.25 * exact - (exact - exact.log() if logit > 700 else normaliser.log())
    assert log_prob.item() == pytest.approx(192 * expected.item(), rel=1e-6, abs=1e-3)
    # At 0.021 the mean is a difference of two numbers near 48, of 24 bits each.
    assert gradient.flatten().tolist() == pytest.approx([0.25 - mean.item()] * 192, abs=4e-6)
