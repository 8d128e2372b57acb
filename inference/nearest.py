"""Suggestions for an unknown name: the known names that are most similar to it."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import cache

NEAR, MOST = 0.65, 3
"""The least ratio of SequenceMatcher for a suggestion; the largest number of equally similar suggestions."""


@cache  # an option is compared with hundreds, in which the same words come back
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name such as "num_labels", "num-labels" or "GaussianMixture", in lower case."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return tuple(word.lower() for word in re.findall(r"\w+", parted.replace("_", " ")))


@cache
def likeness(typed: str, name: str, near: float = NEAR) -> float:
    """Return the similarity of a typed name to a known one, in [0, 1].

    It is 1 if they differ at most in case and separators, 0.95 for initials ("lr" for learning_rate), and 0.9 for some
    of the words or the beginning ("epochs" for max_epochs, "vamp" for VampPrior). Otherwise it is 0.9 times the ratio
    of ``difflib.SequenceMatcher`` if that is at least ``near``, else 0.
    """
    typed_words, known_words = words_of(typed), words_of(name)
    typed_letters, known_letters = "".join(typed_words), "".join(known_words)
    if not typed_letters or typed_letters == known_letters:
        return float(bool(typed_letters))
    if len(known_words) > 1 and typed_letters == "".join(word[0] for word in known_words):
        return 0.95
    if len(typed_letters) > 2 and (set(typed_words) < set(known_words) or known_letters.startswith(typed_letters)):
        return 0.9
    matcher = SequenceMatcher(None, typed_letters, known_letters)
    # The quick ratios are upper bounds.
    if matcher.real_quick_ratio() < near or matcher.quick_ratio() < near:
        return 0.0
    ratio = matcher.ratio()
    return 0.9 * ratio if ratio >= near else 0.0


def nearest(typed: str, names: Iterable[str]) -> list[str]:
    """Return the most similar names; an empty list if none is similar, or more than three equally so."""
    similarities = {name: likeness(typed, name) for name in names}
    best = max(similarities.values(), default=0.0)
    nearest_names = [name for name, similarity in similarities.items() if best and similarity == best]
    return nearest_names if len(nearest_names) <= MOST else []


def hint(typed: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" with the most similar names, or an empty string if none is similar."""
    return did_you_mean(nearest(typed, names))


def did_you_mean(names: Sequence[str]) -> str:
    """Return " Did you mean …?" with the names, or an empty string for no names."""
    return f" Did you mean {one_of(names)}?" if names else ""


def one_of(names: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
