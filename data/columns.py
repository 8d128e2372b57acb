"""Reading a column of a table: its kind, and its values as numbers."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssvae.data.class_names import check_distinct, is_missing, whole_numbers

KINDS = ("real", "count", "binary", "categorical")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LEADING_ZERO = re.compile(r"0\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([,.' \u00a0\u202f])\d{3}(?:\1\d{3})*(?:\.\d+)?")
"""Numbers with a sign between groups of three digits: 1,250 or 1.250.000."""
_UNIT = re.compile(r"([$€£¥]?) ?([+-]?\d+(?:\.\d+)?) ?([^\d\s.,+-]\D*)?")
_MARK_OF_MISSING = re.compile(r"-99+(?:\.0*)?")
_FEWEST_WITH_UNIT = 3
"""Two different numbers with a unit may be the names of two groups."""

_MOST_CATEGORIES = 50
_SMALLEST_COUNT = 10
"""Counts begin near 0; whole numbers that do not, such as years and weights in grams, are measurements."""


class NoFeatureError(ValueError):
    """A column that tells nothing, and is to be left out.

    Args:
        name: The name of the column.
        expected: What a feature has: "an entry".
        got: What the column has: "none".
    """

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(f"file: expected {expected} in column {name!r}; got {got}")
        self.name, self.got = name, got


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
        kind: "real", "count", "binary" or "categorical".
        values: float64 (N,); codes from 0 if the column is binary or categorical; NaN where a cell is missing.
        categories: The names of the codes; empty if the column is real or a count.
    """

    kind: str
    values: npt.NDArray[np.float64]
    categories: tuple[str, ...]


def is_number(cell: str) -> bool:
    """Return whether a cell is a finite number, in the notation of Python and of every spreadsheet in English."""
    return _NUMBER.fullmatch(cell) is not None


def read_column(name: str, cells: Sequence[str], kind: str | None) -> Column:
    """Return a column's kind and values.

    Args:
        name: The name of the column, for error messages.
        cells: The cells; empty ones, and words for a missing value as pandas reads it, are missing.
        kind: The kind; None to recognise it.

    Raises:
        NoFeatureError: If all cells are missing or the same text, or they are different texts without end.
        ValueError: If the cells are not of the kind, or it is not clear what they are.
    """
    cells = _without_words_for_missing(cells)
    if not any(cells):
        raise NoFeatureError(name, "an entry", "none")
    if kind is None:
        kind = _recognise(name, cells)
    if kind in ("real", "count"):
        return Column(kind, _numbers(name, cells, kind), ())
    written = whole_numbers(cells)
    texts = [written.get(cell, cell) for cell in cells]
    categories = sorted(set(texts) - {""}, key=lambda text: (float(text) if is_number(text) else np.inf, text))
    check_distinct(categories, f"file, column {name!r}")
    expected = "two categories" if kind == "binary" else "two categories or more"
    if len(categories) == 1:
        raise NoFeatureError(name, expected, f"{categories[0]!r} alone")
    if kind == "binary" and len(categories) > 2:
        raise ValueError(f"file: expected {expected} in column {name!r}; got {_some(categories)}.")
    return Column(kind, _codes(texts, categories), tuple(categories))


def encode_column(name: str, cells: Sequence[str], like: Column) -> npt.NDArray[np.float64]:
    """Return the values of further cells of a column.

    Args:
        name: The name of the column, for error messages.
        cells: The cells; some may be missing.
        like: The column, whose kind and codes they have.

    Raises:
        ValueError: If a cell is not of the kind, or its category is none of the column's.
    """
    cells = _without_words_for_missing(cells)
    if like.kind in ("real", "count"):
        return _numbers(name, cells, like.kind)
    written = whole_numbers(cells)
    texts = [written.get(cell, cell) for cell in cells]
    unknown = next((number for number, text in enumerate(texts) if text and text not in like.categories), None)
    if unknown is not None:
        raise ValueError(
            f"file: expected {', '.join(map(repr, like.categories))} in column {name!r}, as in the table of the "
            f"training; got {cells[unknown]!r} in row {unknown + 1}."
        )
    return _codes(texts, like.categories)


def _without_words_for_missing(cells: Sequence[str]) -> list[str]:
    """Return the cells, with "" for each that is missing."""
    return ["" if is_missing(cell) else cell for cell in cells]


