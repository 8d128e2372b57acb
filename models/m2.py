"""M2: an image is generated from its class and its style."""

import copy

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, EventShape, Network
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import ClassPrior, Prior, StandardNormal


class M2(SemiSupervisedModel):
    """The generative semi-supervised model M2 of Kingma et al. 2014, arXiv 1406.5298.

    The generative story::

        y ~ p(y)            the class: observed, or summed over
        z ~ p(z)            the style; or p(z | y), with a class-conditional prior
        x ~ p(x | y, z)     the image

    The guide::

        y ~ q(y | x)        the classifier
        z ~ q(z | x, y)     = N(μ(x, y), diag σ²(x, y))

    The ELBO is -L(x, y) for a labelled image and -U(x) for an unlabelled one::

        -L(x, y) = E_q(z|x,y) [ log p(x|y,z) + log p(y) + log p(z) - log q(z|x,y) ]
        -U(x)    = Σ_y q(y|x) ( -L(x, y) ) + H(q(y|x))

    Example:
        >>> import torch
        >>> from ssvae.models import M2, priors
        >>> m2 = M2(event_shape=(1, 28, 28), num_classes=10, prior=priors.GaussianMixture(latent_dim=50))
        >>> m2.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 50 dimensions.
        posterior: The family of q(z | x, y). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors. The
            paper's Bernoulli is for binarised images.
        networks: The architecture of q(z | x, y) and p(x | y, z). Default: the paper's MLP, one layer of 500 softplus
            units.
        classifier: The architecture of q(y | x). Default: ``networks``.
        class_prior: p(y). Default: uniform.

    Raises:
        ValueError: If a size is not positive, or the class prior is for another number of classes.
    """

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        classifier: Architecture | None = None,
        class_prior: ClassPrior | None = None,
    ) -> None:
        super().__init__(
            event_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            class_prior=class_prior if class_prior is not None else ClassPrior(num_classes),
        )
        self.classifier = self._seeing(classifier) if classifier is not None else self.networks

        self.y_encoder = self._make_y_encoder()
        self.z_encoder = self._make_z_encoder(self.posterior.num_parameters(self.prior.latent_dim))
        self.decoder = self._make_decoder()
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.encode_z, self.posterior))

    # Models whose densities condition on other variables override these three.

    def _make_y_encoder(self) -> Network:
        return self._encoder(self.classifier, self.num_classes)

    def _make_z_encoder(self, num_outputs: int) -> Network:
        return self._encoder(self.networks, num_outputs, self.num_classes)

    def _make_decoder(self) -> Network:
        return self.networks.decoder(self.prior.latent_dim, self.decoder_shape, self.num_classes)

    def _story(self) -> list[tuple[str, str]]:
        """The five densities; see `SemiSupervisedModel._story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(y | x)", f"Categorical, {self.num_classes} classes; y_encoder {self.classifier}"),
            ("q(z | x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z | y) p(x | y, z); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(x | y, z)
            pyro.sample("x", self.p_x(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(y | x) q(z | x, y); see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            if y is None:
                # q(y | x)
                y = pyro.sample("y", self.classify(x), infer={"enumerate": "parallel"})  # (classes, 1)
            # q(z | x, y)
            pyro.sample("z", self.q_z(x, y))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x); see `SemiSupervisedModel.classify`."""
        return dist.Categorical(logits=self.y_encoder(x))

    def encode_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the parameters of q(z | x, y), (..., batch, ``posterior.num_parameters(latent_dim)``)."""
        parameters: Tensor = self.z_encoder(x, y)  # (classes, batch, ...) if y is enumerated
        return parameters

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | x, y); see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x, y))

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z); see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))


def baseline_of(model: SemiSupervisedModel, classifier: Architecture | None = None) -> M2:
    """Return the untrained M2 that is the baseline of another model: of the same sizes, likelihood and networks.

    Args:
        model: The model.
        classifier: The architecture of q(y | x). Default: that of the networks.
    """
    return M2(
        model.event_shape,
        model.num_classes,
        likelihood=copy.deepcopy(model.likelihood),
        networks=model.networks,
        classifier=classifier,
    )
