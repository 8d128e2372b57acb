"""Results of a study: a CSV file with all runs, a table of means over seeds, a plot."""

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
_OF_DISCOVERY = ("known", "new", "among_known", "nmi")
_NEW_CLASSES = (
    " Classes without labels are assigned to the model's new classes by the test images (Hungarian assignment). known, "
    "new: accuracy (%) on the classes with and without labels; put among known: percentage of the images of classes "
    "without labels; NMI: normalised mutual information of predicted and true classes."
)
_ALL = 10**9
"""Stands for all labels when numbers of labels are sorted."""


@dataclass(frozen=True)
class Result:
    """The results of one run on the test images.

    Attributes:
        data: Name of the data set.
        model: Name of the model.
        labels: Number of labels; None for all.
        seed: The random seed.
        accuracy: Accuracy of q(y|x) in percent, on images that are not binarised.
        ece: Expected calibration error of q(y|x) in percent.
        log_likelihood: log p(x) in nats, by importance sampling; None if the model has no bound on it.
        effective_samples: Median over images of its effective sample size; None if unknown.
        share_unreliable: Images with Pareto k̂ above 0.7, in percent; None if unknown.
        reconstruction_error: Mean squared error per pixel in [0, 1].
        supervised: Accuracy of the supervised baseline in percent; None without this baseline.
        consistency: Accuracy of the baseline "consistency alone" in percent; None without this baseline.
        steps: Number of optimiser steps.
        seconds: Wall time of training.
        hardware: The machine.
        commit: The git commit of the code, or its hash outside of a checkout.
        known: Accuracy on the classes with labels in percent; None if all classes have labels.
        new: Accuracy by assignment on the classes without labels in percent; None likewise.
        among_known: Percentage of the images of these classes that are put among the known ones; None likewise.
        nmi: Normalised mutual information of predicted and true classes; None likewise.
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
    known: float | None = None
    new: float | None = None
    among_known: float | None = None
    nmi: float | None = None

    @property
    def order(self) -> int:
        """A sort key for the number of labels; all labels come last."""
        return _ALL if self.labels is None else self.labels


def collect(plan: Plan, folder: Path) -> list[Result]:
    """Return the results of the complete runs, in the plan's order."""
    return [_result(cell, folder) for cell in plan.cells if is_done(cell, folder)]


def _result(cell: Cell, folder: Path) -> Result:
    run = folder / RUNS / cell.name
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    origin = json.loads(run.with_name(f"{cell.name}.json").read_text(encoding="utf-8"))
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    baselines = {name: 100 * numbers["accuracy"] for name, numbers in evaluation["baselines"].items()}
    return Result(
        cell.data,
        cell.model,
        cell.labels,
        cell.seed,
        accuracy=100 * evaluation["classifier"]["accuracy"],
        ece=100 * evaluation["classifier"]["ece"],
        log_likelihood=evaluation["log_likelihood"],
        effective_samples=evaluation.get("effective_samples"),
        share_unreliable=None if (share := evaluation.get("share_unreliable")) is None else 100 * share,
        reconstruction_error=evaluation["reconstruction_error"],
        supervised=baselines.get(SUPERVISED),
        consistency=baselines.get(CONSISTENCY),
        steps=int(last["step"]),
        seconds=evaluation["seconds"]["model"],
        hardware=origin["hardware"],
        commit=origin["commit"] or origin["code"],
        **_discovery(evaluation.get("discovery")),
    )


def _discovery(found: Mapping[str, float | None] | None) -> dict[str, float | None]:
    """Return what an evaluation says of classes without labels, shares in percent."""
    if found is None:
        return {}
    shares = {"known": "known_accuracy", "new": "new_accuracy", "among_known": "share_among_known"}
    percentages = {name: None if (share := found[key]) is None else 100 * share for name, key in shares.items()}
    return percentages | {"nmi": found["nmi"]}


def write(plan: Plan, folder: Path) -> str | None:
    """Write results.csv, results.md and results.png of the complete runs.

    Returns:
        The table in results.md; None if no run is complete.
    """
    results = collect(plan, folder)
    if not results:
        return None
    text = table(results)
    write_atomically(folder / "results.csv", to_csv(results))
    write_atomically(folder / "results.md", text)
    save_picture(plot(results, plan.published), folder / "results.png")
    return text


