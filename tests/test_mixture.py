"""The mixture of normal distributions is torch's, in value, gradient and samples, for a fraction of the memory."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from ssvae.models.mixture import NormalMixture

COMPONENTS, LATENT, CLASSES, BATCH = 6, 3, 4, 5
# The parameters' leading dimensions, and those of z.
SHAPES = {
    "p(z)": ((), (BATCH,)),
    "p(z), z of every class": ((), (CLASSES, BATCH)),
    "p(z | y), y known": ((BATCH,), (BATCH,)),
    "p(z | y), y enumerated": ((CLASSES, 1), (CLASSES, BATCH)),
    "p(z | y), samples of all classes": ((CLASSES, 1), (2, CLASSES, BATCH)),
}


def _parameters(*leading):
    logits = torch.randn(*leading, COMPONENTS, requires_grad=True)
    loc = torch.randn(*leading, COMPONENTS, LATENT, requires_grad=True)
    scale = (0.5 * torch.randn(*leading, COMPONENTS, LATENT)).exp().requires_grad_()
    return logits, loc, scale


def _by_torch(logits, loc, scale):
    return MixtureSameFamily(Categorical(logits=logits), Independent(Normal(loc, scale), 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_and_its_gradients_are_torchs(shape):
    leading, of_z = SHAPES[shape]
    parameters = _parameters(*leading)
    z = torch.randn(*of_z, LATENT, requires_grad=True)
    weight = torch.randn(of_z)
    found, expected = NormalMixture(*parameters), _by_torch(*parameters)
    assert found.batch_shape == expected.batch_shape
    assert found.event_shape == expected.event_shape
    torch.testing.assert_close(found.log_prob(z), expected.log_prob(z), rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad((weight * found.log_prob(z)).sum(), [z, *parameters]),
        torch.autograd.grad((weight * expected.log_prob(z)).sum(), [z, *parameters]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_one_scale_stands_for_all():
    logits, loc, _ = _parameters()
    z = torch.randn(BATCH, LATENT)
    expected = NormalMixture(logits, loc, torch.full_like(loc, 0.3)).log_prob(z)
    torch.testing.assert_close(NormalMixture(logits, loc, torch.tensor(0.3)).log_prob(z), expected)


def test_narrow_components_lose_nothing_in_single_precision():
    # As narrow and as far out as an encoder's posteriors get: squares of a million that have to leave a few nats.
    loc = 4 * torch.randn(COMPONENTS, 40)
    scale = torch.full_like(loc, 0.01)
    logits = torch.zeros(COMPONENTS)
    z = loc + scale * torch.randn_like(loc)
    single = [of.float() for of in (logits, loc, scale)]
    found = NormalMixture(*single).log_prob(z.float())
    assert found.dtype == torch.float32
    expected = NormalMixture(*(of.double() for of in single)).log_prob(z.float().double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_expanded_it_scores_the_same_and_keeps_its_parameters_small():
    mixture = NormalMixture(*_parameters(CLASSES, 1))
    expanded = mixture.expand((CLASSES, 1000))
    assert expanded.batch_shape == (CLASSES, 1000)
    assert expanded.loc is mixture.loc
    z = torch.randn(CLASSES, 1000, LATENT)
    torch.testing.assert_close(expanded.log_prob(z), mixture.log_prob(z), rtol=0, atol=0)
    point = torch.zeros(LATENT)
    torch.testing.assert_close(expanded.log_prob(point), mixture.log_prob(point).expand(CLASSES, 1000))
    assert expanded.sample((2,)).shape == (2, CLASSES, 1000, LATENT)


def test_samples_have_the_moments_of_the_density():
    mixture = NormalMixture(*_parameters(CLASSES, 1)).expand((CLASSES, 2))
    with torch.no_grad():
        samples = mixture.sample((100_000,))
        reference = _by_torch(mixture.logits, mixture.loc, mixture.scale)
        torch.testing.assert_close(mixture.mean, reference.mean.expand(CLASSES, 2, LATENT))
        torch.testing.assert_close(mixture.variance, reference.variance.expand(CLASSES, 2, LATENT))
        error = (mixture.variance / len(samples)).sqrt()
        assert ((samples.mean(0) - mixture.mean) / error).abs().max() < 4.5
        torch.testing.assert_close(samples.var(0), mixture.variance, rtol=0.05, atol=0)
        # The correlations between dimensions, which a component drawn for each by itself would lose.
        centred = samples[:, :, 0] - mixture.mean[:, 0]
        covariance = torch.einsum("sci,scj->cij", centred, centred) / len(samples)
        weights, loc = mixture.logits.exp().squeeze(1), mixture.loc.squeeze(1) - mixture.mean[:, :1]
        expected = torch.einsum("ck,cki,ckj->cij", weights, loc, loc)
        between = ~torch.eye(LATENT, dtype=torch.bool)
        torch.testing.assert_close(covariance[:, between], expected[:, between], rtol=0, atol=0.05)


class _Largest(TorchDispatchMode):
    """Sees the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@pytest.mark.parametrize("leading", [(), (CLASSES, 1)])
def test_no_tensor_of_images_by_components_by_dimensions_is_made(leading):
    components, batch, latent = 50, 64, 20
    loc = torch.randn(*leading, components, latent, requires_grad=True)
    mixture = NormalMixture(torch.zeros(components), loc, torch.ones(()))
    z = torch.randn(CLASSES, batch, latent, requires_grad=True)
    with _Largest() as largest:
        mixture.expand((CLASSES, batch)).log_prob(z).sum().backward()
    assert largest.numel <= CLASSES * batch * components


def test_a_point_outside_of_the_support_is_named():
    with pytest.raises(ValueError, match="support"):
        NormalMixture(*_parameters(), validate_args=True).log_prob(torch.full((LATENT,), torch.nan))
