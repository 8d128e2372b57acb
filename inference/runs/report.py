"""The report of a run: report.md, evaluation.json and figures/."""

import io
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from ssvae.data import Data, ImageData, VectorData
from ssvae.data.time_left import progress
from ssvae.inference import figures
from ssvae.inference.evaluation.calibration import Calibration
from ssvae.inference.evaluation.comparison import SIGNIFICANCE, Comparison
from ssvae.inference.evaluation.diagnostics import FEWEST_SAMPLES, K_LIMIT
from ssvae.inference.evaluation.evaluation import Evaluation
from ssvae.inference.evaluation.interval import few_tested
from ssvae.inference.objective.objective import Sizes
from ssvae.inference.predict import device_of, seeded
from ssvae.inference.runs.captions import CAPTIONS, elbo_in_words, terms_table
from ssvae.inference.runs.discovery_report import discovery_sentence, discovery_table, draw_new_classes
from ssvae.inference.runs.pages import EXPLANATION, HELP
from ssvae.inference.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ssvae.inference.runs.run import Run

WARNED_FROM = 0.1
"""The report warns if a larger fraction of images has a k̂ above 0.7."""

_SHOWN_IMAGES = 10
_MAPPED_IMAGES = 2000


def summary(run: "Run") -> str:
    """Return a summary of the training to come: data, model, effective alpha, schedules, use of labels."""
    assert run.data is not None
    assert run.recipe is not None
    data, recipe = run.data, run.recipe
    objective = recipe.objective
    sizes = Sizes(data.num_labelled, data.num_unlabelled, data.num_partially_labelled)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    lines = [
        data.summary(),
        f"{type(run.model).__name__}: prior {type(run.model.prior).__name__}, likelihood "
        f"{type(run.model.likelihood).__name__}, {parameters:,} parameters",
    ]
    if data.num_labelled and run.model.learns_classifier:
        lines.append(
            f"alpha = {objective.alpha:g} N = {objective.alpha * sizes.total:,.7g}: the -log q(y|x) of a labelled "
            f"{data.item} has weight {objective.weight_per_labelled_image(sizes):,.7g} relative to its L(x, y)"
        )
    if objective.kl_weight.start != objective.kl_weight.end:
        schedule = objective.kl_weight
        lines.append(f"KL weight: {schedule.start:g} to {schedule.end:g} over {schedule.until:.0%} of the steps")
    if objective.consistency is not None and data.num_unlabelled:
        consistency = objective.consistency
        sharpened = "" if consistency.temperature == 1 else f", temperature {consistency.temperature:g}"
        teacher = "" if consistency.teacher_decay is None else f", mean teacher of decay {consistency.teacher_decay:g}"
        images = (
            f"images with confidence of at least {consistency.confidence:g}" if consistency.confidence else "all images"
        )
        lines.append(
            f"consistency: weight {consistency.weight:g}, for {images}{sharpened}"
            f"{', aligned with p(y)' * consistency.aligned}{teacher}"
        )
    use = "monitoring and early stopping" if recipe.early_stopping else "monitoring only"
    number = len(data.known_validation()[1])
    lines.append(f"validation: {number} labels, for {use}" if number else "validation: no labels are set apart")
    lines.append(f"run folder: {run.folder}")
    return "\n".join(lines)


