"""Black and white pixels of which the probabilities are seen."""

import pyro.distributions as dist
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood
from ssvae.models.likelihoods.bernoulli import BernoulliImages


class _ExpectedBernoulliImages(BernoulliImages):
    """Its log-density takes pixels in [0, 1], each the probability of a one."""

    support = constraints.independent(constraints.unit_interval, 3)


class ExpectedBernoulli(Likelihood):
    """Black and white pixels b whose probabilities x are seen: the mean over them of `Bernoulli`'s log p(b | ·).

        E_{b ~ Bernoulli(x)} log p(b | ·) = Σ x log σ(l) + (1 - x) log σ(-l),    x in [0, 1]

    Dynamic binarisation (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks") without
    its noise: the story is of black and white images, while guide and classifier see the image in grey that they are
    drawn from. L and U are bounds of the mean of log p(b) over the draws, and so is what importance sampling finds,

        log ∫ p(z) exp( E_b log p(b | z) ) dz  <=  E_b log ∫ p(z) p(b | z) dz,

    by Jensen's inequality. Of pixels that are 0 or 1 it is `Bernoulli`; of grey ones it is no density.
    """

    is_discrete = True

    def forward(self, parameters: Tensor) -> TorchDistribution:
        """Return Bernoulli(logits=parameters), whose log-density is the mean over what is drawn from the pixels."""
        return _ExpectedBernoulliImages(dist.Bernoulli(logits=parameters), 3)
