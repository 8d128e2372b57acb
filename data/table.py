"""Tables from CSV and Parquet files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ssvae.data.cells import Cells, read_cells, write_cells
from ssvae.data.class_names import class_of, is_missing, whole_numbers
from ssvae.data.columns import KINDS, Column, NoFeatureError, counts_the_rows, encode_column, is_number, read_column
from ssvae.data.labels import check_count, check_fractions, draw_labels, split, validation_share
from ssvae.data.new_classes import number_known_classes
from ssvae.data.rows import narrow
from ssvae.data.vector_data import VectorData

_MOST_NUMBERED_CLASSES = 50
"""More different numbers with gaps between them are a measurement, and not the numbers of classes."""

_MOST_LONE_CLASSES = 20
"""More different labels than half of the labelled rows are classes only if they are at most so many."""


class Table(VectorData):
    """A table of rows with a column of labels, from a CSV or Parquet file.

    The first row has the names of the columns. Every other column than the label becomes a feature of a kind that is
    recognised by its cells:

    * binary: 0 and 1, or two texts;
    * count: whole numbers of 0 or more, the smallest below 10;
    * real: other numbers; standardised by the training rows, see `VectorData`, as no other kind is;
    * categorical: other texts, at most 50 different ones, and numbers with leading zeros, such as postcodes.

    Categories are stored as codes 0, 1, … in alphabetical order; ``feature_categories`` has their names. A cell that is
    empty, or a word that pandas reads as a missing value, such as NA, is a missing entry of a feature, NaN. Rows with
    such a label are unlabelled. What may mean something else than it seems to is refused
    with a sentence that says what to write.

    Args:
        file: The path of a text file in UTF-8 with a comma, semicolon, tab or | between cells, or of a Parquet file
            (.parquet, .pq), which needs pyarrow.
        label: The name of the column of labels.
        kinds: The kinds of columns that are not as recognised, ``{"year": "categorical"}``.
        ignore: The names of columns to leave out.
        num_labels: The number of training rows that keep their label; None for all that have one, 0 for none.
        validation_fraction: The share of labelled rows set apart for validation, at least 0 and below 1. None for 0 if
            there are fewer than 1,000 labelled rows and ``num_labels`` is None, otherwise for 0.1.
        test_fraction: The share of labelled rows set apart for testing, at least 0 and below 1.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share; of no effect if
            ``num_labels`` is None.
        seed: The random seed of the choice of labelled rows.
        standardise: Whether ``preprocess`` standardises real features.
        num_new_classes: The number of further classes, of which no row has a label: a guess, if it is not
            known. A model calls them "new 1", "new 2", …

    Raises:
        FileNotFoundError: If ``file`` does not exist.
        ImportError: If it is a Parquet file and pyarrow is not installed.
        TypeError: If a number is not an integer, or ``ignore`` is a string.
        ValueError: If the file is no table, a column is not what it seems to be or has no entry, or there are fewer
            labels than asked for.

    Attributes:
        feature_kinds: The kind of each feature.
        feature_categories: The names of the codes of each binary or categorical feature, by the feature's name.
        validation_fraction: The share as it was used, a number.
    """

    def __init__(
        self,
        file: str,
        label: str,
        *,
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        num_labels: int | None = None,
        validation_fraction: float | None = None,
        test_fraction: float = 0.2,
        balanced: bool = True,
        seed: int = 0,
        standardise: bool = True,
        num_new_classes: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        check_fractions(validation_fraction, test_fraction)
        if isinstance(ignore, str):
            raise TypeError(f"ignore: expected a list of column names; got {ignore!r}: write [{ignore!r}].")
        cells = read_cells(Path(file))
        features = _feature_cells(cells, label, ignore, kinds or {})
        classes = _classes(label, cells.columns[label], needs_labels=not num_new_classes)
        numbered, class_names, _ = number_known_classes(
            {"label": np.array(classes, dtype=object)}, None, num_new_classes
        )
        labels = numbered["label"]
        columns = _read_columns(features, kinds or {}, ignore)
        names = tuple(columns)
        x = narrow("file", np.stack([column.values for column in columns.values()], 1), names, first_row=1)
        num_known = int((labels >= 0).sum())
        validation_fraction = validation_share(validation_fraction, num_known, num_labels)
        kept, test = split(
            labels, round(test_fraction * num_known), len(class_names), argument="test_fraction", items="rows"
        )
        train, validation = split(
            labels[kept],
            round(validation_fraction * num_known),
            len(class_names),
            argument="validation_fraction",
            items="rows",
        )
        train, validation = kept[train], kept[validation]
        super().__init__(
            Path(file).stem,
            x[train],
            draw_labels(labels[train], num_labels, len(class_names), balanced=balanced, seed=seed),
            class_names=class_names,
            validation_x=x[validation],
            validation_labels=labels[validation],
            test_x=x[test],
            test_labels=labels[test],
            feature_names=names,
            feature_kinds=[column.kind for column in columns.values()],
            standardise=standardise,
            num_new_classes=num_new_classes,
        )
        self.feature_categories = {name: column.categories for name, column in columns.items() if column.categories}
        self.file = str(file)
        self.label = label
        self.kinds = None if kinds is None else dict(kinds)
        self.ignore = tuple(ignore)
        self.num_labels = num_labels
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.balanced = balanced
        self.seed = seed

    def read(self, file: str) -> Tensor:
        """Read the features of another file, such as one with new rows.

        Args:
            file: A table with a column for each of ``feature_names``; others are left out.

        Returns:
            Rows, float32 (N, features), with the codes of this table's categories, NaN where an entry is missing.

        Raises:
            FileNotFoundError: If ``file`` does not exist.
            ValueError: If a column is missing, or a category is new.
        """
        cells = read_cells(Path(file))
        absent = [name for name in self.feature_names if name not in cells.columns]
        if absent:
            raise ValueError(f"file: expected the columns of the table of the training; got no {absent[0]!r}.")
        features = {name: cells.columns[name] for name in self.feature_names}
        values = [
            encode_column(name, column, Column(kind, np.empty(0), self.feature_categories.get(name, ())))
            for (name, column), kind in zip(features.items(), self.feature_kinds, strict=True)
        ]
        return narrow("file", np.stack(values, 1), self.feature_names, check_rounding=False, first_row=1)

    def fill(self, file: str, x: Tensor) -> str:
        """Return another file as text, with its missing entries of features filled in.

        Args:
            file: A table as for ``read``. Its other columns, and all cells that are not missing, stay as they are.
            x: Rows (N, features) without missing entries, in the units of the table. A binary or categorical entry is
                written as the category whose code is nearest, a count as the nearest whole number.

        Returns:
            The table with the file's signs between cells, ends of lines and byte order mark; with commas if it is a
            Parquet file.

        Raises:
            FileNotFoundError, ValueError: As in ``read``.
            ValueError: If there is not a row for each of the file.
        """
        cells = read_cells(Path(file))
        if len(x) != cells.num_rows:
            raise ValueError(f"x: expected {cells.num_rows} rows, as the file has; got {len(x)}.")
        columns = dict(cells.columns)
        for name, kind, values in zip(self.feature_names, self.feature_kinds, x.T.tolist(), strict=True):
            written = (_written(value, kind, self.feature_categories.get(name, ())) for value in values)
            columns[name] = [
                new if is_missing(cell) else cell for cell, new in zip(columns[name], written, strict=True)
            ]
        return write_cells(columns, cells.form)

    def summary(self) -> str:
        """Return the summary of `Data.summary`, with the number of features of each kind."""
        first, *warnings = super().summary().splitlines()
        counts = [f"{self.feature_kinds.count(kind)} {kind}" for kind in KINDS if kind in self.feature_kinds]
        return "\n".join([f"{first} ({', '.join(counts)})", *warnings])


def _written(value: float, kind: str, categories: Sequence[str]) -> str:
    """Return the cell of a feature's value."""
    if categories:
        return categories[min(max(round(value), 0), len(categories) - 1)]
    return str(max(round(value), 0)) if kind == "count" else f"{value:.6g}"


