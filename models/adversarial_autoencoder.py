"""AdversarialAutoencoder: an autoencoder whose codes are held to their priors by discriminators."""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import MLP, Architecture, ImageShape, Network
from ssvae.models.priors import ClassPrior, Prior, StandardNormal


class AdversarialAutoencoder(SemiSupervisedModel):
    """The semi-supervised adversarial autoencoder of Makhzani et al. 2015, arXiv 1511.05644.

    The story:

        y ~ p(y)            the class, as a one-hot vector
        z ~ p(z)            the style; or p(z | y)
        x ~ p(x | y, z)     the image

    The guide has no noise, and so no choice of a `Posterior`. One encoder gives both codes, and the decoder is told
    probabilities of the class:

        y = π(x)            = q(y | x), the classifier's softmax
        z = f(x)

    Instead of a KL divergence for each image, discriminators D_y and D_z hold the codes of all images together to
    the priors. Each learns to tell samples of its prior from codes, which the encoder learns to make alike:

        reconstruction    E[ -log p(x | π(x), f(x)) ]                                encoder and decoder
        discriminators    E[ -log D(prior) ] + E[ -log(1 - D(code)) ],  for y and z   D alone, codes held fixed
        generators        λ ( E[ -log D_y(π(x)) ] + E[ -log D_z(f(x), y) ] )          encoder alone, D held fixed

    These are the paper's phases, in one loss: each part of it has a gradient only in what it trains. Its phase of
    classification is the -log q(y | x) of labelled images in J. The ELBO is the reconstruction alone, which bounds
    nothing.

    D_z is told the class, y ~ p(y) beside samples of the prior and y ~ π(x) beside codes: f(x) has to look like p(z)
    within each class, so that nothing of the class is left in it, as in the story. The paper's D_z sees f(x) alone, but
    where there is a prior for each class (its section 2.3); then f(x) may keep the class, and the decoder need not heed
    π(x). The prior is a given one, so that whatever could be learned in it is held fixed.

    Example:
        >>> import torch
        >>> from ssvae.models import AdversarialAutoencoder, priors
        >>> aae = AdversarialAutoencoder((1, 28, 28), 10, prior=priors.GaussianMixture(latent_dim=10))
        >>> sorted(aae.penalties(torch.rand(4, 1, 28, 28)))
        ['discriminator_y', 'discriminator_z', 'generator_y', 'generator_z']
        >>> aae.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z) or p(z | y); N(0, I) in 10 dimensions where it is not given.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of encoder and decoder; two layers of 1000 softplus units where they are not given.
            Batch norm is an option of theirs.
        discriminators: The networks of D_y and D_z; `networks` where they are not given.
        class_prior: p(y); uniform where it is not given.
        adversarial_weight: λ, what the generators' losses weigh against the reconstruction, both in nats per image.
            The paper has a learning rate of its own for each phase instead.
        instance_noise: Standard deviation of Gaussian noise that is added to whatever a discriminator sees (Sønderby
            et al. 2016, arXiv 1610.04490), without which D_y could tell one-hot vectors by being exactly that.
        label_smoothing: ε; the discriminators' target for samples of the prior is 1 - ε (Salimans et al. 2016, arXiv
            1606.03498, one-sided).

    Raises:
        ValueError: If a size is not positive, the class prior is for another number of classes, the prior is made of
            posteriors that have no density here, or a number is out of its range.
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
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        discriminators: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        adversarial_weight: float = 10.0,
        instance_noise: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        for name, number in (("adversarial_weight", adversarial_weight), ("instance_noise", instance_noise)):
            if number < 0:
                raise ValueError(f"{name}: expected a number of at least 0; got {number}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing: expected a number in [0, 1); got {label_smoothing}.")
        super().__init__(
            image_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(10),
            likelihood=likelihood,
            networks=networks if networks is not None else MLP(hidden=(1000, 1000)),
            class_prior=class_prior if class_prior is not None else ClassPrior(num_classes),
        )
        self.discriminators = discriminators if discriminators is not None else self.networks
        self.adversarial_weight = adversarial_weight
        self.instance_noise = instance_noise
        self.label_smoothing = label_smoothing

        latent_dim = self.prior.latent_dim
        self.encoder = self.networks.encoder(image_shape, num_classes + latent_dim)
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes)
        self.y_discriminator = self.discriminators.dense(num_classes, 1)
        self.z_discriminator = self.discriminators.dense(latent_dim, 1, num_classes)
        self.prior.attach(num_classes, image_shape, None)
        self.prior.requires_grad_(False)
        self.class_prior.requires_grad_(False)

    def story(self) -> list[tuple[str, str]]:
        """The densities and the codes; see `SemiSupervisedModel.story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.image_shape)}; decoder {self.networks}"),
            ("π(x) = q(y | x)", f"Categorical, {self.num_classes} classes; encoder {self.networks}"),
            ("f(x)", f"{self.prior.latent_dim} dimensions; the same encoder"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z) p(x | y, z), whose first two do not count; see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # Masked as densities, too, or they would be asked for theirs at codes, which may have none.
            with poutine.mask(mask=False):
                # p(y), one-hot
                pi = pyro.sample("pi", dist.OneHotCategorical(logits=self.class_prior.logits).mask(False))
                # p(z | y)
                z = pyro.sample("z", self.prior(pi.argmax(-1)).mask(False))  # (batch, latent)
            # p(x | y, z)
            pyro.sample("x", self.p_x(z, pi), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """π(x) and f(x), without noise; see `SemiSupervisedModel.guide`."""
        pi, z = self._codes(x)
        with pyro.plate("images", len(x)), poutine.mask(mask=False):
            pyro.sample("pi", dist.Delta(pi, event_dim=1))  # (batch, classes)
            pyro.sample("z", dist.Delta(z, event_dim=1))

    def penalties(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The losses of the discriminators and of the generators; see `SemiSupervisedModel.penalties`.

        Those of a batch of labelled images and of one of unlabelled images, weighed N_l / N and N_u / N as the bound
        is, are together the losses on the codes of all images.
        """
        pi, z = self._codes(x)
        # y ~ p(y) and y ~ π(x)
        y = torch.stack([self.class_prior().sample((len(x),)), dist.Categorical(probs=pi.detach()).sample()])
        of_prior = F.one_hot(y[0], self.num_classes).to(pi)
        discriminator_y, generator_y = self._adversaries(self.y_discriminator, of_prior, pi)
        discriminator_z, generator_z = self._adversaries(self.z_discriminator, self._draw(y[0]), z, y.flatten())
        return {
            "discriminator_y": discriminator_y,
            "discriminator_z": discriminator_z,
            "generator_y": self.adversarial_weight * generator_y,
            "generator_z": self.adversarial_weight * generator_z,
        }

    def _adversaries(
        self, discriminator: Network, of_prior: Tensor, codes: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the discriminator, whose inputs are held fixed, and of the encoder, for whom it is."""
        # In one pass: with batch norm, samples and codes that are each by themselves would seem alike.
        inputs = torch.cat([of_prior, codes])
        inputs = inputs + self.instance_noise * torch.randn_like(inputs)
        real, fake = discriminator(inputs.detach(), y).squeeze(-1).chunk(2)
        # -log D(prior), or its mean over a smoothed target, and -log(1 - D(code))
        target = torch.full_like(real, 1 - self.label_smoothing)
        discriminating = F.binary_cross_entropy_with_logits(real, target) + F.softplus(fake).mean()
        # -log D(code)
        fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        _, fake = torch.func.functional_call(discriminator, fixed, (inputs, y)).squeeze(-1).chunk(2)
        return discriminating, F.softplus(-fake).mean()

    def _codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return π(x), (batch, classes), and f(x), (batch, latent)."""
        logits, z = self.encoder(x).split([self.num_classes, self.prior.latent_dim], dim=-1)
        return logits.softmax(-1), z

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) = Categorical(π(x)); see `SemiSupervisedModel.classify`."""
        return dist.Categorical(logits=self.encoder(x)[..., : self.num_classes])

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """The code f(x), with certainty and whatever the class; see `SemiSupervisedModel.q_z`."""
        return dist.Delta(self._codes(x)[1], event_dim=1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z), y a class or probabilities of the classes; see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))
