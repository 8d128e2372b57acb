"""Schedules: pure functions of progress, the share of the training steps that are done, from 0 to 1."""

import math
from dataclasses import dataclass
from typing import overload

from torch import Tensor


@dataclass(frozen=True)
class KLWeight:
    """The weight β of KL(q(z|x,y) || p(z)) over training: linear from `start` to `end`, then constant.

        β(t) = start + (end - start) · min(1, t / until),   t = steps done / steps in all

    With start > 1 the style is starved first, so that the class has to explain the images; with start < 1 it is
    the warm-up of Sønderby et al. 2016 (arXiv 1602.02282). The bound is the ELBO where β = 1.

    Attributes:
        start: β at the first step.
        end: β from `until` on.
        until: The share of training after which β stays at `end`; 0 for no schedule at all.

    Raises:
        ValueError: If a weight is negative or `until` is outside [0, 1].
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
        """The smallest β that training sees."""
        return min(self.start, self.end) if self.until else self.end

    @overload
    def __call__(self, progress: float) -> float: ...

    @overload
    def __call__(self, progress: Tensor) -> Tensor | float: ...

    def __call__(self, progress: float | Tensor) -> float | Tensor:
        """Return β after `progress`, a share in [0, 1], of the training steps; where it is no tensor, β is none."""
        if not self.until or self.start == self.end:
            return self.end
        share = progress / self.until
        share = share.clamp(max=1) if isinstance(share, Tensor) else min(1.0, share)
        return self.start + (self.end - self.start) * share
