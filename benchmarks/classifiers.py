"""`python -m benchmarks.classifiers`: this project's estimator and scikit-learn's, on digits with 100 labels.

Five draws of 100 labels (10 of each digit) among 1397 training images, the same draws and the same 400 test images for
every classifier. Hyperparameters of scikit-learn's classifiers are chosen for each draw by five-fold cross-validation
on its labels. M2 has the settings of the recipe ``demo``, or the defaults. CPU seconds include the choice.
"""

import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.recipes import read_recipe
from ssvae.data import Digits
from ssvae.inference import Recipe, SemiSupervisedClassifier
from ssvae.inference.storage.description import build, build_fields

DRAWS, LABELS = 5, 100
SVC_GRID = {"C": [1, 10, 100], "gamma": [0.01, 0.03, 0.1, 0.3]}
SPREADING_GRIDS = {
    "knn": {"kernel": ["knn"], "n_neighbors": [3, 5, 7, 10, 15], "alpha": [0.2, 0.5, 0.8], "max_iter": [100]},
    "rbf": {"kernel": ["rbf"], "gamma": [1, 4, 16, 64], "alpha": [0.2, 0.8], "max_iter": [100]},
}
Matrix = np.ndarray[Any, np.dtype[Any]]
Fit = Callable[[Matrix, Matrix, int], Any]


def main() -> None:
    """Fit every classifier on every draw and print the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    # LabelSpreading divides by zero if no label reaches a row. It then predicts the first class.
    warnings.filterwarnings("ignore", "invalid value encountered in divide")
    versions = f"scikit-learn {sklearn.__version__}, torch {torch.__version__}"
    print(f"{os.cpu_count()} {platform.machine()} cores, 1 thread; {versions}\n")
    print(f"{'':<52}{'test accuracy (%)':>18}{'CPU s':>9}", flush=True)
    for name, fit in classifiers().items():
        accuracies, seconds = [], []
        for draw in range(DRAWS):
            data = Digits(LABELS, num_validation=0, seed=draw)
            rows, test_rows = (images.flatten(1).numpy() / 255 for images in (data.train_images, data.test_images))
            started = time.process_time()
            classifier = fit(rows, data.train_labels.numpy(), draw)
            seconds.append(time.process_time() - started)
            accuracies.append(100 * classifier.score(test_rows, data.test_labels.numpy()))
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f"{name:<52}{f'{mean:.2f} ± {spread:.2f}':>18}{statistics.mean(seconds):>9.1f}", flush=True)


def classifiers() -> dict[str, Fit]:
    """Return functions from (X, y, seed) to a fitted classifier, by name."""
    return {
        "SVC on the labelled rows alone": lambda X, y, seed: svc(X, y, seed),
        "SelfTrainingClassifier, the same SVC calibrated": self_training,
        "LabelSpreading, knn": lambda X, y, seed: spreading("knn", X, y, seed),
        "LabelSpreading, rbf": lambda X, y, seed: spreading("rbf", X, y, seed),
        "SemiSupervisedClassifier, its defaults": lambda X, y, seed: m2({}, X, y, seed),
        "SemiSupervisedClassifier, recipe demo": lambda X, y, seed: m2(recipe("demo"), X, y, seed),
    }


def folds(seed: int) -> StratifiedKFold:
    """Return the cross-validation splits of labelled rows for the choice of hyperparameters."""
    return StratifiedKFold(5, shuffle=True, random_state=seed)


def svc(X: Matrix, y: Matrix, seed: int) -> SVC:
    """Return an SVC whose C and γ are chosen by cross-validation on the labelled rows."""
    known = y >= 0
    return GridSearchCV(SVC(), SVC_GRID, cv=folds(seed)).fit(X[known], y[known]).best_estimator_


def self_training(X: Matrix, y: Matrix, seed: int) -> SelfTrainingClassifier:
    """Return a self-training classifier around the SVC of `svc`, calibrated by Platt's method."""
    best = svc(X, y, seed)
    # SVC's own probabilities are deprecated; its documentation recommends this.
    calibrated = CalibratedClassifierCV(SVC(C=best.C, gamma=best.gamma), ensemble=False, cv=folds(seed))
    return SelfTrainingClassifier(calibrated).fit(X, y)


def spreading(kernel: str, X: Matrix, y: Matrix, seed: int) -> LabelSpreading:
    """Return label spreading with cross-validated hyperparameters; rows of a held-out fold stay, unlabelled."""
    labelled = np.flatnonzero(y >= 0)
    splits = [labelled[held_out] for _, held_out in folds(seed).split(labelled, y[labelled])]

    def accuracy(options: dict[str, Any]) -> float:
        scores = []
        for held_out in splits:
            hidden = y.copy()
            hidden[held_out] = -1
            scores.append(LabelSpreading(**options).fit(X, hidden).score(X[held_out], y[held_out]))
        return statistics.mean(scores)

    return LabelSpreading(**max(ParameterGrid(SPREADING_GRIDS[kernel]), key=accuracy)).fit(X, y)


def recipe(name: str) -> dict[str, Any]:
    """Return the arguments of `SemiSupervisedClassifier` that correspond to a recipe of ``ssvae fit``."""
    options = read_recipe(name)
    parts = {part: build(description) for part, description in options.pop("model")["init_args"].items()}
    return parts | build_fields(Recipe, options)


def m2(options: dict[str, Any], X: Matrix, y: Matrix, seed: int) -> SemiSupervisedClassifier:
    """Return a `SemiSupervisedClassifier` of M2."""
    return SemiSupervisedClassifier(**options, image_shape=(1, 8, 8), random_state=seed).fit(X, y)


if __name__ == "__main__":
    main()
