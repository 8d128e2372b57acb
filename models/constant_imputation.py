"""A model that was trained on complete x, for x of which some entries were not seen."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import MissingEntries
from ssvae.models.networks import Architecture


class ConstantImputation(SemiSupervisedModel):
    """A trained model of complete x, for x with missing entries: its networks get a constant in place of each.

    The generative story and its weights are those of the model. The likelihood is that of what was seen::

        p(x_seen | ·) = ∫ p(x_seen, x_missing | ·) dx_missing

    The guide and the classifier get ι(x_seen), which is x with a constant in place of each missing entry::

        q(z | ι(x_seen), y),  q(y | ι(x_seen))

    Importance weights p(x_seen, y, z) / q(z | ι(x_seen), y) are right for any constant, so that log p(x_seen),
    p(y | x_seen) and ``impute`` converge to those of the model. The constant decides how many samples they need: the
    networks were not trained on it. Nothing corrects q(y | ι(x_seen)).

    A model whose likelihood is `~ssvae.models.likelihoods.MissingEntries` has networks that see what is missing, and
    needs no constant. ι is the imputation function of Mattei and Frellsen 2019, "MIWAE", arXiv 1812.02633.

    Example:
        >>> import torch
        >>> from ssvae.models import M2
        >>> from ssvae.models.constant_imputation import ConstantImputation
        >>> model = ConstantImputation(M2((1, 8, 8), 10), torch.full((1, 8, 8), 0.5))
        >>> x = torch.rand(2, 1, 8, 8)
        >>> x[..., :4] = torch.nan  # the left half was not seen
        >>> model.impute(x, num_samples=5).isnan().any().item()
        False

    Args:
        trained: The model of complete x.
        constant: What stands in the place of missing entries, such as the mean of the training images; it broadcasts
            with ``event_shape``.

    Raises:
        ValueError: If the model takes missing entries itself, or the entries of its likelihood are not independent.
    """

    likelihood: MissingEntries
    constant: Tensor

    def __init__(self, trained: SemiSupervisedModel, constant: Tensor) -> None:
        super().__init__(
            trained.event_shape,
            trained.num_classes,
            prior=trained.prior,
            posterior=trained.posterior,
            likelihood=MissingEntries(trained.likelihood),
            networks=trained.networks,
            class_prior=getattr(trained, "class_prior", None),
        )
        self.trained = trained
        self.has_label_site = trained.has_label_site
        self.sums_over_class = trained.sums_over_class
        self.learns_classifier = trained.learns_classifier
        self.bounds_evidence = trained.bounds_evidence
        self.register_buffer("constant", constant, persistent=False)

    def _seeing(self, architecture: Architecture) -> Architecture:
        """Return the architecture as it is: the networks are there already, and take no mask."""
        return architecture

    def _imputed(self, x: Tensor) -> Tensor:
        """Return ι(x_seen)."""
        return torch.where(x.isnan(), self.constant.to(x), x)

    def _story(self) -> list[tuple[str, str]]:
        """The densities of the trained model; see `SemiSupervisedModel._story`."""
        return self.trained._story()

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(x_seen | ·) and what stands before it; see `SemiSupervisedModel.model`."""
        # Densities that stand after x, such as p(a | y, z, x) of `ADGM`, get ι(x_seen).
        with _ObservesSeenEntries(x, self.likelihood):
            self.trained.model(self._imputed(x), y)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The guide of ι(x_seen); see `SemiSupervisedModel.guide`."""
        self.trained.guide(self._imputed(x), y)

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | ι(x_seen)); see `SemiSupervisedModel.classify`."""
        return self.trained.classify(self._imputed(x))

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | ι(x_seen), y); see `SemiSupervisedModel.q_z`."""
        return self.trained.q_z(self._imputed(x), y)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | y, z) of complete x; see `SemiSupervisedModel.p_x`."""
        return self.trained.p_x(z, y)

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The analogies of ι(x_seen); see `SemiSupervisedModel.analogies`."""
        return self.trained.analogies(self._imputed(x), y)

    def _style(self, x: Tensor, y: Tensor) -> Tensor:
        return self.trained._style(self._imputed(x), y)

    def _draw(self, y: Tensor) -> Tensor:
        return self.trained._draw(y)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.trained._class_of(self._imputed(x), y)


class _ObservesSeenEntries(Messenger):
    """Observes x with missing entries in place of ι(x_seen), under p(x_seen | ·) in place of p(x | ·)."""

    def __init__(self, x: Tensor, likelihood: MissingEntries) -> None:
        super().__init__()
        self.x = x
        self.likelihood = likelihood

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["name"] == "x":
            msg["fn"], msg["value"] = self.likelihood.of_seen(msg["fn"]), self.x
