"""M1: its bound by hand and as M2's with one class, its classifiers on z, what it keeps of the images."""

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression as Regression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from support import tiny

from ssvae.inference import Objective, Recipe, TrainerOptions, fit, load
from ssvae.inference.objective import Observations, Sizes
from ssvae.inference.predict import class_probabilities
from ssvae.inference.training import train
from ssvae.models import M1, M2
from ssvae.models.feature_classifiers import (
    FeatureBank,
    KNearestNeighbours,
    LabelSpreading,
    LogisticRegression,
    SupportVectorMachine,
)
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, GaussianMixture, StandardNormal

IMAGE, CLASSES, LATENT, BATCH = (1, 4, 4), 3, 2, 5
EXACT = {"rtol": 0, "atol": 1e-9}

CLASSIFIERS = {
    "SVM": SupportVectorMachine(),
    "kNN": KNearestNeighbours(3),
    "logistic": LogisticRegression(),
    "spreading": LabelSpreading(),
}


@pytest.fixture(params=CLASSIFIERS.values(), ids=CLASSIFIERS)
def classifier(request):
    return request.param


def _m1(prior=None, num_classes=CLASSES, **options):
    prior = prior or StandardNormal(LATENT)
    return M1(IMAGE, num_classes, prior=prior, likelihood=Bernoulli(), networks=MLP(hidden=(6,)), **options)


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _clusters(n, centres=((0.0, 0.0), (4.0, 0.0), (0.0, 4.0)), spread=0.5):
    """Features in one cluster for each class, the classes in turn."""
    y = torch.arange(n) % len(centres)
    return torch.tensor(centres)[y] + spread * torch.randn(n, 2), y


def _feature_bank(classifier, z, y, num_classes=CLASSES):
    bank = FeatureBank(classifier, z.shape[-1], num_classes)
    bank.keep(z, y)
    return bank


# The bound


def _unlabelled(x):
    return Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)


def test_the_bound_is_the_one_written_by_hand():
    model, x = _m1(), _images()
    torch.manual_seed(7)
    loss, terms = Objective()(model, _unlabelled(x), Sizes(0, BATCH))

    torch.manual_seed(7)
    encoder, decoder = model.z_encoder.perceptron, model.decoder.perceptron
    hidden = F.softplus(encoder.first.linear(x.flatten(1)))
    loc, log_scale = encoder.rest[-1](hidden).chunk(2, dim=-1)
    posterior = torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())
    z = posterior.rsample()
    logits = decoder.rest[-1](F.softplus(decoder.first.linear(z)))
    log_p_x = torch.distributions.Bernoulli(logits=logits).log_prob(x.flatten(1)).sum(-1)
    log_p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    by_hand = -(log_p_x + log_p_z - posterior.log_prob(z).sum(-1)).mean()

    torch.testing.assert_close(loss, by_hand, **EXACT)
    torch.testing.assert_close(terms["unlabelled/reconstruction"], -log_p_x.mean().detach(), **EXACT)
    assert not any("class" in name or "entropy" in name for name in terms)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters), torch.autograd.grad(by_hand, parameters)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("prior", [StandardNormal, GaussianMixture])
