"""Signs that the unlabelled images did harm, each in a sentence with the likely cause and what to try."""

from ssvae.data import ImageData
from ssvae.inference.evaluation.drift import drift
from ssvae.inference.predict import predict_probabilities
from ssvae.inference.runs.pages import DISCOVERY, HELP
from ssvae.inference.runs.run import Run
from ssvae.inference.training.decline import decline

_NUM_IMAGES = 1000
"""The number of unlabelled images whose predicted classes are looked at."""


def problems(run: Run) -> list[str]:
    """Return a sentence for each sign that a run's classifier is worse than it could be.

    There are four signs: the labels alone have a higher test accuracy, beyond chance; the classes that the model
    predicts for unlabelled training images are not those of the labels; a class that nobody has labelled stays empty;
    the validation accuracy has fallen since its best epoch, beyond chance.

    Args:
        run: A run that is trained, with its data and recipe, and evaluated if there are test images.

    Returns:
        The sentences; an empty list if there is no such sign.
    """
    signs = [_worse_than_labels_alone(run), _drifted(run), _declined(run)]
    more = [f"{sign} {HELP} has more." for sign in signs if sign]
    return [*more, *filter(None, [_left_empty(run)])]


def _worse_than_labels_alone(run: Run) -> str:
    comparison = run.comparisons.get("supervised")
    if comparison is None or comparison.difference >= 0 or not comparison.is_beyond_chance:
        return ""
    points = f"{-100 * comparison.difference:.1f} points"
    alone = run.baselines.get("consistency alone")
    if alone is not None and alone.accuracy < run.baselines["supervised"].accuracy:
        return (
            f"The labels alone are better, by {points}. So they are than consistency alone, which therefore confirms "
            f"mistakes of the classifier: try {_milder(run)}."
        )
    return (
        f"The labels alone are better, by {points}, since the generative terms pull the classifier away from them: try "
        "a larger --objective.alpha, or a larger --objective.kl_weight.start, with which the class has to explain more."
    )


def _drifted(run: Run) -> str:
    data = run.data
    assert data is not None
    if not len(data.labelled_index) or not len(data.unlabelled_index) or not run.model.learns_classifier:
        return ""
    images = data.train_x[data.some_unlabelled(_NUM_IMAGES)]
    predicted = predict_probabilities(run.model, data, images).argmax(-1)
    # Labels say nothing about how frequent the classes without labels are.
    predicted = predicted[predicted < data.num_known_classes]
    if not len(predicted):
        return ""
    found = drift(predicted, data.train_labels[data.labelled_index], data.num_classes)
    if not found.is_beyond_chance:
        return ""
    return (
        f"Of {len(predicted):,} unlabelled {data.item}s {found.predicted_share:.0%} are predicted to be "
        f"{run.class_names[found.changed_class]!r}, the class of {found.label_share:.0%} of the labels. Either the "
        f"labels are no random draw of the {data.item}s, or the classifier predicts this class too "
        f"{'often' if found.predicted_share > found.label_share else 'rarely'}: try {_milder(run)}."
    )


def _left_empty(run: Run) -> str:
    data = run.data
    assert data is not None
    if not data.has_new_classes or not len(data.unlabelled_index):
        return ""
    chosen = data.train_x[data.some_unlabelled(_NUM_IMAGES)]
    counts = predict_probabilities(run.model, data, chosen).argmax(-1).bincount(minlength=data.num_classes)
    empty = [run.class_names[y] for y in range(data.num_known_classes, data.num_classes) if not counts[y]]
    if not empty:
        return ""
    assert run.recipe is not None
    consistency = run.recipe.objective.consistency
    if consistency is not None and consistency.aligned:
        advice = "more steps"  # it uses every class already, as the recipe discover does
    else:
        advice = f"--recipe {'discover' if isinstance(data, ImageData) else 'plane'}"
    return (
        f"No {data.item} among {len(chosen):,} unlabelled ones is put into {', '.join(map(repr, empty))}: try "
        f"{advice}, or fewer new classes. {DISCOVERY} has more."
    )


def _declined(run: Run) -> str:
    assert run.data is not None
    best = decline(run.history, len(run.data.known_validation()[0]))
    if best is None:
        return ""
    return (
        f"The validation accuracy was {best['validation_accuracy']:.1%} in epoch {best['epoch']:g} and is "
        f"{run.history[-1]['validation_accuracy']:.1%} at the end, a fall beyond chance. "
        f"checkpoints/best.ckpt has the better epoch: try --early_stopping 5, or {_milder(run)}."
    )


def _milder(run: Run) -> str:
    """Return the options that make the unlabelled images count for less, or more carefully."""
    assert run.recipe is not None
    assert run.data is not None
    consistency = run.recipe.objective.consistency
    if consistency is None or not run.data.num_unlabelled:
        return "a larger --objective.alpha"
    careful = []
    if not consistency.aligned:
        careful.append("--objective.consistency.aligned=true")
    if not consistency.confidence:
        careful.append("--objective.consistency.confidence=0.8")
    if consistency.teacher_decay is None:
        careful.append("--objective.consistency.teacher_decay=0.99")
    return " ".join(careful) if careful else f"--objective.consistency.weight={consistency.weight / 4:g}"
