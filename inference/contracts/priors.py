"""The contract of priors: shapes, normalisation, samples that agree with the density, parameters that learn."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ssvae.inference.contracts.rules import (
    ContractError,
    check_arguments,
    check_copy,
    check_gradients,
    check_state,
    checking,
    close,
    expect,
    learned,
)
from ssvae.inference.predict import seeded
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassPrior, Prior

_IMAGE_SHAPE = (1, 8, 8)
_LATENT = 2
_NUM_SAMPLES = 10_000
_STEPS = 600  # of the grid, in each dimension
_HALF_WIDTH = 14.0  # the grid's least extent around the median, in median absolute deviations
_AT_ONCE = 2**15
_LEAST_P_VALUE = 1e-6
_STANDARD_ERRORS = 6.0  # the tolerance of estimates, in standard errors
_UNSEEN = 3 / _NUM_SAMPLES  # an upper bound (95 %) of the mass in regions without samples
_LARGEST_ERROR = 0.02  # the largest allowed log_prob_error, in nats; the tolerance is four times the stated one
_POINTS = 20  # points for each y at which the gradient is compared with difference quotients
_STEP = 1e-6  # the step of the difference quotients, in float64


def check_prior(prior: Prior, num_classes: int = 3) -> tuple[str, ...]:
    """Check that a prior keeps its contract, which `ssvae.models.priors.Prior` states.

    A copy of the prior is put into a small M2. Its parameters are moved away from their initial values, so that rules
    that hold only initially fail. Its density is integrated over a grid and compared with its samples. The prior
    itself, torch's random state and Pyro's parameter store are not changed.

    Example:
        >>> from ssvae.inference.contracts import check_prior
        >>> from ssvae.models.priors import GaussianMixture
        >>> len(check_prior(GaussianMixture(latent_dim=2, num_components=3)))
        6

    Args:
        prior: The prior, with ``latent_dim`` 2, so that its density can be integrated, and not part of a model yet.
        num_classes: The number of classes of the model.

    Returns:
        The rules, all of which hold, as sentences.

    Raises:
        TypeError: If it is not a prior.
        ContractError: If it breaks a rule; the message says which.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"prior: expected an object of a class that inherits from Prior; got {prior!r}.")
    name = type(prior).__name__
    latent_dim = getattr(prior, "latent_dim", "no such attribute")
    if latent_dim != _LATENT:
        raise ContractError(
            f"{name}: expected latent_dim == {_LATENT}, since the density is integrated on a grid; got {latent_dim}."
        )
    with checking(name, "a model can be built with it"):
        pi = [2 * k / (num_classes * (num_classes + 1)) for k in range(1, num_classes + 1)]  # not uniform
        model = M2(
            _IMAGE_SHAPE,
            num_classes,
            prior=copy.deepcopy(prior).cpu(),
            networks=MLP(hidden=(8,)),
            class_prior=ClassPrior(num_classes, pi),
        )
        with torch.no_grad():
            for parameter in learned(model).values():
                parameter.add_(0.1 * torch.randn_like(parameter))
    for rule, check in _RULES.items():
        with checking(name, rule):
            check(model)
    return tuple(_RULES)


def _y(model: M2) -> Tensor:
    """Return y of a batch that has every class, and more images than classes."""
    return torch.arange(model.num_classes + 2) % model.num_classes


def _classes(model: M2) -> dict[str, Tensor | None]:
    """Return y in every shape that a prior must accept."""
    y = torch.arange(model.num_classes)
    return {
        "without y": None,
        "with y of shape (batch,)": _y(model),
        "with y of shape (classes, 1)": y.unsqueeze(-1),
        "with y of shape (samples, classes, 1)": y.unsqueeze(-1).expand(4, -1, 1),
    }


def _log_p(model: M2, y: Tensor | None, z: Tensor) -> Tensor:
    """Return log p(z | y) with a fixed seed: a prior may estimate its normaliser by samples."""
    with seeded(0):
        log_p: Tensor = model.prior(y).log_prob(z)
        return log_p


