"""Every model keeps the contract, which `ssvae.inference.contracts` states; all its parts can be had in every
combination.

A new model is one entry in `MODELS`.
"""

import doctest
import importlib
import itertools

import pyro
import pyro.optim
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from support import tiny
from test_likelihoods import LIKELIHOODS, PIXELS
from test_priors import PRIORS

from benchmarks.family import family
from ssvae import models
from ssvae.inference.command_line.choices import offered
from ssvae.inference.contracts import check_model
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import (
    ADGM,
    GMVAE,
    M1,
    M1M2,
    M2,
    SDGM,
    SOMVAE,
    AdversarialAutoencoder,
    ConditionalVAE,
    DistilledM1,
    DistilledM2,
    LadderVAE,
    SemiSupervisedModel,
    SparseLabelVAE,
)
from ssvae.models.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Mixed, StudentT
from ssvae.models.networks import MLP, Convolutional, Network, _MaskedEncoder
from ssvae.models.posteriors import FixedScaleNormal, FullRankNormal
from ssvae.models.priors import ClassConditional, ClassPrior, SeparatedMeans, StandardNormal, VampPrior
from ssvae.models.stages import Staged

CLASSES, LATENT, BATCH = 3, 2, 4
GREY, COLOUR, VECTOR, ROW = (1, 8, 8), (3, 8, 8), (3,), (4,)


def _m1m2(progress, prior=None, **options):
    networks = {"networks": MLP(hidden=(16,)), "inner_networks": MLP(hidden=(12,))}
    prior = prior or StandardNormal(LATENT)
    model = M1M2(GREY, CLASSES, prior=prior, **networks, **options, z1_dim=5, m1_until=0.5, m2_until=0.8)
    model.advance(progress)
    return model


def _distilled_m1(*shares):
    options = {"networks": MLP(hidden=(16,)), "classifier": Convolutional(channels=(4, 4), hidden=16)}
    model = DistilledM1(GREY, CLASSES, prior=StandardNormal(LATENT), **options, feature_dim=5, fitted_at=(0.4, 0.7))
    return tiny.at(model, *shares)


def _distilled_m2(*shares):
    options = {"networks": MLP(hidden=(16,)), "classifier": Convolutional(channels=(4, 4), hidden=16)}
    model = DistilledM2(GREY, CLASSES, prior=StandardNormal(LATENT), **options, feature_dim=5, fitted_at=(0.4,))
    return tiny.at(model, *shares)


