"""Reading the cells of a table as text, from CSV and Parquet files."""

import csv as comma_separated
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssvae.data.columns import is_number

_DELIMITERS = (",", ";", "\t", "|")


class Cells(NamedTuple):
    """A table as text.

    Attributes:
        columns: The cells of each column, by its name, without surrounding spaces.
        num_rows: The number of rows, without the heading.
    """

    columns: dict[str, list[str]]
    num_rows: int


def read_cells(file: Path) -> Cells:
    """Read a table whose first row has the names of the columns.

    Args:
        file: A Parquet file (.parquet, .pq), or a text file in UTF-8 with a comma, semicolon, tab or | between cells.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If it is a Parquet file and pyarrow is not installed.
        ValueError: If it is no table with a heading and two columns or more of different names.
    """
    if not file.is_file():
        raise FileNotFoundError(f"file: expected a table; got {str(file)!r}, which is not a file.")
    names, rows = _parquet(file) if file.suffix.lower() in (".parquet", ".pq") else _text(file)
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
    return Cells(columns, len(rows))


def _text(file: Path) -> tuple[list[str], list[list[str]]]:
    # Imported here to keep `import ssvae.data` fast.
    import pandas as pd

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = next((line for line in lines if line.strip(",;|\t \r\n")), "")
            widths = {sign: len(next(comma_separated.reader([first], delimiter=sign), [])) for sign in _DELIMITERS}
        cells = pd.read_csv(
            file,
            sep=max(widths, key=lambda sign: widths[sign]),
            header=None,
            # As text: as a number 01 would become 1, and a column with gaps would become 1.0.
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            engine="python",
        )
    except pd.errors.EmptyDataError:
        return [], []
    except (UnicodeDecodeError, comma_separated.Error, pd.errors.ParserError) as error:
        raise ValueError(f"file: expected a table in UTF-8 in {str(file)!r}; got: {error}.") from error
    width = cells.shape[1]
    # Only where a row is shorter than the first is a cell missing, and not text.
    short = cells.isna().any(axis=1)
    if short.any():
        number = int(short.to_numpy().argmax())
        came = int(cells.iloc[number].notna().sum())
        raise ValueError(f"file: expected {width} cells in each row, as in the heading; got {came} in row {number}.")
    names, *rows = [[str(cell).strip() for cell in row] for row in cells.to_numpy().tolist()]
    return names, rows


def _parquet(file: Path) -> tuple[list[str], list[list[str]]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(file)
    except ImportError as error:
        raise ImportError("file: expected pyarrow for a Parquet file; got none: pip install pyarrow.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"file: expected a Parquet file; got {str(file)!r}, which is damaged.") from error
    columns = [_as_text(frame.iloc[:, number].astype(object).tolist()) for number in range(frame.shape[1])]
    return [str(name) for name in frame.columns], [list(row) for row in zip(*columns, strict=True)]


def _as_text(values: Sequence[object]) -> list[str]:
    """Return numbers as they are written in full, and missing values as empty text."""
    # Missing values of pandas are equal to nothing, or are of a type whose truth is an error.
    missing = [value is None or type(value).__name__ in ("NAType", "NaTType") or value != value for value in values]
    return ["" if absent else str(value).strip() for absent, value in zip(missing, values, strict=True)]
