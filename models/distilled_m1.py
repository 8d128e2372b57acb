"""M1 whose classifier on features teaches a network that looks at the image."""

import pyro.distributions as dist
import torch
from torch import Tensor

from ssvae.models.feature_classifiers import FeatureClassifier, LabelSpreading
from ssvae.models.feature_teacher import FeatureTeacher, check_stages, finite_log, should_refit
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m1 import M1
from ssvae.models.m2 import M2
from ssvae.models.networks import Architecture, ImageShape
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import Prior
from ssvae.models.stages import Staged


class DistilledM1(Staged, M1):
    """M1, and a network q(y | x) that is taught what a classifier on features says of the unlabelled images.

    Story and guide are those of `M1`. It is trained in stages, of which `advance` and `refit` are told:

        1. M1: the VAE learns from all images. No class is known yet, q(y | x) is uniform.
        2. q(z | x) rests, and the classifier c is fitted to its means μ(x). Now q(y | x) is a network, Cat(g(h(x))),
           that learns from c: c(y; μ(x)) stands in for q(y | x) in the targets of `ssvae.inference.Consistency`,

               λ · mean_unlabelled( Σ_y -c(y; μ(x)) log q(y | x') ),

           beside -log q(y | x) of the labelled images. p(x | z) learns on.
        3. c is fitted anew, to the network's own features h̄(x) = h(x) / |h(x)| as they are now, and c(y; h̄(x)) are
           the targets. And again, as often as one likes.

    With labels that spread over a graph of nearest neighbours it is the label propagation of Iscen, Tolias, Avrithis
    and Chum 2019, arXiv 1904.04717, which begins here with what a VAE knows in place of a supervised network. To teach
    a network what another classifier says is the distillation of Hinton, Vinyals and Dean 2015, arXiv 1503.02531. The
    network may know better than its teacher: it sees images in many positions, and mistakes are hard to learn.

    Example:
        >>> import torch
        >>> from ssvae.models import DistilledM1, networks
        >>> model = DistilledM1((1, 28, 28), 10, classifier=networks.Convolutional())
        >>> model.eval().classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        image_shape: Channels, height and width of x.
        num_classes: How many classes.
        prior: p(z); N(0, I) in 50 dimensions where it is not given. Of a p(z | y), the mixture of the classes in equal
            parts, as the story has no p(y).
        posterior: The family of q(z | x); `DiagonalNormal` where it is not given.
        likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
        networks: The networks of q(z | x) and p(x | z); where they are not given the paper's MLP, two layers of 600
            softplus units.
        classifier: The networks h and g of q(y | x); `networks` where they are not given.
        feature_classifier: The classifier c; label spreading, balanced, where it is not given.
        feature_dim: The dimension of h(x).
        fitted_at: The shares of training after which, at the end of an epoch, c is fitted: first to the VAE's features,
            then to the network's.

    Raises:
        ValueError: If a size is not positive, or fitted_at is not one or more shares in [0, 1) that rise.
    """

    fits: Tensor
    taught: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
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
            image_shape,
            num_classes,
            prior=prior,
            posterior=posterior,
            likelihood=likelihood,
            networks=networks,
            feature_classifier=feature_classifier if feature_classifier is not None else LabelSpreading(balanced=True),
        )
        self.classifier = classifier if classifier is not None else self.networks
        self.feature_dim = feature_dim
        self.fitted_at = tuple(fitted_at)

        self.h_encoder = self.classifier.encoder(image_shape, feature_dim)
        self.y_encoder = self.classifier.dense(feature_dim, num_classes)
        self.teaching = FeatureTeacher(self.h_encoder, self.feature_classifier, feature_dim, num_classes)
        self.register_buffer("fits", torch.tensor(0))
        self.register_buffer("taught", torch.tensor(False))
        self._progress = 0.0
        self._learn(classifier=False)
        self.register_load_state_dict_post_hook(_learn_as_saved)  # type: ignore[no-untyped-call]

    def story(self) -> list[tuple[str, str]]:
        """M1's densities, c, and the network that it teaches; see `SemiSupervisedModel.story`."""
        *densities, _ = super().story()
        return [
            *densities,
            ("c(y; ·)", repr(self.feature_classifier)),
            ("q(y | x)", f"Categorical, {self.num_classes} classes; {self.feature_dim} features; {self.classifier}"),
        ]

    def advance(self, progress: float) -> None:
        """Let q(y | x) learn once c is there; see `Staged.advance`."""
        self._progress = progress
        self._learn(classifier=self.current_stage > 0)
        # What does not learn stands in evaluation mode too: its batch norm has settled, it drops no units.
        self.z_encoder.train(self.training and not self.learns_classifier)

    @property
    def last_stage_from(self) -> float:
        """Where the classifier is fitted for the last time; see `Staged.last_stage_from`."""
        return self.fitted_at[-1]

    def _learn(self, classifier: bool) -> None:
        self.learns_classifier = classifier
        self.taught.fill_(classifier)
        self.z_encoder.requires_grad_(not classifier)
        for part in (self.h_encoder, self.y_encoder):
            part.requires_grad_(classifier)

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | x), or c(y; μ(x)) until the network learns; see `SemiSupervisedModel.classify`."""
        if not self.learns_classifier:
            return super().classify(x)
        return dist.Categorical(logits=self.y_encoder(self.h_encoder(x)))

    def consistency_targets(self, x: Tensor) -> Tensor:
        """The logarithm of c(y; ·), for what it was last fitted to; see `Staged.consistency_targets`."""
        if self.current_stage < 2:
            return finite_log(super().classify(x).probs)
        return self.teaching.log_probabilities(x)

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Fit c to the features of the images, where it is time."""
        if not should_refit(self._progress, self.fitted_at, self.current_stage):
            return
        if self.current_stage == 0:
            super().refit(x, y, unlabelled)
        else:
            self.teaching.fit(self.h_encoder, x, y, unlabelled)
        self.current_stage += 1
        self.fits.fill_(self.current_stage)

    def baseline(self) -> M2:
        """Return an M2 with the same networks, whose classifier nobody teaches."""
        return M2(self.image_shape, self.num_classes, networks=self.networks, classifier=self.classifier)


def _learn_as_saved(model: DistilledM1, keys: object) -> None:
    """Be in the stage that the weights were saved in, and let learn what learned."""
    model.current_stage = int(model.fits)
    model._learn(classifier=bool(model.taught))
