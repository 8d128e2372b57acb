"""ADGM: M2 with an auxiliary variable in the guide."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2, baseline_of
from ssvae.models.networks import Architecture, EventShape, Network
from ssvae.models.normal import diagonal_normal
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior


class ADGM(M2):
    """The auxiliary deep generative model of Maaløe, Sønderby, Sønderby and Winther 2016, arXiv 1602.05473.

    The generative story is that of `M2`, with an auxiliary variable a on which nothing depends::

        y ~ p(y)               the class: observed, or summed over
        z ~ p(z)               the style; or p(z | y), with a class-conditional prior
        x ~ p(x | y, z)        the image
        a ~ p(a | x, y, z)     = N(μ(x, y, z), diag σ²(x, y, z))

    The guide. The same sample of a is an input of both densities after it::

        a ~ q(a | x)           = N(μ(x), diag σ²(x))
        y ~ q(y | a, x)        the classifier
        z ~ q(z | a, x, y)     = N(μ(a, x, y), diag σ²(a, x, y))

    The auxiliary variable makes the guide more flexible: q(z | x, y) = ∫ q(a|x) q(z|a,x,y) da is not a Gaussian, and
    q(y | x) = ∫ q(a|x) q(y|a,x) da is a mixture. p(x) is that of an M2 with the same networks. The bound is that of M2
    if neither y nor z depends on a::

        -L(x, y) = E_q(a|x) q(z|a,x,y) [ f ],    f = log p(x|y,z) + log p(y) + log p(z) - log q(z|a,x,y)
                                                     + log p(a|x,y,z) - log q(a|x)
        -U(x)    = E_q(a|x) [ Σ_y q(y|a,x) ( E_q(z|a,x,y) [ f ] - log q(y|a,x) ) ]

    Example:
        >>> import torch
        >>> from ssvae.models import ADGM
        >>> adgm = ADGM(event_shape=(1, 28, 28), num_classes=10, auxiliary_dim=20).eval()
        >>> adgm.classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 50 dimensions. A VampPrior mixes q(z | a, u, y) at the mean a of
            q(a | u), which is not the aggregate posterior.
        posterior: The family of q(z | a, x, y). Default: DiagonalNormal. q(a | x) is always a diagonal Gaussian.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of all densities but the classifier. Default: one layer of 500 softplus units. The
            paper's have two layers of 500 rectified units with batch norm.
        classifier: The architecture of q(y | a, x). Default: ``networks``.
        class_prior: p(y). Default: uniform.
        auxiliary_dim: The dimension of a; 100 in the paper.
        num_samples: The number of samples of a in q(y | x) = E_q(a|x) q(y | a, x) in evaluation mode; 100 in the paper.

    Raises:
        ValueError: If a size is not positive, or the class prior is for another number of classes.
    """

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
        classifier: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        auxiliary_dim: int = 50,
        num_samples: int = 20,
    ) -> None:
        for name, value in {"auxiliary_dim": auxiliary_dim, "num_samples": num_samples}.items():
            if value < 1:
                raise ValueError(f"{name}: expected a positive integer; got {value}.")
        # Set before the networks are made, whose inputs have this size.
        self.auxiliary_dim = auxiliary_dim
        self.num_samples = num_samples
        super().__init__(
            event_shape,
            num_classes,
            prior=prior,
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            classifier=classifier,
            class_prior=class_prior,
        )
        self.a_encoder = self._encoder(self.networks, 2 * auxiliary_dim)
        self.a_decoder = self._make_a_decoder()
        # The same noise for every image and call: q(y | x) does not depend on the batch or on the random state.
        noise = torch.randn(num_samples, 1, auxiliary_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)

    def _make_y_encoder(self) -> Network:
        return self._encoder(self.classifier, self.num_classes, num_beside=self.auxiliary_dim)

    def _make_z_encoder(self, num_outputs: int) -> Network:
        return self._encoder(self.networks, num_outputs, self.num_classes, num_beside=self.auxiliary_dim)

    def _make_a_decoder(self) -> Network:
        latent_dim = self.prior.latent_dim
        return self._encoder(self.networks, 2 * self.auxiliary_dim, self.num_classes, num_beside=latent_dim)

    def _story(self) -> list[tuple[str, str]]:
        """The seven densities; see `SemiSupervisedModel._story`."""
        *densities_of_model, _, _ = super()._story()
        auxiliary = f"Normal, {self.auxiliary_dim} dimensions"
        return [
            *densities_of_model,
            ("p(a | x, y, z)", f"{auxiliary}; a_decoder {self.networks}"),
            ("q(a | x)", f"{auxiliary}; a_encoder {self.networks}"),
            ("q(y | a, x)", f"Categorical, {self.num_classes} classes; y_encoder {self.classifier}"),
            ("q(z | a, x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z | y) p(x | y, z) p(a | x, y, z); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(x | y, z)
            pyro.sample("x", self.p_x(z, y), obs=x)
            # p(a | x, y, z)
            pyro.sample("a", self.p_a(y, z, x))

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(a | x) q(y | a, x) q(z | a, x, y); see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(a | x)
            a = pyro.sample("a", self.q_a(x))  # (batch, auxiliary), whether y is enumerated or not
            if y is None:
                # q(y | a, x)
                y = pyro.sample("y", self.q_y(x, a), infer={"enumerate": "parallel"})  # (classes, 1)
            # q(z | a, x, y)
            pyro.sample("z", self.q_z(x, y, a))

    def q_a(self, x: Tensor) -> TorchDistribution:
        """Return q(a | x), event_shape (auxiliary_dim,), for x ``(batch, *event_shape)``."""
        return diagonal_normal(self.a_encoder(x))

    def q_y(self, x: Tensor, a: Tensor) -> dist.Categorical:
        """Return q(y | a, x) for images and a, (..., batch, auxiliary_dim)."""
        return dist.Categorical(logits=self.y_encoder(x, beside=a))

    def p_a(self, y: Tensor, z: Tensor, x: Tensor) -> TorchDistribution:
        """Return p(a | x, y, z), event_shape (auxiliary_dim,)."""
        return diagonal_normal(self.a_decoder(x, y, z))  # (classes, batch, auxiliary) if y is enumerated

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x) = E_q(a|x) q(y | a, x), estimated by ``num_samples`` samples of a, in training mode by a single one.

        See `SemiSupervisedModel.classify`.
        """
        q_a = self.q_a(x)
        if self.training:
            return self.q_y(x, q_a.rsample())
        a = q_a.mean + q_a.base_dist.scale * self.noise  # (samples, batch, auxiliary)
        log_q_y = self.y_encoder(x, beside=a).log_softmax(-1)  # (samples, batch, classes)
        return dist.Categorical(logits=log_q_y.logsumexp(0) - math.log(self.num_samples))

    def baseline(self) -> SemiSupervisedModel:
        """Return an `M2` with the same networks: without the generative terms, a would only add noise."""
        return baseline_of(self, self.classifier)

    def encode_z(self, x: Tensor, y: Tensor, a: Tensor | None = None) -> Tensor:
        """Return the parameters of q(z | a, x, y). Default of a: the mean of q(a | x)."""
        parameters: Tensor = self.z_encoder(x, y, self.q_a(x).mean if a is None else a)
        return parameters

    def q_z(self, x: Tensor, y: Tensor, a: Tensor | None = None) -> TorchDistribution:
        """q(z | a, x, y). Default of a: the mean of q(a | x). See `SemiSupervisedModel.q_z`."""
        return self.posterior(self.encode_z(x, y, a))
