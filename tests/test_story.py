"""The repr of a model is its story: every density, what it is, and how many parameters there are to learn."""

import re

import pytest
import torch
from pyro import poutine
from test_likelihoods import LIKELIHOODS
from test_models import BATCH, COLOUR, GREY, MODELS, NETWORKS
from test_priors import LOOKS_AT_Y, PRIORS
from torch import nn

from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.likelihoods import DiscretizedLogistic, Gaussian
from ssvae.models.networks import MLP, Architecture, Convolutional
from ssvae.models.priors import (
    ClassConditional,
    ClassPrior,
    GaussianMixture,
    NormalizingFlow,
    StandardNormal,
    VampPrior,
)

# An MLP of i inputs, h hidden units and o outputs has i·h + h + h·o + o parameters, and c·h more with c classes.


def test_the_papers_model():
    model = M2((1, 28, 28), 10)
    y_encoder = 784 * 500 + 500 + 500 * 10 + 10
    z_encoder = 784 * 500 + 500 + 10 * 500 + 500 * 100 + 100
    decoder = 50 * 500 + 500 + 10 * 500 + 500 * 784 + 784
    assert (y_encoder, z_encoder, decoder) == (397510, 447600, 423284)
    assert y_encoder + z_encoder + decoder == 1268394
    assert (
        repr(model)
        == """\
M2: images (1, 28, 28), 10 classes
  p(y)         ClassPrior(10 classes, uniform)
  p(z)         StandardNormal(latent_dim=50)
  p(x | y, z)  ContinuousBernoulli(), shape (1, 28, 28); decoder MLP(hidden=(500,), activation=Softplus)
  q(y | x)     Categorical, 10 classes; y_encoder MLP(hidden=(500,), activation=Softplus)
  q(z | x, y)  DiagonalNormal(), 50 dimensions; z_encoder MLP(hidden=(500,), activation=Softplus)
  parameters   1,268,394 (y_encoder 397,510, z_encoder 447,600, decoder 423,284)"""
    )


def test_a_model_with_something_to_learn_in_every_density():
    model = M2(
        COLOUR,
        3,
        prior=ClassConditional(2, num_components=4),
        likelihood=Gaussian(),
        networks=MLP((6, 5), nn.Tanh, batch_norm=True, dropout=0.25),
        classifier=MLP((7,), nn.ReLU),
        class_prior=ClassPrior(3, [0.2, 0.3, 0.5], learned=True),
    )
    # Weights, means and scales; batch norm has two parameters a unit.
    prior = 3 * 4 + 2 * 3 * 4 * 2
    y_encoder = 192 * 7 + 7 + 7 * 3 + 3
    z_encoder = 192 * 6 + 6 + 3 * 6 + 2 * 6 + 6 * 5 + 5 + 2 * 5 + 5 * 4 + 4
    decoder = 2 * 6 + 6 + 3 * 6 + 2 * 6 + 6 * 5 + 5 + 2 * 5 + 5 * 192 + 192
    told = "MLP(hidden=(6, 5), activation=Tanh, batch_norm=True, dropout=0.25)"
    assert prior + 1 + 3 + y_encoder + z_encoder + decoder == 3941
    assert (
        repr(model)
        == f"""\
M2: images (3, 8, 8), 3 classes
  p(y)         ClassPrior(3 classes, learned from [0.2, 0.3, 0.5])
  p(z | y)     ClassConditional(latent_dim=2, num_components=4, num_classes=3)
  p(x | y, z)  Gaussian(), shape (3, 8, 8); decoder {told}
  q(y | x)     Categorical, 3 classes; y_encoder MLP(hidden=(7,), activation=ReLU)
  q(z | x, y)  DiagonalNormal(), 2 dimensions; z_encoder {told}
  parameters   3,941 (prior {prior}, likelihood 1, class_prior 3, y_encoder 1,375, z_encoder 1,257, decoder 1,245)"""
    )


