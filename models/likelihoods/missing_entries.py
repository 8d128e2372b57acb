"""Rows and images of which some entries were not seen."""

from typing import Any, ClassVar, Self

import torch
from pyro.distributions import Independent, TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from ssvae.models.likelihoods.base import Likelihood
from ssvae.models.likelihoods.gaussian import Gaussian

_FILLER = 0.0
"""Stands in the place of a missing entry while log p of all entries is computed; its own log p is then left out."""


class _NumberOrMissing(constraints.Constraint):
    """What a constraint admits, or NaN."""

    def __init__(self, of_numbers: constraints.Constraint) -> None:
        self.of_numbers = of_numbers
        self.is_discrete = of_numbers.is_discrete
        self.event_dim = of_numbers.event_dim

    def check(self, value: Tensor) -> Tensor:
        missing = value.isnan()
        return missing | self.of_numbers.check(value.masked_fill(missing, _FILLER))


class _SeenEntries(TorchDistribution):
    """Entries x_i of which some are NaN: log p(x_i) of those that were seen, 0 of those that were not.

    Args:
        entries: The distribution of each entry; its batch_shape ends with the shape of x.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, entries: TorchDistributionMixin, validate_args: bool | None = None) -> None:
        self.entries = entries
        super().__init__(entries.batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return _NumberOrMissing(self.entries.support)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_SeenEntries":  # noqa: ANN401
        return _SeenEntries(self.entries.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        missing = value.isnan()
        # Filled before, and left out after: log p(NaN) times 0 would be NaN, and so would be its gradient. What is
        # seen is validated by the distribution of its entry.
        return self.entries.log_prob(value.masked_fill(missing, _FILLER)).masked_fill(missing, 0.0)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        return self.entries.sample(sample_shape)

    @property
    def mean(self) -> Tensor:
        return self.entries.mean


class MissingEntries(Likelihood):
    """Images or vectors with missing entries: p(x_seen | ·) = Π_{i seen} p(x_i | ·); NaN in x means "not seen".

    The likelihood of what was seen, the integral (or sum) of p(x | ·) over all values of what was not::

        p(x_seen | ·) = ∫ p(x_seen, x_missing | ·) dx_missing

    A missing entry contributes 0 to log p and to its gradient. All bounds of log p(x) become bounds of log p(x_seen),
    which is the right objective if entries are missing at random: whether an entry is missing may depend on what was
    seen, and not on its own value. What is sampled is complete.

    It is the one switch for missing entries: a model with this likelihood also gives its encoders a mask beside x
    (`~ssvae.models.networks.WithMask`), in x a 0 for each missing entry. Its ``impute`` fills in what was not seen.

    Nazábal et al. 2020, "Handling incomplete heterogeneous data using VAEs", arXiv 1807.03653; Mattei and Frellsen
    2019, "MIWAE: deep generative modelling and imputation of incomplete data sets", arXiv 1812.02633.

    Example:
        >>> import torch
        >>> from ssvae.models.likelihoods import Bernoulli, MissingEntries
        >>> p_x = MissingEntries(Bernoulli())(torch.zeros(1, 1, 8, 8))  # every pixel has the probability 1/2
        >>> x = torch.ones(1, 1, 8, 8)
        >>> x[:, :, :4] = torch.nan  # the upper half was not seen
        >>> (p_x.log_prob(x) / torch.tensor(0.5).log()).round().int().item()
        32

    Args:
        likelihood: The likelihood of complete x. Its entries are independent, and 0 is one of their values.

    Raises:
        ValueError: If the entries of x are not independent, as those of `Multinomial`, or the likelihood admits missing
            entries already; when a model is made, if 0 has no density.
    """

    admits_missing = True

    @classmethod
    def example(cls) -> Self:
        """Return an instance for reals; see `Likelihood.example`."""
        return cls(Gaussian())

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        if not likelihood.has_independent_entries:
            raise ValueError(f"likelihood: expected independent entries of x; got {likelihood}, whose are not.")
        if likelihood.admits_missing:
            raise ValueError(f"likelihood: expected one of complete x; got {likelihood}.")
        self.likelihood = likelihood
        self.parameters_per_entry = likelihood.parameters_per_entry
        self.is_discrete = likelihood.is_discrete
        self.event_shape = likelihood.event_shape

    def set_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Set the shape of x; see `Likelihood.set_event_shape`.

        Raises:
            ValueError: If 0 has no density, which stands in the place of missing entries; or as there.
        """
        super().set_event_shape(event_shape)
        self.likelihood.set_event_shape(event_shape)
        try:
            self.likelihood.check(torch.full(event_shape, _FILLER))
        except ValueError as error:
            raise ValueError(f"likelihood: expected one for which 0 has a density; got {self.likelihood}.") from error

    def decoder_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the parameters of complete x; see `Likelihood.decoder_shape`."""
        return self.likelihood.decoder_shape(event_shape)

    def features_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the features of complete x; see `Likelihood.features_shape`."""
        return self.likelihood.features_shape(event_shape)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of complete x, NaN for an entry that was not seen; see `Likelihood.features`."""
        return self.likelihood.features(x)

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return p(x | ·), whose log_prob leaves out the entries that are NaN."""
        return self.of_seen(self.likelihood(parameters))

    def of_seen(self, p_x: Any) -> TorchDistribution:  # noqa: ANN401
        """Return a distribution p(x | ·) of complete x as one whose log_prob leaves out the entries that are NaN.

        Args:
            p_x: What the likelihood of complete x returns, of any batch_shape.
        """
        return Independent(_SeenEntries(p_x.base_dist), p_x.reinterpreted_batch_ndims)

    def mixture_mean(self, p_x: TorchDistribution, weights: Tensor) -> Tensor:
        """Return the mean of a mixture of distributions of complete x; see `Likelihood.mixture_mean`."""
        return self.likelihood.mixture_mean(Independent(p_x.base_dist.entries, p_x.reinterpreted_batch_ndims), weights)

    def check(self, x: Tensor) -> None:
        """Refuse what the likelihood refuses among the entries that were seen; see `Likelihood.check`."""
        self.likelihood.check(x.masked_fill(x.isnan(), _FILLER))

    def check_input(self, x: Tensor) -> None:
        """Refuse what the likelihood refuses among the entries that were seen; see `Likelihood.check_input`."""
        self.likelihood.check_input(x.masked_fill(x.isnan(), _FILLER))
