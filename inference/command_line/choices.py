"""The classes that can be named on the command line: those of this package, and those that other packages register.

A package registers a class by an entry point under the class's name, in its pyproject.toml:

    [project.entry-points."ssvae.priors"]
    Theirs = "their_package:Theirs"

The groups are ssvae.models, ssvae.priors, ssvae.posteriors and ssvae.likelihoods.
"""

import warnings
from importlib.metadata import entry_points
from inspect import isabstract
from types import ModuleType

from ssvae import data, models
from ssvae.data import Arrays, Data, ImageData, VectorData, Vectors
from ssvae.models import (
    SemiSupervisedModel,
    Torchvision,
    feature_classifiers,
    likelihoods,
    networks,
    posteriors,
    priors,
)


def offered(package: ModuleType, kind: type) -> tuple[type, ...]:
    """Return the concrete classes of a kind in a package's ``__all__``."""
    exported = [getattr(package, name) for name in package.__all__]
    return tuple(each for each in exported if _is_of(kind, each))


def registered(group: str, kind: type) -> tuple[type, ...]:
    """Return the classes of a kind that other packages register in a group of entry points.

    A class that cannot be loaded is left out with a warning, so that commands that do not need it still work.
    """
    classes = []
    for each in entry_points(group=group):
        try:
            loaded = each.load()
        except Exception as error:  # whatever the other package raises when it is imported
            warnings.warn(f"{group}: expected a class at {each.value}; got {error!r}. It is left out.", stacklevel=2)
            continue
        if _is_of(kind, loaded):
            classes.append(loaded)
        else:
            expected = f"a class that inherits from {kind.__name__} and has no abstract method"
            warnings.warn(f"{group}: expected {expected}; got {each.value}. It is left out.", stacklevel=2)
    return tuple(classes)


def _is_of(kind: type, thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, kind) and not isabstract(thing)


# Arrays are in memory, so that no option can name them.
_DATA = tuple(each for each in offered(data, Data) if each not in (Arrays, Data, ImageData, VectorData, Vectors))
_IMAGES = tuple(each for each in _DATA if issubclass(each, ImageData))
_NETWORKS = offered(networks, networks.Architecture)
CHOICES: dict[str, tuple[type, ...]] = {
    "data": _DATA,
    "other": _IMAGES,
    "source": _IMAGES,
    "target": _IMAGES,
    "model": offered(models, SemiSupervisedModel) + registered("ssvae.models", SemiSupervisedModel),
    "prior": offered(priors, priors.Prior) + registered("ssvae.priors", priors.Prior),
    "posterior": offered(posteriors, posteriors.Posterior) + registered("ssvae.posteriors", posteriors.Posterior),
    "likelihood": offered(likelihoods, likelihoods.Likelihood)
    + registered("ssvae.likelihoods", likelihoods.Likelihood),
    "networks": _NETWORKS,
    "classifier": (*_NETWORKS, Torchvision),
    "inner_networks": _NETWORKS,
    "discriminators": _NETWORKS,
    "class_prior": (priors.ClassPrior,),
    "feature_classifier": offered(feature_classifiers, feature_classifiers.FeatureClassifier),
}
"""The classes that can be named after --data, --model, --model.prior, …. Any other class needs its import path."""
