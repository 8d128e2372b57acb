"""GMVAE: a Gaussian in latent space for each class; an image gets the class of the nearest mean."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, EventShape
from ssvae.models.posteriors import AmortizedPosterior, FixedScaleNormal, Posterior
from ssvae.models.priors import ClassPrior, Prior, SeparatedMeans


class GMVAE(SemiSupervisedModel):
    """The Gaussian-mixture VAE of Ghosh, Losalka and Black 2019, arXiv 1806.00081.

    The generative story. The means of the classes are fixed and far apart, and the image depends on z alone::

        y ~ p(y)            the class: observed, or summed over
        z ~ p(z | y)        = N(μ_y, I)
        x ~ p(x | z)        the image

    The guide. By default the encoder outputs the mean f(x) only, and the scale s is fixed::

        z ~ q(z | x)        = N(f(x), s² I)
        y ~ q(y | x)        ∝ p(y) N(f(x); μ_y, I): with equal p(y), the nearest mean is the most probable class

    The ELBO is -L(x, y) for a labelled image and -U(x) for an unlabelled one::

        -L(x, y) = E_q(z|x) [ log p(x|z) + log p(z|y) - log q(z|x) ] + log p(y)
        -U(x)    = Σ_y q(y|x) ( -L(x, y) ) + H(q(y|x))

    Only log p(y) - ½ ``|f(x) - μ_y|²`` depends on y in -L(x, y). This q(y|x) therefore maximises -U(x): the classifier
    needs no parameters of its own, and unlabelled images pull f(x) towards the nearest means. The same sample of z is
    used for all classes and decoded once.

    Differences from the paper:

    - p(x | z) is ``likelihood``; the paper's is N(g(z), σ² I) with a fixed σ, a squared error.
    - The means are the corners of a simplex around the origin, in as few dimensions as possible; the paper's lie on the
      axes.
    - For an unlabelled image the paper uses the KL divergence from q(z|x) to the mixture Σ_y p(y) p(z|y). -U(x) uses
      q(y|x) at f(x) instead of at z; it is a lower bound of the paper's.
    - The most probable class is the nearest mean if p(y) is uniform; in the paper it always is.
    - In the paper a label acts only through the KL divergence to its class's Gaussian.
      `ssvae.inference.Objective` adds α times -log q(y|x) to L(x, y); with ``alpha=0`` the bound remains.
    - The networks are an MLP by default, the paper's are convolutional; s is a choice of this implementation.
    - The paper's two thresholds, and its second classification of rejected images, are not part of this model.

    Example:
        >>> import torch
        >>> from ssvae.models import GMVAE
        >>> gmvae = GMVAE(event_shape=(1, 28, 28), num_classes=10)
        >>> gmvae.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z | y). Default: SeparatedMeans in 10 dimensions, as in the paper, or in more if the classes need them.
            With another prior, q(y|x) ∝ p(y) p(z|y) at z = f(x).
        posterior: The family of q(z | x), whose mean is f(x). Default: FixedScaleNormal, N(f(x), s² I) with s = 0.3;
            the standard deviation of the default p(z | y) is 1.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of f and of p(x | z). Default: an MLP of 500 softplus units.
        class_prior: p(y). Default: uniform.

    Raises:
        ValueError: If a size is not positive, the prior is not class-conditional, or the class prior is for another
            number of classes.
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
        class_prior: ClassPrior | None = None,
    ) -> None:
        super().__init__(
            event_shape,
            num_classes,
            prior=prior if prior is not None else SeparatedMeans(max(10, num_classes - 1)),
            posterior=posterior if posterior is not None else FixedScaleNormal(),
            likelihood=likelihood,
            networks=networks,
            class_prior=class_prior if class_prior is not None else ClassPrior(num_classes),
        )
        if not self.prior.is_class_conditional:
            raise ValueError(
                f"prior: expected p(z | y), by which GMVAE classifies; got {self.prior.density}, {self.prior}."
            )

        latent_dim = self.prior.latent_dim
        self.z_encoder = self._encoder(self.networks, self.posterior.num_parameters(latent_dim))
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape)
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.encode_z, self.posterior))

    def _story(self) -> list[tuple[str, str]]:
        """The five densities; see `SemiSupervisedModel._story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(y | x)", f"Categorical, {self.num_classes} classes; by p(z | y) at the mean of q(z | x)"),
            ("q(z | x)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z | y) p(x | z); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(x | z)
            pyro.sample("x", self.p_x(z), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(y | x) q(z | x); see `SemiSupervisedModel.guide`."""
        q_z = self.q_z(x)  # computed once, for q(y | x) and q(z | x)
        with pyro.plate("images", len(x)):
            if y is None:
                # q(y | x)
                pyro.sample("y", self._nearest(q_z.mean), infer={"enumerate": "parallel"})  # (classes, 1)
            # q(z | x)
            pyro.sample("z", q_z)  # (batch, latent), the same for all classes

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) ∝ p(y) p(z = f(x) | y); see `SemiSupervisedModel.classify`."""
        return self._nearest(self.q_z(x).mean)

    def encode_z(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | x), the same for all classes; they are expanded to y's shape."""
        parameters: Tensor = self.z_encoder(x)
        if y is None:
            return parameters
        return parameters.expand(*torch.broadcast_shapes(y.shape, parameters.shape[:-1]), -1)

    def q_z(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """q(z | x), the same for all classes; see `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x, y))

    def p_x(self, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """p(x | z), the same for all classes; see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z))

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | z') at z' = z - μ_y + μ_y', for every class y'; see `SemiSupervisedModel.analogies`."""
        z, y = self.encode(x, y), self._class_of(x, y)
        classes = torch.arange(self.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
        return self.p_x(z - self.prior(y).mean + self.prior(classes).mean).mean

    def _nearest(self, loc: Tensor) -> dist.Categorical:
        classes = torch.arange(self.num_classes, device=loc.device).unsqueeze(-1)  # (classes, 1)
        log_p_z = self.prior(classes).log_prob(loc)  # (classes, batch)
        return dist.Categorical(logits=self.class_prior().logits + log_p_z.T)
