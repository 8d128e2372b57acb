"""How far an importance-sampled figure can be trusted: effective sample size and Pareto k̂ of its weights."""

import torch
from torch import Tensor

K_LIMIT = 0.7
"""From which k̂ on an estimate is not to be relied on: Vehtari et al. 2024."""

FEWEST_SAMPLES = 25
"""The fewest samples whose largest fifth has the five weights that k̂ asks for."""


def effective_samples(log_w: Tensor) -> Tensor:
    """Return (Σ_s w_s)² / Σ_s w_s² of log w, (samples, ...): from 1, where one has all the weight, to S.

    Kong 1992, "A note on importance sampling using standardized weights".
    """
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()


def pareto_k(log_w: Tensor) -> Tensor:
    """Return k̂ of log w, (samples, batch): the shape of a generalised Pareto distribution of the largest weights.

    The weights have moments up to 1 / k: below 0.5 their variance is finite; above 0.7 their mean is, for any practical
    number of samples, not what it seems, as a rule too small. Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto
    smoothed importance sampling", JMLR 25(72), arXiv 1507.02646, as ArviZ fits it.

    Returns:
        (batch,), float64. NaN where there are fewer than 25 samples; 0 where the largest weights are equal, which have
        no tail.
    """
    from arviz_stats.base.array import array_stats  # a second, which what does not evaluate need not wait

    num_samples = len(log_w)
    found = torch.full(log_w.shape[1:], torch.nan, dtype=torch.float64)
    if num_samples < FEWEST_SAMPLES:
        return found
    ordered = log_w.detach().cpu().double().sort(0).values
    for image, column in enumerate(ordered.unbind(-1)):
        # Rounding alone makes a difference of 1e-13 or so.
        level = column[-1] - column[-(num_samples // 5)] < 1e-9
        found[image] = 0.0 if level else float(array_stats.psislw(-column.numpy())[1])
    return found
