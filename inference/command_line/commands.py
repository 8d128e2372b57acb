"""The subcommands of `ssvae`: each parses its options, makes the objects that they name, and prints the results."""

import argparse
import csv
import io
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import get_origin

import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from ssvae.data import Data, ImageData, Table, VectorData
from ssvae.data.labels import check_count
from ssvae.data.time_left import progress
from ssvae.inference import runs
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.options import Option, suggest
from ssvae.inference.command_line.parsing import (
    UsageError,
    check_config,
    check_spaces,
    chosen_by,
    classes_named,
    given_options,
    known_options,
    names_of,
    parse,
    run_parser,
)
from ssvae.inference.command_line.recipes import recipe_first, recipe_name
from ssvae.inference.command_line.spelling import as_typed
from ssvae.inference.storage.description import build, build_fields
from ssvae.inference.training.processes import is_first
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.inference.training.recipe_choice import (
    DEFAULT_EPOCHS,
    LIMITS,
    RECIPES_BY_DATA,
    batch_size_for,
    for_colours,
    for_features,
    for_missing,
    is_in_colour,
    recipe_files,
)
from ssvae.models import SemiSupervisedModel

USAGE_ERROR, FAILURE = 2, 1

_LONGEST_SENTENCE = 1000
"""In characters. A sentence may quote the content of a file, which can be long."""


_RUN_OPTIONS = ("--config", "--recipe", "--resume", "--folder", "--baselines", "--print_config", "--data", "--model")
"""The options of `ssvae fit` that belong to no class."""


class LeftOutError(Exception):
    """Some of the files could not be read. The result is that of the others."""


class StudyError(Exception):
    """Some runs of a study failed. Each of them has printed its error."""


def run_command(command: str, arguments: list[str]) -> int:
    """Run a subcommand, and turn an error into one sentence and an exit status.

    Args:
        command: The name of one of the functions below: "fit", "evaluate", …
        arguments: The words after it.

    Returns:
        0 for success, 2 for an invalid command or input, 1 for a failure while the command ran.
    """
    commands: dict[str, Callable[[list[str]], None]] = {
        "fit": fit,
        "evaluate": evaluate,
        "generate": generate,
        "classify": classify,
        "impute": impute,
        "export": export,
        "name": name,
        "explore": explore,
        "features": features,
        "score": score,
        "augment": augment,
        "attack": attack,
        "study": study,
    }
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are not in UTF-8 keep their bytes.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        with _plain_warnings():
            return _attempt(commands[command], command, arguments)
    except KeyboardInterrupt as error:
        return _say(command, str(error) or "interrupted.", FAILURE)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings as sentences on stderr, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _warn(message)
        yield


def _warn(sentence: object) -> None:
    print(f"Warning: {sentence}", file=sys.stderr, flush=True)


def _attempt(function: Callable[[list[str]], None], command: str, arguments: list[str]) -> int:
    try:
        check_spaces(arguments)
        function(arguments)
    except OSError as error:
        if error.errno is None:  # one of this project's sentences: a file that the user named does not exist
            return _say(command, error, USAGE_ERROR)
        where = f": {error.filename}" if error.filename else ""
        return _say(command, f"{error.strerror}{where}", FAILURE)
    except (UsageError, ValueError, TypeError) as error:
        return _say(command, error, USAGE_ERROR)
    except ModuleNotFoundError as error:
        if not str(error).startswith(f"{error.name}: expected"):  # not one of this project's sentences
            raise
        return _say(command, error, USAGE_ERROR)
    except (FloatingPointError, LeftOutError, StudyError) as error:
        return _say(command, error, FAILURE)
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch raises RuntimeError if memory is exhausted.
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory", str(error)):
            raise
        return _say(command, "memory: expected enough for the requested sizes; got an allocation that failed.", FAILURE)
    return 0


def _say(command: str, message: object, status: int) -> int:
    sentence = " ".join(str(message).split())
    shortened = sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]} …"
    print(f"ssvae {command}: {shortened}", file=sys.stderr)
    return status


