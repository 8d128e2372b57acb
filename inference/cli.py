"""The command line: the only place where names become objects."""

import csv
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from data import MNIST, SVHN, Digits, FashionMNIST, ImageData, ImageFolder
from inference import runs
from inference.training import Recipe
from models import M2, SemiSupervisedModel, likelihoods, networks, priors

USAGE_ERROR, FAILURE = 2, 1

CHOICES: dict[str, tuple[type, ...]] = {
    "data": (Digits, MNIST, FashionMNIST, SVHN, ImageFolder),
    "model": (M2,),
    "prior": (
        priors.StandardNormal,
        priors.GaussianMixture,
        priors.ClassConditional,
        priors.VampPrior,
        priors.NormalizingFlow,
    ),
    "likelihood": (
        likelihoods.Bernoulli,
        likelihoods.ContinuousBernoulli,
        likelihoods.Gaussian,
        likelihoods.DiscretizedLogistic,
    ),
    "networks": (networks.MLP, networks.Convolutional),
    "classifier": (networks.MLP, networks.Convolutional),
}
"""What can be named after --data, --model, --model.prior, …; any other class by its import path."""


class UsageError(Exception):
    """A command that cannot be understood: one sentence for the user."""


def run_command(command: str, arguments: list[str]) -> int:
    """Run a subcommand and turn what goes wrong into one sentence and an exit status.

    Args:
        command: "fit", "evaluate", "generate" or "classify".
        arguments: The words after it.

    Returns:
        0; 2 where the command or its input cannot be used; 1 where something failed on the way.
    """
    commands: dict[str, Callable[[list[str]], None]] = {
        "fit": fit,
        "evaluate": evaluate,
        "generate": generate,
        "classify": classify,
    }
    try:
        commands[command](arguments)
    except (UsageError, ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        return _say(command, error, USAGE_ERROR)
    except FloatingPointError as error:
        return _say(command, error, FAILURE)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _say(command, f"{error.strerror or error}{where}", FAILURE)
    except KeyboardInterrupt:
        return _say(command, "interrupted; ssvae fit --resume goes on from the last epoch that was saved.", FAILURE)
    return 0


def _say(command: str, message: object, status: int) -> int:
    print(f"ssvae {command}: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def fit(arguments: list[str]) -> None:
    """`ssvae fit`: train a model and its baselines, evaluate, and write a run folder."""
    parser = fit_parser()
    if "--resume" in arguments or any(word.startswith("--resume=") for word in arguments):
        namespace = _parse(_resume_parser(), arguments)
        run = runs.resume(namespace.resume)
    else:
        namespace = _parse(parser, [*_recipe_first(arguments)])
        # Before the model is made, so that the seed decides its initial weights too.
        torch.manual_seed(namespace.seed)
        with torch.random.fork_rng():
            objects = parser.instantiate(namespace)
        recipe = {name: getattr(objects, name) for name in Recipe.__dataclass_fields__}
        torch.manual_seed(namespace.seed)
        run = runs.fit(objects.model, objects.data, folder=objects.folder, baselines=objects.baselines, **recipe)
    print((run.folder / "report.md").read_text().split("\n## ")[1].join(["## ", ""]))
    print(f"The whole report, with pictures: {run.folder / 'report.md'}")


def fit_parser() -> ArgumentParser:
    """Return the parser of `ssvae fit`, whose options are the constructors' arguments."""
    parser = ArgumentParser(
        prog="ssvae fit",
        description="Train a semi-supervised VAE and its baselines, evaluate them, and write a run folder.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    recipes = ", ".join(sorted(path.name.removesuffix(".yaml") for path in _recipes().iterdir()))
    parser.add_argument("--config", action=ActionConfigFile, help="options from a file, such as a run's config.yaml")
    parser.add_argument(
        "--recipe",
        help=f"options to start from: {recipes}, or none; others override them (default: demo, or few_labels where "
        "--data is given)",
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted run; takes no other option")
    parser.add_argument("--folder", type=str | None, help="the run folder (default: runs/<time>-<data>-<model>)")
    parser.add_argument("--baselines", type=bool, default=True, help="whether to train the baselines too")
    parser.add_subclass_arguments(ImageData, "data", help="the images: " + _names("data"))
    parser.add_subclass_arguments(SemiSupervisedModel, "model", help="the model: " + _names("model"))
    parser.add_class_arguments(Recipe)
    for name in ("image_shape", "num_classes"):
        parser.link_arguments("data", f"model.init_args.{name}", compute_fn=_attribute(name), apply_on="instantiate")
    parser.set_defaults({"model": {"class_path": "models.M2"}})
    return parser


def _attribute(name: str) -> Callable[[ImageData], Any]:
    def of(data: ImageData) -> Any:  # noqa: ANN401
        return getattr(data, name)

    return of


def _resume_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="ssvae fit --resume", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--resume", type=str, metavar="RUN", required=True)
    return parser


def _recipes() -> Any:  # noqa: ANN401
    return files("inference") / "recipes"


def _recipe_first(arguments: list[str]) -> list[str]:
    """Put the recipe's options before the others, so that they override it."""
    given = [word.split("=", 1)[0] for word in arguments]
    if "--config" in given:
        return arguments
    name = "few_labels" if "--data" in given else "demo"
    if "--data" not in given:
        # Not as the parser's default: the default's own defaults would stay when --data names another set.
        arguments = ["--data=Digits", *arguments]
        given = ["--data", *given]
    if "--recipe" in given:
        position = given.index("--recipe")
        _, equals, name = arguments[position].partition("=")
        name = name if equals else "".join(arguments[position + 1 : position + 2])
    known = sorted(path.name.removesuffix(".yaml") for path in _recipes().iterdir())
    if name == "none":
        return arguments
    if name not in known:
        raise UsageError(f"--recipe: expected one of {', '.join([*known, 'none'])}; got {name!r}.{_hint(name, known)}")
    recipe = yaml.safe_load((_recipes() / f"{name}.yaml").read_text())
    # A recipe does not name its data set: were the class in its file, its defaults would stay when --data names
    # another one. So what it says of the data comes last, as options.
    of_data = {f"--data.{option}": value for option, value in recipe.pop("data", {}).items()}
    last = [f"{option}={value}" for option, value in of_data.items() if option not in given]
    return ["--config", yaml.safe_dump(recipe), *arguments, *last]


def evaluate(arguments: list[str]) -> None:
    """`ssvae evaluate`: accuracy, calibration and log-likelihood of a run, on the test images."""
    from inference.evaluation import evaluate as evaluate_model
    from inference.report import evaluation_lines

    parser = _run_parser("evaluate", "Accuracy, calibration and log-likelihood of a run, on the test images.")
    parser.add_argument("--num_samples", type=PositiveInt, default=100, help="importance samples for each class")
    parser.add_argument("--num_images", type=PositiveInt | None, help="test images for them (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the binarisation")
    options = _parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    assert run.data is not None
    evaluation = evaluate_model(
        run.model, run.data, num_samples=options.num_samples, num_images=options.num_images, seed=options.seed
    )
    print("\n".join(evaluation_lines(evaluation, run.data)))


def generate(arguments: list[str]) -> None:
    """`ssvae generate`: pictures of a run."""
    from inference.report import save_pictures

    parser = _run_parser("generate", "Class samples, analogies, reconstructions and latent map of a run.")
    parser.add_argument("--output", type=str | None, help="folder for the pictures (default: RUN/figures)")
    parser.add_argument("--num_samples", type=PositiveInt, default=10, help="samples of each class")
    parser.add_argument("--tsne", type=bool, default=False, help="map the latent space by t-SNE too")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    options = _parse(parser, arguments)
    run = runs.load(options.run, checkpoint=options.checkpoint)
    output = Path(options.output) if options.output else run.folder / "figures"
    for path in save_pictures(run, output, num_samples=options.num_samples, tsne=options.tsne, seed=options.seed):
        print(path)


def classify(arguments: list[str]) -> None:
    """`ssvae classify`: a line of CSV for each image."""
    from data.folder import find_images, read_image
    from inference.evaluation import class_probabilities

    parser = _run_parser("classify", "One line (CSV) per image: file, class, probability of each class.")
    parser.add_argument("images", nargs="+", help="image files, and folders of them")
    options = _parse(parser, arguments)
    run = runs.load(options.run, with_data=False, checkpoint=options.checkpoint)
    paths = [path for name in options.images for path in find_images(Path(name))]
    # Everything is read before anything is printed: no half a table.
    images = torch.stack([read_image(str(path), run.model.image_shape) for path in paths])
    probabilities = class_probabilities(run.model, images / 255)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", *run.class_names])
    for path, row in zip(paths, probabilities.tolist(), strict=True):
        writer.writerow([path, run.class_names[row.index(max(row))], *(f"{value:.4f}" for value in row)])


def _run_parser(command: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(prog=f"ssvae {command}", description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("run", help="the run folder")
    parser.add_argument(
        "--checkpoint", choices=["last", "best"], default="last", help="best: of the highest validation accuracy"
    )
    return parser


def _parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    for position, word in enumerate(arguments[:-1]):
        _check_choice(word, arguments[position + 1])
    for word in arguments:
        if word.startswith("--") and "=" in word:
            _check_choice(*word.split("=", 1))
    try:
        return parser.parse_args(arguments)
    except Exception as error:  # jsonargparse answers in paragraphs, and not always with an ArgumentError
        raise UsageError(_explain(str(error), arguments, parser)) from error


def _check_choice(option: str, value: str) -> None:
    """Refuse a name that is none, with the nearest that is one."""
    kind = option.removeprefix("--").rpartition(".")[2]
    if not option.startswith("--") or kind not in CHOICES or not re.fullmatch(r"[A-Za-z_]\w*", value):
        return
    names = [each.__name__ for each in CHOICES[kind]]
    if value not in (*names, "null"):
        raise UsageError(f"{option}: expected one of {', '.join(names)}; got {value!r}.{_hint(value, names)}")


def _explain(message: str, arguments: list[str], parser: ArgumentParser) -> str:
    """Find the sentence in jsonargparse's paragraphs."""
    options = [option for action in parser._actions for option in action.option_strings]
    if found := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        class_path, option = found.groups()
        name = class_path.rpartition(".")[2]
        known = [each for kinds in CHOICES.values() for each in kinds if each.__name__ == name]
        accepted = _accepted(known[0]) if known else []
        return f"{option}: expected an option of {name} ({', '.join(accepted)}); got an unknown one.{_hint(option, accepted)}"
    if found := re.search(r"unrecognized arguments: (\S+)", message, re.IGNORECASE):
        return f"{found[1]}: expected an option of {parser.prog}; got an unknown one.{_hint(found[1], options)}"
    if found := re.search(r"Key '([\w.]+)' is not expected|No action for (?:destination )?key '([\w.]+)'", message):
        key = found[1] or found[2]
        return f"{key}: expected an option of {parser.prog}; got an unknown one.{_hint('--' + key, options)}"
    if found := re.search(r"Parser key \"([\w.]+)\":\s+(.*)", message, re.DOTALL):
        key, problem = found[1], " ".join(found[2].replace("- ", "").split())
        wanted = re.search(r"Expected an? <class '(\w+)'>. Got value: (.*?)(?: |$)", problem)
        if wanted:
            return f"--{key}: expected {wanted[1]}; got {wanted[2]!r}."
        return f"--{key}: {problem[:300]}"
    return " ".join(message.split())[:400]


def _accepted(kind: type) -> list[str]:
    import inspect

    return [name for name in inspect.signature(kind).parameters if name not in ("image_shape",)]


def _names(kind: str) -> str:
    return ", ".join(each.__name__ for each in CHOICES[kind])


def _hint(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""
