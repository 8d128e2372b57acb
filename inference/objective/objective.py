"""The objective J of semi-supervised learning with deep generative models, term by term, in nats.

Kingma et al. 2014 (arXiv 1406.5298, equations 6 to 9), with N = N_l + N_u training images::

    -L(x, y) = E_q(z|x,y) [ log p(x|y,z) + log p(y) + log p(z) - log q(z|x,y) ]       labelled
    -U(x)    = Σ_y q(y|x) ( -L(x, y) ) + H(q(y|x))                                   unlabelled
    J        = Σ_labelled L + Σ_unlabelled U + α · mean_labelled( -log q(y|x) ),     α = 0.1 N

Each step draws a labelled and an unlabelled batch. Its loss is an estimate of J / N::

    J / N  ≈  N_l/N · mean L  +  N_u/N · mean U  +  α/N · mean( -log q(y|x) )

The estimate is unbiased, because each batch is a uniformly drawn subset of the images and the ELBO is estimated with
samples of z from q. If a recipe augments the labelled images, the loss estimates the mean of J over transformed copies
of them instead. Consistency regularisation adds a term that is not part of J. In these units the -log q(y|x) of one
labelled image has the weight α / N_l relative to its own L: 50 for 100 labels among 50,000 images.

An image may also have a partial label A, a set of candidate classes, such as the sub-classes of a main class. Then::

    -L(x, A) = Σ_{y ∈ A} q(y|x, A) ( -L(x, y) ) + H(q(y|x, A)),    q(y|x, A) = q(y|x) / q(A|x) for y ∈ A, else 0

with q(A|x) = Σ_{y ∈ A} q(y|x). It equals L(x, y) if A = {y}, and U(x) if A holds all classes. Partially labelled images
add Σ L(x, A) and α · mean( -log q(A|x) ) to J.

With K importance samples of z the bounds are tighter (Burda et al. 2015, arXiv 1509.00519)::

    -L_K(x, y) = E[ log p̂(x, y) ],    p̂(x, y) = 1/K Σ_k p(x, y, z_k) / q(z_k|x, y),    z_1, …, z_K ~ q(z|x, y)
    -U_K(x)    = E[ Σ_y q̄(y) log p̂(x, y) + H(q̄) ],    q̄ the mean of q(y|·) over the samples

For K = 1 they equal -L and -U. `ssvae.inference.objective.bounds` derives them.

The sums are Pyro's: ``TraceEnum_ELBO`` runs the guide with y enumerated, (classes, batch), replays the model, and sums
log p - log q weighted by q(y|x). The logged terms are computed from the same traces as the loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.objective.bounds import Bound, PlainBound, SummedBound, TruncatedBound, restrict
from ssvae.inference.objective.schedules import KLWeight
from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Staged


@dataclass(frozen=True)
class Consistency:
    """Consistency regularisation: q(y | x) should equal q(y | x') for a shifted, rotated and scaled copy x' of x.

    The term that is added to J / N::

        λ · mean_unlabelled( 1[max_y q(y|x) >= confidence] · Σ_y -q_T(y|x) log q(y|x') ),   q_T(y|x) ∝ q(y|x)^(1/T)

    No gradient flows through the target q_T. The term is not part of the generative model. To see what the generative
    terms add, compare with the same recipe and ``generative=False``.

    Variants of the target:

    - With ``aligned``, the target is q̃(y|x) of `ssvae.inference.objective.alignment.Alignment`.
    - With ``teacher_decay``, the target is the prediction of a teacher, whose weights are a running mean of the
      classifier's (`ssvae.inference.training.mean_teacher`). Training then returns the teacher.
    - A model that is trained in stages may define targets of its own
      (`ssvae.models.stages.Staged.consistency_targets`).

    Sources: Sajjadi et al. 2016 (arXiv 1606.04586); threshold and temperature, Xie et al. 2019 (arXiv 1904.12848);
    teacher, Tarvainen and Valpola 2017 (arXiv 1703.01780).

    Example:
        >>> from ssvae.data import Augmentation
        >>> from ssvae.inference import Consistency, Objective, Recipe
        >>> consistency = Consistency(weight=1.0, confidence=0.95)
        >>> recipe = Recipe(
        ...     objective=Objective(consistency=consistency), augmentation=Augmentation(), max_steps=1000
        ... )

    Attributes:
        weight: λ, in nats of J / N per nat of cross-entropy.
        confidence: Threshold in [0, 1) on max_y q(y|x). Images below it are left out.
        temperature: T in (0, 1]. Below 1 the target is sharper than q(y|x).
        aligned: Whether to align the targets with p(y). This assumes that unlabelled classes are distributed as p(y).
        teacher_decay: Decay d of the teacher's weights θ̄ ← d θ̄ + (1 - d) θ after each step; None for targets of the
            classifier itself.

    Raises:
        ValueError: If the weight is not positive, the confidence is outside [0, 1), the temperature outside (0, 1] or
            the teacher's decay outside (0, 1).
    """

    weight: float = 200.0
    confidence: float = 0.0
    temperature: float = 1.0
    aligned: bool = False
    teacher_decay: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError(f"consistency.weight: expected a positive number; got {self.weight}.")
        if not 0 <= self.confidence < 1:
            raise ValueError(f"consistency.confidence: expected a probability in [0, 1); got {self.confidence}.")
        if not 0 < self.temperature <= 1:
            raise ValueError(f"consistency.temperature: expected a number above 0, at most 1; got {self.temperature}.")
        if self.teacher_decay is not None and not 0 < self.teacher_decay < 1:
            raise ValueError(f"consistency.teacher_decay: expected a number in (0, 1); got {self.teacher_decay}.")


@dataclass(frozen=True)
class Sizes:
    """The numbers of training images of each kind, N_l, N_u and N_p.

    They are sums of weights, and so not always integers, if the data set weights its images.

    Attributes:
        num_labelled: N_l, images with a known class.
        num_unlabelled: N_u, images without a label.
        num_partially_labelled: N_p, images with a set of candidate classes.
    """

    num_labelled: float
    num_unlabelled: float
    num_partially_labelled: float = 0

    @property
    def total(self) -> float:
        """N = N_l + N_u + N_p."""
        return self.num_labelled + self.num_unlabelled + self.num_partially_labelled


@dataclass(frozen=True)
class Observations:
    """The images and labels of one training step; pixels in [0, 1].

    Attributes:
        labelled: Images with a known class, (labelled batch, channels, height, width).
        y: Their classes, integers (labelled batch,).
        unlabelled: Images without a label, (batch, channels, height, width).
        transformed: The unlabelled images, each shifted, rotated and scaled at random; for `Consistency`.
        partial: Images with a partial label, (partially labelled batch, channels, height, width).
        candidates: Their candidate classes, booleans (partially labelled batch, classes).
        disturbed: The labelled images in another light and with a random square cut out, for the term -log q(y|x); None
            to use ``labelled``.
    """

    labelled: Tensor
    y: Tensor
    unlabelled: Tensor
    transformed: Tensor | None = None
    partial: Tensor | None = None
    candidates: Tensor | None = None
    disturbed: Tensor | None = None


class Term(NamedTuple):
    """A term of J / N.

    Attributes:
        name: Its name in the log, such as "classification".
        weight: Its factor in the sum J / N.
        value: Its value in nats per image, a scalar with gradient.
        parts: The terms it consists of, detached, by name; None to log the value itself.
    """

    name: str
    weight: float
    value: Tensor
    parts: dict[str, Tensor] | None = None

    @property
    def logged(self) -> dict[str, Tensor]:
        """The values for the log, by name."""
        if self.parts is None:
            return {self.name: self.value.detach()}
        return {f"{self.name}/{part}": value for part, value in self.parts.items()}


class _Logits(NamedTuple):
    """log q(y|x) of the images that a step classifies, each (batch, classes); None for those it does not."""

    labelled: Tensor | None
    target: Tensor | None = None
    transformed: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """The objective J / N, with options that help when labels are few. Every option is off by default.

    For N_l labelled, N_u unlabelled and N training images in all::

        J / N  =  w N_l/N · mean L  +  N_u/N · mean U  +  alpha · mean( -log q(y|x) )  +  options

    L and U are the negated bounds of Kingma et al. 2014 (arXiv 1406.5298); `ssvae.inference.objective.objective` states
    them.

    Attributes:
        alpha: α / N, the weight of classification; 0.1 is the paper's α = 0.1 N. Relative to its own L, the -log q(y|x)
            of one labelled image has the weight alpha · N / N_l.
        labelled_weight: w, the weight of Σ_labelled L in J; 1 in the paper.
        kl_weight: β, the weight of the KL divergence of q(z|x,y) from p(z) over training; constant 1 in the paper.
        consistency: Consistency regularisation on unlabelled images, or None.
        summed_classes: k, for data with many classes. U(x) sums over the k most probable classes and samples one of the
            others. Value and gradient stay unbiased; see `ssvae.inference.objective.bounds.TruncatedBound`. None for
            the exact sum.
        free_bits: λ in nats. The KL divergence of each latent variable, mean over the batch, is replaced by max(λ, KL)
            (Kingma et al. 2016, arXiv 1606.04934). 0 for the bound itself.
        free_bits_per_dimension: Whether λ applies to each dimension of a latent variable, as in that paper, instead of
            to the variable as a whole. Requires densities that factorise over dimensions.
        importance_samples: K, the number of samples of z in each bound; 1 for the ELBO. Everything that is computed
            from z costs K times as much. The logged terms remain those of the ELBO. For K > 1 the KL weight must be at
            least 1 throughout, since L_K + (1 - β) KL has no maximum otherwise.
        weight_prior: Whether to add -log p(θ), with p(θ) = N(0, I) over all weights and biases, as in the paper's M2.
        generative: Whether L and U are part of J. Without them only the classifier is trained, as in the baselines.

    Raises:
        ValueError: If alpha, labelled_weight or free_bits is negative, summed_classes or importance_samples is not
            positive, no term is left, or options contradict each other: free_bits_per_dimension without free_bits, or a
            KL weight below 1 with several importance samples.

    Example:
        >>> from ssvae.inference import Consistency, Objective
        >>> from ssvae.inference.objective import Sizes
        >>> objective = Objective(alpha=0.1, consistency=Consistency(weight=1.0, confidence=0.95))
        >>> objective.weight_per_labelled_image(Sizes(num_labelled=100, num_unlabelled=49_900))
        50.0
    """

    alpha: float = 0.1
    labelled_weight: float = 1.0
    kl_weight: KLWeight = field(default_factory=KLWeight)
    consistency: Consistency | None = None
    summed_classes: int | None = None
    free_bits: float = 0.0
    free_bits_per_dimension: bool = False
    importance_samples: int = 1
    weight_prior: bool = False
    generative: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha: expected a number of at least 0, in units of N; got {self.alpha}.")
        if not 0 <= self.labelled_weight < math.inf:
            raise ValueError(f"labelled_weight: expected a number of at least 0; got {self.labelled_weight}.")
        if self.summed_classes is not None and self.summed_classes < 1:
            raise ValueError(f"summed_classes: expected at least 1, or None for all; got {self.summed_classes}.")
        if not 0 <= self.free_bits < math.inf:
            raise ValueError(f"free_bits: expected a number of nats of at least 0; got {self.free_bits}.")
        if self.importance_samples < 1:
            raise ValueError(f"importance_samples: expected at least 1; got {self.importance_samples}.")
        if self.free_bits_per_dimension and not self.free_bits:
            raise ValueError("free_bits_per_dimension: expected free_bits above 0 beside it; got 0.")
        if self.importance_samples > 1 and self.kl_weight.smallest < 1:
            raise ValueError(
                "kl_weight: expected at least 1 throughout for importance_samples="
                f"{self.importance_samples}, since L_K + (1 - β) KL is unbounded for β < 1; got "
                f"{self.kl_weight.smallest} (write kl_weight.start=1 and kl_weight.end=1, or importance_samples=1)."
            )
        if not (self.generative or self.alpha or self.consistency):
            raise ValueError(
                "alpha: expected a positive number if generative is off; got 0, which leaves no term to train."
            )

    @property
    def teacher_decay(self) -> float | None:
        """The decay d of the teacher's weights; None without a teacher."""
        return None if self.consistency is None else self.consistency.teacher_decay

    def weight_per_labelled_image(self, sizes: Sizes) -> float:
        """Return α / N_l, the weight of one labelled image's -log q(y|x) relative to its own L; 0 without labels."""
        return self.alpha * sizes.total / sizes.num_labelled if sizes.num_labelled else 0.0

    def __call__(
        self,
        model: SemiSupervisedModel,
        observations: Observations,
        sizes: Sizes,
        progress: float | Tensor = 1.0,
        alignment: Alignment | None = None,
        teacher: SemiSupervisedModel | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return an estimate of J / N and its terms.

        Args:
            model: The model, whose parameters receive the gradient.
            observations: The images and labels of the step.
            sizes: N_l, N_u and N_p.
            progress: The fraction of training that is done, in [0, 1], for the schedule of the KL weight; a tensor if
                the step is captured and replayed.
            alignment: The running class frequencies, if the targets of consistency are aligned.
            teacher: The model that predicts the targets of consistency; None for ``model`` itself.

        Returns:
            J / N, a scalar to minimise, and its terms by name, detached scalars in nats per image.

        Raises:
            ValueError: If consistency lacks the transformed images or the alignment.
        """
        loss = observations.y.new_zeros((), dtype=torch.get_default_dtype())
        logged: dict[str, Tensor] = {}
        for term in self._terms(model, observations, sizes, progress, alignment, teacher):
            loss = loss + term.weight * term.value
            logged |= term.logged
        return loss, logged

    def _terms(
        self,
        model: SemiSupervisedModel,
        observations: Observations,
        sizes: Sizes,
        progress: float | Tensor,
        alignment: Alignment | None,
        teacher: SemiSupervisedModel | None,
    ) -> Iterator[Term]:
        if self.weight_prior:
            # -log p(θ) / N
            yield Term("weight_prior", 1.0, _weight_prior(model) / sizes.total)
        if self.generative:
            yield from self._bounds(model, observations, sizes, progress)
        if model.learns_classifier:
            logits = self._classify(model, observations, teacher)
            yield from self._consistency(model, logits, alignment)
            yield from self._classification(model, observations, logits)

    def _bounds(
        self, model: SemiSupervisedModel, observations: Observations, sizes: Sizes, progress: float | Tensor
    ) -> Iterator[Term]:
        """Yield the bounds, each weighted by the share of its kind of images."""
        if len(observations.labelled):
            # L(x, y), y observed
            weight = self.labelled_weight * sizes.num_labelled / sizes.total
            yield Term("labelled", weight, *self._bound(model, progress, observations.labelled, observations.y))
        if len(observations.unlabelled):
            # U(x), y summed over
            weight = sizes.num_unlabelled / sizes.total
            yield Term("unlabelled", weight, *self._bound(model, progress, observations.unlabelled))
        if observations.partial is not None:
            # L(x, A), y summed over A
            weight = self.labelled_weight * sizes.num_partially_labelled / sizes.total
            yield Term(
                "partial",
                weight,
                *self._bound(model, progress, observations.partial, candidates=observations.candidates),
            )

    def _classify(
        self, model: SemiSupervisedModel, observations: Observations, teacher: SemiSupervisedModel | None
    ) -> _Logits:
        """Return the logits of the labelled images and, for consistency, of the targets and the transformed images.

        All images go through the classifier in one batch. With batch norm, labelled images in a batch of their own
        would have statistics of their own. The classifier could then fit the labelled images and predict one class for
        all others, which is consistent too.
        """
        stages = model if isinstance(model, Staged) else None
        labelled = observations.labelled if observations.disturbed is None else observations.disturbed
        if (
            self.consistency is None
            or not len(observations.unlabelled)
            or (stages is not None and not stages.is_consistent)
        ):
            return _Logits(model.classify(labelled).logits if self.alpha and len(labelled) else None)
        if observations.transformed is None:
            raise ValueError("augmentation: expected one: consistency compares q(y|x) with q(y|x'); got None.")
        with torch.no_grad():
            target = None if stages is None else stages.consistency_targets(observations.unlabelled)
            if target is None and teacher is not None:
                target = teacher.classify(observations.unlabelled).logits
        targeted = [observations.unlabelled] if target is None else []
        parts = [labelled, *targeted, observations.transformed]
        logits = model.classify(torch.cat(parts)).logits
        labelled_logits, *target_logits, transformed_logits = logits.split([len(part) for part in parts])
        return _Logits(labelled_logits, target_logits[0].detach() if target is None else target, transformed_logits)

    def _consistency(self, model: SemiSupervisedModel, logits: _Logits, alignment: Alignment | None) -> Iterator[Term]:
        """Yield -Σ_y q_T(y | x) log q(y | x'), if the objective has consistency."""
        consistency, log_target = self.consistency, logits.target
        if consistency is None or log_target is None or logits.transformed is None:
            return
        confident = log_target.exp().amax(-1) >= consistency.confidence
        if consistency.aligned:
            if alignment is None:
                raise ValueError("alignment: expected one: consistency's targets are aligned with p(y); got None.")
            log_target = alignment(log_target, model)
        target = (log_target / consistency.temperature).softmax(-1)
        # -Σ_y q_T(y | x) log q(y | x')
        cross_entropy = -(target * logits.transformed).sum(-1)  # (batch,)
        yield Term("consistency", consistency.weight, (cross_entropy * confident).mean())

    def _classification(
        self, model: SemiSupervisedModel, observations: Observations, logits: _Logits
    ) -> Iterator[Term]:
        """Yield -log q(y | x) of the labelled images, and -log q(A | x) of the partially labelled ones."""
        if self.alpha and logits.labelled is not None and len(observations.labelled):
            # -log q(y | x)
            yield Term("classification", self.alpha, F.cross_entropy(logits.labelled, observations.y))
        if self.alpha and observations.partial is not None and observations.candidates is not None:
            # -log q(A | x)
            log_q = model.classify(observations.partial).logits
            yield Term(
                "partial_classification", self.alpha, -restrict(log_q, observations.candidates).logsumexp(-1).mean()
            )

    def _bound(
        self,
        model: SemiSupervisedModel,
        progress: float | Tensor,
        x: Tensor,
        y: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean of L(x, y), U(x) or L(x, A) over a batch plus the model's own penalties, and the terms."""
        beta = self.kl_weight(progress)
        batch = (x,) if y is None or not model.has_label_site else (x, y)
        summed = len(batch) == 1 and model.sums_over_class
        bound: Bound = self._sum(model.num_classes) if summed else PlainBound(self.importance_samples)
        loss = bound.negative_elbo(model, beta, *batch, candidates=candidates) / len(x)
        if self.free_bits:
            # Σ max(λ, KL) = Σ KL + Σ max(0, λ - KL)
            kl = bound.kl_by_dimension() if self.free_bits_per_dimension else bound.kl_by_latent()
            loss = loss + beta * sum(F.relu(self.free_bits - value).sum() for value in kl.values())
        penalties = model.penalties(*batch)
        terms = bound.terms() | {name: value.detach() for name, value in penalties.items()}
        return loss + sum(penalties.values()), terms

    def _sum(self, num_classes: int) -> SummedBound | TruncatedBound:
        """Return the bound that sums over y: exact unless at least two classes are left to sample from."""
        k = self.summed_classes
        if k is None or k + 1 >= num_classes:
            return SummedBound(self.importance_samples)
        return TruncatedBound(k, self.importance_samples)


def _weight_prior(model: SemiSupervisedModel) -> Tensor:
    """Return -log N(θ; 0, I) = Σ (½ θ² + ½ log 2π), in nats."""
    trainable = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return torch.stack([0.5 * (weights.square() + math.log(2 * math.pi)).sum() for weights in trainable]).sum()