def fit(arguments: list[str]) -> None:
    """`ssvae fit`: train a model and its baselines, evaluate, and write a run folder."""
    words, below = _without_help(arguments)
    if below is not None:
        shown = help_of_fit(words, below)
        shown.print_help()
        shown.exit()
    from ssvae.inference.runs.report import result, verdict

    given = given_options(arguments)
    if "--resume" in given:
        if others := [option for option in given if option != "--resume"]:
            raise UsageError(
                f"{others[0]}: expected no option beside --resume, which keeps the options of the run; got one."
            )
        run = runs.resume(parse(_resume_parser(), arguments).resume)
    else:
        words = recipe_first(arguments)
        check_config(given.get("--config", ""))
        parser = fit_parser()
        options = parse(parser, words)
        run = _fit_anew(options, given, known_options(parser, chosen_by(words), others=False))
    if is_first():
        warned = [f"Warning: {sentence}" for sentence in run.problems]
        paragraphs = [
            result(run),
            verdict(run),
            *warned,
            f"The whole report, with pictures: {run.folder / 'report.md'}",
        ]
        print("\n" + "\n\n".join(filter(None, paragraphs)))


def _fit_anew(options: Namespace, given: Mapping[str, str], known: Sequence[Option]) -> runs.Run:
    """Make the objects that the options name, and train a new run.

    Args:
        options: The values of the options.
        given: The options that the user typed.
        known: All options of the chosen classes, for error messages.
    """
    if options.data is None:
        raise UsageError("--data: expected a data set, as an option or in the --config file; got none.")
    description = options.as_dict()
    with as_typed(known):
        check_count("seed", options.seed)
    # The seed is set before the model is made, since it also determines the initial weights.
    torch.manual_seed(options.seed)
    with as_typed([option for option in known if option.path.startswith("--data")]):
        data = build(description["data"])
    sizes = {"event_shape": data.event_shape, "num_classes": data.num_classes}
    model_description = description["model"]
    own_likelihood = {"--config", "--data.binarise", "--model.likelihood"} & given.keys()
    if is_in_colour(data) and not own_likelihood:
        changed = for_colours(model_description, data.binarise)
        if changed is not None:
            data.binarise, model_description = False, changed
    if isinstance(data, VectorData) and not own_likelihood:
        model_description = for_features(model_description, data) or model_description
    if data.has_missing or description["hidden_fraction"]:
        model_description = for_missing(model_description, data)
    with as_typed([option for option in known if option.path.startswith("--model")]):
        model = build({**model_description, "init_args": sizes | model_description.get("init_args", {})})
    if all(description[limit] is None for limit in LIMITS):
        description["max_epochs"] = DEFAULT_EPOCHS
    with as_typed(known):
        recipe = Recipe(**build_fields(Recipe, {name: description[name] for name in Recipe.__dataclass_fields__}))
    if not {"--batch_size", "--config"} & given.keys():
        recipe = replace(recipe, batch_size=batch_size_for(data, recipe.batch_size))
    if is_first() and "--config" not in given:
        print(f"recipe: {recipe_name(given)}")
    with as_typed(known):
        return runs.fit(model, data, recipe, folder=options.folder, baselines=options.baselines)