def result(run: "Run") -> str:
    """Return a Markdown table of the model and its baselines on the test images; a sentence without test images."""
    if run.evaluation is None:
        items = "observations" if run.data is None else f"{run.data.item}s"
        return f"There are no test {items}, so the model is not compared with its baselines."
    rows = [
        "| classifier | accuracy | NLL (nats) | ECE | training (s) |",
        "|---|---|---|---|---|",
        _row(f"{type(run.model).__name__}, q(y\\|x)", run.evaluation.classifier, run.seconds["model"]),
    ]
    rows += [_row(f"baseline: {name}", calibration, run.seconds[name]) for name, calibration in run.baselines.items()]
    if run.evaluation.main_classes is not None:
        rows.append(_row("main classes, Σ q(y\\|x)", run.evaluation.main_classes, run.seconds["model"]))
        rows += [
            _row(f"main classes, baseline: {name}", calibration, run.seconds[name])
            for name, calibration in run.main_class_baselines.items()
        ]
    assert run.data is not None
    if run.evaluation.discovery is not None:
        model = {f"{type(run.model).__name__}, q(y\\|x)": run.evaluation.discovery}
        baselines = {f"baseline: {name}": discovery for name, discovery in run.discoveries.items()}
        rows += ["", discovery_table(model | baselines, run.data.item)]
    if few := few_tested(run.evaluation.classifier.accuracy, run.evaluation.num_images, run.data.item):
        rows += ["", few]
    if run.baselines:
        rows += [
            "",
            "Weights are those of the last epoch. A baseline is the same classifier, trained with the same labels, "
            "steps and augmentation, but without the generative terms. The difference is what the generative terms "
            f"add. All lines are for the same test {run.data.item}s{_kind_of_pixels(run)}.",
        ]
    return "\n".join(rows)


def _kind_of_pixels(run: "Run") -> str:
    assert run.evaluation is not None
    return f" ({run.evaluation.seen_by_classifier} pixels)" if isinstance(run.data, ImageData) else ""


def verdict(run: "Run") -> str:
    """Say whether the model is better than each baseline, by how much, and whether the difference is beyond chance.

    If some classes have no label, the comparison is on the test images of the others, and a second sentence says how
    these classes are told apart.

    Returns:
        The sentences; "" if there is nothing to compare with.
    """
    discovery = None if run.evaluation is None else run.evaluation.discovery
    item = "image" if run.data is None else run.data.item
    told_apart = "" if discovery is None else discovery_sentence(discovery, item)
    return " ".join(filter(None, [_compared(run, item, discovery is not None), told_apart]))


def _compared(run: "Run", item: str, has_new_classes: bool) -> str:
    if not run.comparisons:
        return ""
    differences = [
        _difference("the labels alone (supervised)" if name == "supervised" else name, each)
        for name, each in run.comparisons.items()
    ]
    num_images = next(iter(run.comparisons.values())).num_images
    which = " of the classes with labels" if has_new_classes else ""
    return (
        f"{type(run.model).__name__} is {', and '.join(differences)} (paired difference ± standard error on "
        f"{num_images:,} test {item}s{which}; McNemar's test at {SIGNIFICANCE:.0%}, for these labels and this seed). "
        f"{_page(run)}"
    )


def _page(run: "Run") -> str:
    worse = [each for each in run.comparisons.values() if each.difference < 0]
    if not worse:
        return f"{EXPLANATION} explains why."
    if not any(each.is_beyond_chance for each in worse):
        return f"Look first whether it is so with other labels and another --seed. {HELP} says what to try."
    return (
        f"Try more steps, a larger --objective.alpha or --objective.kl_weight.start, and choose by the validation "
        f"accuracy. {HELP} has more."
    )


def _difference(other: str, comparison: Comparison) -> str:
    chance = f"{'beyond' if comparison.is_beyond_chance else 'within'} chance"
    if comparison.difference == 0:
        return f"as often right as {other}, {chance}"
    word = "better" if comparison.difference > 0 else "worse"
    points, error = 100 * abs(comparison.difference), 100 * comparison.standard_error
    return f"{word} than {other} by {points:.2f} ± {error:.2f} points, {chance}"


def _row(name: str, calibration: Calibration, seconds: float) -> str:
    return f"| {name} | {calibration.accuracy:.2%} | {calibration.nll:.3f} | {calibration.ece:.2%} | {seconds:.0f} |"


