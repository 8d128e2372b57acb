"""Black and white pixels whose probabilities are observed: the expectation over binarisations."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ssvae.models.likelihoods.bernoulli import IndependentBernoulli
from ssvae.models.likelihoods.pixels import PixelLikelihood


class _ExpectedBernoulli(dist.Bernoulli):  # type: ignore[misc]
    """A Bernoulli pixel whose log_prob takes a pixel in [0, 1], the probability of a one."""

    support = constraints.unit_interval


class ExpectedBernoulli(PixelLikelihood):
    """The expectation of `Bernoulli`'s log p(b | ·) over black and white images b, drawn from grey pixels x.

    Dynamic binarisation (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks") without
    its noise::

        E_{b ~ Bernoulli(x)} log p(b | ·) = Σ x log σ(l) + (1 - x) log σ(-l),    x in [0, 1]

    The generative model is one of black and white images b. Guide and classifier take the grey image x. -L and -U are
    lower bounds of the mean E_b log p(b), and so is the result of importance sampling, by Jensen's inequality::

        log ∫ p(z) exp( E_b log p(b | z) ) dz  <=  E_b log ∫ p(z) p(b | z) dz

    For pixels that are 0 or 1 it equals `Bernoulli`. For grey pixels it is not a density.
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters), whose log_prob is the mean over the binarisations of its argument."""
        return IndependentBernoulli(_ExpectedBernoulli(logits=parameters), self.event_dim)
