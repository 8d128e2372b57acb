import inspect
import math

import pytest
import torch
from torch.distributions import Normal

from ssvae.data import LinearGaussianStory
from ssvae.data.linear_gaussian import LinearGaussian

GRID = torch.linspace(-9, 9, 1201, dtype=torch.float64)
STEP = 18 / 1200


def build(latent_dim):
    """Return a story with classes of unequal probability, and points to look at."""
    generator = torch.Generator().manual_seed(latent_dim)
    weight = torch.randn(3, latent_dim, generator=generator, dtype=torch.float64)
    bias = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    exact = LinearGaussian(torch.tensor([0.3, 0.7], dtype=torch.float64), weight, bias, 0.4)
    return exact, bias[[0, 1, 1]] + torch.randn(3, 3, generator=generator, dtype=torch.float64)


def joint_on_a_grid(exact, x, latent_dim):
    """Return log p(x, y, z) by its definition, (points, classes, grid), and z, (grid, latent)."""
    z = torch.cartesian_prod(*[GRID if latent_dim == 1 else GRID[::4]] * latent_dim).view(-1, latent_dim)
    means = z @ exact.weight.T + exact.bias.unsqueeze(1)  # (classes, grid, features)
    log_p_x = Normal(means, exact.noise).log_prob(x[:, None, None]).sum(-1)
    return log_p_x + Normal(0, 1).log_prob(z).sum(-1) + exact.probabilities.log().unsqueeze(-1), z


