"""The networks: how the class enters, how they broadcast under enumeration, which images they take."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.networks import MLP, Convolutional

CLASSES, BATCH, LATENT, OUTPUTS = 3, 5, 4, 6
IMAGE, VECTOR = (1, 8, 8), (6,)

NETWORKS = {
    "MLP": lambda: MLP(hidden=(7,)),
    "MLP of two layers": lambda: MLP(hidden=(7, 5)),
    "Convolutional": lambda: Convolutional(channels=(2, 3), hidden=7),
    "Convolutional, three halvings": lambda: Convolutional(channels=(2, 3, 4), hidden=7),
    "Convolutional, two at each size": lambda: Convolutional(channels=(2, 3), convolutions_per_size=2, hidden=7),
}

# name: a conditioned network and inputs for it, (leading..., BATCH, ...); x has no leading dimensions.
ROLES = {
    "encoder": lambda networks: (
        networks.encoder(IMAGE, OUTPUTS, CLASSES),
        lambda *leading: torch.rand(BATCH, *IMAGE),
    ),
    "decoder": lambda networks: (
        networks.decoder(LATENT, IMAGE, CLASSES),
        lambda *leading: torch.randn(*leading, BATCH, LATENT),
    ),
    "dense": lambda networks: (
        networks.dense(LATENT, OUTPUTS, CLASSES),
        lambda *leading: torch.randn(*leading, BATCH, LATENT),
    ),
    "encoder of vectors": lambda networks: (
        networks.encoder(VECTOR, OUTPUTS, CLASSES),
        lambda *leading: torch.randn(BATCH, *VECTOR),
    ),
    "decoder of vectors": lambda networks: (
        networks.decoder(LATENT, VECTOR, CLASSES),
        lambda *leading: torch.randn(*leading, BATCH, LATENT),
    ),
}
CONDITIONED = [
    f"{name}-{role}" for name in NETWORKS for role in ROLES if name.startswith("MLP") or not role.endswith("vectors")
]


@pytest.fixture(params=CONDITIONED)
def conditioned(request):
    name, role = request.param.rsplit("-", 1)
    return ROLES[role](NETWORKS[name]())


def _gradients(network, outputs, weights):
    network.zero_grad()
    (outputs * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def test_adding_an_embedding_is_concatenating_a_one_hot_vector_in_value_and_gradient(conditioned):
    network, inputs = conditioned
    inputs, y = inputs(), torch.tensor([0, 2, 1, 1, 2])
    first = network.perceptron.first
    outputs = network(inputs, y)
    weights = torch.randn_like(outputs)
    gradients = _gradients(network, outputs, weights)

    # The same weights in one matrix, which is given the vector and the one-hot vector side by side.
    matrix = torch.cat([first.linear.weight, first.embedding.weight.T], dim=1).detach().requires_grad_()
    bias = first.linear.bias.detach().clone().requires_grad_()

    def concatenate(module, arguments, output):
        vector, classes, _ = arguments
        return F.linear(torch.cat([vector, F.one_hot(classes, CLASSES).to(vector)], dim=-1), matrix, bias)

    hook = first.register_forward_hook(concatenate)
    expected = network(inputs, y)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    network.zero_grad()
    (expected * weights).sum().backward()
    hook.remove()

    num_inputs = first.linear.in_features
    by_hand = {
        "perceptron.first.linear.weight": matrix.grad[:, :num_inputs],
        "perceptron.first.embedding.weight": matrix.grad[:, num_inputs:].T,
        "perceptron.first.linear.bias": bias.grad,
    }
    for name, gradient in by_hand.items():
        torch.testing.assert_close(gradients.pop(name), gradient, msg=name)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, network.get_parameter(name).grad, msg=name)


def test_an_enumerated_class_is_a_loop_over_the_classes(conditioned):
    network, inputs = conditioned
    inputs = inputs(CLASSES)
    outputs = network(inputs, torch.arange(CLASSES).unsqueeze(-1))
    looped = torch.stack(
        [network(inputs[k] if len(inputs) == CLASSES else inputs, torch.full((BATCH,), k)) for k in range(CLASSES)]
    )
    assert outputs.shape[:2] == (CLASSES, BATCH)
    torch.testing.assert_close(outputs, looped, rtol=0, atol=1e-12)


def test_samples_may_stand_to_the_left_of_the_classes(conditioned):
    network, inputs = conditioned
    samples = 2
    inputs = inputs(samples, CLASSES)
    y = torch.arange(CLASSES).unsqueeze(-1).expand(samples, CLASSES, 1)
    outputs = network(inputs, y)
    assert outputs.shape[:3] == (samples, CLASSES, BATCH)
    for s in range(samples):
        one = network(inputs[s] if len(inputs) == samples else inputs, y[s])
        torch.testing.assert_close(outputs[s], one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_classes_ignores_y(name):
    network = NETWORKS[name]().encoder(IMAGE, OUTPUTS)
    x = torch.rand(BATCH, *IMAGE)
    assert network(x).shape == (BATCH, OUTPUTS)
    assert "perceptron.first.embedding.weight" not in network.state_dict()


@pytest.mark.parametrize("event_shape", [(12,), (3, 2, 2)])
def test_an_mlp_sees_the_entries_of_x_and_not_their_shape(event_shape):
    torch.manual_seed(0)
    encoder, decoder = MLP((7,)).encoder((12,), OUTPUTS, CLASSES), MLP((7,)).decoder(LATENT, (12,))
    shaped = MLP((7,)).encoder(event_shape, OUTPUTS, CLASSES), MLP((7,)).decoder(LATENT, event_shape)
    shaped[0].load_state_dict(encoder.state_dict())
    shaped[1].load_state_dict(decoder.state_dict())
    x, z, y = torch.randn(2, BATCH, 12), torch.randn(2, BATCH, LATENT), torch.arange(CLASSES).view(CLASSES, 1, 1)
    assert torch.equal(shaped[0](x.unflatten(-1, event_shape), y), encoder(x, y))
    assert encoder(x, y).shape == (CLASSES, 2, BATCH, OUTPUTS)
    assert torch.equal(shaped[1](z), decoder(z).unflatten(-1, event_shape))


def test_batch_norm_normalises_hidden_units_and_not_the_batch():
    # As many images as hidden units: the wrong axis would have the right size.
    hidden = BATCH
    network = MLP(hidden=(hidden,), batch_norm=True).encoder(IMAGE, OUTPUTS, CLASSES)
    x, y = torch.rand(BATCH, *IMAGE), torch.arange(CLASSES).unsqueeze(-1)
    outputs = network(x, y)

    before = network.perceptron.first(x.flatten(1), y)  # (classes, batch, hidden)
    rows = before.reshape(CLASSES * BATCH, hidden)
    normalised = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    last = network.perceptron.rest[-1]
    expected = F.linear(F.softplus(normalised), last.weight, last.bias)
    torch.testing.assert_close(outputs, expected.view(CLASSES, BATCH, OUTPUTS), rtol=0, atol=1e-12)

    norm = network.perceptron.rest[0].norm
    torch.testing.assert_close(norm.running_mean, 0.1 * rows.mean(0).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_images_share_of_the_first_layer_is_computed_once_and_not_once_per_class(name):
    network = NETWORKS[name]().encoder(IMAGE, OUTPUTS, CLASSES)
    rows = []

    def count(module, arguments, output):
        rows.append(output.numel() // output.shape[-1] if isinstance(module, nn.Linear) else len(output))

    shared = [m for m in network.modules() if isinstance(m, nn.Conv2d)] + [network.perceptron.first.linear]
    for module in shared:
        module.register_forward_hook(count)
    network(torch.rand(BATCH, *IMAGE), torch.arange(CLASSES).unsqueeze(-1))
    assert rows == [BATCH] * len(shared)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (28, 28), (32, 32)])
@pytest.mark.parametrize("halvings", [(2,), (2, 3), (2, 3, 4, 5)], ids=["one halving", "two", "four"])
@pytest.mark.parametrize("convolutions_per_size", [1, 3])
def test_convolutional_gives_back_the_size_it_was_given(height, width, channels, halvings, convolutions_per_size):
    networks = Convolutional(channels=halvings, convolutions_per_size=convolutions_per_size, hidden=7, batch_norm=True)
    shape = (channels, height, width)
    z = networks.encoder(shape, LATENT, CLASSES)(torch.rand(2, *shape), torch.arange(CLASSES).unsqueeze(-1))
    assert z.shape == (CLASSES, 2, LATENT)
    images = networks.decoder(LATENT, shape, CLASSES)(z, torch.arange(CLASSES).unsqueeze(-1))
    assert images.shape == (CLASSES, 2, *shape)


def test_convolutions_at_one_size_stand_after_the_halving_and_after_the_doubling():
    networks = Convolutional(channels=(2, 3), convolutions_per_size=2)

    def shapes(network):
        return [(c.in_channels, c.out_channels, c.stride[0]) for c in network.modules() if isinstance(c, nn.Conv2d)]

    assert shapes(networks.encoder(IMAGE, OUTPUTS)) == [(1, 2, 2), (2, 2, 1), (2, 3, 2), (3, 3, 1)]
    assert shapes(networks.decoder(LATENT, IMAGE)) == [(3, 3, 1), (3, 2, 1), (2, 2, 1), (2, 1, 1)]


def _plain_form(decoder):
    """Return a decoder's convolutions with each upsampling and 3×3 convolution as they are written, and its weights."""
    plain = nn.Sequential()
    for place, layer in enumerate(decoder.convolutions):
        if isinstance(layer, nn.Identity):
            plain.append(nn.Upsample(size=decoder.convolutions[place + 1].size))
        elif isinstance(layer, nn.Conv2d):
            plain.append(nn.Conv2d(layer.in_channels, layer.out_channels, kernel_size=3, padding=1))
        else:
            plain.append(layer)
    plain.load_state_dict(decoder.convolutions.state_dict())
    return plain


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (10, 12), (11, 8)])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("per_size", [1, 2])
def test_a_decoder_is_upsampling_and_convolutions_in_value_and_gradient(height, width, channels, per_size):
    # Five halvings: down to one pixel, and odd sizes on the way. One, three and more outputs take different ways.
    networks = Convolutional(channels=(2, 6, 3, 2, 2), convolutions_per_size=per_size, hidden=7)
    decoder = networks.decoder(LATENT, (channels, height, width))
    plain = _plain_form(decoder)
    seed = torch.randn(BATCH, *decoder.seed_shape, requires_grad=True)
    images, expected = decoder.convolutions(seed), plain(seed)
    assert images.shape == (BATCH, channels, height, width)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(images, [seed, *decoder.convolutions.parameters()], weights)
    by_hand = torch.autograd.grad(expected, [seed, *plain.parameters()], weights)
    for gradient, reference in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("outputs", [1, 6])
def test_doubling_has_a_second_derivative(outputs):
    layer = Convolutional(channels=(2,), hidden=3).decoder(1, (outputs, 8, 8)).convolutions[-1]
    inputs = torch.randn(1, 2, 2, 1, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, inputs, atol=1e-8)


def test_gradients_of_a_decoder_in_reduced_precision_are_those_of_full_precision():
    torch.set_default_dtype(torch.float32)
    decoder = Convolutional(channels=(4, 8), hidden=32).decoder(LATENT, (3, 9, 8))
    z = torch.randn(50, LATENT)

    def gradient():
        decoder.zero_grad()
        decoder(z).square().sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in decoder.convolutions.parameters()])

    full = gradient()
    decoder.compute_dtype = torch.bfloat16
    reduced = gradient()
    # bfloat16 has 8 bits: 0.4 % for one number.
    assert 0 < (reduced - full).norm() < 0.01 * full.norm()


def test_the_decoder_ends_in_a_convolution_without_an_activation():
    images = Convolutional(channels=(4, 4), hidden=16).decoder(LATENT, (1, 8, 8))(torch.randn(50, LATENT) * 3)
    assert images.min() < -0.01
    assert images.max() > 0.01


def test_dropout_drops_in_training_only():
    network = MLP(hidden=(50,), dropout=0.5).encoder(IMAGE, OUTPUTS)
    x = torch.rand(BATCH, *IMAGE)
    assert not torch.equal(network(x), network(x))
    network.eval()
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("role", ["encoder", "decoder", "dense"])
@pytest.mark.parametrize(
    "networks",
    [MLP(hidden=(64,), batch_norm=True), Convolutional(channels=(8, 8), hidden=32, batch_norm=True)],
    ids=["MLP", "Convolutional"],
)
def test_reduced_precision_stays_inside_the_network(networks, role):
    torch.set_default_dtype(torch.float32)
    network, inputs = ROLES[role](networks)
    network.eval()
    inputs, y = inputs(CLASSES), torch.arange(CLASSES).unsqueeze(-1)
    full = network(inputs, y)
    inside = []
    last = network.perceptron.rest[-1]
    last.register_forward_hook(lambda module, arguments, output: inside.append(output.dtype))
    network.compute_dtype = torch.bfloat16
    reduced = network(inputs, y)
    assert inside == [torch.bfloat16]
    assert reduced.dtype == torch.float32
    # bfloat16 has 8 bits: 0.4 % for one number, a few times that for a network of a few layers.
    assert (reduced - full).abs().max() < 0.03 * full.abs().max()
    assert (reduced - full).abs().max() > 0


