"""Priors p(z), p(z | y) and p(y), each in a small file; `Prior`'s docstring says how to write one."""

from models.priors.base import Prior
from models.priors.class_conditional import ClassConditional
from models.priors.classes import ClassPrior
from models.priors.gaussian_mixture import GaussianMixture
from models.priors.generative_topographic_mapping import GenerativeTopographicMapping
from models.priors.normalizing_flow import NormalizingFlow
from models.priors.separated_means import SeparatedMeans
from models.priors.standard_normal import StandardNormal
from models.priors.vamp import VampPrior

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