def _check_arguments(model: M2) -> None:
    check_arguments(model.prior)
    check_state(model)


def _check_shapes(model: M2) -> None:
    for kind, y in _classes(model).items():
        distribution = model.prior(y)
        expect(
            isinstance(distribution, TorchDistributionMixin),
            f"a distribution of pyro.distributions {kind}",
            f"{type(distribution).__module__}.{type(distribution).__name__}",
        )
        expect(
            distribution.event_shape == (_LATENT,),
            f"event_shape == (latent_dim,) == ({_LATENT},) {kind}",
            f"{tuple(distribution.event_shape)} and batch_shape {tuple(distribution.batch_shape)}; "
            ".to_event(1) makes the last dimension part of the event",
        )
        if y is not None:
            looks_at_y = len(distribution.batch_shape) > 0
            expect(
                model.prior.is_class_conditional == looks_at_y,
                f"is_class_conditional = {looks_at_y} with batch_shape {tuple(distribution.batch_shape)} {kind}",
                model.prior.is_class_conditional,
            )
        shape = tuple(y.shape) if y is not None and model.prior.is_class_conditional else ()
        expect(
            distribution.batch_shape == shape,
            f"batch_shape {shape} {kind}",
            tuple(distribution.batch_shape),
        )
        # Expanded, as by the plate of images and by several samples at once.
        leading = () if y is None else tuple(y.shape[:-1])
        for expanded in (distribution, distribution.expand((*leading, len(_y(model))))):
            z = expanded.sample((6,))
            expected = (6, *expanded.batch_shape, _LATENT)
            expect(z.shape == expected, f"samples of shape {expected} {kind}", tuple(z.shape))
            expect(z.isfinite().all(), f"finite samples {kind}", "others")
            log_p = expanded.log_prob(z)
            expect(log_p.shape == expected[:-1], f"log p(z) of shape {expected[:-1]} {kind}", tuple(log_p.shape))


def _check_classes(model: M2) -> None:
    batch = len(_y(model))
    z = torch.randn(batch, _LATENT)
    given = [_log_p(model, torch.full((batch,), k), z) for k in range(model.num_classes)]
    enumerated = _log_p(model, torch.arange(model.num_classes).unsqueeze(-1), z).expand(model.num_classes, batch)
    for k, log_p in enumerate(given):
        expect(
            close(enumerated[k], log_p),
            "the same p(z | y) whether y has all classes at once or one class",
            f"another in class {k}",
        )
    # Σ_y p(y) p(z | y)
    mixture = (model.class_prior().logits.unsqueeze(-1) + torch.stack(given)).logsumexp(0)
    expect(
        close(_log_p(model, None, z), mixture),
        "without y the mixture of p(z | y) over y by the model's p(y), which self.log_p_y(num_classes) returns",
        "another p(z)",
    )