def evaluation_lines(evaluation: Evaluation, data: Data) -> list[str]:
    """Return an evaluation as lines of Markdown; each row of the table names the pixels that were used."""
    grey, observed = evaluation.seen_by_classifier, evaluation.seen_by_posterior
    is_image = isinstance(data, ImageData)
    what = "pixels" if is_image else "seen"
    lines = [
        f"| on the test {data.item}s | {what} | {data.item}s | accuracy | NLL (nats) | ECE | Brier |",
        "|---|---|---|---|---|---|---|",
        _calibration_row("q(y\\|x), the classifier", grey, evaluation.classifier, evaluation.num_images),
    ]
    if evaluation.posterior is not None:
        assert evaluation.classifier_beside_posterior is not None
        num_images = evaluation.num_likelihood_images
        name = f"p(y\\|x), {evaluation.num_samples} importance samples"
        lines += [
            _calibration_row(
                f"q(y\\|x), same {'pixels' if is_image else 'rows'} as p(y\\|x)",
                observed,
                evaluation.classifier_beside_posterior,
                num_images,
            ),
            _calibration_row(name, observed, evaluation.posterior, num_images),
        ]
    if evaluation.main_classes is not None:
        name = "main classes, sums of q(y\\|x)"
        lines.append(_calibration_row(name, grey, evaluation.main_classes, evaluation.num_images))
    lines.append("")
    if evaluation.log_likelihood is not None:
        each = " for each class" if evaluation.posterior is not None else ""  # None if the model has no class
        lines.append(
            f"- log p(x) {evaluation.log_likelihood:.2f} ± {evaluation.log_likelihood_error:.2f} nats "
            f"({_units(evaluation)}), a lower bound by {evaluation.num_samples} "
            f"importance samples{each}, mean and standard error over {evaluation.num_likelihood_images} {data.item}s"
            + (", binarised once" if data.binarise else "")
        )
        lines += [f"- {line}" for line in reliability_lines(evaluation, data.item)]
    lines.append(f"- {elbo_in_words(evaluation.terms)}")
    per = f"per pixel in [0, 1], {grey}" if is_image else "per standardised feature"
    lines.append(f"- reconstruction error {evaluation.reconstruction_error:.5f} (mean squared, {per})")
    if evaluation.discovery is not None:
        lines += ["", *discovery_table({"q(y\\|x)": evaluation.discovery}, data.item).splitlines()]
    return lines


def _units(evaluation: Evaluation) -> str:
    if evaluation.bits_per_dimension is None:
        return "in the units of the data"
    return f"{evaluation.bits_per_dimension:.4f} bits per dimension"


def reliability_lines(evaluation: Evaluation, item: str = "image") -> list[str]:
    """Return the reliability of the importance-sampling estimates, with a warning if it is low."""
    sample_size = (
        f"effective sample size {evaluation.effective_samples:.1f} of {evaluation.num_samples} (median over {item}s); "
    )
    if evaluation.share_unreliable is None:
        return [f"{sample_size}Pareto k̂ needs at least {FEWEST_SAMPLES} samples"]
    share = f"{evaluation.share_unreliable:.0%}"
    lines = [f"{sample_size}Pareto k̂ {evaluation.pareto_k:.2f} (median), above {K_LIMIT} for {share} of the {item}s"]
    if evaluation.share_unreliable > WARNED_FROM:
        what = "log p(x) and p(y|x)" if evaluation.posterior is not None else "log p(x)"
        lines.append(
            f"Warning: {share} of the {item}s have a k̂ above {K_LIMIT}. For these, few samples have most of the "
            f"weight, and {what} cannot be relied on. log p(x) is probably too low. More samples (--num_samples) may "
            "help."
        )
    return lines


def _calibration_row(name: str, pixels: str, calibration: Calibration, num_images: int) -> str:
    return (
        f"| {name} | {pixels} | {num_images} | {calibration.accuracy:.2%} | {calibration.nll:.3f} "
        f"| {calibration.ece:.2%} | {calibration.brier:.3f} |"
    )


