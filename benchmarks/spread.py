"""Numbers of several draws as text."""

import statistics
from collections.abc import Sequence


def mean_and_deviation(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Return mean ± standard deviation; the number alone if there is one.

    Args:
        values: The numbers, at least one.
        form: How they are written.
    """
    spread = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread
