"""Likelihoods p(x | ·), each in a file of its own. The docstring of `Likelihood` explains how to write one."""

from ssvae.models.likelihoods.base import PIXEL_LEVELS, Likelihood, bounded, for_each_entry
from ssvae.models.likelihoods.bernoulli import Bernoulli, log_bernoulli
from ssvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from ssvae.models.likelihoods.discretized_logistic import DiscretizedLogistic
from ssvae.models.likelihoods.expected_bernoulli import ExpectedBernoulli
from ssvae.models.likelihoods.gaussian import Gaussian
from ssvae.models.likelihoods.pixels import PixelLikelihood

__all__ = [
    "PIXEL_LEVELS",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "ExpectedBernoulli",
    "Gaussian",
    "Likelihood",
    "PixelLikelihood",
    "bounded",
    "for_each_entry",
    "log_bernoulli",
]