MODELS = {
    "M2": lambda: M2(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))),
    "M2, vectors, VampPrior": lambda: M2(
        VECTOR,
        CLASSES,
        prior=VampPrior(LATENT, num_components=3, per_class=True),
        likelihood=Gaussian(per_feature=True),
        networks=MLP(hidden=(16,)),
    ),
    "M2, rows of a table": lambda: M2(
        ROW, CLASSES, prior=StandardNormal(LATENT), likelihood=Mixed.example(), networks=MLP(hidden=(16,))
    ),
    "M2, the class in the prior, p(y) learned": lambda: M2(
        GREY,
        CLASSES,
        prior=ClassConditional(LATENT, num_components=2),
        likelihood=DiscretizedLogistic(),
        networks=MLP(hidden=(16,), batch_norm=True, dropout=0.2),
        class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2], learned=True),
    ),
    "M2, convolutional, colour, VampPrior": lambda: M2(
        COLOUR,
        CLASSES,
        prior=VampPrior(LATENT, num_components=3, per_class=True),
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16),
    ),
    "M2, another network for the classifier": lambda: M2(
        GREY,
        CLASSES,
        prior=PRIORS["NormalizingFlow"](LATENT),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(16,)),
        classifier=Convolutional(channels=(4, 4), hidden=16),
    ),
    "M2, a full-rank posterior": lambda: M2(
        GREY, CLASSES, prior=StandardNormal(LATENT), posterior=FullRankNormal(), networks=MLP(hidden=(16,))
    ),
    "ConditionalVAE": lambda: ConditionalVAE(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))),
    "ConditionalVAE, the class in the prior, p(y) learned, colour": lambda: ConditionalVAE(
        COLOUR,
        CLASSES,
        prior=ClassConditional(LATENT),
        likelihood=Bernoulli(),
        networks=Convolutional(channels=(4, 4), hidden=16, batch_norm=True),
        class_prior=ClassPrior(CLASSES, learned=True),
        num_samples=3,
    ),
    "GMVAE": lambda: GMVAE(GREY, CLASSES, prior=SeparatedMeans(LATENT, distance=2), networks=MLP(hidden=(16,))),
    "GMVAE, vectors with outliers": lambda: GMVAE(
        VECTOR,
        CLASSES,
        prior=SeparatedMeans(LATENT, distance=2),
        likelihood=StudentT(per_feature=True),
        networks=MLP(hidden=(16,)),
    ),
    "GMVAE, learned means, p(y) learned, colour": lambda: GMVAE(
        COLOUR,
        CLASSES,
        prior=ClassConditional(LATENT, num_components=2),
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16, batch_norm=True),
        class_prior=ClassPrior(CLASSES, learned=True),
        posterior=FixedScaleNormal(0.5),
    ),
    "SparseLabelVAE": lambda: SparseLabelVAE(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))),
    "SparseLabelVAE, convolutional, colour, VampPrior": lambda: SparseLabelVAE(
        COLOUR,
        CLASSES,
        prior=VampPrior(LATENT, num_components=3),
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16, batch_norm=True),
    ),
    "AdversarialAutoencoder": lambda: AdversarialAutoencoder(
        GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))
    ),
    "AdversarialAutoencoder, a mixture, batch norm": lambda: AdversarialAutoencoder(
        GREY,
        CLASSES,
        prior=PRIORS["GaussianMixture"](LATENT),
        likelihood=Bernoulli(),
        networks=Convolutional(channels=(4, 4), hidden=16, batch_norm=True),
        class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2], learned=True),
        instance_noise=0.3,
        label_smoothing=0.1,
    ),
    "SOMVAE": lambda: SOMVAE(GREY, CLASSES, latent_dim=LATENT, rows=3, columns=2, networks=MLP(hidden=(16,))),
    "SOMVAE, convolutional, colour": lambda: SOMVAE(
        COLOUR,
        CLASSES,
        latent_dim=LATENT,
        rows=1,
        columns=3,
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16),
    ),
    "M1": lambda: M1(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))),
    "DistilledM1, M1 alone": lambda: _distilled_m1(),
    "DistilledM1, taught by the VAE's features": lambda: _distilled_m1(0.5),
    "DistilledM1, taught by its own": lambda: _distilled_m1(0.5, 0.8),
    "DistilledM2, M2 alone": lambda: _distilled_m2(),
    "DistilledM2, taught by its features": lambda: _distilled_m2(0.5),
    "M1M2, M1 alone": lambda: _m1m2(0.0),
    "M1M2, M2 on M1's features": lambda: _m1m2(0.5),
    "M1M2, end to end": lambda: _m1m2(0.9, prior=ClassConditional(LATENT), likelihood=Gaussian()),
    "ADGM": lambda: ADGM(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,)), auxiliary_dim=3),
    "SDGM": lambda: SDGM(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,)), auxiliary_dim=3),
    "SDGM, convolutional, colour, VampPrior": lambda: SDGM(
        COLOUR,
        CLASSES,
        prior=VampPrior(LATENT, num_components=3, per_class=True),
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16),
        auxiliary_dim=3,
    ),
    "LadderVAE, one layer": lambda: LadderVAE(
        GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,)), latent_dims=(), hidden=()
    ),
    "LadderVAE, three layers": lambda: LadderVAE(
        GREY,
        CLASSES,
        prior=ClassConditional(LATENT),
        networks=MLP(hidden=(16,)),
        latent_dims=(4, 3),
        hidden=(9, 8),
    ),
    "LadderVAE, two layers, convolutional, colour, VampPrior": lambda: LadderVAE(
        COLOUR,
        CLASSES,
        prior=VampPrior(LATENT, num_components=3, per_class=True),
        likelihood=Gaussian(),
        networks=Convolutional(channels=(4, 4), hidden=16),
        latent_dims=(3,),
        hidden=(8,),
    ),
}
IMAGE_MODELS = [name for name, make in MODELS.items() if len(make().event_shape) == 3]
SUMS_OVER_CLASS = [name for name, make in MODELS.items() if make().sums_over_class]

