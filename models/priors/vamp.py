"""p(z) = 1/K Σ_k q(z | u_k, y_k): a mixture of the model's own posteriors at learned pseudo-inputs."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from models.mixture import NormalMixture
from models.priors.base import Posterior, Prior, check_components, check_latent_dim


class VampPrior(Prior):
    """The variational mixture of posteriors: Tomczak and Welling 2018, arXiv 1705.07120.

        p(z)     = 1/K Σ_k q(z | u_k, y_k),   the pseudo-classes y_k dealt out evenly
        p(z | y) = 1/K Σ_k q(z | u_yk, y),    if per_class

    Without y, a prior per class is the mixture Σ_y p(y) p(z | y), by the model's p(y); in equal parts where there is
    none.

    The pseudo-inputs u are images, learned with everything else. The paper has 500; the encoder sees them in each step,
    as it does the batch. Batch norm in the encoder would take its statistics from both in turn: better without it.

    Args:
        latent_dim: The dimension of z.
        num_components: K, how many pseudo-inputs (for each class if per_class).
        per_class: Whether each class has pseudo-inputs of its own.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, latent_dim: int = 50, num_components: int = 50, per_class: bool = False) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_components(num_components)
        self.latent_dim = latent_dim
        self.num_components = num_components
        self.per_class = per_class
        self.density = "p(z | y)" if per_class else "p(z)"

    def attach(self, num_classes: int, image_shape: tuple[int, int, int], posterior: Posterior) -> None:
        """Make the pseudo-inputs, and keep q(z | x, y) without owning it; see `Prior.attach`."""
        if "posterior" in self.__dict__:
            raise ValueError("prior: expected a VampPrior of its own for each model; got one that belongs to another.")
        self.__dict__["posterior"] = posterior
        total = self.num_components * (num_classes if self.per_class else 1)
        classes = torch.arange(total) % num_classes
        if self.per_class:
            classes = classes.sort().values
        self.register_buffer("pseudo_classes", classes, persistent=False)
        # Logits of pixels around σ(-2) = 0.12, about as dark as a digit on its background.
        self.pseudo_inputs = nn.Parameter(torch.randn(total, *image_shape) - 2)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture of posteriors; see `Prior.forward`."""
        if "posterior" not in self.__dict__:
            raise ValueError(
                "prior: VampPrior expected a model that lends its posterior; got none (build a model first)."
            )
        # q(z | u, y)
        posterior = self.__dict__["posterior"](self.pseudo_inputs.sigmoid(), self.pseudo_classes).base_dist
        loc, scale = posterior.loc, posterior.scale  # (components, latent), a class after the other if per_class
        if self.per_class and y is not None:
            loc = loc.unflatten(0, (-1, self.num_components))[y]  # (..., components, latent)
            scale = scale.unflatten(0, (-1, self.num_components))[y]
        if self.per_class and y is None:
            # p(y) / K
            num_classes = len(loc) // self.num_components
            logits = self.log_p_y(num_classes).to(loc).repeat_interleave(self.num_components)
        else:
            logits = loc.new_zeros(loc.shape[-2])
        return NormalMixture(logits, loc, scale)
