"""Every posterior is what its docstring says, and can be had in every model.

What stands in `ssvae.models.posteriors.__all__` is tested here; nothing else has to be said of a new one but its
numbers.
"""

import inspect
import math

import pytest
import torch
from test_models import CLASSES, GREY, LATENT, MODELS, SIZES, _images, _observations

from ssvae import models
from ssvae.inference.command_line.choices import offered
from ssvae.inference.contracts import check_model
from ssvae.inference.evaluation import log_weights
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import M2, SemiSupervisedModel, posteriors
from ssvae.models.likelihoods import Gaussian
from ssvae.models.networks import MLP
from ssvae.models.posteriors import DiagonalNormal, FixedScaleNormal, FullRankNormal, Posterior
from ssvae.models.priors import StandardNormal, VampPrior
from ssvae.models.stages import Staged

EXACT = {"rtol": 0, "atol": 1e-10}
POSTERIORS = offered(posteriors, Posterior)
TAKERS = [kind for kind in offered(models, SemiSupervisedModel) if "posterior" in inspect.signature(kind).parameters]
every_posterior = pytest.mark.parametrize("kind", POSTERIORS, ids=lambda kind: kind.__name__)


def _parameters(posterior, *shape, latent_dim=3):
    return torch.randn(*shape, posterior.num_parameters(latent_dim))


def _small(kind, posterior, **options):
    """A model of a kind, small, without what makes it in stages wait."""
    shares = {"m1_until": 0.0, "m2_until": 0.0, "inner_networks": MLP((6,))} if kind.__name__ == "M1M2" else {}
    prior = {} if kind.__name__ == "GMVAE" else {"prior": StandardNormal(LATENT)}
    model = kind(GREY, CLASSES, posterior=posterior, networks=MLP((16,)), **prior, **shares, **options)
    if isinstance(model, Staged):
        model.advance(1.0)
    return model


# The families by themselves


@every_posterior
def test_it_has_the_shapes_of_a_posterior(kind):
    posterior = kind.example()
    for shape in ((4,), (CLASSES, 4), (2, CLASSES, 4)):
        q = posterior(_parameters(posterior, *shape))
        assert q.batch_shape == shape
        assert q.event_shape == (3,)
        assert q.has_rsample
        z = q.rsample()
        assert z.shape == (*shape, 3)
        assert q.log_prob(z).shape == shape
        assert q.mean.shape == z.shape


@every_posterior
def test_its_samples_agree_with_its_moments_and_with_the_transformed_noise(kind):
    posterior = kind.example()
    q = posterior(_parameters(posterior))
    drawn = q.rsample((40_000,))
    transformed = posterior.transform(q, torch.randn(40_000, 3))
    for z in (drawn, transformed):
        torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=5 * z.std(0).max().item() / 200)
        torch.testing.assert_close(z.var(0), q.variance, rtol=0.05, atol=0)
    torch.testing.assert_close(drawn.T.cov(), transformed.T.cov(), rtol=0, atol=0.05 * drawn.var(0).max().item())


@every_posterior
def test_its_density_integrates_to_one(kind):
    posterior = kind.example()
    q = posterior(0.3 * _parameters(posterior, latent_dim=2))
    axis = torch.linspace(-8, 8, 801)
    z = torch.cartesian_prod(axis, axis) + q.mean
    assert q.log_prob(z).exp().sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-6)


@every_posterior
def test_it_has_a_gradient_in_every_number_however_large(kind):
    posterior = kind.example()
    parameters = _parameters(posterior, 4).requires_grad_()
    q = posterior(parameters)
    z = q.rsample()
    (q.log_prob(z.detach()) + z.square().sum(-1)).sum().backward()
    assert (parameters.grad != 0).all()
    for size in (-1e4, 1e4):
        q = posterior(torch.full((posterior.num_parameters(3),), size))
        assert q.log_prob(q.mean).isfinite()
        assert q.rsample().isfinite().all()


@every_posterior
@pytest.mark.parametrize("shape", [None, (5,), (CLASSES, 1)])
def test_its_mixture_is_the_sum_of_its_components(kind, shape):
    posterior, logits, z = kind.example(), torch.randn(4), torch.randn(CLASSES, 5, 3)
    leading = () if shape is None else (CLASSES,)
    parameters = _parameters(posterior, *leading, 4)
    y = None if shape is None else torch.arange(math.prod(shape)).view(shape) % CLASSES
    mixture = posterior.mixture(logits, parameters, y)
    assert mixture.event_shape == (3,)
    assert mixture.batch_shape == (shape or ())
    components = posterior(parameters if y is None else parameters[y])
    expected = (logits.log_softmax(-1) + components.log_prob(z.unsqueeze(-2))).logsumexp(-1)
    torch.testing.assert_close(mixture.log_prob(z), expected, **EXACT)
    assert mixture.expand((CLASSES, 5)).sample((2,)).shape == (2, CLASSES, 5, 3)


