"""VampPrior's pseudo-inputs start from training images: by training, once, or by hand."""

import math

import pyro
import pytest
import torch
from support import tiny
from torch import nn

from ssvae.data import Arrays
from ssvae.inference.training import train
from ssvae.inference.training.module import Training
from ssvae.models import M1, M2
from ssvae.models.likelihoods import Gaussian
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, StandardNormal, VampPrior

IMAGE, CLASSES = (1, 2, 2), 3
# Distinct images within the range that a logit is taken of.
X = torch.linspace(0.02, 0.98, 40, dtype=torch.float64).view(10, 1, 2, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2, -1, -1, -1, -1])


def _m2(prior, **options):
    return M2(IMAGE, CLASSES, prior=prior, networks=MLP((4,)), **options)


def _images_of(prior):
    """Which image of X each pseudo-input is, -1 for none."""
    distance = (prior.pseudo_inputs.detach().sigmoid().unsqueeze(1) - X).abs().amax((-3, -2, -1))
    nearest = distance.min(-1)
    return torch.where(nearest.values < 1e-6, nearest.indices, -1).tolist()


def test_a_shared_one_starts_from_images_of_its_classes_then_from_unlabelled_ones():
    prior = VampPrior(2, num_components=8)
    _m2(prior)
    prior.start_from(X, Y)
    assert prior.pseudo_classes.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert _images_of(prior) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_one_per_class_starts_from_images_of_the_class_where_there_are_some():
    prior = VampPrior(2, num_components=3, per_class=True)
    _m2(prior)
    y = torch.where(Y == 2, -1, Y)  # none is known to be of class 2
    prior.start_from(X, y)
    # Of classes 0 and 1 two each, the third again with a little noise.
    assert _images_of(prior) == [0, 3, -1, 1, 4, -1, 2, 5, 6]
    for taken, again in ((0, 2), (3, 5)):
        difference = (prior.pseudo_inputs[again] - prior.pseudo_inputs[taken]).detach()
        assert 0.01 < difference.abs().mean() < 0.3


def test_without_classes_each_unlabelled_image_is_taken_once():
    prior = VampPrior(2, num_components=10)
    _m2(prior)
    prior.start_from(X)
    assert sorted(_images_of(prior)) == list(range(10))


def test_where_nothing_else_is_left_an_image_of_another_class_serves():
    prior = VampPrior(2, num_components=2, per_class=True)
    _m2(prior)
    prior.start_from(X[:2], torch.tensor([0, 1]))
    assert _images_of(prior) == [0, -1, 1, -1, 0, 1]


def test_black_and_white_pixels_start_at_logits_that_can_be_learned():
    prior = VampPrior(2, num_components=3)
    _m2(prior)
    prior.start_from((X > 0.5).double())
    bound = math.log(0.99 / 0.01)
    torch.testing.assert_close(prior.pseudo_inputs.detach().abs(), torch.full((3, *IMAGE), bound))


