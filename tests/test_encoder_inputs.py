"""What encoders see of x: the likelihood's features."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from ssvae.data import Vectors
from ssvae.inference import Recipe, TrainerOptions, fit, load
from ssvae.inference.storage.checkpoints import METADATA, read_checkpoint
from ssvae.inference.training import train
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
    SparseLabelVAE,
    likelihoods,
)
from ssvae.models.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    MissingEntries,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from ssvae.models.networks import MLP, Convolutional
from ssvae.models.priors import StandardNormal, VampPrior

NAN = math.nan
EXACT = {"rtol": 1e-12, "atol": 1e-12}
COUNTS = [Poisson, NegativeBinomial, Multinomial]
MODELS = [
    ADGM, GMVAE, M1, M1M2, M2, SDGM, SOMVAE, AdversarialAutoencoder, ConditionalVAE, DistilledM1, DistilledM2,
    LadderVAE, SparseLabelVAE,
]  # fmt: skip


def _of(likelihood, *event_shape):
    likelihood.set_event_shape(event_shape)
    return likelihood


# The features


@pytest.mark.parametrize("kind", [Gaussian, StudentT, Bernoulli, likelihoods.ContinuousBernoulli])
@pytest.mark.parametrize("event_shape", [(3,), (1, 8, 8)])
def test_reals_and_pixels_are_shown_as_they_are(kind, event_shape):
    likelihood = _of(kind(), *event_shape)
    x = torch.rand(2, *event_shape)
    assert likelihood.features(x) is x
    assert likelihood.features_shape(event_shape) == event_shape


@pytest.mark.parametrize("kind", COUNTS)
def test_counts_are_shown_by_their_logarithms(kind):
    likelihood = _of(kind(), 4)
    x = torch.tensor([0.0, 1.0, 9.0, 1e6])
    expected = torch.tensor([0.0, math.log(2), math.log(10), math.log(1e6 + 1)])
    torch.testing.assert_close(likelihood.features(x), expected, **EXACT)
    torch.testing.assert_close(likelihood.features(-x), -expected, **EXACT)
    assert likelihood.features_shape((4,)) == (4,)


@pytest.mark.parametrize("event_shape", [(2,), (2, 3, 2)])
def test_categories_are_shown_as_one_hot_vectors_with_the_first_category_of_all_entries_first(event_shape):
    likelihood = _of(Categorical(3), *event_shape)
    x = torch.randint(3, (5, 4, *event_shape))
    expected = torch.cat([(x == category).double() for category in range(3)], dim=2)
    features = likelihood.features(x.double())
    assert torch.equal(features, expected)
    assert features.shape[2:] == likelihood.features_shape(event_shape) == likelihood.decoder_shape(event_shape)
    one = _of(Categorical(3), 1)
    assert torch.equal(one.features(torch.tensor([[2.0]])), F.one_hot(torch.tensor([2]), 3).double())


def test_a_number_between_two_categories_is_shown_between_them():
    torch.testing.assert_close(
        _of(Categorical(3), 1).features(torch.tensor([[0.75]])), torch.tensor([[0.25, 0.75, 0.0]]), **EXACT
    )


def test_the_columns_of_a_table_are_shown_in_the_order_of_their_likelihoods():
    likelihood = Mixed([Poisson(), Categorical(3), Gaussian()], [(3, 0), (1,), (2,)])
    x = torch.tensor([[4.0, 2.0, -0.5, 9.0], [0.0, 1.0, 7.0, 1.0]])
    expected = torch.tensor([[math.log(10), math.log(5), 0.0, 0.0, 1.0, -0.5], [math.log(2), 0.0, 0.0, 1.0, 0.0, 7.0]])
    torch.testing.assert_close(likelihood.features(x), expected, **EXACT)
    assert likelihood.features_shape((4,)) == (6,)


def test_the_features_have_a_gradient():
    likelihood = Mixed([Poisson(), Categorical(3), Gaussian()], [(3, 0), (1,), (2,)])
    x = torch.tensor([[4.2, 1.3, -0.5, 9.0], [-3.0, 0.4, 7.0, 1.5]], requires_grad=True)
    assert torch.autograd.gradcheck(likelihood.features, x)


# The networks


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_of_counts_is_that_of_reals_at_their_logarithms(kind):
    models = []
    for likelihood in (Poisson(), Gaussian()):
        torch.manual_seed(0)
        models.append(kind((4,), 3, likelihood=likelihood, networks=MLP((5,))).eval())
    of_counts, of_reals = models
    # The number of parameters of a Gaussian entry is that of a Poisson entry.
    of_reals.load_state_dict({**of_reals.state_dict(), **of_counts.state_dict()})
    x, y = torch.tensor([[0.0, 3.0, 1e6, 1.0], [7.0, 0.0, 2.0, 40.0]]), torch.tensor([0, 2])
    if kind is not ConditionalVAE:  # which classifies by p(x | y, z)
        torch.testing.assert_close(of_counts.classify(x).logits, of_reals.classify(x.log1p()).logits, **EXACT)
    torch.testing.assert_close(of_counts.encode(x, y), of_reals.encode(x.log1p(), y), **EXACT)


def test_the_size_of_a_categorys_number_does_not_matter():
    """Renumbered categories are seen by the first layer with its weights in another order."""
    torch.manual_seed(0)
    model = M2((2,), 2, prior=StandardNormal(2), likelihood=Categorical(3), networks=MLP((5,)))
    renumbered = copy.deepcopy(model)
    order = torch.tensor([2, 0, 1])  # category k was order[k]
    for encoder in (renumbered.y_encoder, renumbered.z_encoder):
        weight = encoder.perceptron.first.linear.weight
        weight.data = weight.view(5, 3, 2)[:, order].reshape(5, 6)
    x, y = torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.tensor([0, 1])
    other = order.argsort()[x.long()].double()
    torch.testing.assert_close(renumbered.classify(other).logits, model.classify(x).logits, **EXACT)
    torch.testing.assert_close(renumbered.encode(other, y), model.encode(x, y), **EXACT)


def test_convolutions_see_the_categories_of_pixels_as_channels():
    networks = Convolutional(channels=(4,), hidden=8)
    model = M2((1, 8, 8), 2, prior=StandardNormal(2), likelihood=Categorical(3), networks=networks)
    x = torch.randint(3, (2, 1, 8, 8)).double()
    one_hot = F.one_hot(x.long().squeeze(1), 3).movedim(-1, 1).double()
    torch.testing.assert_close(model.classify(x).logits, model.y_encoder.compute(one_hot, None, None).log_softmax(-1))


def test_features_of_missing_entries_are_zeros_beside_a_mask():
    likelihood = MissingEntries(Mixed([Poisson(), Categorical(2)], [(0,), (1,)]))
    model = M2((2,), 2, prior=StandardNormal(2), likelihood=likelihood, networks=MLP((5,)))
    inner = model.y_encoder.encoder
    for x, expected in {
        (NAN, 1.0): [0.0, 0.0, 1.0, 0.0, 1.0, 1.0],
        (9.0, NAN): [math.log(10), 0.0, 0.0, 1.0, 0.0, 0.0],
        (1.0, 0.0): [math.log(2), 1.0, 0.0, 1.0, 1.0, 1.0],
    }.items():
        logits = model.classify(torch.tensor([x])).logits
        torch.testing.assert_close(logits, inner(torch.tensor([expected])).log_softmax(-1), **EXACT)


def test_pseudo_inputs_of_counts_and_categories_learn():
    likelihood = Mixed([Poisson(), Categorical(3)], [(0,), (1,)])
    torch.manual_seed(0)
    model = M2((2,), 2, prior=VampPrior(2, num_components=8), likelihood=likelihood, networks=MLP((5,)))
    model.prior().log_prob(torch.zeros(2)).backward()
    gradient = model.prior.pseudo_inputs.grad
    assert gradient.isfinite().all()
    assert gradient.any(0).all()


def test_one_row_of_enormous_counts_does_not_blow_up_the_training():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    x = torch.poisson(torch.full((40, 50), 2.0))
    x[0] = 1e6
    y = torch.arange(40) % 2
    y[10:] = -1
    data = Vectors(x, y, standardise=False)
    model = M2((50,), 2, prior=StandardNormal(2), likelihood=NegativeBinomial(), networks=MLP((8,)))
    logits = model.y_encoder(x)
    # Weights and biases are below 1/√50 and 1/√8, inputs below 14; as counts they would give 100,000 and more.
    assert logits.abs().max() < 14 * 50 / 50**0.5 * 8**0.5
    trainer = TrainerOptions(accelerator="cpu", progress_bar=False)
    rows = train(model, data, Recipe(max_steps=30, batch_size=30, trainer=trainer), None, interactive=False)
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]
    # The largest move of a weight in 30 steps of Adam at 3e-4 is about 0.01.
    assert (model.y_encoder(x) - logits).abs().max() < 14 * 50 * 0.01 * 8**0.5


# Runs of before


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_a_run_of_counts_of_before_is_refused_as_its_weights_are_for_the_counts_themselves(tmp_path):
    torch.set_default_dtype(torch.float32)
    x, y = torch.arange(40.0).view(20, 2), torch.arange(20) % 2
    data = Vectors(x, y, test_x=x, test_y=y, num_labels=4, standardise=False)
    model = M2((2,), 2, prior=StandardNormal(2), likelihood=Poisson(), networks=MLP((4,)))
    folder = tmp_path / "run"
    trainer = TrainerOptions(accelerator="cpu", progress_bar=False)
    fit(model, data, folder=str(folder), baselines=False, max_steps=1, trainer=trainer)
    for path in (folder / "checkpoints").iterdir():
        saved = read_checkpoint(path)
        saved[METADATA]["format"] = 4
        torch.save(saved, path)
    with pytest.raises(ValueError, match=r"^run: expected one that this version .* an earlier version"):
        load(str(folder), with_data=False)