def test_a_full_rank_normal_has_the_covariance_of_its_triangle():
    posterior = FullRankNormal()
    q = posterior(torch.tensor([1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 4.0, 5.0, 6.0]))
    scales = (6 * torch.tanh(torch.tensor([0.1, 0.2, 0.3]) / 6)).exp()
    triangle = scales.diag() + torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [5.0, 6.0, 0.0]])
    torch.testing.assert_close(q.mean, torch.tensor([1.0, 2.0, 3.0]), **EXACT)
    torch.testing.assert_close(q.covariance_matrix, triangle @ triangle.T, **EXACT)


def test_the_density_of_what_was_just_drawn_is_that_of_the_same_number_given_in_value_and_gradient():
    posterior, parameters = FullRankNormal(), _parameters(FullRankNormal(), 4).requires_grad_()
    q = posterior(parameters)
    z = q.rsample()
    plain = torch.distributions.MultivariateNormal(q.loc, scale_tril=q.scale_tril)
    # z's own dependence on the parameters is in there: μ + T ε with ε held fixed.
    ours, theirs = q.log_prob(z).square().sum(), plain.log_prob(z).square().sum()
    torch.testing.assert_close(ours, theirs, **EXACT)
    gradients = [torch.autograd.grad(each, parameters, retain_graph=True)[0] for each in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(q.log_prob(z.detach().clone()), plain.log_prob(z), **EXACT)


def test_families_reduce_to_each_other():
    outputs, z = torch.randn(4, 6), torch.randn(4, 3)
    diagonal = DiagonalNormal()(outputs)
    full = FullRankNormal()(torch.cat([outputs, torch.zeros(4, 3)], dim=-1))
    torch.testing.assert_close(full.log_prob(z), diagonal.log_prob(z), **EXACT)
    log_scale = 6 * torch.atanh(torch.tensor(0.3).log() / 6)
    fixed = DiagonalNormal()(torch.cat([outputs[:, :3], log_scale.expand(4, 3)], dim=-1))
    torch.testing.assert_close(FixedScaleNormal(0.3)(outputs[:, :3]).log_prob(z), fixed.log_prob(z), **EXACT)


@pytest.mark.parametrize("latent_dim", [1, 2, 7, 50])
def test_a_full_rank_normal_knows_its_dimension_from_its_numbers(latent_dim):
    posterior = FullRankNormal()
    assert posterior.num_parameters(latent_dim) == 2 * latent_dim + latent_dim * (latent_dim - 1) // 2
    assert posterior(_parameters(posterior, latent_dim=latent_dim)).event_shape == (latent_dim,)


# In every model


def test_the_models_whose_guides_have_a_density_take_a_posterior():
    concrete = {type(make()) for make in MODELS.values()}
    assert {kind.__name__ for kind in concrete - set(TAKERS)} == {"AdversarialAutoencoder", "SOMVAE"}


# With the default DiagonalNormal it does in test_models.py.
@pytest.mark.parametrize(
    "kind", [kind for kind in POSTERIORS if kind is not DiagonalNormal], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("taker", TAKERS, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("quick_proposals")
@pytest.mark.slow
def test_every_model_keeps_its_contract_with_every_posterior(taker, kind):
    check_model(_small(taker, kind.example()))


@pytest.mark.parametrize("taker", TAKERS, ids=lambda kind: kind.__name__)
def test_a_model_says_its_posterior_and_learns_all_of_it(taker):
    model = _small(taker, FullRankNormal())
    assert "FullRankNormal(), " in repr(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    seen, losses = _observations(model), []
    for _ in range(5):
        torch.manual_seed(1)
        loss, _ = Objective()(model, seen, SIZES)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_default_is_the_diagonal_normal_and_has_no_tensors():
    model = M2(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP((16,)))
    assert type(model.posterior) is DiagonalNormal
    assert not [key for key in model.state_dict() if key.startswith("posterior")]
    assert model.z_encoder.perceptron.rest[-1].out_features == 2 * LATENT
    # To the last bit what it was before there was a choice.
    x, y = _images(model), torch.tensor([0, 1, 2, 2])
    loc, log_scale = model.z_encoder(x, y).chunk(2, dim=-1)
    torch.manual_seed(1)
    z = model.q_z(x, y).rsample()
    torch.manual_seed(1)
    noise = torch.randn(4, LATENT)
    scale = (6 * torch.tanh(log_scale / 6)).exp()
    assert torch.equal(z, torch.addcmul(loc, scale, noise))
    assert torch.equal(model.posterior.transform(model.q_z(x, y), noise), loc + scale * noise)


@every_posterior
@pytest.mark.parametrize("per_class", [False, True])
def test_a_vamp_prior_mixes_posteriors_of_any_family(kind, per_class):
    prior = VampPrior(LATENT, num_components=4, per_class=per_class)
    model = M2(GREY, CLASSES, prior=prior, posterior=kind.example(), networks=MLP((16,)))
    with torch.no_grad():
        prior.pseudo_inputs.add_(2 * torch.randn_like(prior.pseudo_inputs))
    z = torch.randn(5, LATENT)
    for y in (None, torch.tensor([0, 2, 1, 1, 2]), torch.arange(CLASSES).unsqueeze(-1)):
        found = prior(y).log_prob(z)
        shape = torch.broadcast_shapes((5,), () if y is None else y.shape)
        expected = torch.empty(shape)
        for index in torch.cartesian_prod(*map(torch.arange, shape)).view(-1, len(shape)):
            mine = torch.ones_like(prior.pseudo_classes, dtype=torch.bool)
            if per_class and y is not None:
                mine = prior.pseudo_classes == y.expand(shape)[tuple(index)]
            q = model.q_z(prior.pseudo_inputs[mine].sigmoid(), prior.pseudo_classes[mine])
            expected[tuple(index)] = q.log_prob(z[index[-1]]).logsumexp(0) - mine.sum().log()
        torch.testing.assert_close(found.expand(shape), expected, **EXACT)


# What a full covariance is good for


class _Linear(M2):
    """p(z) = N(0, I), p(x | z) = N(W z + b, s²), one class: the posterior is one Gaussian, its dimensions correlated.

    q(z | x) = N(A x + c, Σ) of the family, A, c and Σ learned.
    """

    def __init__(self, posterior):
        super().__init__(
            (1, 1, 3), 1, prior=StandardNormal(2), likelihood=Gaussian(), posterior=posterior, networks=MLP((1,))
        )
        self.W = torch.tensor([[1.0, 0.8], [0.5, 0.9], [0.7, 0.7]])
        self.A = torch.nn.Parameter(torch.zeros(2, 3))
        self.bias = torch.nn.Parameter(torch.zeros(posterior.num_parameters(2)))
        with torch.no_grad():
            self.likelihood.log_scale.fill_(-1.0)

    @property
    def variance(self):
        return (2 * 6 * torch.tanh(self.likelihood.log_scale / 6)).exp()

    def encode_z(self, x, y):
        mean = x.flatten(1) @ self.A.T
        return self.bias + torch.nn.functional.pad(mean, (0, len(self.bias) - 2))

    def p_x(self, z, y):
        return self.likelihood((z @ self.W.T).unflatten(-1, (1, 1, 3)))

    def log_evidence(self, x):
        covariance = self.W @ self.W.T + self.variance * torch.eye(3)
        return torch.distributions.MultivariateNormal(torch.zeros(3), covariance).log_prob(x.flatten(1))


@pytest.mark.parametrize("posterior", [FullRankNormal(), DiagonalNormal()], ids=repr)
def test_only_a_full_covariance_closes_the_gap_to_the_evidence_of_a_linear_model(posterior):
    """The gap is KL(q || p(z|x)): 0, or ½ (Σ_j log Λ_jj - log det Λ) of the best diagonal Gaussian, Λ the precision."""
    model = _Linear(posterior)
    x = torch.rand(20, 1, 1, 3)
    seen = Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)
    optimiser = torch.optim.LBFGS(
        [model.A, model.bias], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-10
    )

    def exact_bound():
        """-ELBO, its expectation in closed form: E |x - W z|² = |x - W μ|² + tr(W Σ Wᵀ)."""
        q = model.q_z(x, None)
        covariance = q.covariance_matrix if posterior.__class__ is FullRankNormal else torch.diag_embed(q.variance)
        error = (x.flatten(1) - q.mean @ model.W.T).square().sum(-1)
        spread = torch.einsum("ij,njk,ik->n", model.W, covariance, model.W)
        log_p_x = -1.5 * (2 * math.pi * model.variance).log() - 0.5 * (error + spread) / model.variance
        prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
        kl = torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(q.mean, covariance), prior)
        return (kl - log_p_x).mean()

    def closure():
        optimiser.zero_grad()
        loss = exact_bound()
        loss.backward()
        return loss

    optimiser.step(closure)
    precision = torch.eye(2) + model.W.T @ model.W / model.variance.detach()
    gap = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    assert gap > 0.3
    expected = 0.0 if isinstance(posterior, FullRankNormal) else gap.item()
    with torch.no_grad():
        evidence = model.log_evidence(x)
        assert (exact_bound() + evidence.mean()).item() == pytest.approx(expected, abs=1e-6)
        # The objective that is trained estimates this bound, and importance sampling is exact with the exact posterior.
        drawn = torch.stack([-Objective(alpha=0)(model, seen, Sizes(0, 20))[0] for _ in range(64)])
        error = drawn.std().item() / len(drawn) ** 0.5
        assert (evidence.mean() - drawn.mean()).item() == pytest.approx(expected, abs=4 * error + 1e-6)
        if expected == 0:
            assert error < 1e-6
            estimate = log_weights(model, x, None, num_samples=1)[0]
            torch.testing.assert_close(estimate, evidence, rtol=0, atol=1e-3)


# Mistakes


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused_in_words(scale):
    with pytest.raises(ValueError, match=r"^scale: expected a positive number; got"):
        FixedScaleNormal(scale)
