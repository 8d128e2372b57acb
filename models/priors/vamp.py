"""p(z) = 1/K Σ_k q(z | u_k, y_k): a mixture of the model's own posteriors at learned pseudo-inputs."""

from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.base import Prior, check_components, check_latent_dim

_DARKEST = 0.01  # the least pixel of an initial pseudo-input: its logit is finite, and its gradient not too small
_NOISE = 0.1  # standard deviation of the logits' noise in repeated images; of vectors, in standard deviations of x
_IMAGE_DIM = 3


class VampPrior(Prior):
    """The variational mixture of posteriors (VampPrior): Tomczak and Welling 2018, arXiv 1705.07120.

    A mixture of the model's own posteriors at K pseudo-inputs u::

        p(z)     = 1/K Σ_k q(z | u_k, y_k),   each pseudo-class y_k equally often
        p(z | y) = 1/K Σ_k q(z | u_yk, y),    if per_class

    Without y, a prior per class returns the mixture Σ_y p(y) p(z | y), with the model's p(y); uniform if the model has
    none.

    The pseudo-inputs are images in [0, 1], or vectors of any real numbers, and are learned with the other parameters.
    Training initialises them by training images (``start_from``), an option of the authors' code: labelled images of
    the pseudo-input's class, or unlabelled images if there are too few. Otherwise they start as noise, dark for images.
    The paper has 500 pseudo-inputs. The encoder
    processes them in every step, in addition to the batch. Do not use batch norm in the encoder: its statistics would
    mix those of the pseudo-inputs and of the batch.

    With all training images as pseudo-inputs the prior would be the aggregate posterior 1/N Σ_n q(z | x_n, y_n), the
    best prior for a given encoder. This does not hold in `~ssvae.models.ADGM`, `~ssvae.models.SDGM` and
    `~ssvae.models.M1M2`, whose guides draw another variable before z. There the components are q(z | a, u, y) at the
    mean a of q(a | u), and q(z2 | z1, y) at the mean z1 of q(z1 | u), because q(z | u, y) = ∫ q(a | u) q(z | a, u, y)
    da has no density in closed form.

    Example:
        >>> from ssvae.models import M2, priors
        >>> m2 = M2((1, 28, 28), 10, prior=priors.VampPrior(latent_dim=20, num_components=100))
        >>> m2.prior().event_shape
        torch.Size([20])

    Args:
        latent_dim: The dimension of z.
        num_components: K, the number of pseudo-inputs (of each class if ``per_class``).
        per_class: Whether each class has its own pseudo-inputs.

    Raises:
        ValueError: If a size is not positive.
    """

    pseudo_classes: Tensor

    @classmethod
    def example(cls, latent_dim: int = 2) -> Self:
        """Return a small instance; see `Prior.example`."""
        return cls(latent_dim, num_components=4)

    def __init__(self, latent_dim: int = 50, num_components: int = 50, per_class: bool = False) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_components(num_components)
        self.latent_dim = latent_dim
        self.num_components = num_components
        self.per_class = per_class
        self.is_class_conditional = per_class

    def attach(self, num_classes: int, event_shape: tuple[int, ...], posterior: AmortizedPosterior | None) -> None:
        """Create the pseudo-inputs, and store a reference to q(z | x, y); see `Prior.attach`.

        Raises:
            ValueError: If the model's guide has no density, or the prior belongs to another model already.
        """
        if posterior is None:
            raise ValueError(
                "prior: expected a prior that does not mix posteriors, as this model's guide has no density; "
                "got VampPrior."
            )
        if "posterior" in self.__dict__:
            raise ValueError("prior: expected a separate VampPrior for each model; got that of another model.")
        self.__dict__["posterior"] = posterior
        total = self.num_components * (num_classes if self.per_class else 1)
        classes = torch.arange(total) % num_classes
        if self.per_class:
            classes = classes.sort().values
        self.register_buffer("pseudo_classes", classes, persistent=False)
        # Until `start_from` sets them, logits of dark pixels, around σ(-2) = 0.12, or entries of vectors around 0.
        around = -2 if len(event_shape) == _IMAGE_DIM else 0
        self.pseudo_inputs = nn.Parameter(torch.randn(total, *event_shape) + around)
        self.__dict__["made"] = self.pseudo_inputs[0].detach().clone()

    @property
    def _are_images(self) -> bool:
        return self.pseudo_inputs[0].dim() == _IMAGE_DIM

    @property
    def start_size(self) -> int:
        """One image for each pseudo-input; 0 if they were trained, loaded or set. See `Prior.start_size`."""
        if "made" not in self.__dict__:
            return 0
        first = self.pseudo_inputs[0].detach()
        return len(self.pseudo_inputs) * torch.equal(first, self.__dict__["made"].to(first))

    @torch.no_grad()
    def start_from(self, x: Tensor, y: Tensor | None = None) -> None:
        """Set the pseudo-inputs to training images; see `Prior.start_from`.

        Each pseudo-input is a labelled image of its class, for as long as there are any. The others are unlabelled
        images; with ``per_class`` labelled images of the class are repeated instead. Repeated images get a little
        noise, because identical pseudo-inputs would stay identical.

        Raises:
            ValueError: If there is no image, x or y has another shape, a number of x is not one that the
                model takes, or the prior is not part of a model.
        """
        if "posterior" not in self.__dict__:
            raise _without_model()
        shape = tuple(self.pseudo_inputs.shape[1:])
        if len(x) == 0 or tuple(x.shape[1:]) != shape:
            raise ValueError(
                f"x: expected {'images' if self._are_images else 'vectors'} of shape "
                f"({', '.join(['images', *map(str, shape)])}); got {tuple(x.shape)}."
            )
        if not self._are_images and not x.isfinite().all():
            raise ValueError(f"x: expected finite numbers; got {x[~x.isfinite()][0]}.")
        if self._are_images and not ((x >= 0) & (x <= 1)).all():  # written so that NaN is refused too
            raise ValueError(f"x: expected pixels in [0, 1]; got values from {x.min():.4g} to {x.max():.4g}.")
        y = torch.full((len(x),), -1, device=x.device) if y is None else y
        if y.shape != x.shape[:1]:
            raise ValueError(
                f"y: expected a class, or -1, for each of the {len(x)} images; got shape {tuple(y.shape)}."
            )
        generator, unlabelled = torch.Generator().manual_seed(0), x[y < 0]
        for k in self.pseudo_classes.unique().tolist():
            is_class, images = self.pseudo_classes == k, x[y == k]
            number = torch.arange(int(is_class.sum()))
            if not (self.per_class and len(images)):
                missing = max(0, len(number) - len(images))
                images, unlabelled = torch.cat([images, unlabelled[:missing]]), unlabelled[missing:]
            images = images if len(images) else x
            chosen = images[number % len(images)].to(self.pseudo_inputs)
            noise = _NOISE * torch.randn(chosen.shape, generator=generator).to(chosen)
            if self._are_images:
                chosen = chosen.clamp(_DARKEST, 1 - _DARKEST).logit()
            else:
                noise *= x.to(chosen).std(0, correction=0)
            is_repeated = (number >= len(images)).to(chosen)
            self.pseudo_inputs[is_class] = chosen + noise * is_repeated.view(-1, *[1] * len(shape))

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the mixture of posteriors; see `Prior.forward`.

        Raises:
            ValueError: If the prior is not part of a model.
        """
        if "posterior" not in self.__dict__:
            raise _without_model()
        q: AmortizedPosterior = self.__dict__["posterior"]
        # q(z | u, y)
        inputs = self.pseudo_inputs.sigmoid() if self._are_images else self.pseudo_inputs
        parameters = q.encode(inputs, self.pseudo_classes)  # (components, num_parameters)
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
    return ValueError("prior: VampPrior expected a model whose posterior it mixes; got none (build a model first).")
