"""A run on points or on a table to explore: all that the page requests, without HTTP."""

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ssvae.data import VectorData
from ssvae.inference.explorer.explorer import ExploredRun, Explorer
from ssvae.inference.explorer.plane import Regions, Relabelling, contours_of, is_plane, plane_limits, regions_of
from ssvae.inference.explorer.rows import (
    Column,
    RowAnswer,
    answer_row,
    check_row,
    columns_of,
    sample_rows,
)
from ssvae.inference.runs.run import Run

MOST_POINTS = 2000
"""The largest number of unlabelled points that are drawn."""


class VectorExplorer(ExploredRun):
    """A run on vectors: points in the plane, whose labels can be changed, or rows of a table.

    Args:
        run: The run, with its data.
        num_samples: The number of importance samples for each class.
    """

    def __init__(self, run: Run, *, num_samples: int = 50) -> None:
        super().__init__(run, num_samples=num_samples)
        assert isinstance(run.data, VectorData)
        self.data = run.data
        self.relabelling = Relabelling(run)

    @property
    def view(self) -> str:
        """The view of the page: "plane" for two real features, else "row"."""
        return "plane" if is_plane(self.data) else "row"

    @cached_property
    def columns(self) -> list[Column]:
        """The features, as fields of a form."""
        return columns_of(self.data)

    @cached_property
    def takes_missing(self) -> bool:
        """Whether a field of the form may be empty."""
        return self.run.model.likelihood.admits_missing

    @property
    def limits(self) -> list[tuple[float, float]]:
        """The range of each feature that the plane shows."""
        return plane_limits(self.data)

    @property
    def unlabelled(self) -> Tensor:
        """Unlabelled training points, at most 2000, in the units of the data."""
        return self.data.train_x[self.data.some_unlabelled(MOST_POINTS)]

    def answer(self, values: Sequence[float | None]) -> RowAnswer:
        """Return the predictions for the values of a form; see `ssvae.inference.explorer.rows.answer_row`."""
        model = self.relabelling.model
        return answer_row(model, self.data, check_row(model, self.data, values), num_samples=self.num_samples)

    def regions(self) -> Regions:
        """Return q(y|x) over the plane; see `ssvae.inference.explorer.plane.regions_of`."""
        return regions_of(self.relabelling.model, self.data)

    def contours(self) -> list[Tensor]:
        """Return contours of p(x); see `ssvae.inference.explorer.plane.contours_of`."""
        return contours_of(self.relabelling.model, self.data, self.num_samples)

    def sample(self, y: int, number: int, seed: int) -> Tensor:
        """Sample rows of a class; see `ssvae.inference.explorer.rows.sample_rows`."""
        return sample_rows(self.relabelling.model, self.data, y, number, seed)

    def warm_up(self) -> None:
        """Compute one answer, since the first takes longer."""
        self.answer([column.value for column in self.columns])


def explorer_of(run: Run, *, num_samples: int = 50) -> Explorer | VectorExplorer:
    """Return the explorer of a run: `VectorExplorer` if its data are vectors, else `Explorer`.

    Args:
        run: The run, with its data.
        num_samples: The number of importance samples for each class.

    Raises:
        ValueError: If the run was loaded without its data.
    """
    kind = VectorExplorer if isinstance(run.data, VectorData) else Explorer
    return kind(run, num_samples=num_samples)
