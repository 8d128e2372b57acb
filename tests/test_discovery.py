"""Classes that nobody has labelled in an evaluation: assignment, shares and NMI against sums by hand."""

import math

import pytest
import torch
from matplotlib import pyplot
from support import tiny

from ssvae.data import Augmentation, Pinwheel
from ssvae.inference import Consistency, Objective
from ssvae.inference.applications.features import clustering_accuracy
from ssvae.inference.evaluation import evaluate
from ssvae.inference.evaluation.discovery import discover
from ssvae.inference.figures.discovery import most_probable, new_classes
from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.runs.discovery_report import discovery_sentence, discovery_table
from ssvae.inference.runs.problems import problems
from ssvae.inference.runs.run import Run
from ssvae.inference.training import train
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal


def _one_hot(predicted, num_classes):
    return torch.eye(num_classes, dtype=torch.float64)[torch.tensor(predicted)]


def test_shares_by_hand():
    # Class 0 and 1 are known; 2, 3 and 4 are not. The new classes 2, 3, 4 of the model are, in turn, 4, 2 and nothing.
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 2, 3, 3, 4, 4, 4])
    found = discover(_one_hot([0, 0, 3, 1, 3, 3, 0, 1, 3, 2, 2, 4], 5), labels, 2, 5)
    assert found.assigned == (3, 4, 2)  # 3 to 4 wins nothing, but no other is left
    assert found.known_accuracy == 3 / 4
    assert found.share_among_known == 2 / 8
    assert found.new_accuracy == 4 / 8
    assert found.accuracy == 7 / 12
    assert [found.class_of(k) for k in range(5)] == [0, 1, 3, 4, 2]


def test_known_classes_are_never_exchanged():
    labels = torch.tensor([0, 0, 1, 1])
    found = discover(_one_hot([1, 1, 0, 0], 2), labels, 2, 2)
    assert (found.accuracy, found.known_accuracy, found.new_accuracy, found.assigned) == (0.0, 0.0, None, ())
    assert found.share_among_known is None


def test_without_labels_it_is_the_clustering_accuracy():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 4, (60,), generator=generator)
    probabilities = torch.rand(60, 4, generator=generator, dtype=torch.float64)
    probabilities[torch.arange(60), (labels + 1) % 4] += 0.5
    probabilities /= probabilities.sum(-1, keepdim=True)
    found = discover(probabilities, labels, 0, 4)
    assert found.known_accuracy is None
    assert found.share_among_known == 0
    assert found.accuracy == found.new_accuracy == clustering_accuracy(probabilities.argmax(-1).numpy(), labels.numpy())


def test_nmi_by_hand():
    # ŷ in two halves, y in a quarter and three quarters: the joint shares are 1/4, 1/4 and 1/2.
    found = discover(_one_hot([0, 0, 1, 1], 2), torch.tensor([0, 1, 1, 1]), 1, 2)
    predicted, true = math.log(2), -(1 / 4 * math.log(1 / 4) + 3 / 4 * math.log(3 / 4))
    joint = -(2 * 1 / 4 * math.log(1 / 4) + 1 / 2 * math.log(1 / 2))
    assert found.nmi == pytest.approx(2 * (predicted + true - joint) / (predicted + true), abs=1e-12)


def test_an_empty_new_class_is_assigned_to_no_true_class():
    # Class 0 is known. Of the new classes 1 to 4, no image is put into 1 and 3.
    labels = torch.tensor([0, 1, 1, 2, 3, 3])
    probabilities = torch.tensor(
        [
            [0.6, 0.1, 0.1, 0.1, 0.1],
            [0.1, 0.2, 0.5, 0.1, 0.1],
            [0.1, 0.1, 0.6, 0.1, 0.1],
            [0.4, 0.3, 0.1, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.3, 0.4],
            [0.1, 0.1, 0.6, 0.1, 0.1],
        ],
        dtype=torch.float64,
    )
    found = discover(probabilities, labels, 1, 4)
    assert (found.assigned, found.empty, found.accuracy) == ((2, None, 4), (1, 3), 4 / 6)
    assert found.to_dict()["empty"] == [1, 3]
    # The true class that is left over keeps the probability of an empty class, but not its name.
    assert torch.equal(found.reorder(probabilities), probabilities[:, [0, 2, 1, 4, 3]])
    names = found.names(["a", "new 1", "new 2", "new 3", "new 4"], list("abcd"))
    assert names == ["a", "b (new 2)", "c", "d (new 4)", "new 3"]