@dataclass(frozen=True)
class _Grid:
    """A density in two dimensions on a grid around its samples, whose cells are small in the centre and large outside.

    The edges of the cells are m + s sinh(u) in each dimension, with u evenly spaced, m the median of the samples and s
    their median absolute deviation. They reach four times as far as the samples.

    Attributes:
        edges: The edges of the cells, (dimensions, cells + 1).
        log_density: The log-density at the cells' centres, (cells, cells).
        mass: Density times area of the cells, (cells, cells), in float64.
    """

    def integrate(self, function: Tensor) -> tuple[float, float]:
        """Return Σ mass · f, f (cells, cells), and its standard error.

        Every third row and column form a grid of their own: nine estimates, whose mean is the sum over all cells.
        """
        parts = (self.mass * function).view(_STEPS // 3, 3, _STEPS // 3, 3)
        nine = 9 * parts.sum((0, 2)).flatten()
        return nine.mean().item(), nine.std().item() / 3

    edges: Tensor
    log_density: Tensor
    mass: Tensor

    @staticmethod
    def around(log_p: Callable[[Tensor], Tensor], samples: Tensor) -> "_Grid":
        median = samples.median(0).values
        spread = (samples - median).abs().median(0).values.clamp(min=1e-6)
        furthest = ((samples - median).abs() / spread).amax(0)
        ends = torch.asinh((4 * furthest).clamp(min=_HALF_WIDTH))
        u = ends.unsqueeze(-1) * torch.linspace(-1, 1, 2 * _STEPS + 1)  # every second one an edge
        points = median.unsqueeze(-1) + spread.unsqueeze(-1) * u.sinh()
        widths = (spread * ends).unsqueeze(-1) * u.cosh() * 2 / _STEPS
        middles = torch.cartesian_prod(points[0, 1::2], points[1, 1::2])
        everywhere = "a finite log p(z) for every z, as the support of posteriors is unbounded"
        try:
            with torch.no_grad():
                parts = [log_p(z) for z in middles.split(_AT_ONCE)]
        except ValueError:  # of Pyro's validation
            expect(False, everywhere, "none outside of the support")
        log_density = torch.cat(parts).view(_STEPS, _STEPS)
        expect(log_density.isfinite().all(), everywhere, "others")
        areas = widths[0, 1::2, None] * widths[1, None, 1::2]
        return _Grid(points[:, ::2], log_density.double(), log_density.double().exp() * areas.double())


def _check_density(model: M2) -> None:
    """Check the integral, the samples' counts in 6×6 rectangles, and the samples' mean log p(z) against the entropy."""
    stated = float(model.prior.log_prob_error)
    expect(0 <= stated <= _LARGEST_ERROR, f"log_prob_error from 0 to {_LARGEST_ERROR} nats", f"{stated:.3g}")
    classes: dict[str, Tensor | None] = {"p(z)": None}
    if model.prior.is_class_conditional:
        for k in {0, model.num_classes - 1}:
            classes[f"p(z | y = {k})"] = torch.tensor(k)
    for name, y in classes.items():
        with seeded(0):
            density = model.prior(y)
        samples = density.sample((_NUM_SAMPLES,)).detach()
        grid = _Grid.around(partial(_log_p, model, y), samples)
        total, error = grid.integrate(torch.ones_like(grid.mass))
        tolerance = _STANDARD_ERRORS * error + _UNSEEN + 4 * stated
        may_be_estimated = not stated and abs(total - 1) < 4 * _LARGEST_ERROR
        estimated = "; a normaliser that is estimated states its error as log_prob_error" if may_be_estimated else ""
        expect(
            abs(total - 1) < tolerance,
            f"{name} to integrate to 1 ± {tolerance:.1g} over a square four times as wide as its samples",
            f"{total:.4g}{estimated}",
        )
        agrees = f"samples of {name} that agree with its density"
        p_value = _chi_squared(grid, samples)
        expect(p_value > _LEAST_P_VALUE, agrees, f"counts as uneven as with probability {p_value:.1g}")
        with torch.no_grad():
            log_p = _log_p(model, y, samples).double()
        negative_entropy, error = grid.integrate(grid.log_density / total)
        tolerance = _STANDARD_ERRORS * (log_p.std().item() / _NUM_SAMPLES**0.5 + error)
        expect(
            abs(log_p.mean().item() - negative_entropy) < tolerance + _UNSEEN * log_p.abs().max().item(),
            agrees,
            f"samples whose mean log p(z) is {log_p.mean():.3f} instead of {negative_entropy:.3f} nats",
        )


def _chi_squared(grid: _Grid, samples: Tensor) -> float:
    """Return the p-value of samples' counts in rectangles between the sextiles of either axis."""
    sextile_of_cell, sextile_of_sample = [], []
    for axis in (0, 1):
        cumulated = grid.mass.sum(1 - axis).cumsum(0)
        targets = torch.arange(1, 6, dtype=cumulated.dtype) / 6 * cumulated[-1]
        cuts = torch.searchsorted(cumulated, targets).clamp(max=_STEPS - 1)
        sextile_of_cell.append(torch.searchsorted(cuts, torch.arange(_STEPS)))
        sextile_of_sample.append(torch.searchsorted(grid.edges[axis, cuts + 1], samples[:, axis].contiguous()))
    rectangles = (6 * sextile_of_cell[0][:, None] + sextile_of_cell[1]).flatten()
    probabilities = (grid.mass / grid.mass.sum()).flatten()
    expected = torch.zeros(36, dtype=probabilities.dtype).index_add_(0, rectangles, probabilities) * len(samples)
    counts = torch.bincount(6 * sextile_of_sample[0] + sextile_of_sample[1], minlength=36).double()
    # Rectangles with few expected samples are merged; one sample is added to their expected count.
    rare = expected < 5
    expected = torch.cat([expected[~rare], expected[rare].sum().view(1) + 1])
    counts = torch.cat([counts[~rare], counts[rare].sum().view(1)])
    statistic = ((counts - expected).square() / expected).sum()
    degrees = torch.tensor(len(counts) - 1.0, dtype=statistic.dtype)
    return torch.special.gammaincc(degrees / 2, statistic / 2).item()


def _add_gradients(model: M2, kind: str, y: Tensor | None) -> None:
    z = torch.randn(len(_y(model)), _LATENT, requires_grad=True)
    log_p = model.prior(y).log_prob(z).sum()
    expect(log_p.requires_grad, f"a gradient of log p(z) {kind}", "none")
    log_p.backward()


def _check_gradients(model: M2) -> None:
    for kind, y in _classes(model).items():
        model.zero_grad()
        check_gradients(learned(model.prior), f"log p(z) {kind}", partial(_add_gradients, model, kind, y))
    with _double_precision():
        difference = _slope_error(copy.deepcopy(model).double())
    expect(difference < 1e-4, "a gradient of log p(z) in z that is its slope", f"one that is off by {difference:.2%}")


def _slope_error(model: M2) -> float:
    """Return by how much the gradient of log p(z) in z differs from a difference quotient, relative to 1 + |slope|.

    In float64 and with a small step: the step that float32 needs would be too large for a density with kinks, such as a
    spline's at its knots.
    """
    y = _y(model).repeat(_POINTS)
    z = torch.randn(len(y), _LATENT, requires_grad=True)
    try:
        log_p = _log_p(model, y, z)
    except RuntimeError as error:
        words = str(error).partition("\n")[0].rstrip(".")
        expect(False, "log p(z) in float64 after .double(), which moves parameters and buffers", words)
    (gradient,) = torch.autograd.grad(log_p.sum(), z, materialize_grads=True)
    with torch.no_grad():
        above, below = (
            torch.stack([_log_p(model, y, z + sign * _STEP * axis) for axis in torch.eye(_LATENT)], -1)
            for sign in (1, -1)
        )
    slope = (above - below) / (2 * _STEP)
    return ((gradient - slope).abs() / (1 + slope.abs())).max().item()


@contextmanager
def _double_precision() -> Iterator[None]:
    """Make new tensors float64 for a while."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def _check_copy(model: M2) -> None:
    y = _y(model)
    x, z = torch.rand(len(y), *_IMAGE_SHAPE), torch.randn(len(y), _LATENT)
    q = model.q_z(x, y)
    # The mean too, because log p(z) may have no gradient, which another rule reports.
    (model.prior(y).log_prob(q.rsample()) + q.mean.sum(-1)).sum().backward()

    def log_p(one: nn.Module) -> Tensor:
        assert isinstance(one, M2)
        return _log_p(one, y, z)

    check_copy(model, log_p)


_RULES: dict[str, Callable[[M2], None]] = {
    "every constructor argument is kept under its own name, and every tensor once": _check_arguments,
    "forward returns a distribution over z, whose batch_shape is y's shape": _check_shapes,
    "the density integrates to one, and samples agree with it": _check_density,
    "every class has its own p(z | y)": _check_classes,
    "a trained model can be copied, and the copy has tensors of its own": _check_copy,
    "log p(z) has a gradient in z and in every parameter": _check_gradients,
}
