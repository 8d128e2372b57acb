"""A run to explore: all that the page requests, without HTTP."""

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ssvae.data import VectorData
from ssvae.data.random_order import random_order
from ssvae.inference.explorer.answers import Answer, answer
from ssvae.inference.explorer.completions import Completions, complete, model_of_seen
from ssvae.inference.explorer.drawing import DrawingStyle, Stroke
from ssvae.inference.explorer.latent import (
    LatentMap,
    decode_point,
    latent_map,
    sample_class,
    shown_part,
)
from ssvae.inference.explorer.uploads import read_upload
from ssvae.inference.predict import image_shape
from ssvae.inference.runs.run import Run
from ssvae.models import SemiSupervisedModel


class ExploredRun:
    """A run, and the number of importance samples of its answers.

    Args:
        run: The run, with its data.
        num_samples: The number of importance samples for each class.
    """

    def __init__(self, run: Run, *, num_samples: int = 50) -> None:
        self.run = run
        self.num_samples = num_samples

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.run.folder.resolve().name


class Explorer(ExploredRun):
    """A run on images, with the drawing style of its data and the map of its latent space, which are computed once.

    Args:
        run: The run, with its data.
        num_samples: The number of importance samples for each class.

    Raises:
        ValueError: If the run was loaded without its data, or they are not images.
    """

    def __init__(self, run: Run, *, num_samples: int = 50) -> None:
        super().__init__(run, num_samples=num_samples)
        self.style = DrawingStyle.of(run.image_data.train_images)

    @cached_property
    def map(self) -> LatentMap:
        """The map of its latent space."""
        return latent_map(self.run)

    @cached_property
    def model_of_seen(self) -> SemiSupervisedModel:
        """The model, as one that takes missing pixels; see `ssvae.inference.explorer.completions.model_of_seen`."""
        return model_of_seen(self.run)

    def drawn(self, strokes: Sequence[Stroke]) -> Tensor:
        """Return the image of a drawing; see `ssvae.inference.explorer.drawing.DrawingStyle.render`."""
        return self.style.render(strokes)

    def uploaded(self, content: bytes, *, invert: bool = False) -> Tensor:
        """Return the image of an image file; see `ssvae.inference.explorer.uploads.read_upload`."""
        return read_upload(content, image_shape(self.run.model), invert=invert, bits=self.run.bits)

    def answer(self, image: Tensor) -> Answer:
        """Return the predictions for an image, pixels in [0, 1]."""
        return answer(self.run, image, num_samples=self.num_samples)

    def complete(self, image: Tensor, missing: Tensor) -> Completions:
        """Return the predictions for an image of which some pixels are missing, bool (height, width)."""
        return complete(self.model_of_seen, self.run.image_data, image, missing, num_samples=self.num_samples)

    def example(self, number: int) -> Tensor:
        """Return a test image by its number in a random order, pixels in [0, 1]; after the last one the first again.

        Without test images it is a validation image, and without these a training image.
        """
        images, _, _ = shown_part(self.run.image_data)
        order = random_order(len(images))
        return self.run.image_data.preprocess(images[order[number % len(order)]])

    def decode(self, point: tuple[float, float]) -> Tensor:
        """Decode a point of the map for every class; see `ssvae.inference.explorer.latent.decode_point`."""
        return decode_point(self.run, self.map, point)

    def sample(self, y: int, number: int, seed: int) -> Tensor:
        """Sample images of a class; see `ssvae.inference.explorer.latent.sample_class`."""
        return sample_class(self.run, y, number, seed)

    def warm_up(self) -> None:
        """Compute one answer, since the first takes longer, and the latent map."""
        self.answer(self.drawn([[(0.5, 0.2), (0.5, 0.8)]]))
        self.decode((0.0, 0.0))


def check_comparable(first: Run, second: Run) -> None:
    """Check that two runs can be compared.

    Raises:
        ValueError: If their images differ in shape, their features in name or kind, or their classes in name.
    """
    shapes = [tuple(run.model.event_shape) for run in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "run: expected two runs on data of one shape; got "
            f"{' and '.join('×'.join(map(str, shape)) for shape in shapes)}."
        )
    features = [
        [f"{name} ({kind})" for name, kind in zip(run.data.feature_names, run.data.feature_kinds, strict=True)]
        for run in (first, second)
        if isinstance(run.data, VectorData)
    ]
    if len(features) == 2 and features[0] != features[1]:
        raise ValueError(
            f"run: expected two runs with the same features; got {' and '.join(map(', '.join, features))}."
        )
    if first.class_names != second.class_names:
        raise ValueError(
            "run: expected two runs with the same classes; got "
            f"{' and '.join(', '.join(run.class_names) for run in (first, second))}."
        )


def distinct_names(explorers: Sequence[ExploredRun]) -> list[str]:
    """Return the names of the runs, preceded by their parent folder if two names are equal."""
    names = [explorer.name for explorer in explorers]
    if len(set(names)) == len(names):
        return names
    return [f"{explorer.run.folder.resolve().parent.name}/{explorer.name}" for explorer in explorers]