def fit_parser() -> ArgumentParser:
    """Return the parser of `ssvae fit`, whose options are the constructors' arguments."""
    parser = ArgumentParser(
        prog="ssvae fit",
        description="Train a semi-supervised VAE and its baselines, evaluate them, and write a run folder.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
    data_of: dict[str, list[str]] = {}
    for data, recipe in RECIPES_BY_DATA.items():
        data_of.setdefault(recipe, []).append(data)
    by_data = ", ".join(f"{recipe} for {' and '.join(sets)}" for recipe, sets in data_of.items())
    parser.add_argument(
        "--recipe",
        help=f"a set of options, which other options override: {', '.join(recipe_files())}, or none (default: the "
        f"recipe named after the model; if there is none, {by_data}, few_labels otherwise)",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="the folder of an interrupted run to continue, with the options that it began with",
    )
    parser.add_argument("--folder", type=str | None, help="the run folder (default: runs/<time>-<data>-<model>)")
    parser.add_argument("--baselines", type=bool, default=True, help="whether to train the supervised baselines too")
    parser.add_subclass_arguments(Data, "data", help=f"the data set: {names_of('data')} (default: Digits)")
    # The data set determines the model's sizes.
    parser.add_subclass_arguments(
        SemiSupervisedModel, "model", skip={"event_shape", "num_classes"}, help=f"the model: {names_of('model')}"
    )
    parser.add_class_arguments(Recipe)
    parser.set_defaults({"model": {"class_path": "ssvae.models.M2"}})
    return parser


def _without_help(arguments: list[str]) -> tuple[list[str], str | None]:
    """Return the words without those that ask for help, and the option whose class the help is of.

    Returns:
        The words, in which `--model.prior.help NAME` is replaced by `--model.prior NAME`, and "--model.prior"; "" for
        the help of all options, None if no help is asked for.

    Raises:
        UsageError: If no class is named after an option that ends with ".help".
    """
    below = "" if {"-h", "--help"} & {*arguments} else None
    words = [word for word in arguments if word not in ("-h", "--help")]
    for option, name in given_options(words).items():
        if option.endswith(".help"):
            if name[:2] in ("", "--"):
                raise UsageError(f"{option}: expected the name of a class after it; got none.")
            below = option.removesuffix(".help")
            words = [re.sub(rf"^{re.escape(option)}(?==|$)", below, word) for word in words]
    return words, below


def help_of_fit(arguments: list[str], below: str = "") -> argparse.ArgumentParser:
    """Return the help of `ssvae fit`: the options of the chosen classes with their current defaults.

    Args:
        arguments: The words of the command, which choose classes, such as --model GMVAE, and set options.
        below: The option of a class, such as --model.prior, to show its options alone; "" for all.
    """
    from ssvae.inference.command_line.fit_help import fit_help

    words, given = recipe_first(arguments), given_options(arguments)
    check_config(given.get("--config", ""))
    parser = fit_parser()
    chosen = chosen_by(words)
    needed = [
        option
        for option in known_options(parser, chosen, others=False)
        if option.owner is not ArgumentParser and option.parameter.default is Parameter.empty
        if not {option.path, "--config"} & given.keys()
    ]
    # Required options get placeholders, since parsing fails without them.
    placeholders = [f"{option.path}={_placeholder(option)}" for option in needed]
    flat = vars(parse(parser, [*words, *placeholders]).as_flat())
    values = {f"--{name.replace('.init_args', '').removesuffix('.class_path')}": value for name, value in flat.items()}
    for option in needed:
        values = {path: value for path, value in values.items() if not f"{path}.".startswith(f"{option.path}.")}
    chosen = classes_named(values)
    run_actions = [action for action in parser._actions if {*action.option_strings} & set(_RUN_OPTIONS) and not below]
    options = [option for option in known_options(parser, chosen, others=False) if option.owner is not ArgumentParser]
    options = [option for option in options if not below or option.path.startswith(f"{below}.")]
    source = "the file" if "--config" in given else f"the recipe {recipe_name(given)}"
    shown = [below] if below else ["--data", "--model"]
    names = " and ".join(chosen[path].__name__ for path in shown if path in chosen)
    description = (
        f"{parser.description} Below are the options of {names}. Their defaults are those of {source}. To see the "
        "options of another class, name it beside --help: ssvae fit --model GMVAE --help."
    )
    return fit_help(description, run_actions, options, values, CHOICES)


def _placeholder(option: Option) -> str:
    """Return a value that a required option accepts."""
    annotation = option.parameter.annotation
    if option.part:
        kinds = CHOICES[option.path.rpartition(".")[2].removeprefix("--")]
        return next(kind.__name__ for kind in kinds if not _has_required(kind))
    if get_origin(annotation) in (list, tuple, Sequence):
        return "[]"
    return "0" if annotation in (int, float) else "NAME"


def _has_required(kind: type) -> bool:
    # A part without a constructor of its own has that of nn.Module: *args and **kwargs.
    optional = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return any(
        each.default is Parameter.empty for each in signature(kind).parameters.values() if each.kind not in optional
    )


def _resume_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="ssvae fit --resume", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--resume", type=str, metavar="RUN", required=True)
    return parser


def evaluate(arguments: list[str]) -> None:
    """`ssvae evaluate`: accuracy, calibration and log-likelihood of a run, on the test images."""
    from ssvae.inference.evaluation.evaluation import evaluate as evaluate_model
    from ssvae.inference.evaluation.interval import few_tested
    from ssvae.inference.runs.report import evaluation_lines
    from ssvae.inference.training.trainer import on_accelerator

    parser = run_parser("evaluate", "Print accuracy, calibration and log-likelihood of a run on the test images.")
    parser.add_argument("--num_samples", type=int, default=100, help="number of importance samples for each class")
    parser.add_argument(
        "--num_images", type=int | None, help="number of test images for log p(x) and p(y|x); null for all"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples and binarisation")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    with on_accelerator(run.model, TrainerOptions()):
        evaluation = evaluate_model(
            run.model,
            run.data,
            num_samples=options.num_samples,
            num_images=options.num_images,
            seed=options.seed,
            progress_bar=True,
        )
    print("\n".join(evaluation_lines(evaluation, run.data)))
    if few := few_tested(evaluation.classifier.accuracy, evaluation.num_images, run.data.item):
        print(f"\n{few}")


def generate(arguments: list[str]) -> None:
    """`ssvae generate`: figures of a run."""
    from ssvae.inference.runs.report import save_pictures

    parser = run_parser(
        "generate", "Draw class samples, analogies, reconstructions and a map of the latent space of a run."
    )
    parser.add_argument("--output", type=str | None, help="the folder for the figures; null for RUN/figures")
    parser.add_argument("--num_samples", type=int, default=10, help="number of samples of each class")
    parser.add_argument(
        "--tsne", type=bool, default=False, help="whether to draw a t-SNE map of the latent space too (slow)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    output = Path(options.output) if options.output else run.folder / "figures"
    for path in save_pictures(run, output, num_samples=options.num_samples, tsne=options.tsne, seed=options.seed):
        print(path)


def classify(arguments: list[str]) -> None:
    """`ssvae classify`: class probabilities of image files, or of the rows of tables, as CSV."""
    from ssvae.data.image_files import find_images, passed_over, read_image, some_of
    from ssvae.inference.predict import class_probabilities, image_shape, images_per_chunk

    parser = run_parser(
        "classify",
        "Print a line of CSV for each image: the file, the most probable class, and the probability of each class. Of "
        "a run on a Table, a line for each row: its number, from 1. Images that cannot be read are named and left out, "
        "and the exit status is 1.",
    )
    parser.add_argument("images", nargs="+", help="image files, or folders of image files; or one table")
    options = parse(parser, arguments)
    run = runs.load(options.run, with_data=False, checkpoint=options.checkpoint)
    if len(run.model.event_shape) == 1:
        _classify_rows(runs.load(options.run, checkpoint=options.checkpoint), options.images)
        return
    paths = [path for name in options.images for path in find_images(Path(name))]
    for folder in filter(Path.is_dir, map(Path, options.images)):
        if others := passed_over(folder):
            _warn(f"{str(folder)!r}: only image files are classified, not {some_of(others)}.")
    readable: list[Path] = []
    images: list[Tensor] = []
    unreadable: list[ValueError] = []
    with progress("reading images", len(paths), "files") as advance:
        for path in paths:
            try:
                images.append(read_image(str(path), image_shape(run.model), bits=run.bits))
                readable.append(path)
            except ValueError as error:
                unreadable.append(error)
            advance(1)
    if unreadable and not images:
        raise unreadable[0]
    probabilities = []
    with progress("classifying", len(images), "images") as advance:
        for chunk in torch.stack(images).split(images_per_chunk(run.model)):
            probabilities += class_probabilities(run.model, chunk / 255).tolist()
            advance(len(chunk))
    _write_probabilities("file", readable, probabilities, run.class_names)
    if unreadable:
        for reason in unreadable:
            _warn(f"{reason} It is left out.")
        raise LeftOutError(f"{len(unreadable)} of {len(paths)} images could not be read; the others are classified.")


def _classify_rows(run: runs.Run, files: Sequence[str]) -> None:
    """Print the class probabilities of the rows of a table."""
    from ssvae.inference.predict import class_probabilities

    if not isinstance(run.data, Table):
        kind = type(run.data).__name__
        raise ValueError(f"run: expected one on images or on a Table; got one on {kind}, whose points no file has.")
    if len(files) > 1:
        raise UsageError(f"images: expected one table; got {len(files)} files.")
    rows = run.data.read(files[0])
    _check_admits(run, rows)
    probabilities = class_probabilities(run.model, run.data.preprocess(rows)).tolist()
    _write_probabilities("row", range(1, len(rows) + 1), probabilities, run.class_names)


def _check_admits(run: runs.Run, rows: Tensor) -> None:
    """Refuse a table with missing entries if the run's model admits none."""
    incomplete = rows.isnan().any(-1)
    if incomplete.any() and not run.model.likelihood.admits_missing:
        raise ValueError(
            "file: expected no missing entries, as the table of the training had none; got some in row "
            f"{int(incomplete.int().argmax()) + 1}: train with --model.likelihood MissingEntries."
        )


def impute(arguments: list[str]) -> None:
    """`ssvae impute`: a copy of a table in which missing entries are filled in."""
    from ssvae.inference.applications.imputation import impute_table
    from ssvae.inference.storage.files import write_atomically

    parser = run_parser(
        "impute",
        "Write a copy of a table in which the missing entries of features are filled in: means of numbers, rounded if "
        "they are counts, and most probable categories, given all entries of the row that were seen.",
    )
    parser.add_argument("file", help="the table, with the features of the run's Table")
    parser.add_argument("--output", type=str | None, help="the new CSV file; null for NAME_imputed.csv beside NAME.csv")
    parser.add_argument("--num_samples", type=int, default=200, help="number of importance samples for each class")
    parser.add_argument("--seed", type=int, default=0, help="random seed for the samples")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    if not isinstance(run.data, Table):
        raise ValueError(f"run: expected one on a Table; got one on {type(run.data).__name__}.")
    if options.num_samples < 1:
        raise UsageError(f"--num_samples: expected at least 1; got {options.num_samples}.")
    check_count("seed", options.seed)
    table = Path(options.file)
    run.data.read(options.file)  # refuses a file that is no such table
    output = Path(options.output) if options.output else table.with_name(f"{table.stem}_imputed.csv")
    if output.exists():
        raise UsageError(
            f"--output: expected a name that is not taken; got {output}, which exists and is never overwritten."
        )
    imputed = impute_table(run.model, run.data, str(table), num_samples=options.num_samples, seed=options.seed)
    write_atomically(output, imputed.csv)
    print(output)
    print(imputed.summary, file=sys.stderr)


def _write_probabilities(
    heading: str, names: Iterable[object], probabilities: Sequence[Sequence[float]], class_names: Sequence[str]
) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([heading, "class", *class_names])
    for name, row in zip(names, probabilities, strict=True):
        writer.writerow([name, class_names[row.index(max(row))], *(f"{value:.4f}" for value in row)])


def export(arguments: list[str]) -> None:
    """`ssvae export`: write the classifier to a file that other programs can run."""
    from ssvae.inference.runs.export import check_export, export_classifier

    parser = run_parser(
        "export",
        "Write the classifier q(y|x) to a file for other programs. It maps pixels in [0, 1], or rows in the units of "
        "the data, to class probabilities.",
    )
    parser.add_argument("file", help="the new file; its suffix is .onnx for ONNX, or .pt2 for torch.export.load")
    options = parse(parser, arguments)
    path = Path(options.file)
    check_export(path)
    run = runs.load(options.run, with_data=False, checkpoint=options.checkpoint)
    is_vectors = len(run.model.event_shape) == 1
    data = runs.load(options.run, checkpoint=options.checkpoint).data if is_vectors else None  # which standardises
    assert data is None or isinstance(data, VectorData)
    export_classifier(run.model, run.class_names, path, data)
    print(path)


def name(arguments: list[str]) -> None:
    """`ssvae name`: name the classes of a run that nobody has labelled."""
    parser = run_parser(
        "name", "Name classes that nobody has labelled. All commands then use these names.", has_checkpoint=False
    )
    parser.add_argument("names", nargs="+", help='the names, such as "new 2=boots"')
    options = parse(parser, arguments)
    names: dict[str, str] = {}
    for each in options.names:
        old, separator, new = each.partition("=")
        if not separator:
            raise UsageError(f'names: expected "new 2=boots", for example; got {each!r}, which has no "=".')
        if old.strip() in names:
            raise UsageError(f"names: expected one name for each class; got two for {old.strip()!r}.")
        names[old.strip()] = new
    print("\n".join(runs.name_classes(options.run, names)))


def explore(arguments: list[str]) -> None:
    """`ssvae explore`: serve a local web page until Ctrl-C."""
    parser = run_parser(
        "explore",
        "Serve a local web page on which to try a run, or to compare two. Images: classify drawings, decode the latent "
        "space, sample. Points: look at the plane, and move labels. Tables: fill in a row.",
    )
    parser.add_argument("other", nargs="?", help="the folder of a second run to compare with")
    parser.add_argument("--num_samples", type=int, default=50, help="number of importance samples for each class")
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="the address to serve on; the default serves this machine only"
    )
    parser.add_argument("--port", type=int, default=8642, help="the port; 0 for any free port")
    parser.add_argument("--open", type=bool, default=True, help="whether to open the page in the browser")
    options = parse(parser, arguments)
    try:
        from ssvae.inference.explorer.answers import check_num_samples
        from ssvae.inference.explorer.serving import listen, serve
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise UsageError(
            f"{package}: expected the packages of the extra `explore`; pip install '.[explore]' installs them."
        ) from error
    folders = [folder for folder in (options.run, options.other) if folder is not None]
    check_num_samples(options.num_samples)
    # Bind the port first: a run takes seconds to load.
    with listen(options.host, options.port) as listening:
        explored = [runs.load(folder, checkpoint=options.checkpoint) for folder in folders]
        serve(explored, listening, num_samples=options.num_samples, open_page=options.open)


def features(arguments: list[str]) -> None:
    """`ssvae features`: scores of simple classifiers and a clustering on the latent means."""
    from ssvae.inference.applications.features import score_features

    parser = run_parser(
        "features", "Score the latent means as features, by a linear probe, nearest neighbours and k-means."
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for k-means")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    data = run.image_data
    print(
        "| on the test images | linear probe | 5 nearest neighbours | k-means | NMI | ARI |\n|---|---|---|---|---|---|"
    )
    for name, scores in score_features(run.model, data, seed=options.seed).items():
        shares = (scores.linear_probe, scores.nearest_neighbours, scores.clustering)
        cells = " | ".join("" if share is None else f"{share:.2%}" for share in shares)
        print(f"| {name} | {cells} | {scores.nmi:.3f} | {scores.ari:.3f} |")
    if scores.linear_probe is None:
        print("\nThe two classifiers are left out: they need labelled training images of at least two classes.")
    else:
        print(f"\nThe two classifiers were fitted to the {data.num_labelled} labelled training images.")


def score(arguments: list[str]) -> None:
    """`ssvae score`: scores of class samples by a reference classifier that was trained on all labels."""
    from ssvae.inference.applications.generation import score_generation, train_reference_classifier

    parser = run_parser(
        "score",
        "Score class samples of a run by a reference classifier, which is trained on all labels of the data set.",
    )
    parser.add_argument("--num_samples", type=int, default=100, help="number of samples of each class")
    parser.add_argument(
        "--max_steps",
        type=int,
        default=2000,
        help="number of training steps of the reference classifier, on 100 images each",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples and reference classifier")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    data = runs.with_all_labels(run.image_data)
    reference, accuracy = train_reference_classifier(data, max_steps=options.max_steps, seed=options.seed)
    scores_by_name = score_generation(run.model, data, reference, num_samples=options.num_samples, seed=options.seed)
    print("| images | agreement | diversity | Fréchet distance |\n|---|---|---|---|")
    for name, scores in scores_by_name.items():
        print(f"| {name} | {scores.agreement:.2%} | {scores.diversity:.3f} | {scores.frechet_distance:.3f} |")
    print(f"\nThe reference classifier has an accuracy of {accuracy:.2%} on the test images.")


def augment(arguments: list[str]) -> None:
    """`ssvae augment`: a classifier trained on the labelled images, with and without class samples."""
    from ssvae.inference.applications.more_images import train_on_samples

    parser = run_parser(
        "augment", "Train a classifier on the run's labelled images, with and without images that the run generates."
    )
    parser.add_argument("--num_samples", type=int, default=100, help="number of generated images of each class")
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples, weights and batches")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    data = run.image_data
    assert run.recipe is not None
    calibrations = train_on_samples(run.model, data, run.recipe, num_samples=options.num_samples, seed=options.seed)
    print("| trained on | accuracy | NLL (nats) | ECE |\n|---|---|---|---|")
    for name, calibration in calibrations.items():
        print(f"| {name} | {calibration.accuracy:.2%} | {calibration.nll:.3f} | {calibration.ece:.2%} |")


def attack(arguments: list[str]) -> None:
    """`ssvae attack`: adversarial attacks, with rejection, and reclassification of rejected images."""
    from ssvae.inference.applications import robustness
    from ssvae.inference.applications.attacks import check_attackable
    from ssvae.inference.applications.rejection import fit_rejection
    from ssvae.inference.runs.report import hardware, save_picture

    parser = run_parser(
        "attack",
        "Attack the test images, and print accuracy, error and rejection by two thresholds. The adaptive attack uses "
        "the thresholds, FGSM and PGD do not.",
    )
    parser.add_argument(
        "--epsilons",
        type=tuple[float, ...],
        default=(0.0, 0.05, 0.1, 0.2, 0.3),
        help="largest changes of a pixel, in [0, 1]",
    )
    parser.add_argument("--num_images", type=int, default=500, help="number of test images to attack, a random subset")
    parser.add_argument("--num_steps", type=int, default=40, help="number of steps of projected gradient descent")
    parser.add_argument(
        "--quantile", type=float, default=0.99, help="fraction of the validation images that passes a threshold"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for subset and starting points")
    parser.add_subclass_arguments(
        ImageData, "other", required=False, help="another data set, of which the rejected fraction is printed"
    )
    options = parse(parser, arguments)
    robustness.check_attack_options(options.epsilons, options.num_images, options.num_steps)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    data = run.image_data
    check_attackable(run.model)
    started = time.perf_counter()
    rule = fit_rejection(run.model, data, quantile=options.quantile)
    strength = {name: options[name] for name in ("epsilons", "num_images", "num_steps", "seed")}
    print(robustness.TABLE_HEADER)
    for result in robustness.run_attacks(run.model, data, rule, **strength):
        print("\n".join(result.rows()))
        save_picture(result.draw(), run.folder / "figures" / f"attack_{result.attack.lower()}.png")
    if options.other is not None:
        other = build(options.other.as_dict())
        rejection = robustness.reject_other(
            run.model, data, rule, other, num_images=options.num_images, seed=options.seed
        )
        print(
            f"\n{other.name}: {rejection.rejected:.1%} of {rejection.num_images} test images rejected, "
            f"AUROC {rejection.auroc:.3f}"
        )
    print(f"\nCurves: {run.folder / 'figures'}\n{time.perf_counter() - started:.0f} s; {hardware()}")


def study(arguments: list[str]) -> None:
    """`ssvae study`: do the remaining runs of a study, and write the table of all results."""
    from ssvae.inference.study import results
    from ssvae.inference.study.plan import read_plan
    from ssvae.inference.study.work import run_study

    parser = ArgumentParser(
        prog="ssvae study",
        description="Train a run for every model, data set, number of labels and seed in a study file, and write a "
        "table, a CSV file and a plot of all results. Finished runs are skipped, interrupted ones resumed. Further "
        "options, in the form --OPTION=VALUE, are options of `ssvae fit` and apply to every run.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("study", help="the study file in YAML, such as studies/mnist.yaml")
    parser.add_argument(
        "--folder",
        type=str | None,
        default=None,
        help="the folder of the study; null for runs/studies/<name of the study file>",
    )
    parser.add_argument(
        "--ray",
        type=str | None,
        default=None,
        help="address of a Ray cluster, auto or local; needs the extra ssvae[ray]",
    )
    own = [word for word in arguments if re.match(r"(?!--)|--(folder|ray|help|study)\b", word)]
    more = [word for word in arguments if word not in own]
    known = known_options(parser, {}) + known_options(fit_parser(), {})
    for word in more:
        name = word.partition("=")[0]
        if "." not in name and name not in {option.path for option in known}:  # each run checks the options of classes
            raise UsageError(f"{name}: expected an option of study or fit; got an unknown one.{suggest(name, known)}")
    without_value = [word for word in more if "=" not in word]
    if without_value:
        first = without_value[0]
        raise UsageError(f"{first}: expected an option for every run with its value, {first}=…; got no value.")
    options = parse(parser, own)
    plan = read_plan(options.study, tuple(more))
    folder = Path(options.folder or Path("runs") / "studies" / plan.name)
    # Ctrl-C ends the study and not only the run. The table is written after each run, since a study takes hours.
    failed = run_study(
        plan, folder, lambda words: _attempt(fit, "fit", words) == 0, options.ray, lambda: results.write(plan, folder)
    )
    table = results.write(plan, folder)
    if table is not None:
        print(f"\n{table}\nTable, CSV and plot: {folder / 'results.md'}, .csv, .png")
    if failed:
        raise StudyError(f"{len(failed)} of {len(plan.cells)} runs failed: {', '.join(failed)}.")