def test_a_convolutional_model_of_two_outputs_a_pixel():
    networks = Convolutional(channels=(4, 5), hidden=6)
    prior = VampPrior(2, num_components=3, per_class=True)
    model = M2(COLOUR, 3, prior=prior, likelihood=DiscretizedLogistic(), networks=networks)
    # Two convolutions of 3×3 down to 5 features of 2×2, two dense layers; and the way back to 6 parameters a pixel.
    convolutions = 9 * 3 * 4 + 4 + 9 * 4 * 5 + 5
    y_encoder = convolutions + 20 * 6 + 6 + 6 * 3 + 3
    z_encoder = convolutions + 20 * 6 + 6 + 3 * 6 + 6 * 4 + 4
    decoder = 2 * 6 + 6 + 3 * 6 + 6 * 20 + 20 + 9 * 5 * 4 + 4 + 9 * 4 * 6 + 6
    total = 9 * 192 + y_encoder + z_encoder + decoder
    told = "Convolutional(channels=(4, 5), hidden=6, activation=ReLU, convolutions_per_size=1)"
    assert (
        repr(model)
        == f"""\
M2: images (3, 8, 8), 3 classes
  p(y)         ClassPrior(3 classes, uniform)
  p(z | y)     VampPrior(latent_dim=2, num_components=3, per_class=True)
  p(x | y, z)  DiscretizedLogistic(), shape (3, 8, 8); decoder {told}
  q(y | x)     Categorical, 3 classes; y_encoder {told}
  q(z | x, y)  DiagonalNormal(), 2 dimensions; z_encoder {told}
  parameters   {total:,} (prior 1,728, y_encoder {y_encoder}, z_encoder {z_encoder}, decoder {decoder})"""
    )


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(
    ("likelihood", "networks"),
    [(name, "Convolutional") for name in LIKELIHOODS if name != "Mixed"] + [(name, "MLP") for name in LIKELIHOODS],
)
def test_every_combination_tells_its_parts(prior, likelihood, networks):
    likelihood = LIKELIHOODS[likelihood]()
    event_shape = likelihood.event_shape or GREY
    model = M2(event_shape, 3, prior=PRIORS[prior](2), likelihood=likelihood, networks=NETWORKS[networks]())
    story = dict(model._story())
    assert list(story) == [
        "p(y)",
        "p(z | y)" if prior in LOOKS_AT_Y else "p(z)",
        "p(x | y, z)",
        "q(y | x)",
        "q(z | x, y)",
    ]
    assert story[model.prior.density].startswith(f"{type(model.prior).__name__}(latent_dim=2")
    told = f"WithMask(networks={networks}" if likelihood.admits_missing else f"{networks}("
    assert story["p(x | y, z)"].startswith(f"{likelihood}, shape {event_shape}; decoder {told}")
    # What is printed after each name is what the optimiser would be given of it, and together they are all.
    total, parts = re.fullmatch(r"  parameters   ([\d,]+) \((.*)\)", repr(model).split("\n")[-1]).groups()
    numbers = {name: int(number.replace(",", "")) for name, number in (part.split() for part in parts.split(", "))}
    assert int(total.replace(",", "")) == sum(numbers.values()) == sum(len(p.flatten()) for p in model.parameters())
    state = {name for name, _ in model.named_parameters()}
    assert set(numbers) == {name.split(".")[0] for name in state}


@pytest.mark.parametrize("name", MODELS)
def test_the_story_has_a_density_for_every_site(name):
    model = MODELS[name]()
    x = (torch.rand(BATCH, *model.event_shape) > 0.5).to(torch.get_default_dtype())
    densities = [density for density, _ in model._story()]
    for program, letter in ((model.model, "p"), (model.guide, "q")):
        traces = [poutine.trace(program).get_trace(x, *given) for given in ((), (torch.zeros(BATCH).long(),))]
        names = {name for trace in traces for name in (*trace.stochastic_nodes, *trace.observation_nodes)} - {"images"}
        # What is masked is a code, not a density.
        nodes = {name: trace.nodes[name] for trace in traces for name in names & trace.nodes.keys()}
        sites = {name for name, node in nodes.items() if node["mask"] is not False}
        # "q(z | x, y)" is of z.
        of = [density[2:-1].split(" | ")[0].split(", ") for density in densities if density[0] == letter]
        # A classifier that is none of the guide's has its line too; so have the densities of a later stage.
        told = {site for each in of for site in each}
        assert told == sites if model.sums_over_class else told >= sites


