"""Priors p(z), p(z | y) and p(y), each in a file of its own. The docstring of `Prior` explains how to write one."""

from ssvae.models.priors.base import Prior
from ssvae.models.priors.class_conditional import ClassConditional
from ssvae.models.priors.classes import ClassPrior
from ssvae.models.priors.gaussian_mixture import GaussianMixture
from ssvae.models.priors.generative_topographic_mapping import GenerativeTopographicMapping
from ssvae.models.priors.normalizing_flow import NormalizingFlow
from ssvae.models.priors.separated_means import SeparatedMeans
from ssvae.models.priors.standard_normal import StandardNormal
from ssvae.models.priors.vamp import VampPrior

__all__ = [
    "ClassConditional",
    "ClassPrior",
    "GaussianMixture",
    "GenerativeTopographicMapping",
    "NormalizingFlow",
    "Prior",
    "SeparatedMeans",
    "StandardNormal",
    "VampPrior",
]
