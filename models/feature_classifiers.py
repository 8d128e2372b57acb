"""Classifiers on features, as M1 uses them: scikit-learn's, fitted to the latent means of labelled images.

A `FeatureClassifier` holds plain options. A fitted classifier is never saved. Instead, `FeatureBank` stores the
features to which it is fitted, as tensors, and fits it again when it is next used, with the same result.
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
    """The options of a classifier on features, and how it is fitted.

    To write one: inherit as a frozen dataclass of options, and return a function from ``fit``. Import scikit-learn
    inside ``fit``, so that ``import ssvae.models`` stays fast. ``arrays`` converts the tensors to scikit-learn's
    arrays.

    Attributes:
        num_unlabelled: The number of unlabelled images whose features ``fit`` receives too, with class -1.
    """

    num_unlabelled: int = 0

    @abstractmethod
    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """Fit a classifier. The result must be deterministic: the same features give the same classifier.

        Args:
            z: Features (N, features), on any device.
            y: Their classes (N,), at least two different ones.

        Returns:
            A function from features, a tensor (M, features) on any device, to the probabilities of the classes in y, in
            ascending order, (M, different classes). ``tensor_function`` makes one from a function of numpy arrays.
        """


@dataclass(frozen=True, repr=False)
class SupportVectorMachine(FeatureClassifier):
    """A support vector machine with the kernel exp(-gamma ``|z - z'|²``): Cortes and Vapnik 1995.

    A temperature converts its decision values to probabilities without changing the most probable class (Guo et al.
    2017, arXiv 1706.04599). The temperature is fitted by cross-validation; it is 1 if a class has a single label.

    Attributes:
        C: The cost of images on the wrong side of the margin.
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
        return tensor_function(lambda z: (scale * _logits(decide(z))).softmax(-1).numpy())


def _logits(decisions: Any) -> Tensor:  # noqa: ANN401
    """Return decision values as logits (N, classes); with two classes there is one value, that of the second class."""
    logits = torch.as_tensor(decisions)
    return logits if logits.dim() > 1 else torch.stack([-logits / 2, logits / 2], -1)


def _inverse_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the factor of the logits (N, classes) that maximises the likelihood of y, (N,).

    scikit-learn's CalibratedClassifierCV has it as the method "temperature", but only from version 1.8 on.
    """
    from scipy.optimize import minimize_scalar

    target = y.cpu().unique(return_inverse=True)[1]

    def cross_entropy(log_scale: float) -> float:
        return float(F.cross_entropy(math.exp(log_scale) * logits, target))

    precision = 64 * torch.finfo(logits.dtype).eps
    minimum = minimize_scalar(cross_entropy, bounds=(-10.0, 10.0), options={"xatol": precision})
    return math.exp(minimum.x)


@dataclass(frozen=True, repr=False)
class KNearestNeighbours(FeatureClassifier):
    """The k-nearest-neighbours classifier: the shares of the classes among the k nearest labelled images.

    Attributes:
        num_neighbours: k; all labelled images, if there are fewer.

    Raises:
        ValueError: If the number is not positive.
    """

    num_neighbours: int = 5

    def __post_init__(self) -> None:
        _check_positive("num_neighbours", self.num_neighbours)

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.neighbors import KNeighborsClassifier

        return tensor_function(KNeighborsClassifier(min(self.num_neighbours, len(z))).fit(*arrays(z, y)).predict_proba)


@dataclass(frozen=True, repr=False)
class LogisticRegression(FeatureClassifier):
    """Multinomial logistic regression with L2 regularisation: p(y|z) = softmax(W z + b).

    Attributes:
        C: The inverse weight of the penalty ``|W|²`` / 2, relative to the sum of the images' -log p(y|z).

    Raises:
        ValueError: If C is not positive.
    """

    C: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("C", self.C)

    def fit(self, z: Tensor, y: Tensor) -> Probabilities:
        """See `FeatureClassifier.fit`."""
        from sklearn.linear_model import LogisticRegression as Regression

        return tensor_function(Regression(C=self.C, max_iter=10_000).fit(*arrays(z, y)).predict_proba)


@dataclass(frozen=True, repr=False)
class LabelSpreading(FeatureClassifier):
    """Label spreading on a graph of nearest neighbours of labelled and unlabelled images: Zhou et al. 2004.

    A new image gets the mean probabilities of its nearest neighbours in the graph.

    Attributes:
        num_neighbours: The number of neighbours of an image in the graph; all images, if there are fewer.
        alpha: The share of a label that comes from the neighbours instead of the image's own label, in (0, 1).
        num_unlabelled: The maximal number of unlabelled images in the graph. More are more accurate and slower.
        balanced: Whether the propagated labels are rescaled (Sinkhorn) so that classes have equal mass. Otherwise a
            class whose images lie close together spreads over its neighbours.

    Raises:
        ValueError: If a number is not positive, or ``alpha`` is not in (0, 1).
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
        spreading = Spreading(kernel=lambda *_: _graph(z, neighbours), alpha=self.alpha, max_iter=1000)
        probabilities = spreading.fit(*arrays(z, y)).label_distributions_  # (images, classes)
        if self.balanced:
            probabilities = _balance(probabilities)
        # Not scikit-learn's predict_proba, which divides by zero for images that no label has reached.
        return _MeanOfNearest(z, torch.as_tensor(probabilities), neighbours)


def _graph(z: Tensor, num_neighbours: int) -> Any:  # noqa: ANN401
    """Return the adjacency matrix of the nearest-neighbour graph, sparse (N, N); computed on the features' device.

    The graph is symmetric, as in Zhou et al. In scikit-learn's "knn" kernel edges have a direction, so that an outlier,
    which is nobody's neighbour, still influences others. On a network's features this costs five points of accuracy.
    """
    from scipy.sparse import csr_matrix

    nearest = []
    for rows in torch.arange(len(z), device=z.device).split(_ROWS_AT_ONCE):
        distances = torch.cdist(z[rows], z).scatter(1, rows.unsqueeze(1), torch.inf)  # (rows, N); infinite to itself
        nearest.append(distances.topk(num_neighbours, largest=False).indices.cpu())
    columns = torch.cat(nearest).flatten().numpy()
    begins = torch.arange(0, len(columns) + 1, num_neighbours).numpy()
    ones = torch.ones(len(columns), dtype=torch.float64).numpy()
    directed = csr_matrix((ones, columns, begins), shape=(len(z), len(z)))
    return directed + directed.T


class _MeanOfNearest:
    """The mean of the values of the nearest points, computed on the device of the argument, such as a GPU in training.

    Args:
        points: (N, features).
        values: The points' values, (N, values).
        num_neighbours: The number of nearest points.
    """

    def __init__(self, points: Tensor, values: Tensor, num_neighbours: int) -> None:
        self.points, self.values, self.num_neighbours = points, values, num_neighbours

    def __call__(self, z: Tensor) -> Tensor:
        self.points, self.values = self.points.to(z), self.values.to(z)  # copied at the first call only
        nearest = torch.cdist(z, self.points).topk(self.num_neighbours, largest=False).indices  # (M, neighbours)
        return self.values[nearest].mean(1)


class FeatureBank(nn.Module):
    """Features and their classes, in buffers, and the classifier that is fitted to them.

    Args:
        classifier: The options of the classifier.
        num_features: The dimension of the features.
        num_classes: The number of classes, including those without a label.
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
        """The classes that have a label, in ascending order."""
        return self.y[self.y >= 0].unique()

    def keep(self, z: Tensor, y: Tensor) -> None:
        """Replace the stored features (N, features) and their classes (N,), -1 for unlabelled ones."""
        self.z, self.y, self._fitted = z.to(self.z), y.to(self.y), None

    def keep_features(self, features: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Store the features of labelled images x, y and of unlabelled ones, computed in chunks to bound the memory."""
        z = torch.cat([features(chunk) for chunk in torch.cat([x, unlabelled]).split(_AT_ONCE)])
        self.keep(z, torch.cat([y, y.new_full((len(unlabelled),), -1)]))

    def probabilities(self, z: Tensor) -> Tensor:
        """Return class probabilities (..., classes) for features (..., features); uniform if there are no labels."""
        fitted, known = self._fitted if self._fitted is not None else self._fit()
        known = known.to(z.device)
        self._fitted = fitted, known
        masses = fitted(z.detach().flatten(end_dim=-2)).to(z)  # (images, known classes)
        # Uniform if no label has reached an image's neighbours.
        masses = torch.where(masses.sum(-1, keepdim=True) > 0, masses, 1.0)
        masses = masses / masses.sum(-1, keepdim=True)
        probabilities = masses.new_zeros(len(masses), self.num_classes).index_copy(-1, known, masses)
        return probabilities.view(*z.shape[:-1], -1)

    def _fit(self) -> tuple[Probabilities, Tensor]:
        """Return the fitted classifier and its classes; without labels, the uniform classifier over all classes."""
        known = self.known
        if len(known) < 2:
            known = known if len(known) else torch.arange(self.num_classes)
            return lambda z: z.new_ones(len(z), len(known)), known
        used = torch.ones_like(self.y, dtype=torch.bool) if self.classifier.num_unlabelled else self.y >= 0
        return self.classifier.fit(self.z[used], self.y[used]), known

    def class_means(self) -> Tensor:
        """Return the mean features of each class, (classes, features); of all labelled images if it has no label."""
        labelled = self.y >= 0
        if not labelled.any():
            return self.z.new_zeros(self.num_classes, self.z.shape[-1])
        means = self.z[labelled].mean(0).repeat(self.num_classes, 1)
        for y in self.known:
            means[y] = self.z[self.y == y].mean(0)
        return means

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401
        """Resize the buffers to the number of saved features before they are loaded."""
        for name in ("z", "y"):
            buffer = getattr(self, name)
            setattr(self, name, buffer.new_empty(state_dict.get(prefix + name, buffer).shape))
        self._fitted = None
        super()._load_from_state_dict(state_dict, prefix, *others)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the fitted classifier out of copies and pickles; they fit it again."""
        return {**self.__dict__, "_fitted": None}


def arrays(z: Tensor, y: Tensor) -> tuple[Any, Any]:
    """Return features and classes as numpy arrays for scikit-learn, the features in float64."""
    return z.double().cpu().numpy(), y.cpu().numpy()


def tensor_function(probabilities: Callable[[Any], Any]) -> Probabilities:
    """Return a function of tensors on any device, computed by one of numpy arrays in float64."""
    return lambda z: torch.as_tensor(probabilities(z.double().cpu().numpy())).to(z)


def _balance(probabilities: Any) -> Any:  # noqa: ANN401
    """Rescale columns to equal sums and rows to their previous sums, alternately: Sinkhorn and Knopp 1967."""
    mass = probabilities.sum(1, keepdims=True)  # 0 for images that no label has reached
    for _ in range(_SCALINGS):
        probabilities = probabilities / probabilities.sum(0)
        probabilities = mass * probabilities / probabilities.sum(1, keepdims=True).clip(min=_SMALLEST)
    return probabilities


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{name}: expected a positive number; got {value}.")
