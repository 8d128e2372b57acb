"""What is believed about images and their classes: Pyro programs, priors, posteriors, likelihoods, networks."""

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
