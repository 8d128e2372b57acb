"""Posteriors q(z | ·), each in a small file; `Posterior`'s docstring says how to write one."""

from ssvae.models.posteriors.base import AmortizedPosterior, Posterior
from ssvae.models.posteriors.diagonal_normal import DiagonalNormal
from ssvae.models.posteriors.fixed_scale_normal import FixedScaleNormal
from ssvae.models.posteriors.full_rank_normal import FullRankNormal

__all__ = ["AmortizedPosterior", "DiagonalNormal", "FixedScaleNormal", "FullRankNormal", "Posterior"]
