"""The likelihoods of vectors: reals, counts, categories, bags of words, and rows of a table."""

import copy
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from ssvae.inference.storage.description import build, describe
from ssvae.models import M2
from ssvae.models.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
)

SAMPLES = 20_000
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def _of_vectors(likelihood, features):
    likelihood.set_event_shape((features,))
    return likelihood


def _bounded(value, bound=6.0):
    return bound * math.tanh(value / bound)


# Reals


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_a_scale_for_each_feature_scores_as_so_many_likelihoods(kind):
    likelihood = _of_vectors(kind(per_feature=True), 3)
    for parameter in likelihood.parameters():
        assert parameter.shape == (3,)
        torch.nn.init.normal_(parameter)
    loc, x = torch.randn(5, 3), torch.randn(5, 3)
    expected = torch.zeros(5)
    for j in range(3):
        one = _of_vectors(kind(), 1)
        for name, parameter in one.named_parameters():
            assert parameter.shape == ()
            parameter.data.copy_(getattr(likelihood, name)[j])
        expected += one(loc[:, j : j + 1]).log_prob(x[:, j : j + 1])
    torch.testing.assert_close(likelihood(loc).log_prob(x), expected, **EXACT)


@pytest.mark.parametrize("kind", [Gaussian, StudentT])
def test_a_scale_for_each_feature_starts_as_the_one_for_all(kind):
    loc, x = torch.randn(4, 3), torch.randn(4, 3)
    one, each = (_of_vectors(kind(per_feature=per_feature), 3) for per_feature in (False, True))
    torch.testing.assert_close(each(loc).log_prob(x), one(loc).log_prob(x), **EXACT)


def test_parameters_for_each_feature_are_made_once():
    likelihood = _of_vectors(Gaussian(per_feature=True), 3)
    parameter = likelihood.log_scale
    likelihood.set_event_shape((3,))
    assert likelihood.log_scale is parameter


@pytest.mark.parametrize("log_excess", [-20.0, 0.0, 1.0, 20.0])
def test_student_t_has_a_variance_whatever_is_learned_and_integrates_to_one(log_excess):
    likelihood = _of_vectors(StudentT(), 1)
    likelihood.log_excess.data.fill_(log_excess)
    distribution = likelihood(torch.tensor([0.3]))
    degrees, scale = 2 + math.exp(_bounded(log_excess)), math.exp(_bounded(-1.5))
    assert degrees > 2
    # x = μ + σ sinh(u): the tails of a polynomial become those of an exponential.
    u = torch.linspace(-18, 18, 20_001).unsqueeze(-1)
    x = 0.3 + scale * u.sinh()
    density = distribution.log_prob(x).exp()
    mass = density * scale * u.cosh().squeeze(-1)
    assert torch.trapezoid(mass, u.squeeze(-1)).item() == pytest.approx(1, abs=1e-9)
    expected = scipy.stats.t.logpdf(x.squeeze(-1).numpy(), degrees, 0.3, scale)
    torch.testing.assert_close(distribution.log_prob(x), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)
    assert distribution.mean.item() == 0.3
    assert distribution.variance.item() == pytest.approx(scale**2 * degrees / (degrees - 2), rel=1e-9)


def test_student_t_samples_what_it_scores():
    likelihood = _of_vectors(StudentT(), 1)
    samples = likelihood(torch.tensor([0.3])).sample((SAMPLES,)).flatten().numpy()
    exact = scipy.stats.t(2 + math.exp(_bounded(1.0)), 0.3, math.exp(_bounded(-1.5)))
    assert scipy.stats.kstest(samples, exact.cdf).pvalue > 1e-3


def test_an_outlier_pulls_at_a_gaussian_and_hardly_at_student_t():
    pulls = []
    for likelihood in (Gaussian(), StudentT()):
        loc = torch.zeros(1, requires_grad=True)
        _of_vectors(likelihood, 1)(loc).log_prob(torch.tensor([100.0])).backward()
        pulls.append(loc.grad.item())
    scale, degrees = math.exp(_bounded(-1.5)), 2 + math.exp(_bounded(1.0))
    assert pulls[0] == pytest.approx(100 / scale**2)
    assert pulls[1] == pytest.approx((degrees + 1) * 100 / (degrees * scale**2 + 100**2))


# Counts


