"""Runs: train a model with its baselines, and write, load or resume the run folder."""

import copy
import hashlib
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

import torch
import yaml

from ssvae.data import Data
from ssvae.data.yaml_files import read_yaml
from ssvae.inference._lightning import Callback, Logger
from ssvae.inference.evaluation.calibration import calibrate
from ssvae.inference.evaluation.comparison import Comparison, compare
from ssvae.inference.evaluation.evaluation import calibrate_main_classes, discover_classes, evaluate
from ssvae.inference.nearest import did_you_mean, nearest
from ssvae.inference.objective.objective import Objective
from ssvae.inference.predict import predict_probabilities, seeded
from ssvae.inference.runs.class_names import named, rename
from ssvae.inference.runs.run import Run
from ssvae.inference.storage.checkpoints import FORMAT, METADATA, AtomicCheckpointIO, check_trained, read_checkpoint
from ssvae.inference.storage.description import Description, build, build_options, describe, holds_arrays, without_files
from ssvae.inference.storage.files import write_atomically
from ssvae.inference.storage.trained_on import KEY, is_unchanged, restore, trained_on
from ssvae.inference.storage.weights import save_weights
from ssvae.inference.training.checks import check_trainable
from ssvae.inference.training.loggers import check_callbacks, check_logger
from ssvae.inference.training.processes import connected, is_first
from ssvae.inference.training.recipe import Recipe
from ssvae.inference.training.recipe_choice import RecipeOptions, recipe_for
from ssvae.inference.training.trainer import on_accelerator
from ssvae.inference.training.training import train
from ssvae.models import SemiSupervisedModel

SomeData = TypeVar("SomeData", bound=Data)

LoggerChoice = Literal["mlflow", "wandb"] | Logger | Sequence[Logger] | None

REPORT_IMAGES, REPORT_PHOTOS, FEWEST_REPORT_PHOTOS = 1000, 100, 50
"""The number of test images for importance sampling in the report, see `report_images`; ``ssvae evaluate`` uses all."""

_FEW_VALUES, _VALUES_OF_A_PHOTO = 10 * 32 * 32, 10 * 3 * 32 * 32

_CHECKED_IMAGES = 1000

_FORMAT_OF_FEATURES = 5
"""The first format of runs whose encoders see the likelihood's ``features``."""


