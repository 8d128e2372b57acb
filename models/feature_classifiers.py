"""Classifiers on features, in the manner of M1: scikit-learn's, fitted to the latent means of labelled images.

A `FeatureClassifier` is a recipe, of plain options. A fitted classifier is never saved: `FeatureBank` keeps the
features that it was fitted to, as tensors, and refits it when it is first used, always with the same result.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssvae.models.part import Part

__all__ = [
    "FeatureBank",
    "FeatureClassifier",
    "KNearestNeighbours",
    "LabelSpreading",
    "LogisticRegression",
    "SupportVectorMachine",
]

Probabilities = Callable[[Tensor], Tensor]

_FOLDS = 5
_AT_ONCE = 1000
_ROWS_AT_ONCE = 250
_SCALINGS = 100
_SMALLEST = 1e-300


class FeatureClassifier(Part, ABC):
    """The recipe for a classifier on features.

    To write one: inherit as a frozen dataclass of options and return from `fit` a function; import scikit-learn within
    it, so that `import models` stays quick. `arrays` makes its arguments into what scikit-learn takes.

    Attributes:
        num_unlabelled: How many unlabelled features `fit` is given too, with -1 for their classes.
    """

    num_unlabelled: int = 0

    @abstractmethod
    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """Fit a classifier; the same features give the same one.

        Args:
            z: Features (N, features), on any device.
            y: Their classes (N,), two different ones at least.

        Returns:
            A function from features, a tensor (M, features) on any device, to the probabilities of the classes that y
            has, in their order, (M, different classes); `of_arrays` makes one of a function of numpy arrays.
        """


@dataclass(frozen=True, repr=False)
class SupportVectorMachine(FeatureClassifier):
    """A support vector machine with the kernel exp(-gamma |z - z'|²): Cortes and Vapnik 1995.

    Its decisions become probabilities by one temperature, which leaves the most probable class what it was: Guo et al.
    2017 (arXiv 1706.04599), learned from features that are left out in turn; 1 where a class has a single one.

    Attributes:
        C: What an image on the wrong side of the margin costs.
        gamma: One over the squared width of the kernel; None for 1 / (features · variance).

    Raises:
        ValueError: If C or gamma is not positive.
    """

    C: float = 10.0
    gamma: float | None = None

    def __post_init__(self) -> None:
        _check_positive("C", self.C)
        _check_positive("gamma", self.gamma)

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.model_selection import cross_val_predict
        from sklearn.svm import SVC

        machine = SVC(C=self.C, gamma=self.gamma or "scale", break_ties=True)
        features, classes = arrays(z, y)
        folds = min(_FOLDS, int(y.unique(return_counts=True)[1].min()))
        scale = 1.0
        if folds > 1:
            left_out = cross_val_predict(machine, features, classes, cv=folds, method="decision_function")
            scale = _inverse_temperature(_logits(left_out), y)
        decide = machine.fit(features, classes).decision_function
        return of_arrays(lambda z: (scale * _logits(decide(z))).softmax(-1).numpy())


def _logits(decisions: Any) -> Tensor:  # noqa: ANN401
    """Return a machine's decisions as logits (N, classes); of two classes there is one decision: that of the second."""
    logits = torch.as_tensor(decisions)
    return logits if logits.dim() > 1 else torch.stack([-logits / 2, logits / 2], -1)


def _inverse_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the factor of the logits (N, classes) with which y, (N,), is most probable.

    scikit-learn's CalibratedClassifierCV has it as the method "temperature", but only from version 1.8 on.
    """
    from scipy.optimize import minimize_scalar

    target = y.cpu().unique(return_inverse=True)[1]

    def cross_entropy(log_scale: float) -> float:
        return float(F.cross_entropy(math.exp(log_scale) * logits, target))

    precision = 64 * torch.finfo(logits.dtype).eps
    found = minimize_scalar(cross_entropy, bounds=(-10.0, 10.0), options={"xatol": precision})
    return math.exp(found.x)


@dataclass(frozen=True, repr=False)
class KNearestNeighbours(FeatureClassifier):
    """The shares of the classes among the nearest labelled images.

    Attributes:
        num_neighbours: How many; all, where there are fewer labelled images.

    Raises:
        ValueError: If the number is not positive.
    """

    num_neighbours: int = 5

    def __post_init__(self) -> None:
        _check_positive("num_neighbours", self.num_neighbours)

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.neighbors import KNeighborsClassifier

        return of_arrays(KNeighborsClassifier(min(self.num_neighbours, len(z))).fit(*arrays(z, y)).predict_proba)


@dataclass(frozen=True, repr=False)
class LogisticRegression(FeatureClassifier):
    """A linear classifier: softmax(W z + b), with weights that are kept small.

    Attributes:
        C: The inverse weight of |W|² / 2 against the sum of the images' -log p(y|z).

    Raises:
        ValueError: If C is not positive.
    """

    C: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("C", self.C)

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.linear_model import LogisticRegression as Regression

        return of_arrays(Regression(C=self.C, max_iter=10_000).fit(*arrays(z, y)).predict_proba)


@dataclass(frozen=True, repr=False)
class LabelSpreading(FeatureClassifier):
    """Labels that spread from neighbour to neighbour, also over unlabelled images: Zhou et al. 2004.

    An image that was not there has the mean probabilities of its nearest neighbours among those that were.

    Attributes:
        num_neighbours: How many neighbours an image has in the graph; all, where there are fewer images.
        alpha: The share of a label that is its neighbours', not its own, in (0, 1).
        num_unlabelled: How many unlabelled images, at most, they spread over: the more, the better and the slower.
        balanced: Whether what has spread is weighed until every class that has a label has as much of the images as
            any other. A class whose images lie close together takes its neighbours' otherwise.

    Raises:
        ValueError: If a number is not positive or alpha is outside (0, 1).
    """

    num_neighbours: int = 7
    alpha: float = 0.2
    num_unlabelled: int = 10_000
    balanced: bool = False

    def __post_init__(self) -> None:
        _check_positive("num_neighbours", self.num_neighbours)
        _check_positive("num_unlabelled", self.num_unlabelled)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha: expected a number in (0, 1); got {self.alpha}.")

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.semi_supervised import LabelSpreading as Spreading

        neighbours = min(self.num_neighbours, len(z) - 1)
        spread = Spreading(kernel=lambda *_: _graph(z, neighbours), alpha=self.alpha, max_iter=1000).fit(*arrays(z, y))
        spreads = spread.label_distributions_  # (images, classes)
        if self.balanced:
            spreads = _balance(spreads)
        # Not its own predict_proba, which divides by zero where no label has arrived.
        return _MeanOfNearest(z, torch.as_tensor(spreads), neighbours)


def _graph(z: Tensor, num_neighbours: int) -> Any:  # noqa: ANN401
    """Return who is whose neighbour, a sparse matrix (N, N); the neighbours are found where the features are.

    In both directions, as of Zhou et al.; scikit-learn's "knn" gives what is far from all, and is nobody's neighbour, a
    say among those that are not its own. On a network's features that costs five points.
    """
    from scipy.sparse import csr_matrix

    nearest = []
    for rows in torch.arange(len(z), device=z.device).split(_ROWS_AT_ONCE):
        distances = torch.cdist(z[rows], z).scatter(1, rows.unsqueeze(1), torch.inf)  # (rows, N); infinite to oneself
        nearest.append(distances.topk(num_neighbours, largest=False).indices.cpu())
    columns = torch.cat(nearest).flatten().numpy()
    begins = torch.arange(0, len(columns) + 1, num_neighbours).numpy()
    ones = torch.ones(len(columns), dtype=torch.float64).numpy()
    directed = csr_matrix((ones, columns, begins), shape=(len(z), len(z)))
    return directed + directed.T


class _MeanOfNearest:
    """The mean of what the nearest of some points have, on the device that is asked: a step of training may be there.

    Args:
        points: (N, features).
        values: What they have, (N, values).
        num_neighbours: How many are the nearest.
    """

    def __init__(self, points: Tensor, values: Tensor, num_neighbours: int) -> None:
        self.points, self.values, self.num_neighbours = points, values, num_neighbours

    def __call__(self, z: Tensor) -> Tensor:
        self.points, self.values = self.points.to(z), self.values.to(z)  # copied the first time
        nearest = torch.cdist(z, self.points).topk(self.num_neighbours, largest=False).indices  # (M, neighbours)
        return self.values[nearest].mean(1)


class FeatureBank(nn.Module):
    """Features and their classes, in buffers, and the classifier that is fitted to them.

    Args:
        classifier: The recipe.
        num_features: How many numbers an image's features are.
        num_classes: How many classes there are, also such as no label has.
    """

    z: Tensor
    y: Tensor

    def __init__(self, classifier: FeatureClassifier, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.num_classes = num_classes
        self.register_buffer("z", torch.zeros(0, num_features))
        self.register_buffer("y", torch.zeros(0, dtype=torch.int64))
        self._fitted: tuple[Probabilities, Tensor] | None = None

    @property
    def known(self) -> Tensor:
        """The classes that have a label, in their order."""
        return self.y[self.y >= 0].unique()

    def keep(self, z: Tensor, y: Tensor) -> None:
        """Keep features (N, features), and their classes (N,), -1 where they are not known, in place of the others."""
        self.z, self.y, self._fitted = z.to(self.z), y.to(self.y), None

    def keep_features(self, features: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Keep the features of images with classes y, and of others, a thousand at a time: there may be many."""
        z = torch.cat([features(some) for some in torch.cat([x, unlabelled]).split(_AT_ONCE)])
        self.keep(z, torch.cat([y, y.new_full((len(unlabelled),), -1)]))

    def probabilities(self, z: Tensor) -> Tensor:
        """Return the probabilities of the classes, (..., classes), for features (..., features); uniform at first."""
        fitted, known = self._fitted if self._fitted is not None else self._fit()
        known = known.to(z.device)
        self._fitted = fitted, known
        found = fitted(z.detach().flatten(end_dim=-2)).to(z)
        # Where no label is near there is none to prefer.
        found = torch.where(found.sum(-1, keepdim=True) > 0, found, 1.0)
        found = found / found.sum(-1, keepdim=True)
        probabilities = found.new_zeros(len(found), self.num_classes).index_copy(-1, known, found)
        return probabilities.view(*z.shape[:-1], -1)

    def _fit(self) -> tuple[Probabilities, Tensor]:
        """Return the classifier and the classes that it knows: all of them, none preferred, where no label is."""
        known = self.known
        if len(known) < 2:
            known = known if len(known) else torch.arange(self.num_classes)
            return lambda z: z.new_ones(len(z), len(known)), known
        used = torch.ones_like(self.y, dtype=torch.bool) if self.classifier.num_unlabelled else self.y >= 0
        return self.classifier.fit(self.z[used], self.y[used]), known

    def class_means(self) -> Tensor:
        """Return the mean features of each class, (classes, features); of all labelled images where it has no label."""
        labelled = self.y >= 0
        if not labelled.any():
            return self.z.new_zeros(self.num_classes, self.z.shape[-1])
        means = self.z[labelled].mean(0).repeat(self.num_classes, 1)
        for y in self.known:
            means[y] = self.z[self.y == y].mean(0)
        return means

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401
        """Take in as many features as were saved, whatever their number here."""
        for name in ("z", "y"):
            buffer = getattr(self, name)
            setattr(self, name, buffer.new_empty(state_dict.get(prefix + name, buffer).shape))
        self._fitted = None
        super()._load_from_state_dict(state_dict, prefix, *others)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the fitted classifier out of copies and pickles, which fit their own."""
        return {**self.__dict__, "_fitted": None}


def arrays(z: Tensor, y: Tensor) -> tuple[Any, Any]:
    """Return features and classes as scikit-learn takes them: numpy arrays, the features in float64."""
    return z.double().cpu().numpy(), y.cpu().numpy()


def of_arrays(probabilities: Callable[[Any], Any]) -> Probabilities:
    """Return a function of tensors, on any device, that asks one of numpy arrays in float64."""
    return lambda z: torch.as_tensor(probabilities(z.double().cpu().numpy())).to(z)


def _balance(probabilities: Any) -> Any:  # noqa: ANN401
    """Scale columns to equal sums and rows to the sums that they had, in turn: Sinkhorn and Knopp 1967."""
    mass = probabilities.sum(1, keepdims=True)  # 0 where no label has arrived
    for _ in range(_SCALINGS):
        probabilities = probabilities / probabilities.sum(0)
        probabilities = mass * probabilities / probabilities.sum(1, keepdims=True).clip(min=_SMALLEST)
    return probabilities


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{name}: expected a positive number; got {value}.")