NETWORKS = {
    "MLP": lambda: MLP(hidden=(16, 12), batch_norm=True, dropout=0.1),
    "Convolutional": lambda: Convolutional(channels=(4, 4), hidden=16, batch_norm=True, dropout=0.1),
}


def _images(model, n=BATCH):
    """8-bit images, or black and white ones for Bernoulli; vectors that the likelihood draws."""
    if len(model.event_shape) == 1:
        return model.likelihood(2 * torch.randn(n, *model.decoder_shape)).sample()
    x = (torch.rand(n, *model.event_shape) * 255).round() / 255
    return (x > 0.5).to(x) if isinstance(model.likelihood, Bernoulli) else x


def _observations(model):
    return Observations(_images(model), torch.tensor([0, 1, 2, 2]), _images(model, BATCH + 1))


SIZES = Sizes(10, 30)


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return MODELS[name]()


def test_every_model_that_is_offered_is_here_and_in_the_benchmark():
    kinds = set(offered(models, SemiSupervisedModel))
    assert {type(make()) for make in MODELS.values()} == kinds
    assert {type(model) for model in family().values()} == kinds


@pytest.mark.usefixtures("quick_proposals")
@pytest.mark.slow
def test_it_keeps_the_contract(model):
    rules = check_model(model)
    assert isinstance(model, Staged) == isinstance(model, M1M2 | DistilledM1 | DistilledM2)
    assert len(rules) == len(set(rules)) == 9 + model.bounds_evidence + isinstance(model, Staged)


@pytest.mark.parametrize("name", {type(make()): name for name, make in MODELS.items()}.values())
@pytest.mark.usefixtures("quick_proposals")
def test_every_kind_of_model_keeps_the_contract_in_single_precision(name):
    torch.set_default_dtype(torch.float32)
    check_model(MODELS[name]())


# Two Pyro programs


@pytest.mark.parametrize("name", SUMS_OVER_CLASS)
def test_the_classes_that_are_summed_over_stand_left_of_the_images(model):
    guide = poutine.trace(poutine.enum(model.guide, first_available_dim=-2)).get_trace(_images(model))
    assert guide.nodes["y"]["value"].tolist() == [[0], [1], [2]]  # (classes, 1)


@pytest.mark.parametrize("y_is_in_the_prior", [False, True], ids=["p(z)", "p(z|y)"])
def test_pyro_draws_the_story_and_the_guide(y_is_in_the_prior):
    prior = ClassConditional(LATENT) if y_is_in_the_prior else StandardNormal(LATENT)
    m2 = M2(GREY, CLASSES, prior=prior, networks=MLP(hidden=(16,)))
    x, y = _images(m2), torch.tensor([0, 1, 2, 2])

    def arrows(program, *batches):
        drawing = pyro.render_model(program, model_args=list(batches)).source
        return {tuple(line.split(" -> ")) for line in drawing.replace("\t", "").splitlines() if " -> " in line}

    story = {("y", "x"), ("z", "x")} | ({("y", "z")} if y_is_in_the_prior else set())
    assert arrows(m2.model, (x,), (x, y)) == story
    assert arrows(m2.guide, (x,)) == {("y", "z")}


