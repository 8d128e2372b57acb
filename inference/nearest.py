"""The nearest of the names there are, for one that is none: a slip of the keyboard, another case, a part of a name."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

NEAR, MOST = 0.65, 3
"""What SequenceMatcher's ratio is of names that are near; how many are told, where several are equally near."""


def words_of(name: str) -> list[str]:
    """Return the words of a name such as "num_labels", "num-labels" or "GaussianMixture", in small letters."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.findall(r"\w+", parted.replace("_", " "))]


def likeness(typed: str, name: str, near: float = NEAR) -> float:
    """Return how near a typed name is to one there is: 1 but for case and separators, 0 where it is not near.

    Between them: the initials ("lr" of learning_rate), some of the words or the beginning ("epochs" of max_epochs,
    "vamp" of VampPrior), other letters (`difflib.SequenceMatcher`'s ratio, at least `near`).
    """
    words, of_name = words_of(typed), words_of(name)
    letters, others = "".join(words), "".join(of_name)
    if not letters or letters == others:
        return float(bool(letters))
    if len(of_name) > 1 and letters == "".join(word[0] for word in of_name):
        return 0.95
    if len(letters) > 2 and (set(words) < set(of_name) or others.startswith(letters)):
        return 0.9
    ratio = SequenceMatcher(None, letters, others).ratio()
    return 0.9 * ratio if ratio >= near else 0.0


def nearest(typed: str, names: Iterable[str]) -> list[str]:
    """Return the nearest names; none where none is near, or so many that it is a guess."""
    found = {name: likeness(typed, name) for name in names}
    best = max(found.values(), default=0.0)
    near = [name for name, like in found.items() if best and like == best]
    return near if len(near) <= MOST else []


def hint(typed: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" with the nearest names, or nothing where none is near."""
    return asked(nearest(typed, names))


def asked(names: Sequence[str]) -> str:
    """Return " Did you mean …?", or nothing for no names."""
    return f" Did you mean {one_of(names)}?" if names else ""


def one_of(names: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
