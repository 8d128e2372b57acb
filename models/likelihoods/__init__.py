"""Likelihoods p(x | ·), each in a file of its own. The docstring of `Likelihood` explains how to write one."""

from ssvae.models.likelihoods.base import PIXEL_LEVELS, Likelihood, bounded, for_each_entry
from ssvae.models.likelihoods.bernoulli import Bernoulli, log_bernoulli
from ssvae.models.likelihoods.categorical import Categorical
from ssvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from ssvae.models.likelihoods.counts import CountLikelihood
from ssvae.models.likelihoods.discretized_logistic import DiscretizedLogistic
from ssvae.models.likelihoods.expected_bernoulli import ExpectedBernoulli
from ssvae.models.likelihoods.gaussian import Gaussian
from ssvae.models.likelihoods.missing_entries import MissingEntries
from ssvae.models.likelihoods.mixed import Mixed
from ssvae.models.likelihoods.multinomial import Multinomial
from ssvae.models.likelihoods.negative_binomial import NegativeBinomial
from ssvae.models.likelihoods.pixels import PixelLikelihood
from ssvae.models.likelihoods.poisson import Poisson
from ssvae.models.likelihoods.student_t import StudentT

__all__ = [
    "PIXEL_LEVELS",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "CountLikelihood",
    "DiscretizedLogistic",
    "ExpectedBernoulli",
    "Gaussian",
    "Likelihood",
    "MissingEntries",
    "Mixed",
    "Multinomial",
    "NegativeBinomial",
    "PixelLikelihood",
    "Poisson",
    "StudentT",
    "bounded",
    "for_each_entry",
    "log_bernoulli",
]
