"""Semi-supervised variational autoencoders in Pyro.

    ssvae.models       Pyro programs, priors, posteriors, likelihoods, networks
    ssvae.data         observations, and which labels are known
    ssvae.inference    objective, training, evaluation, runs, command line

This is the front door, which offers the everyday names of all three. They are loaded when they are first asked for.

Example:
    >>> import ssvae
    >>> digits = ssvae.Digits(num_labels=50)
    >>> model = ssvae.M2(digits.image_shape, digits.num_classes, prior=ssvae.priors.StandardNormal(5))
"""

from typing import TYPE_CHECKING

from ssvae.lazy import attributes

if TYPE_CHECKING:
    from ssvae import data, inference, models
    from ssvae.data import (
        MNIST,
        SVHN,
        Arrays,
        Augmentation,
        Batches,
        Data,
        Digits,
        DomainAdaptation,
        FashionMNIST,
        Hierarchy,
        ImageData,
        ImageFolder,
        MNIST5k,
        NumpyFiles,
        SmallNORB,
    )
    from ssvae.inference import (
        Consistency,
        KLWeight,
        Objective,
        Recipe,
        Run,
        SemiSupervisedClassifier,
        TrainerOptions,
        contracts,
        evaluate,
        figures,
        fit,
        load,
        resume,
    )
    from ssvae.models import (
        ADGM,
        GMVAE,
        M1,
        M1M2,
        M2,
        SDGM,
        SOMVAE,
        AdversarialAutoencoder,
        ClassProbabilities,
        ConditionalVAE,
        DistilledM1,
        DistilledM2,
        LadderVAE,
        SemiSupervisedModel,
        SparseLabelVAE,
        Torchvision,
        feature_classifiers,
        likelihoods,
        networks,
        posteriors,
        priors,
    )

__version__ = "0.2.0"

__all__ = [
    "ADGM",
    "GMVAE",
    "M1",
    "M1M2",
    "M2",
    "MNIST",
    "SDGM",
    "SOMVAE",
    "SVHN",
    "AdversarialAutoencoder",
    "Arrays",
    "Augmentation",
    "Batches",
    "ClassProbabilities",
    "ConditionalVAE",
    "Consistency",
    "Data",
    "Digits",
    "DistilledM1",
    "DistilledM2",
    "DomainAdaptation",
    "FashionMNIST",
    "Hierarchy",
    "ImageData",
    "ImageFolder",
    "KLWeight",
    "LadderVAE",
    "MNIST5k",
    "NumpyFiles",
    "Objective",
    "Recipe",
    "Run",
    "SemiSupervisedClassifier",
    "SemiSupervisedModel",
    "SmallNORB",
    "SparseLabelVAE",
    "Torchvision",
    "TrainerOptions",
    "__version__",
    "contracts",
    "data",
    "evaluate",
    "feature_classifiers",
    "figures",
    "fit",
    "inference",
    "likelihoods",
    "load",
    "models",
    "networks",
    "posteriors",
    "priors",
    "resume",
]

_ROOMS = ("data", "inference", "models")
_HOMES = {
    "ADGM": "models",
    "GMVAE": "models",
    "M1": "models",
    "M1M2": "models",
    "M2": "models",
    "MNIST": "data",
    "SDGM": "models",
    "SOMVAE": "models",
    "SVHN": "data",
    "AdversarialAutoencoder": "models",
    "Arrays": "data",
    "Augmentation": "data",
    "Batches": "data",
    "ClassProbabilities": "models",
    "ConditionalVAE": "models",
    "Consistency": "inference",
    "Data": "data",
    "Digits": "data",
    "DistilledM1": "models",
    "DistilledM2": "models",
    "DomainAdaptation": "data",
    "FashionMNIST": "data",
    "Hierarchy": "data",
    "ImageData": "data",
    "ImageFolder": "data",
    "KLWeight": "inference",
    "LadderVAE": "models",
    "MNIST5k": "data",
    "NumpyFiles": "data",
    "Objective": "inference",
    "Recipe": "inference",
    "Run": "inference",
    "SemiSupervisedClassifier": "inference",
    "SemiSupervisedModel": "models",
    "SmallNORB": "data",
    "SparseLabelVAE": "models",
    "Torchvision": "models",
    "TrainerOptions": "inference",
    "contracts": "inference",
    "evaluate": "inference",
    "feature_classifiers": "models",
    "figures": "inference",
    "fit": "inference",
    "likelihoods": "models",
    "load": "inference",
    "networks": "models",
    "posteriors": "models",
    "priors": "models",
    "resume": "inference",
}

__getattr__, __dir__ = attributes(__name__, __all__, _HOMES, _ROOMS)
