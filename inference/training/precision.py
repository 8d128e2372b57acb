"""Mixed precision: networks in bfloat16, densities and sums in float32."""

import torch
from torch import nn

from ssvae.inference._lightning import Precision
from ssvae.models.networks import Network


class NetworkPrecision(Precision):
    """The precision "bf16-mixed" with autocast inside the networks only: densities and sums stay in float32."""

    precision = "bf16-mixed"

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Set every network of the model to bfloat16."""
        set_compute_dtype(module, torch.bfloat16)
        return module


def set_compute_dtype(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Set the precision of every network of a model; None for full precision."""
    for part in module.modules():
        if isinstance(part, Network):
            part.compute_dtype = dtype
