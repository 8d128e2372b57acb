"""SDGM: M2 with a second latent variable, in the generative model and in the guide."""

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.adgm import ADGM
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, EventShape, Network
from ssvae.models.normal import diagonal_normal
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior


class SDGM(ADGM):
    """The skip deep generative model of Maaløe, Sønderby, Sønderby and Winther 2016, arXiv 1602.05473.

    The generative story, in which the auxiliary variable a of `ADGM` is a second stochastic layer::

        y ~ p(y)               the class: observed, or summed over
        z ~ p(z)               the style; or p(z | y), with a class-conditional prior
        a ~ p(a | y, z)        = N(μ(y, z), diag σ²(y, z))
        x ~ p(x | a, y, z)     the image

    The guide is that of `ADGM`::

        a ~ q(a | x),    y ~ q(y | a, x),    z ~ q(z | a, x, y)

    The bound is that of `ADGM` with another f::

        f = log p(x|a,y,z) + log p(a|y,z) + log p(y) + log p(z) - log q(z|a,x,y) - log q(a|x)

    The style that ``encode`` returns, ``p_x`` takes and ``sample`` draws is z and ε side by side::

        ε = (a - μ(y, z)) / σ(y, z),    ε ~ N(0, I) under p(a | y, z)

    ε is the part of a that y and z do not determine. In another class the same ε gives another a, so that an analogy
    changes everything that depends on the class.

    Example:
        >>> import torch
        >>> from ssvae.models import SDGM
        >>> sdgm = SDGM(event_shape=(1, 28, 28), num_classes=10, auxiliary_dim=20).eval()
        >>> sdgm.encode(torch.rand(4, 1, 28, 28)).shape
        torch.Size([4, 70])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 50 dimensions. A VampPrior mixes q(z | a, u, y) at the mean a of
            q(a | u), which is not the aggregate posterior.
        posterior: The family of q(z | a, x, y). Default: DiagonalNormal. q(a | x) and p(a | y, z) are always diagonal
            Gaussians.
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
        super().__init__(
            event_shape,
            num_classes,
            prior=prior,
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            classifier=classifier,
            class_prior=class_prior,
            auxiliary_dim=auxiliary_dim,
            num_samples=num_samples,
        )

    def _make_a_decoder(self) -> Network:
        return self.networks.dense(self.prior.latent_dim, 2 * self.auxiliary_dim, self.num_classes)

    def _make_decoder(self) -> Network:
        num_inputs = self.prior.latent_dim + self.auxiliary_dim
        return self.networks.decoder(num_inputs, self.decoder_shape, self.num_classes)

    def _story(self) -> list[tuple[str, str]]:
        """The seven densities; see `SemiSupervisedModel._story`."""
        p_y, p_z, (_, image), (_, auxiliary), *densities_of_guide = super()._story()
        return [p_y, p_z, ("p(a | y, z)", auxiliary), ("p(x | a, y, z)", image), *densities_of_guide]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z | y) p(a | y, z) p(x | a, y, z); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(a | y, z)
            a = pyro.sample("a", self.p_a(y, z))
            # p(x | a, y, z)
            pyro.sample("x", self._p_x(a, y, z), obs=x)

    def _style(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean z of q(z | a, x, y) at the mean a of q(a | x), and beside it the ε of this a and z."""
        a = self.q_a(x).mean
        z = self.q_z(x, y, a).mean
        p_a = self.p_a(y, z).base_dist
        return torch.cat([z, (a - p_a.loc) / p_a.scale], dim=-1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | a, y, z), for z and ε side by side; see `SemiSupervisedModel.p_x`."""
        z, noise = z.split([self.prior.latent_dim, self.auxiliary_dim], dim=-1)
        p_a = self.p_a(y, z).base_dist
        return self._p_x(p_a.loc + p_a.scale * noise, y, z)

    def _draw(self, y: Tensor) -> Tensor:
        """Return z and ε side by side; see ``SemiSupervisedModel._draw``."""
        z = super()._draw(y)
        return torch.cat([z, torch.randn_like(z[..., :1].expand(*z.shape[:-1], self.auxiliary_dim))], dim=-1)

    def p_a(self, y: Tensor, z: Tensor, x: Tensor | None = None) -> TorchDistribution:
        """Return p(a | y, z), event_shape (auxiliary_dim,); x is not used."""
        return diagonal_normal(self.a_decoder(z, y))

    def _p_x(self, a: Tensor, y: Tensor, z: Tensor) -> TorchDistribution:
        # From the guide, a is (batch, auxiliary) even if z is (classes, batch, latent).
        leading = torch.broadcast_shapes(a.shape[:-1], z.shape[:-1])
        both = torch.cat([z.expand(*leading, -1), a.expand(*leading, -1)], dim=-1)
        return self.likelihood(self.decoder(both, y))
