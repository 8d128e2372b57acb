"""p(z | y): one Gaussian, or a mixture, for each class."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.likelihoods import bounded
from ssvae.models.mixture import NormalMixture
from ssvae.models.posteriors import AmortizedPosterior
from ssvae.models.priors.base import Prior, check_components, check_latent_dim


class ClassConditional(Prior):
    """A Gaussian mixture for each class, with learned parameters: p(z | y) = Σ_k w_yk N(z; μ_yk, diag σ_yk²).

    With one component per class the class chooses the component, as in Gaussian-mixture VAEs (Shu 2016; Ghosh et al.
    2019, arXiv 1806.00081). Without y, ``forward`` returns the mixture over the classes, Σ_y p(y) p(z | y), with the
    model's p(y); uniform if the model has none.

    Example:
        >>> import torch
        >>> from ssvae.models.priors import ClassConditional
        >>> prior = ClassConditional(latent_dim=2, num_classes=10)
        >>> prior(torch.tensor([3, 1, 4])).sample().shape
        torch.Size([3, 2])

    Args:
        latent_dim: The dimension of z.
        num_components: The number of Gaussians for each class.
        num_classes: The number of classes. Default: that of the model.

    Raises:
        ValueError: If a size is not positive, or the model has another number of classes.
    """

    is_class_conditional = True

    def __init__(self, latent_dim: int = 50, num_components: int = 1, num_classes: int | None = None) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_components(num_components)
        self.latent_dim = latent_dim
        self.num_components = num_components
        self.num_classes = num_classes
        if num_classes is not None:
            self._make_parameters(num_classes)

    def _make_parameters(self, num_classes: int) -> None:
        self.logits = nn.Parameter(torch.zeros(num_classes, self.num_components))
        self.loc = nn.Parameter(torch.randn(num_classes, self.num_components, self.latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_classes, self.num_components, self.latent_dim))
        # A single component has weight one for any logit: there is nothing to learn.
        self.logits.requires_grad_(self.num_components > 1)

    def attach(self, num_classes: int, event_shape: tuple[int, ...], posterior: AmortizedPosterior | None) -> None:
        """Take the number of classes from the model; see `Prior.attach`.

        Raises:
            ValueError: If the prior is for another number of classes.
        """
        if self.num_classes is None:
            self.num_classes = num_classes
            self._make_parameters(num_classes)
        if self.num_classes != num_classes:
            raise ValueError(f"prior: expected one for {num_classes} classes; got one for {self.num_classes}.")

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return p(z | y); see `Prior.forward`.

        Raises:
            ValueError: If the number of classes is neither given nor taken from a model.
        """
        if self.num_classes is None:
            raise ValueError("prior: ClassConditional expected num_classes, or a model to take it from; got neither.")
        scale = bounded(self.log_scale).exp()
        if y is None:
            # p(y) w_yk
            logits = self.log_p_y(self.num_classes).to(self.logits).unsqueeze(-1) + self.logits.log_softmax(-1)
            return NormalMixture(logits.flatten(), self.loc.flatten(end_dim=1), scale.flatten(end_dim=1))
        if self.num_components == 1:
            return dist.Normal(self.loc[y, 0], scale[y, 0]).to_event(1)
        return NormalMixture(self.logits[y], self.loc[y], scale[y])
