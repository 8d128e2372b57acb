"""What came out of a study: one CSV of all runs, one table over their seeds, one plot."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from ssvae.inference import figures
from ssvae.inference.evaluation.diagnostics import K_LIMIT
from ssvae.inference.runs.report import WARNED_FROM, save_picture
from ssvae.inference.storage.files import write_atomically
from ssvae.inference.study.plan import Cell, Plan
from ssvae.inference.study.work import RUNS, is_done

SUPERVISED, CONSISTENCY = "supervised", "consistency alone"
_PUBLISHED_MARKERS = ("x", "+", "1", "2", "3", "4")
_ALL = 10**9
"""Stands for all labels where numbers of labels are put in order."""


@dataclass(frozen=True)
class Result:
    """One run's numbers on the test images; accuracies and calibration errors in percent.

    Attributes:
        data: The name of its data.
        model: The name of its model.
        labels: How many labels; None for all.
        seed: Of the labels and everything else.
        accuracy: Of q(y|x), on images in grey or colour, as those of the baselines.
        ece: Its expected calibration error.
        log_likelihood: log p(x) in nats, by importance sampling; None where nothing bounds it.
        effective_samples: Median over images of the effective sample size behind it; None where it was not noted.
        share_unreliable: The images whose Pareto k̂ is above 0.7, in percent; None likewise.
        reconstruction_error: Mean squared difference, per pixel in [0, 1].
        supervised: The accuracy of the supervised baseline, None where there was none.
        consistency: That of consistency alone, None likewise.
        steps: Optimiser steps.
        seconds: Of training the model, by the clock.
        hardware: The machine, in words.
        commit: Of the code; its version where it was no checkout.
    """

    data: str
    model: str
    labels: int | None
    seed: int
    accuracy: float
    ece: float
    log_likelihood: float | None
    effective_samples: float | None
    share_unreliable: float | None
    reconstruction_error: float
    supervised: float | None
    consistency: float | None
    steps: int
    seconds: float
    hardware: str
    commit: str

    @property
    def order(self) -> int:
        """Where its number of labels stands among others: all labels last."""
        return _ALL if self.labels is None else self.labels


def collect(plan: Plan, folder: Path) -> list[Result]:
    """Return the results of the runs that are done, in the plan's order."""
    return [_result(cell, folder) for cell in plan.cells if is_done(cell, folder)]


def _result(cell: Cell, folder: Path) -> Result:
    run = folder / RUNS / cell.name
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    origin = json.loads(run.with_name(f"{cell.name}.json").read_text(encoding="utf-8"))
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    baselines = {name: 100 * numbers["accuracy"] for name, numbers in found["baselines"].items()}
    return Result(
        cell.data,
        cell.model,
        cell.labels,
        cell.seed,
        accuracy=100 * found["classifier"]["accuracy"],
        ece=100 * found["classifier"]["ece"],
        log_likelihood=found["log_likelihood"],
        effective_samples=found.get("effective_samples"),
        share_unreliable=None if (share := found.get("share_unreliable")) is None else 100 * share,
        reconstruction_error=found["reconstruction_error"],
        supervised=baselines.get(SUPERVISED),
        consistency=baselines.get(CONSISTENCY),
        steps=int(last["step"]),
        seconds=found["seconds"]["model"],
        hardware=origin["hardware"],
        commit=origin["commit"] or origin["code"],
    )


def write(plan: Plan, folder: Path) -> str | None:
    """Write results.csv, results.md and results.png of the runs that are done, and return the table; None without."""
    found = collect(plan, folder)
    if not found:
        return None
    written = table(found)
    write_atomically(folder / "results.csv", to_csv(found))
    write_atomically(folder / "results.md", written)
    save_picture(plot(found, plan.published), folder / "results.png")
    return written