def test_it_is_m2_with_one_class(prior):
    m1, m2 = _m1(prior(LATENT), num_classes=1), M2(
        IMAGE, 1, prior=prior(LATENT), likelihood=Bernoulli(), networks=MLP(hidden=(6,))
    )  # fmt: skip
    m2.prior.load_state_dict(m1.prior.state_dict())
    for name in ("z_encoder", "decoder"):
        theirs = getattr(m2, name)
        theirs.load_state_dict(getattr(m1, name).state_dict(), strict=False)
        with torch.no_grad():
            theirs.perceptron.first.embedding.weight.zero_()
    x, losses = _images(), []
    for model in (m1, m2):
        torch.manual_seed(7)
        loss, _ = Objective(alpha=0.0)(model, _unlabelled(x), Sizes(0, BATCH))
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, **EXACT)
    of_m2 = dict(m2.named_parameters())
    for name, parameter in m1.named_parameters():
        torch.testing.assert_close(
            parameter.grad, of_m2[name].grad, **EXACT, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_labels_change_neither_the_bound_nor_its_gradient():
    model, x = _m1(), _images()
    losses = []
    for y in (torch.zeros(BATCH, dtype=torch.int64), torch.arange(BATCH) % CLASSES):
        torch.manual_seed(7)
        loss, terms = Objective(alpha=5.0)(model, Observations(x, y, x), Sizes(10, 40))
        losses.append(loss)
    torch.testing.assert_close(*losses, **EXACT)
    assert "classification" not in terms


def test_of_a_prior_that_looks_at_the_class_it_takes_the_mixture():
    model, x = _m1(ClassConditional(LATENT)), _images()
    torch.manual_seed(7)
    bound = Objective()(model, _unlabelled(x), Sizes(0, BATCH))[1]
    torch.manual_seed(7)
    q = model.q_z(x, torch.zeros(BATCH, dtype=torch.int64))
    z = q.rsample()
    # In equal parts, as the story has no p(y).
    mixture = sum(model.prior(torch.tensor(k)).log_prob(z).exp() / CLASSES for k in range(CLASSES)).log()
    expected = (q.log_prob(z) - mixture).mean()
    torch.testing.assert_close(bound["unlabelled/kl"], expected.detach(), **EXACT)


# Classifiers on features


def test_clusters_are_told_apart(classifier):
    z, y = _clusters(30)
    new, expected = _clusters(60)
    probabilities = _feature_bank(classifier, z, y).probabilities(new)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(60), **EXACT)
    assert probabilities.argmax(-1).equal(expected)


def test_the_machines_classes_are_scikit_learns_own():
    # Overlapping clusters, where images are on either side of the boundary.
    z, y = _clusters(60, spread=2.0)
    new, _ = _clusters(300, spread=2.0)
    machine = SVC(C=10.0, gamma="scale", break_ties=True).fit(z.numpy(), y.numpy())
    probabilities = _feature_bank(SupportVectorMachine(), z, y).probabilities(new)
    assert probabilities.argmax(-1).equal(torch.as_tensor(machine.predict(new.numpy())))
    # A temperature from images that were left out: as sure as it is right.
    right = (probabilities.argmax(-1) == torch.arange(300) % 3).double().mean()
    assert abs(probabilities.amax(-1).mean() - right) < 0.1


@pytest.mark.parametrize("centres", [((0.0, 0.0), (4.0, 0.0)), ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0))])
def test_the_machines_temperature_is_the_most_probable_one(centres):
    z, y = _clusters(60, centres, spread=2.0)
    machine = SVC(C=10.0, gamma="scale", break_ties=True)

    def logits(decisions):
        decisions = torch.as_tensor(decisions)
        return decisions if decisions.dim() > 1 else torch.stack([0 * decisions, decisions], -1)

    left_out = logits(cross_val_predict(machine, z.numpy(), y.numpy(), cv=5, method="decision_function"))
    # The derivative of the cross-entropy of left-out images by the inverse temperature, zero at its best one.
    chosen = left_out.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    best = brentq(lambda scale: ((scale * left_out).softmax(-1) * left_out).sum(-1).sub(chosen).sum().item(), 1e-3, 1e3)
    expected = (best * logits(machine.fit(z.numpy(), y.numpy()).decision_function(z.numpy()))).softmax(-1)
    found = _feature_bank(SupportVectorMachine(), z, y, len(centres)).probabilities(z)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_machines_temperature_is_scikit_learns():
    pytest.importorskip("sklearn", minversion="1.8")
    z, y = _clusters(60, spread=2.0)
    machine = SVC(C=10.0, gamma="scale", break_ties=True)
    calibrated = CalibratedClassifierCV(machine, method="temperature", cv=5, ensemble=False).fit(z.numpy(), y.numpy())
    expected = torch.as_tensor(calibrated.predict_proba(z.numpy()))
    found = _feature_bank(SupportVectorMachine(), z, y).probabilities(z)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("centres", [((0.0, 0.0), (4.0, 0.0)), ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0))])
