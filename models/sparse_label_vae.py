"""SparseLabelVAE: one encoder with a softmax head beside the latent ones, and a decoder that sees all three."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, ImageShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import Prior, StandardNormal


class SparseLabelVAE(SemiSupervisedModel):
    """A VAE whose encoder classifies on the side, for anything from no labels to all.

    Berkhahn, Keys, Ouertani, Shetty and Geißler 2019, "Augmenting variational autoencoders with sparse labels: a
    unified framework for unsupervised, semi-(un)supervised, and supervised learning", arXiv 1908.03015.

    The topmost layer of one encoder feeds three heads, h(x) -> π(x), μ(x), log σ(x), the first a softmax over the
    classes. The decoder sees π(x), as it is, beside z:

        z ~ p(z)                  the code              z ~ q(z | x) = N(μ(x), diag σ²(x))
        x ~ p(x | π(x), z)        the image

        loss = -E_q(z|x) [ log p(x|π(x),z) ] + KL( q(z|x) || p(z) )            every image
               + weight · ( -log π_y(x) )                                     labelled images

    The second line is J's -log q(y|x), q(y|x) = Cat(π(x)): the programs have no class, and a labelled image is to the
    bound as an unlabelled one. Nothing is summed over classes, so that a step costs about what a VAE's does. Without
    labels π(x) is K numbers in [0, 1] more for the code, which cost nothing in the KL divergence.

    That is also why the bound is none of log p(x): the decoder sees a function of the very image it is to explain, and
    the story cannot be told without it. To compare with other models, compare reconstructions and accuracies.

    Samples and analogies put the class in the place of π(x), with certainty.

    Example:
        >>> import torch
        >>> from ssvae.models import SparseLabelVAE
        >>> model = SparseLabelVAE(image_shape=(1, 28, 28), num_classes=10)
        >>> model.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z); N(0, I) in 50 dimensions where it is not given.
        posterior: The family of q(z | x); `DiagonalNormal` where it is not given.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of the encoder and the decoder; an MLP of 500 softplus units where they are not given.

    Raises:
        ValueError: If a size is not positive, or the prior looks at the class.
    """

    has_label_site = False
    sums_over_class = False
    bounds_evidence = False

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
    ) -> None:
        super().__init__(
            image_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
        )
        if self.prior.is_class_conditional:
            raise ValueError(
                f"prior: expected p(z), as the story has no class; got {self.prior.density}, {self.prior}."
            )

        latent_dim = self.prior.latent_dim
        self.encoder = self.networks.encoder(image_shape, num_classes + self.posterior.num_parameters(latent_dim))
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes)
        self.prior.attach(num_classes, image_shape, AmortizedPosterior(self.encode_z, self.posterior))

    def story(self) -> list[tuple[str, str]]:
        """The four densities; see `SemiSupervisedModel.story`."""
        return [
            (self.prior.density, repr(self.prior)),
            ("p(x | π(x), z)", f"{self.likelihood}, shape {tuple(self.image_shape)}; decoder {self.networks}"),
            ("q(y | x)", f"Categorical π(x), {self.num_classes} classes; encoder {self.networks}"),
            ("q(z | x)", f"{self.posterior}, {self.prior.latent_dim} dimensions; the same encoder"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(z) p(x | π(x), z), whatever y is; see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(z)
            z = pyro.sample("z", self.prior())
            # p(x | π(x), z)
            pyro.sample("x", self.p_x(z, self.classify(x).probs), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x), whatever y is; see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x)
            pyro.sample("z", self.q_z(x))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) = Cat(π(x)); see `SemiSupervisedModel.classify`."""
        logits, _ = self._heads(x)
        return dist.Categorical(logits=logits)

    def encode_z(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | x), whatever y; (batch, `Posterior.num_parameters`)."""
        return self._heads(x)[1]

    def q_z(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """q(z | x), the same for all classes; see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x))

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z), y classes or probabilities (..., classes); see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of π(x), and the parameters of q(z | x): μ(x) with log σ(x), by default."""
        outputs = self.encoder(x)
        return torch.split(outputs, [self.num_classes, outputs.shape[-1] - self.num_classes], dim=-1)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y; where it is not given, π(x)."""
        return self.classify(x).probs if y is None else y
