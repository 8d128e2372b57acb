"""p(z | y) = N(μ_y, I), the means fixed and far apart."""

from typing import Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.mixture import NormalMixture
from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.base import Prior, check_latent_dim


class SeparatedMeans(Prior):
    """A Gaussian for each class with a fixed mean: p(z | y) = N(z; μ_y, I).

    Ghosh, Losalka and Black 2019, arXiv 1806.00081. The means are the corners of a regular simplex around the origin:
    any two have the same distance. They use the smallest possible number of dimensions, the number of classes less one.
    Without y, ``forward`` returns the mixture over the classes, Σ_y p(y) p(z | y), with the model's p(y); uniform if
    the model has none. The prior has no parameters.

    Example:
        >>> import torch
        >>> from ssvae.models.priors import SeparatedMeans
        >>> prior = SeparatedMeans(latent_dim=9, distance=10.0, num_classes=10)
        >>> (prior.means[0] - prior.means[1]).norm().round()
        tensor(10.)

    Args:
        latent_dim: The dimension of z, at least the number of classes less one. All means are 0 in further dimensions.
        distance: The distance between any two means, in standard deviations of a class.
        num_classes: The number of classes. Default: that of the model.

    Raises:
        ValueError: If ``latent_dim`` is too small, ``distance`` is not positive, or the model has another number of
            classes.
    """

    is_class_conditional = True

    means: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance; see `Prior.example`."""
        return cls(latent_dim, distance=4.0)

    def __init__(self, latent_dim: int = 50, distance: float = 10.0, num_classes: int | None = None) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        if not distance > 0:
            raise ValueError(f"distance: expected a positive number of standard deviations; got {distance}.")
        self.latent_dim = latent_dim
        self.distance = distance
        self.num_classes = num_classes
        if num_classes is not None:
            self._place_means(num_classes)

    def _place_means(self, num_classes: int) -> None:
        check_latent_dim(self.latent_dim, at_least=num_classes - 1)
        # Helmert's basis of the vectors whose entries sum to zero: its columns are the centred one-hot vectors.
        rows = torch.arange(1.0, num_classes).unsqueeze(-1)  # (classes - 1, 1)
        columns = torch.arange(num_classes)
        basis = ((columns < rows).to(rows) - rows * (columns == rows)) / (rows * (rows + 1)).sqrt()
        means = torch.zeros(num_classes, self.latent_dim)
        means[:, : num_classes - 1] = self.distance / 2**0.5 * basis.T
        self.register_buffer("means", means, persistent=False)

    def attach(self, num_classes: int, event_shape: tuple[int, ...], posterior: AmortizedPosterior | None) -> None:
        """Take the number of classes from the model; see `Prior.attach`.

        Raises:
            ValueError: If the prior is for another number of classes.
        """
        if self.num_classes is None:
            self.num_classes = num_classes
            self._place_means(num_classes)
        if self.num_classes != num_classes:
            raise ValueError(f"prior: expected one for {num_classes} classes; got one for {self.num_classes}.")

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return p(z | y); see `Prior.forward`.

        Raises:
            ValueError: If the number of classes is neither given nor taken from a model.
        """
        if self.num_classes is None:
            raise ValueError("prior: SeparatedMeans expected num_classes, or a model to take it from; got neither.")
        if y is None:
            log_p_y = self.log_p_y(self.num_classes).to(self.means)
            return NormalMixture(log_p_y, self.means, torch.ones_like(self.means))
        loc = self.means[y]
        return dist.Normal(loc, torch.ones_like(loc)).to_event(1)