def fit(
    model: SemiSupervisedModel,
    data: Data,
    recipe: Recipe | str | None = None,
    *,
    folder: str | None = None,
    baselines: bool = True,
    callbacks: Callback | Sequence[Callback] = (),
    logger: LoggerChoice = None,
    **options: Unpack[RecipeOptions],
) -> Run:
    """Train a model and its baselines, evaluate them on the test images, and write a run folder.

    Example:
        >>> import ssvae
        >>> data = ssvae.Digits(num_labels=100)
        >>> model = ssvae.M2(data.event_shape, data.num_classes, likelihood=ssvae.likelihoods.ContinuousBernoulli())
        >>> run = ssvae.fit(model, data, max_steps=500)  # doctest: +SKIP
        >>> run.evaluation.classifier.accuracy  # doctest: +SKIP

    Args:
        model: The model, trained in place. Afterwards it has the weights of the last epoch; with a teacher, those of
            the teacher.
        data: The data set.
        recipe: A recipe, or the name of one, such as "few_labels". Of a named recipe only the settings of training
            apply. None for the recipe named after the model, such as gmvae; if there is none, for demo with `Digits`,
            mnist5k with `MNIST5k`, photos with `ImageFolder`, `SVHN` and other images in colour, and few_labels with
            all other data. The name is printed.
        folder: The run folder, which must not exist; None for runs/<time>-<data>-<model>.
        baselines: Whether to train the baselines: the same classifier with the same labels, steps and augmentation, but
            without the generative terms (supervised); and, if the recipe has consistency and there are unlabelled
            observations, with consistency alone.
        callbacks: Lightning callbacks, such as EarlyStopping("validation_accuracy", mode="max"), for the training of
            the model, not of the baselines. Their metrics are the columns of metrics.csv. With callbacks every epoch
            has a row.
        logger: "mlflow" or "wandb", as ``trainer.logger``, or one or several Lightning loggers, such as
            CSVLogger("logs"). They log the training of the model, not of the baselines.
        **options: Fields of `Recipe`, which override those of the recipe: max_epochs, max_steps, batch_size,
            learning_rate, objective, augmentation, trainer, seed, … A given max_epochs or max_steps replaces both
            limits of the recipe.

    Returns:
        The run, with its evaluation on the test images.

    Raises:
        TypeError: If model, data, recipe or an option is of the wrong type.
        ValueError: If the recipe or an option does not exist, an option is invalid, the model does not fit the data, or
            the package of a logger is missing.
        FileExistsError: If the run folder exists.
        FloatingPointError: If the loss is no longer finite.
    """
    if not isinstance(model, SemiSupervisedModel):
        raise TypeError(f"model: expected a SemiSupervisedModel; got {type(model).__name__}.")
    _check_data(data)
    chosen, name = recipe_for(recipe, model, data, options)
    chosen, extras = _with_logger(chosen, callbacks, logger)
    check_sizes(model, data)
    check_likelihood(model, data)
    check_trainable(model, data, chosen, folder)
    if folder is not None and not is_first():
        return _train_and_evaluate(Path(folder), model, data, chosen, baselines, extras)
    config = _config(model, data, chosen, baselines)
    target = _new_folder(folder, data, type(model).__name__)
    write_atomically(target / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    metadata = {"format": FORMAT, "model": without_files(describe(model)), KEY: trained_on(data)}
    if config["data"] is None:
        metadata["data"] = _digest(data)
    start = {"state_dict": model.state_dict(), METADATA: metadata}
    AtomicCheckpointIO().save_checkpoint(start, _initial(target))
    if name is not None:
        print(f"recipe: {name}")
    return _train_and_evaluate(target, model, data, chosen, baselines, extras)


def resume(
    folder: str,
    data: Data | None = None,
    *,
    callbacks: Callback | Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
) -> Run:
    """Resume an interrupted run from its last saved epoch.

    On a CPU its final weights are those of an uninterrupted run, bit for bit.

    Args:
        folder: The run folder.
        data: The data set, if the run was trained on arrays in memory; None for the data set in its config.yaml.
        callbacks: The Lightning callbacks that the run began with. Their states are loaded from the checkpoint.
        logger: Lightning loggers. A logger that the run has by name begins a second run of that name.

    Returns:
        The run, with its evaluation on the test images.

    Raises:
        TypeError: If ``data`` is not an `Data`.
        FileNotFoundError: If there is no such run, or it was stopped before its initial weights were saved.
        ValueError: If its files are damaged, or ``data`` is not the data set that it was trained on.
    """
    target = Path(folder)
    config = _read_config(target)
    if not _initial(target).exists():
        raise FileNotFoundError(
            f"run: expected saved weights; got {target}, which was stopped before its first weights were saved. Remove "
            "it, and train anew."
        )
    if data is None:
        _check_data_named(config, target)
    else:
        _check_data(data)
        if config["data"] is not None:
            raise ValueError(f"data: expected None, as {target / 'config.yaml'} names the data set; got {data.name}.")
    saved = read_checkpoint(_initial(target))
    with _made_by_this_version(target, saved):
        if data is None:
            data = _build_data(config, target)
        recipe = _build_recipe(config, target)
        model = _load_model(_initial(target), saved, config)
    recipe, extras = _with_logger(recipe, callbacks, logger)
    metadata = saved[METADATA]
    check_sizes(model, data)
    if not is_unchanged(data, metadata.get(KEY)) or (config["data"] is None and metadata.get("data") != _digest(data)):
        raise ValueError(f"data: expected the {data.item}s and labels that {target} began with; got others.")
    restore(data, metadata.get(KEY))
    return _train_and_evaluate(target, model, data, recipe, config["baselines"], extras)


def load(folder: str, *, with_data: bool = True, checkpoint: str = "last") -> Run:
    """Load the model of a run, with its data and recipe or without.

    Args:
        folder: The run folder.
        with_data: Whether to load the data set and the recipe too.
        checkpoint: "last", or "best" for the epoch of the highest validation accuracy.

    Returns:
        The run, without an evaluation.

    Raises:
        FileNotFoundError: If there is no such run, or it has not saved an epoch yet.
        ValueError: If a file is damaged, or ``with_data`` is set but the data were arrays in memory, or vectors whose
            features have other names, kinds or categories now.
    """
    target = Path(folder)
    config = _read_config(target)
    if with_data:
        _check_data_named(config, target)
    path = target / "checkpoints" / f"{checkpoint}.ckpt"
    if checkpoint == "best" and not path.exists() and path.with_name("last.ckpt").exists():
        raise FileNotFoundError(
            f"checkpoint: expected last, as {target} has no best epoch, which validation labels would tell; got best."
        )
    saved = read_checkpoint(path)
    with _made_by_this_version(target, saved):
        model = _load_model(path, saved, config)
        check_trained(saved, path)
    metadata = saved[METADATA]
    run = Run(target, model.eval(), named(target, metadata["class_names"]), history=metadata["history"])
    run.bits = _bits(config["data"])
    run.seconds["model"] = metadata["seconds"]
    if with_data:
        with _made_by_this_version(target, saved):
            run.data = _build_data(config, target)
            run.recipe = _build_recipe(config, target)
        check_sizes(model, run.data)
        restore(run.data, metadata.get(KEY))
        run.data.class_names = run.class_names  # with the names that a user has given to new classes
    return run


def name_classes(folder: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Name classes that nobody has labelled. `load` and all that uses it then have these names.

    The names are in class_names.json of the run folder, and in the metadata of model.safetensors.

    Args:
        folder: The run folder.
        names: The names by "new 1", "new 2", …, or by the name that a class has been given already.

    Returns:
        The names of all classes.

    Raises:
        FileNotFoundError: If there is no such run, or it has not saved an epoch yet.
        ValueError: If a class is not one that nobody has labelled, or a name is empty, not printable, or another
            class's; nothing is written then.
    """
    run = load(folder, with_data=False)
    saved = read_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    class_names = rename(run.folder, saved[METADATA]["class_names"], names)
    weights = run.folder / "model.safetensors"
    if weights.is_file():
        save_weights(run.model, class_names, weights)
    return class_names


def with_all_labels(data: SomeData) -> SomeData:
    """Return the same data set with all labels, including those that ``num_labels`` hides from training.

    Raises:
        ValueError: If the data set cannot be read again: it has no ``num_labels``, or was made from arrays.
    """
    description = describe(data)
    if holds_arrays(data) or "num_labels" not in description["init_args"]:
        raise ValueError(f"data: expected a data set that can be read again with all labels; got {data.name}.")
    if data.has_new_classes and data.has_labels:
        raise ValueError(f"data: expected a label of every class; got {data.name}, some of whose classes have none.")
    changed = {"num_labels": None} | ({"num_coarse_labels": 0} if data.hierarchy is not None else {})
    labelled = build({**description, "init_args": description["init_args"] | changed})
    assert isinstance(labelled, type(data))
    return labelled


def baseline_objectives(objective: Objective) -> dict[str, Objective]:
    """Return the objectives of the baselines: the classifier's terms without the generative ones."""
    if not objective.generative:
        return {}
    # With alpha = 0 the supervised baseline would not be trained at all. It then gets the default alpha.
    supervised = replace(objective, generative=False, consistency=None, alpha=objective.alpha or Objective().alpha)
    objectives = {"supervised": supervised}
    if objective.consistency is not None:
        objectives["consistency alone"] = replace(objective, generative=False)
    return objectives


def report_images(data: Data) -> int:
    """Return the number of test images for log p(x) and p(y|x) in the report, so that it takes less than training.

    Importance sampling decodes an image for each class and sample. In a convolutional decoder a photo of 32×32 pixels
    and ten classes takes about half a second of a processor core. The number depends on the data alone, not on the
    machine's speed, so that a run has the same report everywhere: 1000 up to 32×32 in grey with ten classes, 100 up to
    32×32 in colour, fewer if images are larger or classes more, but at least 50.
    """
    values = data.num_classes * math.prod(data.event_shape)
    if values <= _FEW_VALUES:
        number = REPORT_IMAGES
    else:
        as_costly = REPORT_PHOTOS * _VALUES_OF_A_PHOTO // values
        number = min(REPORT_PHOTOS, max(FEWEST_REPORT_PHOTOS, as_costly))
    return min(number, len(data.test_x))


def check_sizes(model: SemiSupervisedModel, data: Data) -> None:
    """Raise ValueError unless the model fits the data set: image shape, number of classes, and partial labels."""
    if tuple(model.event_shape) != tuple(data.event_shape):
        raise ValueError(f"model: expected one for images of {data.event_shape}; got one for {model.event_shape}.")
    if model.num_classes != data.num_classes:
        raise ValueError(f"model: expected one for {data.num_classes} classes; got one for {model.num_classes}.")
    if data.num_partially_labelled and model.has_label_site and not model.sums_over_class:
        raise ValueError(
            f"model: expected one that sums over the candidate classes, as {data.num_partially_labelled} images are "
            f"partially labelled; got {type(model).__name__}, which does not."
        )


def check_likelihood(model: SemiSupervisedModel, data: Data) -> None:
    """Raise ValueError unless the likelihood has a density for the pixels of the training images, missing ones too."""
    if data.has_missing and not model.likelihood.admits_missing:
        raise ValueError(
            f"likelihood: expected one that admits missing entries, as {data.name} has some; got {model.likelihood}: "
            f"write likelihoods.MissingEntries({model.likelihood})."
        )
    with torch.random.fork_rng(devices=[]):
        model.likelihood.check(data.observe(data.preprocess(data.train_x[:_CHECKED_IMAGES])))


def _with_logger(
    recipe: Recipe, callbacks: Callback | Sequence[Callback], logger: LoggerChoice
) -> tuple[Recipe, tuple[Sequence[Callback], Sequence[Logger]]]:
    """Return the recipe, with a logger given by name, and the Lightning callbacks and loggers as sequences."""
    loggers: Sequence[Logger] = ()
    if isinstance(logger, str):
        recipe = replace(recipe, trainer=replace(recipe.trainer, logger=logger))
    elif logger is not None:
        loggers = (logger,) if isinstance(logger, Logger) else logger
    callbacks = callbacks if isinstance(callbacks, Sequence) else (callbacks,)
    check_callbacks(callbacks, loggers)
    check_logger(recipe.trainer.logger)
    return recipe, (callbacks, loggers)


def _train_and_evaluate(
    folder: Path,
    model: SemiSupervisedModel,
    data: Data,
    recipe: Recipe,
    baselines: bool,
    extras: tuple[Sequence[Callback], Sequence[Logger]],
) -> Run:
    from ssvae.inference.runs.problems import problems
    from ssvae.inference.runs.report import summary, write_report

    run = Run(folder, model, named(folder, data.class_names), data, recipe, bits=_bits(describe(data)))
    if is_first():
        print(summary(run), flush=True)
    try:
        with connected():
            _train(run, baselines, extras)
        # Only the first process evaluates, so that each test image counts once.
        if is_first():
            with on_accelerator(model, recipe.trainer):
                if len(data.test_x):
                    run.evaluation = evaluate(model, data, num_images=report_images(data), progress_bar=True)
                    run.comparisons = _comparisons(run)
                run.problems = problems(run)
                write_report(run)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted; {_resuming(folder, data)} continues from the last saved epoch."
        ) from error
    return run


def _train(run: Run, baselines: bool, extras: tuple[Sequence[Callback], Sequence[Logger]]) -> None:
    """Train a run's model, then its baselines from the same initial weights."""
    assert run.data is not None
    assert run.recipe is not None
    # The progress bar is drawn on stdout.
    interactive = sys.stdout.isatty() or "ipykernel" in sys.modules
    untrained = copy.deepcopy(run.model)
    run.history = train(run.model, run.data, run.recipe, run.folder, interactive, *extras, task="training")
    run.seconds["model"] = run.history[-1]["seconds"]
    if is_first():
        save_weights(run.model, run.class_names, run.folder / "model.safetensors")
    if not (baselines and run.data.has_labels):
        return
    recipe = replace(run.recipe, trainer=replace(run.recipe.trainer, logger=None))
    # Without unlabelled observations consistency compares nothing: both baselines would be the same.
    objective = recipe.objective if run.data.num_unlabelled else replace(recipe.objective, consistency=None)
    for name, of_baseline in baseline_objectives(objective).items():
        if is_first():
            print(f"baseline: {name}", flush=True)
        with seeded(run.recipe.seed):
            baseline = untrained.baseline()
        folder = run.folder / "baselines" / name.replace(" ", "_")
        task = f"baseline: {name}"
        rows = train(baseline, run.data, replace(recipe, objective=of_baseline), folder, interactive, task=task)
        run.seconds[name] = rows[-1]["seconds"]
        if len(run.data.test_x) and is_first():
            with on_accelerator(baseline, run.recipe.trainer):
                probabilities = predict_probabilities(baseline, run.data, run.data.test_x)
            discovery = discover_classes(probabilities, run.data)
            if discovery is not None:
                run.discoveries[name], probabilities = discovery, discovery.reorder(probabilities)
            run.baselines[name] = calibrate(probabilities, run.data.test_labels)
            run.baseline_probabilities[name] = probabilities
            if main_classes := calibrate_main_classes(probabilities, run.data):
                run.main_class_baselines[name] = main_classes


def _comparisons(run: Run) -> dict[str, Comparison]:
    """Compare a run with its baselines on the test images of the classes that have labels.

    A baseline cannot know of the other classes: the accuracy on their images does not say which classifier is better.
    """
    assert run.data is not None
    assert run.evaluation is not None
    labels = run.evaluation.labels
    known = labels < run.data.num_known_classes
    if not known.any():
        return {}
    return {
        name: compare(run.evaluation.probabilities[known], others[known], labels[known])
        for name, others in run.baseline_probabilities.items()
    }


def _check_data(data: Data) -> None:
    if not isinstance(data, Data):
        raise TypeError(f"data: expected a data set, such as Arrays(images, labels, …); got {type(data).__name__}.")


def _new_folder(folder: str | None, data: Data, model: str) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{data.name}-{model}"
    target = Path(folder) if folder is not None else Path("runs") / name
    if folder is None and target.exists():
        target = target.with_name(f"{target.name}-{time.time_ns() % 10**6:06d}")
    if target.exists():
        has_begun = _initial(target).exists()
        raise FileExistsError(
            f"folder: expected a run folder that does not exist yet; got {target}, which is never overwritten"
            + (f" ({_resuming(target, data)} continues it)." if has_begun else ".")
        )
    target.mkdir(parents=True)
    return target


def _resuming(folder: Path, data: Data) -> str:
    """Return the command, or the call in Python, that resumes a run."""
    return f"ssvae.inference.resume({str(folder)!r}, data)" if holds_arrays(data) else f"ssvae fit --resume {folder}"


def _digest(data: Data) -> str:
    """Return the SHA-256 of all images, labels, class names and main classes, and of whether images are binarised."""
    digest = hashlib.sha256(repr((data.class_names, data.binarise)).encode())
    if data.hierarchy is not None:
        digest.update(repr((data.hierarchy.names, data.hierarchy.main_class_of.tolist())).encode())
    for part in (
        data.train_x,
        data.train_labels,
        data.train_candidates,
        data.validation_x,
        data.validation_labels,
        data.test_x,
        data.test_labels,
    ):
        if part is not None:
            digest.update(repr(part.shape).encode())
            digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()


def _initial(folder: Path) -> Path:
    return folder / "checkpoints" / "initial.ckpt"


def _config(model: SemiSupervisedModel, data: Data, recipe: Recipe, baselines: bool) -> dict[str, Any]:
    """Return the content of config.yaml, in the form that the command line reads."""
    return {
        "data": None if holds_arrays(data) else describe(data),
        "model": _without_sizes(describe(model)),
        **describe(recipe),
        "baselines": baselines,
    }


def _without_sizes(description: Description) -> Description:
    """Return a model's description without the sizes that the command line takes from the data set."""
    arguments = {
        name: value for name, value in description["init_args"].items() if name not in ("event_shape", "num_classes")
    }
    return {**description, "init_args": arguments}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        others = {
            each.parent.name: each.parent for at in (folder.parent, Path("runs")) for each in at.glob("*/config.yaml")
        }
        near = did_you_mean([str(others[name]) for name in nearest(folder.name, others)])
        what = "has none" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"run: expected a run folder with a config.yaml; got {folder}, which {what}.{near}")
    config = read_yaml(path, "run")
    if not isinstance(config, dict) or not {"data", "model", "baselines"} <= config.keys():
        raise ValueError(f"run: expected the configuration of a run; got {path}, which is another file.")
    return config


