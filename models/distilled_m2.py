"""M2 whose own features are the teacher of its classifier in the last part of training."""

import pyro.distributions as dist
import torch
from torch import Tensor

from ssvae.models.feature_classifiers import FeatureClassifier, LabelSpreading
from ssvae.models.feature_teacher import FeatureTeacher, check_stages, should_refit
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import M2
from ssvae.models.networks import Architecture, EventShape, Network
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior
from ssvae.models.stages import Refits, Staged


class DistilledM2(Staged, Refits, M2):
    """M2, and a second classifier on the first one's features, which later gives it targets for unlabelled images.

    Generative story and guide are those of `M2`, with q(y | x) = Cat(g(h(x))). Training has stages, which ``advance``
    and ``refit`` enter:

    1. M2, without consistency.
    2. A classifier c is fitted to a snapshot of the normalised features, ``h̄(x) = h(x) / |h(x)|``, and c(y; h̄(x))
       replaces q(y | x) in the targets of `ssvae.inference.Consistency`::

           λ · mean_unlabelled( Σ_y -c(y; h̄(x)) log q(y | x') )

       This term is added to those of M2. The stage can be repeated.

    If c is `~ssvae.models.feature_classifiers.LabelSpreading` over a graph of nearest neighbours, this is the label
    propagation of Iscen, Tolias, Avrithis and Chum 2019, arXiv 1904.04717, which starts here from a generative
    classifier; without the generative terms, from a supervised one. For fewer labels, `DistilledM1` starts from the
    features of a VAE.

    Example:
        >>> import torch
        >>> from ssvae.models import DistilledM2, networks
        >>> model = DistilledM2((1, 28, 28), 10, classifier=networks.Convolutional())
        >>> model.eval().classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y). Default: N(0, I) in 50 dimensions.
        posterior: The family of q(z | x, y). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The networks of q(z | x, y) and p(x | y, z). Default: the paper's MLP.
        classifier: The architecture of h and g in q(y | x). Default: ``networks``.
        class_prior: p(y). Default: uniform.
        feature_classifier: The classifier c. Default: label spreading, balanced.
        feature_dim: The dimension of h(x).
        fitted_at: The shares of training after which, at the end of an epoch, c is fitted.

    Raises:
        ValueError: If a size is not positive, the class prior is for another number of classes, or ``fitted_at`` is not
            one or more increasing shares in [0, 1).
    """

    discovers_classes = False

    num_fits: Tensor

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        classifier: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        feature_classifier: FeatureClassifier | None = None,
        feature_dim: int = 64,
        fitted_at: tuple[float, ...] = (0.5,),
    ) -> None:
        check_stages(feature_dim, fitted_at)
        self.feature_dim = feature_dim  # set before the networks are made
        super().__init__(
            event_shape,
            num_classes,
            prior=prior,
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            classifier=classifier,
            class_prior=class_prior,
        )
        self.feature_classifier = (
            feature_classifier if feature_classifier is not None else LabelSpreading(balanced=True)
        )
        self.fitted_at = tuple(fitted_at)

        self.h_encoder = self._encoder(self.classifier, feature_dim)
        self.feature_teacher = FeatureTeacher(self.h_encoder, self.feature_classifier, feature_dim, num_classes)
        self.register_buffer("num_fits", torch.tensor(0))
        self._progress = 0.0
        self.register_load_state_dict_post_hook(_count_as_saved)  # type: ignore[no-untyped-call]

    def _make_y_encoder(self) -> Network:
        return self.classifier.dense(self.feature_dim, self.num_classes)

    def _story(self) -> list[tuple[str, str]]:
        """M2's densities, and c; see `SemiSupervisedModel._story`."""
        densities = dict(super()._story())
        classes = f"Categorical, {self.num_classes} classes"
        densities["q(y | x)"] = f"{classes}; {self.feature_dim} features; {self.classifier}"
        return [*densities.items(), ("c(y; ·)", repr(self.feature_classifier))]

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x); see `SemiSupervisedModel.classify`."""
        return dist.Categorical(logits=self.y_encoder(self.h_encoder(x)))

    def advance(self, progress: float) -> None:
        """Store the progress, by which ``refit`` decides whether to fit c; see ``Staged.advance``."""
        self._progress = progress

    @property
    def last_stage_from(self) -> float:
        """The share of training after which c is fitted for the last time; see ``Staged.last_stage_from``."""
        return self.fitted_at[-1]

    @property
    def is_consistent(self) -> bool:
        """Whether c is fitted; see ``Staged.is_consistent``."""
        return self.current_stage > 0

    def consistency_targets(self, x: Tensor) -> Tensor:
        """Return log c(y; h̄(x)); see ``Staged.consistency_targets``."""
        return self.feature_teacher.log_probabilities(x)

    @property
    def num_refit_images(self) -> int:
        """The number of unlabelled images that c uses; see ``Refits.num_refit_images``."""
        return self.feature_classifier.num_unlabelled

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Fit c to the images' features, if a share in ``fitted_at`` has passed; see ``Refits.refit``."""
        if should_refit(self._progress, self.fitted_at, self.current_stage):
            self.feature_teacher.fit(self.h_encoder, x, y, unlabelled)
            self.current_stage += 1
            self.num_fits.fill_(self.current_stage)


def _count_as_saved(model: DistilledM2, keys: object) -> None:
    """Enter the stage in which the weights were saved."""
    model.current_stage = int(model.num_fits)
