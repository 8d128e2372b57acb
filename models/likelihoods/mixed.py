"""Vectors of features of different kinds, such as the rows of a table."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from ssvae.models.likelihoods.base import Likelihood
from ssvae.models.likelihoods.bernoulli import Bernoulli
from ssvae.models.likelihoods.categorical import Categorical
from ssvae.models.likelihoods.gaussian import Gaussian


class _Columns(TorchDistribution):
    """The entries of a vector, each with the distribution of its column.

    Args:
        parts: Distributions whose batch_shapes are (..., columns).
        positions: The columns of the first part, then those of the second, and so on.
        places: Where each column stands in positions.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    # The parts' log_prob validates their own columns.
    support = constraints.real

    def __init__(
        self, parts: list[TorchDistribution], positions: Tensor, places: Tensor, validate_args: bool | None = None
    ) -> None:
        self.parts, self.positions, self.places = parts, positions, places
        super().__init__(torch.Size([*parts[0].batch_shape[:-1], len(places)]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Columns":  # noqa: ANN401
        parts = [part.expand(torch.Size([*batch_shape[:-1], part.batch_shape[-1]])) for part in self.parts]
        return _Columns(parts, self.positions, self.places, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        columns = value.index_select(-1, self.positions).split([part.batch_shape[-1] for part in self.parts], dim=-1)
        return self.in_order([part.log_prob(x) for part, x in zip(self.parts, columns, strict=True)])

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        return self.in_order([part.sample(sample_shape) for part in self.parts])

    @property
    def mean(self) -> Tensor:
        return self.in_order([part.mean for part in self.parts])

    def in_order(self, values: list[Tensor]) -> Tensor:
        return torch.cat(values, dim=-1).index_select(-1, self.places)


class Mixed(Likelihood):
    """Vectors of features of different kinds: p(x | ·) = Π_i p_i(x_i | ·), each p_i a likelihood of some columns x_i.

    Nazábal et al. 2020, "Handling incomplete heterogeneous data using VAEs", arXiv 1807.03653.

    Example:
        >>> import torch
        >>> from ssvae.models.likelihoods import Categorical, Gaussian, Mixed
        >>> likelihood = Mixed([Gaussian(per_feature=True), Categorical(4)], columns=[(0, 2), (1,)])
        >>> likelihood.decoder_shape((3,))  # two means, four logits
        (6,)
        >>> likelihood(torch.zeros(5, 6)).sample().shape
        torch.Size([5, 3])

    Args:
        likelihoods: The likelihoods p_i. Each is an object of its own, as its parameters are.
        columns: The columns of x of each likelihood. Each column from 0 to the last belongs to exactly one likelihood.

    Raises:
        ValueError: If the columns are not so, or a likelihood's entries are not independent, as those of `Multinomial`.
    """

    positions: Tensor
    places: Tensor

    @classmethod
    def example(cls) -> Self:
        """Return an instance for four features; see `Likelihood.example`."""
        return cls([Gaussian(), Bernoulli(), Categorical(3)], [(3, 0), (1,), (2,)])

    def __init__(self, likelihoods: Sequence[Likelihood], columns: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.columns = tuple(tuple(part) for part in columns)
        if len(likelihoods) != len(self.columns) or not all(self.columns):
            raise ValueError(
                f"columns: expected one or more for each of the {len(likelihoods)} likelihoods; got {self.columns}."
            )
        positions = torch.tensor(list(chain(*self.columns)))
        if positions.sort().values.tolist() != list(range(len(positions))):
            raise ValueError(f"columns: expected each column from 0 to the last once; got {self.columns}.")
        for part, part_columns in zip(likelihoods, self.columns, strict=True):
            if not part.has_independent_entries:
                raise ValueError(f"likelihoods: expected independent entries of x; got {part}, whose are not.")
            part.set_event_shape((len(part_columns),))
        self.parts = nn.ModuleList(likelihoods)
        self.is_discrete = all(part.is_discrete for part in likelihoods)
        self.admits_missing = any(part.admits_missing for part in likelihoods)
        self.event_shape = (len(positions),)
        # Buffers, since a GPU would have to wait for indices from the processor.
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("places", positions.argsort(), persistent=False)

    @property
    def likelihoods(self) -> tuple[Likelihood, ...]:
        """The likelihoods, in the order of ``columns``."""
        return tuple(self.parts)  # type: ignore[arg-type]

    def decoder_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of all likelihoods' parameters; see `Likelihood.decoder_shape`."""
        return (sum(self._sizes()),)

    def features_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of all likelihoods' features; see `Likelihood.features_shape`."""
        pairs = zip(self.likelihoods, self.columns, strict=True)
        return (sum(likelihood.features_shape((len(columns),))[0] for likelihood, columns in pairs),)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of the first likelihood's columns, then of the second's; see `Likelihood.features`."""
        columns = x.index_select(-1, self.positions).split([len(part) for part in self.columns], dim=-1)
        pairs = zip(self.likelihoods, columns, strict=True)
        return torch.cat([likelihood.features(part) for likelihood, part in pairs], dim=-1)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the product of the likelihoods; the first one's parameters come first."""
        pieces = zip(self.likelihoods, parameters.split(self._sizes(), dim=-1), strict=True)
        parts = [likelihood(piece).base_dist for likelihood, piece in pieces]
        return dist.Independent(_Columns(parts, self.positions, self.places), 1)

    def mixture_mean(self, p_x: TorchDistribution, weights: Tensor) -> Tensor:
        """Return the mean of each column, or its most probable category; see `Likelihood.mixture_mean`."""
        columns: _Columns = p_x.base_dist
        pairs = zip(self.likelihoods, columns.parts, strict=True)
        return columns.in_order([each.mixture_mean(dist.Independent(part, 1), weights) for each, part in pairs])

    def check(self, x: Tensor) -> None:
        """Refuse what a column's likelihood refuses; see `Likelihood.check`."""
        for likelihood, columns in zip(self.likelihoods, self.columns, strict=True):
            likelihood.check(x[..., columns])

    def check_input(self, x: Tensor) -> None:
        """Refuse what a column's likelihood refuses; see `Likelihood.check_input`."""
        for likelihood, columns in zip(self.likelihoods, self.columns, strict=True):
            likelihood.check_input(x[..., columns])

    def _sizes(self) -> list[int]:
        pairs = zip(self.likelihoods, self.columns, strict=True)
        return [likelihood.decoder_shape((len(columns),))[0] for likelihood, columns in pairs]
