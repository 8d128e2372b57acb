"""Priors and models that break their contract in one way each are told which, in one sentence."""

import copy
import doctest
import math

import numpy
import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from torch import nn

import ssvae.inference.contracts
from ssvae.inference.contracts import ContractError, check_model, check_prior
from ssvae.models import M2, ConditionalVAE
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, GaussianMixture, NormalizingFlow, Prior, StandardNormal, VampPrior
from ssvae.models.stages import Staged

GREY, CLASSES = (1, 8, 8), 3


class Laplace(Prior):
    """A prior that keeps the contract, with a kink and tails, for the broken ones to differ from."""

    def __init__(self, latent_dim=2):
        super().__init__()
        self.latent_dim = latent_dim
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, y=None):
        return dist.Laplace(torch.zeros(self.latent_dim), self.log_scale.exp()).to_event(1)


class Cauchy(Laplace):
    def forward(self, y=None):
        return dist.Cauchy(torch.zeros(2), self.log_scale.exp()).to_event(1)


class OfClass(Laplace):
    """The same for a prior that looks at the class."""

    is_class_conditional = True

    def __init__(self, latent_dim=2):
        super().__init__(latent_dim)
        self.loc = nn.Parameter(torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))

    def forward(self, y=None):
        if y is None:
            components = dist.Laplace(self.loc, self.log_scale.exp()).to_event(1)
            return dist.MixtureSameFamily(dist.Categorical(logits=self.log_p_y(3)), components)
        return dist.Laplace(self.loc[y], self.log_scale.exp()).to_event(1)


class NeuralSpline(Prior):
    """A neural spline flow (Durkan et al. 2019, arXiv 1906.04032), with a fold at every knot."""

    def __init__(self, latent_dim=2, count_bins=8):
        super().__init__()
        self.latent_dim, self.count_bins = latent_dim, count_bins
        layers = [transforms.spline_coupling(2, 1, [16], count_bins).upper_spline.nn for _ in range(2)]
        self.layers = nn.ModuleList(layers)
        self.register_buffer("reverse", torch.tensor([1, 0]))

    def forward(self, y=None):
        chain = []
        for network in self.layers:
            chain += [
                transforms.SplineCoupling(2, 1, network, self.count_bins, identity=True),
                transforms.Permute(self.reverse),
            ]
        zero = self.layers[0].layers[0].weight.new_zeros(2)
        return dist.TransformedDistribution(dist.Normal(zero, 1 + zero).to_event(1), chain)


class _Resampled(dist.TorchDistribution):
    """π(z) ( (1 - α) a(z) / Z + α ): z ~ π until one is accepted by a(z), the T-th in any case; α = (1 - Z)^(T-1)."""

    arg_constraints = {}  # noqa: RUF012
    support = dist.constraints.real_vector

    def __init__(self, accept, normaliser, tries, batch_shape=()):
        self.accept, self.normaliser, self.tries = accept, normaliser, tries
        super().__init__(torch.Size(batch_shape), torch.Size([2]), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return _Resampled(self.accept, self.normaliser, self.tries, batch_shape)

    def log_prob(self, z):
        alpha = (1 - self.normaliser) ** (self.tries - 1)
        log_p = dist.Normal(torch.zeros(()), 1).log_prob(z).sum(-1)
        log_p = log_p + ((1 - alpha) * self.accept(z) / self.normaliser + alpha).log()
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape=()):
        z = torch.randn(self.tries, *self._extended_shape(sample_shape))
        accepted = torch.rand(z.shape[:-1]) < self.accept(z)
        accepted[-1] = True
        first = accepted.int().argmax(0)
        return z.take_along_dim(first[None, ..., None], dim=0).squeeze(0)


