"""Posteriors q(z | ·), each in a file of its own. The docstring of `Posterior` explains how to write one."""

from ssvae.models.posteriors.base import AmortizedPosterior, Posterior
from ssvae.models.posteriors.diagonal_normal import DiagonalNormal
from ssvae.models.posteriors.fixed_scale_normal import FixedScaleNormal
from ssvae.models.posteriors.full_rank_normal import FullRankNormal

__all__ = ["AmortizedPosterior", "DiagonalNormal", "FixedScaleNormal", "FullRankNormal", "Posterior"]
