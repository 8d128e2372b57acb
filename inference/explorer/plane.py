"""The plane of a run on points: regions of q(y|x), contours of p(x), and a copy of the model that gets other labels."""

import copy
from dataclasses import dataclass

import pyro
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssvae.data import VectorData
from ssvae.inference.evaluation.evaluation import log_weights
from ssvae.inference.figures.vectors import density_levels, most_probable, plane_grid
from ssvae.inference.predict import class_probabilities, device_of, images_per_chunk, seeded
from ssvae.inference.runs.run import Run
from ssvae.inference.training.continuation import Continuation
from ssvae.models import SemiSupervisedModel

STEPS = 100
"""Optimiser steps after each change of a label."""

STEPS_AT_ONCE = 20
"""Optimiser steps between two pictures of the regions."""

MOST_LABELS = 1000
"""The largest number of labels that may be added."""

_CELLS = 100
_CELLS_OF_DENSITY = 40


@dataclass(frozen=True)
class Regions:
    """q(y|x) over the plane, on a grid.

    Attributes:
        classes: The most probable class of each point, int64 (rows, columns); the first row is the lowest.
        certainty: 0 where all classes are equally probable, 1 where one is certain, (rows, columns).
    """

    classes: Tensor
    certainty: Tensor


def is_plane(data: VectorData) -> bool:
    """Return whether the data are points in the plane: two real features."""
    return data.feature_kinds == ("real", "real")


def plane_limits(data: VectorData) -> list[tuple[float, float]]:
    """Return the range of each feature that is drawn: that of the figures of the plane."""
    _, axes = plane_grid(data, 2)
    return [(float(axis[0]), float(axis[-1])) for axis in axes]


def regions_of(model: SemiSupervisedModel, data: VectorData) -> Regions:
    """Return q(y|x) over the plane, on 100×100 points."""
    points, _ = plane_grid(data, _CELLS)
    y, certainty = most_probable(class_probabilities(model, data.preprocess(points)))
    return Regions(y.view(_CELLS, _CELLS), certainty.view(_CELLS, _CELLS))


def contours_of(model: SemiSupervisedModel, data: VectorData, num_samples: int) -> list[Tensor]:
    """Return contours of p(x) that enclose 50, 80, 95 and 99 % of its probability on the plane.

    log p(x) is estimated on 40×40 points by importance samples from the guide. That of `ssvae.inference.figures` is
    from a proposal that is fitted to each point, which takes several times as long.

    Args:
        model: The model.
        data: Its data set.
        num_samples: The number of importance samples for each class.

    Returns:
        Lines (points, 2), in the units of the data.

    Raises:
        ValueError: If the model's ELBO does not bound log p(x).
    """
    if not model.bounds_evidence:
        raise ValueError(f"run: expected a model whose ELBO bounds log p(x); got {type(model).__name__}.")
    points, (horizontal, vertical) = plane_grid(data, _CELLS_OF_DENSITY)
    y = torch.arange(model.num_classes, device=device_of(model)).unsqueeze(-1) if model.has_label_site else None
    chunks = data.preprocess(points).split(images_per_chunk(model, copies=model.num_classes * num_samples))
    with pyro.validation_enabled(False), seeded(0):
        log_p = torch.cat(
            [
                # (samples, classes, points) or (samples, points)
                log_weights(model, x.to(device_of(model)), y, num_samples).cpu().double().flatten(0, -2).logsumexp(0)
                for x in chunks
            ]
        )
    share, levels = density_levels(log_p)
    drawn = Figure().add_subplot().contour(
        horizontal, vertical, share.view(_CELLS_OF_DENSITY, _CELLS_OF_DENSITY), levels=sorted(set(levels))
    )  # fmt: skip
    return [torch.as_tensor(line) for lines in drawn.allsegs for line in lines if len(line) > 1]


class Relabelling:
    """A copy of a run's model that is trained further, in memory, on points whose labels a user adds and moves.

    After each change the copy is trained for 100 steps of the objective of the run; see
    `ssvae.inference.training.Continuation`. The run and its folder stay as they are.

    Args:
        run: The run, with its data: points in the plane.

    Attributes:
        model: The copy of the model.
        data: The data set with the labels as they are now; preprocessed as the run's.
        changed: Whether each labelled point has been added or moved, in the order of ``data.labelled_index``.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.undo()

    def undo(self) -> None:
        """Return to the run's model and labels."""
        assert isinstance(self.run.data, VectorData)
        self.model = copy.deepcopy(self.run.model)
        self.data = self.run.data
        self.changed = [False] * self.data.num_labelled
        self._continuation: Continuation | None = None

    @property
    def num_left(self) -> int:
        """The number of steps that are left of those after the last change."""
        return 0 if self._continuation is None else self._continuation.num_left

    def add(self, point: tuple[float, float], y: int) -> None:
        """Add a labelled point.

        Args:
            point: The point, in the units of the data.
            y: Its class.

        Raises:
            ValueError: If the point is not on the plane, there are too many, or the model cannot be trained further.
        """
        data = self._checked(point)
        if len(self.changed) - data.num_labelled >= MOST_LABELS:
            raise ValueError(f"labels: expected at most {MOST_LABELS} more than in the training; got one more.")
        x, labels = self.data.train_x, self.data.train_labels
        self._train_with(torch.cat([x, x.new_tensor([point])]), torch.cat([labels, labels.new_tensor([y])]))
        self.changed.append(True)

    def move(self, label: int, point: tuple[float, float]) -> None:
        """Move a labelled point.

        Args:
            label: Its number, in the order of ``data.labelled_index``.
            point: Where to, in the units of the data.

        Raises:
            ValueError: If there is no such label, the point is not on the plane, or the model cannot be trained
                further.
        """
        self._checked(point)
        if not 0 <= label < len(self.changed):
            raise ValueError(f"label: expected the number of one of {len(self.changed)} labels; got {label}.")
        x = self.data.train_x.clone()
        x[self.data.labelled_index[label]] = x.new_tensor(point)
        self._train_with(x, self.data.train_labels)
        self.changed[label] = True

    def advance(self) -> float | None:
        """Train the next 20 steps; return the mean of J / N over them in nats, None if no step is left.

        Raises:
            ValueError: If J / N is no longer finite; the run's model and labels are then back.
        """
        if self._continuation is None or not self._continuation.num_left:
            return None
        try:
            return self._continuation.advance(STEPS_AT_ONCE)
        except FloatingPointError as error:
            self.undo()
            raise ValueError(f"{error} The trained run is back.") from error

    def _checked(self, point: tuple[float, float]) -> VectorData:
        """Refuse a point outside of the plane; return the run's data."""
        assert isinstance(self.run.data, VectorData)
        limits = plane_limits(self.run.data)
        if not all(low <= value <= high for value, (low, high) in zip(point, limits, strict=True)):
            ranges = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in limits)
            raise ValueError(f"point: expected one on the plane, {ranges}; got {point[0]:.3g} and {point[1]:.3g}.")
        return self.run.data

    def _train_with(self, x: Tensor, labels: Tensor) -> None:
        """Take other points and labels, keep the standardisation and all else, and begin to train with them."""
        data = copy.copy(self.data)
        data.train_x, data.train_labels = x, labels
        assert self.run.recipe is not None
        self._continuation = Continuation(self.model, data, self.run.recipe, STEPS)
        self.data = data
