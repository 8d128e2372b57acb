"""Bags of words."""

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ssvae.models.likelihoods.counts import CountLikelihood


class _Multinomial(TorchDistribution):
    """p(x | N), N = Σ x; draws have N = 1."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, event_dim: int, validate_args: bool | None = None) -> None:
        self.entries = tuple(range(-event_dim, 0))
        self.logits = logits - logits.logsumexp(self.entries, keepdim=True)  # log π
        super().__init__(logits.shape[:-event_dim], logits.shape[-event_dim:], validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.nonnegative_integer, len(self.entries))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Multinomial":  # noqa: ANN401
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        return _Multinomial(logits, len(self.entries), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # log N! / Π x!
        log_orders = (value.sum(self.entries) + 1).lgamma() - (value + 1).lgamma().sum(self.entries)
        return log_orders + (value * self.logits).sum(self.entries)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: ANN401, B008
        shape = self._extended_shape(sample_shape)
        logits = self.logits.flatten(-len(self.entries))
        word = torch.distributions.Categorical(logits=logits).sample(sample_shape)
        return torch.nn.functional.one_hot(word, logits.shape[-1]).to(logits).view(shape)

    @property
    def mean(self) -> Tensor:
        """π, the mean of a bag of one word."""
        return self.logits.exp()


class Multinomial(CountLikelihood):
    """Bags of words: p(x | N, ·) = N! / Π x! · Π π^x, N = Σ x the number of words, π = softmax of the decoder's output.

    x counts the words of a document by their places in the vocabulary. N is taken from x itself: the model says which
    words a document of N words has, and not how many there are. What it draws is one word, and its mean is π; that of a
    document of N words is N π. The counts of a document depend on each other, since they sum to N. Liang et al. 2018,
    "Variational autoencoders for collaborative filtering", arXiv 1802.05814; for documents Miao et al. 2016, "Neural
    variational inference for text processing", arXiv 1511.06038.
    """

    has_independent_entries = False

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return the multinomial of the total count of its argument, with logits=parameters."""
        return _Multinomial(parameters, self.event_dim)
