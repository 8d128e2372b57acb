"""Names of classes as people write them: which mean that the class is not known, and which two are one."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import cache

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The parts of a data set by what folders, and cells of a table, call them in lower case."""

_UNLABELLED = {"unlabelled", "unlabeled"}
# Without spaces and signs. Each has been seen as a class, and for images without one.
_DOUBTFUL = {
    *("nan", "none", "null", "unk", "unknown", "notknown", "unsure", "uncertain", "unclear", "undefined", "undecided"),
    *("unclassified", "unassigned", "unannotated", "untagged", "unsorted", "unsup", "unsupervised", "missing", "todo"),
    *("nolabel", "nolabels", "notlabelled", "notlabeled", "nonlabelled", "nonlabeled", "withoutlabel"),
    *("unlabelledimages", "unlabeledimages", "unlabelleddata", "unlabeleddata"),
}
# What pandas writes and reads for a missing value, "None" and "NULL" aside, which may well be a class.
_MISSING = {"#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NaN", "n/a", "nan"}


@cache  # a million rows have few classes
def class_of(name: str, argument: str, *, in_table: bool = False) -> str | None:
    """Return the class that the name of a folder, or a label in a table, stands for.

    Args:
        name: the name as it is written.
        argument: where it was found, for error messages.
        in_table: whether what pandas writes for a missing value, and no label at all, mean that it is not known.

    Returns:
        The name without spaces around it and with its accents composed, as most keyboards write them; None for
        `unlabelled`, in British or American spelling, and for -1: the class is not known.

    Raises:
        ValueError: if it may be a class, or mean that none is known.
    """
    tidy = unicodedata.normalize("NFC", name).strip()
    bare = re.sub(r"[\W_]+", "", tidy.casefold())
    if bare in _UNLABELLED or re.fullmatch(r"-1(\.0*)?", tidy) or (in_table and (not tidy or tidy in _MISSING)):
        return None
    if bare in _DOUBTFUL or tidy in _MISSING or re.fullmatch(r"\?+", tidy):
        raise ValueError(
            f"{argument}: expected names of classes, or `unlabelled`; got {name!r}, which may be either; write "
            f"`unlabelled` where the class is not known, and if it is a class another name ({f'class {tidy}'!r}, say)."
        )
    return tidy


def check_distinct(names: Iterable[str], argument: str) -> None:
    """Refuse names of classes that are probably one: "Cat" and "cat", "1" and "01" or "1.0".

    Single characters are none of these: a set of handwriting has "A" and "a".

    Raises:
        ValueError: if there are such names.
    """
    found: dict[object, str] = {}
    for name in sorted(names):
        other = found.setdefault(_key(name), name)
        if other != name:
            raise ValueError(
                f"{argument}: expected names that tell the classes apart; got {other!r} and {name!r}; write both alike "
                "if they are one class, and otherwise in different words."
            )


def whole_numbers(names: Iterable[str]) -> dict[str, str]:
    """Return how to write labels that a program has turned into decimal fractions, "1.0" for "1".

    Labels with a fraction, such as the versions 1.0 and 1.1, are not whole numbers, and none is changed.
    """
    decimals = [name for name in names if re.fullmatch(r"[+-]?[0-9]+\.[0-9]*", name)]
    if any(Decimal(name) % 1 for name in decimals):
        return {}
    return {name: name.partition(".")[0] for name in decimals}


def _key(name: str) -> object:
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", name):
        return Decimal(name)
    return name if len(name) == 1 else " ".join(name.casefold().split())