def to_csv(results: Sequence[Result]) -> str:
    """Return a line for each run; nothing between the commas where there is no number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(Result)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    return text.getvalue()


def from_csv(text: str) -> list[Result]:
    """Read what `to_csv` wrote, also before effective sample sizes were noted."""
    return [
        Result(
            data=row["data"],
            model=row["model"],
            labels=int(row["labels"]) if row["labels"] else None,
            seed=int(row["seed"]),
            accuracy=float(row["accuracy"]),
            ece=float(row["ece"]),
            log_likelihood=_number(row["log_likelihood"]),
            effective_samples=_number(row.get("effective_samples", "")),
            share_unreliable=_number(row.get("share_unreliable", "")),
            reconstruction_error=float(row["reconstruction_error"]),
            supervised=_number(row["supervised"]),
            consistency=_number(row["consistency"]),
            steps=int(row["steps"]),
            seconds=float(row["seconds"]),
            hardware=row["hardware"],
            commit=row["commit"],
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def table(results: Sequence[Result]) -> str:
    """Return means ± standard deviations over the seeds, in Markdown, and below what they were made with."""
    told = any(each.effective_samples is not None for each in results)
    lines = [
        "| data | labels | model | accuracy | supervised | consistency | ECE | log p(x) |"
        + f" ESS | k̂ > {K_LIMIT} |" * told
        + " error | steps | s | seeds |",
        "|---|---|---|---|---|---|---|---|" + "---|---|" * told + "---|---|---|---|",
    ]
    for (data, labels, model), found in _by_setting(results).items():
        of_samples = _format_value([each.effective_samples for each in found], 0, spread=False)
        unreliable = _format_value([each.share_unreliable for each in found], 0, spread=False)
        lines.append(
            f"| {data} | {'all' if labels is None else labels} | {model} "
            f"| {_format_value([each.accuracy for each in found], 2)} "
            f"| {_format_value([each.supervised for each in found], 2)} "
            f"| {_format_value([each.consistency for each in found], 2)} "
            f"| {_format_value([each.ece for each in found], 1)} "
            f"| {_format_value([each.log_likelihood for each in found], 1)} "
            + (f"| {of_samples} | {unreliable} " if told else "")
            + f"| {_format_value([each.reconstruction_error for each in found], 4)} "
            f"| {_format_value([each.steps for each in found], 0, spread=False)} "
            f"| {_format_value([each.seconds for each in found], 0, spread=False)} | {len(found)} |"
        )
    hardware, commits = (sorted({getattr(each, name) for each in results}) for name in ("hardware", "commit"))
    reliability = (
        ", binarised once where the data are, with its effective sample size (median over images) and the % of images "
        f"whose Pareto k̂ is above {K_LIMIT}, where it cannot be relied on"
    )
    lines += [
        "",
        "Test images, last epoch; mean ± standard deviation over seeds, which draw labels and initial weights. "
        "Accuracy, that of the supervised baseline and of consistency alone, and ECE in %, all of q(y|x) and of images "
        f"in grey or colour; log p(x) in nats{reliability * told}; mean squared reconstruction error per pixel in "
        f"[0, 1]; seconds of training. {'; '.join(hardware)}. Commit {', '.join(commits)}.",
    ]
    unsure = sorted({each.model for each in results if (each.share_unreliable or 0) > 100 * WARNED_FROM})
    if unsure:
        lines += ["", f"Warning: log p(x) of {', '.join(unsure)} cannot be relied on: see k̂ > {K_LIMIT}."]
    return "\n".join(lines) + "\n"


def _by_setting(results: Sequence[Result]) -> dict[tuple[str, int | None, str], list[Result]]:
    """Return the results by data, number of labels and model, the first two in order, the models as they come."""
    found: dict[tuple[str, int | None, str], list[Result]] = {}
    for result in sorted(results, key=lambda each: (each.data, each.order)):
        found.setdefault((result.data, result.labels, result.model), []).append(result)
    return found


def _format_value(values: Sequence[float | None], digits: int, spread: bool = True) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.mean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if spread and len(known) > 1 else mean


def plot(results: Sequence[Result], published: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw accuracy against the number of labels: models and their supervised baselines, and published figures."""
    names = list(dict.fromkeys(result.data for result in results))
    figure = Figure(figsize=(6.5 * len(names), 4.5), layout="constrained", facecolor="white")
    for ax, data in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        of_data = [result for result in results if result.data == data]
        numbers = sorted({each.order for each in of_data})
        places = {number: place for place, number in enumerate(numbers)}
        for index, model in enumerate(dict.fromkeys(result.model for result in of_data)):
            settings = [found for (_, _, name), found in _by_setting(of_data).items() if name == model]
            where = [places[found[0].order] for found in settings]
            colour, marker = (of[index % len(of)] for of in (figures.COLOURS, figures.MARKERS))
            accuracies = [[each.accuracy for each in found] for found in settings]
            spreads = [statistics.stdev(of) if len(of) > 1 else 0.0 for of in accuracies]
            means = [statistics.mean(of) for of in accuracies]
            ax.errorbar(where, means, spreads, color=colour, marker=marker, capsize=3, label=model)
            supervised = [[each.supervised for each in found if each.supervised is not None] for found in settings]
            if all(supervised):
                ax.plot(
                    where,
                    [statistics.mean(of) for of in supervised],
                    color=colour,
                    linestyle=":",
                    linewidth=1,
                    marker=".",
                )
        for mark, (name, of) in zip(cycle(_PUBLISHED_MARKERS), published.items(), strict=False):
            known = {places[number]: accuracy for number, accuracy in of.items() if number in places}
            if known:
                ax.plot(list(known), list(known.values()), color="black", linestyle="--", marker=mark, label=name)
        ax.set_xticks(range(len(numbers)), ["all" if number == _ALL else str(number) for number in numbers])
        ax.set(xlabel="labels", ylabel="test accuracy (%)", title=data)
        ax.legend(fontsize=8, title="dotted: its supervised baseline")
    return figure
