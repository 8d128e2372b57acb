"""Reliability of importance-sampling estimates: effective sample size and Pareto k̂ of the weights."""

import torch
from torch import Tensor

K_LIMIT = 0.7
"""An estimate with a larger k̂ is unreliable (Vehtari et al. 2024)."""

FEWEST_SAMPLES = 25
"""The least number of samples for k̂, which is fitted to the largest fifth of the weights, at least five of them."""


def effective_samples(log_w: Tensor) -> Tensor:
    """Return the effective sample size of importance weights.

    For weights w_1, …, w_S::

        ESS = (Σ_s w_s)² / Σ_s w_s²

    It is S if all weights are equal, and 1 if one sample has all the weight.

    Source: Kong 1992, "A note on importance sampling using standardized weights".

    Args:
        log_w: Logarithms of the weights, (samples, ...).

    Returns:
        Effective sample sizes in [1, S], of the shape without the samples.

    Example:
        >>> import torch
        >>> from ssvae.inference.evaluation.diagnostics import effective_samples
        >>> round(effective_samples(torch.zeros(4)).item(), 6)
        4.0
    """
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()


def pareto_k(log_w: Tensor) -> Tensor:
    """Return the Pareto k̂ of importance weights: the shape of a generalised Pareto fit to the largest ones.

    The weights have finite moments up to order 1 / k. Their variance is finite if k < 0.5. If k̂ > 0.7, no practical
    number of samples gives a reliable mean; the estimate is usually too small. The fit is ArviZ's.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72) (arXiv
    1507.02646).

    Args:
        log_w: Logarithms of the weights, (samples, batch).

    Returns:
        k̂, float64 (batch,). NaN for fewer than 25 samples; 0 if the largest weights are equal.
    """
    # Imported here since it takes a second to import.
    from arviz_stats.base.array import array_stats

    num_samples = len(log_w)
    pareto_shapes = torch.full(log_w.shape[1:], torch.nan, dtype=torch.float64)
    if num_samples < FEWEST_SAMPLES:
        return pareto_shapes
    ordered = log_w.detach().cpu().double().sort(0).values
    for image, column in enumerate(ordered.unbind(-1)):
        # Equal up to rounding errors, which are about 1e-13.
        are_equal = column[-1] - column[-(num_samples // 5)] < 1e-9
        pareto_shapes[image] = 0.0 if are_equal else float(array_stats.psislw(-column.numpy())[1])
    return pareto_shapes
