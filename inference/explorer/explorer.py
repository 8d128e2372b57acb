"""A run to explore: what the page asks of it, and nothing of HTTP."""

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ssvae.inference.explorer.answers import Answer, answer
from ssvae.inference.explorer.drawing import DrawingStyle, Stroke
from ssvae.inference.explorer.latent import LatentMap, decode_point, latent_map, sample_class
from ssvae.inference.explorer.uploads import read_upload
from ssvae.inference.runs.run import Run


class Explorer:
    """A run with what is worked out once: how its data are drawn, and the map of its latent space.

    Args:
        run: The run, with its data.
        num_samples: Importance samples for each class in an answer.
    """

    def __init__(self, run: Run, *, num_samples: int = 50) -> None:
        if run.data is None:
            raise ValueError("run: expected one with its data; got one that was loaded without.")
        self.run = run
        self.num_samples = num_samples
        self.style = DrawingStyle.of(run.data.train_images)

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.run.folder.resolve().name

    @cached_property
    def map(self) -> LatentMap:
        """The map of its latent space."""
        return latent_map(self.run)

    def answer_drawing(self, strokes: Sequence[Stroke]) -> Answer:
        """Answer strokes; see `DrawingStyle.render`."""
        return answer(self.run, self.style.render(strokes), num_samples=self.num_samples)

    def answer_upload(self, content: bytes, *, invert: bool = False) -> Answer:
        """Answer an image file; see `read_upload`."""
        image = read_upload(content, self.run.model.image_shape, invert=invert, bits=self.run.bits)
        return answer(self.run, image, num_samples=self.num_samples)

    def decode(self, point: tuple[float, float]) -> Tensor:
        """Decode a place of the map in every class; see `decode_point`."""
        return decode_point(self.run, self.map, point)

    def sample(self, y: int, number: int, seed: int) -> Tensor:
        """Draw images of a class; see `sample_class`."""
        return sample_class(self.run, y, number, seed)


def check_comparable(first: Run, second: Run) -> None:
    """Refuse two runs that cannot stand side by side.

    Raises:
        ValueError: If their images differ in shape, or their classes in name.
    """
    shapes = [tuple(run.model.image_shape) for run in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "run: expected two runs on images of one shape; got "
            f"{' and '.join('×'.join(map(str, shape)) for shape in shapes)}."
        )
    if first.class_names != second.class_names:
        raise ValueError(
            "run: expected two runs with the same classes; got "
            f"{' and '.join(', '.join(run.class_names) for run in (first, second))}."
        )


def distinct_names(explorers: Sequence[Explorer]) -> list[str]:
    """Return the runs' names, with their parent folders' where two runs have one name."""
    names = [explorer.name for explorer in explorers]
    if len(set(names)) == len(names):
        return names
    return [f"{explorer.run.folder.resolve().parent.name}/{explorer.name}" for explorer in explorers]
