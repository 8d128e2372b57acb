"""Models of vectors: the bound is the evidence where everything is known, and what they refuse."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import nn

from ssvae import models
from ssvae.inference.command_line.choices import offered
from ssvae.inference.evaluation.evaluation import importance_sampling
from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.likelihoods import ContinuousBernoulli, Gaussian, Poisson
from ssvae.models.networks import MLP, Architecture, Network
from ssvae.models.priors import ClassPrior, StandardNormal

FEATURES, CLASSES, BATCH = 3, 3, 6
PI = [0.5, 0.3, 0.2]


class _LinearNetwork(Network):
    """W v + E[y] + b."""

    def __init__(self, num_inputs, num_outputs, num_classes):
        super().__init__()
        self.linear = nn.Linear(num_inputs, num_outputs)
        self.embedding = nn.Embedding(num_classes, num_outputs) if num_classes else None

    def compute(self, inputs, y, beside):
        return self.linear(inputs) if self.embedding is None else self.linear(inputs) + self.embedding(y)


class _Linear(Architecture):
    def encoder(self, event_shape, num_outputs, num_classes=0, num_beside=0):
        return _LinearNetwork(*event_shape, num_outputs, num_classes)

    def decoder(self, num_inputs, event_shape, num_classes=0):
        return _LinearNetwork(num_inputs, *event_shape, num_classes)

    def dense(self, num_inputs, num_outputs, num_classes=0, num_beside=0):
        return _LinearNetwork(num_inputs, num_outputs, num_classes)


def _linear_gaussian(widening=0.0):
    """M2 with p(x | y, z) = N(w z + b_y, D), z a number: its guide is the posterior, but for the log-scale's widening.

    Returns:
        The model, and p(x | y) = N(b_y, C), C = w w' + D.
    """
    likelihood, class_prior = Gaussian(per_feature=True), ClassPrior(CLASSES, PI)
    prior = StandardNormal(1)
    m2 = M2((FEATURES,), CLASSES, prior=prior, likelihood=likelihood, networks=_Linear(), class_prior=class_prior)
    with torch.no_grad():
        nn.init.normal_(likelihood.log_scale)
        nn.init.normal_(m2.decoder.linear.weight)
        w = m2.decoder.linear.weight.squeeze(-1)
        b = m2.decoder.linear.bias + m2.decoder.embedding.weight  # (classes, features)
        precision = (-2 * 6 * torch.tanh(likelihood.log_scale / 6)).exp()  # 1 / D
        covariance = torch.outer(w, w) + (1 / precision).diag()
        # q(z | x, y) = N(v w' (x - b_y) / D, v)
        v = 1 / (1 + (w.square() * precision).sum())
        m2.z_encoder.linear.weight[0] = v * w * precision
        m2.z_encoder.linear.weight[1] = 0
        m2.z_encoder.embedding.weight[:, 0] = -b @ (v * w * precision)
        m2.z_encoder.embedding.weight[:, 1] = 0
        log_scale = 0.5 * v.log() + widening
        m2.z_encoder.linear.bias.copy_(torch.stack([torch.zeros(()), 6 * torch.atanh(log_scale / 6)]))
        # q(y | x): the covariance is the same for all classes, so that the logits are linear in x
        direction = torch.linalg.solve(covariance, b.T).T
        m2.y_encoder.linear.weight.copy_(direction)
        m2.y_encoder.linear.bias.copy_(torch.tensor(PI).log() - 0.5 * (direction * b).sum(-1))
    return m2, dist.MultivariateNormal(b.detach(), covariance)


def _log_joint(p_x, x):
    """The exact log p(x, y), (batch, classes)."""
    return p_x.log_prob(x.unsqueeze(1)) + torch.tensor(PI).log()


def _unlabelled(m2, x):
    return -TraceEnum_ELBO(max_plate_nesting=1).loss(m2.model, m2.guide, x) / len(x)


def test_the_bounds_are_the_evidence_if_the_guide_is_the_posterior():
    m2, p_x = _linear_gaussian()
    x, y = 3 * torch.randn(BATCH, FEATURES), torch.tensor([0, 1, 2, 0, 1, 2])
    log_joint = _log_joint(p_x, x)
    torch.testing.assert_close(m2.classify(x).probs, log_joint.softmax(-1), rtol=1e-9, atol=1e-12)
    # For every draw of z: log p(x, y, z) - log q(z | x, y) is a constant.
    labelled = -Trace_ELBO().loss(m2.model, m2.guide, x, y) / BATCH
    assert labelled == pytest.approx(log_joint.gather(1, y.unsqueeze(-1)).mean().item(), abs=1e-9)
    assert _unlabelled(m2, x) == pytest.approx(log_joint.logsumexp(-1).mean().item(), abs=1e-9)


def test_the_bound_falls_short_by_the_divergence_of_the_guide_and_importance_sampling_does_not():
    widening = 0.4
    m2, p_x = _linear_gaussian(widening)
    m2.eval()
    x = 3 * torch.randn(BATCH, FEATURES)
    exact = _log_joint(p_x, x).logsumexp(-1)
    # KL(N(m, s² v) ‖ N(m, v)), the same for all x and y.
    divergence = 0.5 * (math.exp(2 * widening) - 1) - widening
    draws = 2000
    found = _unlabelled(m2, x.repeat(draws, 1))
    # A draw's log p - log q varies by ½ (s² - 1) (ε² - 1).
    error = 0.5 * (math.exp(2 * widening) - 1) * math.sqrt(2) / math.sqrt(draws * BATCH)
    assert found == pytest.approx(exact.mean().item() - divergence, abs=4.5 * error)
    assert divergence > 20 * error
    estimate = importance_sampling(m2, x, 500).log_evidence
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.02)


def _of_vectors(kind, likelihood):
    return kind((FEATURES,), CLASSES, likelihood=likelihood, networks=MLP((8,)))


@pytest.mark.parametrize("kind", offered(models, SemiSupervisedModel))
def test_every_model_takes_real_vectors_and_so_does_its_baseline(kind):
    model = _of_vectors(kind, Gaussian())
    x, y = 50 * torch.randn(BATCH, FEATURES), torch.tensor([0, 1, 2, 0, 1, 2])
    model.eval()
    assert model.encode(x, y).shape[0] == BATCH
    assert model.reconstruct(x, y).shape == x.shape
    assert model.analogies(x, y).shape == (CLASSES, *x.shape)
    assert model.sample(y, 2).shape == (2, *x.shape)
    assert model.baseline().eval().classify(x).probs.shape == (BATCH, CLASSES)
    assert repr(model).startswith(f"{kind.__name__}: vectors (3,), 3 classes")
    assert model.event_shape == model.likelihood.event_shape == (FEATURES,)


X = torch.randn(BATCH, FEATURES, dtype=torch.float64)
MISTAKES = {
    "a list": ([1.0, 2.0, 3.0], TypeError, "^x: expected a tensor of floating-point numbers; got list"),
    "integers": (X.long(), TypeError, r"^x: expected floating-point numbers; got torch\.int64"),
    "single precision": (
        X.float(),
        TypeError,
        r"^x: expected numbers of the type of the model's weights",
    ),
    "one vector": (X[0], ValueError, r"^x: expected vectors of shape \(batch, 3\); got \(3,\)\.$"),
    "another number of features": (
        X[:, :2],
        ValueError,
        r"^x: expected vectors .* got \(6, 2\)\.$",
    ),
    "a dimension too many": (X.unsqueeze(0), ValueError, r"^x: expected vectors of .* got \(1, 6, 3\)\.$"),
    "infinite": (X / 0, ValueError, r"^x: expected finite numbers; got -?inf\.$"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_no_batch_of_vectors_is_refused_in_words(name):
    x, error, words = MISTAKES[name]
    with pytest.raises(error, match=words):
        _of_vectors(M2, Gaussian()).classify(x)


def test_the_likelihood_says_which_vectors_a_model_takes():
    with pytest.raises(ValueError, match=r"^x: expected features in \[0, 1\]; .* choose the likelihood Gaussian"):
        _of_vectors(M2, ContinuousBernoulli()).classify(2 + X.abs())
    with pytest.raises(ValueError, match=r"^x: expected counts"):
        _of_vectors(M2, Poisson()).classify(X)
    assert _of_vectors(M2, Poisson()).classify(X.abs().round()).probs.shape == (BATCH, CLASSES)
