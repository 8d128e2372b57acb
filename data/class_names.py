"""Names of classes as users write them: names that mean "unlabelled", and spellings of the same name."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from difflib import SequenceMatcher
from functools import cache

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The parts of a data set, by their names in folders and tables, in lower case."""

_UNLABELLED = {"unlabelled", "unlabeled"}
# Without spaces and signs. Each occurs in practice both as a class and as a mark of unlabelled images.
_DOUBTFUL = {
    *("nan", "none", "null", "unk", "unknown", "notknown", "unsure", "uncertain", "unclear", "undefined", "undecided"),
    *("unclassified", "unassigned", "unannotated", "untagged", "unsorted", "unsup", "unsupervised", "missing", "todo"),
    *("nolabel", "nolabels", "notlabelled", "notlabeled", "nonlabelled", "nonlabeled", "withoutlabel"),
    *("unlabelledimages", "unlabeledimages", "unlabelleddata", "unlabeleddata"),
}
_NEARLY = 0.85
# The words that pandas writes and reads for a missing value, except "None" and "NULL", which may be classes.
_MISSING = {"#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NaN", "n/a", "nan"}


@cache  # called for every row of a table, with few different names
def class_of(name: str, argument: str, *, in_table: bool = False) -> str | None:
    """Return the class that the name of a folder, or a label in a table, stands for.

    Args:
        name: The name as it is written.
        argument: The argument that it comes from, for error messages.
        in_table: Whether an empty label, and pandas' words for a missing value, mean that the image is unlabelled.

    Returns:
        The name without surrounding spaces and with composed accents (Unicode NFC); None for ``unlabelled``, in British
        or American spelling, and for -1.

    Raises:
        ValueError: If it may be a class or mean that the image is unlabelled.
    """
    tidy = unicodedata.normalize("NFC", name).strip()
    bare = re.sub(r"[\W_]+", "", tidy.casefold())
    if bare in _UNLABELLED or re.fullmatch(r"-1(\.0*)?", tidy) or (in_table and (not tidy or tidy in _MISSING)):
        return None
    if bare in _DOUBTFUL or _is_misspelt(bare) or tidy in _MISSING or re.fullmatch(r"\?+", tidy):
        raise ValueError(
            f"{argument}: expected names of classes, or `unlabelled`; got {name!r}, which may be either; write "
            f"`unlabelled` where the class is not known, and if it is a class another name ({f'class {tidy}'!r}, say)."
        )
    return tidy


def _is_misspelt(bare: str) -> bool:
    """Return whether a name is nearly that of what is unlabelled, such as "unlabled", or begins with it."""
    return bare.startswith((*_UNLABELLED,)) or (
        bare.startswith("un")
        and any(SequenceMatcher(None, bare, name, autojunk=False).ratio() >= _NEARLY for name in _UNLABELLED)
    )


def is_missing(cell: str) -> bool:
    """Return whether a cell of a table is empty, or has a word that pandas writes and reads for a missing value."""
    return not cell.strip() or cell.strip() in _MISSING


def check_distinct(names: Iterable[str], argument: str) -> None:
    """Refuse names that are probably spellings of the same class: "Cat" and "cat", "1" and "01" or "1.0".

    Single characters are exempt: a set of handwriting has "A" and "a".

    Raises:
        ValueError: If there are such names.
    """
    spellings: dict[object, str] = {}
    for name in sorted(names):
        other = spellings.setdefault(_key(name), name)
        if other != name:
            raise ValueError(
                f"{argument}: expected names that tell the classes apart; got {other!r} and {name!r}; write both alike "
                "if they are one class, and otherwise in different words."
            )


def whole_numbers(names: Iterable[str]) -> dict[str, str]:
    """Return replacements for labels that a program has converted to decimals, such as "1" for "1.0".

    If any label has a fraction, such as the versions 1.0 and 1.1, no label is replaced.
    """
    decimals = [name for name in names if re.fullmatch(r"[+-]?[0-9]+\.[0-9]*", name)]
    if any(Decimal(name) % 1 for name in decimals):
        return {}
    return {name: name.partition(".")[0] for name in decimals}


def _key(name: str) -> object:
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", name):
        return Decimal(name)
    return name if len(name) == 1 else " ".join(name.casefold().split())
