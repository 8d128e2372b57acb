"""Models of complete x, for x with missing entries: their weights by hand, in closed form, and of every model."""

import math

import pyro
import pytest
import torch
from support import tiny
from test_missing import KINDS, TRUTH, WITHOUT_DENSITY, _incomplete

from ssvae.inference import impute
from ssvae.inference.evaluation import log_weights
from ssvae.inference.predict import seeded
from ssvae.models import M2
from ssvae.models.constant_imputation import ConstantImputation
from ssvae.models.importance import weighted_samples
from ssvae.models.likelihoods import Gaussian, MissingEntries, Multinomial
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

NAN = math.nan


class _Complete(M2):
    """An M2 with the story's own p(x | y, z), whose guide stands about half the mean of p(z | x, y) of complete x."""

    def __init__(self):
        super().__init__((5,), 3, prior=StandardNormal(2), likelihood=Gaussian(), networks=MLP(hidden=(4,)))
        self.likelihood.log_scale.data.fill_(6 * math.atanh(math.log(TRUTH.noise) / 6))

    def p_x(self, z, y):
        return self.likelihood(z @ TRUTH.weight.T + TRUTH.bias[y])

    def q_z(self, x, y):
        # As wide as the prior and wider, since x says less of z where entries are missing.
        return pyro.distributions.Normal(TRUTH.posterior(x, y).mean / 2, 1.3).to_event(1)


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_the_weights_are_right_for_any_constant(constant):
    x = _incomplete()
    model = ConstantImputation(_Complete(), torch.full((5,), constant))
    log_w = log_weights(model, x, torch.arange(3).unsqueeze(-1), 20_000)  # (samples, classes, batch)
    log_joint = log_w.logsumexp(0).T - math.log(20_000)
    # The effective sample size is 700 or more, so that the standard error of log p is 0.04 at most.
    torch.testing.assert_close(log_joint.logsumexp(-1), TRUTH.log_prob(x), rtol=0, atol=0.1)
    torch.testing.assert_close(log_joint.softmax(-1), TRUTH.class_probabilities(x), rtol=0, atol=0.02)
    torch.testing.assert_close(model.impute(x, 20_000), TRUTH.impute(x), rtol=0, atol=0.06)


def test_the_weights_by_hand():
    trained = tiny.m2()
    x = torch.rand(2, 1, 8, 8)
    x[..., :4] = NAN
    x[1, :, 7] = NAN
    constant = torch.rand(1, 8, 8)
    model = ConstantImputation(trained, constant)
    y = torch.arange(3).unsqueeze(-1)
    with seeded(0):
        samples = weighted_samples(model.model, model.guide, x, y, 4)
    filled = torch.where(x.isnan(), constant, x)
    q_z = trained.q_z(filled, y)
    with seeded(0):
        z = q_z.expand((4, 3, 2)).sample()  # (samples, classes, batch, latent)
    entries = trained.p_x(z, y).base_dist.log_prob(x.nan_to_num(0)).masked_fill(x.isnan(), 0)
    log_p = math.log(1 / 3) + trained.prior().log_prob(z) + entries.sum((-3, -2, -1))
    torch.testing.assert_close(samples.log_weights, log_p - q_z.log_prob(z))
    assert torch.equal(model.classify(x).logits, trained.classify(filled).logits)
    assert torch.equal(model.reconstruct(x), trained.reconstruct(filled))
    assert torch.equal(model.analogies(x), trained.analogies(filled))
    assert {id(parameter) for parameter in model.parameters()} == {id(parameter) for parameter in trained.parameters()}


@pytest.mark.usefixtures("quick_proposals")
@pytest.mark.parametrize("name", sorted(set(KINDS) - set(WITHOUT_DENSITY)))
def test_every_model_with_a_density(name):
    trained = KINDS[name]((4,), 3, likelihood=Gaussian(), networks=MLP(hidden=(8,)))
    model = ConstantImputation(trained, torch.zeros(4))
    complete = torch.randn(3, 4)
    y = model._all_classes(complete)
    with seeded(0):
        expected = weighted_samples(trained.model, trained.guide, complete, y, 5)
    with seeded(0):
        samples = weighted_samples(model.model, model.guide, complete, y, 5)
    torch.testing.assert_close(samples.log_weights, expected.log_weights)
    x = complete.masked_fill(torch.tensor([[True, False, False, True], [False] * 4, [True] * 4]), NAN)
    imputation = impute(model, x, 5, num_draws=2)
    for filled in (imputation.mean, *imputation.draws, *imputation.draw_means):
        assert filled.isfinite().all()
        assert torch.equal(filled[~x.isnan()], x[~x.isnan()])
    assert (imputation.draw_classes is not None) is trained.has_label_site


@pytest.mark.parametrize("likelihood", [MissingEntries(Gaussian()), Multinomial()])
def test_a_likelihood_that_needs_no_constant_or_all_entries_is_refused(likelihood):
    with pytest.raises(ValueError, match=r"^likelihood: expected (one of complete x|independent entries of x); got M"):
        ConstantImputation(M2((4,), 3, likelihood=likelihood), torch.zeros(4))
