"""SOM-VAE: its four losses by hand and what each trains, the map's neighbours, and the classes of its nodes."""

import doctest

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays

import ssvae.models.somvae
from ssvae.inference import Recipe, fit, load
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import M2, SOMVAE
from ssvae.models.likelihoods import Bernoulli, ContinuousBernoulli
from ssvae.models.networks import MLP
from ssvae.models.somvae import Codebook

CLASSES, LATENT, BATCH = 3, 2, 5
IMAGE = (1, 4, 4)
EXACT = {"rtol": 0, "atol": 1e-9}
SIZES = Sizes(10, 40)
NO_LABELS = torch.zeros(0, dtype=torch.int64)


def _som(rows=3, columns=4, **options):
    options = {"latent_dim": LATENT, "networks": MLP(hidden=(6,)), **options}
    model = SOMVAE(options.pop("event_shape", IMAGE), CLASSES, rows=rows, columns=columns, **options)
    with torch.no_grad():
        model.prior.embeddings.mul_(10)  # apart, so that different nodes win
    return model


def _images(n=BATCH):
    return torch.rand(n, *IMAGE)


def _dense(network, inputs):
    """What a network of one hidden layer makes of vectors."""
    perceptron = network.perceptron
    return perceptron.rest[-1](F.softplus(perceptron.first.linear(inputs)))


def _negative_log_likelihood(model, z, x):
    return -ContinuousBernoulli()(_dense(model.decoder, z).unflatten(-1, IMAGE)).log_prob(x).mean()


def _best_matching_units(model, z):
    return torch.tensor([min(range(len(model.prior.embeddings)), key=lambda k: _square(model, k, of)) for of in z])


def _square(model, k, of):
    return (model.prior.embeddings[k] - of).square().sum().item()


