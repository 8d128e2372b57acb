"""What is believed about images and their classes: Pyro programs, priors, posteriors, likelihoods, networks."""

from models import feature_classifiers, likelihoods, networks, posteriors, priors
from models.adgm import ADGM
from models.adversarial_autoencoder import AdversarialAutoencoder
from models.base import SemiSupervisedModel
from models.class_probabilities import ClassProbabilities
from models.conditional_vae import ConditionalVAE
from models.distilled_m1 import DistilledM1
from models.distilled_m2 import DistilledM2
from models.gmvae import GMVAE
from models.ladder_vae import LadderVAE
from models.m1 import M1
from models.m1m2 import M1M2
from models.m2 import M2
from models.sdgm import SDGM
from models.somvae import SOMVAE
from models.sparse_label_vae import SparseLabelVAE

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
    "feature_classifiers",
    "likelihoods",
    "networks",
    "posteriors",
    "priors",
]