class Resampled(Prior):
    """The resampled prior of Bauer and Mnih 2019, arXiv 1810.11428; Z by Gauss and Hermite's rule."""

    def __init__(self, latent_dim=2, tries=10):
        super().__init__()
        self.latent_dim, self.tries = latent_dim, tries
        self.network = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())
        with torch.no_grad():
            self.network[0].weight.copy_(torch.tensor([[2.0, -1.0]]))
            self.network[0].bias.fill_(-0.5)
        nodes, weights = numpy.polynomial.hermite_e.hermegauss(60)
        weights = torch.tensor(weights / weights.sum()).to(torch.get_default_dtype())
        nodes = torch.tensor(nodes).to(weights)
        self.register_buffer("points", torch.cartesian_prod(nodes, nodes), persistent=False)
        self.register_buffer("weights", torch.cartesian_prod(weights, weights).prod(-1), persistent=False)

    def accept(self, z):
        return self.network(z).squeeze(-1)

    def normaliser(self):
        return (self.weights * self.accept(self.points)).sum()

    def forward(self, y=None):
        return _Resampled(self.accept, self.normaliser(), self.tries)


class Estimated(Resampled):
    """Z by samples that are kept: off by as much at every call, and silent about it."""

    def __init__(self, latent_dim=2, tries=10, num_samples=4000, seed=3):
        super().__init__(latent_dim, tries)
        self.num_samples, self.seed = num_samples, seed
        points = torch.randn(num_samples, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("points", points.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("weights", torch.full((num_samples,), 1 / num_samples), persistent=False)


class EstimatedAndSaysSo(Estimated):
    @property
    def log_prob_error(self):
        accepted = self.accept(self.points)
        return (accepted.std() / accepted.mean() / self.num_samples**0.5).item()


class EstimatedAnew(EstimatedAndSaysSo):
    """By samples that are drawn at each call."""

    def normaliser(self):
        return self.accept(torch.randn_like(self.points)).mean()


class TooHeavy(Resampled):
    """A mass of 1.1, and the largest error that may be stated."""

    log_prob_error = 0.02

    def normaliser(self):
        return super().normaliser() / 1.12


class PoorlyEstimated(Resampled):
    log_prob_error = 0.1


KEEPING = [Laplace, Cauchy, OfClass, NeuralSpline, Resampled, EstimatedAndSaysSo, EstimatedAnew]


@pytest.mark.parametrize("kind", KEEPING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.slow
def test_priors_that_keep_the_contract_pass(kind, dtype):
    torch.set_default_dtype(dtype)
    rules = check_prior(kind())
    assert "the density integrates to one, and samples agree with it" in rules
    assert len(rules) == len(set(rules)) == 6


class _Other(dist.Laplace):
    """A density, or samples, that are not those of the distribution's name."""

    def __init__(self, loc, scale, of_density=1.0, of_samples=1.0, heavier=0.0, validate_args=None):
        super().__init__(loc, scale, validate_args=validate_args)
        self.of_density, self.of_samples, self.heavier = of_density, of_samples, heavier

    def expand(self, batch_shape, _instance=None):
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return _Other(loc, scale, self.of_density, self.of_samples, self.heavier, validate_args=False)

    def log_prob(self, value):
        return dist.Laplace(self.loc, self.scale * self.of_density).log_prob(value) + self.heavier

    def sample(self, sample_shape=()):
        return self.loc + (super().sample(sample_shape) - self.loc) * self.of_samples


class WiderDensity(Laplace):
    def forward(self, y=None):
        return _Other(torch.zeros(2), self.log_scale.exp(), of_density=1.1).to_event(1)


class NarrowerSamples(Laplace):
    def forward(self, y=None):
        return _Other(torch.zeros(2), self.log_scale.exp(), of_samples=0.9).to_event(1)


class NotNormalised(Laplace):
    def forward(self, y=None):
        return _Other(torch.zeros(2), self.log_scale.exp(), heavier=0.01).to_event(1)


class _LongTails(_Other):
    """The right share of samples between the sextiles, but too far out beyond the outer ones."""

    def expand(self, batch_shape, _instance=None):
        return _LongTails(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    def sample(self, sample_shape=()):
        z = super().sample(sample_shape)
        outer = self.scale * math.log(3)  # 1/6 of a Laplace distribution lies above
        return torch.where(z.abs() > outer, z.sign() * (outer + 2 * (z.abs() - outer)), z)


class SamplesWithLongTails(Laplace):
    def forward(self, y=None):
        return _LongTails(torch.zeros(2), self.log_scale.exp()).to_event(1)


class SlightlyHeavy(Laplace):
    def forward(self, y=None):
        return _Other(torch.zeros(2), self.log_scale.exp(), heavier=0.001).to_event(1)


class _SteeperGradient(torch.autograd.Function):
    """The identity, whose gradient is 1.005."""

    @staticmethod
    def forward(context, z):
        return z.clone()

    @staticmethod
    def backward(context, gradient):
        return 1.005 * gradient


class _Steeper(_Other):
    def expand(self, batch_shape, _instance=None):
        return _Steeper(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    def log_prob(self, value):
        return super().log_prob(_SteeperGradient.apply(value))


class WrongSlope(Laplace):
    def forward(self, y=None):
        return _Steeper(torch.zeros(2), self.log_scale.exp()).to_event(1)


class NotMoved(Laplace):
    """Keeps a tensor that is neither a parameter nor a buffer."""

    def __init__(self, latent_dim=2):
        super().__init__(latent_dim)
        self.unit = torch.eye(2)

    def forward(self, y=None):
        return dist.Laplace(torch.zeros(2), self.log_scale.exp() @ self.unit).to_event(1)


class NotAnEvent(Laplace):
    def forward(self, y=None):
        return dist.Laplace(torch.zeros(2), self.log_scale.exp())


class OfTorch(Laplace):
    def forward(self, y=None):
        laplace = torch.distributions.Laplace(torch.zeros(2), self.log_scale.exp())
        return torch.distributions.Independent(laplace, 1)


class Bounded(Laplace):
    def forward(self, y=None):
        return dist.Uniform(-self.log_scale.exp(), self.log_scale.exp()).to_event(1)


class Underflowing(Laplace):
    def forward(self, y=None):
        return _Logged(torch.zeros(2), self.log_scale.exp()).to_event(1)


class _Logged(_Other):
    """log of a density, rather than a log-density."""

    def expand(self, batch_shape, _instance=None):
        return _Logged(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    def log_prob(self, value):
        return (1e-320 * dist.Laplace(self.loc, self.scale).log_prob(value).exp()).log() + 736.85


class Unused(Laplace):
    def __init__(self, latent_dim=2):
        super().__init__(latent_dim)
        self.loc = nn.Parameter(torch.zeros(latent_dim))


class Detached(Laplace):
    def forward(self, y=None):
        return dist.Laplace(torch.zeros(2), self.log_scale.detach().exp()).to_event(1)


class WithoutSlope(Laplace):
    def forward(self, y=None):
        return _Blind(torch.zeros(2), self.log_scale.exp()).to_event(1)


class _Blind(_Other):
    def expand(self, batch_shape, _instance=None):
        return _Blind(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    def log_prob(self, value):
        return super().log_prob(value.detach())


class Undeclared(OfClass):
    """Looks at y, and does not say so."""

    is_class_conditional = False


class OneDimensionOnly(OfClass):
    """Looks y up where it is (batch,), and takes the first dimension where there are more."""

    def forward(self, y=None):
        return super().forward(y if y is None or y.dim() < 2 else y.flatten()[: len(y)])


class AnotherOrder(OfClass):
    """Wrong only where the classes are enumerated."""

    def forward(self, y=None):
        return super().forward(2 - y if y is not None and y.dim() > 1 else y)


class AnotherMixture(OfClass):
    """Without y, one of the classes instead of their mixture."""

    def forward(self, y=None):
        return super().forward(torch.tensor(0) if y is None else y)


class EqualParts(OfClass):
    """Without y, their mixture in equal parts where p(y) is not uniform."""

    def log_p_y(self, num_classes):
        return torch.zeros(num_classes)


class Fixed(Laplace):
    """Written for a batch of three images."""

    def forward(self, y=None):
        return super().forward() if y is None or len(y) == 3 else dist.Normal(self.log_scale[:, 3], 1)


class Forgetful(Laplace):
    def __init__(self, latent_dim=2, degrees=3):
        super().__init__(latent_dim)


class InTheStore(Laplace):
    def forward(self, y=None):
        scale = pyro.param("scale", torch.ones(2))
        return dist.Laplace(torch.zeros(2), scale * self.log_scale.exp()).to_event(1)


class Remembering(Laplace):
    """Keeps a tensor of the last call, graph and all."""

    def forward(self, y=None):
        self.scale = self.log_scale.exp() * 1
        return dist.Laplace(torch.zeros(2), self.scale).to_event(1)


class Owning(Laplace):
    """Takes the model's networks in, so that they are saved twice."""

    def attach(self, num_classes, event_shape, posterior):
        self.encoder = posterior.encode.__self__.z_encoder


class Dimensionless(Prior):
    def __init__(self, latent_dim=2):
        super().__init__()

    def forward(self, y=None):
        return dist.Normal(torch.zeros(2), 1).to_event(1)


BROKEN_PRIORS = {
    WiderDensity: r"expected samples of p\(z\) that agree with its density; got counts as uneven as with probability ",
    NarrowerSamples: r"expected samples of p\(z\) that agree with its density; got counts",
    SamplesWithLongTails: r"expected samples of p\(z\) that agree with its density; got samples "
    r"whose mean log p\(z\) is -\d\.\d+ instead of -\d\.\d+ nats\.",
    NotNormalised: r"expected p\(z\) to integrate to 1 ± 0\.000\d over a square four times as wide as its samples; got "
    r"1\.02; a normaliser that is estimated states its error as log_prob_error\.",
    SlightlyHeavy: r"expected p\(z\) to integrate to 1 ± 0\.000\d over .*; got 1\.002; ",
    WrongSlope: r"expected a gradient of log p\(z\) in z that is its slope; got one that is off by 0\.\d\d%\.",
    Estimated: r"expected p\(z\) to integrate to 1 ± 0\.000\d over .*; got 1\.01\d+; a normaliser that is estimated",
    TooHeavy: r"expected p\(z\) to integrate to 1 ± 0\.08 over .*; got 1\.1\d*\.",
    PoorlyEstimated: r"expected log_prob_error from 0 to 0\.02 nats; got 0\.1\.",
    NotAnEvent: r"expected event_shape == \(latent_dim,\) == \(2,\) without y; got \(\) and batch_shape \(2,\); "
    r"\.to_event\(1\) makes the last dimension part of the event\.",
    OfTorch: r"expected a distribution of pyro\.distributions without y; got torch\.distributions\.independent",
    Bounded: r"expected a finite log p\(z\) for every z, as the support of posteriors is unbounded; got none outside",
    Underflowing: r"expected a finite log p\(z\) for every z, as the support of posteriors is unbounded; got others\.",
    Unused: r"expected a gradient of log p\(z\) without y in every parameter; got none in 'loc'\.",
    Detached: r"expected a gradient of log p\(z\) without y in every parameter; got none in 'log_scale'\.",
    WithoutSlope: r"expected a gradient of log p\(z\) in z that is its slope; got one that is off by \d+\.\d\d%\.",
    Undeclared: r"expected is_class_conditional = True with batch_shape \(5,\) with y of shape \(batch,\); got False\.",
    OneDimensionOnly: r"expected batch_shape \(3, 1\) with y of shape \(classes, 1\); got \(3,\)\.",
    AnotherOrder: r"expected the same p\(z \| y\) whether y has all classes at once or one class; got another "
    r"in class 0\.",
    AnotherMixture: r"expected without y the mixture of p\(z \| y\) over y by the model's p\(y\), which self\.log_p_y",
    EqualParts: r"expected without y the mixture of p\(z \| y\) over y by the model's p\(y\), .*; got another p\(z\)\.",
    Fixed: r"expected that forward returns a distribution over z, whose batch_shape is y's shape; got IndexError: ",
    Forgetful: r"expected every constructor argument as an attribute of the same name.*; got none for 'degrees'\.",
    InTheStore: r"expected parameters that are kept as nn\.Parameter, and none in Pyro's global store; got 'scale'\.",
    Remembering: r"expected that a trained model can be copied.*; got RuntimeError: Only Tensors created explicitly by",
    Owning: r"expected every tensor once in the state_dict; got one as both 'prior\.encoder\..*' and 'z_encoder\.",
    Dimensionless: r"expected latent_dim == 2, since the density is integrated on a grid; got no such attribute\.",
}


@pytest.mark.parametrize("kind", BROKEN_PRIORS, ids=lambda kind: kind.__name__)
def test_a_broken_prior_is_told_what_is_broken(kind):
    with pytest.raises(ContractError, match=f"^{kind.__name__}: {BROKEN_PRIORS[kind]}") as refused:
        check_prior(kind())
    assert "\n" not in str(refused.value)


def test_a_prior_whose_tensors_do_not_follow_it_is_told_so():
    torch.set_default_dtype(torch.float32)
    sentence = r"expected log p\(z\) in float64 after \.double\(\), which moves parameters and buffers; got .*dtype"
    with pytest.raises(ContractError, match=f"^NotMoved: {sentence}"):
        check_prior(NotMoved())


def test_a_prior_is_checked_in_two_dimensions():
    with pytest.raises(ContractError, match=r"^StandardNormal: expected latent_dim == 2, .*; got 20\.$"):
        check_prior(StandardNormal(20))


def test_a_prior_that_belongs_to_a_model_already_is_refused_by_its_own_sentence():
    prior = VampPrior(2, num_components=3)
    M2(GREY, CLASSES, prior=prior, networks=MLP((4,)))
    with pytest.raises(ContractError, match="expected a separate VampPrior for each model"):
        check_prior(prior)


def test_a_prior_for_other_classes_can_be_checked():
    with pytest.raises(ContractError, match="expected one for 3 classes; got one for 5"):
        check_prior(ClassConditional(2, num_classes=5))
    assert check_prior(ClassConditional(2, num_classes=5), num_classes=5)


@pytest.mark.parametrize("thing", [StandardNormal, "StandardNormal", nn.Linear(2, 2)])
def test_what_is_no_prior_is_refused(thing):
    with pytest.raises(TypeError, match=r"^prior: expected an object of a class that inherits from Prior; got "):
        check_prior(thing)


def test_the_checks_leave_everything_as_it_was():
    prior, model = GaussianMixture(2), _model()
    store = pyro.get_param_store()
    store["theta"] = torch.ones(2)
    before = copy.deepcopy([prior.state_dict(), model.state_dict()])
    state = torch.get_rng_state()
    check_prior(prior)
    check_model(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(store) == ["theta"]
    pyro.clear_param_store()
    assert model.training
    for old, new in zip(before, [prior.state_dict(), model.state_dict()], strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert all(parameter.grad is None for parameter in [*prior.parameters(), *model.parameters()])


# Models


def _model(kind=M2, prior=None):
    return kind(GREY, CLASSES, prior=prior or StandardNormal(2), networks=MLP((6,)))


class WithoutEnumeration(M2):
    def guide(self, x, y=None):
        with pyro.plate("images", len(x)):
            if y is None:
                y = pyro.sample("y", self.classify(x))
            pyro.sample("z", self.q_z(x, y))


class AnotherPlate(M2):
    def model(self, x, y=None):
        with pyro.plate("batch", len(x)):
            y = pyro.sample("y", self.class_prior(), obs=y)
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.p_x(z, y), obs=x)


class OutsideThePlate(M2):
    def model(self, x, y=None):
        pyro.sample("temperature", dist.Normal(0, 1), obs=torch.zeros(()))
        super().model(x, y)


class AnotherName(M2):
    def model(self, x, y=None):
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", self.class_prior(), obs=y)
            z = pyro.sample("z", self.prior(y))
            pyro.sample("image", self.p_x(z, y), obs=x)


class NotObserved(M2):
    def model(self, x, y=None):
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", self.class_prior(), obs=y)
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.p_x(z, y))


class ClassIsGuessed(M2):
    def guide(self, x, y=None):
        super().guide(x)


class OneLatentTooMany(M2):
    def guide(self, x, y=None):
        with pyro.plate("images", len(x)):
            if y is None:
                y = pyro.sample("y", self.classify(x), infer={"enumerate": "parallel"})
            pyro.sample("z", self.q_z(x, y))
            pyro.sample("w", dist.Normal(0, 1))


class AnotherClass(M2):
    """Decodes the wrong class, where the classes are enumerated."""

    def p_x(self, z, y):
        return super().p_x(z, y.flip(0) if y.dim() > 1 else y)


class PixelsAreNotOneEvent(M2):
    def p_x(self, z, y):
        return super().p_x(z, y).base_dist


class FlatPosterior(M2):
    def q_z(self, x, y):
        return super().q_z(x, y if y.dim() == 1 else y[0])


class Neighbourly(M2):
    def classify(self, x):
        return super().classify((x - x.mean(0)).clamp(0, 1))


class UnusedLayer(M2):
    def __init__(self, event_shape, num_classes, *, prior, networks):
        super().__init__(event_shape, num_classes, prior=prior, networks=networks)
        self.spare = nn.Linear(2, 2)


class NotKept(M2):
    def __init__(self, event_shape, num_classes, *, prior, networks, sharpness=1.0):
        super().__init__(event_shape, num_classes, prior=prior, networks=networks)


class NotNamed(M2):
    def __init__(self, *arguments, **kwargs):
        super().__init__(*arguments, **kwargs)


class Infinite(M2):
    def p_x(self, z, y):
        logits = self.decoder(z, y)
        return self.likelihood(logits / torch.zeros(()))


class Shapeless(M2):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        del self.num_classes


class OneImageOnly(M2):
    def sample(self, y, num_samples=1):
        return super().sample(y)


class Enumerating(M2):
    """Takes the number of classes for the number of images."""

    def q_z(self, x, y):
        return super().q_z(x[: self.num_classes], y)


class OneStageForAll(Staged, M2):
    def advance(self, progress):
        self.decoder.requires_grad_(progress < 0.5)


class UnknownStages(M2):
    """Would be trained in stages, which nobody is told."""

    def advance(self, progress):
        self.decoder.requires_grad_(progress < 0.5)


BROKEN_MODELS = {
    UnknownStages: r"expected a model with 'advance' to inherit from ssvae\.models\.stages\.Staged, since nothing "
    "calls it otherwise; got",
    WithoutEnumeration: r'expected the guide\'s site \'y\' with infer={"enumerate": "parallel"}, so that it is summed '
    r"over; got one that is drawn\.",
    AnotherPlate: r'expected every site of the model in pyro\.plate\("images", len\(x\)\); got \'y\' in \'batch\'\.',
    OutsideThePlate: r'expected every site of the model in pyro\.plate\("images", .*; got \'temperature\' in no plate',
    AnotherName: r"expected sites of the names 'x' and 'y' in the model; got only 'image', 'y', 'z'\.",
    NotObserved: r"expected the site 'x' of the model with obs=x if x is given; got one that is drawn\.",
    ClassIsGuessed: r"expected no site 'y' in the guide if y is given; got one\.",
    OneLatentTooMany: r"expected the same latent variables in model and guide; got 'z' in the model and 'w', "
    r"'z' in the guide\.",
    AnotherClass: r"expected the same log-density at 'x' of the model whether y is summed over or given; got another "
    r"in class 0\.",
    PixelsAreNotOneEvent: r"expected that guide and model run with y given, and with y summed over; got ValueError: "
    r"Shape mismatch inside plate\('images'\) at site x",
    FlatPosterior: r"expected the same log-density at 'z' of the guide whether y is summed over or given; got another "
    r"in class 1\.",
    Neighbourly: r"expected classify\(x\) of an image that does not depend on the others in evaluation mode; got one",
    UnusedLayer: r"expected a gradient of J in every parameter; got none in 'spare\.weight'\.",
    NotKept: r"expected every constructor argument as an attribute of the same name.*; got none for 'sharpness'\.",
    NotNamed: r"expected every constructor argument as an attribute of the same name.*; got none for 'arguments'\.",
    Infinite: r"expected a finite log-density at 'x' of the model; got others\.",
    Shapeless: r"expected the attribute 'num_classes'; got a model without it\.",
    OneImageOnly: r"expected sample\(y, num_samples=5\) of shape \(5, 4, 1, 8, 8\); got \(1, 4, 1, 8, 8\)\.",
    Enumerating: r"expected that guide and model run with y given, and with y summed over; got RuntimeError: ",
    OneStageForAll: r"expected a new current_stage if advance or refit changes the trained parts or their terms; "
    r"got 0 again\.",
}


@pytest.mark.parametrize("kind", BROKEN_MODELS, ids=lambda kind: kind.__name__)
def test_a_broken_model_is_told_what_is_broken(kind):
    with pytest.raises(ContractError, match=f"^{kind.__name__}: {BROKEN_MODELS[kind]}") as refused:
        check_model(_model(kind))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("thing", [M2, None, nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(thing):
    expected = r"^model: expected an object of a class that inherits from SemiSupervisedModel; got "
    with pytest.raises(TypeError, match=expected):
        check_model(thing)


def test_a_model_with_a_latent_variable_that_does_not_depend_on_the_class_keeps_the_contract():
    class Shared(M2):
        """p(y) p(z | y) p(x | z), q(y | x) q(z | x)."""

        def q_z(self, x, y):
            q = super().q_z(x, torch.zeros(1, dtype=torch.int64))
            return q.expand(torch.broadcast_shapes(y.shape, (len(x),)))

        def guide(self, x, y=None):
            with pyro.plate("images", len(x)):
                if y is None:
                    pyro.sample("y", self.classify(x), infer={"enumerate": "parallel"})
                pyro.sample("z", self.q_z(x, torch.zeros(1, dtype=torch.int64)))

    assert check_model(_model(Shared, prior=ClassConditional(2)))


def test_units_that_are_all_off_at_the_start_are_no_broken_rule():
    # Of three rectified units, some networks have none that is on at any of four images.
    for seed in (2, 5, 31, 35):
        torch.manual_seed(seed)
        model = M2(GREY, CLASSES, prior=StandardNormal(2), networks=MLP((3,), activation=nn.ReLU))
        before = copy.deepcopy(model.state_dict())
        assert check_model(model)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for seed in range(4):
        torch.manual_seed(seed)
        assert check_prior(NormalizingFlow(2, num_layers=2, hidden=1))


@pytest.mark.parametrize("kind", [M2, ConditionalVAE])
def test_a_model_whose_prior_estimates_its_normaliser_at_each_call_keeps_the_contract(kind):
    assert check_model(_model(kind, prior=EstimatedAnew()))


def test_the_docstrings_example_runs():
    result = doctest.testmod(ssvae.inference.contracts)
    assert result.attempted == 3
    assert result.failed == 0
