"""A run: a trained model, and what is known of it."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ssvae.data import ImageData
from ssvae.inference.evaluation.calibration import Calibration
from ssvae.inference.evaluation.comparison import Comparison, compare
from ssvae.inference.evaluation.evaluation import Evaluation
from ssvae.inference.training.history import Row
from ssvae.inference.training.recipe import Recipe
from ssvae.models import SemiSupervisedModel


@dataclass
class Run:
    """A trained model and the folder it was trained in.

    Attributes:
        folder: config.yaml, metrics.csv, checkpoints/, model.safetensors (the weights alone), tensorboard/, baselines/,
            figures/, report.md.
        model: The model with its trained weights.
        class_names: The names of the classes.
        data: The images; None where the run was loaded for its model alone.
        recipe: How it was trained; None likewise.
        history: A row of terms of J and validation accuracy for every epoch noted.
        evaluation: The evaluation on the test images; None where there are none.
        baselines: The calibration of each baseline on the same test images, by name.
        baseline_probabilities: Their q(y|x), (test images, classes), in the order of ``Evaluation.probabilities``.
        main_class_baselines: The calibration of each baseline on main classes, where the data have them.
        seconds: Wall time of training, of the model and of each baseline.
        bits: How many bits the values of its 16-bit images use; None where it was trained on none.
    """

    folder: Path
    model: SemiSupervisedModel
    class_names: tuple[str, ...]
    data: ImageData | None = None
    recipe: Recipe | None = None
    history: list[Row] = field(default_factory=list)
    evaluation: Evaluation | None = None
    baselines: dict[str, Calibration] = field(default_factory=dict)
    baseline_probabilities: dict[str, Tensor] = field(default_factory=dict)
    main_class_baselines: dict[str, Calibration] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bits: int | None = None

    def compare_with_baselines(self) -> dict[str, Comparison]:
        """Compare the model with each baseline, whose name it returns, on the same test images."""
        if self.evaluation is None:
            return {}
        probabilities, labels = self.evaluation.probabilities, self.evaluation.labels
        return {name: compare(probabilities, each, labels) for name, each in self.baseline_probabilities.items()}