MISTAKES = {
    "shape": ((torch.rand(3, 1, 2, 3),), r"^x: expected images of shape \(images, 1, 2, 2\); got \(3, 1, 2, 3\)\."),
    "none": ((X[:0],), r"^x: expected images of shape \(images, 1, 2, 2\); got \(0, 1, 2, 2\)\."),
    "range": ((255 * X,), r"^x: expected pixels in \[0, 1\]; got values from 5\.1 to 249\.9"),
    "classes": ((X, Y[:3]), r"^y: expected a class, or -1, for each of the 10 images; got shape \(3,\)\."),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_no_pseudo_input_can_start_from_is_refused(name):
    images, sentence = MISTAKES[name]
    prior = VampPrior(2, num_components=3)
    _m2(prior)
    with pytest.raises(ValueError, match=sentence):
        prior.start_from(*images)


VECTORS = 50 * torch.randn(10, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _of_vectors(prior):
    model = M2((3,), CLASSES, prior=prior, likelihood=Gaussian(), networks=MLP((4,)))
    assert prior.pseudo_inputs.mean().abs() < 1  # around zero, not around a dark pixel's logit
    return model


def test_pseudo_inputs_of_vectors_are_the_vectors_themselves():
    prior = VampPrior(2, num_components=8)
    model = _of_vectors(prior)
    prior.start_from(VECTORS, Y)
    assert torch.equal(prior.pseudo_inputs, VECTORS[:8])
    z = torch.randn(5, 2)
    components = [
        model.q_z(u.unsqueeze(0), c.view(1)).log_prob(z) for u, c in zip(VECTORS[:8], prior.pseudo_classes, strict=True)
    ]
    expected = torch.stack(components).logsumexp(0) - math.log(8)
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-12, atol=1e-12)


def test_repeated_vectors_differ_by_a_tenth_of_each_features_standard_deviation():
    prior = VampPrior(2, num_components=400, per_class=True)
    _of_vectors(prior)
    x = VECTORS * torch.tensor([1e-3, 1.0, 1e3])
    prior.start_from(x, Y)
    first = prior.pseudo_inputs[:400].detach()
    assert torch.equal(first[:2], x[[0, 3]])
    noise = first[2:] - x[[0, 3]].repeat(199, 1)
    torch.testing.assert_close(noise.std(0), 0.1 * x.std(0, correction=0), rtol=0.12, atol=0)


VECTOR_MISTAKES = {
    "shape": (torch.rand(3, 2), r"^x: expected vectors of shape \(images, 3\); got \(3, 2\)\."),
    "infinite": (torch.full((2, 3), math.inf), r"^x: expected finite numbers; got inf\.$"),
    "not a number": (torch.full((2, 3), math.nan), r"^x: expected finite numbers; got nan\.$"),
}


@pytest.mark.parametrize("name", VECTOR_MISTAKES)
def test_what_no_pseudo_input_of_vectors_can_start_from_is_refused(name):
    x, sentence = VECTOR_MISTAKES[name]
    prior = VampPrior(2, num_components=3)
    _of_vectors(prior)
    with pytest.raises(ValueError, match=sentence):
        prior.start_from(x)


def test_without_a_model_there_is_nothing_to_start():
    assert VampPrior(2).start_size == 0
    with pytest.raises(ValueError, match="build a model first"):
        VampPrior(2).start_from(X)


def test_most_priors_need_no_images_to_start_from():
    for prior in (StandardNormal(2), ClassConditional(2)):
        model = _m2(prior)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert prior.start_size == 0
        prior.start_from(X, Y)
        tiny.assert_same_tensors(model.state_dict(), before)


def test_a_loop_of_ones_own_starts_it_by_hand():
    model = _m2(VampPrior(2, num_components=4))
    model.prior.start_from(X, Y)
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    for _ in range(2):
        svi.step(X[:6], Y[:6])
    pyro.clear_param_store()
    assert (model.prior.pseudo_inputs.detach().sigmoid() - X[[0, 1, 2, 3]]).abs().max() < 5e-3


# By training

STILL = {"learning_rate": 1e-30, "max_epochs": 1}


@pytest.mark.parametrize("per_class", [False, True])
def test_training_starts_it_from_training_images(per_class):
    data = tiny.arrays()
    model = tiny.m2(prior=VampPrior(3, num_components=6, per_class=per_class))
    train(model, data, tiny.recipe(**STILL), None)
    pixels = data.preprocess(data.train_images).clamp(0.01, 0.99)
    found = model.prior.pseudo_inputs.detach().sigmoid()
    distance, nearest = (found.unsqueeze(1) - pixels).abs().amax((-3, -2, -1)).min(-1)
    if per_class:  # six labels: two of each class, then those again
        assert ((distance < 1e-9).view(3, 6) == (torch.arange(6) < 2)).all()
    else:
        assert (distance < 1e-9).all()
        assert len(nearest.unique()) == 6
    labels = data.train_labels[nearest[distance < 1e-9]]
    torch.testing.assert_close(labels, model.prior.pseudo_classes[distance < 1e-9])


def test_its_samples_lie_on_data_in_the_plane():
    # A ring within [0, 1]², far from 0.12; encoder and decoder that keep a point as it is, but for a little noise.
    angle = torch.linspace(0, 2 * math.pi, 200)
    ring = 0.7 + 0.25 * torch.stack([angle.cos(), angle.sin()], dim=-1)
    points = (ring * 255).round().to(torch.uint8).view(-1, 1, 1, 2)
    nobody = torch.full((200,), -1)
    data = Arrays(points, nobody, test_images=points[:2], test_labels=torch.tensor([0, 1]), num_labels=0)
    model = M1((1, 1, 2), 2, prior=VampPrior(2, 50), networks=MLP((2,), activation=nn.Identity), likelihood=Gaussian())
    with torch.no_grad():
        for network in (model.z_encoder.perceptron, model.decoder.perceptron):
            for layer in (network.first.linear, network.rest[1]):
                layer.weight.copy_(torch.eye(*layer.weight.shape))
                layer.bias.zero_()
        model.z_encoder.perceptron.rest[1].bias[2:] = -10.0  # log σ

    def distance():
        with torch.no_grad():
            x = model.p_x(model.prior().sample((500,)), nobody).mean.flatten(1)
        return torch.cdist(x, ring).amin(-1)

    assert distance().min() > 0.1
    train(model, data, tiny.recipe(**STILL), None)
    assert distance().mean() < 0.01


def _rows(prior):
    return prior.pseudo_inputs.detach().clone()


def test_the_start_depends_on_the_recipes_seed_alone():
    starts = []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(state)
        model = tiny.m2(seed=state, prior=VampPrior(3, num_components=4))
        training = Training(model, tiny.arrays(), tiny.recipe(seed=seed), None, print_lines=False)
        training.start()
        starts.append(_rows(model.prior))
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_a_teacher_and_its_student_start_alike():
    model = tiny.m2(prior=VampPrior(3, num_components=4))
    training = Training(model, tiny.arrays(), tiny.everything(), None, print_lines=False)
    training.start()
    first, second = (_rows(each.prior) for each in training.models)
    assert torch.equal(first, second)


def test_what_was_learned_loaded_or_set_stays():
    model = tiny.m2(prior=VampPrior(3, num_components=4))
    train(model, tiny.arrays(), tiny.recipe(max_epochs=1), None)
    learned = _rows(model.prior)
    train(model, tiny.arrays(), tiny.recipe(**STILL), None)
    assert torch.equal(_rows(model.prior), learned)
    loaded = tiny.m2(seed=1, prior=VampPrior(3, num_components=4))
    loaded.load_state_dict(model.state_dict())
    train(loaded, tiny.arrays(), tiny.recipe(**STILL), None)
    assert torch.equal(_rows(loaded.prior), learned)


@pytest.mark.slow
def test_a_run_that_is_resumed_ends_as_one_that_was_not(tmp_path, monkeypatch):
    def vamp():
        torch.manual_seed(3)
        return tiny.m2(prior=VampPrior(3, num_components=4, per_class=True))

    data, recipe = tiny.arrays(), tiny.recipe(max_epochs=3)
    whole = vamp()
    train(whole, data, recipe, tmp_path / "whole")

    def interrupt(training):
        if training.current_epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "on_train_epoch_start", interrupted(Training.on_train_epoch_start, interrupt))
    with pytest.raises(KeyboardInterrupt):
        train(vamp(), data, recipe, tmp_path / "stopped")
    monkeypatch.undo()

    def started(*arguments):
        raise AssertionError("a resumed run does not start")

    monkeypatch.setattr(VampPrior, "start_from", started)
    resumed = vamp()
    train(resumed, data, recipe, tmp_path / "stopped")
    tiny.assert_same_tensors(resumed.state_dict(), whole.state_dict())


def interrupted(go_on, interrupt):
    """Return a method that may be interrupted before it goes on."""

    def method(training):
        interrupt(training)
        go_on(training)

    return method
