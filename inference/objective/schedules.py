"""Schedules: functions of progress, the fraction of training steps that are done, in [0, 1]."""

import math
from dataclasses import dataclass
from typing import overload

from torch import Tensor


@dataclass(frozen=True)
class KLWeight:
    """The weight β of the KL divergence between q(z|x,y) and p(z) over training: linear, then constant.

    With t the fraction of training steps that are done::

        β(t) = start + (end - start) · min(1, t / until)

    A ``start`` above 1 keeps z uninformative at first, so that the model learns to explain images by their class. A
    ``start`` below 1 is the warm-up of Sønderby et al. 2016 (arXiv 1602.02282). The objective is the ELBO where β = 1.

    Attributes:
        start: β at the first step.
        end: β from ``until`` on.
        until: The fraction of training after which β stays at ``end``; 0 for a constant β = ``end``.

    Raises:
        ValueError: If a weight is negative or ``until`` is outside [0, 1].

    Example:
        >>> from ssvae.inference import KLWeight
        >>> beta = KLWeight(start=0.0, end=1.0, until=0.5)
        >>> beta(0.0), beta(0.25), beta(0.5), beta(1.0)
        (0.0, 0.5, 1.0, 1.0)
    """

    start: float = 1.0
    end: float = 1.0
    until: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.start < math.inf and 0 <= self.end < math.inf):
            raise ValueError(f"kl_weight: expected weights of at least 0; got start {self.start}, end {self.end}.")
        if not 0 <= self.until <= 1:
            raise ValueError(f"kl_weight.until: expected a share of training in [0, 1]; got {self.until}.")

    @property
    def smallest(self) -> float:
        """The smallest β over training."""
        return min(self.start, self.end) if self.until else self.end

    @overload
    def __call__(self, progress: float) -> float: ...

    @overload
    def __call__(self, progress: Tensor) -> Tensor | float: ...

    def __call__(self, progress: float | Tensor) -> float | Tensor:
        """Return β at a point of training.

        Args:
            progress: The fraction of training steps that are done, in [0, 1]; a float or a scalar tensor.

        Returns:
            β. A float in gives a float out.
        """
        if not self.until or self.start == self.end:
            return self.end
        share = progress / self.until
        share = share.clamp(max=1) if isinstance(share, Tensor) else min(1.0, share)
        return self.start + (self.end - self.start) * share
