"""How far an accuracy on few test observations may be from that on all others."""

import math

_Z = 1.959964
"""The 97.5 % quantile of N(0, 1)."""

FEWEST = 25
"""On fewer test observations an accuracy may have a standard error of more than 10 points, 100 / (2 √n)."""


def accuracy_interval(accuracy: float, number: int) -> tuple[float, float]:
    """Return the interval of Wilson, J. Am. Stat. Assoc. 22, 1927: the p with |accuracy - p| ≤ z √(p (1 - p) / n).

    It covers the accuracy on all observations in about 95 of 100 draws of n of them, z = 1.96. It is not a point where
    all are right, or none.

    Args:
        accuracy: The share that is right, in [0, 1].
        number: n, the number of test observations.

    Returns:
        Its ends, in [0, 1].

    Example:
        >>> from ssvae.inference.evaluation.interval import accuracy_interval
        >>> [round(end, 3) for end in accuracy_interval(1.0, 6)]
        [0.61, 1.0]
    """
    spread = _Z**2 / number
    centre = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (accuracy * (1 - accuracy) + spread / 4)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def few_tested(accuracy: float, number: int, item: str) -> str:
    """Return a sentence with the interval if there are fewer than 25 test observations; "" otherwise.

    Args:
        accuracy: The share that is right, in [0, 1].
        number: The number of test observations.
        item: The word for an observation.
    """
    if number >= FEWEST:
        return ""
    low, high = accuracy_interval(accuracy, number)
    return (
        f"Only {number} test {item}{'s' * (number > 1)}: an accuracy of {accuracy:.0%} on so few is compatible with "
        f"{low:.0%} to {high:.0%} on others (95% interval)."
    )