ERRORS = {
    "MLP without layers": (lambda: MLP(hidden=()), "hidden"),
    "MLP with an empty layer": (lambda: MLP(hidden=(5, 0)), "hidden"),
    "MLP that drops everything": (lambda: MLP(dropout=1.0), "dropout"),
    "MLP with negative dropout": (lambda: MLP(dropout=-0.1), "dropout"),
    "Convolutional without channels": (lambda: Convolutional(channels=()), "channels"),
    "Convolutional with zero channels": (lambda: Convolutional(channels=(4, 0)), "channels"),
    "Convolutional without convolutions": (lambda: Convolutional(convolutions_per_size=0), "convolutions_per_size"),
    "Convolutional without hidden units": (lambda: Convolutional(hidden=0), "hidden"),
    "Convolutional that drops everything": (lambda: Convolutional(dropout=1.0), "dropout"),
    "encoder of a low image": (lambda: Convolutional().encoder((1, 7, 8), 2), "8×8 pixels; got 7×8"),
    "decoder of a narrow image": (lambda: Convolutional().decoder(2, (1, 8, 7)), "8×8 pixels; got 8×7"),
    "a convolutional encoder of vectors": (
        lambda: Convolutional().encoder((2,), 3),
        r"^networks: expected an image .* for Convolutional; got event_shape \(2,\). Use MLP.$",
    ),
    "a convolutional decoder of vectors": (
        lambda: Convolutional().decoder(3, (2,)),
        r"got event_shape \(2,\)\. Use MLP",
    ),
    "a class that is not given": (
        lambda: MLP().encoder(IMAGE, 2, CLASSES)(torch.rand(2, *IMAGE)),
        "got None",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()


# A vector beside the input, and probabilities in place of a class


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("role", ["encoder", "dense"])
def test_a_vector_beside_the_input_is_concatenated(name, role):
    networks = NETWORKS[name]()
    if role == "encoder":
        network, inputs = networks.encoder(IMAGE, OUTPUTS, CLASSES, num_beside=2), torch.rand(BATCH, *IMAGE)
    else:
        network, inputs = networks.dense(LATENT, OUTPUTS, CLASSES, num_beside=2), torch.randn(BATCH, LATENT)
    beside, y = torch.randn(CLASSES, BATCH, 2), torch.arange(CLASSES).unsqueeze(-1)
    outputs = network(inputs, y, beside)
    assert outputs.shape == (CLASSES, BATCH, OUTPUTS)
    first = network.perceptron.first
    matrix = torch.cat([first.linear.weight, first.beside.weight], dim=1)

    def concatenate(module, arguments, output):
        vector, classes, other = arguments
        both = torch.cat([vector.expand(*other.shape[:-1], -1), other], dim=-1)
        return F.linear(both, matrix, first.linear.bias) + first.embedding(classes)

    first.register_forward_hook(concatenate)
    torch.testing.assert_close(outputs, network(inputs, y, beside), rtol=0, atol=1e-12)
    assert matrix.abs().max() <= (matrix.shape[1] + CLASSES) ** -0.5


def test_a_network_that_takes_a_vector_beside_says_so():
    with pytest.raises(ValueError, match="beside: expected a vector for a network that takes one beside its input"):
        MLP((7,)).dense(LATENT, OUTPUTS, num_beside=2)(torch.randn(BATCH, LATENT))


def test_probabilities_of_classes_average_their_embeddings(conditioned):
    network, inputs = conditioned
    inputs, y = inputs(), torch.tensor([0, 2, 1, 1, 2])
    certain = F.one_hot(y, CLASSES).to(torch.get_default_dtype())
    torch.testing.assert_close(network(inputs, certain), network(inputs, y), rtol=0, atol=1e-12)
    first = network.perceptron.first
    vector = torch.randn(BATCH, first.linear.in_features)
    uniform = torch.full((BATCH, CLASSES), 1 / CLASSES)
    expected = sum(first(vector, torch.full((BATCH,), k), None) for k in range(CLASSES)) / CLASSES
    torch.testing.assert_close(first(vector, uniform, None), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("role", ROLES)
def test_weights_start_from_a_gaussian_of_the_scale_that_is_asked_for_and_biases_from_zero(role):
    network, _ = ROLES[role](MLP(hidden=(300, 200), initial_scale=0.001))
    parameters = dict(network.named_parameters())
    assert any("embedding" in name for name in parameters)
    weights = torch.cat([each.flatten() for name, each in parameters.items() if name.endswith("weight")])
    assert all((each == 0).all() for name, each in parameters.items() if name.endswith("bias"))
    # Five standard errors of the mean, of the mean square and of the mean fourth power of a standard Gaussian.
    standardised, error = weights / 0.001, 5 / len(weights) ** 0.5
    assert standardised.mean().item() == pytest.approx(0, abs=error)
    assert standardised.square().mean().item() == pytest.approx(1, abs=error * 2**0.5)
    assert (standardised**4).mean().item() == pytest.approx(3, abs=error * 96**0.5)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_an_initial_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="initial_scale: expected a positive number; got"):
        MLP(initial_scale=scale)
