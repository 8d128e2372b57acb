"""Completed images of the explorer: probabilities, means and draws against the importance weights."""

import math

import pytest
import torch
from support import exploring, tiny

from ssvae.inference import impute
from ssvae.inference.applications.imputation import fitted_samples
from ssvae.inference.explorer.completions import NUM_COMPLETIONS, caution, complete, model_of_seen, obstacle
from ssvae.inference.explorer.explorer import Explorer
from ssvae.inference.predict import evaluating, seeded
from ssvae.models import M1, M2, AdversarialAutoencoder
from ssvae.models.likelihoods import Bernoulli, ContinuousBernoulli, MissingEntries
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

LEFT = torch.zeros(8, 8, dtype=torch.bool)
LEFT[:, :4] = True


def _run(likelihood=None, kind=M2, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind((1, 8, 8), 3, prior=StandardNormal(3), likelihood=likelihood, networks=MLP((7,)))
    return exploring.untrained(data=tiny.arrays(**options), model=model.eval())


def _completed(run, missing=LEFT, **options):
    return complete(model_of_seen(run), run.data, run.data.test_images[3], missing, **options)


def test_completions_are_those_of_the_importance_weights():
    run = _run()
    model = model_of_seen(run)
    torch.testing.assert_close(model.constant, run.data.preprocess(run.data.train_images).mean(0))
    found = _completed(run, num_samples=30)
    x = run.data.preprocess(run.data.test_images[3:4])
    assert torch.equal(found.original, x[0])
    x = x.masked_fill(LEFT, math.nan)
    for seen in (found.image, found.observed):
        torch.testing.assert_close(seen, x[0], rtol=0, atol=0, equal_nan=True)
    with seeded(0), evaluating(model):
        samples = fitted_samples(model, x, 30)
    w = samples.log_weights[..., 0].exp()  # (samples, classes)
    torch.testing.assert_close(found.posterior.probabilities, w.sum(0) / w.sum())
    assert found.posterior.log_evidence == pytest.approx(w.mean(0).sum().log().item())
    v = w.sum(1) / w.sum()
    assert found.effective_samples == pytest.approx(1 / v.square().sum().item())
    assert found.posterior.effective_samples == pytest.approx(found.effective_samples)
    # The classifier, which knows no missing pixels, gets the completions.
    torch.testing.assert_close(found.probabilities, run.model.classify(found.completions).probs.mean(0))
    means = samples.p_x.mean[:, :, 0]  # (samples, classes, 1, 8, 8)
    mean = (w[..., None, None, None] * means).sum((0, 1)) / w.sum()
    torch.testing.assert_close(found.mean, torch.where(LEFT, mean, x[0]))
    assert found.completions.shape == (NUM_COMPLETIONS, 1, 8, 8)
    for image, y in zip(found.completions, found.classes, strict=True):
        assert torch.equal(image[:, :, 4:], x[0, :, :, 4:])
        assert any(torch.equal(image[:, :, :4], each[:, :, :4]) for each in means[:, y])
    again = _completed(run, num_samples=30)
    assert torch.equal(again.completions, found.completions)  # the same pixels, the same answer


def test_completions_are_those_of_impute():
    run = _run()
    found = _completed(run, num_samples=30)
    x = run.data.preprocess(run.data.test_images[3:4]).masked_fill(LEFT, math.nan)
    model = model_of_seen(run)
    with seeded(0):
        imputation = impute(model, x, 30, num_draws=NUM_COMPLETIONS)
    torch.testing.assert_close(found.mean, imputation.mean[0])
    assert torch.equal(found.classes, imputation.draw_classes[:, 0])
    torch.testing.assert_close(found.completions, imputation.draw_means[:, 0])
    # The model's own, which does not fit the guide to the image, has the same limit.
    many = _completed(run, num_samples=3000, num_completions=1)
    torch.testing.assert_close(many.mean, model.impute(x, 3000)[0], rtol=0, atol=0.02)


def test_completions_are_drawn_by_p_of_y_given_the_seen_pixels():
    found = _completed(_run(), num_samples=50, num_completions=1000)
    shares = found.classes.bincount(minlength=3) / 1000
    # A share of 1000 draws has a standard error of at most 0.016.
    torch.testing.assert_close(shares.double(), found.posterior.probabilities, rtol=0, atol=0.064)


def test_without_any_pixel_the_posterior_is_the_prior():
    found = _completed(_run(), torch.ones(8, 8, dtype=torch.bool), num_samples=1000, num_completions=1)
    torch.testing.assert_close(found.posterior.probabilities, torch.full((3,), 1 / 3), rtol=0, atol=0.03)
    assert found.posterior.log_evidence == pytest.approx(0, abs=0.03)


def test_binarised_pixels_are_cut_and_missing_ones_stay_missing():
    run = _run(Bernoulli(), binarise=True)
    found = _completed(run, num_samples=30)
    x = run.data.preprocess(run.data.test_images[3])
    torch.testing.assert_close(
        found.observed, (x > 0.5).double().masked_fill(LEFT, math.nan), rtol=0, atol=0, equal_nan=True
    )
    assert torch.equal(found.mean[:, :, 4:], found.observed[:, :, 4:])
    assert ((found.mean > 0) & (found.mean < 1))[:, :, :4].all()
    torch.testing.assert_close(found.posterior.classifier, run.model.classify(found.completions).probs.mean(0))
    grey = torch.where(LEFT, found.completions, x)
    torch.testing.assert_close(found.probabilities, run.model.classify(grey).probs.mean(0))
    assert not torch.equal(found.probabilities, found.posterior.classifier)


def test_a_model_of_missing_pixels_is_taken_as_it_is():
    run = _run(MissingEntries(ContinuousBernoulli()))
    assert model_of_seen(run) is run.model
    found = _completed(run, num_samples=30)
    x = run.data.preprocess(run.data.test_images[3:4]).masked_fill(LEFT, math.nan)
    torch.testing.assert_close(found.probabilities, run.model.classify(x).probs[0])
    with seeded(0):
        expected = impute(run.model, x, 30, num_draws=NUM_COMPLETIONS)
    torch.testing.assert_close(found.completions, expected.draw_means[:, 0])


def test_a_model_without_a_class_has_completions_without_one():
    run = _run(kind=M1)
    run.model.refit(torch.rand(6, 1, 8, 8), torch.arange(6) % 3, torch.rand(4, 1, 8, 8))
    found = _completed(run, num_samples=30)
    assert (found.posterior, found.classes) == (None, None)
    assert 1 <= found.effective_samples <= 30
    assert found.completions.isfinite().all()


def test_a_model_without_a_density_says_why_not():
    run = _run(kind=AdversarialAutoencoder)
    assert obstacle(run.model) == "its guide has no density for importance weights"
    with pytest.raises(
        ValueError,
        match=r"^model: expected one that can complete images; got AdversarialAutoencoder: its guide has no density",
    ):
        model_of_seen(run)
    assert obstacle(_run().model) is None
    likelihood = ContinuousBernoulli()
    likelihood.has_independent_entries = False
    assert obstacle(_run(likelihood).model) == "its likelihood ContinuousBernoulli() needs all pixels"


def test_what_the_networks_have_not_seen_is_said():
    assert "its guide gets the mean of the training images" in caution(_run())
    run = _run(MissingEntries(ContinuousBernoulli()))
    assert caution(run) is None
    run.recipe = tiny.recipe()
    assert "its guide has never seen missing pixels" in caution(run)
    run.recipe = tiny.recipe(hidden_fraction=0.5)
    assert "a wiped region is another pattern" in caution(run)


def test_a_single_sample_is_refused():
    with pytest.raises(ValueError, match=r"^num_samples: expected at least 2; got 1\.$"):
        _completed(_run(), num_samples=1)


def test_examples_are_test_images_in_a_random_order():
    explorer = Explorer(_run())
    images = explorer.run.data.preprocess(explorer.run.data.test_images)
    shown = torch.stack([explorer.example(number) for number in range(12)])
    assert torch.equal(shown.flatten(1).sum(1).sort().values, images.flatten(1).sum(1).sort().values)
    assert not torch.equal(shown, images)
    assert torch.equal(explorer.example(12), shown[0])
    explorer.run.data = tiny.arrays(num_test=0, num_validation=0)
    assert explorer.example(5).shape == (1, 8, 8)
