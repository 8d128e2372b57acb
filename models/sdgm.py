"""SDGM: M2 with a second latent variable, in the story as in the guide."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from models.adgm import ADGM
from models.likelihoods import Likelihood
from models.networks import ImageShape, Networks
from models.normal import LogScaleNormal, diagonal_normal
from models.priors import ClassPrior, Prior


class SDGM(ADGM):
    """The skip deep generative model of Maaløe, Sønderby, Sønderby and Winther 2016, arXiv 1602.05473.

    The story, in which the auxiliary variable a of `ADGM` has become a second layer of the style:

        y ~ p(y)               the class: observed, or summed over
        z ~ p(z)               the style; or p(z | y), with a prior that looks at the class
        a ~ p(a | y, z)        = N(μ(y, z), diag σ²(y, z))
        x ~ p(x | a, y, z)     the image

    The guide is that of `ADGM`, one and the same a for all that follows it:

        a ~ q(a | x),    y ~ q(y | a, x),    z ~ q(z | a, x, y)

    Its bound is that of `ADGM` with another f:

        f = log p(x|a,y,z) + log p(a|y,z) + log p(y) + log p(z) - log q(z|a,x,y) - log q(a|x)

    The style that `encode` finds, `decode` takes and `draw` draws is z and ε side by side, where

        ε = (a - μ(y, z)) / σ(y, z),    ε ~ N(0, I) in the story,

    is the part of a that y and z leave open. In another class the same ε makes another a, so that an analogy changes
    all that depends on the class.

    Example:
        >>> import torch
        >>> from models import SDGM
        >>> sdgm = SDGM(image_shape=(1, 28, 28), num_classes=10, auxiliary_dim=20).eval()
        >>> sdgm.encode(torch.rand(4, 1, 28, 28)).shape
        torch.Size([4, 70])

    Args:
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z) or p(z | y); N(0, I) in 50 dimensions where it is not given. A `VampPrior` mixes q(z | a, u, y) at
            the mean a of q(a | u), which is not the aggregate posterior.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of all densities but the classifier; the MLP of Kingma et al. where they are not given.
            The paper's have two layers of 500 rectified units with batch norm.
        classifier: The networks of q(y | a, x); `networks` where they are not given.
        class_prior: p(y); uniform where it is not given.
        auxiliary_dim: The dimension of a; 100 in the paper.
        num_samples: Over how many a q(y | x) = E_q(a|x) q(y | a, x) is averaged in evaluation mode; 100 in the paper.

    Raises:
        ValueError: If a size is not positive, or the class prior is for another number of classes.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        networks: Networks | None = None,
        classifier: Networks | None = None,
        class_prior: ClassPrior | None = None,
        auxiliary_dim: int = 50,
        num_samples: int = 20,
    ) -> None:
        super().__init__(
            image_shape,
            num_classes,
            prior=prior,
            likelihood=likelihood,
            networks=networks,
            classifier=classifier,
            class_prior=class_prior,
            auxiliary_dim=auxiliary_dim,
            num_samples=num_samples,
        )
        channels, height, width = image_shape
        outputs = (channels * self.likelihood.parameters_per_pixel, height, width)
        latent_dim = self.prior.latent_dim
        self.a_decoder = self.networks.dense(latent_dim, 2 * auxiliary_dim, num_classes)
        self.decoder = self.networks.decoder(latent_dim + auxiliary_dim, outputs, num_classes)

    def story(self) -> list[tuple[str, str]]:
        """The seven densities; see `SemiSupervisedModel.story`."""
        p_y, p_z, (_, image), (_, auxiliary), *of_guide = super().story()
        return [p_y, p_z, ("p(a | y, z)", auxiliary), ("p(x | a, y, z)", image), *of_guide]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z | y) p(a | y, z) p(x | a, y, z); see `SemiSupervisedModel.model`."""
        self.begin(x, y)
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z | y)
            z = pyro.sample("z", self.prior(y))
            # p(a | y, z)
            a = pyro.sample("a", diagonal_normal(self.a_decoder(z, y)))
            # p(x | a, y, z)
            pyro.sample("x", self._image(a, y, z), obs=x)

    def posterior(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """Return q(z | a, x, y) at the mean a of q(a | x), and beside it ε at the mean of that z."""
        q_a, q_z = self.auxiliary(x).base_dist, self.posterior_of_prior(x, y).base_dist
        p_a = diagonal_normal(self.a_decoder(q_z.mean, y)).base_dist
        loc = torch.cat([q_z.loc, (q_a.loc - p_a.loc) / p_a.scale], dim=-1)
        log_scale = torch.cat([q_z.log_scale, q_a.log_scale - p_a.log_scale], dim=-1)
        return dist.Independent(LogScaleNormal(loc, log_scale), 1)

    def posterior_of_prior(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | a, x, y) at the mean a of q(a | x)."""
        return super().posterior(x, y)

    def decode(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | a, y, z), for z and ε side by side; see `SemiSupervisedModel.decode`."""
        z, noise = z.split([self.prior.latent_dim, self.auxiliary_dim], dim=-1)
        p_a = diagonal_normal(self.a_decoder(z, y))
        return self._image(p_a.mean + p_a.base_dist.scale * noise, y, z)

    def draw(self, y: Tensor) -> Tensor:
        """Return z and ε side by side; see `SemiSupervisedModel.draw`."""
        z = super().draw(y)
        return torch.cat([z, torch.randn_like(z[..., :1].expand(*z.shape[:-1], self.auxiliary_dim))], dim=-1)

    def _image(self, a: Tensor, y: Tensor, z: Tensor) -> TorchDistribution:
        # Of the guide, a is (batch, auxiliary) where z is (classes, batch, latent).
        leading = torch.broadcast_shapes(a.shape[:-1], z.shape[:-1])
        both = torch.cat([z.expand(*leading, -1), a.expand(*leading, -1)], dim=-1)
        return self.likelihood(self.decoder(both, y))
