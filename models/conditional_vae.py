"""ConditionalVAE: a VAE that is told the class where it is known, and classifies by Bayes' rule."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2
from ssvae.models.networks import Architecture, ImageShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import ClassPrior, Prior, StandardNormal

# Pixels decoded at once by `classify`, over images and classes: memory stays the same whatever the batch.
_PIXELS_AT_ONCE = 2**20


class ConditionalVAE(SemiSupervisedModel):
    """A VAE with label information: encoder and decoder are told the class, or that it is not known.

    The conditional VAE of Sohn, Lee and Yan 2015 (NeurIPS, "Learning structured output representation using deep
    conditional generative models") with the class as the condition; Kingma et al. 2014, arXiv 1406.5298, classify
    by such a model in their fully supervised experiment.

    The story of an image whose class is given, and of one whose class is not; ? is a class more to the networks,
    'unknown', with an embedding of its own:

        y ~ p(y)            the class                       nothing is said of the class
        z ~ p(z)            the style                       z ~ p(z)
        x ~ p(x | y, z)     the image                       x ~ p(x | ?, z)

    The guide is z ~ q(z | x, y) = N(μ(x, y), diag σ²(x, y)), or q(z | x, ?). There is no sum over y and no q(y | x):

        -L(x, y) = E_q(z|x,y) [ log p(x|y,z) + log p(y) + log p(z) - log q(z|x,y) ]
        -U(x)    = E_q(z|x,?) [ log p(x|?,z) + log p(z) - log q(z|x,?) ]

    Labelled and unlabelled images share all weights but the embeddings, so that the unlabelled ones teach how images
    look and the labelled ones where the classes lie in that. -U(x) bounds the evidence of the story without a class,
    log p(x|?), which is not tied to log Σ_y p(x, y), what importance sampling estimates.

    It classifies by Bayes' rule, with `num_samples` importance samples z_s ~ q(z | x, y), by default z_s = μ(x, y) +
    σ(x, y) ε_s; the noise ε_s is drawn once and kept, the same for all images and classes, so that an image always has
    the same answer:

        p(y|x) ∝ p(y) p(x|y),   p(x|y) ≈ 1/S Σ_s p(x|y,z_s) p(z_s) / q(z_s|x,y)

    Bernoulli pixels that are grey stand for the binarised ones: log p(x|y,z) is their mean.

    Example:
        >>> import torch
        >>> from ssvae.models import ConditionalVAE
        >>> model = ConditionalVAE(image_shape=(1, 28, 28), num_classes=10, num_samples=5)
        >>> model.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z) or p(z | y), whose mixture Σ_y p(y) p(z | y) is for images without a class; N(0, I) in 50
            dimensions where it is not given.
        posterior: The family of q(z | x, y); `DiagonalNormal` where it is not given.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of q(z | x, y) and p(x | y, z); an MLP of 500 softplus units where they are not given.
        class_prior: p(y); uniform where it is not given.
        num_samples: S, importance samples for each class where it classifies, which takes as long as decoding
            S · classes images.

    Raises:
        ValueError: If a size is not positive, or the class prior is for another number of classes.
    """

    sums_over_class = False
    learns_classifier = False

    noise: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        num_samples: int = 10,
    ) -> None:
        super().__init__(
            image_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            class_prior=class_prior if class_prior is not None else ClassPrior(num_classes),
        )
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")
        self.num_samples = num_samples

        latent_dim = self.prior.latent_dim
        # The last embedding is of 'unknown'.
        self.z_encoder = self.networks.encoder(image_shape, self.posterior.num_parameters(latent_dim), num_classes + 1)
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes + 1)
        self.register_buffer("noise", torch.randn(num_samples, latent_dim))
        self.prior.attach(num_classes, image_shape, AmortizedPosterior(self.z_encoder, self.posterior))

    def story(self) -> list[tuple[str, str]]:
        """The four densities, and how it classifies; see `SemiSupervisedModel.story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.image_shape)}; decoder {self.networks}"),
            ("q(z | x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
            ("p(y | x)", f"Bayes' rule, {self.num_samples} importance samples for each class"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z) p(x | y, z), or p(z) p(x | ?, z); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            if y is not None:
                # p(y)
                pyro.sample("y", self.class_prior(), obs=y)
            # p(z), or p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(x | y, z), or p(x | ?, z)
            pyro.sample("x", self.p_x(z, self._class_of(x, y)), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x, y), or q(z | x, ?); see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x, y), or q(z | x, ?)
            pyro.sample("z", self.q_z(x, self._class_of(x, y)))

    def classify(self, x: Tensor) -> dist.Categorical:
        """p(y | x), by importance sampling with the noise that is kept; see `SemiSupervisedModel.classify`."""
        images_at_once = max(1, _PIXELS_AT_ONCE // (self.num_classes * math.prod(self.image_shape)))
        # Off for grey pixels of Bernoulli, which have no probability, but the mean of one.
        with pyro.validation_enabled(False):
            log_joint = torch.cat([self._log_joint(images) for images in x.split(images_at_once)])
        return dist.Categorical(logits=log_joint)

    def _log_joint(self, x: Tensor) -> Tensor:
        """Return log p(y) + log 1/S Σ_s p(x|y,z_s) p(z_s) / q(z_s|x,y) + log S, (batch, classes)."""
        y = torch.arange(self.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
        q = self.q_z(x, y)
        log_p_y = self.class_prior().log_prob(y)
        log_w = []
        for noise in self.noise:  # one after the other: S times the time, not the memory
            z = self.posterior.transform(q, noise)  # (classes, batch, latent)
            # log p(y) + log p(z) + log p(x | y, z) - log q(z | x, y)
            log_p = log_p_y + self.prior(y).log_prob(z) + self.p_x(z, y).log_prob(x)
            log_w.append(log_p - q.log_prob(z))
        return torch.stack(log_w).logsumexp(0).T

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | x, y); see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.z_encoder(x, y))  # (classes, batch, latent) if y is (classes, 1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z); see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """See `SemiSupervisedModel.analogies`; the style is what the most probable class, not '?', leaves to z."""
        return super().analogies(x, self.classify(x).logits.argmax(-1) if y is None else y)

    def baseline(self) -> SemiSupervisedModel:
        """M2 with the same networks: with the generative terms off it is the supervised classifier."""
        return M2(self.image_shape, self.num_classes, networks=self.networks)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y; where it is not given, 'unknown'."""
        return torch.full((len(x),), self.num_classes, device=x.device) if y is None else y
