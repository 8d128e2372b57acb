"""Sets of points in few dimensions, whose classes one can see."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssvae.data.drawn_points import DrawnPoints, Points, check_scale, class_counts
from ssvae.data.labels import check_count


class Moons(DrawnPoints):
    """Two interleaved half circles in the plane, one class each: scikit-learn's ``make_moons``.

    Points lie at equal distances on half circles of radius 1 around (0, 0) and (1, 0.5), the second one upside down,
    with normal noise added to each coordinate.

    Example:
        >>> from ssvae.data import Moons
        >>> moons = Moons()
        >>> moons.num_labelled, moons.num_unlabelled, moons.event_shape
        (6, 994, (2,))

    Args:
        num_points: The number of training points.
        num_labels: The number of training points that keep their label; None for all, 0 for none.
        num_validation: The number of validation points.
        num_test: The number of test points.
        noise: The standard deviation of the noise.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the points and of the choice of labelled points.
        hidden_classes: The numbers of classes of which no training point keeps its label; a model has to discover
            them.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer points than labels or classes, the noise is negative, or the hidden classes are
            not some of the classes.
    """

    def __init__(
        self,
        num_points: int = 1000,
        num_labels: int | None = 6,
        *,
        num_validation: int = 200,
        num_test: int = 1000,
        noise: float = 0.1,
        balanced: bool = True,
        seed: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_scale("noise", noise)

        def draw(number: int, generator: np.random.RandomState) -> Points:
            # Imported here because scikit-learn takes a second to import.
            from sklearn.datasets import make_moons

            upper, lower = class_counts(number, 2)
            points, classes = make_moons((upper, lower), noise=noise, random_state=generator)
            return points, classes

        super().__init__(
            "Moons",
            ["upper", "lower"],
            draw,
            num_points=num_points,
            num_labels=num_labels,
            num_validation=num_validation,
            num_test=num_test,
            balanced=balanced,
            seed=seed,
            hidden_classes=hidden_classes,
        )
        self.noise = noise


class Circles(DrawnPoints):
    """A circle of radius 1 and one of radius 0.5 inside it, one class each: scikit-learn's ``make_circles``.

    Points lie at equal distances on the circles, with normal noise added to each coordinate.

    Args:
        num_points: The number of training points.
        num_labels: The number of training points that keep their label; None for all, 0 for none.
        num_validation: The number of validation points.
        num_test: The number of test points.
        noise: The standard deviation of the noise.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the points and of the choice of labelled points.
        hidden_classes: The numbers of classes of which no training point keeps its label; a model has to discover
            them.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer points than labels or classes, the noise is negative, or the hidden classes are
            not some of the classes.
    """

    def __init__(
        self,
        num_points: int = 1000,
        num_labels: int | None = 6,
        *,
        num_validation: int = 200,
        num_test: int = 1000,
        noise: float = 0.05,
        balanced: bool = True,
        seed: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_scale("noise", noise)

        def draw(number: int, generator: np.random.RandomState) -> Points:
            from sklearn.datasets import make_circles

            outer, inner = class_counts(number, 2)
            points, classes = make_circles((outer, inner), noise=noise, factor=0.5, random_state=generator)
            return points, classes

        super().__init__(
            "Circles",
            ["outer", "inner"],
            draw,
            num_points=num_points,
            num_labels=num_labels,
            num_validation=num_validation,
            num_test=num_test,
            balanced=balanced,
            seed=seed,
            hidden_classes=hidden_classes,
        )
        self.noise = noise


class Pinwheel(DrawnPoints):
    """Spiral arms around the origin, one class each.

    A point of arm k is drawn along the first axis and turned, the further from the origin the more:

        (r, t) ~ N((1, 0), diag(0.3², noise²)),    angle = 2π k / K + exp(r) / 4

    Args:
        num_points: The number of training points.
        num_labels: The number of training points that keep their label; None for all, 0 for none.
        num_validation: The number of validation points.
        num_test: The number of test points.
        num_classes: The number of arms K.
        noise: The standard deviation across an arm.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the points and of the choice of labelled points.
        hidden_classes: The numbers of classes of which no training point keeps its label; a model has to discover
            them.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer points than labels or classes, fewer than two classes, the noise is negative, or
            the hidden classes are not some of the classes.

    References:
        Johnson et al. (2016), "Composing graphical models with neural networks for structured representations and fast
        inference", arXiv 1603.06277 (whose arms have a radius of 10).
    """

    def __init__(
        self,
        num_points: int = 1000,
        num_labels: int | None = 10,
        *,
        num_validation: int = 200,
        num_test: int = 1000,
        num_classes: int = 5,
        noise: float = 0.05,
        balanced: bool = True,
        seed: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_scale("noise", noise)
        _check_num_classes(num_classes)

        def draw(number: int, generator: np.random.RandomState) -> Points:
            classes = generator.permutation(np.repeat(np.arange(num_classes), class_counts(number, num_classes)))
            r = 1 + 0.3 * generator.standard_normal(number)
            t = noise * generator.standard_normal(number)
            angle = 2 * np.pi * classes / num_classes + np.exp(r) / 4
            cos, sin = np.cos(angle), np.sin(angle)
            return np.stack([r * cos - t * sin, r * sin + t * cos], 1), classes

        super().__init__(
            "Pinwheel",
            [f"arm {number + 1}" for number in range(num_classes)],
            draw,
            num_points=num_points,
            num_labels=num_labels,
            num_validation=num_validation,
            num_test=num_test,
            balanced=balanced,
            seed=seed,
            hidden_classes=hidden_classes,
        )
        self.noise = noise


class Clusters(DrawnPoints):
    """Spherical normal clusters in any dimension, dealt out to the classes in turn: a class is several clusters.

    Cluster j belongs to class j mod K. The centres lie in [-1, 1]^D, far from each other, and are the same for every
    ``seed``. All clusters have the same number of points.

    Args:
        num_points: The number of training points.
        num_labels: The number of training points that keep their label; None for all, 0 for none.
        num_validation: The number of validation points.
        num_test: The number of test points.
        num_features: The dimension D.
        num_clusters: The number of clusters, at least that of the classes.
        num_classes: The number of classes K.
        noise: The standard deviation of a cluster in each coordinate.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share.
        seed: The random seed of the points and of the choice of labelled points.
        hidden_classes: The numbers of classes of which no training point keeps its label; a model has to discover
            them.

    Raises:
        TypeError: If a number, a hidden class or the seed is not an integer.
        ValueError: If there are fewer points than labels or classes, fewer clusters than classes, fewer than two
            classes, no feature, the noise is negative, or the hidden classes are not some of the classes.

    Attributes:
        centres: The centres, float64 (clusters, features).
    """

    def __init__(
        self,
        num_points: int = 1000,
        num_labels: int | None = 6,
        *,
        num_validation: int = 200,
        num_test: int = 1000,
        num_features: int = 2,
        num_clusters: int = 6,
        num_classes: int = 2,
        noise: float = 0.1,
        balanced: bool = True,
        seed: int = 0,
        hidden_classes: Sequence[int] = (),
    ) -> None:
        check_scale("noise", noise)
        _check_num_classes(num_classes)
        check_count("num_features", num_features)
        check_count("num_clusters", num_clusters)
        if num_features == 0:
            raise ValueError("num_features: expected at least 1; got 0.")
        if num_clusters < num_classes:
            raise ValueError(f"num_clusters: expected at least {num_classes}, as num_classes is; got {num_clusters}.")
        centres = _spread_centres(num_clusters, num_features)

        def draw(number: int, generator: np.random.RandomState) -> Points:
            clusters = generator.permutation(np.repeat(np.arange(num_clusters), class_counts(number, num_clusters)))
            points = centres[clusters] + noise * generator.standard_normal((number, num_features))
            return points, clusters % num_classes

        super().__init__(
            "Clusters",
            [str(label) for label in range(num_classes)],
            draw,
            num_points=num_points,
            num_labels=num_labels,
            num_validation=num_validation,
            num_test=num_test,
            balanced=balanced,
            seed=seed,
            hidden_classes=hidden_classes,
        )
        self.num_features = num_features
        self.num_clusters = num_clusters
        self.noise = noise
        self.centres = centres


def _spread_centres(number: int, num_features: int) -> npt.NDArray[np.float64]:
    """Return centres in [-1, 1]^D, each the farthest of 1000 uniform candidates from those before it."""
    generator = np.random.RandomState(0)
    centres = generator.uniform(-1, 1, (1, num_features))
    while len(centres) < number:
        candidates = generator.uniform(-1, 1, (1000, num_features))
        distances = np.linalg.norm(candidates[:, None] - centres, axis=-1).min(1)
        centres = np.concatenate([centres, candidates[[distances.argmax()]]])
    return centres


def _check_num_classes(num_classes: int) -> None:
    check_count("num_classes", num_classes)
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2; got {num_classes}.")
