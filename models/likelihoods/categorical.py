"""Categories, as numbers 0, 1, 2, …."""

from typing import Any, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood


class _Categorical(dist.Categorical):
    """A category as a floating-point number, as all entries of x are."""

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        category: Tensor = super().sample(sample_shape)  # type: ignore[no-untyped-call]
        return category.to(self.logits)

    @property
    def mean(self) -> Tensor:
        """The most probable category, in place of a mean."""
        return self.logits.argmax(-1).to(self.logits)


class Categorical(Likelihood):
    """Categories 0, …, K - 1: p(x | ·) = Π softmax(l)_x, the K logits l of each entry of x from the decoder.

    Categories have no mean: what the distribution calls ``mean``, and a model's reconstructions and samples show, is
    the most probable category. The probabilities are ``p_x.base_dist.probs``, ``(..., *event_shape, K)``. Encoders see
    one-hot vectors, since the size of a category's number means nothing. As in Nazábal et al. 2020, "Handling
    incomplete heterogeneous data using VAEs", arXiv 1807.03653.

    Args:
        num_categories: K, the same for all entries of x; `Mixed` has entries with different numbers.

    Raises:
        ValueError: If there are fewer than two categories.
    """

    is_discrete = True

    @classmethod
    def example(cls) -> Self:
        """Return an instance of three categories; see `Likelihood.example`."""
        return cls(num_categories=3)

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        if num_categories < 2:
            raise ValueError(f"num_categories: expected an integer of at least 2; got {num_categories}.")
        self.num_categories = num_categories
        self.parameters_per_entry = num_categories

    def features_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of K numbers for each entry, those of an image as channels; see `Likelihood`."""
        first, *others = event_shape
        return (self.num_categories * first, *others)

    def features(self, x: Tensor) -> Tensor:
        """Return ``max(0, 1 - |x - k|)`` for k = 0, …, K - 1: one-hot vectors, interpolated between two categories.

        Whether each entry is of category 0 comes first, as its logits do in ``forward``; see `Likelihood.features`.
        """
        dim = -self.event_dim - 1
        categories = torch.arange(self.num_categories, dtype=x.dtype, device=x.device)
        distance = (x.unsqueeze(dim) - categories.view(-1, *[1] * self.event_dim)).abs()
        return (1 - distance).relu().flatten(dim, dim + 1)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Categorical(logits); the first logit of all entries comes first."""
        logits = parameters.unflatten(-self.event_dim, (self.num_categories, -1)).movedim(-self.event_dim - 1, -1)
        return dist.Independent(_Categorical(logits=logits), self.event_dim)

    def mixture_mean(self, p_x: TorchDistribution, weights: Tensor) -> Tensor:
        """Return the most probable category of a mixture in place of its mean; see `Likelihood.mixture_mean`."""
        by_component = weights[(..., *[None] * (len(p_x.event_shape) + 1))] * p_x.base_dist.probs
        probabilities = by_component.sum(tuple(range(weights.dim() - 1)))  # (batch, *event_shape, K)
        return probabilities.argmax(-1).to(probabilities)

    def check_input(self, x: Tensor) -> None:
        """Refuse numbers that are no category; see `Likelihood.check_input`."""
        # Written so that NaN is refused too.
        wrong = ~((x >= 0) & (x < self.num_categories) & (x == x.round()))
        if wrong.any():
            raise ValueError(f"x: expected categories from 0 to {self.num_categories - 1}; got {x[wrong][0]:.6g}.")