def test_a_machine_with_one_image_of_a_class_still_gives_probabilities(centres):
    z, y = _clusters(len(centres), centres)
    new, expected = _clusters(40, centres)
    probabilities = _feature_bank(SupportVectorMachine(), z, y, len(centres)).probabilities(new)
    assert probabilities.argmax(-1).equal(expected)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(40), **EXACT)


def test_neighbours_and_regression_give_scikit_learns_probabilities():
    z, y = _clusters(60, spread=2.0)
    new, _ = _clusters(50, spread=2.0)
    for ours, theirs in (
        (KNearestNeighbours(7), KNeighborsClassifier(7)),
        (LogisticRegression(C=0.1), Regression(C=0.1, max_iter=10_000)),
    ):
        expected = theirs.fit(z.numpy(), y.numpy()).predict_proba(new.numpy())
        torch.testing.assert_close(_feature_bank(ours, z, y).probabilities(new), torch.as_tensor(expected), **EXACT)


def test_more_neighbours_than_labelled_images_are_all_of_them():
    z, y = _clusters(4)
    probabilities = _feature_bank(KNearestNeighbours(10), z, y).probabilities(z[:1])
    torch.testing.assert_close(probabilities, torch.tensor([[0.5, 0.25, 0.25]]), **EXACT)


def test_labels_spread_along_unlabelled_images():
    # Two long rows, each labelled at one end: the far ends are nearer to the other row's label.
    along = torch.linspace(0, 10, 41)
    rows = [torch.stack([along, torch.full_like(along, height)], -1) for height in (0.0, 1.5)]
    z = torch.cat([rows[0][:1], rows[1][-1:], *rows])
    y = torch.cat([torch.tensor([0, 1]), torch.full((82,), -1)])
    expected = torch.tensor([0] * 41 + [1] * 41)
    spread = _feature_bank(LabelSpreading(num_neighbours=3, alpha=0.9), z, y, 2).probabilities(z[2:])
    assert spread.argmax(-1).equal(expected)
    nearest = _feature_bank(KNearestNeighbours(1), z, y, 2).probabilities(z[2:])
    assert (nearest.argmax(-1) == expected).double().mean() < 0.6


def test_where_no_label_has_arrived_all_classes_are_equal():
    z, y = _clusters(40, ((0.0, 0.0), (100.0, 0.0)))
    y[2:] = -1
    y[1] = -1  # the far cluster has no label at all
    y[2], y[4] = 1, 0
    probabilities = _feature_bank(LabelSpreading(), z, y, 2).probabilities(z[1:2])
    torch.testing.assert_close(probabilities, torch.full((1, 2), 0.5), **EXACT)


def test_before_any_stock_is_taken_all_classes_are_equal(classifier):
    model = _m1(feature_classifier=classifier)
    torch.testing.assert_close(model.classify(_images()).probs, torch.full((BATCH, CLASSES), 1 / 3), **EXACT)


def test_a_class_without_a_label_is_never_told(classifier):
    z, y = _clusters(20, ((0.0, 0.0), (4.0, 0.0)))
    probabilities = _feature_bank(classifier, z, 2 * y).probabilities(z.view(4, 5, 2))
    assert probabilities.shape == (4, 5, 3)
    assert probabilities[..., 1].abs().max() == 0
    assert probabilities.argmax(-1).flatten().equal(2 * y)


def test_a_single_known_class_is_certain(classifier):
    z, y = _clusters(6)
    y[y != 2] = -1
    assert _feature_bank(classifier, z, y).probabilities(z).equal(torch.tensor([0.0, 0.0, 1.0]).expand(6, 3))


