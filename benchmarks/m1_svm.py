"""M1 with a support vector machine on Fashion-MNIST, for several numbers of labels.

    python -m benchmarks.m1_svm [--root DIR] [--draws 5]

The recipe is `fashion_m1`. Its VAE looks at no label, so that it is trained once; the support vector machine is fitted
anew to the latent means of each draw's labelled images.
"""

import argparse
import time
from collections.abc import Sequence

import torch

from benchmarks.recipes import build_model, read_recipe
from benchmarks.spread import mean_and_deviation
from ssvae.data import FashionMNIST, ImageData
from ssvae.inference.evaluation import calibrate
from ssvae.inference.predict import evaluating, predict_probabilities
from ssvae.inference.runs.report import hardware
from ssvae.inference.storage.description import build_options
from ssvae.inference.training import Recipe, train
from ssvae.models import M1

LABELS = (100, 600, 1000, 3000)


def main(words: Sequence[str] | None = None) -> None:
    """Train the VAE, fit the support vector machines, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="the folder of Fashion-MNIST (default: download it to ~/.cache/ssvae)")
    parser.add_argument("--draws", type=int, default=5, help="number of draws of the labels")
    options = parser.parse_args(words)
    recipe = read_recipe("fashion_m1")
    settings = {"root": options.root, **recipe.pop("data")}
    data = FashionMNIST(num_labels=LABELS[0], **settings)
    model = build_model(recipe.pop("model"), data, recipe["seed"])
    assert isinstance(model, M1)
    started = time.perf_counter()
    train(model, data, build_options(Recipe, recipe), None)
    seconds = time.perf_counter() - started
    print("| labels | test accuracy (%) |\n|---|---|")
    for number in LABELS:
        draws = (FashionMNIST(num_labels=number, seed=seed, **settings) for seed in range(options.draws))
        accuracies = [accuracy(model, draw) for draw in draws]
        print(f"| {number:,} | {mean_and_deviation(accuracies, '{:.2f}')} |", flush=True)
    fits = time.perf_counter() - started - seconds
    print(f"\n{options.draws} draws; {seconds:.0f} s for the VAE, {fits:.0f} s for the fits; {hardware()}")


def accuracy(model: M1, data: ImageData) -> float:
    """Return the test accuracy in % after fitting the feature classifier to the labelled images of the data."""
    index = data.labelled_index
    with torch.no_grad(), evaluating(model):
        x = data.preprocess(data.train_images[index])
        model.refit(x, data.train_labels[index], unlabelled=x[:0])
    probabilities = predict_probabilities(model, data, data.test_images)
    return 100 * calibrate(probabilities, data.test_labels).accuracy


if __name__ == "__main__":
    main()
