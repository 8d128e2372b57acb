"""Standardisation of vectors by the median and the interquartile range."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
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
        It is the standard deviation if half of the rows or more have the same value, and 1 if all have. Missing entries
        are left out.

        Args:
            rows: Training rows (N, features), with a number in each feature; NaN where an entry is missing.
        """
        columns = rows.double().numpy().T
        centres, scales = zip(*(_robust(column[~np.isnan(column)]) for column in columns), strict=True)
        return cls(centres, scales)

    def only(self, chosen: Sequence[bool]) -> Self:
        """Return the map that changes only some features: all others have the centre 0 and the scale 1.

        Args:
            chosen: Whether each feature is changed.
        """
        return type(self)(
            tuple(centre if is_chosen else 0.0 for centre, is_chosen in zip(self.centre, chosen, strict=True)),
            tuple(scale if is_chosen else 1.0 for scale, is_chosen in zip(self.scale, chosen, strict=True)),
        )

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and scale (features,), of torch's default floating-point type, on the device of a tensor."""
        dtype = torch.get_default_dtype()
        centre, scale = (torch.tensor(values, dtype=dtype, device=like.device) for values in (self.centre, self.scale))
        return centre, scale


def _robust(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return centre and scale of the numbers of a feature."""
    lower, centre, upper = np.quantile(values, [0.25, 0.5, 0.75])
    # By the range: the standard deviation of equal numbers is not 0 if their mean is rounded.
    if np.ptp(values) == 0:
        return float(centre), 1.0
    return float(centre), float((upper - lower) / _NORMAL_QUARTILES or values.std())
