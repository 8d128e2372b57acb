"""Robustness: rejection of attacked test images, and of test images of another data set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssvae.data import ImageData
from ssvae.data.domain_adaptation import like
from ssvae.data.random_order import random_order
from ssvae.inference import figures
from ssvae.inference.applications.attacks import attacks, check_attackable, check_strength
from ssvae.inference.applications.rejection import Attacked, Rejection, anomaly_scores, auroc, measure
from ssvae.inference.predict import image_shape
from ssvae.models import SemiSupervisedModel

TABLE_HEADER = (
    "| attack | ε | accuracy | error | rejected | after reclassification | without rejection | AUROC |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class AttackResult:
    """Results of one attack on the test images.

    Attributes:
        attack: The attack's name: "FGSM", "PGD" or "adaptive".
        num_images: The number of attacked images.
        epsilons: The strengths ε, the largest changes of a pixel, in [0, 1].
        outcomes: The results for each ε.
    """

    attack: str
    num_images: int
    epsilons: tuple[float, ...]
    outcomes: tuple[Attacked, ...]

    def rows(self) -> list[str]:
        """Return a row for each ε, for the table with the header `TABLE_HEADER`."""
        return [
            f"| {self.attack} | {epsilon:g} | {each.outcome.accuracy:.1%} | {each.outcome.error:.1%} "
            f"| {each.outcome.rejection:.1%} | {each.reclassified.accuracy:.1%} right, "
            f"{each.reclassified.error:.1%} wrong | {each.undefended:.1%} | {each.auroc:.3f} |"
            for epsilon, each in zip(self.epsilons, self.outcomes, strict=True)
        ]

    def curves(self) -> dict[str, list[float]]:
        """Return fractions of the images for each ε, by the name of the curve."""
        return {
            "accuracy": [each.outcome.accuracy for each in self.outcomes],
            "error": [each.outcome.error for each in self.outcomes],
            "rejected": [each.outcome.rejection for each in self.outcomes],
            "accuracy without rejection": [each.undefended for each in self.outcomes],
        }

    def draw(self) -> Figure:
        """Return a figure of the curves against ε."""
        with figures.without_pyplot():
            title = f"{self.attack}, {self.num_images:,} test images"
            return figures.figure_of(figures.rejection_curves(self.epsilons, self.curves(), title))


@dataclass(frozen=True)
class OutOfDistributionResult:
    """Results on the test images of another data set.

    Attributes:
        num_images: The number of these images.
        rejected: The fraction of them that is rejected.
        auroc: Area under the ROC curve of `Rejection.score`, for these images against test images of the run: 0.5 is
            chance, 1 perfect detection.
    """

    num_images: int
    rejected: float
    auroc: float


def check_attack_options(epsilons: Sequence[float], num_images: int, num_steps: int) -> None:
    """Check the options of `run_attacks`.

    Raises:
        ValueError: If an ε is not in [0, 1], or there are no images or no steps.
    """
    for epsilon in epsilons:
        check_strength(epsilon, num_steps)
    if num_images < 1:
        raise ValueError(f"num_images: expected at least 1; got {num_images}.")


def run_attacks(
    model: SemiSupervisedModel,
    data: ImageData,
    rejection: Rejection,
    *,
    epsilons: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3),
    num_images: int = 500,
    num_steps: int = 40,
    seed: int = 0,
) -> Iterator[AttackResult]:
    """Attack the test images by every attack at every strength.

    Args:
        model: The model under attack.
        data: The data set, of whose test images a random subset is attacked.
        rejection: The rejection rule, from `ssvae.inference.applications.rejection.fit_rejection`.
        epsilons: The strengths ε, the largest changes of a pixel, in [0, 1].
        num_images: The number of test images to attack, at most.
        num_steps: The number of steps of projected gradient descent.
        seed: The random seed for the subset and the starting points.

    Returns:
        An iterator over the results; each attack is computed when its result is requested.

    Raises:
        ValueError: If the model's q(y|x) has no gradient, some classes have no label, an ε is not in [0, 1], or there
            are no images or steps.
    """
    check_attack_options(epsilons, num_images, num_steps)
    check_attackable(model)
    if data.has_labels and data.has_new_classes:
        raise ValueError(f"data: expected a label of every class; got {data.name}, some of whose classes have none.")
    chosen = _some_test_images(data, num_images, seed)
    x, y = data.preprocess(data.test_images[chosen]), data.test_labels[chosen]
    by_name = attacks(model, rejection, x, y, num_steps=num_steps, seed=seed)
    return (
        AttackResult(
            name,
            len(x),
            tuple(epsilons),
            tuple(measure(model, rejection, x, attacked(epsilon), y) for epsilon in epsilons),
        )
        for name, attacked in by_name.items()
    )


def reject_other(
    model: SemiSupervisedModel,
    data: ImageData,
    rejection: Rejection,
    other: ImageData,
    *,
    num_images: int = 500,
    seed: int = 0,
) -> OutOfDistributionResult:
    """Measure how many test images of another data set are rejected.

    Args:
        model: The model.
        data: The data set that it was trained on.
        rejection: The rejection rule, from `ssvae.inference.applications.rejection.fit_rejection`.
        other: The other data set. Its images are converted to the model's size and number of channels.
        num_images: The number of test images of each data set, at most: random subsets.
        seed: The random seed for the subsets.

    Returns:
        The rejected fraction, and the AUROC against test images of ``data``.
    """
    x = data.preprocess(data.test_images[_some_test_images(data, num_images, seed)])
    chosen = _some_test_images(other, num_images, seed)
    anomalous = data.preprocess(like(other.test_images[chosen], image_shape(model)))
    ordinary_scores, scores = (rejection.score(anomaly_scores(model, images)) for images in (x, anomalous))
    return OutOfDistributionResult(len(anomalous), (scores > 0).double().mean().item(), auroc(ordinary_scores, scores))


def _some_test_images(data: ImageData, number: int, seed: int) -> Tensor:
    """Return the positions of test images in a random order, at most so many; sets may be sorted by class."""
    return random_order(len(data.test_images), torch.Generator().manual_seed(seed))[:number]
