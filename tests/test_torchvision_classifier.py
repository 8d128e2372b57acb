"""Torchvision's classifiers as q(y | x): what they are shown, what they begin with, and where they have no place."""

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays

from ssvae.data.torchvision_sets import import_torchvision_datasets
from ssvae.inference import Recipe, fit, load
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.torchvision_classifier import Torchvision

import_torchvision_datasets()
import torchvision  # noqa: E402

NAME = "shufflenet_v2_x0_5"
CLASSES, BATCH = 3, 4
EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture
def weights(tmp_path):
    """The weights of a classifier of seven classes, and the file that they are in."""
    state = torchvision.models.get_model(NAME, num_classes=7).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    return state, str(tmp_path / "weights.pth")


@pytest.mark.parametrize(("shape", "scaled"), [((1, 8, 8), (32, 32)), ((3, 16, 24), (32, 48)), ((3, 40, 36), (40, 36))])
def test_it_is_torchvisions_on_standardised_colour_images_that_are_large_enough(shape, scaled):
    network = Torchvision(NAME).encoder(shape, CLASSES).eval()
    x = torch.rand(BATCH, *shape)
    theirs = torchvision.models.get_model(NAME, num_classes=CLASSES).eval()
    theirs.load_state_dict(network.network.state_dict())
    large = F.interpolate(x.expand(-1, 3, -1, -1), size=scaled, mode="bilinear")
    standardised = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(large)
    logits = network(x)
    assert logits.shape == (BATCH, CLASSES)
    torch.testing.assert_close(logits, theirs(standardised), **EXACT)


def test_it_begins_with_the_weights_of_a_file_but_for_the_layer_of_other_classes(weights):
    state, path = weights
    network = Torchvision(NAME, weights=path).encoder((1, 8, 8), CLASSES).network.state_dict()
    assert set(network) == set(state)
    differing = {name for name, value in network.items() if not torch.equal(value, state[name])}
    assert differing == {"fc.weight", "fc.bias"}
    same = Torchvision(NAME, weights=path).encoder((1, 8, 8), 7).network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in same.items())


@pytest.mark.slow
def test_a_run_needs_the_file_only_once(weights, tmp_path):
    _, path = weights
    data = arrays()
    networks = MLP(hidden=(6,))
    model = M2((1, 8, 8), data.num_classes, networks=networks, classifier=Torchvision(NAME, weights=path))
    run = fit(model, data, Recipe(max_epochs=1, batch_size=10), folder=str(tmp_path / "run"), baselines=False)
    (tmp_path / "weights.pth").unlink()
    loaded = load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(loaded.classify(x).logits, run.model.classify(x).logits)
    assert path in (tmp_path / "run" / "config.yaml").read_text()


def test_an_auxiliary_classifier_beside_it_does_not_count():
    network = Torchvision("googlenet").encoder((1, 8, 8), CLASSES)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, CLASSES)


ERRORS = {
    "no such classifier": (lambda path: Torchvision("resnet17"), ValueError, "name: .* got 'resnet17'. Did you mean"),
    "no detector": (lambda path: Torchvision("fcos_resnet50_fpn"), ValueError, "name: expected a classifier"),
    "no pixels": (lambda path: Torchvision(size=0), ValueError, "size: expected a positive number of pixels; got 0"),
    "no file": (lambda path: Torchvision(weights="no.pth"), FileNotFoundError, "weights: .* got 'no.pth'"),
    "the weights of another": (
        lambda path: Torchvision("squeezenet1_1", weights=path).encoder((1, 8, 8), CLASSES),
        ValueError,
        "weights: expected a state dict of torchvision's squeezenet1_1",
    ),
    "no weights": (
        lambda path: Torchvision(NAME, weights=__file__).encoder((1, 8, 8), CLASSES),
        ValueError,
        f"weights: expected a state dict of torchvision's {NAME}",
    ),
    "a stereo pair": (lambda path: Torchvision(NAME).encoder((2, 8, 8), CLASSES), ValueError, "1 or 3 channels; got 2"),
    "a vector": (
        lambda path: Torchvision(NAME).encoder((3,), CLASSES),
        ValueError,
        r"^networks: expected an image .* for Torchvision; got event_shape \(3,\). Use MLP.$",
    ),
    "as all networks": (
        lambda path: M2((1, 8, 8), CLASSES, networks=Torchvision(NAME)),
        ValueError,
        r"classifier: expected an architecture that makes a network with further inputs; got Torchvision, a classifier",
    ),
    "as a decoder": (lambda path: Torchvision(NAME).decoder(2, (1, 8, 8)), ValueError, "makes a decoder"),
    "of vectors": (lambda path: Torchvision(NAME).dense(2, 3), ValueError, "makes a network of vectors"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name, weights):
    mistake, kind, words = ERRORS[name]
    with pytest.raises(kind, match=words):
        mistake(weights[1])