def write_report(run: "Run") -> None:
    """Write report.md, evaluation.json and the pictures of a run into its folder."""
    assert run.data is not None
    pictures = save_pictures(run, run.folder / "figures", num_samples=_SHOWN_IMAGES)
    sections = {"Result": result(run)}
    if run.evaluation is not None:
        lines = evaluation_lines(run.evaluation, run.data)
        num_sampled, num_images = run.evaluation.num_likelihood_images, run.evaluation.num_images
        if num_sampled < num_images:
            lines.append(
                f"- ELBO and samples: of {num_sampled} {run.data.item}s; `ssvae evaluate` takes all {num_images}"
            )
        sections["Evaluation"] = "\n".join(lines)
    sections["Data and recipe"] = "\n".join(f"- {line}" for line in _recipe_lines(run))
    item = run.data.item
    sections[f"Terms of J at the last epoch (nats per {item})"] = terms_table(run.history[-1]).replace("image", item)
    sections["Pictures"] = "\n\n".join(
        f"![{path.stem}](figures/{path.name})\n\n*{CAPTIONS[path.stem].replace('image', item)}*" for path in pictures
    )
    if run.evaluation is not None:
        baselines = {name: calibration.to_dict() for name, calibration in run.baselines.items()}
        discoveries = {name: discovery.to_dict() for name, discovery in run.discoveries.items()}
        main_class_baselines = {name: calibration.to_dict() for name, calibration in run.main_class_baselines.items()}
        comparisons = {name: comparison.to_dict() for name, comparison in run.comparisons.items()}
        numbers = {
            **run.evaluation.to_dict(),
            "baselines": baselines,
            "comparisons": comparisons,
            "problems": run.problems,
            "seconds": run.seconds,
        }
        if discoveries:
            numbers["discoveries"] = discoveries
        if main_class_baselines:
            numbers["main_class_baselines"] = main_class_baselines
        write_atomically(run.folder / "evaluation.json", json.dumps(numbers, indent=2) + "\n")
    summary_line = [f"**{sentence}**"] if (sentence := verdict(run)) else []
    warnings = [f"> **Warning.** {sentence}" for sentence in run.problems]
    parts = [f"# {run.folder.name}", *summary_line, *warnings]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    write_atomically(run.folder / "report.md", "\n\n".join(parts) + "\n")


def _recipe_lines(run: "Run") -> list[str]:
    assert run.data is not None
    assert run.recipe is not None
    last = run.history[-1]
    batch = f" of {run.recipe.batch_size} unlabelled {run.data.item}s" if run.data.num_unlabelled else ""
    return [
        *summary(run).split("\n"),
        f"{last['epoch']:.0f} epochs, {last['step']:.0f} steps{batch}; seed {run.recipe.seed}",
        hardware(),
        "config.yaml has all options, metrics.csv the terms of every logged epoch",
    ]


