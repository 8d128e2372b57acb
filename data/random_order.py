"""Observations in a random order, since files are often in order of class."""

import torch
from torch import Tensor


def random_order(number: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the positions of observations in a random order.

    Args:
        number: The number of observations.
        generator: The random generator. Default: a new one, so that the order is always the same.

    Returns:
        int64 (number,): 0 to number - 1. The first ones are a random subset.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    return torch.randperm(number, generator=generator)
