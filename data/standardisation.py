"""Standardisation of vectors by the median and the interquartile range."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

_NORMAL_QUARTILES = 1.349
"""The interquartile range of N(0, 1), so that the scale of normally distributed rows is their standard deviation."""


@dataclass(frozen=True)
class Standardisation:
    """The map x -> (x - centre) / scale of each feature.

    Plain numbers, so that a run folder can keep them, and raw rows be standardised when a class is predicted.

    Args:
        centre: A number for each feature.
        scale: A positive number for each feature.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def robust(cls, rows: Tensor) -> Self:
        """Return the map that gives rows a median of 0 and, if they are normally distributed, a variance of 1.

        The centre is the median. The scale is the interquartile range / 1.349, which a few rows far away do not change.
        It is the standard deviation if half of the rows or more have the same value, and 1 if all have.

        Args:
            rows: Training rows (N, features), N ≥ 1.
        """
        values = rows.double().numpy()
        lower, centre, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        scale = (upper - lower) / _NORMAL_QUARTILES
        scale = np.where(scale > 0, scale, values.std(0))
        # By the range: the standard deviation of equal numbers is not 0 if their mean is rounded.
        scale = np.where(np.ptp(values, axis=0) > 0, scale, 1.0)
        return cls(tuple(centre.tolist()), tuple(scale.tolist()))

    def only(self, chosen: Sequence[bool]) -> Self:
        """Return the map that changes only some features: all others have the centre 0 and the scale 1.

        Args:
            chosen: Whether each feature is changed.
        """
        return type(self)(
            tuple(centre if is_chosen else 0.0 for centre, is_chosen in zip(self.centre, chosen, strict=True)),
            tuple(scale if is_chosen else 1.0 for scale, is_chosen in zip(self.scale, chosen, strict=True)),
        )

    @property
    def log_volume(self) -> float:
        """What log p(x) has more than log p((x - centre) / scale): -Σ log scale, in nats."""
        return -float(np.log(self.scale).sum())

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and scale (features,), of torch's default floating-point type, on the device of a tensor."""
        dtype = torch.get_default_dtype()
        centre, scale = (torch.tensor(values, dtype=dtype, device=like.device) for values in (self.centre, self.scale))
        return centre, scale
