"""Missing entries of tables: how well M2 fills them in and classifies, beside imputation followed by a classifier.

Entries of training and test rows are hidden completely at random, and ten labels of each class are kept. M2 gets the
rows as they are; "mask alone" is its classifier trained on the labels alone, on the same zeros and mask. The other rows
fill in the entries first, by scikit-learn's imputers fitted to all training rows, labelled or not, and train the same
classifier on the labels. The error is of hidden entries of test rows, in standard deviations of the complete training
rows. Tables are the four measurements of the package palmerpenguins, where it is installed, and scikit-learn's wine and
breast cancer::

    python -m benchmarks.missing --seeds 3
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from benchmarks.penguins import penguins
from benchmarks.recipes import build_model
from benchmarks.spread import mean_and_deviation
from ssvae.data import Vectors
from ssvae.inference import Objective, Recipe, TrainerOptions, impute
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.runs.report import hardware
from ssvae.inference.storage.description import build_fields
from ssvae.inference.training import train
from ssvae.inference.training.recipe_choice import batch_size_for, for_missing, read_recipe
from ssvae.models import SemiSupervisedModel

Rows = npt.NDArray[np.float64]
Table = tuple[Rows, npt.NDArray[np.int64]]

FRACTIONS = (0.0, 0.1, 0.3, 0.5)
LABELS_OF_A_CLASS = 10
SAMPLES = 100
IMPUTERS: dict[str, Callable[[int], Any]] = {
    "mean": lambda seed: SimpleImputer(),
    "KNNImputer": lambda seed: KNNImputer(),
    "IterativeImputer": lambda seed: IterativeImputer(random_state=seed),
}


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of splits, labels and hidden entries")
    parser.add_argument("--max_steps", type=int, default=None, help="steps of training; default: those of the recipe")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        default=list(FRACTIONS),
        help="shares of hidden entries; 0 for complete rows",
    )
    options = parser.parse_args(words)
    started = time.perf_counter()
    methods = ["M2", "mask alone", *IMPUTERS]
    heading = " | ".join(f"{name}: error, accuracy" for name in methods)
    print(f"| table | hidden | {heading} |\n|---|---|{'---|' * len(methods)}")
    for name, table in tables().items():
        for fraction in options.fractions:
            measured = [measure(table, fraction, seed, options) for seed in range(options.seeds)]
            cells = [_cell([each[method] for each in measured]) for method in methods]
            print(f"| {name} | {fraction:.0%} | {' | '.join(cells)} |", flush=True)
    seconds = time.perf_counter() - started
    steps = "the recipe's" if options.max_steps is None else options.max_steps
    settings = f"{options.seeds} seeds, {steps} steps, {LABELS_OF_A_CLASS} labels of each class"
    print(f"\n{settings}; {seconds:.0f} s; {hardware()}")


def tables() -> dict[str, Table]:
    """Return complete tables and their classes, by name."""
    found = {}
    if (with_gaps := penguins()) is not None:
        x, y = with_gaps
        is_complete = ~np.isnan(x).any(-1)
        found["penguins"] = x[is_complete], y[is_complete]
    for name, load in {"wine": load_wine, "breast cancer": load_breast_cancer}.items():
        x, y = load(return_X_y=True)
        found[name] = x, y.astype(np.int64)
    return found


def measure(table: Table, fraction: float, seed: int, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Return the error of imputation, NaN where there is none, and the accuracy of each method, for one split."""
    x, y = table
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    centre, scale = x.mean(0), x.std(0)
    x, test_x = (x - centre) / scale, (test_x - centre) / scale
    random = np.random.default_rng(seed)
    hidden = random.random(test_x.shape) < fraction
    seen_x = np.where(random.random(x.shape) < fraction, np.nan, x)
    seen_test_x = np.where(hidden, np.nan, test_x)
    num_labels = LABELS_OF_A_CLASS * len(np.unique(y))

    def error(filled: Rows) -> float:
        return float(np.sqrt(np.square(filled - test_x)[hidden].mean())) if hidden.any() else float("nan")

    def fitted(rows: Rows, test_rows: Rows, *, generative: bool) -> tuple[SemiSupervisedModel, Vectors, float]:
        data = Vectors(rows, y, test_x=test_rows, test_y=test_y, num_labels=num_labels, seed=seed)
        model, recipe = _model(data, seed)
        if options.max_steps is not None:
            recipe = replace(recipe, max_steps=options.max_steps)
        if not generative:
            recipe = replace(recipe, objective=Objective(alpha=recipe.objective.alpha, generative=False))
        train(model, data, recipe, None, interactive=False)
        predicted = predict_probabilities(model, data, data.test_x).argmax(-1)
        return model, data, (predicted == data.test_y).double().mean().item()

    model, data, accuracy = fitted(seen_x, seen_test_x, generative=True)
    filled = data.test_x
    if data.has_missing:
        torch.manual_seed(seed)
        filled = data.restore(impute(model, data.preprocess(filled), SAMPLES).mean)
    measured = {
        "M2": (error(filled.double().numpy()), accuracy),
        "mask alone": (float("nan"), fitted(seen_x, seen_test_x, generative=False)[2]),
    }
    for name, make in IMPUTERS.items():
        imputer = make(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # IterativeImputer has not always converged after its ten rounds
            rows, test_rows = imputer.fit_transform(seen_x), imputer.transform(seen_test_x)
        measured[name] = error(test_rows), fitted(rows, test_rows, generative=False)[2]
    return measured


def _model(data: Vectors, seed: int) -> tuple[SemiSupervisedModel, Recipe]:
    """Return the model and the recipe `table`."""
    settings = read_recipe("table", "Vectors")
    description = settings.pop("model")
    if data.has_missing:
        description = for_missing(description, data)
    model = build_model(description, data, seed)
    recipe = Recipe(**build_fields(Recipe, settings))
    trainer = TrainerOptions(accelerator="cpu", progress_bar=False)
    batch_size = batch_size_for(data, recipe.batch_size)
    return model, replace(recipe, seed=seed, trainer=trainer, batch_size=batch_size)


def _cell(values: Sequence[tuple[float, float]]) -> str:
    errors, accuracies = zip(*values, strict=True)
    error = "–" if np.isnan(errors[0]) else f"{statistics.mean(errors):.2f}"
    return f"{error}, {mean_and_deviation([100 * accuracy for accuracy in accuracies])} %"


if __name__ == "__main__":
    main()