def _neighbours(k, rows, columns):
    row, column = divmod(k, columns)
    around = [(row, column), (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [r * columns + c for r, c in around if 0 <= r < rows and 0 <= c < columns]


def _losses(model, x):
    """The four losses of the docstring, written as loops."""
    z_e = _dense(model.encoder, x.flatten(1))
    best_matching_units = _best_matching_units(model, z_e)
    embeddings = model.prior.embeddings
    of_map = [
        torch.stack(
            [(embeddings[j] - z.detach()).square().sum() for j in _neighbours(int(k), model.rows, model.columns)]
        ).mean()
        for k, z in zip(best_matching_units, z_e, strict=True)
    ]
    return {
        "reconstruction": _negative_log_likelihood(model, embeddings[best_matching_units], x),
        "second_path": _negative_log_likelihood(model, z_e, x),
        "commitment": model.commitment * (z_e - embeddings[best_matching_units]).square().sum(-1).mean(),
        "map": model.neighbourhood * torch.stack(of_map).mean(),
    }


# The loss


def test_the_one_loss_and_its_gradients_are_those_by_hand():
    model = _som(commitment=0.7, neighbourhood=1.3)
    x, y, unlabelled = _images(), torch.arange(BATCH) % CLASSES, _images(4)
    loss, terms = Objective()(model, Observations(x, y, unlabelled), SIZES)
    labelled, other = _losses(model, x), _losses(model, unlabelled)
    expected = 10 / 50 * sum(labelled.values()) + 40 / 50 * sum(other.values())
    torch.testing.assert_close(loss, expected, **EXACT)
    for name, value in labelled.items():
        torch.testing.assert_close(terms[f"labelled/{name}"], value.detach(), **EXACT)
    torch.testing.assert_close(terms["labelled/negative_elbo"], labelled["reconstruction"].detach(), **EXACT)
    parameters = dict(model.named_parameters())
    gradients = [torch.autograd.grad(each, list(parameters.values())) for each in (loss, expected)]
    for name, ours, by_hand in zip(parameters, *gradients, strict=True):
        torch.testing.assert_close(ours, by_hand, **EXACT)
        assert ours.abs().max() > 0, name


TRAINS = {
    "reconstruction": {"decoder", "prior"},
    "second_path": {"decoder", "encoder"},
    "commitment": {"encoder", "prior"},
    "map": {"prior"},
}


@pytest.mark.parametrize("term", TRAINS)
def test_each_loss_trains_what_the_paper_says(term):
    model, x = _som(), _images()
    if term == "reconstruction":
        model.penalties = lambda x, y=None: {}
        loss, _ = Objective(alpha=0.0)(model, Observations(x[:0], NO_LABELS, x), Sizes(0, BATCH))
    else:
        loss = model.penalties(x)[term]
    loss.backward()
    trained = {
        name.partition(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    }
    assert trained == TRAINS[term]


def test_the_map_moves_winner_and_neighbours_towards_the_code_and_no_other_node():
    model = _som(rows=2, columns=3, neighbourhood=1.0)
    z_e = torch.tensor([[0.3, -0.2]])
    model.encoder.forward = lambda x: z_e
    embeddings = torch.tensor([[9.0, 9.0], [0.0, 0.0], [5.0, 5.0], [6.0, 6.0], [1.0, 1.0], [7.0, 7.0]])
    model.prior.embeddings.data.copy_(embeddings)
    model.penalties(_images(1))["map"].backward()
    # Node 1, in the middle of the upper row, wins; 0 and 2 are beside it and 4 below: a mean over four.
    expected = 2 * (embeddings - z_e) / 4
    expected[[3, 5]] = 0
    torch.testing.assert_close(model.prior.embeddings.grad, expected, **EXACT)


def test_with_one_node_it_is_a_plain_autoencoder_beside_a_constant_image():
    model, x = _som(1, 1, commitment=0.0, neighbourhood=0.0), _images()
    loss, _ = Objective()(model, Observations(x[:0], NO_LABELS, x), Sizes(0, BATCH))
    autoencoder = _negative_log_likelihood(model, _dense(model.encoder, x.flatten(1)), x)
    constant = _negative_log_likelihood(model, model.prior.embeddings.expand(BATCH, LATENT), x)
    torch.testing.assert_close(loss, autoencoder + constant, **EXACT)
    encoder = list(model.encoder.parameters())
    for ours, by_hand in zip(
        torch.autograd.grad(loss, encoder), torch.autograd.grad(autoencoder, encoder), strict=True
    ):
        torch.testing.assert_close(ours, by_hand, **EXACT)


def test_where_every_code_is_a_node_both_paths_are_one():
    model, x = _som(), _images()
    z_e = model.encode(x).detach()
    model.prior.embeddings.data[:BATCH] = z_e
    losses = {name: value.item() for name, value in model.penalties(x).items()}
    _, terms = Objective()(model, Observations(x[:0], NO_LABELS, x), Sizes(0, BATCH))
    assert losses["commitment"] == 0
    assert losses["second_path"] == pytest.approx(terms["unlabelled/reconstruction"].item(), abs=1e-9)


# The map


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (3, 1), (2, 3), (4, 4)])
def test_the_neighbours_are_those_beside_above_and_below_and_fewer_at_the_borders(rows, columns):
    codebook = Codebook(LATENT, rows, columns, CLASSES)
    for k in range(rows * columns):
        found = codebook.neighbours[k][codebook.exists[k] == 1].tolist()
        assert found == _neighbours(k, rows, columns)
        assert found[0] == k


def test_the_winner_is_the_nearest_node_and_the_first_of_equals():
    codebook = Codebook(1, 1, 4, CLASSES)
    codebook.embeddings.data.copy_(torch.tensor([[0.0], [2.0], [2.0], [5.0]]))
    assert codebook.nearest(torch.tensor([[-9.0], [1.1], [1.0], [3.4], [3.6], [2.0]])).tolist() == [0, 1, 0, 1, 3, 1]


def test_a_node_is_its_own_winner_even_far_out_in_single_precision():
    torch.set_default_dtype(torch.float32)
    codebook = Codebook(64, 8, 8, CLASSES)
    codebook.embeddings.data.copy_(1000 + 0.01 * torch.randn(64, 64))
    assert torch.equal(codebook.nearest(codebook.embeddings), torch.arange(64))


def test_images_are_decoded_from_the_node_nearest_to_their_code():
    model, x = _som(), _images()
    z = model.encode(x)
    expected = ContinuousBernoulli()(
        _dense(model.decoder, model.prior.embeddings[_best_matching_units(model, z)]).unflatten(-1, IMAGE)
    )
    torch.testing.assert_close(model.reconstruct(x), expected.mean, **EXACT)
    torch.testing.assert_close(z, _dense(model.encoder, x.flatten(1)), **EXACT)


def test_the_nodes_stand_on_the_grid_row_by_row():
    model = _som(2, 3)
    nodes = model.prior.nodes(torch.zeros(4, dtype=torch.int64))
    assert nodes.shape == (4, 2, 3, LATENT)
    assert torch.equal(nodes[2, 1, 0], model.prior.embeddings[3])


# The classes of the nodes


def test_before_it_has_seen_labels_it_knows_no_class():
    torch.testing.assert_close(_som().classify(_images()).probs, torch.full((BATCH, CLASSES), 1 / 3), **EXACT)


def test_nodes_take_the_classes_of_the_images_that_they_win():
    codebook = Codebook(LATENT, 1, 2, CLASSES)
    codebook.refit(torch.tensor([0, 0, 0, 1]), torch.tensor([2, 2, 0, 1]))
    expected = torch.tensor([[4 / 3, 1 / 3, 7 / 3], [1 / 3, 4 / 3, 1 / 3]]) / torch.tensor([[4.0], [2.0]])
    torch.testing.assert_close(codebook.node_classes, expected, **EXACT)


def test_nodes_without_images_take_those_of_the_nearest_nodes_that_have_some():
    codebook = Codebook(LATENT, 2, 4, CLASSES)
    # 0 . . 1
    # . . . .    best_matching_units 0 (class 0, twice) and 3 (class 1)
    codebook.refit(torch.tensor([0, 0, 3]), torch.tensor([0, 0, 1]))
    left, right = torch.tensor([7 / 3, 1 / 3, 1 / 3]) / 3, torch.tensor([1 / 3, 4 / 3, 1 / 3]) / 2
    expected = torch.stack([left, left, right, right, left, left, right, right])
    torch.testing.assert_close(codebook.node_classes, expected, **EXACT)
    # As far from one as from the other: both.
    codebook = Codebook(LATENT, 1, 3, CLASSES)
    codebook.refit(torch.tensor([0, 0, 2]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(codebook.node_classes[1], torch.tensor([7 / 3, 4 / 3, 1 / 3]) / 4, **EXACT)


def test_without_labels_no_node_has_a_class():
    codebook = Codebook(LATENT, 2, 2, CLASSES)
    codebook.refit(NO_LABELS, NO_LABELS)
    torch.testing.assert_close(codebook.node_classes, torch.full((4, CLASSES), 1 / 3), **EXACT)


def test_taking_stock_twice_is_taking_stock_once():
    model, x, y = _som(), _images(), torch.arange(BATCH) % CLASSES
    with torch.no_grad():
        model.refit(x, y, x)
        once = model.prior.node_classes.clone()
        model.refit(x, y, x)
    assert torch.equal(model.prior.node_classes, once)
    best_matching_units = _best_matching_units(model, model.encode(x))
    torch.testing.assert_close(model.classify(x).probs, once[best_matching_units], **EXACT)


def _with_classes(*of_nodes):
    """A map of one row, whose nodes are of these classes."""
    model = _som(1, len(of_nodes))
    model.prior.node_classes.copy_(torch.tensor(of_nodes))
    return model


def test_samples_are_nodes_of_their_class():
    model = _with_classes([0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.6, 0.2, 0.2])
    # Class 2 is nowhere the most probable: the node where it is the most probable of all.
    assert model.prior.class_nodes().tolist() == [[True, False, False], [False, True, True], [True, False, False]]
    images = model.sample(torch.tensor([0, 1, 2]), num_samples=200)
    nodes = model.p_x(model.prior.embeddings, NO_LABELS).mean
    drawn = (images.unsqueeze(2) - nodes).abs().amax((-3, -2, -1)).argmin(-1)  # (samples, batch)
    assert set(drawn[:, 0].tolist()) == {0, 2}
    assert set(drawn[:, 1].tolist()) == {1}
    assert set(drawn[:, 2].tolist()) == {1}
    assert drawn[:, 0].double().mean().item() / 2 == pytest.approx(0.5, abs=0.1)


def test_an_analogy_is_the_nearest_node_of_the_class():
    model = _with_classes([0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6])
    model.prior.embeddings.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [5.0, 0.0]]))
    z_e = torch.tensor([[3.0, 0.0], [0.1, 0.0]])
    model.encoder.forward = lambda x: z_e
    analogies = model.analogies(_images(2))
    nodes = model.p_x(model.prior.embeddings, NO_LABELS).mean
    expected = nodes[torch.tensor([[2, 0], [1, 1], [3, 3]])]
    torch.testing.assert_close(analogies, expected, **EXACT)


