"""Vectors from arrays and DataFrames in memory."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ssvae.data.classes import check_range
from ssvae.data.labels import check_count, draw_labels
from ssvae.data.new_classes import number_known_classes
from ssvae.data.pixels import Array
from ssvae.data.rows import read_rows
from ssvae.data.vector_data import VectorData


class Vectors(VectorData):
    """Rows of numbers and their labels from numpy arrays, tensors, lists or pandas DataFrames.

    Rows are (N, features): real numbers, counts or booleans; NaN, None and masked entries are missing, infinity is
    refused. They are stored as float32 and standardised by
    the training rows, see `VectorData`. Labels are numbers or names of classes; -1, NaN or None for unlabelled rows.
    Columns of words are refused: write them as numbers. Ambiguous input is refused with a sentence that says what to
    write.

    Everything is copied. Labels that ``num_labels`` hides are not stored.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> from ssvae.data import Vectors
        >>> x, y = load_wine(return_X_y=True, as_frame=True)
        >>> data = Vectors(x[::2], y[::2], test_x=x[1::2], test_y=y[1::2], num_labels=15)
        >>> data.num_labelled, data.num_unlabelled, data.event_shape, data.feature_names[:2]
        (15, 74, (13,), ('alcohol', 'malic_acid'))

    Args:
        x: Training rows.
        y: Classes (N,) or (N, 1): integers, whole floats, booleans, or names; or (N, K) with one 1 in each row. -1,
            NaN, None, "" or "unlabelled" for unlabelled rows.
        test_x: Test rows, with the same features; None for none.
        test_y: Classes (N_t,), all known; None for none.
        validation_x: Validation rows, with the same features; None for none.
        validation_y: Classes (N_v,), all known; None for none.
        feature_names: The names of the features. Default: the columns of a DataFrame, or x0, x1, …
        class_names: The names of the classes. Default: the names or numbers that occur; numbers are "0" … up to the
            highest label, or "1" … if no label is 0.
        num_labels: The number of training rows that keep their label; None for all that have one, 0 for none.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share; of no effect if
            ``num_labels`` is None.
        seed: The random seed of the choice of labelled rows.
        standardise: Whether ``preprocess`` standardises; otherwise a model gets rows as they are.
        num_new_classes: The number of further classes, of which no training row has a label: a guess, if it is not
            known. A model calls them "new 1", "new 2", …

    Raises:
        TypeError: If an argument does not convert to an array of the type stated.
        ValueError: If shapes, lengths, numbers or labels are not as stated, or are ambiguous.
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        *,
        test_x: Array | None = None,
        test_y: Array | None = None,
        validation_x: Array | None = None,
        validation_y: Array | None = None,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        num_labels: int | None = None,
        balanced: bool = True,
        seed: int = 0,
        standardise: bool = True,
        num_new_classes: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        parts = {"x": (x, y), "validation_x": (validation_x, validation_y), "test_x": (test_x, test_y)}
        given_labels: dict[str, Array] = {}
        for argument, (rows, labels) in parts.items():
            names = {"rows": argument, "labels": argument.replace("x", "y")}
            if (rows is None) != (labels is None):
                given, absent = ("labels", "rows") if rows is None else ("rows", "labels")
                raise ValueError(f"{names[absent]}: expected values as {names[given]} is given; got None.")
            if labels is not None:
                _check_alignment(names["rows"], rows, names["labels"], labels)
                given_labels[names["labels"]] = labels
        train = read_rows("x", x)
        others = {
            argument: None if rows is None else read_rows(argument, rows, train).x
            for argument, (rows, _) in parts.items()
            if argument != "x"
        }
        numbered, class_names, hidden = number_known_classes(given_labels, class_names, num_new_classes)
        check_range(numbered, len(class_names) + len(hidden), "row")
        if len(train.x) != len(numbered["y"]):
            raise ValueError(f"y: expected {len(train.x)} labels, one for each row; got {len(numbered['y'])}.")
        super().__init__(
            "Vectors",
            train.x,
            draw_labels(numbered["y"], num_labels, len(class_names), balanced=balanced, seed=seed),
            class_names=class_names,
            validation_x=others["validation_x"],
            validation_labels=numbered.get("validation_y"),
            test_x=others["test_x"],
            test_labels=numbered.get("test_y"),
            feature_names=train.names if feature_names is None else feature_names,
            standardise=standardise,
            num_new_classes=num_new_classes,
            hidden_class_names=hidden,
        )
        self.num_labels = num_labels
        self.balanced = balanced
        self.seed = seed

    @property
    def x(self) -> Tensor:
        """The training rows, float32 (N, features)."""
        return self.train_x

    @property
    def y(self) -> Tensor:
        """The training labels, int64 (N,), -1 for unlabelled rows."""
        return self.train_labels

    @property
    def validation_y(self) -> Tensor:
        """The validation labels, int64 (N_v,)."""
        return self.validation_labels

    @property
    def test_y(self) -> Tensor:
        """The test labels, int64 (N_t,)."""
        return self.test_labels


def _check_alignment(rows_argument: str, rows: Any, labels_argument: str, labels: Any) -> None:  # noqa: ANN401
    """Refuse labels that are a column of the rows, and a Series whose rows are in another order."""
    name = getattr(labels, "name", None)
    if name is not None and name in getattr(rows, "columns", ()):
        raise ValueError(
            f"{rows_argument}: expected features without the label; got the column {name!r}, which is "
            f"{labels_argument}: write {rows_argument}.drop(columns={name!r})."
        )
    if not (_is_pandas(rows) and _is_pandas(labels)) or rows.index.equals(labels.index):
        return
    if set(rows.index) == set(labels.index):
        raise ValueError(
            f"{labels_argument}: expected the rows in the order of {rows_argument}; got another order of its index: "
            f"write {labels_argument}.loc[{rows_argument}.index]."
        )


def _is_pandas(values: Any) -> bool:  # noqa: ANN401
    return hasattr(getattr(values, "index", None), "sort_values")
