"""p(z) = 1/K Σ_k N(z; W φ(u_k), σ² I): a mixture whose means are a smooth sheet over a grid."""

from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods import bounded
from ssvae.models.mixture import NormalMixture
from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.base import Prior, check_grid, check_latent_dim


class GenerativeTopographicMapping(Prior):
    """The generative topographic mapping: Bishop, Svensén and Williams 1998, Neural Computation 10(1).

    A mixture of Gaussians whose means lie on a smooth sheet in latent space::

        p(z)     = 1/K Σ_k N(z; W φ(u_k), σ² I)
        p(z | y) = 1/K Σ_k N(z; W_y φ(u_k), σ² I),   if per_class
        φ(u)     = (1, φ_1(u), …),   φ_j(u) = exp(-|u - c_j|² / 2s²)

    The K nodes u_k form a grid of rows × columns over the square [-1, 1]². The centres c_j of the radial basis
    functions φ_j form a coarser grid, and s is the distance between them. Neighbouring nodes have neighbouring means,
    so that the decoded grid is a map of the images. The weights W and the scalar σ are learned. Without y, a prior per
    class returns the mixture Σ_y p(y) p(z | y), with the model's p(y); uniform if the model has none.

    Example:
        >>> import torch
        >>> from ssvae.models.priors import GenerativeTopographicMapping
        >>> prior = GenerativeTopographicMapping(latent_dim=5, rows=4, columns=6)
        >>> prior.nodes(torch.tensor(0)).shape
        torch.Size([4, 6, 5])

    Args:
        latent_dim: The dimension of z.
        rows: The number of rows of the grid.
        columns: The number of columns of the grid.
        num_basis: The number of radial basis functions along each side; fewer give a smoother sheet.
        per_class: Whether each class has its own weights.

    Raises:
        ValueError: If a size is not positive.
    """

    basis: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance; see `Prior.example`."""
        return cls(latent_dim, rows=3, columns=4, num_basis=2)

    def __init__(
        self, latent_dim: int = 50, rows: int = 10, columns: int = 10, num_basis: int = 4, per_class: bool = False
    ) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_grid(rows, columns)
        if num_basis < 1:
            raise ValueError(f"num_basis: expected a positive integer; got {num_basis}.")
        self.latent_dim = latent_dim
        self.rows = rows
        self.columns = columns
        self.num_basis = num_basis
        self.per_class = per_class
        self.is_class_conditional = per_class

        nodes = torch.cartesian_prod(_evenly(rows), _evenly(columns))  # (nodes, 2)
        centres = torch.cartesian_prod(_evenly(num_basis), _evenly(num_basis))
        width = 2 / max(1, num_basis - 1)
        radial = (-0.5 * (torch.cdist(nodes, centres) / width).square()).exp()
        basis = torch.cat([torch.ones(len(nodes), 1), radial], dim=-1)  # (nodes, 1 + num_basis²)
        self.register_buffer("basis", basis, persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(()))
        if not per_class:
            self.weights = self._make_weights()

    def _make_weights(self, *classes: int) -> nn.Parameter:
        # Scaled so that the means are as far from the origin as those of the other mixtures.
        size = self.basis.square().sum(-1).mean().sqrt()
        return nn.Parameter(torch.randn(*classes, self.basis.shape[-1], self.latent_dim) / size)

    def attach(self, num_classes: int, event_shape: tuple[int, ...], posterior: AmortizedPosterior | None) -> None:
        """Create the weights of each class, if each has its own; see `Prior.attach`."""
        if self.per_class:
            self.weights = self._make_weights(num_classes)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture; see `Prior.forward`."""
        loc, scale = self._means(), bounded(self.log_scale).exp()
        if self.per_class and y is None:
            # p(y) / K
            logits = self.log_p_y(len(loc)).to(loc).repeat_interleave(loc.shape[-2])
            return NormalMixture(logits, loc.flatten(end_dim=1), scale)
        if self.per_class:
            loc = loc[y]  # (..., nodes, latent)
        return NormalMixture(loc.new_zeros(loc.shape[-2]), loc, scale)

    def nodes(self, y: Tensor) -> Tensor:
        """Return the means W φ(u), or W_y φ(u), as a grid; see `Prior.nodes`."""
        means = self._means().unflatten(-2, (self.rows, self.columns))
        return means[y] if self.per_class else means.expand(*y.shape, *means.shape)

    def _means(self) -> Tensor:
        """Return W φ(u_k) of all nodes, (nodes, latent), or (classes, nodes, latent)."""
        if not hasattr(self, "weights"):
            raise ValueError(
                "prior: GenerativeTopographicMapping with per_class expected a model to take the number of classes "
                "from; got none (build a model first)."
            )
        return self.basis @ self.weights


def _evenly(number: int) -> Tensor:
    """Return evenly spaced points from -1 to 1; a single point is 0."""
    return torch.linspace(-1, 1, number) if number > 1 else torch.zeros(1)