def _check_data_named(config: dict[str, Any], folder: Path) -> None:
    if config["data"] is None:
        raise ValueError(
            f"run: expected a data set in config.yaml; got {folder}, which was trained on arrays in memory. "
            f"ssvae.inference.resume({str(folder)!r}, data) resumes it in a program that has them."
        )


def _build_data(config: dict[str, Any], folder: Path) -> Data:
    data = build(config["data"])
    if not isinstance(data, Data):
        raise ValueError(f"run: expected a data set in {folder / 'config.yaml'}; got {config['data']!r}.")
    return data


def _bits(data: object) -> int | None:
    """Return `ImageFolder.bits` of a described data set; for domain adaptation, that of the target."""
    arguments = data.get("init_args") if isinstance(data, dict) else None
    if not isinstance(arguments, dict):
        return None
    return arguments.get("bits") or _bits(arguments.get("target"))


def _build_recipe(config: dict[str, Any], folder: Path) -> Recipe:
    try:
        return build_options(Recipe, {key: config[key] for key in config.keys() & Recipe.__dataclass_fields__.keys()})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"run: expected valid options of training in {folder / 'config.yaml'}; got: {error}"
        ) from error


@contextmanager
def _made_by_this_version(folder: Path, checkpoint: dict[str, Any]) -> Iterator[None]:
    """Add to an error of loading, inside a ``with`` block, that another version made the run, if that is so.

    Raises:
        ValueError: If the run cannot be read.
    """
    metadata = checkpoint[METADATA]
    format_of_run = metadata.get("format", 1)
    try:
        if format_of_run == 1 and str(metadata["model"]["class_path"]).startswith("models."):
            # An old path `models.…` would import an unrelated folder of that name.
            raise ValueError("class_path: expected one within ssvae.")
        yield
    except (TypeError, ValueError) as error:
        if format_of_run == FORMAT:
            raise
        later = isinstance(format_of_run, int) and format_of_run > FORMAT
        raise ValueError(
            f"run: expected one that this version of ssvae can read; got {folder}, which was made by "
            f"{'a later' if later else 'an earlier'} version with other names of classes, options or weights."
        ) from error


