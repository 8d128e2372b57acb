"""Reading the cells of a table as text, from CSV and Parquet files."""

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ssvae.data.columns import is_number

_MARK = "\ufeff"
_DELIMITERS = (",", ";", "\t", "|")


class Form(NamedTuple):
    """How a text file writes a table.

    Attributes:
        delimiter: The sign between cells.
        line_end: The end of each line.
        mark: The byte order mark at the beginning of the file, or "".
    """

    delimiter: str = ","
    line_end: str = "\n"
    mark: str = ""


class Cells(NamedTuple):
    """A table as text.

    Attributes:
        columns: The cells of each column, by its name, without surrounding spaces.
        num_rows: The number of rows, without the heading.
        form: How the file writes them; that of CSV for a Parquet file.
    """

    columns: dict[str, list[str]]
    num_rows: int
    form: Form


def read_cells(file: Path) -> Cells:
    """Read a table whose first row has the names of the columns.

    Args:
        file: A Parquet file (.parquet, .pq), or a text file with a comma, semicolon, tab or | between cells, in UTF-8,
            or in UTF-16 with a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If it is a Parquet file and pyarrow is not installed.
        ValueError: If it is no table with a heading and two columns or more of different names.
    """
    if not file.is_file():
        raise FileNotFoundError(f"file: expected a table; got {str(file)!r}, which is not a file.")
    names, rows, form = _parquet(file) if file.suffix.lower() in (".parquet", ".pq") else _text(file)
    if not rows:
        raise ValueError(f"file: expected a heading and rows below it; got none in {str(file)!r}.")
    if len(names) == 1:
        raise ValueError(
            f"file: expected columns with a comma, semicolon, tab or | between them; got one column {names[0]!r}."
        )
    if 2 * sum(map(is_number, names)) >= len(names):
        raise ValueError(f"file: expected a first row of column names; got {', '.join(map(repr, names[:4]))}.")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"file: expected columns of different names; got {repeated[0]!r} twice or more.")
    columns = {name: [row[number] for row in rows] for number, name in enumerate(names)}
    return Cells(columns, len(rows), form)


def write_cells(columns: Mapping[str, Sequence[str]], form: Form) -> str:
    """Return a table as text.

    Args:
        columns: The cells of each column, by its name.
        form: How they are written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=form.delimiter, lineterminator=form.line_end)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return form.mark + text.getvalue()


def _text(file: Path) -> tuple[list[str], list[list[str]], Form]:
    marked = _decoded(file)
    text = marked.removeprefix(_MARK)
    first = next((line for line in text.splitlines() if line.strip(",;|\t ")), "")
    widths = {sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in _DELIMITERS}
    line_end = re.search(r"\r\n|\r|\n", text)
    form = Form(
        max(widths, key=lambda sign: widths[sign]),
        line_end[0] if line_end else "\n",
        _MARK if marked.startswith(_MARK) else "",
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter, strict=True)
    rows: list[list[str]] = []
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if len(cells) > 1 or any(cells):  # not a blank line
                if rows and len(cells) != len(rows[0]):
                    raise ValueError(
                        f"file: expected {len(rows[0])} cells in each row, as in the heading; got {len(cells)} in line "
                        f"{line} of {str(file)!r}."
                    )
                rows.append(cells)
            line = reader.line_num + 1
    except csv.Error as error:
        what = "quotation marks in pairs" if "unexpected end" in str(error) else "cells as in CSV"
        raise ValueError(
            f"file: expected {what}; got others in the row that begins in line {line} of {str(file)!r} ({error})."
        ) from error
    return (rows[0], rows[1:], form) if rows else ([], [], form)


def _decoded(file: Path) -> str:
    """Return the text of a file in UTF-8 or UTF-16, with its byte order mark.

    Raises:
        ValueError: If it is in another encoding.
    """
    content = file.read_bytes()
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _MARK + content.decode("utf-16")  # as spreadsheets write "Unicode text"
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"file: expected a table in UTF-8 in {str(file)!r}; got another encoding, as line {line} shows: save it "
            'anew as "CSV UTF-8".'
        ) from error


def _parquet(file: Path) -> tuple[list[str], list[list[str]], Form]:
    import pandas as pd

    try:
        frame = pd.read_parquet(file)
    except ImportError as error:
        raise ImportError("file: expected pyarrow for a Parquet file; got none: pip install pyarrow.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"file: expected a Parquet file; got {str(file)!r}, which is damaged.") from error
    columns = [_as_text(frame.iloc[:, number].astype(object).tolist()) for number in range(frame.shape[1])]
    return [str(name) for name in frame.columns], [list(row) for row in zip(*columns, strict=True)], Form()


def _as_text(values: Sequence[object]) -> list[str]:
    """Return numbers as they are written in full, and missing values as empty text."""
    # Missing values of pandas are equal to nothing, or are of a type whose truth is an error.
    missing = [value is None or type(value).__name__ in ("NAType", "NaTType") or value != value for value in values]
    return ["" if absent else str(value).strip() for absent, value in zip(missing, values, strict=True)]
