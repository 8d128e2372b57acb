"""The command line: the only place where names become objects."""

import argparse
import csv
import io
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import Parameter
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace

from ssvae.data import ImageData
from ssvae.data.labels import check_count
from ssvae.inference import runs
from ssvae.inference.command_line.choices import CHOICES
from ssvae.inference.command_line.options import suggest
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
from ssvae.inference.storage.description import build, build_fields
from ssvae.inference.training.processes import is_first
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.inference.training.recipe_choice import (
    DEFAULT_EPOCHS,
    LIMITS,
    batch_size_for,
    for_colours,
    recipe_files,
)
from ssvae.models import SemiSupervisedModel

USAGE_ERROR, FAILURE = 2, 1

_LONGEST_SENTENCE = 1000
"""Characters; a sentence may quote what a file says."""


_OF_RUN = ("--config", "--recipe", "--resume", "--folder", "--baselines", "--print_config", "--data", "--model")
"""The options of `ssvae fit` that belong to no class."""


class StudyError(Exception):
    """A study of which some runs failed; each has said why."""


def run_command(command: str, arguments: list[str]) -> int:
    """Run a subcommand and turn what goes wrong into one sentence and an exit status.

    Args:
        command: The name of one of the functions below: "fit", "evaluate", …
        arguments: The words after it.

    Returns:
        0; 2 where the command or its input cannot be used; 1 where something failed on the way.
    """
    commands: dict[str, Callable[[list[str]], None]] = {
        "fit": fit,
        "evaluate": evaluate,
        "generate": generate,
        "classify": classify,
        "export": export,
        "explore": explore,
        "features": features,
        "score": score,
        "augment": augment,
        "attack": attack,
        "study": study,
    }
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name of a file that is not in UTF-8 keeps its bytes.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        return _attempt(commands[command], command, arguments)
    except KeyboardInterrupt as error:
        return _say(command, str(error) or "interrupted.", FAILURE)


def _attempt(function: Callable[[list[str]], None], command: str, arguments: list[str]) -> int:
    try:
        check_spaces(arguments)
        function(arguments)
    except OSError as error:
        if error.errno is None:  # one of this project's sentences: what was named is not there
            return _say(command, error, USAGE_ERROR)
        where = f": {error.filename}" if error.filename else ""
        return _say(command, f"{error.strerror}{where}", FAILURE)
    except (UsageError, ValueError, TypeError) as error:
        return _say(command, error, USAGE_ERROR)
    except ModuleNotFoundError as error:
        if not str(error).startswith(f"{error.name}: expected"):  # not one of this project's sentences
            raise
        return _say(command, error, USAGE_ERROR)
    except (FloatingPointError, StudyError) as error:
        return _say(command, error, FAILURE)
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for this on a CPU.
        if isinstance(error, RuntimeError) and not re.search("allocate memory|out of memory", str(error)):
            raise
        return _say(command, "memory: expected room for the sizes that were asked for; got none.", FAILURE)
    return 0


def _say(command: str, message: object, status: int) -> int:
    sentence = " ".join(str(message).split())
    shortened = sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]} …"
    print(f"ssvae {command}: {shortened}", file=sys.stderr)
    return status


def fit(arguments: list[str]) -> None:
    """`ssvae fit`: train a model and its baselines, evaluate, and write a run folder."""
    if {"-h", "--help"} & set(arguments):
        shown = help_of_fit([word for word in arguments if word not in ("-h", "--help")])
        shown.print_help()
        shown.exit()
    from ssvae.inference.runs.report import result, verdict

    given = given_options(arguments)
    if "--resume" in given:
        if others := [option for option in given if option != "--resume"]:
            raise UsageError(
                f"{others[0]}: expected no option beside --resume, which goes on as the run began; got one."
            )
        run = runs.resume(parse(_resume_parser(), arguments).resume)
    else:
        words = recipe_first(arguments)
        check_config(given.get("--config", ""))
        run = _fit_anew(parse(fit_parser(), words), given)
    if is_first():
        said = [result(run), verdict(run), f"The whole report, with pictures: {run.folder / 'report.md'}"]
        print("\n" + "\n\n".join(filter(None, said)))


