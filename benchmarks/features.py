"""`python -m benchmarks.features`: class samples and latent means of the models, after equally many steps.

Each model is trained on MNIST5k, which needs no download, with 100 labels and its default recipe: the one that is named
after the model, and ``mnist5k`` for M2. Only the number of steps is the same for all. A row has the test accuracy of
q(y|x), and what `ssvae score` and `ssvae features` measure: the share of class samples that a reference classifier puts
into the class they were drawn for, and their diversity, where test images have 1; the test accuracy of a linear probe,
of five neighbours and of k-means on the latent means, and the NMI of k-means. The last row has the training images in
place of samples, and the pixels in place of latent means. DistilledM2 is left out: its recipe mirrors images::

    python -m benchmarks.features --models M2 GMVAE --max_steps 200
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.recipes import build_model
from benchmarks.spread import mean_and_deviation
from ssvae.data import ImageData, MNIST5k
from ssvae.inference import Recipe
from ssvae.inference.applications.features import score_features
from ssvae.inference.applications.generation import (
    ReferenceClassifier,
    score_generation,
    train_reference_classifier,
)
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.runs.report import hardware
from ssvae.inference.storage.description import build_fields
from ssvae.inference.training import train
from ssvae.inference.training.recipe_choice import batch_size_for, choose_recipe, read_recipe
from ssvae.models import SemiSupervisedModel

MODELS = (
    "M2",
    "M1",
    "M1M2",
    "DistilledM1",
    "ConditionalVAE",
    "LadderVAE",
    "ADGM",
    "SDGM",
    "GMVAE",
    "SparseLabelVAE",
    "AdversarialAutoencoder",
    "SOMVAE",
)
COLUMNS = {
    "accuracy": "{:.1f}",
    "samples of the right class": "{:.1f}",
    "diversity": "{:.2f}",
    "linear probe": "{:.1f}",
    "5 neighbours": "{:.1f}",
    "k-means": "{:.1f}",
    "NMI": "{:.2f}",
    "CPU s": "{:.0f}",
}
"""The columns of the table, and how their numbers are written; accuracies are in per cent."""

Row = dict[str, float]
"""Numbers by column."""


def main(words: Sequence[str] | None = None) -> None:
    """Train and score every model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="the models")
    parser.add_argument("--max_steps", type=int, default=400, help="steps of training of each model")
    parser.add_argument("--seeds", type=int, default=1, help="number of draws of labels, weights and samples")
    options = parser.parse_args(words)
    started = time.perf_counter()
    data = MNIST5k(num_labels=None)
    classifier, accuracy = train_reference_classifier(data)
    print(f"| model | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    originals = []
    for name in options.models:
        rows = []
        for seed in range(options.seeds):
            draw = MNIST5k(num_labels=100, seed=seed)
            row, original = measure(name, draw, data, classifier, max_steps=options.max_steps, seed=seed)
            rows.append(row)
            originals.append(original)
        print(line(name, rows), flush=True)
    print(line("training images; pixels", originals[: options.seeds]))
    draws = "1 draw" if options.seeds == 1 else f"mean ± standard deviation of {options.seeds} draws"
    print(
        f"\nMNIST5k, 100 labels, {draws}, {options.max_steps} steps; accuracies in %; the reference classifier has "
        f"{accuracy:.1%}; {time.perf_counter() - started:.0f} s; {hardware()}"
    )


def measure(
    name: str,
    data: ImageData,
    labelled: ImageData,
    classifier: ReferenceClassifier,
    *,
    max_steps: int,
    seed: int,
) -> tuple[Row, Row]:
    """Train a model and return its row, and the row of training images and pixels.

    Args:
        name: The name of the model's class.
        data: The data set, with few labels.
        labelled: The same data set with all labels.
        classifier: The reference classifier.
        max_steps: The number of training steps.
        seed: The random seed of weights, training, samples and k-means.
    """
    started = time.process_time()
    model = trained(name, data, max_steps, seed)
    seconds = time.process_time() - started
    predicted = predict_probabilities(model, data, data.test_images).argmax(-1)
    accuracy = 100 * (predicted == data.test_labels).double().mean().item()
    generation = score_generation(model, labelled, classifier, seed=seed)
    features = score_features(model, data, seed=seed)
    rows = []
    for images, encoded in (("samples", "latent means"), ("training images", "pixels")):
        samples, scores = generation[images], features[encoded]
        assert scores.linear_probe is not None
        assert scores.nearest_neighbours is not None
        rows.append(
            {
                "samples of the right class": 100 * samples.agreement,
                "diversity": samples.diversity,
                "linear probe": 100 * scores.linear_probe,
                "5 neighbours": 100 * scores.nearest_neighbours,
                "k-means": 100 * scores.clustering,
                "NMI": scores.nmi,
            }
        )
    return {"accuracy": accuracy, "CPU s": seconds} | rows[0], rows[1]


def trained(name: str, data: ImageData, max_steps: int, seed: int) -> SemiSupervisedModel:
    """Return a model that was trained by its default recipe; the data become binarised if the recipe has them so."""
    settings = read_recipe(choose_recipe(name, type(data).__name__), type(data).__name__)
    data.binarise = settings.get("data", {}).get("binarise", False)
    model = build_model(settings["model"], data, seed)
    names = Recipe.__dataclass_fields__.keys() & settings.keys()
    recipe = Recipe(**build_fields(Recipe, {each: settings[each] for each in names}))
    recipe = replace(
        recipe,
        max_steps=max_steps,
        batch_size=batch_size_for(data, recipe.batch_size),
        seed=seed,
        trainer=replace(recipe.trainer, accelerator="cpu", progress_bar=False),
    )
    train(model, data, recipe, None, interactive=False)
    return model


def line(name: str, rows: Sequence[Row]) -> str:
    """Return a line of the table: the mean of some rows, with the standard deviation if there are several."""
    cells = [name]
    for column, form in COLUMNS.items():
        values = [row[column] for row in rows if column in row]
        cells.append(mean_and_deviation(values, form) if values else "–")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
