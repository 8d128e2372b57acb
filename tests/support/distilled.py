"""What the tests of the distilled models share: a small one of either kind, and images."""

import torch

from ssvae.inference import Consistency, Objective
from ssvae.inference.objective import Observations, Sizes
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

IMAGE, CLASSES, LATENT, FEATURES = (1, 4, 4), 3, 2, 4
EXACT = {"rtol": 0, "atol": 1e-9}
SIZES = Sizes(12, 30)
LESSON = Objective(alpha=1, consistency=Consistency(2.0))


def model(kind, **options):
    """A model of either kind, whose classifier on features is fitted twice."""
    options = {"networks": MLP((6,)), "classifier": MLP((5,)), "fitted_at": (0.4, 0.7), **options}
    return kind(IMAGE, CLASSES, prior=StandardNormal(LATENT), likelihood=Bernoulli(), feature_dim=FEATURES, **options)


def images(n):
    """Images of zeros and ones."""
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def seen(n=12):
    """What a step sees: n labelled images, and as many others and one more, twice."""
    return Observations(images(n), torch.arange(n) % CLASSES, images(n + 1), images(n + 1))


def losses(model, seen, objective=LESSON):
    """J / N and its terms, always with the same noise."""
    torch.manual_seed(7)
    return objective(model, seen, SIZES)