def test_a_classifier_of_known_classes_alone_leaves_all_new_ones_empty():
    found = discover(_one_hot([0, 1, 0, 1], 5), torch.tensor([0, 1, 2, 4]), 2, 5)
    assert (found.assigned, found.empty, found.share_among_known) == ((None, None, None), (2, 3, 4), 1.0)
    assert found.names(["a", "b", "new 1", "new 2", "new 3"], list("abcde")) == list("abcde")


@pytest.mark.parametrize(("num_classes", "num_true"), [(3, 5), (5, 3)])
def test_another_number_of_classes_than_there_are(num_classes, num_true):
    labels = torch.arange(num_true).repeat(3)
    probabilities = torch.full((len(labels), num_classes), 0.1 / (num_classes - 1), dtype=torch.float64)
    probabilities[torch.arange(len(labels)), labels.clamp(max=num_classes - 1)] = 0.9
    found = discover(probabilities, labels, 1, num_true)
    reordered = found.reorder(probabilities)
    assert reordered.shape == (len(labels), 5)
    # A true class too many has no probability; a new class too many has a column of its own, so that rows sum to 1.
    torch.testing.assert_close(reordered.sum(-1), torch.ones(len(labels), dtype=torch.float64))
    assert (reordered.argmax(-1) == labels).double().mean() == pytest.approx(found.accuracy)
    if num_classes < num_true:
        assert found.assigned.count(None) == 2
        assert found.accuracy == 3 / 5
        assert found.names(["a", "new 1", "new 2"], list("abcde")) in (
            ["a", "b (new 1)", "c (new 2)", "d", "e"],
            ["a", "b (new 1)", "c", "d (new 2)", "e"],
            ["a", "b (new 1)", "c", "d", "e (new 2)"],
        )
    else:
        assert found.accuracy == 1
        names = found.names(["a", "new 1", "c", "new 3", "new 4"], list("abc"))
        assert names == ["a", "b (new 1)", "c", "new 3", "new 4"]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (torch.tensor([0, 3]), "labels: expected classes from 0 to 2; got 0 to 3"),
        (torch.tensor([0]), "labels: expected one class for each of 2 images"),
    ],
)
def test_labels_that_do_not_fit(labels, match):
    with pytest.raises(ValueError, match=match):
        discover(_one_hot([0, 1], 2), labels, 1, 3)


def test_sentence_and_table_have_the_numbers():
    found = discover(_one_hot([0, 0, 1, 1, 0, 1], 2), torch.tensor([0, 0, 0, 1, 1, 1]), 1, 2)
    assert discovery_sentence(found, "image") == (
        "Of the test images of the classes without labels, 66.7% are in the new class that is assigned to theirs, and "
        "33.3% are put among the known classes; of all test images, 66.7% are right."
    )
    row = discovery_table({"M2": found}, "image").splitlines()[2]
    assert row == f"| M2 | 66.67% | 66.67% | 66.67% | 33.33% | {found.nmi:.3f} | 0 |"
    found = discover(_one_hot([0, 0], 4), torch.tensor([0, 1]), 1, 2)
    assert discovery_table({"M2": found}, "image").splitlines()[2].endswith("| 3 |")
    # Test images of the known classes alone do not say which new classes are empty.
    found = discover(_one_hot([0, 0], 4), torch.tensor([0, 0]), 1, 1)
    assert discovery_table({"M2": found}, "image").splitlines()[2] == "| M2 | 100.00% | 100.00% |  |  | 1.000 |  |"


def _hidden(**options):
    """Three classes of images, of which training has labels of two."""
    data = tiny.arrays()
    labels = data.train_labels.clone()
    labels[labels == 2] = -1
    return type(data)(
        data.images,
        labels,
        test_images=data.test_images,
        test_labels=data.test_labels,
        validation_images=data.validation_images,
        validation_labels=data.validation_labels,
        num_new_classes=1,
        **options,
    )


