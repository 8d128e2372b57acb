"""What benchmarks print is what they say it is, by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import coloured_clothes, features, no_harm
from benchmarks.photos import PhotosByHand
from benchmarks.steps import unlabelled
from benchmarks.vectors import SETTINGS, VectorsByHand, model_of
from ssvae.data import Digits
from ssvae.inference.applications.generation import train_reference_classifier
from ssvae.inference.objective import Objective, Sizes
from ssvae.models import M2
from ssvae.models.networks import Convolutional


def test_a_step_on_photos_by_hand_has_the_loss_and_the_gradients_of_ours():
    model, x = M2((3, 9, 8), 10, networks=Convolutional(channels=(4, 5), hidden=7)), torch.rand(4, 3, 9, 8)
    _assert_same(model, PhotosByHand(model), x)


@pytest.mark.parametrize("num_features", SETTINGS)
def test_a_step_on_vectors_by_hand_has_the_loss_and_the_gradients_of_ours(num_features):
    model = model_of(num_features)
    _assert_same(model, VectorsByHand(model), torch.randn(5, num_features))


def _assert_same(model, by_hand, x):
    torch.manual_seed(1)
    expected = by_hand.loss(x)
    torch.manual_seed(1)
    loss, _ = Objective()(model, unlabelled(x), Sizes(0, len(x)))
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    loss.backward()
    expected.backward()
    for (name, ours), theirs in zip(model.named_parameters(), by_hand.model.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12, msg=name)


def _percent(right):
    return f"{100 * np.mean(np.asarray(right)):.1f}"


@pytest.mark.slow
def test_the_rows_of_features_and_samples_have_the_scores_of_the_model_and_of_the_pixels(monkeypatch, capsys):
    data, x_of = Digits(50), lambda images: images.double() / 255
    reference, _ = train_reference_classifier(Digits(None), max_steps=30)
    monkeypatch.setattr(features, "MNIST5k", lambda num_labels, seed=0: Digits(num_labels and 50, seed=seed))
    monkeypatch.setattr(features, "train_reference_classifier", lambda data: (reference, 0.125))
    trained, models = features.trained, []
    monkeypatch.setattr(features, "trained", lambda *arguments: models.append(trained(*arguments)) or models[0])
    features.main(["--models", "GMVAE", "--max_steps", "12"])
    printed = capsys.readouterr().out
    heading, _, of_model, of_pixels = (line.strip("| ").split(" | ") for line in printed.splitlines()[:4])
    (model,) = models
    x, y = x_of(data.test_images), data.test_labels
    classes = torch.arange(10)
    torch.manual_seed(0)
    with torch.no_grad():
        samples = model.sample(classes, 100)  # (100, 10, 1, 8, 8)
        expected = {
            "accuracy": _percent(model.classify(x).logits.argmax(-1) == y),
            "samples of the right class": _percent(reference.classes(samples.flatten(0, 1)).view(100, 10) == classes),
        }
    for row, encode in ((of_model, model.encode), (of_pixels, lambda x: x.flatten(1))):
        with torch.no_grad():
            train, test = (encode(x_of(images)).numpy() for images in (data.train_images, data.test_images))
        mean, scale = train.mean(0), train.std(0)
        known = train[data.labelled_index], data.train_labels[data.labelled_index]
        scale[scale == 0] = 1
        for name, classifier in {
            "linear probe": LogisticRegression(max_iter=1000),
            "5 neighbours": KNeighborsClassifier(5),
        }.items():
            classifier.fit((known[0] - mean) / scale, known[1])
            expected[name] = _percent(classifier.predict((test - mean) / scale) == y.numpy())
        cells = dict(zip(heading, row, strict=True))
        assert {name: cells[name] for name in expected} == expected
        expected = {"accuracy": "–", "CPU s": "–"}
    assert of_pixels[0] == "training images; pixels"
    assert "1 draw, 12 steps; accuracies in %; the reference classifier has 12.5%; " in printed


def test_a_line_of_several_draws_has_means_and_standard_deviations():
    rows = [{"accuracy": 90.0, "NMI": 0.5}, {"accuracy": 93.0, "NMI": 0.7}]
    line = features.line("M2", rows)
    assert line == "| M2 | 91.5 ± 2.1 | – | – | – | – | – | 0.60 ± 0.14 | – |"


def test_clothes_are_grey_times_a_colour_on_a_black_border(tmp_path):
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    coloured_clothes.write(images, tmp_path / "Coat", np.random.default_rng(0))
    files = sorted((tmp_path / "Coat").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png", "002.png"]
    colours = []
    for file, (grey,) in zip(files, images.numpy(), strict=True):
        dyed = np.asarray(Image.open(file), dtype=float)
        assert dyed.shape == (32, 32, 3)
        assert dyed[:2].max() == dyed[-2:].max() == dyed[:, :2].max() == dyed[:, -2:].max() == 0
        colour = dyed[2:-2, 2:-2].sum((0, 1)) / grey.sum()
        np.testing.assert_allclose(dyed[2:-2, 2:-2], grey[..., None] * colour, atol=0.51 + 255 * 0.002)
        assert np.all((colour > 0.29) & (colour < 1.01))
        colours.append(colour)
    assert np.ptp(colours, axis=0).min() > 0.01


def test_differences_of_a_study_are_those_of_each_draw_and_their_mean(tmp_path, capsys):
    columns = (
        "data,model,labels,seed,accuracy,ece,log_likelihood,reconstruction_error,supervised,consistency,steps,seconds"
    )
    rows = [
        "A,M2,20,1,80,0,0,0,70,79.96,9,1,h,c",
        "A,M2,20,0,60,0,0,0,65.5,60,9,1,h,c",
        "A,M2,100,0,9,0,0,0,8,,9,1,h,c",
    ]
    path = tmp_path / "some.csv"
    path.write_text("\n".join([f"{columns},hardware,commit", *rows]), encoding="utf-8")
    no_harm.main([str(path)])
    *_, twenty, hundred = capsys.readouterr().out.splitlines()
    assert twenty == "| A | M2 | 20 | 2.2 (−5.5, 10.0) | 0.0 (0.0, 0.0) |"
    assert hundred == "| A | M2 | 100 | 1.0 (1.0) |  |"
