"""p(z) of a normalising flow: z = f(ε), ε ~ N(0, I)."""

from typing import Self

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.priors.base import Prior, check_latent_dim


class NormalizingFlow(Prior):
    """A normalising flow: z = f(ε), ε ~ N(0, I).

    The density::

        log p(z) = log N(f⁻¹(z); 0, I) + log |det ∂f⁻¹ / ∂z|

    f is a chain of affine coupling layers (Dinh et al. 2017, "Density estimation using Real NVP", arXiv 1605.08803;
    Pyro's ``affine_coupling``), with the order of dimensions reversed between them.

    Args:
        latent_dim: The dimension of z, at least 2: a coupling layer splits it into two halves.
        num_layers: The number of coupling layers.
        hidden: The size of the hidden layer in each coupling layer.

    Raises:
        ValueError: If ``latent_dim`` is below 2, or another size is not positive.
    """

    zero: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance; see `Prior.example`."""
        return cls(latent_dim, num_layers=3, hidden=8)

    def __init__(self, latent_dim: int = 50, num_layers: int = 4, hidden: int = 100) -> None:
        super().__init__()
        check_latent_dim(latent_dim, at_least=2)
        if num_layers < 1 or hidden < 1:
            raise ValueError(f"num_layers, hidden: expected positive integers; got {num_layers} and {hidden}.")
        self.latent_dim = latent_dim
        self.num_layers = num_layers
        self.hidden = hidden
        # Only the networks are stored. Pyro's coupling layers cache their last tensors with their graph, and a model
        # that stored these layers could not be deep-copied after its first step.
        networks = [transforms.affine_coupling(latent_dim, hidden_dims=[hidden]).nn for _ in range(num_layers)]
        with torch.no_grad():
            # Start close to the identity. With the default weights, log p(z) of z ~ N(0, I) in 50 dimensions is -10⁵
            # or less under a chain of eight layers.
            for network in networks:
                for parameter in network.layers[-1].parameters():
                    parameter.mul_(0.01)
        self.layers = nn.ModuleList(networks)
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("reverse", torch.arange(latent_dim).flip(0), persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the transformed N(0, I); see `Prior.forward`."""
        normal = dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)
        # Permute, so that each half is transformed in turn: otherwise the first half of z would stay Gaussian.
        chain = [
            step
            for network in self.layers
            for step in (
                transforms.AffineCoupling(self.latent_dim // 2, network),
                transforms.Permute(self.reverse),
            )
        ]
        return dist.TransformedDistribution(normal, chain)
