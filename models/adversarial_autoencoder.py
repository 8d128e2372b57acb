"""AdversarialAutoencoder: an autoencoder whose codes are matched to their priors by discriminators."""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import MLP, Architecture, EventShape, Network
from ssvae.models.priors import ClassPrior, Prior, StandardNormal


class AdversarialAutoencoder(SemiSupervisedModel):
    """The semi-supervised adversarial autoencoder of Makhzani et al. 2015, arXiv 1511.05644.

    The generative story::

        y ~ p(y)            the class, as a one-hot vector
        z ~ p(z)            the style; or p(z | y)
        x ~ p(x | y, z)     the image

    The guide is deterministic, and so takes no `~ssvae.models.posteriors.Posterior`. One encoder outputs both codes,
    and the decoder takes the class probabilities::

        y = π(x)            = q(y | x), the classifier's softmax
        z = f(x)

    In place of a KL divergence for each image, two discriminators D_y and D_z match the distribution of all codes to
    the priors. Each discriminator is trained to distinguish samples of its prior from codes, and the encoder is trained
    to make them indistinguishable::

        reconstruction    E[ -log p(x | π(x), f(x)) ]                                encoder and decoder
        discriminators    E[ -log D(prior) ] + E[ -log(1 - D(code)) ],  for y and z   D alone, codes held fixed
        generators        λ ( E[ -log D_y(π(x)) ] + E[ -log D_z(f(x), y) ] )          encoder alone, D held fixed

    These are the phases of the paper, added up to one loss: each term has gradients only in the networks named beside
    it. The paper's classification phase is the -log q(y | x) of labelled images in J. The "ELBO" is the reconstruction
    term alone. It is no lower bound of log p(x).

    D_z also takes the class: y ~ p(y) with samples of the prior, and y ~ π(x) with codes. The distribution of f(x) is
    thus matched to p(z) within each class, so that f(x) is independent of the class, as in the generative story. In the
    paper D_z takes f(x) alone, unless each class has its own prior (section 2.3); f(x) may then encode the class, and
    the decoder may ignore π(x). The parameters of the priors are held fixed.

    Example:
        >>> import torch
        >>> from ssvae.models import AdversarialAutoencoder, priors
        >>> aae = AdversarialAutoencoder((1, 28, 28), 10, prior=priors.GaussianMixture(latent_dim=10))
        >>> sorted(aae.penalties(torch.rand(4, 1, 28, 28)))
        ['discriminator_y', 'discriminator_z', 'generator_y', 'generator_z']
        >>> aae.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 10 dimensions.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of encoder and decoder. Default: two layers of 1000 softplus units, without batch
            norm.
        discriminators: The architecture of D_y and D_z. Default: ``networks``.
        class_prior: p(y). Default: uniform.
        adversarial_weight: λ, the weight of the generators' losses relative to the reconstruction; both are in nats per
            image. The paper uses a separate learning rate for each phase instead.
        instance_noise: The standard deviation of Gaussian noise that is added to the discriminators' inputs (Sønderby
            et al. 2016, arXiv 1610.04490). Without it D_y could recognise samples of p(y) by their exact zeros and
            ones.
        label_smoothing: ε; the discriminators' target for samples of the prior is 1 - ε (one-sided label smoothing,
            Salimans et al. 2016, arXiv 1606.03498).

    Raises:
        ValueError: If a size is not positive, the class prior is for another number of classes, the prior is a
            VampPrior, which needs a posterior with a density, or a number is out of its range.
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
            event_shape,
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
        self.encoder = self._encoder(self.networks, num_classes + latent_dim)
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape, num_classes)
        self.y_discriminator = self.discriminators.dense(num_classes, 1)
        self.z_discriminator = self.discriminators.dense(latent_dim, 1, num_classes)
        self.prior.attach(num_classes, event_shape, None)
        self.prior.requires_grad_(False)
        self.class_prior.requires_grad_(False)

    def _story(self) -> list[tuple[str, str]]:
        """The densities and the codes; see `SemiSupervisedModel._story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("π(x) = q(y | x)", f"Categorical, {self.num_classes} classes; encoder {self.networks}"),
            ("f(x)", f"{self.prior.latent_dim} dimensions; the same encoder"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z) p(x | y, z); the first two are masked. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # The distributions are masked too: otherwise Pyro computes their densities at the codes, where there may be
            # none.
            with poutine.mask(mask=False):
                # p(y), one-hot
                pi = pyro.sample("pi", dist.OneHotCategorical(logits=self.class_prior.logits).mask(False))
                # p(z | y)
                z = pyro.sample("z", self.prior(pi.argmax(-1)).mask(False))  # (batch, latent)
            # p(x | y, z)
            pyro.sample("x", self.p_x(z, pi), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """π(x) and f(x), deterministic; see `SemiSupervisedModel.guide`."""
        pi, z = self._codes(x)
        with pyro.plate("images", len(x)), poutine.mask(mask=False):
            pyro.sample("pi", dist.Delta(pi, event_dim=1))  # (batch, classes)
            pyro.sample("z", dist.Delta(z, event_dim=1))

    def penalties(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The losses of the discriminators and of the generators; see `SemiSupervisedModel.penalties`.

        J weights the labelled and the unlabelled batch by N_l / N and N_u / N, as it does the bound. The weighted sum
        is an estimate of the losses on the codes of all images.
        """
        pi, z = self._codes(x)
        # y ~ p(y) and y ~ π(x)
        y = torch.stack([self.class_prior().sample((len(x),)), dist.Categorical(probs=pi.detach()).sample()])
        one_hot = F.one_hot(y[0], self.num_classes).to(pi)
        discriminator_y, generator_y = self._adversaries(self.y_discriminator, one_hot, pi)
        discriminator_z, generator_z = self._adversaries(self.z_discriminator, self._draw(y[0]), z, y.flatten())
        return {
            "discriminator_y": discriminator_y,
            "discriminator_z": discriminator_z,
            "generator_y": self.adversarial_weight * generator_y,
            "generator_z": self.adversarial_weight * generator_z,
        }

    def _adversaries(
        self, discriminator: Network, samples: Tensor, codes: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the discriminator's loss, with its inputs held fixed, and the encoder's, with D held fixed."""
        # In one pass: batch norm would normalise separate batches of samples and codes to the same statistics.
        inputs = torch.cat([samples, codes])
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
        """A point mass at the code f(x), the same for all classes; see `SemiSupervisedModel.q_z`."""
        return dist.Delta(self._codes(x)[1], event_dim=1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z), for y a class or class probabilities; see `SemiSupervisedModel.p_x`."""
        return self.likelihood(self.decoder(z, y))
