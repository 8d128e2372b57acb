"""Names that a user gives to the classes that nobody has labelled, kept in the run folder."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssvae.inference.nearest import hint
from ssvae.inference.storage.files import alone, write_atomically

_FILE = "class_names.json"
_NEW = r"new [1-9][0-9]*"


def named(folder: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a run's classes, with those that a user has given to new classes.

    Args:
        folder: The run folder.
        class_names: The names in training: "new 1" for a class that nobody has labelled.

    Raises:
        ValueError: If the file of the names is damaged.
    """
    given = _read(folder, class_names)
    return tuple(given.get(name, name) for name in class_names)


def rename(folder: Path, class_names: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Give names to classes that nobody has labelled, and keep them in the run folder.

    Nothing is written unless all names are right. The file is replaced as a whole, so that a failure loses no name.

    Args:
        folder: The run folder.
        class_names: The names in training.
        names: The new names by "new 1", or by the name that a class has been given already.

    Returns:
        The names of all classes.

    Raises:
        ValueError: If a class is not one that nobody has labelled, or a name is empty, not printable, or another
            class's.
        OSError: If the file cannot be written.
    """
    new = [name for name in class_names if re.fullmatch(_NEW, name)]
    if not new:
        raise ValueError("names: expected a run with classes that nobody has labelled; got one without.")
    # A run may be named in the explorer and by a command at the same time.
    with alone(folder / f"{_FILE}.rename.partial"):
        given = _read(folder, class_names)
        current = {given.get(name, name): name for name in new}
        for name, text in names.items():
            original = name if name in new else current.get(name)
            if original is None:
                shown = ", ".join(repr(each) for each in current)
                what = ", which has labels" if name in class_names else ""
                raise ValueError(f"names: expected one of {shown}; got {name!r}{what}.{hint(name, list(current))}")
            given[original] = _checked(text)
        all_names = tuple(given.get(name, name) for name in class_names)
        repeated = next((name for name in all_names if all_names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"names: expected another name for each class; got {repeated!r} for two.")
        write_atomically(folder / _FILE, json.dumps(given, indent=2, ensure_ascii=False) + "\n")
    return all_names


def _checked(name: str) -> str:
    tidy = " ".join(name.split())
    if not tidy or not tidy.isprintable():
        raise ValueError(f"names: expected printable text after '='; got {name!r}.")
    return tidy


def _read(folder: Path, class_names: Sequence[str]) -> dict[str, str]:
    """Return the given names by the name in training; empty if none has been given."""
    path = folder / _FILE
    if not path.is_file():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"run: expected names of classes in {path}; got a damaged file.") from error
    if not isinstance(given, dict) or not all(
        name in class_names and re.fullmatch(_NEW, name) and isinstance(text, str) for name, text in given.items()
    ):
        raise ValueError(f"run: expected names of new classes of this run in {path}; got others.")
    return given
