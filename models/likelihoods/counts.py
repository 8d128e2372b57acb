"""The base class of likelihoods of counts."""

from torch import Tensor

from ssvae.models.likelihoods.base import Likelihood, bounded

_LARGEST_LOG_MEAN = 12.0


class CountLikelihood(Likelihood):
    """The distribution p(x | ·) of counts 0, 1, 2, …; see `Likelihood`.

    Encoders see log(1 + x), as in Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics", Nature
    Methods 15: one row of large counts does not have a thousand times the weight of the others.
    """

    is_discrete = True

    def features(self, x: Tensor) -> Tensor:
        """Return log(1 + x), continued to negative numbers by ``sign(x) log(1 + |x|)``; see `Likelihood.features`."""
        return x.sign() * x.abs().log1p()

    def check_input(self, x: Tensor) -> None:
        """Refuse negative numbers and numbers that are not integers; see `Likelihood.check_input`."""
        # Written so that NaN is refused too.
        wrong = ~((x >= 0) & (x == x.round()) & x.isfinite())
        if wrong.any():
            raise ValueError(f"x: expected counts 0, 1, 2, … for {self}; got {x[wrong][0]:.6g}.")


def bounded_log_mean(parameters: Tensor) -> Tensor:
    """Return the decoder's output as the logarithm of a mean count, in (-12, 12): at most 160,000."""
    return bounded(parameters, _LARGEST_LOG_MEAN)
