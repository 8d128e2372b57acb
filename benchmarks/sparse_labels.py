"""`python -m benchmarks.sparse_labels`: the effect of labels and of unlabelled images in SparseLabelVAE.

Berkhahn et al. 2019 (arXiv 1908.03015) claim that unlabelled images improve the classifier, and that labels improve the
ELBO. This is tested on Digits, for several numbers of labels and several draws of the labels, each with other initial
weights:

    all images          the labelled images, and all others without their labels
    labelled only       the same model, the labelled images alone
    classifier alone    the same encoder, the labelled images alone, without the ELBO

The accuracy and the ELBO in nats per image are those of the test images, with standard deviations over the draws.
Networks, numbers of steps, learning rate and alpha are the same everywhere.
"""

import argparse
import statistics
import time

import torch

from ssvae.data import Arrays, Digits, ImageData
from ssvae.inference.evaluation import evaluate
from ssvae.inference.objective import Objective
from ssvae.inference.runs.report import hardware
from ssvae.inference.training import Recipe, TrainerOptions, train
from ssvae.models import SparseLabelVAE
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

KINDS = ("all images", "labelled only", "classifier alone")
NUMBERS_OF_LABELS = (0, 10, 20, 50, 100, 200, 500, None)  # None: all of them
ALPHA = 100.0
"""The best of 0.3, 1, 3, 10 and 100 on validation images, with 20 and with 100 labels, three draws, 600 steps."""


def main() -> None:
    """Train, evaluate and print the table; also draw it if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of draws of the labels")
    parser.add_argument("--max_steps", type=int, default=1000, help="number of optimiser steps of each run")
    parser.add_argument("--figure", help="file for a figure of accuracy and ELBO")
    options = parser.parse_args()
    started = time.perf_counter()
    print(
        f"{options.seeds} draws of the labels, {options.max_steps} steps, alpha {ALPHA:g}; mean ± standard deviation\n"
    )
    print(f"{'labels':>6}  {'accuracy, %':^52}  {'ELBO, nats':^35}")
    print(f"{'':>6}  {KINDS[0]:>16}  {KINDS[1]:>16}  {KINDS[2]:>16}  {KINDS[0]:>16}  {KINDS[1]:>16}")
    rows = [row(number, options.seeds, options.max_steps) for number in NUMBERS_OF_LABELS]
    print(f"\n{time.perf_counter() - started:.0f} s; {hardware()}")
    if options.figure:
        draw(rows, options.figure)


def row(num_labels: int | None, seeds: int, max_steps: int) -> dict[str, list[float]]:
    """Train with a number of labels, once for each seed; print and return the results, in the order of the columns."""
    results_by_column: dict[str, list[float]] = {}
    for seed in range(seeds):
        data = Digits(num_labels=num_labels, seed=seed)
        runs: dict[str, tuple[ImageData, bool]] = {"all images": (data, True)}
        if num_labels != 0:
            labelled = labelled_only(data)
            runs |= {"labelled only": (labelled, True), "classifier alone": (labelled, False)}
        for kind, (images, generative) in runs.items():
            accuracy, elbo = results(images, seed, max_steps, generative)
            results_by_column.setdefault(f"accuracy, {kind}", []).append(100 * accuracy)
            if generative:
                results_by_column.setdefault(f"ELBO, {kind}", []).append(elbo)
    columns = [f"accuracy, {kind}" for kind in KINDS] + [f"ELBO, {kind}" for kind in KINDS[:2]]
    cells = [mean_and_deviation(results_by_column[column]) if column in results_by_column else "" for column in columns]
    print(
        f"{'all' if num_labels is None else num_labels:>6}  " + "  ".join(f"{cell:>16}" for cell in cells), flush=True
    )
    return results_by_column


def labelled_only(data: ImageData) -> ImageData:
    """Return the data without the unlabelled training images."""
    kept = data.labelled_index
    images, labels = data.train_images[kept], data.train_labels[kept]
    return Arrays(images, labels, test_images=data.test_images, test_labels=data.test_labels)


def results(data: ImageData, seed: int, max_steps: int, generative: bool) -> tuple[float, float]:
    """Return the accuracy and the ELBO after training."""
    torch.manual_seed(seed)
    networks = MLP(hidden=(200, 200), activation=torch.nn.ReLU, batch_norm=True)
    model = SparseLabelVAE(data.image_shape, data.num_classes, prior=StandardNormal(10), networks=networks)
    recipe = Recipe(
        objective=Objective(alpha=ALPHA, generative=generative),
        max_steps=max_steps,
        batch_size=min(100, data.num_unlabelled) or 100,
        learning_rate=2e-3,
        one_cycle=True,
        seed=seed,
        trainer=TrainerOptions(progress_bar=False),
    )
    train(model, data, recipe, folder=None)
    evaluation = evaluate(model, data, num_samples=1)
    return evaluation.classifier.accuracy, evaluation.elbo


def mean_and_deviation(values: list[float]) -> str:
    """Return mean ± standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def draw(rows: list[dict[str, list[float]]], path: str) -> None:
    """Draw accuracy and ELBO against the number of labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    places = range(len(NUMBERS_OF_LABELS))
    for ax, measure in zip(figure.subplots(1, 2), ("accuracy", "ELBO"), strict=True):
        for number, kind in enumerate(KINDS):
            name = f"{measure}, {kind}"
            points = [(place, row[name]) for place, row in zip(places, rows, strict=True) if name in row]
            if not points:  # the classifier alone has no ELBO
                continue
            means = [statistics.mean(values) for _, values in points]
            deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in points]
            where = [place for place, _ in points]
            ax.errorbar(where, means, deviations, capsize=3, color=f"C{number}", label=kind)  # as in the other panel
        ax.set_xticks(places, ["all" if number is None else str(number) for number in NUMBERS_OF_LABELS])
        ax.set(xlabel="labels", ylabel="accuracy, %" if measure == "accuracy" else "ELBO, nats per image")
        ax.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