def to_csv(results: Sequence[Result]) -> str:
    """Return results as CSV, a line for each run; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Result)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    return text.getvalue()


def from_csv(text: str) -> list[Result]:
    """Read the output of `to_csv`, also that of versions without effective sample sizes."""
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
            **{name: _number(row.get(name, "")) for name in _OF_DISCOVERY},
        )
        for row in csv.DictReader(io.StringIO(text))
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table of means ± standard deviations over seeds, followed by explanations."""
    has_reliability = any(result.effective_samples is not None for result in results)
    has_new_classes = any(result.nmi is not None for result in results)
    lines = [
        "| data | labels | model | accuracy |"
        + " known | new | put among known | NMI |" * has_new_classes
        + " supervised | consistency | ECE | log p(x) |"
        + f" ESS | k̂ > {K_LIMIT} |" * has_reliability
        + " error | steps | s | seeds |",
        "|---|---|---|---|---|---|---|---|"
        + "---|---|---|---|" * has_new_classes
        + "---|---|" * has_reliability
        + "---|---|---|---|",
    ]
    for (data, labels, model), seeds in _by_setting(results).items():
        effective_samples = _format_value([result.effective_samples for result in seeds], 0, spread=False)
        unreliable = _format_value([result.share_unreliable for result in seeds], 0, spread=False)
        lines.append(
            f"| {data} | {'all' if labels is None else labels} | {model} "
            f"| {_format_value([result.accuracy for result in seeds], 2)} "
            + _new_classes(seeds)
            * has_new_classes
            + f"| {_format_value([result.supervised for result in seeds], 2)} "
            f"| {_format_value([result.consistency for result in seeds], 2)} "
            f"| {_format_value([result.ece for result in seeds], 1)} "
            f"| {_format_value([result.log_likelihood for result in seeds], 1)} "
            + (f"| {effective_samples} | {unreliable} " if has_reliability else "")
            + f"| {_format_value([result.reconstruction_error for result in seeds], 4)} "
            f"| {_format_value([result.steps for result in seeds], 0, spread=False)} "
            f"| {_format_value([result.seconds for result in seeds], 0, spread=False)} | {len(seeds)} |"
        )
    hardware, commits = (sorted({getattr(result, name) for result in results}) for name in ("hardware", "commit"))
    reliability = (
        " log p(x) is estimated on images that are binarised once if the data set is. ESS: median over images of its "
        f"effective sample size. k̂ > {K_LIMIT}: percentage of images with an unreliable estimate (Pareto k̂)."
    )
    lines += [
        "",
        "Test images, after the last epoch; mean ± standard deviation over seeds, each with other labels and initial "
        "weights. Accuracy and expected calibration error (ECE) in %, of q(y|x) on images that are not binarised; "
        "supervised and consistency: accuracies of the baselines. log p(x) in nats; error: mean squared error of the "
        f"reconstruction per pixel in [0, 1]; s: seconds of training.{reliability * has_reliability}"
        f"{_NEW_CLASSES * has_new_classes} "
        f"{'; '.join(hardware)}. Commit {', '.join(commits)}.",
    ]
    unreliable_models = sorted(
        {result.model for result in results if (result.share_unreliable or 0) > 100 * WARNED_FROM}
    )
    if unreliable_models:
        lines += [
            "",
            f"Warning: log p(x) of {', '.join(unreliable_models)} is unreliable: see the column k̂ > {K_LIMIT}.",
        ]
    return "\n".join(lines) + "\n"


def _new_classes(seeds: Sequence[Result]) -> str:
    """Return the cells of a row that are about classes without labels."""
    values = {
        name: _format_value([getattr(result, name) for result in seeds], 3 if name == "nmi" else 1)
        for name in _OF_DISCOVERY
    }
    return "".join(f"| {value} " for value in values.values())


def _by_setting(results: Sequence[Result]) -> dict[tuple[str, int | None, str], list[Result]]:
    """Group results by data, number of labels and model; sorted by the first two, models in order of appearance."""
    groups: dict[tuple[str, int | None, str], list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.data, result.order)):
        groups.setdefault((result.data, result.labels, result.model), []).append(result)
    return groups


def _format_value(values: Sequence[float | None], digits: int, spread: bool = True) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.mean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if spread and len(known) > 1 else mean


def plot(results: Sequence[Result], published: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw accuracy against the number of labels, for models, their supervised baselines and published results."""
    names = list(dict.fromkeys(result.data for result in results))
    figure = Figure(figsize=(6.5 * len(names), 4.5), layout="constrained", facecolor="white")
    for ax, data in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        data_results = [result for result in results if result.data == data]
        numbers = sorted({result.order for result in data_results})
        positions = {number: position for position, number in enumerate(numbers)}
        for index, model in enumerate(dict.fromkeys(result.model for result in data_results)):
            settings = [seeds for (_, _, name), seeds in _by_setting(data_results).items() if name == model]
            x = [positions[seeds[0].order] for seeds in settings]
            colour, marker = (
                figures.COLOURS[index % len(figures.COLOURS)],
                figures.MARKERS[index % len(figures.MARKERS)],
            )
            accuracies = [[result.accuracy for result in seeds] for seeds in settings]
            deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in accuracies]
            means = [statistics.mean(values) for values in accuracies]
            ax.errorbar(x, means, deviations, color=colour, marker=marker, capsize=3, label=model)
            supervised = [
                [result.supervised for result in seeds if result.supervised is not None] for seeds in settings
            ]
            if all(supervised):
                ax.plot(
                    x,
                    [statistics.mean(values) for values in supervised],
                    color=colour,
                    linestyle=":",
                    linewidth=1,
                    marker=".",
                )
        for marker, (name, by_number) in zip(cycle(_PUBLISHED_MARKERS), published.items(), strict=False):
            points = {positions[number]: accuracy for number, accuracy in by_number.items() if number in positions}
            if points:
                ax.plot(list(points), list(points.values()), color="black", linestyle="--", marker=marker, label=name)
        ax.set_xticks(range(len(numbers)), ["all" if number == _ALL else str(number) for number in numbers])
        ax.set(xlabel="number of labels", ylabel="test accuracy (%)", title=data)
        ax.legend(fontsize=8, title="dotted: supervised baseline")
    return figure