def test_a_repr_changes_nothing():
    model = M2(GREY, 3, prior=VampPrior(2, 3), networks=MLP((5,), batch_norm=True))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    randomness = torch.get_rng_state()
    repr(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), randomness)


class _Cluster(M2):
    """A model with one more density, a parameter of its own, and a prior that is a test's own."""

    def __init__(self):
        super().__init__(GREY, 3, prior=_Means(torch.zeros(2, 2)), networks=MLP((5,)))
        self.temperature = nn.Parameter(torch.zeros(7))

    def _story(self):
        return [("p(c)", "Categorical, 2 clusters"), *super()._story()]


class _Means(StandardNormal):
    def __init__(self, means):
        super().__init__(means.shape[-1])
        self.means = means


def test_a_model_of_ones_own_adds_its_densities():
    lines = repr(_Cluster()).split("\n")
    assert lines[:4] == [
        "_Cluster: images (1, 8, 8), 3 classes",
        "  p(c)         Categorical, 2 clusters",
        "  p(y)         ClassPrior(3 classes, uniform)",
        "  p(z)         _Means(means=Tensor)",
    ]
    assert "(temperature 7, y_encoder" in lines[-1]


def test_a_model_that_tells_no_story_has_that_of_the_interface():
    class Silent(M2):
        _story = M2.__base__._story

    assert repr(Silent(GREY, 3, prior=GaussianMixture(2), networks=MLP((5,)))).split("\n")[:5] == [
        "Silent: images (1, 8, 8), 3 classes",
        "  p(z)         GaussianMixture(latent_dim=2, num_components=10)",
        "  p(x | y, z)  ContinuousBernoulli(), shape (1, 8, 8)",
        "  q(y | x)     Categorical, 3 classes",
        "  q(z | x, y)  DiagonalNormal(), 2 dimensions",
    ]


class _Linear(Architecture):
    """A recipe of one's own, without options."""

    def encoder(self, event_shape, num_outputs, num_classes=0, num_beside=0):
        return MLP((2,)).encoder(event_shape, num_outputs, num_classes, num_beside)

    def dense(self, num_inputs, num_outputs, num_classes=0, num_beside=0):
        return MLP((2,)).dense(num_inputs, num_outputs, num_classes, num_beside)

    def decoder(self, num_inputs, event_shape, num_classes=0):
        return MLP((2,)).decoder(num_inputs, event_shape, num_classes)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (ClassPrior(10), "ClassPrior(10 classes, uniform)"),
        (ClassPrior(2, learned=True), "ClassPrior(2 classes, learned from uniform)"),
        (ClassPrior(3, [0.2, 0.3, 0.5]), "ClassPrior(3 classes, [0.2, 0.3, 0.5])"),
        (ClassPrior(10, [0.1] * 10), "ClassPrior(10 classes, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, ...])"),
        (ClassConditional(5), "ClassConditional(latent_dim=5, num_components=1)"),
        (VampPrior(5), "VampPrior(latent_dim=5, num_components=50)"),
        (NormalizingFlow(5), "NormalizingFlow(latent_dim=5, num_layers=4, hidden=100)"),
        (MLP(tuple(range(1, 40))), "MLP(hidden=tuple, activation=Softplus)"),
        (_Linear(), "_Linear()"),
    ],
)
def test_a_part_is_told_in_a_line(part, told):
    assert repr(part) == told


def test_a_reader_of_the_base_class_meets_a_dozen_methods():
    public = {name for name, value in vars(SemiSupervisedModel).items() if callable(value) and not name.startswith("_")}
    assert public == {
        "model", "guide", "classify", "q_z", "p_x", "encode", "reconstruct", "sample", "analogies", "impute",
        "penalties", "baseline",
    }  # fmt: skip
