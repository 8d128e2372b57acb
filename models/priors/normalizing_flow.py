"""p(z) of a normalising flow: z = f(ε), ε ~ N(0, I)."""

from typing import Self

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.priors.base import Prior, check_latent_dim


class NormalizingFlow(Prior):
    """A flow prior: log p(z) = log N(f⁻¹(z); 0, I) + log |det ∂f⁻¹ / ∂z|.

    f is a chain of affine coupling layers (Dinh et al. 2017, "Density estimation using Real NVP", arXiv
    1605.08803; Pyro's `affine_coupling`) with the dimensions reversed between them.

    Args:
        latent_dim: The dimension of z, at least 2: a coupling layer needs two halves.
        num_layers: How many coupling layers.
        hidden: Size of the hidden layer in each.

    Raises:
        ValueError: If latent_dim is below 2, or another size is not positive.
    """

    zero: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small one; see `Prior.example`."""
        return cls(latent_dim, num_layers=3, hidden=8)

    def __init__(self, latent_dim: int = 50, num_layers: int = 4, hidden: int = 100) -> None:
        super().__init__()
        check_latent_dim(latent_dim, at_least=2)
        if num_layers < 1 or hidden < 1:
            raise ValueError(f"num_layers, hidden: expected positive integers; got {num_layers} and {hidden}.")
        self.latent_dim = latent_dim
        self.num_layers = num_layers
        self.hidden = hidden
        # Only the networks are kept: Pyro's coupling layers cache their last tensors, graph and all, and a
        # model that held on to those could not be deep-copied after its first step.
        networks = [transforms.affine_coupling(latent_dim, hidden_dims=[hidden]).nn for _ in range(num_layers)]
        with torch.no_grad():
            # The flow starts close to the identity: with the default weights, a chain of eight layers gives
            # z ~ N(0, I) in 50 dimensions a log p(z) of -10⁵ and less.
            for network in networks:
                for parameter in network.layers[-1].parameters():
                    parameter.mul_(0.01)
        self.layers = nn.ModuleList(networks)
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("reverse", torch.arange(latent_dim).flip(0), persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the transformed N(0, I); see `Prior.forward`."""
        normal = dist.Normal(self.zero, torch.ones_like(self.zero)).to_event(1)
        # Each half leads in turn, or the first half of z would stay Gaussian.
        chain = [
            step
            for network in self.layers
            for step in (
                transforms.AffineCoupling(self.latent_dim // 2, network),
                transforms.Permute(self.reverse),
            )
        ]
        return dist.TransformedDistribution(normal, chain)