def test_plain_svi_trains_every_model_and_leaves_nothing_in_the_store(model, name):
    # A second model of the same kind in the same process: a step must change it too, and it shares nothing.
    models = [model, MODELS[name]()]
    for one, steps in zip(models, (12, 1), strict=True):
        before = {key: parameter.detach().clone() for key, parameter in one.named_parameters()}
        x, y = _images(one), torch.tensor([0, 1, 2, 2])
        optimiser = pyro.optim.Adam({"lr": 0.01})
        # TraceEnum_ELBO warns where nothing is enumerated, and should: labelled images are for Trace_ELBO.
        labelled = SVI(one.model, one.guide, optimiser, Trace_ELBO())
        of_classes = TraceEnum_ELBO(max_plate_nesting=1) if one.sums_over_class else Trace_ELBO()
        unlabelled = SVI(one.model, one.guide, optimiser, of_classes)
        losses = [labelled.step(x, y) + unlabelled.step(x) for _ in range(steps)]
        assert steps == 1 or sum(losses[-3:]) < sum(losses[:3])
        # What is to be minimised beside the ELBO, SVI knows nothing of.
        one.zero_grad()
        beside = sum(one.penalties(x).values(), torch.zeros((), requires_grad=True))
        if one.learns_classifier and not one.has_label_site:
            beside = beside - one.classify(x).log_prob(y).sum()
        beside.backward()
        for key, parameter in one.named_parameters():
            if parameter.grad is None:
                assert parameter.requires_grad != torch.equal(parameter, before[key]), key
    assert len(pyro.get_param_store()) == 0
    pointers = [parameter.data_ptr() for one in models for parameter in one.parameters()]
    assert len(set(pointers)) == len(pointers)


def test_trace_enum_warns_where_nothing_is_enumerated(model):
    svi = SVI(model.model, model.guide, pyro.optim.Adam({}), TraceEnum_ELBO(max_plate_nesting=1))
    with pytest.warns(UserWarning, match="found no sample sites configured for enumeration"):
        svi.evaluate_loss(_images(model), torch.tensor([0, 1, 2, 2]))


# What is asked of a model


def test_encode_and_reconstruct_are_means_at_the_given_class_or_what_stands_in_for_it(model):
    model.eval()
    x, y = _images(model), torch.tensor([0, 1, 2, 2])
    guess = model._class_of(x, None)
    if model.sums_over_class:
        assert torch.equal(guess, model.classify(x).probs.argmax(-1))
    for given, used in ((y, y), (None, guess)):
        style, z = model._style(x, used), model.q_z(x, used).mean
        # One latent variable, or z beside what the others leave open.
        assert any(torch.equal(part, z) for part in style.unfold(-1, z.shape[-1], 1).unbind(-2))
        torch.testing.assert_close(model.encode(x, given), style, rtol=0, atol=1e-12)
        expected = model.p_x(style, used).mean
        torch.testing.assert_close(model.reconstruct(x, given), expected, rtol=0, atol=1e-12)
    of_classes = [model.encode(x, torch.full((BATCH,), k)) for k in (0, 1)]
    looks_at_y = not torch.equal(model.q_z(x, y).mean, model.q_z(x, (y + 1) % CLASSES).mean)
    assert torch.allclose(*of_classes) != looks_at_y


def test_an_analogy_in_the_images_own_class_is_its_reconstruction(model):
    if not (model.has_label_site or model.learns_classifier):
        pytest.skip("its decoder is told no class")
    model.eval()
    x, y = _images(model), torch.tensor([0, 1, 2, 2])
    analogies = model.analogies(x, y)
    own = analogies[y, torch.arange(BATCH)]
    torch.testing.assert_close(own, model.reconstruct(x, y), rtol=0, atol=1e-12)
    own_way = type(model).analogies is not SemiSupervisedModel.analogies
    if not own_way:
        z = model.encode(x, y)
        for k in range(CLASSES):
            expected = model.p_x(z, torch.full((BATCH,), k)).mean
            torch.testing.assert_close(analogies[k], expected, rtol=0, atol=1e-12)
    # A model's own way may have to take stock first.
    if model.has_label_site or not own_way:
        assert not torch.allclose(analogies[0], analogies[1])


