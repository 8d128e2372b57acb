"""J, the objective of semi-supervised learning with deep generative models, term by term, in nats.

Kingma et al. 2014 (arXiv 1406.5298, equations 6 to 9), with N = N_l + N_u training images:

    -L(x, y) = E_q(z|x,y) [ log p(x|y,z) + log p(y) + log p(z) - log q(z|x,y) ]       labelled
    -U(x)    = Σ_y q(y|x) ( -L(x, y) ) + H(q(y|x))                                   unlabelled
    J        = Σ_labelled L + Σ_unlabelled U + α · mean_labelled( -log q(y|x) ),     α = 0.1 N

Each step draws a labelled and an unlabelled batch and has one loss,

    J / N  ≈  N_l/N · mean L  +  N_u/N · mean U  +  α/N · mean( -log q(y|x) ),

an unbiased estimate, because each batch is a uniformly drawn subset and the ELBO's one sample of z is too: of J of the
images as they are, where nothing transforms them. Where a recipe augments the labelled images, it is an estimate of the
mean of J over transformed copies of them, another objective; posterior consistency is a term beside J. In these units a
labelled image's -log q(y|x) weighs α / N_l against its own L: 50 for 100 labels among 50,000.

An image may also carry a label A that admits some of the classes, as a main class does its sub-classes. Then

    -L(x, A) = Σ_{y ∈ A} q(y|x, A) ( -L(x, y) ) + H(q(y|x, A)),    q(y|x, A) = q(y|x) / q(A|x) for y ∈ A, else 0,

with q(A|x) = Σ_{y ∈ A} q(y|x): L(x, y) where A = {y}, and U(x) where A holds all classes. J has Σ L(x, A) over
them, and α · mean( -log q(A|x) ).

With K importance samples of z the bound of each class is a tighter one (Burda et al. 2015, arXiv 1509.00519),

    -L_K(x, y) = E[ log p̂(x, y) ],    p̂(x, y) = 1/K Σ_k p(x, y, z_k) / q(z_k|x, y),    z_1, …, z_K ~ q(z|x, y)
    -U_K(x)    = E[ Σ_y q̄(y) log p̂(x, y) + H(q̄) ],    q̄ the mean of q(y|·) over the samples

of which K = 1 are -L and -U; `ssvae.inference.objective.bounds` derives them.

Pyro does the sums (`ssvae.inference.objective.bounds`): `TraceEnum_ELBO` runs the guide with y enumerated, (classes,
batch), replays the model, and adds up log p - log q weighted by q(y|x). Its traces are kept, so that the terms that are
shown are the very numbers that the loss was made of.
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
    """Posterior consistency: q(y | x) is to be the same for a shifted, turned and scaled x'.

        λ · mean_unlabelled( 1[max_y q(y|x) >= confidence] · Σ_y -q_T(y|x) log q(y|x') ),   q_T(y|x) ∝ q(y|x)^(1/T)

    with q_T held fixed. Sajjadi et al. 2016 (arXiv 1606.04586); with a threshold and a temperature, Xie et al. 2019
    (arXiv 1904.12848). Not part of the generative story: compare with the same recipe without the generative terms.

    Aligned, q̃(y|x) stands in for q(y|x) in the target: see `Alignment`. With a teacher, its q̄(y|x) does, whose
    weights are a running mean of the classifier's: see `ssvae.inference.training.mean_teacher`. Then the model that
    training leaves is the teacher. A model that is trained in stages may have targets of its own:
    `ssvae.models.stages.Staged.consistency_targets`.

    Attributes:
        weight: λ, in nats of J / N per nat of cross-entropy.
        confidence: Images whose most probable class is less probable than this do not take part.
        temperature: T; below 1 the transformed image is to be classified more surely than the image itself.
        aligned: Whether targets are aligned with p(y): for unlabelled images whose classes are as frequent as it says.
        teacher_decay: d of a teacher's weights θ̄ ← d θ̄ + (1 - d) θ after each step; None for targets of the
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
    """How many labelled, unlabelled and partially labelled training images there are, by weight: N_l, N_u and N_p."""

    num_labelled: float
    num_unlabelled: float
    num_partially_labelled: float = 0

    @property
    def total(self) -> float:
        """N = N_l + N_u + N_p."""
        return self.num_labelled + self.num_unlabelled + self.num_partially_labelled


@dataclass(frozen=True)
class Observations:
    """What one step sees.

    Attributes:
        labelled: Images whose class is known, (labelled batch, channels, height, width).
        y: Their classes, (labelled batch,).
        unlabelled: Images whose class is not known, (batch, channels, height, width).
        transformed: The unlabelled images, each shifted, turned and scaled by itself; for `Consistency`.
        partial: Images whose label admits some of the classes, (partially labelled batch, channels, height, width).
        candidates: The classes it admits, booleans (partially labelled batch, classes).
        cut: The labelled images, each with a part cut out, for -log q(y|x) to see in their place; None for the same.
    """

    labelled: Tensor
    y: Tensor
    unlabelled: Tensor
    transformed: Tensor | None = None
    partial: Tensor | None = None
    candidates: Tensor | None = None
    cut: Tensor | None = None


class Term(NamedTuple):
    """A term of J / N.

    Attributes:
        name: Such as "classification".
        weight: By which it is added to the others.
        value: In nats per image, with its gradient.
        parts: What it is made of, detached, by their names; None where it is shown as it is.
    """

    name: str
    weight: float
    value: Tensor
    parts: dict[str, Tensor] | None = None

    @property
    def shown(self) -> dict[str, Tensor]:
        """What is logged of it."""
        if self.parts is None:
            return {self.name: self.value.detach()}
        return {f"{self.name}/{part}": value for part, value in self.parts.items()}


class _Logits(NamedTuple):
    """log q(y|x) of what a step classifies, each (batch, classes); None of what it does not."""

    labelled: Tensor | None
    target: Tensor | None = None
    transformed: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """J / N and the options that help with few labels; each is off unless chosen.

    Attributes:
        alpha: α in units of N, the number of training images: 0.1 is the paper's α = 0.1 N. A labelled image's
            -log q(y|x) weighs alpha · N / N_l against its own L.
        labelled_weight: w, the weight of Σ_labelled L in J; 1 is the paper's.
        kl_weight: β, the weight of KL(q(z|x,y) || p(z)) over training; the constant 1 is the paper's.
        consistency: Posterior consistency on unlabelled images, or None.
        summed_classes: k; U(x) sums over the k most probable classes and lets one drawn class stand for all others, an
            unbiased estimate of U and of its gradient; see `TruncatedBound`. For many classes; None for the exact sum.
        free_bits: λ, nats that each latent variable has for nothing: its KL divergence, mean over the batch, is
            replaced by max(λ, KL) (Kingma et al. 2016, arXiv 1606.04934); 0 for the bound itself.
        free_bits_per_dimension: Whether each dimension of each latent variable has λ nats for nothing, as in that
            paper, not all of a variable's together. For densities that are products over the dimensions.
        importance_samples: K, how many z each bound is made of; 1 for the ELBO. What lies behind the image's features
            costs K times as much. The terms that are logged are still those of the ELBO. The KL weight then has to be
            at least 1 at all times: L_K + (1 - β) KL has no maximum.
        weight_prior: Whether J has the term -log p(θ), p(θ) = N(0, I) over every weight and bias, as in the paper's M2.
        generative: Whether L and U take part. Without them the classifier is trained alone: the baselines.

    Raises:
        ValueError: If alpha, labelled_weight or free_bits is negative, summed_classes or importance_samples is not
            positive, nothing is left to train, or options do not go together: free bits per dimension without any, or
            a KL weight below 1 with several importance samples.
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
                "kl_weight: expected at least 1 throughout where importance_samples is "
                f"{self.importance_samples}, since L_K + (1 - β) KL grows without end with KL where β < 1; got "
                f"{self.kl_weight.smallest} (write kl_weight.start=1 and kl_weight.end=1, or importance_samples=1)."
            )
        if not (self.generative or self.alpha or self.consistency):
            raise ValueError("alpha: expected a positive number where generative is off; got 0, nothing to train.")

    @property
    def teacher_decay(self) -> float | None:
        """How slowly the teacher of consistency follows; None where there is none."""
        return None if self.consistency is None else self.consistency.teacher_decay

    def weight_per_labelled_image(self, sizes: Sizes) -> float:
        """Return α / N_l: what one labelled image's -log q(y|x) weighs against its own L."""
        return self.alpha * sizes.total / sizes.num_labelled if sizes.num_labelled else 0.0

    def __call__(
        self,
        model: SemiSupervisedModel,
        seen: Observations,
        sizes: Sizes,
        progress: float | Tensor = 1.0,
        alignment: Alignment | None = None,
        teacher: SemiSupervisedModel | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return an estimate of J / N and its terms.

        Args:
            model: The model, whose parameters receive the gradient.
            seen: The step's images.
            sizes: N_l and N_u.
            progress: The share of training that is done, for the schedule of the KL weight; a tensor, where the step is
                captured and replayed.
            alignment: What is known of the classes' frequencies, where consistency's targets are aligned.
            teacher: Whose q̄(y|x) makes consistency's targets; None for the model's own.

        Returns:
            J / N, a scalar to be minimised, and its named terms in nats per image, detached.
        """
        loss = seen.y.new_zeros((), dtype=torch.get_default_dtype())
        shown: dict[str, Tensor] = {}
        for term in self._terms(model, seen, sizes, progress, alignment, teacher):
            loss = loss + term.weight * term.value
            shown |= term.shown
        return loss, shown

    def _terms(
        self,
        model: SemiSupervisedModel,
        seen: Observations,
        sizes: Sizes,
        progress: float | Tensor,
        alignment: Alignment | None,
        teacher: SemiSupervisedModel | None,
    ) -> Iterator[Term]:
        if self.weight_prior:
            # -log p(θ) / N
            yield Term("weight_prior", 1.0, _weight_prior(model) / sizes.total)
        if self.generative:
            yield from self._bounds(model, seen, sizes, progress)
        if model.learns_classifier:
            logits = self._classify(model, seen, teacher)
            yield from self._consistency(model, logits, alignment)
            yield from self._classification(model, seen, logits)

    def _bounds(
        self, model: SemiSupervisedModel, seen: Observations, sizes: Sizes, progress: float | Tensor
    ) -> Iterator[Term]:
        """Yield the bounds, by how many images each kind of label has."""
        if len(seen.labelled):
            # L(x, y), y observed
            weight = self.labelled_weight * sizes.num_labelled / sizes.total
            yield Term("labelled", weight, *self._bound(model, progress, seen.labelled, seen.y))
        if len(seen.unlabelled):
            # U(x), y summed over
            weight = sizes.num_unlabelled / sizes.total
            yield Term("unlabelled", weight, *self._bound(model, progress, seen.unlabelled))
        if seen.partial is not None:
            # L(x, A), y summed over A
            weight = self.labelled_weight * sizes.num_partially_labelled / sizes.total
            yield Term("partial", weight, *self._bound(model, progress, seen.partial, candidates=seen.candidates))

    def _classify(self, model: SemiSupervisedModel, seen: Observations, teacher: SemiSupervisedModel | None) -> _Logits:
        """Return the logits of the labelled images and, where consistency takes part, its targets and what they are of.

        One pass over all of them: with batch norm, a classifier that met the labelled images by themselves could tell
        them by their statistics, fit them, and give all others the same answer, which is consistent too.
        """
        stages = model if isinstance(model, Staged) else None
        labelled = seen.labelled if seen.cut is None else seen.cut
        if self.consistency is None or not len(seen.unlabelled) or (stages is not None and not stages.is_consistent):
            return _Logits(model.classify(labelled).logits if self.alpha and len(labelled) else None)
        if seen.transformed is None:
            raise ValueError("augmentation: expected one: consistency compares q(y|x) with q(y|x'); got None.")
        with torch.no_grad():
            target = None if stages is None else stages.consistency_targets(seen.unlabelled)
            if target is None and teacher is not None:
                target = teacher.classify(seen.unlabelled).logits
        targeted = [seen.unlabelled] if target is None else []
        parts = [labelled, *targeted, seen.transformed]
        logits = model.classify(torch.cat(parts)).logits
        of_labelled, *own, of_transformed = logits.split([len(part) for part in parts])
        return _Logits(of_labelled, own[0].detach() if target is None else target, of_transformed)

    def _consistency(self, model: SemiSupervisedModel, logits: _Logits, alignment: Alignment | None) -> Iterator[Term]:
        """Yield -Σ_y q_T(y | x) log q(y | x'), where consistency takes part."""
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

    def _classification(self, model: SemiSupervisedModel, seen: Observations, logits: _Logits) -> Iterator[Term]:
        """Yield -log q(y | x) of the labelled images, and -log q(A | x) of those whose label admits some classes."""
        if self.alpha and logits.labelled is not None and len(seen.labelled):
            # -log q(y | x)
            yield Term("classification", self.alpha, F.cross_entropy(logits.labelled, seen.y))
        if self.alpha and seen.partial is not None and seen.candidates is not None:
            # -log q(A | x)
            log_q = model.classify(seen.partial).logits
            yield Term("partial_classification", self.alpha, -restrict(log_q, seen.candidates).logsumexp(-1).mean())

    def _bound(
        self,
        model: SemiSupervisedModel,
        progress: float | Tensor,
        x: Tensor,
        y: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean of L(x, y), U(x) or L(x, A) over a batch, with the model's own penalties, and the terms."""
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
        """Return the exact sum, also where one class would be left to stand for itself."""
        k = self.summed_classes
        if k is None or k + 1 >= num_classes:
            return SummedBound(self.importance_samples)
        return TruncatedBound(k, self.importance_samples)


def _weight_prior(model: SemiSupervisedModel) -> Tensor:
    """Return -log N(θ; 0, I) = Σ (½ θ² + ½ log 2π), in nats."""
    learned = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return torch.stack([0.5 * (each.square() + math.log(2 * math.pi)).sum() for each in learned]).sum()
