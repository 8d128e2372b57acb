"""p(z) = 1/K Σ_k q(z | u_k, y_k): a mixture of the model's own posteriors at learned pseudo-inputs."""

from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.base import Prior, check_components, check_latent_dim

_DARKEST = 0.01  # of a pixel at the start, whose logit is finite and can still be learned
_NOISE = 0.1


class VampPrior(Prior):
    """The variational mixture of posteriors: Tomczak and Welling 2018, arXiv 1705.07120.

        p(z)     = 1/K Σ_k q(z | u_k, y_k),   the pseudo-classes y_k dealt out evenly
        p(z | y) = 1/K Σ_k q(z | u_yk, y),    if per_class

    Without y, a prior per class is the mixture Σ_y p(y) p(z | y), by the model's p(y); in equal parts where there is
    none.

    The pseudo-inputs u are images, learned with everything else. They start from training images, as the authors' code
    has it as an option: labelled ones of the pseudo-input's class, unlabelled ones where those do not suffice. Training
    sees to that (`start_from`); without it they start as dark noise. The paper has 500; the encoder sees them in each
    step, as it does the batch. Batch norm in the encoder would take its statistics from both in turn: better without.

    With all training images for pseudo-inputs it would be the aggregate posterior 1/N Σ_n q(z | x_n, y_n), which is the
    best prior for a given encoder. Not so in `ADGM`, `SDGM` and `M1M2`, whose guides draw another variable before z:
    the components are q(z | a, u, y) at the mean a of q(a | u), and q(z2 | z1, y) at the mean z1 of q(z1 | u), in place
    of q(z | u, y) = ∫ q(a | u) q(z | a, u, y) da, which has no density in closed form.

    Args:
        latent_dim: The dimension of z.
        num_components: K, how many pseudo-inputs (for each class if per_class).
        per_class: Whether each class has pseudo-inputs of its own.

    Raises:
        ValueError: If a size is not positive.
    """

    pseudo_classes: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small one; see `Prior.example`."""
        return cls(latent_dim, num_components=4)

    def __init__(self, latent_dim: int = 50, num_components: int = 50, per_class: bool = False) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_components(num_components)
        self.latent_dim = latent_dim
        self.num_components = num_components
        self.per_class = per_class
        self.is_class_conditional = per_class

    def attach(self, num_classes: int, image_shape: tuple[int, int, int], posterior: AmortizedPosterior | None) -> None:
        """Make the pseudo-inputs, and keep q(z | x, y) without owning it; see `Prior.attach`."""
        if posterior is None:
            raise ValueError("prior: expected one that needs no posteriors, which have no density here; got VampPrior.")
        if "posterior" in self.__dict__:
            raise ValueError("prior: expected a VampPrior of its own for each model; got one that belongs to another.")
        self.__dict__["posterior"] = posterior
        total = self.num_components * (num_classes if self.per_class else 1)
        classes = torch.arange(total) % num_classes
        if self.per_class:
            classes = classes.sort().values
        self.register_buffer("pseudo_classes", classes, persistent=False)
        # Logits of pixels around σ(-2) = 0.12, for want of images.
        self.pseudo_inputs = nn.Parameter(torch.randn(total, *image_shape) - 2)
        self.__dict__["made"] = self.pseudo_inputs[0].detach().clone()

    @property
    def start_size(self) -> int:
        """An image for each pseudo-input; none once they were learned, loaded or set. See `Prior.start_size`."""
        if "made" not in self.__dict__:
            return 0
        first = self.pseudo_inputs[0].detach()
        return len(self.pseudo_inputs) * torch.equal(first, self.__dict__["made"].to(first))

    @torch.no_grad()
    def start_from(self, x: Tensor, y: Tensor | None = None) -> None:
        """Make images the pseudo-inputs; see `Prior.start_from`.

        Each is a labelled image of its class as far as there are any. The others are unlabelled images, but those of a
        prior per class are labelled ones of the class again, if there are any. What is taken again differs by a little
        noise, or it would be learned alike.

        Raises:
            ValueError: If there is no image, their shape or y's is another, or the prior is not part of a model.
        """
        if "posterior" not in self.__dict__:
            raise _without_model()
        shape = tuple(self.pseudo_inputs.shape[1:])
        if len(x) == 0 or tuple(x.shape[1:]) != shape:
            raise ValueError(
                f"x: expected images of shape (images, {', '.join(map(str, shape))}); got {tuple(x.shape)}."
            )
        if not ((x >= 0) & (x <= 1)).all():  # written so that NaN is refused too
            raise ValueError(f"x: expected pixels in [0, 1]; got values from {x.min():.4g} to {x.max():.4g}.")
        y = torch.full((len(x),), -1, device=x.device) if y is None else y
        if y.shape != x.shape[:1]:
            raise ValueError(
                f"y: expected a class, or -1, for each of the {len(x)} images; got shape {tuple(y.shape)}."
            )
        generator, unlabelled = torch.Generator().manual_seed(0), x[y < 0]
        for k in self.pseudo_classes.unique().tolist():
            mine, images = self.pseudo_classes == k, x[y == k]
            turn = torch.arange(int(mine.sum()))
            if not (self.per_class and len(images)):
                missing = max(0, len(turn) - len(images))
                images, unlabelled = torch.cat([images, unlabelled[:missing]]), unlabelled[missing:]
            images = images if len(images) else x
            logits = images[turn % len(images)].to(self.pseudo_inputs).clamp(_DARKEST, 1 - _DARKEST).logit()
            noise = _NOISE * torch.randn(logits.shape, generator=generator).to(logits)
            self.pseudo_inputs[mine] = logits + noise * (turn >= len(images)).to(logits).view(-1, 1, 1, 1)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture of posteriors; see `Prior.forward`."""
        if "posterior" not in self.__dict__:
            raise _without_model()
        q: AmortizedPosterior = self.__dict__["posterior"]
        # q(z | u, y)
        parameters = q.encode(self.pseudo_inputs.sigmoid(), self.pseudo_classes)  # (components, num_parameters)
        if self.per_class and y is None:
            # p(y) / K
            num_classes = len(parameters) // self.num_components
            logits = self.log_p_y(num_classes).to(parameters).repeat_interleave(self.num_components)
            return q.family.mixture(logits, parameters)
        logits = parameters.new_zeros(self.num_components)
        if not self.per_class:
            return q.family.mixture(logits, parameters)
        return q.family.mixture(logits, parameters.unflatten(0, (-1, self.num_components)), y)


def _without_model() -> ValueError:
    return ValueError("prior: VampPrior expected a model that lends its posterior; got none (build a model first).")