def test_a_sample_is_the_mean_image_of_a_draw_from_the_prior_of_its_class(model):
    if isinstance(model, M1) and len(model.feature_bank.known):
        pytest.skip("its draws are repeated until its classifier says the class, see test_m1.py")
    model.eval()
    y = torch.tensor([2, 0, 1])
    torch.manual_seed(3)
    images = model.sample(y, num_samples=4)
    torch.manual_seed(3)
    prior = model.prior(y.expand(4, 3))
    of_prior = prior.sample() if prior.batch_shape else prior.sample((4, 3))
    assert of_prior.shape == (4, 3, LATENT)
    torch.manual_seed(3)
    z = model._draw(y.expand(4, 3))  # of a story with several latent variables, all of them
    torch.testing.assert_close(z[..., :LATENT], of_prior, rtol=0, atol=0)
    for k, of_class in enumerate(y.tolist()):
        expected = model.p_x(z[:, k], torch.full((4,), of_class)).mean
        torch.testing.assert_close(images[:, k], expected, rtol=0, atol=1e-12)
    # Nodes of a map are drawn again.
    assert len(images.flatten(0, 1).flatten(1).unique(dim=0)) == len(z.flatten(0, 1).unique(dim=0))


def test_samples_of_a_class_conditional_prior_come_from_their_class():
    model = M2(GREY, CLASSES, prior=ClassConditional(LATENT), networks=MLP(hidden=(16,)))
    with torch.no_grad():
        model.prior.loc.copy_(torch.tensor([0.0, 100.0, 200.0]).view(3, 1, 1))
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    model.sample(torch.tensor([2, 0, 1]), num_samples=50)
    torch.testing.assert_close(seen[0].mean((0, 2)), torch.tensor([200.0, 0.0, 100.0]), rtol=0, atol=0.6)


def test_evaluation_is_repeatable_and_training_is_not_where_there_is_dropout():
    model = MODELS["M2, the class in the prior, p(y) learned"]()
    x = _images(model)
    assert not torch.equal(model.classify(x).logits, model.classify(x).logits)
    model.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.testing.assert_close(model.classify(x).logits, model.classify(x).logits, rtol=0, atol=0)
    # An image's answer does not depend on its neighbours.
    torch.testing.assert_close(model.classify(x[:1]).logits, model.classify(x).logits[:1])
    Objective()(model, _observations(model), SIZES)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    model.train()
    Objective()(model, _observations(model), SIZES)
    means = [key for key in state if key.endswith("running_mean")]
    assert len(means) == 3
    for key in means:
        assert not torch.equal(model.state_dict()[key], state[key]), key


def test_a_saved_model_predicts_the_same_when_it_is_loaded(model, name, tmp_path):
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    Objective()(model, _observations(model), SIZES)[0].backward()
    optimiser.step()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = MODELS[name]()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    model.eval()
    other.eval()
    x, y, z = _images(model), torch.tensor([0, 1, 2, 2]), torch.randn(BATCH, LATENT)
    answers = [
        (m.classify(x).logits, m.encode(x), m.reconstruct(x), m.prior(y).log_prob(z), *m.state_dict().values())
        for m in (model, other)
    ]
    for one, two in zip(*answers, strict=True):
        assert torch.equal(one, two)
    for key, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key