def volume(latent_dim):
    return STEP if latent_dim == 1 else (4 * STEP) ** 2


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_p_of_x_and_of_the_class_are_those_of_quadrature_over_z(latent_dim):
    exact, x = build(latent_dim)
    joint, _ = joint_on_a_grid(exact, x, latent_dim)
    log_joint = joint.logsumexp(-1) + math.log(volume(latent_dim))
    torch.testing.assert_close(exact.log_joint(x), log_joint, atol=1e-10, rtol=0)
    torch.testing.assert_close(exact.log_prob(x), log_joint.logsumexp(-1), atol=1e-10, rtol=0)
    torch.testing.assert_close(exact.class_probabilities(x), log_joint.softmax(-1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_posterior_is_that_of_quadrature_over_z(latent_dim):
    exact, x = build(latent_dim)
    joint, z = joint_on_a_grid(exact, x, latent_dim)
    for y in range(2):
        posterior = exact.posterior(x, torch.full((len(x),), y))
        assert (posterior.batch_shape, posterior.event_shape) == ((3,), (latent_dim,))
        weights = joint[:, y].softmax(-1)
        mean = weights @ z
        deviations = z - mean.unsqueeze(1)  # (points, grid, latent)
        covariance = torch.einsum("ng,ngi,ngj->nij", weights, deviations, deviations)
        torch.testing.assert_close(posterior.mean, mean, atol=1e-10, rtol=0)
        torch.testing.assert_close(posterior.covariance_matrix, covariance, atol=1e-10, rtol=0)
        # p(z|x, y) = p(x, y, z) / p(x, y) at every z
        some = z[::97]
        log_p_z = posterior.log_prob(some.unsqueeze(1))  # (some, points)
        by_hand = (joint[:, y, ::97] - exact.log_joint(x)[:, y : y + 1]).T
        torch.testing.assert_close(log_p_z, by_hand, atol=1e-8, rtol=1e-10)


def test_the_density_of_x_integrates_to_one():
    exact = LinearGaussian(torch.tensor([0.2, 0.8]), torch.tensor([[1.0]]), torch.tensor([[-1.0], [2.0]]), 0.5)
    assert float(exact.log_prob(GRID.unsqueeze(-1)).exp().sum() * STEP) == pytest.approx(1, abs=1e-9)


def test_float32_and_batches_of_any_shape():
    exact, x = build(2)
    assert exact.log_prob(x.float()).dtype == torch.float64
    torch.testing.assert_close(exact.log_prob(x.float()), exact.log_prob(x), atol=1e-5, rtol=0)
    assert exact.class_probabilities(x[None, :, None]).shape == (1, 3, 1, 2)
    assert exact.log_prob(x[0]).shape == ()
    assert exact.posterior(x[0], torch.tensor(1)).mean.shape == (2,)
    with pytest.raises(ValueError, match=r"x: expected shape \(…, 3\); got \(3, 2\)"):
        exact.log_prob(x[:, :2])


# Samples


def test_samples_have_the_moments_of_the_story():
    data = LinearGaussianStory(num_points=100_000, num_labels=None)
    exact, x = data.exact, data.train_x.double()
    counts = torch.bincount(data.train_labels).double() / len(x)
    # Standard error of a frequency: sqrt(2 / 9 / N) = 0.0015.
    torch.testing.assert_close(counts, exact.probabilities, atol=0.0075, rtol=0)
    covariance = exact.weight @ exact.weight.T + 0.25 * torch.eye(5, dtype=torch.float64)
    for y in range(3):
        rows = x[data.train_labels == y]
        # Five standard errors at most: of a mean sqrt(v / N_y), of a covariance sqrt(2) v / sqrt(N_y) or less.
        largest = float(covariance.diagonal().max())
        torch.testing.assert_close(rows.mean(0), exact.bias[y], atol=5 * math.sqrt(largest / len(rows)), rtol=0)
        torch.testing.assert_close(rows.T.cov(), covariance, atol=5 * largest * math.sqrt(2 / len(rows)), rtol=0)


def test_the_best_classifier_is_as_accurate_as_it_is_confident():
    data = LinearGaussianStory(num_test=20_000)
    probabilities = data.exact.class_probabilities(data.test_x)
    accuracy = (probabilities.argmax(-1) == data.test_labels).double().mean()
    # E[1(argmax = y)] = E[max p(y|x)]; standard error of their difference: sqrt(0.96 * 0.04 / N) = 0.0014.
    assert float(accuracy) == pytest.approx(float(probabilities.max(-1).values.mean()), abs=0.007)
    assert 0.9 < accuracy < 0.99
    # Of hidden classes too: the story has the order of the true classes.
    hidden = LinearGaussianStory(num_test=20_000, hidden_classes=[0])
    assert hidden.true_class_names == ("1", "2", "0")
    guesses = hidden.exact.class_probabilities(hidden.test_x).argmax(-1)
    assert (guesses == hidden.test_labels).double().mean() == accuracy


def test_the_mean_log_density_is_minus_the_entropy():
    one = LinearGaussianStory(num_test=50_000, num_classes=2)
    # Given the class, the entropy is that of a normal distribution; H(x) = H(x|y) + H(y) - H(y|x).
    covariance = one.exact.weight @ one.exact.weight.T + 0.25 * torch.eye(5, dtype=torch.float64)
    conditional = 0.5 * float(torch.linalg.slogdet(2 * math.pi * math.e * covariance)[1])
    probabilities = one.exact.class_probabilities(one.test_x)
    uncertainty = -float(torch.special.xlogy(probabilities, probabilities).sum(-1).mean())
    entropy = conditional + math.log(2) - uncertainty
    # The variance of log p(x|y) is features / 2: standard error sqrt(2.5 / N) = 0.007.
    assert float(one.exact.log_prob(one.test_x).mean()) == pytest.approx(-entropy, abs=0.035)


def test_a_model_gets_the_rows_in_their_own_units():
    data = LinearGaussianStory()
    assert torch.equal(data.preprocess(data.test_x), data.test_x.to(torch.get_default_dtype()))
    assert not data.log_volume(data.train_x).any()
    assert data.event_shape == (5,)
    assert data.summary() == (
        "LinearGaussianStory: 1000 training rows (6 labelled, 994 unlabelled), 200 validation, 1000 test, 3 classes, "
        "5 features"
    )


def test_the_seed_decides_the_rows_and_not_the_story():
    first, again, other = (LinearGaussianStory(seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.train_x, again.train_x)
    assert torch.equal(first.train_labels, again.train_labels)
    assert not torch.equal(first.train_x, other.train_x)
    assert torch.equal(first.exact.weight, other.exact.weight)
    assert torch.equal(first.exact.bias, other.exact.bias)


def test_every_argument_is_an_attribute_of_the_same_name():
    arguments = {"num_points": 90, "num_labels": 20, "num_classes": 4, "num_features": 2, "latent_dim": 1, "noise": 0.2}
    data = LinearGaussianStory(**arguments)
    assert all(hasattr(data, name) for name in inspect.signature(LinearGaussianStory).parameters)
    assert {name: getattr(data, name) for name in arguments} == arguments
    assert data.exact.weight.shape == (2, 1)


ERRORS = {
    "one class": ({"num_classes": 1}, ValueError, "num_classes: expected at least 2; got 1"),
    "no feature": ({"num_features": 0}, ValueError, "num_features: expected at least 1; got 0"),
    "no latent dimension": ({"latent_dim": 0}, ValueError, "latent_dim: expected at least 1; got 0"),
    "half a dimension": ({"latent_dim": 0.5}, TypeError, "latent_dim: expected an integer; got 0.5"),
    "no noise": ({"noise": 0.0}, ValueError, "noise: expected a positive number; got 0"),
    "negative noise": ({"noise": -1.0}, ValueError, "noise: expected a number of 0 or more; got -1.0"),
    "labels": ({"num_labels": 7}, ValueError, "num_labels: expected a multiple of the 3 classes"),
}


@pytest.mark.parametrize(("changes", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        LinearGaussianStory(**changes)