def _fit_anew(options: Namespace, given: Mapping[str, str]) -> runs.Run:
    """Make the objects that the options name, and train; `given` are the options that the user typed."""
    if options.data is None:
        raise UsageError("--data: expected a data set, by --data or in the --config file; got none.")
    description = options.as_dict()
    check_count("seed", options.seed)
    # Before the model is made, so that the seed decides its initial weights too.
    torch.manual_seed(options.seed)
    data = build(description["data"])
    of_data = {"image_shape": data.image_shape, "num_classes": data.num_classes}
    of_model = description["model"]
    if data.image_shape[0] == 3 and not {"--config", "--data.binarise", "--model.likelihood"} & given.keys():
        changed = for_colours(of_model, data.binarise)
        if changed is not None:
            data.binarise, of_model = False, changed
    model = build({**of_model, "init_args": of_data | of_model.get("init_args", {})})
    if all(description[limit] is None for limit in LIMITS):
        description["max_epochs"] = DEFAULT_EPOCHS
    recipe = Recipe(**build_fields(Recipe, {name: description[name] for name in Recipe.__dataclass_fields__}))
    if not {"--batch_size", "--config"} & given.keys():
        recipe = replace(recipe, batch_size=batch_size_for(data, recipe.batch_size))
    if is_first() and "--config" not in given:
        print(f"recipe: {recipe_name(given)}")
    return runs.fit(model, data, recipe, folder=options.folder, baselines=options.baselines)