# Refitting


def _stocked(classifier=None, n=30):
    model = _m1(feature_classifier=classifier).eval()
    x, y = _images(n), torch.arange(n) % CLASSES
    with torch.no_grad():
        model.refit(x, y, _images(7))
    return model, x, y


def test_it_keeps_the_mean_features_of_labelled_and_unlabelled_images():
    model, x, y = _stocked()
    assert model.feature_bank.y.tolist() == [*y.tolist(), *[-1] * 7]
    torch.testing.assert_close(model.feature_bank.z[:30], model.q_z(x, y).mean.detach(), **EXACT)


@pytest.mark.parametrize(
    ("classifier", "unlabelled"),
    [(SupportVectorMachine(), 0), (LabelSpreading(num_unlabelled=5), 5), (LabelSpreading(), 34)],
)
def test_training_shows_as_many_unlabelled_images_as_the_classifier_has_a_use_for(classifier, unlabelled):
    data = tiny.arrays()  # 6 of 40 images are labelled
    networks = MLP(hidden=(6,))
    model = M1(data.image_shape, CLASSES, prior=StandardNormal(2), networks=networks, feature_classifier=classifier)
    train(model, data, Recipe(max_epochs=1, batch_size=10, trainer=TrainerOptions(progress_bar=False)), folder=None)
    kept = model.feature_bank.y
    assert (int((kept >= 0).sum()), int((kept < 0).sum())) == (data.num_labelled, unlabelled)


def test_taking_stock_again_forgets_what_was_there():
    model, x, y = _stocked()
    model.classify(x)
    with torch.no_grad():
        model.refit(x[:6], (y[:6] + 1) % CLASSES, x[:0])
    fresh = _m1()
    fresh.load_state_dict(model.state_dict())
    assert len(model.feature_bank.y) == 6
    assert torch.equal(model.classify(x).probs, fresh.eval().classify(x).probs)


def test_a_loaded_model_classifies_the_same_whatever_was_in_stock(classifier):
    model, x, _ = _stocked(classifier)
    before = model.classify(x).probs
    state = model.state_dict()
    for other in (_m1(feature_classifier=classifier), _stocked(classifier, n=9)[0], copy.deepcopy(model)):
        other.eval().classify(x)
        other.load_state_dict(state)
        assert torch.equal(other.classify(x).probs, before)
    # And back to a model that has seen nothing.
    model.load_state_dict(_m1(feature_classifier=classifier).state_dict())
    torch.testing.assert_close(model.classify(x).probs, torch.full((30, CLASSES), 1 / 3), **EXACT)


def test_no_fitted_classifier_is_copied_or_saved(classifier):
    model, x, _ = _stocked(classifier)
    model.classify(x)
    assert model.feature_bank._fitted is not None
    assert copy.deepcopy(model).feature_bank._fitted is None
    assert {name for name in model.state_dict() if name.startswith("feature_bank")} == {
        "feature_bank.z",
        "feature_bank.y",
    }


def test_training_does_not_see_the_stock():
    model, x, _ = _stocked()
    losses = []
    for one in (model, _m1()):
        one.load_state_dict(model.state_dict())
        torch.manual_seed(7)
        losses.append(Objective()(one, _unlabelled(x), Sizes(0, 30))[0])
    assert torch.equal(*losses)