def hardware() -> str:
    """Describe the machine: the GPU's name, or the number and architecture of the CPU's cores; and torch's version."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        threads = torch.get_num_threads()
        device = f"{os.cpu_count()} {platform.machine()} cores, {threads} thread{'s' if threads > 1 else ''}"
    return f"{device}; torch {torch.__version__}"


def save_pictures(
    run: "Run", folder: Path, *, num_samples: int = _SHOWN_IMAGES, tsne: bool = False, seed: int = 0
) -> list[Path]:
    """Draw a run's pictures and write them into a folder.

    Args:
        run: The run, with its data.
        folder: The folder for the pictures, created if it does not exist.
        num_samples: The number of samples of each class.
        tsne: Whether to draw a t-SNE map of the latent space too, which is slow.
        seed: The random seed for the samples and the choice of images.

    Returns:
        The paths of the pictures.
    """
    with figures.without_pyplot():
        drawn = _pictures_of_model(run, num_samples, tsne, seed) | _pictures_of_numbers(run)
        if (drawing := draw_new_classes(run, run.class_names)) is not None:
            drawn = {"new_classes": drawing, **drawn}
    paths = []
    for name, axes in drawn.items():
        paths.append(folder / f"{name}.png")
        save_picture(figures.figure_of(axes), paths[-1])
    return paths


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, atomically; its folder is created if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomically(path, content.getvalue())


def _pictures_of_model(run: "Run", num_samples: int, tsne: bool, seed: int) -> "dict[str, Axes]":
    """Draw reconstructions, samples, analogies and the latent map."""
    assert run.data is not None
    if not isinstance(run.data, ImageData):
        return _pictures_of_vectors(run, tsne, seed)
    model, data, class_names = run.model, run.data, run.class_names
    images, labels = data.test_x, data.test_labels
    if not len(images):
        images, labels = data.train_x, data.train_labels
    with seeded(seed), torch.no_grad():
        order = torch.randperm(len(images))
        shown = data.observe(data.preprocess(images[order[:_SHOWN_IMAGES]]))
        mapped = data.preprocess(images[order[:_MAPPED_IMAGES]]), labels[order[:_MAPPED_IMAGES]]
        drawings: dict[str, Callable[[], Axes]] = {
            "class_samples": lambda: figures.class_samples(model, num_samples, class_names),
            "analogies": lambda: figures.analogies(model, shown, class_names),
            "reconstructions": lambda: figures.reconstructions(model, shown),
            "latent_map": lambda: figures.latent_map(model, *mapped, data.true_class_names),
        }
        is_map = model.prior.nodes(torch.zeros(1, dtype=torch.int64, device=device_of(model))) is not None
        if is_map and (mapped[1] >= 0).any():
            drawings["node_map"] = lambda: figures.node_map(model, *mapped, data.true_class_names)
        if tsne:
            drawings["latent_map_tsne"] = lambda: figures.latent_map(model, *mapped, data.true_class_names, tsne=True)
        drawn = {}
        with progress("figures", len(drawings), "figures") as advance:
            for name, draw in drawings.items():
                drawn[name] = draw()
                advance(1)
    return drawn


def _pictures_of_vectors(run: "Run", tsne: bool, seed: int) -> "dict[str, Axes]":
    """Draw marginals, the latent map and, of two features, the plane."""
    data, model = run.data, run.model
    assert isinstance(data, VectorData)
    rows, labels = (data.test_x, data.test_labels) if len(data.test_x) else (data.train_x, data.train_labels)
    drawn: dict[str, Axes] = {}
    with seeded(seed), torch.no_grad():
        if data.event_shape == (2,):
            panels = Figure(figsize=(14, 4.2), layout="constrained").subplots(1, 3)
            figures.decision_plane(model, data, ax=panels[0])
            if model.bounds_evidence:
                figures.density_plane(model, data, ax=panels[1])
            else:
                panels[1].set_axis_off()
            drawn["plane"] = figures.sampled_plane(model, data, ax=panels[2])
        drawn["marginals"] = figures.marginals(model, data)
        chosen = torch.randperm(len(rows))[:_MAPPED_IMAGES]
        mapped = data.preprocess(rows[chosen]), labels[chosen]
        drawn["latent_map"] = figures.latent_map(model, *mapped, data.true_class_names)
        if tsne:
            drawn["latent_map_tsne"] = figures.latent_map(model, *mapped, data.true_class_names, tsne=True)
    return drawn


def _pictures_of_numbers(run: "Run") -> "dict[str, Axes]":
    """Draw the figures of the evaluation and the training curves."""
    drawn = {}
    if run.evaluation is not None:
        assert run.data is not None
        evaluation, names = run.evaluation, run.class_names
        if evaluation.discovery is not None:
            names = tuple(evaluation.discovery.names(names, run.data.true_class_names))
        drawn["confusion_matrix"] = figures.confusion_matrix(
            evaluation.labels, evaluation.probabilities.argmax(-1), names
        )
        if evaluation.posterior_probabilities is None:
            drawn["reliability"] = figures.reliability_diagram(evaluation.probabilities, evaluation.labels)
        else:
            assert evaluation.probabilities_beside_posterior is not None
            left, right = Figure(figsize=(9.2, 5.4), layout="constrained").subplots(1, 2)
            # The same images and pixels on both sides.
            figures.reliability_diagram(
                evaluation.probabilities_beside_posterior, evaluation.posterior_labels, "q(y|x)", ax=left
            )
            drawn["reliability"] = figures.reliability_diagram(
                evaluation.posterior_probabilities, evaluation.posterior_labels, "p(y|x)", ax=right
            )
            for ax in (left, right):
                ax.set_title(f"{ax.get_title()}, {evaluation.seen_by_posterior}", size=10)
    if run.history:
        drawn["training_curves"] = figures.training_curves(run.history)[0]
    return drawn