@pytest.mark.parametrize("output", [-30.0, -2.0, 0.0, 3.0])
def test_poisson_is_that_of_scipy(output):
    distribution, rate = _of_vectors(Poisson(), 1)(torch.tensor([output])), math.exp(_bounded(output, 12))
    x = torch.arange(100.0)
    expected = torch.from_numpy(scipy.stats.poisson.logpmf(x.numpy(), rate))
    torch.testing.assert_close(distribution.log_prob(x.unsqueeze(-1)), expected, rtol=1e-10, atol=1e-10)
    assert distribution.mean.item() == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("log_total_count", [-9.0, 0.0, 9.0])
@pytest.mark.parametrize("output", [-30.0, -2.0, 0.0, 3.0])
def test_negative_binomial_is_that_of_scipy(output, log_total_count):
    likelihood = _of_vectors(NegativeBinomial(), 1)
    likelihood.log_total_count.data.fill_(log_total_count)
    distribution = likelihood(torch.tensor([output]))
    mean, r = math.exp(_bounded(output, 12)), math.exp(_bounded(log_total_count))
    x = torch.arange(100.0)
    expected = torch.from_numpy(scipy.stats.nbinom.logpmf(x.numpy(), r, r / (r + mean)))
    torch.testing.assert_close(distribution.log_prob(x.unsqueeze(-1)), expected, rtol=1e-9, atol=1e-9)
    assert distribution.mean.item() == pytest.approx(mean, rel=1e-12)
    assert distribution.variance.item() == pytest.approx(mean + mean**2 / r, rel=1e-9)


def test_negative_binomial_learns_a_dispersion_for_each_feature():
    likelihood = _of_vectors(NegativeBinomial(), 3)
    x = torch.tensor([[0.0, 4.0, 40.0]])
    likelihood(torch.ones(1, 3)).log_prob(x).sum().backward()
    assert likelihood.log_total_count.shape == (3,)
    assert len(set(likelihood.log_total_count.grad.tolist())) == 3


@pytest.mark.parametrize("kind", [Poisson, NegativeBinomial])
def test_counts_are_sampled_as_they_are_scored(kind):
    distribution = _of_vectors(kind(), 1)(torch.tensor([1.0]))
    counts = torch.bincount(distribution.sample((SAMPLES,)).flatten().long()).double()
    support = torch.arange(float(len(counts))).unsqueeze(-1)
    expected = SAMPLES * distribution.log_prob(support).exp().detach()
    often = expected >= 5
    cells = torch.cat([counts[often], counts[~often].sum().view(1)])
    rest = SAMPLES - expected[often].sum()
    assert len(cells) > 5
    assert scipy.stats.chisquare(cells.numpy(), torch.cat([expected[often], rest.view(1)]).numpy()).pvalue > 1e-3


# Bags of words


def test_multinomial_is_that_of_scipy_with_the_total_count_of_x():
    logits = torch.randn(4)
    distribution = _of_vectors(Multinomial(), 4)(logits)
    for bag in ([0, 0, 0, 0], [1, 0, 0, 0], [3, 0, 2, 7], [100, 1, 50, 2]):
        expected = scipy.stats.multinomial.logpmf(bag, sum(bag), logits.softmax(-1).numpy())
        assert distribution.log_prob(torch.tensor(bag).double()).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("num_words", [0, 1, 5])
def test_all_bags_of_so_many_words_have_probability_one(num_words):
    distribution = _of_vectors(Multinomial(), 3)(2 * torch.randn(3))
    bags = [bag for bag in itertools.product(range(num_words + 1), repeat=3) if sum(bag) == num_words]
    assert len(bags) == math.comb(num_words + 2, 2)
    total = distribution.log_prob(torch.tensor(bags).double()).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-12)


def test_a_multinomial_draws_one_word_and_its_mean_is_the_words_probabilities():
    distribution = _of_vectors(Multinomial(), 4)(torch.randn(2, 4))
    torch.testing.assert_close(distribution.mean, distribution.log_prob(torch.eye(4).unsqueeze(1)).exp().T, **EXACT)
    words = distribution.sample((SAMPLES,))
    assert torch.equal(words.sum(-1), torch.ones(SAMPLES, 2))
    for k in range(2):
        expected = SAMPLES * distribution.mean[k]
        assert scipy.stats.chisquare(words[:, k].sum(0).numpy(), expected.numpy()).pvalue > 1e-3


# Categories


