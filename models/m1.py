"""M1: features of an image, without its class; a classifier on them."""

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.feature_classifiers import FeatureBank, FeatureClassifier, SupportVectorMachine
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2
from ssvae.models.networks import MLP, Architecture, ImageShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import Prior, StandardNormal
from ssvae.models.stages import Refits

_DRAWS = 100


class M1(Refits, SemiSupervisedModel):
    """The latent-feature model M1 of Kingma et al. 2014, arXiv 1406.5298: a VAE, and a classifier on its features.

    The story, in which no class is mentioned:

        z ~ p(z)            the features
        x ~ p(x | z)        the image

    The guide:

        z ~ q(z | x)        = N(μ(x), diag σ²(x))

    Its ELBO, for labelled and unlabelled images alike:

        log p(x) >= E_q(z|x) [ log p(x|z) + log p(z) - log q(z|x) ]

    The class is told from the mean of q(z | x), q(y | x) = c(y; μ(x)), by a classifier c of scikit-learn's that is
    fitted to the labelled images whenever the model is saved, and is uniform before. For its images of a class, z is
    drawn from p(z) until c says that class; an image's style in another class is z moved by the difference between the
    classes' mean z, a latent attribute vector as of White 2016, arXiv 1609.04468.

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
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z); N(0, I) in 50 dimensions where it is not given. Of a p(z | y), the mixture of the classes in equal
            parts, as the story has no p(y).
        posterior: The family of q(z | x); `DiagonalNormal` where it is not given.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of q(z | x) and p(x | z); where they are not given the paper's MLP, two layers of 600
            softplus units.
        feature_classifier: The classifier c on z; a support vector machine where it is not given.

    Raises:
        ValueError: If a size is not positive.
    """

    has_label_site = False
    sums_over_class = False
    learns_classifier = False

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        feature_classifier: FeatureClassifier | None = None,
    ) -> None:
        super().__init__(
            image_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks if networks is not None else MLP(hidden=(600, 600)),
        )
        self.feature_classifier = feature_classifier if feature_classifier is not None else SupportVectorMachine()

        latent_dim = self.prior.latent_dim
        self.z_encoder = self.networks.encoder(image_shape, self.posterior.num_parameters(latent_dim))
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape)
        self.feature_bank = FeatureBank(self.feature_classifier, latent_dim, num_classes)
        self.prior.attach(num_classes, image_shape, AmortizedPosterior(self.encode_z, self.posterior))

    def story(self) -> list[tuple[str, str]]:
        """The three densities, and what tells the class; see `SemiSupervisedModel.story`."""
        return [
            ("p(z)", repr(self.prior)),
            ("p(x | z)", f"{self.likelihood}, shape {tuple(self.image_shape)}; decoder {self.networks}"),
            ("q(z | x)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
            ("q(y | x)", f"{self.feature_classifier} on the mean of q(z | x)"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(z) p(x | z), whatever y; see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(z)
            z = pyro.sample("z", self.prior())
            # p(x | z)
            pyro.sample("x", self.p_x(z), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x), whatever y; see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x)
            pyro.sample("z", self.q_z(x))

    def classify(self, x: Tensor) -> dist.Categorical:
        """c(y; mean of q(z | x)), which has no gradient; see `SemiSupervisedModel.classify`."""
        return dist.Categorical(probs=self.feature_bank.probabilities(self.q_z(x).mean))

    def encode_z(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | x), whatever y; (batch, `Posterior.num_parameters`)."""
        parameters: Tensor = self.z_encoder(x)
        return parameters

    def q_z(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """q(z | x), whatever y; see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x))

    def p_x(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """p(x | z), whatever y; see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z))

    @property
    def num_refit_images(self) -> int:
        """As many as the classifier on the features has a use for; see `Refits.num_refit_images`."""
        return self.feature_classifier.num_unlabelled

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Keep the mean features of the images, which the classifier is fitted to."""
        self.feature_bank.keep_features(lambda x: self.q_z(x).mean, x, y, unlabelled)

    def baseline(self) -> M2:
        """Return an M2 with the same networks, whose classifier looks at the image itself."""
        return M2(self.image_shape, self.num_classes, networks=self.networks)

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z), z moved from its class to every class; see `SemiSupervisedModel.analogies`."""
        y = self._class_of(x, y)
        means = self.feature_bank.class_means()  # (classes, latent)
        z = self.q_z(x).mean - means[y] + means.unsqueeze(1)  # (classes, batch, latent)
        return self.p_x(z).mean

    def sample(self, y: Tensor, num_samples: int = 1) -> Tensor:
        """Return images of given classes; see `SemiSupervisedModel.sample`.

        z is drawn from p(z) until the classifier says y, a hundred times at most.
        """
        y = y.expand(num_samples, *y.shape)  # (samples, batch)
        prior = self.prior()
        z = prior.sample(y.shape)  # (samples, batch, latent)
        for _ in range(_DRAWS if len(self.feature_bank.known) else 0):
            another = self.feature_bank.probabilities(z).argmax(-1) != y
            if not another.any():
                break
            z[another] = prior.sample((int(another.sum()),))
        return self.p_x(z).mean