def _codes(texts: Sequence[str], categories: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the place of each text among the categories, NaN for ""."""
    codes = {"": np.nan} | {category: float(code) for code, category in enumerate(categories)}
    return np.array([codes[text] for text in texts])


def counts_the_rows(cells: Sequence[str]) -> bool:
    """Return whether cells are 0, 1, 2, … or 1, 2, 3, …, which tell nothing but the number of the row."""
    return len(cells) > 2 and any(list(cells) == [str(i) for i in range(s, s + len(cells))] for s in (0, 1))


def _recognise(name: str, cells: Sequence[str]) -> str:
    seen = [cell for cell in cells if cell]
    different = sorted(set(seen))
    numbers = [cell for cell in different if is_number(cell)]
    # Codes, such as 01067: their first digit would be lost.
    if len(numbers) == len(different) and not any(map(_LEADING_ZERO.fullmatch, numbers)):
        values = [float(cell) for cell in numbers]
        if set(values) == {0.0, 1.0}:
            return "binary"
        marks = [cell for cell in numbers if _MARK_OF_MISSING.fullmatch(cell)]
        if marks and len(numbers) > 2 and all(float(cell) >= 0 for cell in numbers if cell not in marks):
            raise ValueError(
                f"file: expected empty cells where entries are missing in column {name!r}; got {marks[0]!r}, where all "
                f"other numbers are 0 or more: empty them, or write kinds={{{name!r}: 'real'}} if it is a number."
            )
        is_whole = all(re.fullmatch(r"\+?\d+", cell) for cell in numbers)
        return "count" if is_whole and min(values) < _SMALLEST_COUNT else "real"
    if len(numbers) < len(different) and all(_THOUSANDS.fullmatch(cell) or is_number(cell) for cell in different):
        raise ValueError(_grouped(name, next(cell for cell in different if not is_number(cell))))
    if numbers and 2 * sum(map(is_number, seen)) > len(seen) > sum(map(is_number, seen)):
        row = next(number for number, cell in enumerate(cells) if cell and not is_number(cell))
        raise ValueError(
            f"file: expected numbers in column {name!r}, as most of its cells are; got {cells[row]!r} in row "
            f"{row + 1}: mend it, or write kinds={{{name!r}: 'categorical'}}."
        )
    if all(_DECIMAL_COMMA.fullmatch(cell) or is_number(cell) for cell in different) and len(numbers) < len(different):
        comma = next(cell for cell in different if _DECIMAL_COMMA.fullmatch(cell))
        raise ValueError(
            f"file: expected numbers with a decimal point in column {name!r}; got {comma!r}: write "
            f"{comma.replace(',', '.')}, or kinds={{{name!r}: 'categorical'}} if it is a name."
        )
    if (number := _without_unit(different)) is not None:
        raise ValueError(
            f"file: expected numbers without a unit in column {name!r}; got {different[0]!r}: write {number}, or "
            f"kinds={{{name!r}: 'categorical'}} if it is a name."
        )
    if len(different) > _MOST_CATEGORIES:
        raise NoFeatureError(
            name,
            f"numbers or at most {_MOST_CATEGORIES} categories",
            f"{len(different)} different texts, such as {different[0]!r}",
        )
    return "binary" if len(different) == 2 else "categorical"


def _without_unit(different: Sequence[str]) -> str | None:
    """Return the number in the first of some texts if all are numbers with the same unit; None if they are not."""
    matches = [match for match in map(_UNIT.fullmatch, different) if match]
    units = {(match[1], match[3]) for match in matches}
    if len(matches) < len(different) or len(units) > 1 or ("", None) in units or len(different) < _FEWEST_WITH_UNIT:
        return None
    return str(matches[0][2])


def _grouped(name: str, cell: str) -> str:
    """Return the message for a number with signs between its thousands."""
    sign = _THOUSANDS.fullmatch(cell)[1]  # type: ignore[index]
    decimal = f", {cell.replace(',', '.')} if the comma is a decimal one" if _DECIMAL_COMMA.fullmatch(cell) else ""
    return (
        f"file: expected numbers without signs between thousands in column {name!r}; got {cell!r}: write "
        f"{cell.replace(sign, '')}{decimal}, or kinds={{{name!r}: 'categorical'}} if it is a name."
    )


def _numbers(name: str, cells: Sequence[str], kind: str) -> npt.NDArray[np.float64]:
    wrong = next((number for number, cell in enumerate(cells) if cell and not is_number(cell)), None)
    if wrong is not None:
        raise ValueError(
            f"file: expected numbers in column {name!r}, whose kind is {kind!r}; got {cells[wrong]!r} in row "
            f"{wrong + 1}."
        )
    values = np.array([float(cell) if cell else np.nan for cell in cells])
    no_count = (values < 0) | (np.isfinite(values) & (values != np.rint(values)))
    if kind == "count" and no_count.any():
        wrong = int(no_count.argmax())
        raise ValueError(
            f"file: expected whole numbers of 0 or more in column {name!r}, whose kind is 'count'; got "
            f"{cells[wrong]!r} in row {wrong + 1}."
        )
    return values


def _some(values: Sequence[str]) -> str:
    return ", ".join(map(repr, values[:4])) + (f", … ({len(values)} in all)" if len(values) > 4 else "")