def _load_model(path: Path, checkpoint: dict[str, Any], config: dict[str, Any]) -> SemiSupervisedModel:
    """Return a checkpoint's model with its weights."""
    metadata = checkpoint[METADATA]
    if _without_sizes(metadata["model"]) != without_files(config["model"]):
        raise ValueError(
            f"checkpoint: expected one of the model in config.yaml; got {path}, which is of another model."
        )
    with torch.random.fork_rng(devices=[]):
        model = build(metadata["model"])
    if not isinstance(model, SemiSupervisedModel):
        raise ValueError(f"checkpoint: expected one of a model; got {path}, of {type(model).__name__}.")
    try:
        model.load_state_dict(_state(checkpoint["state_dict"]))
    except RuntimeError as error:
        raise ValueError(
            f"checkpoint: expected tensors of the model in config.yaml; got {path}, where names or shapes differ."
        ) from error
    if metadata.get("format", 1) < _FORMAT_OF_FEATURES and _shows_features(model):
        raise ValueError(f"checkpoint: expected one whose encoders see what {model.likelihood} shows; got {path}.")
    return model


def _shows_features(model: SemiSupervisedModel) -> bool:
    """Return whether the model's encoders see something else than x."""
    numbers = torch.arange(1.0, 1 + math.prod(model.event_shape)).view(model.event_shape)
    return not torch.equal(model.likelihood.features(numbers), numbers)


def _state(state: dict[str, Any]) -> dict[str, Any]:
    """Return a model's own tensors: those with Lightning's prefix "model.", or all if none has it."""
    prefix = "model."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)} or state
