"""Signs that the unlabelled images did harm: what is counted, and what is said of it."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tiny

from ssvae.data import Arrays
from ssvae.inference import Consistency, Objective, fit
from ssvae.inference.evaluation.calibration import calibrate
from ssvae.inference.evaluation.comparison import compare
from ssvae.inference.evaluation.drift import drift
from ssvae.inference.runs.pages import HELP
from ssvae.inference.runs.problems import problems
from ssvae.inference.runs.report import write_report
from ssvae.inference.runs.run import Run
from ssvae.inference.training.decline import decline
from ssvae.inference.training.module import Training


def classes(*counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def test_the_drift_is_the_distance_of_the_shares_and_pearsons_test():
    found = drift(classes(60, 20, 20), classes(10, 10, 20), 3)
    assert found.distance == pytest.approx(0.5 * (0.35 + 0.05 + 0.3))
    assert (found.changed_class, found.predicted_share, found.label_share) == (0, 0.6, 0.25)
    # 140 images of which 100 are predicted: expected counts 50, 150 / 7, 200 / 7, and 2 / 5 of them for the labels
    expected = [(50, 20), (150 / 7, 60 / 7), (200 / 7, 80 / 7)]
    observed = [(60, 10), (20, 10), (20, 20)]
    chi2 = sum(
        (o - e) ** 2 / e
        for pair, means in zip(observed, expected, strict=True)
        for o, e in zip(pair, means, strict=True)
    )
    assert found.p_value == pytest.approx(math.exp(-chi2 / 2))  # chi-squared with two degrees of freedom
    assert found.is_beyond_chance is (math.exp(-chi2 / 2) < 0.001)


@pytest.mark.parametrize(
    ("predicted", "labels", "beyond"),
    [
        ((100, 100, 100), (10, 10, 10), False),
        ((200, 50, 50), (3, 3, 3), False),  # nine labels say little
        ((400, 300, 300), (500, 500, 500), False),  # certain, and too small to matter
        ((800, 100, 100), (30, 30, 30), True),
        ((0, 500, 0), (0, 40, 0), False),  # one class
    ],
)
def test_a_drift_is_told_if_it_is_large_and_beyond_chance(predicted, labels, beyond):
    assert drift(classes(*predicted), classes(*labels), 3).is_beyond_chance is beyond


def test_equal_shares_are_rarely_called_a_drift():
    torch.manual_seed(0)
    p = torch.tensor([0.1] * 10)
    found = [drift(p.multinomial(1000, True), p.multinomial(100, True), 10) for _ in range(300)]
    assert sum(each.is_beyond_chance for each in found) <= 2
    assert sum(each.p_value < 0.05 for each in found) == pytest.approx(15, abs=12)


@pytest.mark.parametrize("empty", ["predicted", "labels"])
def test_no_classes_are_refused(empty):
    given = {"predicted": classes(1, 1), "labels": classes(1, 1), empty: classes(0)}
    with pytest.raises(ValueError, match=f"{empty}: expected at least one class; got none"):
        drift(given["predicted"], given["labels"], 2)


def history(*accuracies):
    return [{"epoch": n, "validation_accuracy": accuracy} for n, accuracy in enumerate(accuracies, 1)]


def test_a_decline_is_a_fall_by_three_standard_errors():
    # sqrt((0.8 · 0.2 + 0.7 · 0.3) / 400) = 0.0304
    limit = 3 * math.sqrt((0.16 + 0.21) / 400)
    assert 0.0912 < limit < 0.0913
    assert decline(history(0.5, 0.8, 0.7), 400) == {"epoch": 2, "validation_accuracy": 0.8}
    assert decline(history(0.5, 0.8, 0.7), 300) is None
    assert decline(history(0.8, 0.5, 0.8), 400) is None
    assert decline(history(0.8, 0.1), 0) is None
    assert decline([{"epoch": 1}], 400) is None


def trained(consistency, accuracy, supervised, alone, rows=()):
    """A run whose classifier and baselines are right for as many of 100 test images."""
    data, model = tiny.arrays(), tiny.m2()
    labels = torch.zeros(100, dtype=torch.int64)
    right = {"model": accuracy, "supervised": supervised, "consistency alone": alone}
    probabilities = {
        name: torch.nn.functional.one_hot((torch.arange(100) >= number).long(), 3).double()
        for name, number in right.items()
        if number is not None
    }
    of_model = probabilities.pop("model")
    recipe = tiny.recipe(objective=Objective(consistency=consistency)) if consistency is None else tiny.everything()
    if consistency is not None:
        recipe = replace(recipe, objective=replace(recipe.objective, consistency=consistency))
    run = Run(Path("run"), model, data.class_names, data, recipe, history=list(rows))
    run.baselines = {name: calibrate(each, labels) for name, each in probabilities.items()}
    run.comparisons = {name: compare(of_model, each, labels) for name, each in probabilities.items()}
    return run


@pytest.fixture
def no_drift(monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.problems._drifted", lambda run: "")


@pytest.mark.usefixtures("no_drift")
@pytest.mark.parametrize(
    ("consistency", "alone", "words"),
    [
        (
            Consistency(200),
            40,
            "--objective.consistency.aligned=true --objective.consistency.confidence=0.8 "
            "--objective.consistency.teacher_decay=0.99.",
        ),
        (Consistency(200, confidence=0.8, aligned=True, teacher_decay=0.9), 40, "--objective.consistency.weight=50."),
        (Consistency(200), 85, "a larger --objective.alpha, or a larger --objective.kl_weight.start"),
        (None, None, "a larger --objective.alpha, or a larger --objective.kl_weight.start"),
    ],
)
def test_a_run_below_its_labels_alone_says_so_with_what_to_try(consistency, alone, words):
    (sentence,) = problems(trained(consistency, 55, 80, alone))
    assert sentence.startswith("The labels alone are better, by 25.0 points")
    assert words in sentence
    assert sentence.endswith(f"{HELP} has more.")


@pytest.mark.usefixtures("no_drift")
def test_where_all_is_labelled_there_is_no_word_of_consistency():
    run = trained(Consistency(200), 55, 80, None, history(0.9, 0.2))
    run.data = tiny.arrays(num_labels=None, num_validation=100)
    assert run.data.num_unlabelled == 0
    worse, declined = problems(run)
    assert worse.startswith("The labels alone are better, by 25.0 points")
    assert "try --early_stopping 5, or a larger --objective.alpha." in declined
    assert "consistency" not in worse + declined


@pytest.mark.usefixtures("no_drift")
def test_a_run_that_is_better_or_within_chance_has_no_problem():
    assert problems(trained(Consistency(200), 90, 80, 70)) == []
    assert problems(trained(Consistency(200), 79, 80, 70)) == []
    assert problems(trained(None, 79, None, None)) == []


@pytest.mark.usefixtures("no_drift")
def test_a_fall_of_the_validation_accuracy_is_told():
    run = trained(None, 80, 80, None, history(0.9, 0.2))
    run.data.validation_x = run.data.validation_x.repeat(5, 1, 1, 1)
    (sentence,) = problems(run)
    assert sentence.startswith("The validation accuracy was 90.0% in epoch 1 and is 20.0% at the end, a fall beyond")


def test_predicted_classes_that_are_not_those_of_the_labels_are_told(monkeypatch):
    run = trained(None, 80, 80, None)
    run.data = tiny.arrays(num_train=300, num_labels=60)
    certain = torch.eye(3, dtype=torch.float64)[1]
    monkeypatch.setattr("ssvae.inference.runs.problems.predict_probabilities", lambda *given: certain.repeat(240, 1))
    (sentence,) = problems(run)
    assert "or the classifier predicts this class too often: try a larger --objective.alpha." in sentence
    assert sentence.startswith("Of 240 unlabelled images 100% are predicted to be '1', the class of 33% of the labels.")


def test_images_in_the_order_of_their_classes_have_no_drift(monkeypatch):
    images, y = tiny.arrays(num_train=3000, num_labels=60).train_images, torch.arange(3000) % 3
    order = y.argsort(stable=True)
    run = trained(None, 80, 80, None)
    run.data = Arrays(images[order], y[order], num_labels=60, test_images=images[:9], test_labels=y[:9])

    def bright(model, data, images):
        """Be right always: the classes differ by which two rows are bright."""
        return images.double().sum((1, 3)).unflatten(1, (4, 2)).sum(-1)[:, :3]

    monkeypatch.setattr("ssvae.inference.runs.problems.predict_probabilities", bright)
    assert problems(run) == []


def test_the_report_begins_with_them_and_the_numbers_have_them(tmp_path, without_pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = fit(tiny.m2(), tiny.arrays(), tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"))
    run.problems = ["One.", "Two."]
    write_report(run)
    report = (tmp_path / "run" / "report.md").read_text()
    assert report.index("> **Warning.** One.\n\n> **Warning.** Two.\n\n## Result") < 1000
    assert '"problems": [\n    "One.",\n    "Two."\n  ]' in (tmp_path / "run" / "evaluation.json").read_text()


def test_training_warns_once_and_baselines_never(tmp_path):
    data = tiny.arrays()
    fallen, recovered = (0.95, 0.9, 0.1, 0.05, 0.05, 0.1), (0.95, 0.9, 0.1, 0.05, 0.8, 0.1, 0.05, 0.9)
    cases = [(True, fallen, tmp_path, 1), (True, recovered, tmp_path, 0), (False, fallen, tmp_path, 0)]
    for generative, accuracies, folder, expected in [*cases, (True, fallen, None, 0)]:
        objective = Objective(alpha=1, generative=generative)
        training = Training(tiny.m2(), data, tiny.recipe(objective=objective), folder, print_lines=False)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for epoch, last in enumerate(accuracies, 1):
                training.history.append({"epoch": epoch, "step": epoch, "validation_accuracy": last})
                training._warn_of_decline()
        assert len(caught) == expected
        assert all(
            str(each.message).startswith("validation_accuracy: 5.0% in epoch 1/3, after 95.0% in epoch 1")
            for each in caught
        )
