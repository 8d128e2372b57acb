"""`python -m benchmarks.no_harm studies/photos.csv …`: how far above its baselines the model of a study ends.

For each model and number of labels the table has the differences of the accuracies on the test images, in points: the
mean over draws of the labels, and each draw in the order of its seed.
"""

import argparse
import statistics
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ssvae.inference.study.results import Result, from_csv


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="the results of studies with baselines, CSV")
    options = parser.parse_args(words)
    print("| data | model | labels | above the labels alone | above consistency alone |\n|---|---|---|---|---|")
    for path in options.results:
        results = sorted(from_csv(path.read_text(encoding="utf-8")), key=lambda each: (*_cell(each), each.seed))
        for (data, model, labels), draws in groupby(results, _cell):
            runs = list(draws)
            above_labels = differences([(run.accuracy, run.supervised) for run in runs])
            above_consistency = differences([(run.accuracy, run.consistency) for run in runs])
            print(f"| {data} | {model} | {labels} | {above_labels} | {above_consistency} |")


def _cell(result: Result) -> tuple[str, str, int]:
    return result.data, result.model, result.labels or 0


def differences(accuracies: Sequence[tuple[float, float | None]]) -> str:
    """Return the mean of the first minus the second number, and each difference; nothing if a second one is missing."""
    found = [ours - theirs for ours, theirs in accuracies if theirs is not None]
    if len(found) < len(accuracies):
        return ""
    mean, *each = (f"{round(value, 1) + 0.0:.1f}" for value in (statistics.mean(found), *found))  # no -0.0
    return f"{mean} ({', '.join(each)})".replace("-", "−")


if __name__ == "__main__":
    main()
