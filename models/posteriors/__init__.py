"""Posteriors q(z | ·), each in a small file; `Posterior`'s docstring says how to write one."""

from models.posteriors.base import AmortizedPosterior, Posterior
from models.posteriors.diagonal_normal import DiagonalNormal
from models.posteriors.fixed_scale_normal import FixedScaleNormal
from models.posteriors.full_rank_normal import FullRankNormal

__all__ = ["AmortizedPosterior", "DiagonalNormal", "FixedScaleNormal", "FullRankNormal", "Posterior"]