def test_an_evaluation_is_of_the_true_classes():
    data, model = _hidden(), tiny.m2()
    evaluation = evaluate(model, data, num_samples=2)
    found = evaluation.discovery
    assert found.accuracy == pytest.approx(evaluation.classifier.accuracy)
    assert found.assigned == (2,)  # one for one
    assert evaluation.to_dict()["discovery"]["num_known_classes"] == 2
    assert evaluate(model, tiny.arrays(), num_samples=2).discovery is None


def test_training_validates_on_known_classes_alone():
    data = _hidden()
    x, labels = data.known_validation()
    assert labels.tolist() == [label for label in data.validation_labels.tolist() if label < 2]
    assert len(x) == len(labels) == 14
    rows = train(tiny.m2(), data, tiny.recipe(objective=Objective(alpha=0.1)), None)
    accuracy = rows[-1]["validation_accuracy"]
    assert accuracy * 14 == pytest.approx(round(accuracy * 14))
    nobody = tiny.arrays(num_labels=0)
    assert "validation_accuracy" not in train(tiny.m2(), nobody, tiny.recipe(), None)[-1]


def test_an_empty_new_class_is_a_problem(tmp_path):
    data, model, recipe = _hidden(), tiny.m2(), tiny.recipe()
    with torch.no_grad():
        list(model.y_encoder.parameters())[-1].copy_(torch.tensor([0.0, 0.0, -1e3]))
    run = Run(tmp_path, model, data.class_names, data, recipe, history=[{"epoch": 1, "step": 1, "seconds": 0}])
    (sentence,) = [each for each in problems(run) if "'new 1'" in each]
    assert "is put into 'new 1': try --recipe discover" in sentence
    run.recipe = tiny.recipe(
        objective=Objective(consistency=Consistency(1.0, aligned=True)), augmentation=Augmentation()
    )
    assert any("is put into 'new 1': try more steps, or fewer new" in each for each in problems(run))


def test_an_empty_new_class_of_rows_is_a_problem(tmp_path):
    data = Pinwheel(40, 4, num_validation=0, num_test=0, hidden_classes=[4])
    model = M2((2,), 5, prior=StandardNormal(1), networks=MLP((3,)))
    with torch.no_grad():
        list(model.y_encoder.parameters())[-1].copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, -1e3]))
    run = Run(tmp_path, model, data.class_names, data, tiny.recipe(), history=[{"epoch": 1, "step": 1, "seconds": 0}])
    (sentence,) = [each for each in problems(run) if "'new 1'" in each]
    assert sentence.startswith("No row among 36 unlabelled ones is put into 'new 1': try --recipe plane, or fewer new")


def test_most_probable_images_come_first():
    probabilities = torch.tensor([[0.1, 0.9], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    assert most_probable(probabilities, 1, 2).tolist() == [0, 3]
    assert most_probable(probabilities, 0, 5).tolist() == [1]
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2) / 3
    axes = new_classes(images, probabilities, ["a", "new 1"], 1, num_images=4)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new 1"]
    canvas = axes.images[0].get_array()
    assert canvas[0, ::3].tolist() == pytest.approx([0, 1, 2 / 3, 1])  # images 0, 3, 2, and white where none is left
    pyplot.close(axes.figure)
    with_an_empty_one = torch.nn.functional.pad(probabilities, (0, 1))
    axes = new_classes(images, with_an_empty_one, ["a", "new 1", "new 2"], 1)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new 1", "new 2 (empty)"]
    pyplot.close(axes.figure)
    with pytest.raises(ValueError, match="num_known_classes: expected less than 2; got 2"):
        new_classes(images, probabilities, ["a", "b"], 2)


def test_alignment_does_not_let_a_class_without_labels_die():
    model = tiny.m2()
    alignment = Alignment(model)
    log_q = torch.tensor([[0.6, 0.4 - 1e-6, 1e-6]]).log()
    for _ in range(1500):
        aligned = alignment(log_q, model).softmax(-1)
    torch.testing.assert_close(aligned, torch.full((1, 3), 1 / 3), atol=1e-3, rtol=0)
