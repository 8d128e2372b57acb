"""What is called a bound is one: J against log p(x) and log p(x, y) by quadrature, the noise on, for every model.

The images have four black or white pixels, the latent variables one or two dimensions: a grid integrates them.
Weights are random, and large in the classifier: guide and posterior are far apart, and q(y|a, x) depends on a.
"""

import itertools
import math
from functools import cache

import pyro
import pytest
import torch
from pyro import poutine
from test_models import MODELS

from ssvae.inference import KLWeight, Objective
from ssvae.inference.objective import Observations, Sizes
from ssvae.models import ADGM, GMVAE, M1, M1M2, M2, SDGM, ConditionalVAE, LadderVAE
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.posteriors import FullRankNormal
from ssvae.models.priors import ClassPrior, SeparatedMeans, StandardNormal

pytestmark = pytest.mark.slow

IMAGE, CLASSES = (1, 2, 2), 3
PIXELS = [1.0, 0.0, 0.0, 1.0]
GRID = torch.linspace(-10, 10, 161, dtype=torch.float64)
REPEATS, COPIES = 10, 200


def _parts(latent_dim=1):
    return {
        "prior": StandardNormal(latent_dim),
        "likelihood": Bernoulli(),
        "networks": MLP(hidden=(6,)),
        "class_prior": ClassPrior(CLASSES, [0.5, 0.3, 0.2]),
    }


def _m1():
    parts = _parts()
    del parts["class_prior"]
    return M1(IMAGE, CLASSES, **parts)


def _m1m2():
    model = M1M2(IMAGE, CLASSES, **_parts(), inner_networks=MLP(hidden=(6,)), z1_dim=1, m1_until=0.0, m2_until=0.0)
    model.advance(0.5)
    return model


BOUNDS = {
    "M1": _m1,
    "M2": lambda: M2(IMAGE, CLASSES, **_parts()),
    "M1M2": _m1m2,
    "ConditionalVAE": lambda: ConditionalVAE(IMAGE, CLASSES, **_parts()),
    "LadderVAE": lambda: LadderVAE(IMAGE, CLASSES, **_parts(), latent_dims=(1,), hidden=(6,)),
    "ADGM": lambda: ADGM(IMAGE, CLASSES, **_parts(), auxiliary_dim=1),
    "SDGM": lambda: SDGM(IMAGE, CLASSES, **_parts(), auxiliary_dim=1),
    "GMVAE": lambda: GMVAE(IMAGE, CLASSES, **_parts() | {"prior": SeparatedMeans(2, distance=3)}),
    "M2, full rank": lambda: M2(IMAGE, CLASSES, **_parts(latent_dim=2), posterior=FullRankNormal()),
    "ADGM, full rank": lambda: ADGM(
        IMAGE, CLASSES, **_parts(latent_dim=2), posterior=FullRankNormal(), auxiliary_dim=1
    ),
}


@cache
def _model(name, size=0.3):
    with torch.random.fork_rng():
        torch.manual_seed(9)
        model = BOUNDS[name]().eval()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                parameter.add_((4 if parameter_name.startswith("y_encoder") else size) * torch.randn_like(parameter))
    return model


def _axis(dimensions):
    """Coarser where there are three, of which densities as smooth as these are integrated to more than six digits."""
    return GRID if dimensions < 3 else GRID[::3]


def _grid_of(model, y):
    """Every latent variable but the class, on a grid of all of their dimensions, (points, dimensions) each."""
    x = torch.tensor(PIXELS).view(1, *IMAGE)
    sites = poutine.trace(model.guide).get_trace(x, y).nodes
    sizes = {
        name: site["value"].shape[-1]
        for name, site in sites.items()
        if site["type"] == "sample" and name not in ("y", "images")
    }
    points = torch.cartesian_prod(*[_axis(sum(sizes.values()))] * sum(sizes.values())).view(-1, sum(sizes.values()))
    return dict(zip(sizes, points.split(list(sizes.values()), dim=-1), strict=True))


@torch.no_grad()
def _exact(model, y=None):
    """log p(x, y), or log p(x) of a story without a class: the program itself, its latent variables on the grid."""
    grid = _grid_of(model, None if y is None else torch.tensor([y]))
    points = len(next(iter(grid.values())))
    x = torch.tensor(PIXELS).view(1, *IMAGE).expand(points, -1, -1, -1)
    classes = None if y is None else torch.full((points,), y)
    story = poutine.condition(model.model, grid)
    with pyro.settings.context(module_local_params=True):
        trace = poutine.trace(story).get_trace(x, classes)
    trace.compute_log_prob()
    log_joint = sum(s["log_prob"] for s in trace.nodes.values() if s["type"] == "sample" and "log_prob" in s)
    dimensions = sum(z.shape[-1] for z in grid.values())
    first, second, *_ = _axis(dimensions)
    return (log_joint.logsumexp(0) + dimensions * (second - first).log()).item()


@cache
def _evidence(name):
    """log p(x) of what -U bounds, and log p(x, y = 1) of what -L does (log p(x) where it has no class)."""
    model = _model(name)
    by_class = [_exact(model, y) for y in range(CLASSES)] if model.has_label_site else []
    unlabelled = torch.tensor(by_class).logsumexp(0).item() if model.sums_over_class else _exact(model)
    return unlabelled, by_class[1] if by_class else unlabelled


