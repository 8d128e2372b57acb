"""Test accuracy on MNIST of short runs with 100 labels, and their time.

    python -m benchmarks.time_to_accuracy [--root DIR] [--draws 3]

Each run has its own number of epochs of 239 steps. The time includes building the model, training it, and evaluating it
on the 10,000 test images. All 60,000 other images are for training.
"""

import argparse
import time

from benchmarks.recipes import build_model, read_recipe
from ssvae.data import MNIST
from ssvae.inference.evaluation import calibrate
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.storage.description import build_options
from ssvae.inference.training import Recipe, train

RECIPE = "few_labels_convolutional"
EPOCHS = (1, 2, 4)
"""The numbers of epochs of the runs."""


def main() -> None:
    """Train for each number of epochs and each draw of the labels, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the folder of MNIST (default: download it to ~/.cache/ssvae)")
    parser.add_argument("--draws", type=int, default=3, help="number of draws of the labels, each with its seed")
    options = parser.parse_args()
    print("| epochs | seconds | test accuracy (%) |\n|---|---|---|")
    for epochs in EPOCHS:
        runs = [timed(options.root, epochs, seed) for seed in range(options.draws)]
        seconds = ", ".join(f"{duration:.0f}" for duration, _ in runs)
        accuracies = ", ".join(f"{100 * accuracy:.2f}" for _, accuracy in runs)
        print(f"| {epochs} | {seconds} | {accuracies} |", flush=True)


def timed(root: str | None, epochs: int, seed: int) -> tuple[float, float]:
    """Return the seconds of a run and its test accuracy."""
    recipe = read_recipe(RECIPE)
    data = MNIST(num_labels=100, num_validation=0, seed=seed, root=root, **recipe.pop("data", {}))
    started = time.perf_counter()
    model = build_model(recipe.pop("model"), data, seed)
    recipe |= {"seed": seed, "max_steps": None, "max_epochs": epochs}
    train(model, data, build_options(Recipe, recipe), None)
    probabilities = predict_probabilities(model, data, data.test_images)
    return time.perf_counter() - started, calibrate(probabilities, data.test_labels).accuracy


if __name__ == "__main__":
    main()