def test_categories_have_the_softmax_of_their_logits():
    logits = torch.randn(5, 3, 2)  # (batch, categories, features)
    distribution = _of_vectors(Categorical(3), 2)(logits.flatten(1))
    probabilities = logits.softmax(1)
    torch.testing.assert_close(distribution.base_dist.probs, probabilities.movedim(1, -1), **EXACT)
    for x in itertools.product(range(3), repeat=2):
        expected = (probabilities[:, x[0], 0] * probabilities[:, x[1], 1]).log()
        torch.testing.assert_close(distribution.log_prob(torch.tensor(x).double()), expected, **EXACT)


def test_categories_are_sampled_as_floats_as_they_are_scored_and_the_mean_is_the_most_probable_one():
    distribution = _of_vectors(Categorical(3), 1)(torch.tensor([0.5, -0.5, 1.0]))
    samples = distribution.sample((SAMPLES,)).flatten()
    assert samples.dtype == torch.float64
    expected = SAMPLES * distribution.base_dist.probs.flatten()
    assert scipy.stats.chisquare(samples.long().bincount().numpy(), expected.numpy()).pvalue > 1e-3
    assert distribution.mean.tolist() == [2.0]


# Rows of a table


def _table():
    """Two reals in columns 4 and 1, categories in 0, counts in 3, a binary column 2, and two grey levels in 5 and 6."""
    parts = [Gaussian(per_feature=True), Categorical(4), Poisson(), Bernoulli(), DiscretizedLogistic()]
    likelihood = Mixed(parts, [(4, 1), (0,), (3,), (2,), (5, 6)])
    torch.nn.init.normal_(parts[0].log_scale)
    return likelihood


def test_a_row_is_the_product_of_its_columns_likelihoods():
    likelihood = _table()
    assert likelihood.decoder_shape((7,)) == (2 + 4 + 1 + 1 + 4,)
    parameters = torch.randn(5, 12)
    row = likelihood(parameters)
    x = row.sample()
    likelihood.check(x)
    likelihood.check_input(x)
    pieces = parameters.split([2, 4, 1, 1, 4], dim=-1)
    total, mean = torch.zeros(5), torch.zeros(5, 7)
    for part, piece, columns in zip(likelihood.likelihoods, pieces, likelihood.columns, strict=True):
        total += part(piece).log_prob(x[:, list(columns)])
        mean[:, list(columns)] = part(piece).mean
        entries = row.base_dist.log_prob(x)[:, list(columns)]
        torch.testing.assert_close(entries, part(piece).base_dist.log_prob(x[:, list(columns)]), **EXACT)
    torch.testing.assert_close(row.log_prob(x), total, **EXACT)
    torch.testing.assert_close(row.mean, mean, **EXACT)
    wider = row.expand((3, 5))
    torch.testing.assert_close(wider.log_prob(x), total.expand(3, 5), **EXACT)
    assert wider.sample((2,)).shape == (2, 3, 5, 7)


def test_a_row_is_sampled_as_it_is_scored():
    likelihood = _table()
    row = likelihood(torch.randn(12))
    samples = row.sample((SAMPLES,))
    error = samples.std(0) / SAMPLES**0.5
    numbers = [1, 2, 3, 4, 5, 6]  # column 0 is a category
    assert ((samples.mean(0) - row.mean).abs() < 4.5 * error + 1e-9)[numbers].all()
    counts = samples[:, 0].long().bincount(minlength=4).double() / SAMPLES
    support = torch.stack([torch.cat([torch.tensor([float(k)]), samples[0, 1:]]) for k in range(4)])
    probabilities = row.log_prob(support).softmax(0)
    assert ((counts - probabilities).abs() < 4.5 * (probabilities * (1 - probabilities) / SAMPLES).sqrt()).all()


def test_a_row_outside_a_columns_support_is_refused_by_this_columns_likelihood():
    likelihood = _table()
    x = likelihood(torch.randn(5, 12)).sample()
    for column, value, words in (
        (0, 4.0, "categories from 0 to 3; got 4"),
        (3, -1.0, r"counts 0, 1, 2, … for Poisson\(\); got -1"),
        (2, 0.5, "Bernoulli expected features that are 0 or 1; got 0.5"),
        (5, 0.1234, "multiples of 1/255; got 0.1234"),
        (1, math.nan, "finite numbers; got nan"),
    ):
        wrong = x.clone()
        wrong[3, column] = value
        with pytest.raises(ValueError, match=words):
            likelihood.check(wrong)
    x[0, 2] = 0.5  # a probability of a one, which a classifier may see
    likelihood.check_input(x)
    x[0, 3] = 0.5
    with pytest.raises(ValueError, match="counts"):
        likelihood.check_input(x)


