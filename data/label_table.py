"""Reading tables of files and labels."""

import csv as comma_separated
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssvae.data.class_names import PARTS, class_of, whole_numbers
from ssvae.data.image_files import SUFFIXES

# Headings, without spaces and signs.
_FILE = {
    *("file", "files", "filename", "filenames", "filepath", "filepaths", "path", "paths", "picture", "photo"),
    *("image", "images", "imagefile", "imagename", "imagepath", "imagepaths", "img", "imgname", "imgpath"),
}
_LABEL = {
    *("label", "labels", "class", "classes", "category", "categories", "target", "targets", "y"),
    *("classname", "classlabel", "labelname", "categoryname"),
}
_PART = {"split", "subset", "set", "dataset", "partition"}
_INDEX = re.compile(r"(unnamed[\d]*|index|)")
_DELIMITERS = (",", ";", "\t", "|")


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: The number of the line, from 1.
        file: The file's name as it is written.
        class_name: The class; None for an unlabelled image.
        part: "train", "validation" or "test"; None if the table has no such column.
    """

    line: int
    file: str
    class_name: str | None
    part: str | None


class _Columns(NamedTuple):
    file: int
    label: int
    part: int | None


def read_table(table: Path, file_column: str | None, label_column: str | None) -> list[Row]:
    """Read a table of files and labels; its delimiter, heading and columns are detected.

    Args:
        table: The path of a text file in UTF-8.
        file_column: The heading of the column of files; None to find it.
        label_column: The heading of the column of labels; None to find it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no table, or is ambiguous.
    """
    rows = _cells(table)
    if not rows:
        raise ValueError(f"csv: expected at least one row with a label in {str(table)!r}; got an empty file.")
    columns, has_heading = _find_columns(rows, file_column, label_column)
    body = rows[has_heading:]
    needed = max(columns.file, columns.label)
    for line, row in body:
        if len(row) <= needed:
            raise ValueError(
                f"csv: expected {needed + 1} cells or more, a file and a label, in line {line}; got {','.join(row)!r}."
            )
    labels = [row[columns.label] for _, row in body]
    if {label.removesuffix(".0").removeprefix("+") for label in labels} == {"-1", "1"}:
        raise ValueError(
            "csv: expected two classes or more; got the labels -1 and 1, of which -1 marks unlabelled images; "
            "write 0 and 1 for two classes."
        )
    names = [class_of(label, "csv", in_table=True) for label in labels]
    written = whole_numbers(name for name in names if name is not None)
    return [
        Row(line, row[columns.file], None if name is None else written.get(name, name), _part(row, columns))
        for (line, row), name in zip(body, names, strict=True)
    ]


def _part(row: Sequence[str], columns: _Columns) -> str | None:
    return None if columns.part is None or columns.part >= len(row) else PARTS.get(row[columns.part].casefold())


def _cells(table: Path) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with its line number; a short row has fewer cells."""
    # Imported here to keep `import ssvae.data` fast.
    import pandas as pd

    if not table.is_file():
        raise FileNotFoundError(f"csv: expected a table of files and labels; got {str(table)!r}, which is not a file.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            # Detect the delimiter from the first row that is not blank; pandas takes the number of columns from it too.
            content = list(lines)
            start = next((i for i, line in enumerate(content) if line.strip(",;|\t \r\n")), len(content))
            first = content[start] if start < len(content) else ""
            widths = {sign: len(next(comma_separated.reader([first], delimiter=sign), [])) for sign in _DELIMITERS}
            cells = pd.read_csv(
                io.StringIO("".join(content[start:])),
                sep=max(widths, key=lambda sign: widths[sign]),
                header=None,
                # As text: as a number 01 would become 1, and a column with gaps would become 1.0.
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
                engine="python",
            )
    except pd.errors.EmptyDataError:
        return []
    except (UnicodeDecodeError, comma_separated.Error, pd.errors.ParserError) as error:
        raise ValueError(f"csv: expected rows `file,label` in UTF-8 in {str(table)!r}; got: {error}.") from error
    rows = [
        [str(cell).strip() for cell, is_cut in zip(*pair, strict=True) if not is_cut]
        for pair in zip(cells.to_numpy(), cells.isna().to_numpy(), strict=True)
    ]
    width = max((i + 1 for row in rows for i, cell in enumerate(row) if cell), default=0)
    return [(line, row[: max(width, 2)]) for line, row in enumerate(rows, start + 1) if any(row)]


def _find_columns(
    rows: Sequence[tuple[int, Sequence[str]]], file_column: str | None, label_column: str | None
) -> tuple[_Columns, bool]:
    """Return the columns of files, labels and parts, and whether the first row is a heading."""
    line, first = rows[0]
    second = rows[1][1] if len(rows) > 1 else []
    names = [re.sub(r"[\W_]+", "", cell.casefold()) for cell in first]
    is_named = bool({*names} & (_FILE | _LABEL)) or file_column is not None or label_column is not None
    has_heading = not any(map(_is_image, first)) and (is_named or any(map(_is_image, second)))
    if not has_heading:
        names = ["index" if _counts(rows, column) else "no heading" for column in range(len(first))]
    sample = second if has_heading else first
    columns = range(len(first))

    def ask(what: str, option: str) -> ValueError:
        remedy = f"name the column ({option}=...)" if has_heading else "add a first row of headings, `file` and `label`"
        columns_or_row = ", ".join(map(repr, first)) if has_heading else repr(",".join(first))
        where = "; got the columns" if has_heading else f"; got no heading, and in line {line}"
        return ValueError(f"csv: expected one column of {what}{where} {columns_or_row}; {remedy}.")

    def choose(what: str, option: str, named: str | None, criteria: Sequence[Callable[[int], bool]]) -> int:
        if named is not None:
            matches = [column for column in columns if first[column].casefold() == named.strip().casefold()]
            if not has_heading or len(matches) != 1:
                raise ValueError(f"{option}: expected one of the table's headings, {', '.join(first)}; got {named!r}.")
            return matches[0]
        for is_suitable in criteria:
            matches = [column for column in columns if is_suitable(column)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                break
        raise ask(what, option)

    def is_file(column: int) -> bool:
        return column < len(sample) and _is_image(sample[column])

    file = choose(
        "files",
        "file_column",
        file_column,
        [
            lambda column: names[column] in _FILE and is_file(column),
            lambda column: names[column] in _FILE,
            is_file,
            # Files without a suffix, in a table of nothing else.
            lambda column: column == 0 and len(first) == 2 and not has_heading,
        ],
    )
    parts = [column for column in columns if has_heading and names[column] in _PART and _are_parts(rows[1:], column)]
    others = [column for column in columns if column != file and column not in parts]
    label = choose(
        "labels",
        "label_column",
        label_column,
        [
            lambda column: column in others and names[column] in _LABEL,
            lambda column: column in others and not _INDEX.fullmatch(names[column]),
            lambda column: column in others and len(others) == 1,
        ],
    )
    return _Columns(file, label, parts[0] if len(parts) == 1 else None), has_heading


def _is_image(cell: str) -> bool:
    return Path(cell).suffix.lower() in SUFFIXES


def _counts(rows: Sequence[tuple[int, Sequence[str]]], column: int) -> bool:
    """Return whether the first of three or more columns counts the rows, from 0 or from 1."""
    cells = [row[column] for _, row in rows if column < len(row)]
    return column == 0 < len(rows[0][1]) - 2 and any(
        cells == [str(start + i) for i in range(len(rows))] for start in (0, 1)
    )


def _are_parts(rows: Sequence[tuple[int, Sequence[str]]], column: int) -> bool:
    return {row[column].casefold() for _, row in rows if column < len(row)} - {""} <= PARTS.keys()