MISTAKES = {
    "pixels as bytes": (
        lambda x, y: (x.byte(), y),
        TypeError,
        r"floating-point pixels in \[0, 1\]; got torch\.uint8",
    ),
    "flat images": (
        lambda x, y: (x.flatten(1), y),
        ValueError,
        r"of shape \(batch, \d, 8, 8\); got \(4, \d+\)",
    ),
    "one image": (lambda x, y: (x[0], y), ValueError, "of shape"),
    "other channels": (lambda x, y: (x.repeat(1, 2, 1, 1), y), ValueError, "of shape"),
    "other size": (lambda x, y: (x[..., :7], y), ValueError, "of shape"),
    "classes as floats": (lambda x, y: (x, y.double()), TypeError, r"\(torch\.int64\); got torch\.float64"),
    "classes as int32": (lambda x, y: (x, y.int()), TypeError, r"got torch\.int32"),
    "a class too many": (
        lambda x, y: (x, torch.arange(5)),
        ValueError,
        r"each of the 4 images; got shape \(5,\)",
    ),
    "one-hot classes": (lambda x, y: (x, torch.eye(4)[:, :3].long()), ValueError, r"got shape \(4, 3\)"),
    "no dimension": (lambda x, y: (x, torch.tensor(1)), ValueError, r"got shape \(\)"),
    "class 3 of 3": (lambda x, y: (x, y + 1), ValueError, "from 0 to 2; got values from 1 to 3"),
    "-1 for unlabelled": (lambda x, y: (x, y - 1), ValueError, "leave y out for unlabelled images"),
}


@pytest.mark.parametrize(("mistake", "error", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_batch_that_is_not_one_is_refused_in_words(mistake, error, words):
    model = MODELS["M2"]()
    with pytest.raises(error, match=words):
        model.encode(*mistake(_images(model), torch.tensor([0, 1, 2, 2])))


@pytest.mark.parametrize("method", ["model", "guide", "encode", "reconstruct", "analogies"])
def test_every_program_and_answer_of_every_model_checks_its_batch(model, method):
    for kind in ("one image", "class 3 of 3"):
        mistake, error, words = MISTAKES[kind]
        with pytest.raises(error, match=words):
            getattr(model, method)(*mistake(_images(model), torch.tensor([0, 1, 2, 2])))


def test_the_values_of_the_classes_are_looked_at_only_where_pyro_validates():
    model = MODELS["M2"]()
    with pyro.validation_enabled(False):
        model.encode(_images(model), torch.tensor([0, 1, 2, 2]))
        with pytest.raises(IndexError):  # of the network's, not a sentence of the model's
            model.encode(_images(model), torch.tensor([0, 1, 2, 3]))


class _Overriding(M2):
    """Overrides a program and an answer, and calls those above."""

    def guide(self, x, y=None):
        super().guide(x, y)

    def classify(self, x):
        return super().classify(x)


@pytest.mark.parametrize("method", ["guide", "model", "classify", "encode"])
def test_a_method_that_calls_the_one_above_checks_its_batch_once(method, monkeypatch):
    model, checked = _Overriding(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,))), []
    monkeypatch.setattr(SemiSupervisedModel, "_check_batch", lambda model, x, y=None: checked.append((x, y)))
    x, y = _images(model), torch.tensor([0, 1, 2, 2])
    given = {} if method == "classify" else {"y": y}
    getattr(model, method)(x, **given)
    assert checked == [(x, given.get("y"))]


def test_a_program_of_ones_own_shows_its_parameters_and_refuses_what_is_no_batch():
    model = _Overriding(GREY, CLASSES, prior=StandardNormal(LATENT), networks=MLP(hidden=(16,)))
    x = _images(model)
    for program in (model.guide, model.model):
        nodes = poutine.trace(program).get_trace(x).nodes
        shown = {name for name, node in nodes.items() if node["type"] == "param"}
        assert shown == {name for name, _ in model.named_parameters()}
        with pytest.raises(ValueError, match=r"^x: expected images of shape"):
            program(x[0])


