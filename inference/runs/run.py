"""A run: a trained model with its data, recipe and results."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ssvae.data import Data, ImageData
from ssvae.inference.evaluation.calibration import Calibration
from ssvae.inference.evaluation.comparison import Comparison
from ssvae.inference.evaluation.discovery import Discovery
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
        data: The data set; None if the run was loaded without it.
        recipe: The recipe of its training; None if the run was loaded without its data.
        history: A row for each logged epoch, with the terms of J in nats per image and the validation accuracy.
        evaluation: The evaluation on the test images; None without test images.
        discoveries: How each baseline tells the classes without labels apart, by name; empty if all have labels.
        baselines: The calibration of each baseline on the same test images, by name.
        baseline_probabilities: q(y|x) of each baseline, (test images, classes), by name; if some classes have no label,
            in the order of `ssvae.inference.evaluation.discovery.Discovery.reorder`.
        main_class_baselines: The calibration of each baseline on main classes, by name; empty without main classes.
        comparisons: The comparison of the model with each baseline on the same test images, by name; if some classes
            have no label, on the test images of the others.
        problems: Signs that the classifier is worse than it could be, a sentence for each.
        seconds: Wall time of training, of the model and of each baseline.
        bits: The number of bits that the values of its 16-bit images use; None if it was trained on no such images.
    """

    folder: Path
    model: SemiSupervisedModel
    class_names: tuple[str, ...]
    data: Data | None = None
    recipe: Recipe | None = None
    history: list[Row] = field(default_factory=list)
    evaluation: Evaluation | None = None
    discoveries: dict[str, Discovery] = field(default_factory=dict)
    baselines: dict[str, Calibration] = field(default_factory=dict)
    baseline_probabilities: dict[str, Tensor] = field(default_factory=dict)
    main_class_baselines: dict[str, Calibration] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    bits: int | None = None

    @property
    def image_data(self) -> ImageData:
        """The data set, for what needs images.

        Raises:
            ValueError: If the run was loaded without its data, or they are not images.
        """
        if self.data is None:
            raise ValueError("run: expected one with its data; got one that was loaded without.")
        if not isinstance(self.data, ImageData):
            raise ValueError(f"run: expected one of images; got one of {self.data.item}s, {self.data.name}.")
        return self.data
