"""ConditionalVAE: a VAE conditioned on the class or on "unknown", which classifies by Bayes' rule."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import baseline_of
from ssvae.models.networks import Architecture, EventShape
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import ClassPrior, Prior, StandardNormal

# Pixels that `classify` decodes at once, over images and classes: bounds the memory for any batch size.
_PIXELS_AT_ONCE = 2**20


class ConditionalVAE(SemiSupervisedModel):
    """A VAE conditioned on the class. Encoder and decoder take the class, or "unknown" for unlabelled images.

    The conditional VAE of Sohn, Lee and Yan 2015 (NeurIPS, "Learning structured output representation using deep
    conditional generative models") with the class as the condition. Kingma et al. 2014, arXiv 1406.5298, classify by
    such a model in their fully supervised experiment.

    The generative story of labelled images, on the left, and of unlabelled images, on the right. "?" is a further class
    of the networks, "unknown", with an embedding of its own::

        y ~ p(y)            the class
        z ~ p(z)            the style                       z ~ p(z)
        x ~ p(x | y, z)     the image                       x ~ p(x | ?, z)

    The guide::

        z ~ q(z | x, y)     = N(μ(x, y), diag σ²(x, y))     z ~ q(z | x, ?)

    The ELBO is -L(x, y) for a labelled image and -U(x) for an unlabelled one. There is no sum over y and no q(y | x)::

        -L(x, y) = E_q(z|x,y) [ log p(x|y,z) + log p(y) + log p(z) - log q(z|x,y) ]
        -U(x)    = E_q(z|x,?) [ log p(x|?,z) + log p(z) - log q(z|x,?) ]

    Labelled and unlabelled images share all weights but the embeddings: unlabelled images train the networks, and the
    labelled ones the classes' embeddings. -U(x) bounds log p(x|?), the evidence of the model without a class. It does
    not bound log Σ_y p(x, y), which importance sampling estimates.

    The model classifies by Bayes' rule, with S = ``num_samples`` importance samples z_s ~ q(z | x, y); by default
    z_s = μ(x, y) + σ(x, y) ε_s. The noise ε_s is drawn once and kept, the same for all images and classes, so that
    p(y|x) is deterministic::

        p(y|x) ∝ p(y) p(x|y),   p(x|y) ≈ 1/S Σ_s p(x|y,z_s) p(z_s) / q(z_s|x,y)

    With a Bernoulli likelihood a grey pixel counts as the probability of a one: log p(x|y,z) is the mean over
    binarised images.

    Example:
        >>> import torch
        >>> from ssvae.models import ConditionalVAE
        >>> model = ConditionalVAE(event_shape=(1, 28, 28), num_classes=10, num_samples=5)
        >>> model.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 50 dimensions. Unlabelled images have the mixture Σ_y p(y) p(z |
            y).
        posterior: The family of q(z | x, y). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of q(z | x, y) and p(x | y, z). Default: an MLP of 500 softplus units.
        class_prior: p(y). Default: uniform.
        num_samples: S, the number of importance samples for each class when classifying. An image takes as long as
            decoding S · classes images.

    Raises:
        ValueError: If a size is not positive, or the class prior is for another number of classes.
    """

    sums_over_class = False
    learns_classifier = False
    discovers_classes = False

    noise: Tensor

    def __init__(
        self,
        event_shape: EventShape,
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
            event_shape,
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
        # The last embedding is that of "unknown".
        self.z_encoder = self._encoder(self.networks, self.posterior.num_parameters(latent_dim), num_classes + 1)
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes + 1)
        self.register_buffer("noise", torch.randn(num_samples, latent_dim))
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.z_encoder, self.posterior))

    def _story(self) -> list[tuple[str, str]]:
        """The four densities, and the classification; see `SemiSupervisedModel._story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(z | x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
            ("p(y | x)", f"Bayes' rule, {self.num_samples} importance samples for each class"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z) p(x | y, z); p(z) p(x | ?, z) without y. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            if y is not None:
                # p(y)
                pyro.sample("y", self.class_prior(), obs=y)
            # p(z), or p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(x | y, z), or p(x | ?, z)
            pyro.sample("x", self.p_x(z, self._class_of(x, y)), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z | x, y); q(z | x, ?) without y. See `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z | x, y), or q(z | x, ?)
            pyro.sample("z", self.q_z(x, self._class_of(x, y)))

    def classify(self, x: Tensor) -> dist.Categorical:
        """p(y | x), by importance sampling with the stored noise; see `SemiSupervisedModel.classify`."""
        images_at_once = max(1, _PIXELS_AT_ONCE // (self.num_classes * math.prod(self.event_shape)))
        # Without validation, so that a Bernoulli likelihood accepts grey pixels.
        with pyro.validation_enabled(False):
            log_joint = torch.cat([self._log_joint(images) for images in x.split(images_at_once)])
        return dist.Categorical(logits=log_joint)

    def _log_joint(self, x: Tensor) -> Tensor:
        """Return log p(y) + log 1/S Σ_s p(x|y,z_s) p(z_s) / q(z_s|x,y) + log S, (batch, classes)."""
        y = torch.arange(self.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
        q = self.q_z(x, y)
        log_p_y = self.class_prior().log_prob(y)
        log_w = []
        for noise in self.noise:  # sample by sample: takes S times as long, but no more memory
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
        """The mean of p(x | y', z); without y, z is of q(z | x, y) at the most probable y, not of q(z | x, ?).

        See `SemiSupervisedModel.analogies`.
        """
        return super().analogies(x, self.classify(x).logits.argmax(-1) if y is None else y)

    def baseline(self) -> SemiSupervisedModel:
        """Return an `M2` with the same networks: without the generative terms it is a supervised classifier."""
        return baseline_of(self)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y, or "unknown" if it is None."""
        return torch.full((len(x),), self.num_classes, device=x.device) if y is None else y
