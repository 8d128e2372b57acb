"""Hiding entries of observations at random."""

import torch
from torch import Tensor

_IMAGE_DIM = 4


def hide(x: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Return observations with a share of their entries missing, completely at random.

    Args:
        x: Rows (N, features), or images (N, channels, height, width), of which all channels of a pixel are hidden
            together.
        fraction: The probability with which an entry is hidden, in [0, 1].
        generator: The random generator; None for torch's global one.

    Returns:
        x with NaN in place of what is hidden, of the same shape.

    Example:
        >>> import torch
        >>> from ssvae.data import hide
        >>> hide(torch.ones(2, 3), 1.0).isnan().all().item()
        True
    """
    shape = (len(x), 1, *x.shape[2:]) if x.dim() == _IMAGE_DIM else x.shape
    drawn = torch.rand(shape, generator=generator, device=x.device)
    return x.masked_fill(drawn < fraction, torch.nan)
