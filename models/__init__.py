"""Generative models of images and their classes: Pyro programs, priors, posteriors, likelihoods, networks.

Every model is a `SemiSupervisedModel`: a Pyro program ``model(x, y=None)``, a guide ``guide(x, y=None)``, and
``classify``, ``encode``, ``reconstruct``, ``analogies`` and ``sample``.

Example:
    >>> import torch
    >>> from ssvae.models import M2, likelihoods, priors
    >>> m2 = M2((1, 28, 28), num_classes=10, prior=priors.StandardNormal(20), likelihood=likelihoods.Bernoulli())
    >>> m2.sample(torch.tensor([3, 3, 7])).shape
    torch.Size([1, 3, 1, 28, 28])
"""

from ssvae.models import feature_classifiers, likelihoods, networks, posteriors, priors
from ssvae.models.adgm import ADGM
from ssvae.models.adversarial_autoencoder import AdversarialAutoencoder
from ssvae.models.base import SemiSupervisedModel
from ssvae.models.class_probabilities import ClassProbabilities
from ssvae.models.conditional_vae import ConditionalVAE
from ssvae.models.distilled_m1 import DistilledM1
from ssvae.models.distilled_m2 import DistilledM2
from ssvae.models.gmvae import GMVAE
from ssvae.models.ladder_vae import LadderVAE
from ssvae.models.m1 import M1
from ssvae.models.m1m2 import M1M2
from ssvae.models.m2 import M2
from ssvae.models.sdgm import SDGM
from ssvae.models.somvae import SOMVAE
from ssvae.models.sparse_label_vae import SparseLabelVAE
from ssvae.models.torchvision_classifier import Torchvision

__all__ = [
    "ADGM",
    "GMVAE",
    "M1",
    "M1M2",
    "M2",
    "SDGM",
    "SOMVAE",
    "AdversarialAutoencoder",
    "ClassProbabilities",
    "ConditionalVAE",
    "DistilledM1",
    "DistilledM2",
    "LadderVAE",
    "SemiSupervisedModel",
    "SparseLabelVAE",
    "Torchvision",
    "feature_classifiers",
    "likelihoods",
    "networks",
    "posteriors",
    "priors",
]