# Beside other things


def test_the_baseline_is_the_classifier_of_m2():
    model = _som(likelihood=Bernoulli())
    baseline = model.baseline()
    assert isinstance(baseline, M2)
    assert (baseline.classifier, baseline.num_classes) == (model.networks, CLASSES)


@pytest.mark.slow
def test_a_saved_run_predicts_the_same_and_draws_its_map(tmp_path):
    data = arrays()
    torch.manual_seed(0)
    model = _som(2, 3, event_shape=(1, 8, 8))
    run = fit(model, data, Recipe(max_epochs=2, batch_size=10, learning_rate=0.01), folder=str(tmp_path / "run"))
    assert run.evaluation.log_likelihood is None
    assert (run.model.prior.node_classes != 1 / 3).any()
    assert (tmp_path / "run" / "figures" / "node_map.png").exists()
    assert "node_map.png" in (tmp_path / "run" / "report.md").read_text()
    loaded = load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(loaded.classify(x).logits, model.classify(x).logits)
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))


def test_the_docstrings_example_runs():
    result = doctest.testmod(ssvae.models.somvae)
    assert (result.attempted, result.failed) == (4, 0)


ERRORS = {
    "an image without channels": (lambda: SOMVAE((8, 8), 3), "event_shape"),
    "no classes": (lambda: SOMVAE(IMAGE, 0), "num_classes"),
    "no dimensions": (lambda: _som(latent_dim=0), "latent_dim"),
    "no rows": (lambda: _som(0, 3), "rows: .* got 0"),
    "no columns": (lambda: _som(3, 0), "columns: .* got 0"),
    "a negative commitment": (lambda: _som(commitment=-1.0), r"commitment: .* got -1\.0"),
    "a negative neighbourhood": (lambda: _som(neighbourhood=-0.5), r"neighbourhood: .* got -0\.5"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()
