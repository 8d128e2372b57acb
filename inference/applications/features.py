"""Features: what the latent means of a model tell a simple classifier, and a clustering."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data import ImageData
from inference.evaluation import latent_means
from models import SemiSupervisedModel

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FeatureScores:
    """How good features are, on the test images; shares of 1, but for the last two.

    Attributes:
        linear_probe: Accuracy of a logistic regression that was fitted to the labelled training images.
        nearest_neighbours: Accuracy of the five nearest labelled training images' vote.
        clustering: Accuracy of k-means, which sees no labels, under the best matching of clusters and classes.
        nmi: Normalised mutual information of its clusters and the classes, from 0 to 1.
        ari: Adjusted Rand index of the same; 0 for clusters by chance, 1 for the classes themselves.
    """

    linear_probe: float
    nearest_neighbours: float
    clustering: float
    nmi: float
    ari: float


def score_features(model: SemiSupervisedModel, data: ImageData, *, seed: int = 0) -> dict[str, FeatureScores]:
    """Score a model's latent means, and beside them the pixels they were made of.

    The features are `model.encode(x)`, standardised by the training images; the classifiers learn from the labelled
    training images alone.

    Args:
        model: The model.
        data: The images; with `num_labels=None` all training images teach the classifiers.
        seed: Of k-means' starts.

    Returns:
        "latent means" and "pixels".

    Raises:
        ValueError: If there are no labelled training images, or fewer test images than classes.
    """
    if data.num_labelled == 0:
        raise ValueError("data: expected labelled training images, from which the classifiers learn; got none.")
    if len(data.test_images) < data.num_classes:
        raise ValueError(f"data: expected at least {data.num_classes} test images; got {len(data.test_images)}.")
    train, test = data.pixels(data.train_images[data.labelled_index]), data.pixels(data.test_images)
    y_train, y_test = data.train_labels[data.labelled_index].numpy(), data.test_labels.numpy()
    features = {
        "latent means": (latent_means(model, train).numpy(), latent_means(model, test).numpy()),
        "pixels": (train.flatten(1).double().numpy(), test.flatten(1).double().numpy()),
    }
    return {name: _score(*both, y_train, y_test, data.num_classes, seed) for name, both in features.items()}


def clustering_accuracy(clusters: npt.NDArray[np.int_], labels: npt.NDArray[np.int_]) -> float:
    """Return the accuracy of clusters under the matching of clusters and classes that makes it highest."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(-counts)].sum() / len(labels))


def _score(
    train: Matrix,
    test: Matrix,
    y_train: npt.NDArray[np.int_],
    y_test: npt.NDArray[np.int_],
    num_classes: int,
    seed: int,
) -> FeatureScores:
    # Imported here since scikit-learn takes a second to import.
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neighbours = KNeighborsClassifier(min(5, len(train)))
    linear, nearest = (
        make_pipeline(StandardScaler(), classifier).fit(train, y_train).score(test, y_test)
        for classifier in (LogisticRegression(max_iter=1000), neighbours)
    )
    clusters = KMeans(num_classes, n_init=10, random_state=seed).fit_predict(StandardScaler().fit_transform(test))
    return FeatureScores(
        linear_probe=float(linear),
        nearest_neighbours=float(nearest),
        clustering=clustering_accuracy(clusters, y_test),
        nmi=float(normalized_mutual_info_score(y_test, clusters)),
        ari=float(adjusted_rand_score(y_test, clusters)),
    )