def fit_parser() -> ArgumentParser:
    """Return the parser of `ssvae fit`, whose options are the constructors' arguments."""
    parser = ArgumentParser(
        prog="ssvae fit",
        description="Train a semi-supervised VAE and its baselines, evaluate them, and write a run folder.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="options from a file, such as a run's config.yaml")
    parser.add_argument(
        "--recipe",
        help=f"options to start from: {', '.join(recipe_files())}, or none; others override them (default: the "
        "model's own, or few_labels; demo for Digits, mnist5k for MNIST5k)",
    )
    parser.add_argument("--resume", metavar="RUN", help="continue an interrupted run; takes no other option")
    parser.add_argument("--folder", type=str | None, help="the run folder (default: runs/<time>-<data>-<model>)")
    parser.add_argument("--baselines", type=bool, default=True, help="whether to train the baselines too")
    parser.add_subclass_arguments(ImageData, "data", help=f"the images: {names_of('data')} (default: Digits)")
    # The model's sizes are the data's.
    parser.add_subclass_arguments(
        SemiSupervisedModel, "model", skip={"image_shape", "num_classes"}, help=f"the model: {names_of('model')}"
    )
    parser.add_class_arguments(Recipe)
    parser.set_defaults({"model": {"class_path": "ssvae.models.M2"}})
    return parser


def help_of_fit(arguments: list[str]) -> argparse.ArgumentParser:
    """Return the help of `ssvae fit`: the options of the chosen classes with their current defaults.

    Args:
        arguments: The words that choose, such as --model GMVAE, and say what other options are.
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
    # Required options get placeholders, so that parsing succeeds.
    stand_ins = [f"{option.path}={'Digits' if option.part else 'NAME'}" for option in needed]
    flat = vars(parse(parser, [*words, *stand_ins]).as_flat())
    values = {f"--{name.replace('.init_args', '').removesuffix('.class_path')}": value for name, value in flat.items()}
    for option in needed:
        values = {path: value for path, value in values.items() if not f"{path}.".startswith(f"{option.path}.")}
    chosen = classes_named(values)
    of_run = [action for action in parser._actions if {*action.option_strings} & set(_OF_RUN)]
    options = [option for option in known_options(parser, chosen, others=False) if option.owner is not ArgumentParser]
    source = "the file" if "--config" in given else f"the recipe {recipe_name(given)}"
    names = " and ".join(chosen[path].__name__ for path in ("--data", "--model") if path in chosen)
    description = (
        f"{parser.description} These are the options for {names}, with their values by {source} as defaults; "
        "with --data NAME, --model NAME, --model.prior NAME or another choice beside --help, those for it."
    )
    return fit_help(description, of_run, options, values, CHOICES)


def _resume_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="ssvae fit --resume", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--resume", type=str, metavar="RUN", required=True)
    return parser


def evaluate(arguments: list[str]) -> None:
    """`ssvae evaluate`: accuracy, calibration and log-likelihood of a run, on the test images."""
    from ssvae.inference.evaluation.evaluation import evaluate as evaluate_model
    from ssvae.inference.runs.report import evaluation_lines
    from ssvae.inference.training.trainer import on_accelerator

    parser = run_parser("evaluate", "Accuracy, calibration and log-likelihood of a run, on the test images.")
    parser.add_argument("--num_samples", type=int, default=100, help="importance samples for each class")
    parser.add_argument("--num_images", type=int | None, help="test images for log p(x) and p(y|x) (default: all)")
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


def generate(arguments: list[str]) -> None:
    """`ssvae generate`: pictures of a run."""
    from ssvae.inference.runs.report import save_pictures

    parser = run_parser("generate", "Class samples, analogies, reconstructions and latent map of a run.")
    parser.add_argument("--output", type=str | None, help="folder for the pictures (default: RUN/figures)")
    parser.add_argument("--num_samples", type=int, default=10, help="samples of each class")
    parser.add_argument("--tsne", type=bool, default=False, help="draw the latent space by t-SNE too (slow)")
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    output = Path(options.output) if options.output else run.folder / "figures"
    for path in save_pictures(run, output, num_samples=options.num_samples, tsne=options.tsne, seed=options.seed):
        print(path)


def classify(arguments: list[str]) -> None:
    """`ssvae classify`: a line of CSV for each image."""
    from ssvae.data.image_files import find_images, read_image
    from ssvae.inference.predict import class_probabilities

    parser = run_parser("classify", "One line (CSV) per image: file, class, probability of each class.")
    parser.add_argument("images", nargs="+", help="image files, and folders of them")
    options = parse(parser, arguments)
    run = runs.load(options.run, with_data=False, checkpoint=options.checkpoint)
    paths = [path for name in options.images for path in find_images(Path(name))]
    # Read all images first, so that an error prints no partial table.
    images = torch.stack([read_image(str(path), run.model.image_shape, bits=run.bits) for path in paths])
    probabilities = class_probabilities(run.model, images / 255)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", *run.class_names])
    for path, row in zip(paths, probabilities.tolist(), strict=True):
        writer.writerow([path, run.class_names[row.index(max(row))], *(f"{value:.4f}" for value in row)])


def export(arguments: list[str]) -> None:
    """`ssvae export`: q(y|x) as a file that other programs run."""
    from ssvae.inference.runs.export import check_export, export_classifier

    parser = run_parser("export", "q(y|x), from pixels in [0, 1] to class probabilities, as a file for other programs.")
    parser.add_argument(
        "file", help="the file to write: classifier.onnx for ONNX, classifier.pt2 for torch.export.load"
    )
    options = parse(parser, arguments)
    path = Path(options.file)
    check_export(path)
    run = runs.load(options.run, with_data=False, checkpoint=options.checkpoint)
    export_classifier(run.model, run.class_names, path)
    print(path)


def explore(arguments: list[str]) -> None:
    """`ssvae explore`: a local page, until Ctrl-C."""
    parser = run_parser(
        "explore", "A local web page: classify drawings, decode the latent space, sample, compare two runs."
    )
    parser.add_argument("other", nargs="?", help="the folder of a second run, to compare with")
    parser.add_argument("--num_samples", type=int, default=50, help="importance samples for each class")
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="the address to serve on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8642, help="the port; 0 for any free one")
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
        found = [runs.load(folder, checkpoint=options.checkpoint) for folder in folders]
        serve(found, listening, num_samples=options.num_samples, open_page=options.open)


def features(arguments: list[str]) -> None:
    """`ssvae features`: what a run's latent means tell a simple classifier and a clustering."""
    from ssvae.inference.applications.features import score_features

    parser = run_parser("features", "Linear probe, nearest neighbours and clustering on the latent means.")
    parser.add_argument("--seed", type=int, default=0, help="random seed for k-means")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    print(
        "| on the test images | linear probe | 5 nearest neighbours | k-means | NMI | ARI |\n|---|---|---|---|---|---|"
    )
    for name, scores in score_features(run.model, run.data, seed=options.seed).items():
        shares = (scores.linear_probe, scores.nearest_neighbours, scores.clustering)
        cells = " | ".join("" if share is None else f"{share:.2%}" for share in shares)
        print(f"| {name} | {cells} | {scores.nmi:.3f} | {scores.ari:.3f} |")
    if scores.linear_probe is None:
        print("\nk-means alone: the classifiers learn from labelled training images of at least two classes.")
    else:
        print(f"\nThe classifiers learned from the {run.data.num_labelled} labelled training images.")


def score(arguments: list[str]) -> None:
    """`ssvae score`: class samples, scored by a classifier that was trained on all labels."""
    from ssvae.inference.applications.generation import score_generation, train_reference_classifier

    parser = run_parser("score", "Class samples, scored by a classifier that was trained on all labels.")
    parser.add_argument("--num_samples", type=int, default=100, help="samples of each class")
    parser.add_argument(
        "--max_steps", type=int, default=2000, help="optimiser steps of the reference classifier, on 100 images each"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of the samples and of the reference classifier"
    )
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    data = runs.with_all_labels(run.data)
    reference, accuracy = train_reference_classifier(data, max_steps=options.max_steps, seed=options.seed)
    found = score_generation(run.model, data, reference, num_samples=options.num_samples, seed=options.seed)
    print("| images | agreement | diversity | Fréchet distance |\n|---|---|---|---|")
    for name, scores in found.items():
        print(f"| {name} | {scores.agreement:.2%} | {scores.diversity:.3f} | {scores.frechet_distance:.3f} |")
    print(f"\nThe reference classifier puts {accuracy:.2%} of the test images into their class.")


def augment(arguments: list[str]) -> None:
    """`ssvae augment`: a classifier on the labelled images, with class samples beside them and without."""
    from ssvae.inference.applications.more_images import train_on_samples

    parser = run_parser("augment", "Train a classifier on the run's labels, with and without generated images.")
    parser.add_argument("--num_samples", type=int, default=100, help="samples of each class")
    parser.add_argument("--seed", type=int, default=0, help="random seed for samples, weights and batches")
    options = parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    assert run.recipe is not None
    found = train_on_samples(run.model, run.data, run.recipe, num_samples=options.num_samples, seed=options.seed)
    print("| trained on | accuracy | NLL (nats) | ECE |\n|---|---|---|---|")
    for name, calibration in found.items():
        print(f"| {name} | {calibration.accuracy:.2%} | {calibration.nll:.3f} | {calibration.ece:.2%} |")


def attack(arguments: list[str]) -> None:
    """`ssvae attack`: adversarial images, what is rejected of them, and what the decoder makes of the rejected."""
    from ssvae.inference.applications import robustness
    from ssvae.inference.applications.attacks import check_attackable
    from ssvae.inference.applications.rejection import fit_rejection
    from ssvae.inference.runs.report import save_picture

    parser = run_parser(
        "attack",
        "Adversarial test images: accuracy, error and rejection by two thresholds, under attacks that know nothing of "
        "the thresholds (FGSM, PGD) and under one that does (adaptive).",
    )
    parser.add_argument(
        "--epsilons", type=tuple[float, ...], default=(0.0, 0.05, 0.1, 0.2, 0.3), help="changes of a pixel in [0, 1]"
    )
    parser.add_argument("--num_images", type=int, default=500, help="the largest number of test images to attack")
    parser.add_argument("--num_steps", type=int, default=40, help="steps of projected gradient descent")
    parser.add_argument("--quantile", type=float, default=0.99, help="fraction of validation images below a threshold")
    parser.add_argument("--seed", type=int, default=0, help="random seed for starting points")
    parser.add_subclass_arguments(ImageData, "other", required=False, help="a data set of out-of-distribution images")
    options = parse(parser, arguments)
    robustness.check_attack_options(options.epsilons, options.num_images, options.num_steps)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    check_attackable(run.model)
    rule = fit_rejection(run.model, run.data, quantile=options.quantile)
    strength = {name: options[name] for name in ("epsilons", "num_images", "num_steps", "seed")}
    print(robustness.TABLE_HEADER)
    for result in robustness.run_attacks(run.model, run.data, rule, **strength):
        print("\n".join(result.rows()))
        save_picture(result.draw(), run.folder / "figures" / f"attack_{result.attack.lower()}.png")
    if options.other is not None:
        other = build(options.other.as_dict())
        found = robustness.reject_other(run.model, run.data, rule, other, num_images=options.num_images)
        print(
            f"\n{other.name}: {found.rejected:.1%} of {found.num_images} test images rejected, AUROC {found.auroc:.3f}"
        )
    print(f"\nCurves: {run.folder / 'figures'}")


def study(arguments: list[str]) -> None:
    """`ssvae study`: do what is left of a study, and write one table of it."""
    from ssvae.inference.study import results
    from ssvae.inference.study.plan import read_plan
    from ssvae.inference.study.work import run_study

    parser = ArgumentParser(
        prog="ssvae study",
        description="Models, data, numbers of labels and seeds: a run folder for each, one table, CSV and plot of all. "
        "Goes on where it was stopped. Options that it does not know are those of `ssvae fit`, for every run.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("study", help="a YAML file, such as studies/mnist.yaml")
    parser.add_argument("--folder", type=str | None, default=None, help="default: runs/studies/<name of the file>")
    parser.add_argument(
        "--ray", type=str | None, default=None, help="a Ray cluster's address, auto or local; needs ssvae[ray]"
    )
    own = [word for word in arguments if re.match(r"(?!--)|--(folder|ray|help|study)\b", word)]
    more = [word for word in arguments if word not in own]
    known = known_options(parser, {}) + known_options(fit_parser(), {})
    for word in more:
        name = word.partition("=")[0]
        if "." not in name and name not in {option.path for option in known}:  # those of classes are the runs' affair
            raise UsageError(f"{name}: expected an option of study or fit; got an unknown one.{suggest(name, known)}")
    odd = [word for word in more if "=" not in word]
    if odd:
        raise UsageError(f"{odd[0]}: expected an option for every run with its value, {odd[0]}=…; got none.")
    options = parse(parser, own)
    plan = read_plan(options.study, tuple(more))
    folder = Path(options.folder or Path("runs") / "studies" / plan.name)
    # Ctrl-C ends the study and not only the run. A study takes hours: there is a table from the first run on.
    failed = run_study(
        plan, folder, lambda words: _attempt(fit, "fit", words) == 0, options.ray, lambda: results.write(plan, folder)
    )
    table = results.write(plan, folder)
    if table is not None:
        print(f"\n{table}\nTable, CSV and plot: {folder / 'results.md'}, .csv, .png")
    if failed:
        raise StudyError(f"{len(failed)} of {len(plan.cells)} runs failed: {', '.join(failed)}.")