def _feature_cells(cells: Cells, label: str, ignore: Sequence[str], kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the cells of the columns that are features."""
    columns = ", ".join(map(repr, cells.columns))
    for argument, names in {"label": [label], "ignore": ignore, "kinds": kinds}.items():
        for name in names:
            if name not in cells.columns:
                raise ValueError(f"{argument}: expected names of the columns {columns}; got {name!r}.")
    if label in ignore:
        raise ValueError(f"ignore: expected other columns than the label; got {label!r}.")
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ValueError(f"kinds: expected {', '.join(map(repr, KINDS))}; got {kind!r} for column {name!r}.")
        if name == label or name in ignore:
            raise ValueError(f"kinds: expected columns that are features; got {name!r}.")
    features = {name: column for name, column in cells.columns.items() if name != label and name not in ignore}
    if not features:
        raise ValueError(f"ignore: expected at least one column to stay beside the label; got {columns}.")
    return features


def _read_columns(
    features: Mapping[str, Sequence[str]], kinds: Mapping[str, str], ignore: Sequence[str]
) -> dict[str, Column]:
    """Read the columns of all features.

    Raises:
        ValueError: If one cannot be read. All columns that are to be left out are named at once.
    """
    columns: dict[str, Column] = {}
    useless: list[NoFeatureError] = []
    for name, cells in features.items():
        try:
            if name not in kinds and counts_the_rows(cells):
                raise NoFeatureError(name, "a feature", "the number of the row")
            columns[name] = read_column(name, cells, kinds.get(name))
        except NoFeatureError as error:
            useless.append(error)
    if useless:
        more = "".join(f", in {each.name!r} {each.got}" for each in useless[1:])
        those = [*ignore, *(each.name for each in useless)]
        raise ValueError(f"{useless[0]}{more}: leave {'them' if more else 'it'} out by ignore={those!r}.")
    return columns


def _classes(label: str, cells: Sequence[str], *, needs_labels: bool) -> list[str | None]:
    """Return the class of each row; None if it is unlabelled."""
    names = [class_of(cell, "label", in_table=True) for cell in cells]
    written = whole_numbers(name for name in names if name is not None)
    names = [None if name is None else written.get(name, name) for name in names]
    known = [name for name in names if name is not None]
    fraction = next((name for name in known if is_number(name) and float(name) % 1), None)
    if fraction is not None:
        raise ValueError(
            f"label: expected a column of classes; got {fraction} in {label!r}, which is a number: name another "
            "column, or write names for its ranges."
        )
    numbers = sorted(int(float(name)) for name in set(known) if is_number(name))
    if len(numbers) == len(set(known)) > _MOST_NUMBERED_CLASSES and numbers[-1] - numbers[0] >= 2 * len(numbers):
        raise ValueError(
            f"label: expected a column of classes; got {len(numbers)} different numbers from {numbers[0]} to "
            f"{numbers[-1]} in {label!r}, as a measurement has: name another column, or write names for its ranges."
        )
    if {cell.removesuffix(".0").removeprefix("+") for cell in cells} == {"-1", "1"}:
        raise ValueError(
            "label: expected two classes or more; got -1 and 1, of which -1 marks what is unlabelled; write 0 and 1 "
            "for two classes."
        )
    if not known and needs_labels:
        raise ValueError(
            f"label: expected a column with a label in some row; got {label!r}, which is empty: "
            "num_new_classes=3 looks for three classes that have no label, for example."
        )
    # A few labels among many rows may be one of each class. A column with a label in most rows, or of many, may not.
    if 2 * len(set(known)) > len(known) and (2 * len(known) > len(cells) or len(set(known)) > _MOST_LONE_CLASSES):
        raise ValueError(
            f"label: expected classes of several rows each; got {len(set(known))} different labels in {len(known)} "
            f"labelled rows of {label!r}, as identifiers and measurements have: name the column of classes, or label "
            "more rows of each class."
        )
    return names
