"""SparseLabelVAE: an encoder with a softmax head, whose class probabilities the decoder takes beside z."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, EventShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import Prior, StandardNormal


class SparseLabelVAE(SemiSupervisedModel):
    """A VAE whose encoder has an additional softmax head, for any number of labels from none to all.

    Berkhahn, Keys, Ouertani, Shetty and Geißler 2019, "Augmenting variational autoencoders with sparse labels: a
    unified framework for unsupervised, semi-(un)supervised, and supervised learning", arXiv 1908.03015.

    The last layer of the encoder has three heads, h(x) -> π(x), μ(x), log σ(x); the first is a softmax over the
    classes. The decoder takes the probabilities π(x) beside z. The generative story::

        z ~ p(z)                  the code
        x ~ p(x | π(x), z)        the image

    The guide::

        z ~ q(z | x)              = N(μ(x), diag σ²(x))

    The loss::

        -E_q(z|x) [ log p(x|π(x),z) ] + KL( q(z|x) || p(z) )                   every image
        + weight · ( -log π_y(x) )                                             labelled images

    The second line is the term -log q(y|x) of J, with q(y|x) = Cat(π(x)). The programs have no class: the bound treats
    labelled images like unlabelled ones. There is no sum over classes, so that a step is about as fast as that of a
    VAE. Without labels π(x) adds K numbers in [0, 1] to the code, which do not count in the KL divergence.

    For the same reason the "ELBO" is no lower bound of log p(x): the decoder takes a function of the image itself. To
    compare with other models, use reconstructions and accuracies.

    Samples and analogies replace π(x) by the one-hot vector of a class.

    Example:
        >>> import torch
        >>> from ssvae.models import SparseLabelVAE
        >>> model = SparseLabelVAE(event_shape=(1, 28, 28), num_classes=10)
        >>> model.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z). Default: N(0, I) in 50 dimensions.
        posterior: The family of q(z | x). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of encoder and decoder. Default: an MLP of 500 softplus units.

    Raises:
        ValueError: If a size is not positive, or the prior is class-conditional.
    """

    has_label_site = False
    sums_over_class = False
    bounds_evidence = False

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
    ) -> None:
        super().__init__(
            event_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
        )
        if self.prior.is_class_conditional:
            raise ValueError(
                f"prior: expected p(z), as SparseLabelVAE has no p(y); got {self.prior.density}, {self.prior}."
            )

        latent_dim = self.prior.latent_dim
        self.encoder = self._encoder(self.networks, num_classes + self.posterior.num_parameters(latent_dim))
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes)
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.encode_z, self.posterior))

    def _story(self) -> list[tuple[str, str]]:
        """The four densities; see `SemiSupervisedModel._story`."""
        return [
            (self.prior.density, repr(self.prior)),
            ("p(x | π(x), z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(y | x)", f"Categorical π(x), {self.num_classes} classes; encoder {self.networks}"),
            ("q(z | x)", f"{self.posterior}, {self.prior.latent_dim} dimensions; the same encoder"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(z) p(x | π(x), z); y is not used. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(z)
            z = pyro.sample("z", self.prior())
            # p(x | π(x), z)
            pyro.sample("x", self.p_x(z, self.classify(x).probs), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x); y is not used. See `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x)
            pyro.sample("z", self.q_z(x))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) = Cat(π(x)); see `SemiSupervisedModel.classify`."""
        logits, _ = self._heads(x)
        return dist.Categorical(logits=logits)

    def encode_z(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | x), (batch, ``posterior.num_parameters(latent_dim)``); y is not used."""
        return self._heads(x)[1]

    def q_z(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """q(z | x), the same for all classes; see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x))

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z), for y a class or class probabilities (..., classes); see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of π(x), and the parameters of q(z | x): by default μ(x) and log σ(x)."""
        outputs = self.encoder(x)
        return torch.split(outputs, [self.num_classes, outputs.shape[-1] - self.num_classes], dim=-1)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y, or π(x) if it is None."""
        return self.classify(x).probs if y is None else y
