"""M1 whose classifier on features is the teacher of a network that takes the image."""

import pyro.distributions as dist
import torch
from torch import Tensor

from ssvae.models.feature_classifiers import FeatureClassifier, LabelSpreading
from ssvae.models.feature_teacher import FeatureTeacher, check_stages, finite_log, should_refit
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m1 import M1
from ssvae.models.m2 import M2, baseline_of
from ssvae.models.networks import Architecture, EventShape
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import Prior
from ssvae.models.stages import Staged


class DistilledM1(Staged, M1):
    """M1, and a network q(y | x) that is trained to predict what a classifier on features predicts.

    Generative story and guide are those of `M1`. Training has stages, which ``advance`` and ``refit`` enter:

    1. M1: the VAE is trained on all images. q(y | x) is uniform.
    2. q(z | x) is held fixed, and the classifier c is fitted to its means μ(x). From now on q(y | x) is a network,
       Cat(g(h(x))), the student of c: c(y; μ(x)) replaces q(y | x) in the targets of `ssvae.inference.Consistency`::

           λ · mean_unlabelled( Σ_y -c(y; μ(x)) log q(y | x') )

       The loss also has -log q(y | x) of the labelled images. p(x | z) is trained further.
    3. c is fitted anew to a snapshot of the network's own normalised features, ``h̄(x) = h(x) / |h(x)|``, and
       c(y; h̄(x)) are the targets. This stage can be repeated.

    If c is `~ssvae.models.feature_classifiers.LabelSpreading` over a graph of nearest neighbours, this is the label
    propagation of Iscen, Tolias, Avrithis and Chum 2019, arXiv 1904.04717, which starts here from the features of a VAE
    instead of a supervised network. Training a network on another classifier's predictions is distillation (Hinton,
    Vinyals and Dean 2015, arXiv 1503.02531). The student can be more accurate than its teacher: it is trained on
    augmented images, and the teacher's mistakes are hard to fit.

    Example:
        >>> import torch
        >>> from ssvae.models import DistilledM1, networks
        >>> model = DistilledM1((1, 28, 28), 10, classifier=networks.Convolutional())
        >>> model.eval().classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z). Default: N(0, I) in 50 dimensions. A prior p(z | y) is replaced by its mixture over equally
            probable classes, since there is no p(y) here.
        posterior: The family of q(z | x). Default: DiagonalNormal.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of q(z | x) and p(x | z). Default: M1's MLP, two layers of 600 softplus units.
        classifier: The architecture of h and g in q(y | x). Default: ``networks``.
        feature_classifier: The classifier c. Default: label spreading, balanced.
        feature_dim: The dimension of h(x).
        fitted_at: The shares of training after which, at the end of an epoch, c is fitted: first to the VAE's features,
            then to the network's.

    Raises:
        ValueError: If a size is not positive, or ``fitted_at`` is not one or more increasing shares in [0, 1).
    """

    num_fits: Tensor
    trains_student: Tensor

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
        feature_classifier: FeatureClassifier | None = None,
        feature_dim: int = 64,
        fitted_at: tuple[float, ...] = (0.4, 0.7),
    ) -> None:
        check_stages(feature_dim, fitted_at)
        super().__init__(
            event_shape,
            num_classes,
            prior=prior,
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            feature_classifier=feature_classifier if feature_classifier is not None else LabelSpreading(balanced=True),
        )
        self.classifier = self._seeing(classifier) if classifier is not None else self.networks
        self.feature_dim = feature_dim
        self.fitted_at = tuple(fitted_at)

        self.h_encoder = self._encoder(self.classifier, feature_dim)
        self.y_encoder = self.classifier.dense(feature_dim, num_classes)
        self.feature_teacher = FeatureTeacher(self.h_encoder, self.feature_classifier, feature_dim, num_classes)
        self.register_buffer("num_fits", torch.tensor(0))
        self.register_buffer("trains_student", torch.tensor(False))
        self._progress = 0.0
        self._learn(classifier=False)
        self.register_load_state_dict_post_hook(_learn_as_saved)  # type: ignore[no-untyped-call]

    def _story(self) -> list[tuple[str, str]]:
        """M1's densities, c, and its student q(y | x); see `SemiSupervisedModel._story`."""
        *densities, _ = super()._story()
        return [
            *densities,
            ("c(y; ·)", repr(self.feature_classifier)),
            ("q(y | x)", f"Categorical, {self.num_classes} classes; {self.feature_dim} features; {self.classifier}"),
        ]

    def advance(self, progress: float) -> None:
        """Train q(y | x) once c is fitted, and M1's encoder before; see ``Staged.advance``."""
        self._progress = progress
        self._learn(classifier=self.current_stage > 0)
        # Parts that are held fixed stay in evaluation mode: no dropout, and batch norm by its running statistics.
        self.z_encoder.train(self.training and not self.learns_classifier)

    @property
    def last_stage_from(self) -> float:
        """The share of training after which c is fitted for the last time; see ``Staged.last_stage_from``."""
        return self.fitted_at[-1]

    def _learn(self, classifier: bool) -> None:
        self.learns_classifier = classifier
        self.trains_student.fill_(classifier)
        self.z_encoder.requires_grad_(not classifier)
        for part in (self.h_encoder, self.y_encoder):
            part.requires_grad_(classifier)

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x), or c(y; μ(x)) before the network is trained; see `SemiSupervisedModel.classify`."""
        if not self.learns_classifier:
            return super().classify(x)
        return dist.Categorical(logits=self.y_encoder(self.h_encoder(x)))

    def consistency_targets(self, x: Tensor) -> Tensor:
        """Return log c(y; ·), of the features that c was last fitted to; see ``Staged.consistency_targets``."""
        if self.current_stage < 2:
            return finite_log(super().classify(x).probs)
        return self.feature_teacher.log_probabilities(x)

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Fit c to the images' features, if a share in ``fitted_at`` has passed; see ``Refits.refit``."""
        if not should_refit(self._progress, self.fitted_at, self.current_stage):
            return
        if self.current_stage == 0:
            super().refit(x, y, unlabelled)
        else:
            self.feature_teacher.fit(self.h_encoder, x, y, unlabelled)
        self.current_stage += 1
        self.num_fits.fill_(self.current_stage)

    def baseline(self) -> M2:
        """Return an `M2` with the same networks, whose classifier has no teacher."""
        return baseline_of(self, self.classifier)


def _learn_as_saved(model: DistilledM1, keys: object) -> None:
    """Enter the stage in which the weights were saved, which sets the parameters that are trained."""
    model.current_stage = int(model.num_fits)
    model._learn(classifier=bool(model.trains_student))
