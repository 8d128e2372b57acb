"""M1: a VAE that learns features without classes, and a classifier on these features."""

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.feature_classifiers import FeatureBank, FeatureClassifier, SupportVectorMachine
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2, baseline_of
from ssvae.models.networks import MLP, Architecture, EventShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import Prior, StandardNormal
from ssvae.models.stages import Refits

_DRAWS = 100


class M1(Refits, SemiSupervisedModel):
    """The latent-feature model M1 of Kingma et al. 2014, arXiv 1406.5298: a VAE, and a classifier on its features.

    The generative story, which has no class::

        z ~ p(z)            the features
        x ~ p(x | z)        the image

    The guide::

        z ~ q(z | x)        = N(μ(x), diag σ²(x))

    The ELBO, the same for labelled and unlabelled images::

        log p(x) >= E_q(z|x) [ log p(x|z) + log p(z) - log q(z|x) ]

    A classifier c of scikit-learn predicts the class from the mean of q(z | x): q(y | x) = c(y; μ(x)). It is fitted to
    the labelled images whenever the model is saved; before, q(y | x) is uniform. ``sample`` draws z from p(z) until c
    predicts the given class. ``analogies`` moves z by the difference between the mean features of two classes, a latent
    attribute vector (White 2016, arXiv 1609.04468).

    Example:
        >>> import torch
        >>> from ssvae.models import M1, feature_classifiers
        >>> m1 = M1((1, 28, 28), 10, feature_classifier=feature_classifiers.KNearestNeighbours(num_neighbours=3))
        >>> x, y = torch.rand(20, 1, 28, 28), torch.arange(20) % 10
        >>> with torch.no_grad():
        ...     m1.refit(x, y, unlabelled=x[:0])
        >>> m1.classify(x).probs.sum(-1)[:2]
        tensor([1., 1.])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z). Default: N(0, I) in 50 dimensions. A prior p(z | y) is replaced by its mixture over equally
            probable classes, since there is no p(y) here.
        posterior: The family of q(z | x). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of q(z | x) and p(x | z). Default: the paper's MLP, two layers of 600 softplus units.
        feature_classifier: The classifier c on z. Default: a support vector machine.

    Raises:
        ValueError: If a size is not positive.
    """

    has_label_site = False
    sums_over_class = False
    learns_classifier = False
    discovers_classes = False

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        feature_classifier: FeatureClassifier | None = None,
    ) -> None:
        super().__init__(
            event_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks if networks is not None else MLP(hidden=(600, 600)),
        )
        self.feature_classifier = feature_classifier if feature_classifier is not None else SupportVectorMachine()

        latent_dim = self.prior.latent_dim
        self.z_encoder = self._encoder(self.networks, self.posterior.num_parameters(latent_dim))
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape)
        self.feature_bank = FeatureBank(self.feature_classifier, latent_dim, num_classes)
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.encode_z, self.posterior))

    def _story(self) -> list[tuple[str, str]]:
        """The three densities, and the classifier; see `SemiSupervisedModel._story`."""
        return [
            ("p(z)", repr(self.prior)),
            ("p(x | z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(z | x)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
            ("q(y | x)", f"{self.feature_classifier} on the mean of q(z | x)"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(z) p(x | z); y is not used. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(z)
            z = pyro.sample("z", self.prior())
            # p(x | z)
            pyro.sample("x", self.p_x(z), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x); y is not used. See `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x)
            pyro.sample("z", self.q_z(x))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) = c(y; mean of q(z | x)), without a gradient; see `SemiSupervisedModel.classify`."""
        return dist.Categorical(probs=self.feature_bank.probabilities(self.q_z(x).mean))

    def encode_z(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | x), (batch, ``posterior.num_parameters(latent_dim)``); y is not used."""
        parameters: Tensor = self.z_encoder(x)
        return parameters

    def q_z(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """q(z | x); y is not used. See `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x))

    def p_x(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """p(x | z); y is not used. See `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z))

    @property
    def num_refit_images(self) -> int:
        """The number of unlabelled images that c uses; see ``Refits.num_refit_images``."""
        return self.feature_classifier.num_unlabelled

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Store the mean features of the images, to which c is fitted when it is next used; see ``Refits.refit``."""
        self.feature_bank.keep_features(lambda x: self.q_z(x).mean, x, y, unlabelled)

    def baseline(self) -> M2:
        """Return an `M2` with the same networks, whose classifier takes the image itself."""
        return baseline_of(self)

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | z), z moved from its class to every class; see `SemiSupervisedModel.analogies`."""
        y = self._class_of(x, y)
        means = self.feature_bank.class_means()  # (classes, latent)
        z = self.q_z(x).mean - means[y] + means.unsqueeze(1)  # (classes, batch, latent)
        return self.p_x(z).mean

    def sample(self, y: Tensor, num_samples: int = 1) -> Tensor:
        """Return images of given classes; see `SemiSupervisedModel.sample`.

        z is drawn from p(z) until the classifier predicts y, at most a hundred times.
        """
        y = y.expand(num_samples, *y.shape)  # (samples, batch)
        prior = self.prior()
        z = prior.sample(y.shape)  # (samples, batch, latent)
        for _ in range(_DRAWS if len(self.feature_bank.known) else 0):
            is_wrong = self.feature_bank.probabilities(z).argmax(-1) != y
            if not is_wrong.any():
                break
            z[is_wrong] = prior.sample((int(is_wrong.sum()),))
        return self.p_x(z).mean