def test_a_mixed_likelihood_is_described_built_and_copied():
    likelihood = _table()
    again = build(describe(likelihood))
    assert describe(again) == describe(likelihood)
    assert again.columns == likelihood.columns
    again.load_state_dict(likelihood.state_dict())
    parameters = torch.randn(2, 12)
    x = likelihood(parameters).sample()
    for other in (again, copy.deepcopy(likelihood)):
        assert torch.equal(other(parameters).log_prob(x), likelihood(parameters).log_prob(x))
        assert not {id(each) for each in other.parameters()} & {id(each) for each in likelihood.parameters()}


def _of_one_object(part):
    return Mixed([part, part], [(0, 1), (2,)])


MISTAKES = {
    "too few columns": (lambda: Mixed([Gaussian(), Poisson()], [(0, 1)]), "columns: .* each of the 2 likelihoods"),
    "an empty part": (lambda: Mixed([Gaussian(), Poisson()], [(0, 1), ()]), "columns: expected one or more"),
    "a column twice": (lambda: Mixed([Gaussian(), Poisson()], [(0, 1), (1,)]), r"once; got \(\(0, 1\), \(1,\)\)"),
    "a gap": (
        lambda: Mixed([Gaussian(), Poisson()], [(0, 1), (3,)]),
        "columns: expected each column from 0 to the last",
    ),
    "one object for two": (lambda: _of_one_object(Gaussian()), "likelihood: expected a separate Gaussian"),
    "bags of words": (lambda: Mixed([Multinomial()], [(0, 1)]), r"independent entries of x; got Multinomial\(\)"),
    "another number of features": (
        lambda: M2((4,), 3, likelihood=Mixed([Gaussian()], [(0,)])),
        r"event_shape \(4,\)",
    ),
    "an image": (lambda: M2((1, 2, 2), 3, likelihood=Mixed.example()), r"event_shape \(1, 2, 2\)"),
    "one category": (lambda: Categorical(1), "num_categories: expected an integer of at least 2; got 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        mistake()


# At the ends of what the decoder may say


EXTREMES = {
    "Gaussian": (Gaussian, [0.0, -1e4, 1e4]),
    "Gaussian, each": (lambda: Gaussian(per_feature=True), [0.0, -1e4, 1e4]),
    "StudentT": (StudentT, [0.0, -1e4, 1e4]),
    "StudentT, each": (lambda: StudentT(per_feature=True), [0.0, -1e4, 1e4]),
    "Poisson": (Poisson, [0.0, 1.0, 1e6]),
    "NegativeBinomial": (NegativeBinomial, [0.0, 1.0, 1e6]),
    "Multinomial": (Multinomial, [0.0, 1.0, 1e6]),
    "Categorical": (lambda: Categorical(3), [0.0, 1.0, 2.0]),
    "Mixed": (lambda: Mixed([Gaussian(), Poisson(), Categorical(3)], [(0,), (1,), (2,)]), [-1e4, 1e6, 2.0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("name", EXTREMES)
def test_log_p_and_its_gradients_are_finite_at_extreme_outputs_and_parameters(name, own, dtype):
    make, x = EXTREMES[name]
    likelihood = make()
    likelihood.set_event_shape((3,))
    likelihood.to(dtype)
    for parameter in likelihood.parameters():
        parameter.data.fill_(own)
    for output in (-1e4, -30.0, 0.0, 30.0, 1e4):
        parameters = torch.full(likelihood.decoder_shape((3,)), output, dtype=dtype, requires_grad=True)
        log_prob = likelihood(parameters).log_prob(torch.tensor(x, dtype=dtype))
        log_prob.backward()
        assert log_prob.isfinite()
        assert parameters.grad.isfinite().all()
    for parameter in likelihood.parameters():
        assert parameter.grad.isfinite().all()


def test_finite_differences_agree_with_the_gradients():
    generator = np.random.default_rng(0)
    for likelihood in (
        StudentT(per_feature=True),
        Poisson(),
        NegativeBinomial(),
        Multinomial(),
        Categorical(3),
        _table(),
    ):
        features = 7 if isinstance(likelihood, Mixed) else 3
        likelihood.set_event_shape((features,))
        parameters = torch.from_numpy(
            generator.normal(size=(2, *likelihood.decoder_shape((features,))))
        ).requires_grad_()
        x = likelihood(parameters).sample()
        assert torch.autograd.gradcheck(lambda outputs, p=likelihood, x=x: p(outputs).log_prob(x), parameters)
