"""The ladder VAE: several stochastic layers, with the class at the top."""

from itertools import pairwise

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2
from ssvae.models.networks import Architecture, EventShape, Network
from ssvae.models.normal import LogScaleNormal, diagonal_normal
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior


class LadderVAE(M2):
    """The ladder VAE of Sønderby, Raiko, Maaløe, Sønderby and Winther 2016, arXiv 1602.02282, with a class at the top.

    The generative story, with L stochastic layers z_L, …, z_1. The class stands beside the topmost one, as in `M2`; the
    layers below z_L-1 depend on the class only through z_L-1::

        y ~ p(y)                       the class: observed, or summed over
        z_L ~ p(z_L)                   the topmost style; or p(z_L | y), with a class-conditional prior
        z_L-1 ~ p(z_L-1 | y, z_L)      = N(μ(y, z_L), diag σ²(y, z_L))
        z_i ~ p(z_i | z_i+1)           = N(μ(z_i+1), diag σ²(z_i+1)),    i = L-2, …, 1
        x ~ p(x | z_1)                 the image

    The guide first goes up from the image, deterministically: d_i = f(d_i-1), d_0 = x. Then it goes down. Below the top
    it merges N(μ̂_i, σ̂_i²), computed from d_i, with the prior N(μ_i, σ_i²) of the generative story, weighted by their
    precisions::

        y ~ q(y | x)                   the classifier
        z_L ~ q(z_L | x, y)            = N(μ(d_L-1, y), diag σ²(d_L-1, y))
        z_i ~ q(z_i | z_i+1, x, y)     ∝ N(z_i; μ̂_i, σ̂_i²) N(z_i; μ_i, σ_i²)

    With one stochastic layer it is `M2`: p(y) p(z_1) p(x | y, z_1), and q(z_1 | x, y). The bound is that of M2, with a
    KL divergence for each stochastic layer. Upper stochastic layers collapse easily. The paper trains with batch norm
    and with a KL weight that starts at 0. `ssvae.inference.Objective` can add free bits.

    The style that ``encode`` returns, ``p_x`` takes and ``sample`` draws is z_L and, for each stochastic layer below,
    the standardised deviation from the prior::

        ε_i = (z_i - μ_i) / σ_i,    ε_i ~ N(0, I) under p(z_i | z_i+1)

    In ``encode`` each z_i is the mean, given the mean of the stochastic layer above. In another class the same ε_i give
    other z_i: an analogy changes everything that depends on the class. In the image's own class it equals the
    reconstruction. The first columns of ``encode`` are z_L; the last ones are ε_1.

    Example:
        >>> import torch
        >>> from ssvae.models import LadderVAE, priors
        >>> top = priors.StandardNormal(latent_dim=10)
        >>> ladder = LadderVAE((1, 28, 28), num_classes=10, prior=top, latent_dims=(40, 20), hidden=(300, 200))
        >>> ladder.encode(torch.rand(4, 1, 28, 28)).shape
        torch.Size([4, 70])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z_L) or p(z_L | y). Default: N(0, I) in 50 dimensions.
        posterior: The family of q(z_L | x, y). Default: DiagonalNormal. Below the top the densities are always diagonal
            Gaussians, which can be merged by their precisions.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of all networks but the classifier. Default: one dense layer of 500 softplus units.
            The paper's have two dense layers of leaky rectified units with batch norm.
        classifier: The architecture of q(y | x). Default: ``networks``.
        class_prior: p(y). Default: uniform.
        latent_dims: The dimensions of z_1, …, z_L-1, from the image upwards; that of z_L is the prior's. The paper's
            five stochastic layers have 64, 32, 16, 8 and 4.
        hidden: The sizes of d_1, …, d_L-1.

    Raises:
        ValueError: If a size is not positive, ``latent_dims`` and ``hidden`` differ in length, or the class prior is
            for another number of classes.
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
        latent_dims: tuple[int, ...] = (32,),
        hidden: tuple[int, ...] = (256,),
    ) -> None:
        for name, sizes in {"latent_dims": latent_dims, "hidden": hidden}.items():
            if any(size < 1 for size in sizes):
                raise ValueError(f"{name}: expected positive sizes; got {sizes}.")
        if len(latent_dims) != len(hidden):
            raise ValueError(f"hidden: expected a size for each of {len(latent_dims)} latent_dims; got {len(hidden)}.")
        # Set before the networks are made, whose inputs have these sizes.
        self.latent_dims = latent_dims
        self.hidden = hidden
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
        self.up = nn.ModuleList()  # from d_i-1 to d_i, and to μ̂_i and log σ̂_i beside it
        self.down = nn.ModuleList()  # from z_i+1 to μ_i and log σ_i
        if not latent_dims:
            return
        outputs = [size + 2 * latent_dim for size, latent_dim in zip(hidden, latent_dims, strict=True)]
        self.up.append(self._encoder(self.networks, outputs[0]))
        self.up.extend(self.networks.dense(size, output) for size, output in zip(hidden, outputs[1:], strict=False))
        self.down.extend(self.networks.dense(above, 2 * below) for below, above in pairwise(latent_dims))
        self.down.append(self.networks.dense(self.prior.latent_dim, 2 * latent_dims[-1], num_classes))

    def _make_z_encoder(self, num_outputs: int) -> Network:
        if not self.latent_dims:
            return super()._make_z_encoder(num_outputs)
        return self.networks.dense(self.hidden[-1], num_outputs, self.num_classes)

    def _make_decoder(self) -> Network:
        if not self.latent_dims:
            return super()._make_decoder()
        return self.networks.decoder(self.latent_dims[0], self.decoder_shape)

    @property
    def num_layers(self) -> int:
        """L, the number of stochastic layers."""
        return 1 + len(self.latent_dims)

    def _story(self) -> list[tuple[str, str]]:
        """All densities; see `SemiSupervisedModel._story`."""
        p_y, (_, top), (_, image), q_y, _ = super()._story()
        layers = list(enumerate(self.latent_dims, start=1))
        return [
            p_y,
            (self.prior.density.replace("z", f"z_{self.num_layers}"), top),
            *((f"p(z_{i} | {self._above(i)})", f"Normal, {size} dimensions") for i, size in reversed(layers)),
            (f"p(x | {self._above(0)})", image),
            q_y,
            (
                f"q(z_{self.num_layers} | x, y)",
                f"{self.posterior}, {self.prior.latent_dim} dimensions; z_encoder {self.networks}",
            ),
            *((f"q(z_{i} | z_{i + 1}, x, y)", "merged by precision") for i, _ in reversed(layers)),
        ]

    def _above(self, i: int) -> str:
        """Return the name of the stochastic layer above z_i, with the class if it is the topmost."""
        return ("y, " if i + 1 == self.num_layers else "") + f"z_{i + 1}"

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z_L | y) p(z_L-1 | y, z_L) … p(x | z_1); see `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            # p(y)
            y = pyro.sample("y", self.class_prior(), obs=y)
            # p(z_L | y)
            z = pyro.sample(f"z_{self.num_layers}", self.prior(y))
            for i in reversed(range(1, self.num_layers)):
                # p(z_i | z_i+1), or p(z_i | y, z_i+1) if z_i+1 is the topmost
                z = pyro.sample(f"z_{i}", self.p_z_i(i, z, y))
            # p(x | z_1), or p(x | y, z_1) if z_1 is the topmost
            pyro.sample("x", self._p_x(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(y | x) q(z_L | x, y) q(z_L-1 | z_L, x, y) …; see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            if y is None:
                # q(y | x)
                y = pyro.sample("y", self.classify(x), infer={"enumerate": "parallel"})  # (classes, 1)
            d, likelihoods = self.bottom_up(x)
            # q(z_L | x, y)
            z = pyro.sample(f"z_{self.num_layers}", self._q_z(d, y))
            for i in reversed(range(1, self.num_layers)):
                # q(z_i | z_i+1, x, y)
                z = pyro.sample(f"z_{i}", merge(likelihoods[i - 1], self.p_z_i(i, z, y)))

    def _q_z(self, d: Tensor, y: Tensor) -> TorchDistribution:
        """q(z_L | x, y), from the images' d_L-1."""
        return self.posterior(self.z_encoder(d, y))

    def bottom_up(self, x: Tensor) -> tuple[Tensor, list[TorchDistribution]]:
        """Go up from the images to d_L-1, and return the approximate likelihoods N(μ̂_i, diag σ̂_i²) on the way.

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.

        Returns:
            d_L-1, (batch, hidden), and the distributions for i = 1, …, L-1, each with batch_shape (batch,).
        """
        d, likelihoods = x, []
        for network, size, latent_dim in zip(self.up, self.hidden, self.latent_dims, strict=True):
            d, outputs = network(d).split([size, 2 * latent_dim], dim=-1)
            likelihoods.append(diagonal_normal(outputs))
        return d, likelihoods

    def p_z_i(self, i: int, z: Tensor, y: Tensor) -> TorchDistribution:
        """Return p(z_i | z_i+1), or p(z_i | y, z_i+1) if z_i+1 is the topmost stochastic layer.

        Args:
            i: The number of the stochastic layer, from 1 to L-1.
            z: z_i+1, (..., batch, dimensions).
            y: Classes that broadcast with z.

        Returns:
            A diagonal Gaussian with batch_shape (..., batch).
        """
        return diagonal_normal(self.down[i - 1](z, y if i + 1 == self.num_layers else None))

    def _p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | z_1), or p(x | y, z_1) with one stochastic layer."""
        return self.likelihood(self.decoder(z, y if self.num_layers == 1 else None))

    def encode_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the parameters of q(z_L | x, y)."""
        parameters: Tensor = self.z_encoder(self.bottom_up(x)[0], y)
        return parameters

    def _style(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean of q(z_L | x, y), and beside it ε_L-1, …, ε_1, each at the means of the z_i above."""
        d, likelihoods = self.bottom_up(x)
        z = self._q_z(d, y).mean
        parts = [z]
        for i in reversed(range(1, self.num_layers)):
            p = self.p_z_i(i, z, y)
            z = merge(likelihoods[i - 1], p).mean
            parts.append((z - p.base_dist.loc) / p.base_dist.scale)
        return torch.cat(parts, dim=-1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | z_1), z_1 computed from z_L, ε_L-1, …, ε_1 side by side; see `SemiSupervisedModel.p_x`."""
        z, *noise = z.split([self.prior.latent_dim, *reversed(self.latent_dims)], dim=-1)
        for i, epsilon in zip(reversed(range(1, self.num_layers)), noise, strict=True):
            p = self.p_z_i(i, z, y).base_dist
            z = p.loc + p.scale * epsilon
        return self._p_x(z, y)

    def _draw(self, y: Tensor) -> Tensor:
        """Return z_L, ε_L-1, …, ε_1, side by side; see ``SemiSupervisedModel._draw``."""
        z = super()._draw(y)
        return torch.cat([z, z.new_empty(*z.shape[:-1], sum(self.latent_dims)).normal_()], dim=-1)


def merge(likelihood: TorchDistribution, prior: TorchDistribution) -> TorchDistribution:
    """Return the normalised product of two diagonal normals.

    Their means are weighted by their precisions::

        σ² = 1 / (σ̂^-2 + σ_p^-2),    μ = (μ̂ σ̂^-2 + μ_p σ_p^-2) σ²

    It is computed without precisions, by the weight w = σ̂^-2 / (σ̂^-2 + σ_p^-2) = sigmoid(2 log σ_p - 2 log σ̂)::

        log σ = log σ_p + ½ log(1 - w),    μ = μ_p + w (μ̂ - μ_p)

    Args:
        likelihood: N(μ̂, diag σ̂²), with leading dimensions that broadcast.
        prior: N(μ_p, diag σ_p²).
    """
    q, p = likelihood.base_dist, prior.base_dist
    log_ratio = 2 * (p.log_scale - q.log_scale)
    loc = p.loc + log_ratio.sigmoid() * (q.loc - p.loc)
    return dist.Independent(LogScaleNormal(loc, p.log_scale - 0.5 * F.softplus(log_ratio)), 1)
