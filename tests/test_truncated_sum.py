"""The truncated sum over y: unbiased, value and gradient, by trying every class that could have been drawn."""

import pytest
import torch

from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import GMVAE, M2
from ssvae.models.networks import MLP
from ssvae.models.priors import SeparatedMeans, StandardNormal

CLASSES, IMAGE = 5, (1, 3, 3)
NETWORKS = MLP(hidden=(6,))
MODELS = {
    "M2": lambda: M2(IMAGE, CLASSES, prior=StandardNormal(2), networks=NETWORKS),
    "GMVAE": lambda: GMVAE(IMAGE, CLASSES, prior=SeparatedMeans(5), networks=NETWORKS),
}


@pytest.fixture(params=MODELS)
def model(request, monkeypatch):
    # z is the mean of q(z|x,y), so that nothing is drawn but y.
    monkeypatch.setattr(torch, "randn", lambda shape, **options: torch.zeros(shape, **options))
    return MODELS[request.param]()


@pytest.fixture
def drawn(monkeypatch):
    """The classes that are drawn, one for each image, and the probabilities they would have been drawn with."""
    asked = {}

    def sample(self, shape=()):
        asked["probabilities"] = self.probs
        return asked["classes"]

    monkeypatch.setattr("pyro.distributions.Categorical.sample", sample)
    return asked


def _j(model, x, k=None, candidates=None, **options):
    """J / N of images that are unlabelled or partially labelled, its gradient and its terms."""
    none, y = x[:0], torch.zeros(0, dtype=torch.int64)
    if candidates is None:
        seen, sizes = Observations(none, y, x), Sizes(0, len(x))
    else:
        seen, sizes = Observations(none, y, none, None, x, candidates), Sizes(0, 0, len(x))
    model.zero_grad()
    loss, terms = Objective(alpha=0, summed_classes=k, **options)(model, seen, sizes)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return loss.detach(), gradient, terms


def _expected(model, x, drawn, k, **options):
    """The mean of the estimates for one image over the classes that can be drawn."""
    value, gradient, terms = 0.0, 0.0, {}
    for y in range(CLASSES):
        drawn["classes"] = torch.tensor([y])
        estimate, its_gradient, its_terms = _j(model, x, k, **options)
        probability = drawn["probabilities"][0, y].item()
        if probability == 0:  # it is summed over
            continue
        value, gradient = value + probability * estimate, gradient + probability * its_gradient
        terms = {name: terms.get(name, 0.0) + probability * term for name, term in its_terms.items()}
    return value, gradient, terms


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"candidates": torch.tensor([[True, False, True, True, True]])}], ids=["U", "A"]
)
def test_value_gradient_and_terms_are_unbiased(model, drawn, k, options):
    x = torch.rand(1, *IMAGE)
    exact_value, exact_gradient, exact_terms = _j(model, x, **options)
    value, gradient, terms = _expected(model, x, drawn, k, **options)
    torch.testing.assert_close(value, exact_value, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, exact_gradient, rtol=0, atol=1e-9)
    assert exact_gradient.abs().max() > 1e-3
    assert set(terms) == set(exact_terms)
    for name, term in terms.items():
        torch.testing.assert_close(term, exact_terms[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("per_dimension", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_free_bits_leave_value_and_gradient_unbiased(model, drawn, k, per_dimension):
    """Where every estimate of a KL divergence is below λ; about λ its kink bends the mean, as it does that of one z."""
    x = torch.rand(1, *IMAGE)
    options = {"free_bits": 1e4, "free_bits_per_dimension": per_dimension}
    exact_value, exact_gradient, _ = _j(model, x, **options)
    value, gradient, _ = _expected(model, x, drawn, k, **options)
    torch.testing.assert_close(value, exact_value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, exact_gradient, rtol=0, atol=1e-9)
    without = _expected(model, x, drawn, k)[1]
    assert (without - gradient).abs().max() > 1e-3, "the KL divergence has a gradient where it is not free"


def test_where_the_classes_that_are_summed_over_are_all_that_are_possible_the_sum_is_exact(model):
    x = torch.rand(3, *IMAGE)
    candidates = torch.tensor([[True, False, False, True, False]]).expand(3, -1)
    exact_value, exact_gradient, _ = _j(model, x, candidates=candidates)
    value, gradient, _ = _j(model, x, k=2, candidates=candidates)
    torch.testing.assert_close(value, exact_value, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, exact_gradient, rtol=0, atol=1e-9)


def test_no_class_that_is_summed_over_is_drawn(model, drawn):
    drawn["classes"] = torch.zeros(4, dtype=torch.int64)
    x = torch.rand(4, *IMAGE)
    _j(model, x, k=2)
    likely = model.classify(x).probs.topk(2).indices
    of_likely = drawn["probabilities"].gather(-1, likely)
    assert torch.equal(of_likely, torch.zeros_like(of_likely))
    torch.testing.assert_close(drawn["probabilities"].sum(-1), torch.ones(4))


@pytest.mark.parametrize("k", [CLASSES - 1, CLASSES, 50])
def test_where_nothing_is_left_to_be_drawn_the_sum_is_exact(model, k):
    x = torch.rand(4, *IMAGE)
    for found, exact in zip(_j(model, x, k)[:2], _j(model, x)[:2], strict=True):
        assert torch.equal(found, exact)


def test_the_schedule_weighs_latent_terms_as_in_the_exact_sum(drawn):
    from ssvae.inference import KLWeight

    model = MODELS["GMVAE"]()
    x = torch.rand(1, *IMAGE)
    options = {"kl_weight": KLWeight(start=3, end=3)}

    def of(function, *arguments):
        torch.manual_seed(0)
        return function(*arguments, **options)

    exact = of(_j, model, x)[0]
    values = []
    for y in range(CLASSES):
        drawn["classes"] = torch.tensor([y])
        values.append((of(_j, model, x, 2)[0], drawn["probabilities"][0, y]))
    torch.testing.assert_close(sum(p * value for value, p in values), exact, rtol=0, atol=1e-9)


def test_no_class_at_all_is_refused():
    with pytest.raises(ValueError, match="summed_classes: expected at least 1, or None for all; got 0"):
        Objective(summed_classes=0)
