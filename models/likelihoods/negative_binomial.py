"""Counts whose variance is larger than their mean."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods.base import bounded, for_each_entry
from ssvae.models.likelihoods.counts import CountLikelihood, bounded_log_mean


class NegativeBinomial(CountLikelihood):
    """Counts whose variance is larger than their mean: p(x | ·) = Π NB(x; μ, r), log μ from the decoder, r learned.

    Each entry of x has an r of its own. The density is that of a Poisson whose rate is drawn from a Gamma::

        p(x) = Γ(x + r) / (Γ(r) x!) · (r / (r + μ))^r (μ / (r + μ))^x,    E[x] = μ,    Var[x] = μ + μ² / r

    The larger r, the closer to `Poisson`. log μ is bounded to (-12, 12), log r to (-6, 6). The likelihood of gene
    counts in Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics", Nature Methods 15, there
    with a size of each cell and a probability of dropout besides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_total_count = nn.Parameter(torch.tensor(0.0))

    def set_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Set the shape of x, and make an r for each entry; see `Likelihood.set_event_shape`."""
        super().set_event_shape(event_shape)
        self.log_total_count = for_each_entry(self.log_total_count, event_shape)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return NegativeBinomial(r, logits=log μ - log r)."""
        log_total_count = bounded(self.log_total_count)
        logits = bounded_log_mean(parameters) - log_total_count
        return dist.NegativeBinomial(log_total_count.exp(), logits=logits).to_event(self.event_dim)