@torch.no_grad()
def _mean_bound(model, labelled, repeats=REPEATS, copies=COPIES, **options):
    """-L or -U of one image, and the standard error of the mean: over many copies, each with noise of its own."""
    x, none = torch.tensor(PIXELS).view(1, *IMAGE).expand(copies, -1, -1, -1), torch.zeros(0, *IMAGE)
    y = torch.full((copies if labelled else 0,), 1)
    seen = Observations(x, y, none) if labelled else Observations(none, y, x)
    sizes = Sizes(copies, 0) if labelled else Sizes(0, copies)
    objective = Objective(alpha=0, **options)
    means = torch.stack([-objective(model, seen, sizes)[0] for _ in range(repeats)])
    return means.mean().item(), (means.std() / math.sqrt(repeats)).item()


of_each_sum = pytest.mark.parametrize(
    ("labelled", "summed_classes"),
    [(False, None), (False, 1), (True, None)],
    ids=["U, exact sum", "U, truncated sum", "L"],
)


@of_each_sum
@pytest.mark.parametrize("kl_weight", [1.0, 3.0])
@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("name", BOUNDS)
def test_no_bound_is_above_the_evidence(name, samples, summed_classes, kl_weight, labelled):
    log_p = _evidence(name)[labelled]
    bound, error = _mean_bound(
        _model(name),
        labelled,
        importance_samples=samples,
        summed_classes=summed_classes,
        kl_weight=KLWeight(kl_weight, kl_weight),
    )
    assert bound < log_p + 4 * error


@of_each_sum
@pytest.mark.parametrize("name", BOUNDS)
def test_more_samples_never_loosen_a_bound(name, summed_classes, labelled):
    model = _model(name)
    found = [
        _mean_bound(model, labelled, importance_samples=k, summed_classes=summed_classes, copies=copies)
        for k, copies in ((1, 600), (4, 300), (32, 50))
    ]
    for (fewer, its_error), (more, error) in itertools.pairwise(found):
        assert more > fewer - 4 * math.hypot(error, its_error)
    assert found[-1][0] > found[0][0]


@pytest.mark.parametrize(
    ("name", "summed_classes"),
    [("ADGM", None), ("ADGM", 1), ("SDGM", None), ("M1M2", None), ("M2", None), ("M2, full rank", None)],
)
def test_many_samples_leave_what_the_mean_classifier_is_away_from_the_posterior(name, summed_classes):
    """U_K → log p(x) - KL( E_q(a|x)[ q(y|a, x) ] || p(y|x) ), whose mean over a is an integral over the grid."""
    model = _model(name, 0.05)  # so near to the posterior that 500 samples are many
    log_joint = torch.tensor([_exact(model, y) for y in range(CLASSES)])
    x = torch.tensor(PIXELS).view(1, *IMAGE)
    with torch.no_grad():
        first = {"ADGM": "q_a", "SDGM": "q_a", "M1M2": "q_z1"}.get(name)
        if first is None:
            log_q_y = model.classify(x).logits[0]
        else:
            a = GRID.unsqueeze(-1)  # (points, 1)
            log_q_a = getattr(model, first)(x).log_prob(a) + (GRID[1] - GRID[0]).log()
            if name == "M1M2":
                log_q_y_of_a = model.q_y(a).logits
            else:
                log_q_y_of_a = model.y_encoder(x.expand(len(a), -1, -1, -1), beside=a).log_softmax(-1)
            log_q_y = (log_q_a.unsqueeze(-1) + log_q_y_of_a).logsumexp(0)
            assert log_q_y_of_a.exp().std(0).max() > 0.1, "the classifier has to depend on a"
    limit = (log_q_y.exp() * (log_joint - log_q_y)).sum().item()
    bound, error = _mean_bound(
        model, False, repeats=10, copies=50, importance_samples=500, summed_classes=summed_classes
    )
    assert bound == pytest.approx(limit, abs=0.05 + 4 * error)
    assert error < 0.02


def test_a_kl_weight_is_paid_for_with_any_number_of_samples():
    """L_K + (β - 1) KL, with KL in closed form: β = 5 takes four KL divergences from the bound."""
    model = _model("M2")
    x, y = torch.tensor(PIXELS).view(1, *IMAGE), torch.tensor([1])
    with torch.no_grad():
        q = model.q_z(x, y)
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(q.mean, q.stddev), torch.distributions.Normal(0.0, 1.0)
        ).sum()
    for samples in (1, 10):
        (plain, error), (weighted, its_error) = (
            _mean_bound(model, True, copies=3000, importance_samples=samples, kl_weight=KLWeight(beta, beta))
            for beta in (1.0, 5.0)
        )
        assert plain - weighted == pytest.approx(4 * kl.item(), abs=4 * math.hypot(error, its_error))
        assert math.hypot(error, its_error) < 0.05


def test_every_model_that_claims_a_bound_is_looked_at():
    claim = {type(make()) for make in MODELS.values() if make().bounds_evidence}
    looked_at = {type(_model(name)) for name in BOUNDS}
    # What is distilled has the programs of what it is made from.
    assert {c for c in claim if not any(issubclass(c, seen) for seen in looked_at)} == set()