CONSTRUCTION = {
    "an image without channels": (lambda: M2((8, 8), 3), "event_shape"),
    "an empty vector": (lambda: M2((0,), 3), r"event_shape: .* or \(features,\), all positive; got \(0,\)"),
    "an empty image": (lambda: M2((1, 0, 8), 3), "event_shape"),
    "no classes": (lambda: M2(GREY, 0), "num_classes"),
    "the class prior of others": (
        lambda: M2(GREY, 3, class_prior=ClassPrior(4)),
        "expected one for 3 classes",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTION)
def test_a_model_that_cannot_be_is_refused_in_words(name):
    mistake, words = CONSTRUCTION[name]
    with pytest.raises(ValueError, match=words):
        mistake()


def test_a_reader_meets_thirteen_methods_of_a_model_at_most():
    own = [name for name, thing in vars(SemiSupervisedModel).items() if callable(thing) and not name.startswith("_")]
    assert len(own) <= 13


def test_the_interface_cannot_be_instantiated():
    with pytest.raises(TypeError, match="abstract"):
        SemiSupervisedModel()


@pytest.mark.parametrize("name", sorted({type(make()).__module__ for make in MODELS.values()}))
def test_the_docstrings_example_runs(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted >= 4
    assert result.failed == 0


# Every prior with every likelihood, every prior with every network, every likelihood with every network

OF_PIXELS = [*PIXELS, "Gaussian"]
COMBINATIONS = (
    {
        f"{prior}-{likelihood}-{list(NETWORKS)[(i + j) % 2]}-grey": (
            prior,
            likelihood,
            list(NETWORKS)[(i + j) % 2],
            GREY,
        )
        for (i, prior), (j, likelihood) in itertools.product(enumerate(PRIORS), enumerate(OF_PIXELS))
    }
    | {
        f"{prior}-{likelihood}-MLP-vector": (prior, likelihood, "MLP", ROW)
        for prior, likelihood in itertools.product(PRIORS, LIKELIHOODS)
        if likelihood not in OF_PIXELS
    }
    | {
        f"VampPrior-{likelihood}-{networks}-colour": ("VampPrior", likelihood, networks, COLOUR)
        for likelihood, networks in zip(OF_PIXELS, itertools.cycle(NETWORKS))
    }
)


def _combination(name):
    prior, likelihood, networks, event_shape = COMBINATIONS[name]
    return M2(
        event_shape,
        CLASSES,
        prior=PRIORS[prior](LATENT),
        likelihood=LIKELIHOODS[likelihood](),
        networks=NETWORKS[networks](),
        class_prior=ClassPrior(CLASSES, learned=True),
    )


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_parameter_learns_and_the_loss_falls(name):
    model, objective = _combination(name), Objective()
    seen = _observations(model)
    model.likelihood.check(seen.labelled)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(4):
        torch.manual_seed(1)  # the same noise in every step: what falls is the loss, not the luck
        loss, _ = objective(model, seen, SIZES)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            for key, parameter in model.named_parameters():
                if parameter.requires_grad:
                    assert parameter.grad is not None, key
                    assert parameter.grad.isfinite().all(), key
                    assert parameter.grad.abs().max() > 0, key
        optimiser.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_networks_in_bfloat16_leave_the_densities_in_full_precision(name):
    torch.set_default_dtype(torch.float32)
    model = _combination(name)
    networks = [module for module in model.modules() if isinstance(module, Network)]
    num_masked = sum(isinstance(network, _MaskedEncoder) for network in networks)  # each has an encoder inside
    assert len(networks) - num_masked == 3
    for network in networks:
        network.compute_dtype = torch.bfloat16
    seen = _observations(model)
    loss, terms = Objective()(model, seen, SIZES)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert {value.dtype for value in terms.values()} == {torch.float32}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.dtype == torch.float32, key
            assert parameter.grad.isfinite().all(), key

    guide = poutine.trace(model.guide).get_trace(seen.labelled, seen.y)
    story = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(seen.labelled, seen.y)
    for trace in (guide, story):
        trace.compute_log_prob()
        for site in set(trace.nodes) & {"x", "y", "z"}:
            assert trace.nodes[site]["log_prob"].dtype == torch.float32, site
