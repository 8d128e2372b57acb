"""Quality of latent means as features: a linear probe, nearest neighbours and k-means clustering."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssvae.data import ImageData
from ssvae.data.time_left import progress
from ssvae.inference.predict import latent_means
from ssvae.models import SemiSupervisedModel

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_AT_ONCE = 500


@dataclass(frozen=True)
class FeatureScores:
    """Quality of features on the test images.

    Attributes:
        linear_probe: Accuracy in [0, 1] of a logistic regression fitted to the labelled training images; None if these
            have fewer than two classes.
        nearest_neighbours: Accuracy in [0, 1] of a vote of the five nearest labelled training images; None likewise.
        clustering: Accuracy in [0, 1] of unsupervised k-means, for the best one-to-one matching of clusters to classes.
        nmi: Normalised mutual information of clusters and classes, in [0, 1].
        ari: Adjusted Rand index of clusters and classes; 0 in expectation for random clusters, 1 for a perfect match.
    """

    linear_probe: float | None
    nearest_neighbours: float | None
    clustering: float
    nmi: float
    ari: float


def score_features(model: SemiSupervisedModel, data: ImageData, *, seed: int = 0) -> dict[str, FeatureScores]:
    """Score a model's latent means as features, and the pixels for comparison.

    The features are ``model.encode(x)``, standardised by their mean and standard deviation over all training images.
    The classifiers are fitted to the labelled training images, and tested on the classes that have labels. k-means is
    fitted to the test images.

    Args:
        model: The model, on any device.
        data: The data set. With ``num_labels=None`` the classifiers are fitted to all training images.
        seed: The random seed for the initial centres of k-means.

    Returns:
        The scores of "latent means" and of "pixels".

    Raises:
        ValueError: If there are fewer test images than classes.
    """
    if len(data.test_images) < data.num_classes:
        raise ValueError(f"data: expected at least {data.num_classes} test images; got {len(data.test_images)}.")
    # Imported here since scikit-learn takes a second to import.
    from sklearn.preprocessing import StandardScaler

    x_train, x_test = data.preprocess(data.train_images[data.labelled_index]), data.preprocess(data.test_images)
    y_train, y_test = data.train_labels[data.labelled_index], data.test_labels
    has_two_classes = len(y_train.unique()) > 1
    scores = {}
    for name, encode in (("latent means", lambda x: latent_means(model, x)), ("pixels", lambda x: x.flatten(1))):
        scaler = StandardScaler()
        with progress(name, len(data.train_images), "images") as advance:
            for chunk in data.train_images.split(_AT_ONCE):
                scaler.partial_fit(encode(data.preprocess(chunk)).double().numpy())
                advance(len(chunk))
        test = scaler.transform(encode(x_test).double().numpy())
        clustering = _cluster(test, y_test.numpy(), data.num_classes, seed)
        linear = nearest = None
        if has_two_classes:
            train = scaler.transform(encode(x_train).double().numpy())
            known = (y_test < data.num_known_classes).numpy()
            linear, nearest = _classify(train, y_train.numpy(), test[known], y_test.numpy()[known])
        scores[name] = FeatureScores(linear, nearest, *clustering)
    return scores


def clustering_accuracy(clusters: npt.NDArray[np.integer], labels: Labels) -> float:
    """Return the accuracy of a clustering, for the best one-to-one matching of clusters to classes.

    Args:
        clusters: Cluster of each image, integers (N,).
        labels: True classes, integers (N,).

    Returns:
        A fraction in [0, 1].

    Example:
        >>> import numpy as np
        >>> from ssvae.inference.applications.features import clustering_accuracy
        >>> clustering_accuracy(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 0]))
        0.75
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(labels))


def _classify(train: Matrix, y_train: Labels, test: Matrix, y_test: Labels) -> tuple[float, float]:
    """Return the test accuracies of a linear probe and of nearest neighbours."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    linear, nearest = (
        float(classifier.fit(train, y_train).score(test, y_test))
        for classifier in (LogisticRegression(max_iter=1000), KNeighborsClassifier(min(5, len(train))))
    )
    return linear, nearest


def _cluster(test: Matrix, y_test: Labels, num_classes: int, seed: int) -> tuple[float, float, float]:
    """Return accuracy, normalised mutual information and adjusted Rand index of k-means."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    clusters = KMeans(num_classes, n_init=10, random_state=seed).fit_predict(test)
    return (
        clustering_accuracy(clusters, y_test),
        float(normalized_mutual_info_score(y_test, clusters)),
        float(adjusted_rand_score(y_test, clusters)),
    )
