"""Study files: which models, data sets, numbers of labels and seeds to run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssvae.data.yaml_files import read_yaml

_SECTIONS = ("data", "models", "labels", "seeds", "options", "published")
_HERE = ("--data.root", "--data.download", "--folder", "--trainer.progress_bar")
"""Options for file locations and display, which do not affect results."""

Options = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        data: Name of the data set in the study file.
        model: Name of the model in the study file.
        labels: Number of labels; None for all.
        seed: The random seed for everything, including the choice of labels and the initial weights.
        words: The arguments of ``ssvae fit``.
    """

    data: str
    model: str
    labels: int | None
    seed: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.data}-{self.model}-{'all' if self.labels is None else self.labels}-{self.seed}".replace(" ", "_")

    @property
    def identity(self) -> list[str]:
        """The arguments that determine its result."""
        return [word for word in self.words if word.partition("=")[0] not in _HERE]


@dataclass(frozen=True)
class Plan:
    """A study: every model on every data set with every number of labels and every seed.

    Attributes:
        name: The file name without extension.
        cells: The runs in their order: all runs of a seed before those of the next.
        published: Published test accuracies in percent, by name and number of labels; drawn as lines.
    """

    name: str
    cells: tuple[Cell, ...]
    published: dict[str, dict[int, float]] = field(default_factory=dict)


def read_plan(path: str, more: tuple[str, ...] = ()) -> Plan:
    """Read a study file.

    Args:
        path: A YAML file::

            data:                  # the value of --data for each, and its options
              MNIST: {data: MNIST}
            models:
              M2: {recipe: few_labels}
              ladder: {model: LadderVAE, max_steps: 1000}
            labels: [100, 1000]    # null for all
            seeds: [0, 1, 2]
            options: {trainer.precision: 32-true}        # for every run
            published:             # test accuracies (%) by number of labels, for the plot
              Kingma et al. 2014, M2: {100: 88.03, 1000: 96.40}

        more: Further arguments for every run, such as ``--data.root=DIR``.

    Returns:
        The study.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a study; the message names the part that is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"study: expected a YAML file; got {path!r}, which is not a file.")
    read = read_yaml(file, "study")
    if not isinstance(read, dict):
        raise ValueError(f"study: expected the sections {', '.join(_SECTIONS)} in {path}; got none.")
    unknown = [section for section in read if section not in _SECTIONS]
    if unknown:
        raise ValueError(f"study: expected the sections {', '.join(_SECTIONS)}; got {unknown[0]!r}.")
    data, models = (_named(read, section) for section in ("data", "models"))
    labels = _numbers(read.get("labels"), "labels", "numbers of labels, null for all", (int, type(None)))
    seeds = _numbers(read.get("seeds"), "seeds", "integers", (int,))
    shared = _options(read.get("options", {}), "options")
    cells = [
        Cell(
            data_name,
            model_name,
            number,
            seed,
            (
                *_words({**data[data_name], "data.num_labels": number, "data.seed": seed, "seed": seed}),
                *_words({**shared, **models[model_name]}),
                *more,
            ),
        )
        for seed in seeds
        for data_name in data
        for number in labels
        for model_name in models
    ]
    names = [cell.name for cell in cells]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"study: expected every run once; got {duplicates[0]} twice.")
    return Plan(file.stem, tuple(cells), _published(read.get("published", {})))


def _named(read: dict[str, Any], section: str) -> dict[str, Options]:
    entries = read.get(section)
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{section}: expected names with the options of each; got {entries!r}.")
    for name in map(str, entries):
        # They are part of the names of run folders, also on Windows.
        if not name.isprintable() or set('/\\:*?"<>|') & set(name):
            raise ValueError(f"{section}: expected names that a folder can have; got {name!r}.")
    return {str(name): _options(options, f"{section}, {name}") for name, options in entries.items()}


def _options(options: object, where: str) -> Options:
    if not isinstance(options, dict):
        raise ValueError(f"{where}: expected options as of `ssvae fit`, without the dashes; got {options!r}.")
    return options


def _words(options: Options) -> list[str]:
    """Return options as arguments of a command; values other than text are written as JSON, which is valid YAML."""
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in options.items()]


def _numbers(values: object, section: str, expected: str, types: tuple[type, ...]) -> list[Any]:
    is_valid = isinstance(values, list) and all(type(value) in types and (value or 0) >= 0 for value in values)
    if not isinstance(values, list) or not values or not is_valid:
        raise ValueError(f"{section}: expected {expected}; got {values!r}.")
    return values


def _published(read: object) -> dict[str, dict[int, float]]:
    is_valid = isinstance(read, dict) and all(
        isinstance(figures, dict)
        and all(type(number) is int and type(value) in (int, float) for number, value in figures.items())
        for figures in read.values()
    )
    if not isinstance(read, dict) or not is_valid:
        raise ValueError(f"published: expected accuracies (%) by number of labels under each name; got {read!r}.")
    return {
        str(name): {number: float(value) for number, value in accuracies.items()} for name, accuracies in read.items()
    }