def _along_the_first_axis():
    """A model whose features 1 say the class: below -0.5, between, above 0.5."""
    model = _m1(feature_classifier=KNearestNeighbours(1)).eval()
    z = torch.tensor([[-1.0, 0.0], [-1.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    model.feature_bank.keep(z, torch.tensor([0, 0, 1, 2]))
    return model


def _features_of_decoded(model, call):
    seen = []
    handle = model.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    call()
    handle.remove()
    return seen[-1]


def test_samples_of_a_class_are_draws_from_the_prior_where_the_classifier_says_so():
    model, y = _along_the_first_axis(), torch.tensor([0, 1, 2])
    z = _features_of_decoded(model, lambda: model.sample(y, num_samples=1000))
    assert model.feature_bank.probabilities(z).argmax(-1).equal(y.expand(1000, 3))
    # p(z_1 | z_1 > 0.5), of the standard normal: its mean is φ(0.5) / (1 - Φ(0.5)); the second feature is left alone.
    normal = torch.distributions.Normal(0.0, 1.0)
    half = torch.tensor(0.5)
    above = normal.log_prob(half).exp() / (1 - normal.cdf(half))
    torch.testing.assert_close(z[:, 2, 0].mean(), above, rtol=0, atol=0.06)
    torch.testing.assert_close(z[:, 1, 0].mean(), torch.tensor(0.0), rtol=0, atol=0.06)
    torch.testing.assert_close(z[:, 2, 1].std(), torch.tensor(1.0), rtol=0, atol=0.08)


def test_an_analogy_is_moved_by_the_difference_of_the_classes_mean_features():
    model, x = _along_the_first_axis(), _images()
    y = torch.tensor([0, 1, 2, 0, 1])
    z = _features_of_decoded(model, lambda: model.analogies(x, y))
    means = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    for k in range(CLASSES):
        torch.testing.assert_close(z[k], model.encode(x, y) + means[k] - means[y], **EXACT)


def test_a_class_without_a_label_has_the_mean_of_all():
    model = _along_the_first_axis()
    model.feature_bank.keep(model.feature_bank.z, torch.tensor([0, 0, 0, -1]))
    torch.testing.assert_close(model.feature_bank.class_means()[2], torch.tensor([-2 / 3, 2 / 3]), **EXACT)


def test_its_baseline_is_a_classifier_of_the_image_with_the_same_networks():
    model = _m1()
    baseline = model.baseline()
    assert isinstance(baseline, M2)
    assert (baseline.classifier, baseline.event_shape, baseline.num_classes) == (model.networks, IMAGE, CLASSES)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_it_is_trained_and_saved_and_predicts_the_same_when_it_is_loaded(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    data = tiny.arrays()
    model = M1((1, 8, 8), 3, prior=StandardNormal(3), networks=MLP((7,)), feature_classifier=classifier)
    run = fit(model, data, Recipe(max_epochs=2, batch_size=10), folder="run")
    unlabelled = 34 if classifier.num_unlabelled else 0
    assert model.feature_bank.y.tolist() == [*data.train_labels[data.labelled_index].tolist(), *[-1] * unlabelled]
    x = data.preprocess(data.test_images)
    again = load("run", with_data=False).model
    assert torch.equal(class_probabilities(again, x), class_probabilities(run.model, x))
    assert run.evaluation.posterior is None
    assert len(class_probabilities(again, x).unique(dim=0)) > 1
    assert set(run.baselines) == {"supervised"}


MISTAKES = {
    "flat images": (lambda: M1((8, 8), 3), "event_shape"),
    "no classes": (lambda: M1(IMAGE, 0), "num_classes: expected a positive integer; got 0"),
    "C": (lambda: SupportVectorMachine(C=0), "C: expected a positive number; got 0"),
    "gamma": (lambda: SupportVectorMachine(gamma=-1.0), "gamma: expected a positive number; got -1.0"),
    "C of the regression": (lambda: LogisticRegression(C=-1), "C: expected"),
    "neighbours": (lambda: KNearestNeighbours(0), "num_neighbours: expected a positive number; got 0"),
    "neighbours in the graph": (lambda: LabelSpreading(0), "num_neighbours"),
    "alpha": (lambda: LabelSpreading(alpha=1.0), r"alpha: expected a number in \(0, 1\); got 1.0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_is_refused_in_words(name):
    mistake, words = MISTAKES[name]
    with pytest.raises(ValueError, match=words):
        mistake()
