"""`python -m benchmarks.tables`: this project's estimator and scikit-learn's, on small tables with few labels.

Each seed is a draw of labels, 3, 10 or 30 of each class, and of the test rows (30 %; 1,000 further points of Moons).
All classifiers get the same. Tables are Moons, scikit-learn's wine, breast cancer and digits, and the four measurements
of the package palmerpenguins, where it is installed. Nothing is tuned: `SemiSupervisedClassifier` has its defaults, and
so have scikit-learn's classifiers, after a `StandardScaler` where distances count, except that gradient boosting may
have leaves of one row, without which it predicts one class for so few labels, and label spreading takes 100 steps at
most. "Labels alone" is M2's classifier, trained with the same steps without the generative terms. Missing measurements
of penguins (2 rows) stay missing for M2 and gradient boosting; for the others they become the mean::

    python -m benchmarks.tables --seeds 3 --labels 3 10 --data Moons wine
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.penguins import penguins
from benchmarks.spread import mean_and_deviation
from ssvae.data import Moons, VectorData, Vectors
from ssvae.inference import Objective, SemiSupervisedClassifier
from ssvae.inference.runs.report import hardware

LABELS = (3, 10, 30)
TEST_SHARE = 0.3

# Functions from a seed to an untrained classifier. The SVC's probabilities are calibrated in three folds, as many as
# the fewest labels of a class.
SUPERVISED: dict[str, Callable[[int], Any]] = {
    "SVC": lambda seed: scaled(SVC()),
    "HistGradientBoosting": lambda seed: HistGradientBoostingClassifier(min_samples_leaf=1, random_state=seed),
}
SEMI_SUPERVISED: dict[str, Callable[[int], Any]] = {
    "SelfTraining, SVC": lambda seed: scaled(
        SelfTrainingClassifier(CalibratedClassifierCV(SVC(), ensemble=False, cv=3))
    ),
    "LabelSpreading, knn": lambda seed: scaled(LabelSpreading(kernel="knn", max_iter=100)),
    "LabelSpreading, rbf": lambda seed: scaled(LabelSpreading(kernel="rbf", max_iter=100)),
    # The unlabelled rows only matter to how rows are standardised.
    "labels alone": lambda seed: SemiSupervisedClassifier(objective=Objective(generative=False), random_state=seed),
    "SemiSupervisedClassifier": lambda seed: SemiSupervisedClassifier(random_state=seed),
}


def main(words: Sequence[str] | None = None) -> None:
    """Fit every classifier to every draw and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = tables()
    parser.add_argument("--seeds", type=int, default=10, help="number of draws of labels and test rows")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS), help="labels of each class")
    parser.add_argument("--data", nargs="+", choices=list(found), default=list(found), help="the tables")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # SelfTraining and LabelSpreading: no row passed, no label reached
    warnings.filterwarnings("ignore", "invalid value encountered in divide")
    started = time.perf_counter()
    methods = SUPERVISED | SEMI_SUPERVISED
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    print(f"| table | labels of each class | {' | '.join(methods)} |\n|---|---|{'---|' * len(methods)}")
    for name in options.data:
        for labels in options.labels:
            accuracies: dict[str, list[float]] = {method: [] for method in methods}
            for seed in range(options.seeds):
                data = found[name](labels, seed)
                for method in methods:
                    accuracy, used = measure(method, data, seed)
                    accuracies[method].append(100 * accuracy)
                    seconds[method].append(used)
            print(f"| {name} | {labels} | {' | '.join(map(mean_and_deviation, accuracies.values()))} |", flush=True)
    print(f"| CPU seconds of a fit | | {' | '.join(f'{statistics.mean(each):.1f}' for each in seconds.values())} |")
    elapsed = time.perf_counter() - started
    versions = f"scikit-learn {sklearn.__version__}; {hardware()}"
    print(f"\nTest accuracy (%), mean ± standard deviation over {options.seeds} seeds; {elapsed:.0f} s; {versions}")


def tables() -> dict[str, Callable[[int, int], VectorData]]:
    """Return functions from the labels of each class and a seed to data, by name."""
    found: dict[str, Callable[[int, int], VectorData]] = {
        "Moons": lambda labels, seed: Moons(num_labels=2 * labels, num_validation=0, seed=seed)
    }
    for name, load in {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}.items():
        found[name] = lambda labels, seed, load=load: draw(*load(return_X_y=True), labels, seed)  # type: ignore[misc]
    if (measured := penguins()) is not None:
        found["penguins"] = lambda labels, seed: draw(*measured, labels, seed)
    return found


def draw(x: Any, y: Any, labels: int, seed: int) -> VectorData:
    """Return a table, split into training and test rows, with some labels of each class."""
    x, test_x, y, test_y = train_test_split(x, y, test_size=TEST_SHARE, stratify=y, random_state=seed)
    return Vectors(x, y, test_x=test_x, test_y=test_y, num_labels=labels * len(np.unique(y)), seed=seed)


def measure(method: str, data: VectorData, seed: int) -> tuple[float, float]:
    """Return the test accuracy of a classifier and the CPU seconds of its fit."""
    x, y = data.train_x.double().numpy(), data.train_labels.numpy()
    if method in SUPERVISED:
        x, y = x[y >= 0], y[y >= 0]
    classifier = (SUPERVISED | SEMI_SUPERVISED)[method](seed)
    started = time.process_time()
    classifier.fit(x, y)
    used = time.process_time() - started
    return classifier.score(data.test_x.double().numpy(), data.test_labels.numpy()), used


def scaled(classifier: Any) -> Any:
    """Return a classifier of standardised rows, whose missing entries are the mean."""
    return make_pipeline(SimpleImputer(), StandardScaler(), classifier)


if __name__ == "__main__":
    main()
