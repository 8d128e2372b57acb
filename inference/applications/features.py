"""Features: what the latent means of a model tell a simple classifier, and a clustering."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssvae.data import ImageData
from ssvae.inference.predict import latent_means
from ssvae.models import SemiSupervisedModel

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_AT_ONCE = 5000


@dataclass(frozen=True)
class FeatureScores:
    """How good features are, on the test images; shares of 1, but for the last two.

    Attributes:
        linear_probe: Accuracy of a logistic regression that was fitted to the labelled training images; None where
            these are of fewer than two classes.
        nearest_neighbours: Accuracy of the five nearest labelled training images' vote; None as above.
        clustering: Accuracy of k-means, which sees no labels, under the best matching of clusters and classes.
        nmi: Normalised mutual information of its clusters and the classes, from 0 to 1.
        ari: Adjusted Rand index of the same; 0 for clusters by chance, 1 for the classes themselves.
    """

    linear_probe: float | None
    nearest_neighbours: float | None
    clustering: float
    nmi: float
    ari: float


def score_features(model: SemiSupervisedModel, data: ImageData, *, seed: int = 0) -> dict[str, FeatureScores]:
    """Score a model's latent means, and beside them the pixels they were made of.

    The features are `model.encode(x)`, each standardised by its mean and standard deviation over the training images,
    labelled or not: for the classifiers, which learn from the labelled ones, as for k-means.

    Args:
        model: The model.
        data: The images; with `num_labels=None` all training images teach the classifiers.
        seed: Of k-means' starts.

    Returns:
        "latent means" and "pixels".

    Raises:
        ValueError: If there are fewer test images than classes.
    """
    if len(data.test_images) < data.num_classes:
        raise ValueError(f"data: expected at least {data.num_classes} test images; got {len(data.test_images)}.")
    # Imported here since scikit-learn takes a second to import.
    from sklearn.preprocessing import StandardScaler

    x_train, x_test = data.pixels(data.train_images[data.labelled_index]), data.pixels(data.test_images)
    y_train, y_test = data.train_labels[data.labelled_index], data.test_labels
    # A classifier of one class has nothing to learn.
    learns = len(y_train.unique()) > 1
    found = {}
    for name, encode in (("latent means", lambda x: latent_means(model, x)), ("pixels", lambda x: x.flatten(1))):
        scaler = StandardScaler()
        for chunk in data.train_images.split(_AT_ONCE):
            scaler.partial_fit(encode(data.pixels(chunk)).double().numpy())
        test = scaler.transform(encode(x_test).double().numpy())
        clustering = _cluster(test, y_test.numpy(), data.num_classes, seed)
        linear = nearest = None
        if learns:
            train = scaler.transform(encode(x_train).double().numpy())
            linear, nearest = _classify(train, y_train.numpy(), test, y_test.numpy())
        found[name] = FeatureScores(linear, nearest, *clustering)
    return found


def clustering_accuracy(clusters: npt.NDArray[np.integer], labels: Labels) -> float:
    """Return the accuracy of clusters under the matching of clusters and classes that makes it highest."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(labels))


def _classify(train: Matrix, y_train: Labels, test: Matrix, y_test: Labels) -> tuple[float, float]:
    """Return the accuracies of a linear probe and of the nearest neighbours."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    linear, nearest = (
        float(classifier.fit(train, y_train).score(test, y_test))
        for classifier in (LogisticRegression(max_iter=1000), KNeighborsClassifier(min(5, len(train))))
    )
    return linear, nearest


def _cluster(test: Matrix, y_test: Labels, num_classes: int, seed: int) -> tuple[float, float, float]:
    """Return the accuracy of k-means, its normalised mutual information and its adjusted Rand index."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    clusters = KMeans(num_classes, n_init=10, random_state=seed).fit_predict(test)
    return (
        clustering_accuracy(clusters, y_test),
        float(normalized_mutual_info_score(y_test, clusters)),
        float(adjusted_rand_score(y_test, clusters)),
    )
