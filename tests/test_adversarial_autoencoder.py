"""The adversarial autoencoder: each part of its one loss trains what its paper's phase trains, and nothing else."""

import doctest
import math

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays

import ssvae.models.adversarial_autoencoder
from ssvae.inference import Recipe, fit, load
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import AdversarialAutoencoder
from ssvae.models.likelihoods import ContinuousBernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, ClassPrior, GaussianMixture, StandardNormal, VampPrior

CLASSES, LATENT, BATCH = 3, 2, 5
IMAGE = (1, 4, 4)
EXACT = {"rtol": 0, "atol": 1e-9}
SIZES = Sizes(10, 40)


def _aae(event_shape=IMAGE, **options):
    options = {"prior": StandardNormal(LATENT), "networks": MLP(hidden=(6,)), **options}
    return AdversarialAutoencoder(event_shape, CLASSES, **options)


def _images(n=BATCH):
    return torch.rand(n, *IMAGE)


def _dense(network, inputs, y=None):
    """What a network of one hidden layer makes of vectors, and of classes."""
    perceptron = network.perceptron
    hidden = perceptron.first.linear(inputs)
    return perceptron.rest[-1](F.softplus(hidden if y is None else hidden + perceptron.first.embedding.weight[y]))


def _codes(model, x):
    outputs = _dense(model.encoder, x.flatten(1))
    return outputs[:, :CLASSES].softmax(-1), outputs[:, CLASSES:]


def _reconstruction(model, x):
    pi, z = _codes(model, x)
    first = model.decoder.perceptron.first
    hidden = first.linear(z) + sum(pi[:, [k]] * first.embedding.weight[k] for k in range(CLASSES))
    logits = model.decoder.perceptron.rest[-1](F.softplus(hidden))
    return -ContinuousBernoulli()(logits.unflatten(-1, IMAGE)).log_prob(x).mean()


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def _of(prefix, gradients):
    return {name: gradient for name, gradient in gradients.items() if name.startswith(prefix)}


# The loss


def test_the_gradients_of_the_one_loss_are_those_of_the_papers_phases():
    model = _aae(adversarial_weight=7.0, class_prior=ClassPrior(CLASSES, [0.5, 0.3, 0.2]))
    x, y, unlabelled = _images(), torch.arange(BATCH) % CLASSES, _images(4)
    alpha, share = 0.3, {"labelled": 10 / 50, "unlabelled": 40 / 50}
    torch.manual_seed(7)
    loss, terms = Objective(alpha=alpha)(model, Observations(x, y, unlabelled), SIZES)
    found = _gradients(model, loss)

    def samples(pi):
        """Samples of the priors, and the classes that D_z is told, drawn as the model draws them."""
        number = len(pi)
        y = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), number, replacement=True)
        of_pi = torch.multinomial(pi.detach(), 1)[:, 0]
        torch.randn(2 * number, CLASSES)  # noise of standard deviation zero
        of_z = torch.randn(number, LATENT)
        torch.randn(2 * number, LATENT)
        return (F.one_hot(y, CLASSES).double(), None), (of_z, (y, of_pi))

    torch.manual_seed(7)
    reconstruction = discriminators = generators = 0.0
    for kind, images in {"labelled": x, "unlabelled": unlabelled}.items():
        reconstruction = reconstruction + share[kind] * _reconstruction(model, images)
        # Trace_ELBO draws nothing, as the guide has no noise, but for Pyro's own prior draws, which are replayed.
        codes = _codes(model, images)
        for d, (real, classes), code in zip(
            (model.y_discriminator, model.z_discriminator), samples(codes[0]), codes, strict=True
        ):
            of_real, of_code = classes or (None, None)
            on_samples, on_codes = torch.sigmoid(_dense(d, real, of_real)), torch.sigmoid(_dense(d, code, of_code))
            discriminators = discriminators + share[kind] * (-on_samples.log() - (1 - on_codes).log()).mean()
            generators = generators + share[kind] * -on_codes.log().mean()
    classification = F.cross_entropy(_dense(model.encoder, x.flatten(1))[:, :CLASSES], y)

    total = reconstruction + discriminators + 7.0 * generators + alpha * classification
    torch.testing.assert_close(loss, total, **EXACT)
    torch.testing.assert_close(terms["labelled/negative_elbo"], _reconstruction(model, x).detach(), **EXACT)
    phases = {
        "encoder": reconstruction + 7.0 * generators + alpha * classification,
        "decoder": reconstruction,
        "y_discriminator": discriminators,
        "z_discriminator": discriminators,
    }
    for part, phase in phases.items():
        parameters = dict(getattr(model, part).named_parameters(prefix=part))
        expected = torch.autograd.grad(phase, list(parameters.values()), retain_graph=True)
        for name, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name], gradient, **EXACT)
            assert gradient.abs().max() > 0
    assert set(found) == {name for part in phases for name in _of(part, found)}


@pytest.mark.parametrize(
    ("penalty", "trained"),
    [
        ("discriminator_y", "y_discriminator"),
        ("discriminator_z", "z_discriminator"),
        ("generator_y", "encoder"),
        ("generator_z", "encoder"),
    ],
)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_each_penalty_trains_one_part(penalty, trained, batch_norm):
    model = _aae(networks=MLP(hidden=(6,), batch_norm=batch_norm))
    gradients = _gradients(model, model.penalties(_images())[penalty])
    for name, gradient in gradients.items():
        assert (gradient is not None) == name.startswith(trained), name


def test_the_elbo_trains_encoder_and_decoder_alone():
    model = _aae(adversarial_weight=0.0)
    x = _images()
    loss, _ = Objective(alpha=0.0)(model, Observations(x[:0], torch.zeros(0, dtype=torch.int64), x), Sizes(0, BATCH))
    found = _gradients(model, loss)
    expected = _gradients(model, _reconstruction(model, x))
    for name in (*_of("encoder", found), *_of("decoder", found)):
        torch.testing.assert_close(found[name], expected[name], **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_discriminator_that_cannot_tell_has_the_loss_of_a_coin(smoothing):
    model = _aae(label_smoothing=smoothing, adversarial_weight=3.0)
    with torch.no_grad():
        for discriminator in (model.y_discriminator, model.z_discriminator):
            for parameter in discriminator.perceptron.rest[-1].parameters():
                parameter.zero_()
    penalties = model.penalties(_images())
    for code in "yz":
        # -log D - log(1 - D) at D = 1/2, whatever the target
        assert penalties[f"discriminator_{code}"].item() == pytest.approx(2 * math.log(2), abs=1e-12)
        assert penalties[f"generator_{code}"].item() == pytest.approx(3 * math.log(2), abs=1e-12)


def test_where_codes_are_distributed_as_the_prior_a_discriminator_learns_nothing():
    class Codes(torch.nn.Module):
        """An encoder whose codes are samples of the prior: certain of a class each, and normal."""

        def forward(self, x):
            y = F.one_hot(torch.arange(len(x)) % CLASSES, CLASSES)
            return torch.cat([1000.0 * y, torch.randn(len(x), LATENT)], -1)

    model, x = _aae(), torch.zeros(300, *IMAGE)
    model.encoder = Codes()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = {"discriminator_y": [], "discriminator_z": []}
    for _ in range(400):
        penalties = {name: value for name, value in model.penalties(x).items() if name in losses}
        optimiser.zero_grad()
        sum(penalties.values()).backward()
        optimiser.step()
        for name, value in penalties.items():
            losses[name].append(value.item())
    for name, values in losses.items():
        assert sum(values[-100:]) / 100 == pytest.approx(2 * math.log(2), abs=0.01), name


def test_a_discriminator_tells_codes_that_are_not_distributed_as_the_prior():
    model, x = _aae(), _images(300)
    optimiser = torch.optim.Adam([*model.y_discriminator.parameters(), *model.z_discriminator.parameters()], lr=0.05)
    for _ in range(300):
        penalties = model.penalties(x)
        optimiser.zero_grad()
        (penalties["discriminator_y"] + penalties["discriminator_z"]).backward()
        optimiser.step()
    assert penalties["discriminator_y"] < 0.2  # an untrained classifier is uncertain, one-hot vectors are not
    assert penalties["discriminator_z"] < 1.0


def _seen(model):
    """Return what the discriminators are asked about, y then z, and twice each: for D, then for the encoder."""
    seen = []
    for discriminator in (model.y_discriminator, model.z_discriminator):
        discriminator.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach()))
    return seen


def _classes_told(model):
    """Return the classes that D_z is told, of the samples and of the codes."""
    told = []
    model.z_discriminator.register_forward_pre_hook(lambda module, arguments: told.append(arguments[1]))
    return told


def test_instance_noise_is_added_to_samples_and_codes():
    model, x = _aae(instance_noise=0.5), _images(4000)
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    seen = _seen(model)
    model.penalties(x)
    y_inputs, again, z_inputs, _ = seen
    assert torch.equal(y_inputs, again)
    assert y_inputs.shape == (8000, CLASSES)
    # Codes: π = 1/3 each and f = 0, with noise; samples of N(0, I): variance 1 + 1/4.
    torch.testing.assert_close(y_inputs[4000:].mean(0), torch.full((3,), 1 / 3), rtol=0, atol=0.03)
    torch.testing.assert_close(y_inputs[4000:].std(0), torch.full((3,), 0.5), rtol=0, atol=0.02)
    torch.testing.assert_close(z_inputs[4000:].std(0), torch.full((2,), 0.5), rtol=0, atol=0.02)
    torch.testing.assert_close(z_inputs[:4000].var(0), torch.full((2,), 1.25), rtol=0, atol=0.08)
    # One-hot: mean 1/3, variance 1/3 - 1/9 + 1/4.
    torch.testing.assert_close(y_inputs[:4000].mean(0), torch.full((3,), 1 / 3), rtol=0, atol=0.04)
    torch.testing.assert_close(y_inputs[:4000].var(0), torch.full((3,), 2 / 9 + 0.25), rtol=0, atol=0.03)


def test_without_noise_a_discriminator_sees_one_hot_vectors_and_the_codes_themselves():
    model, x = _aae(), _images()
    seen = _seen(model)
    model.penalties(x)
    assert sorted(seen[0][:BATCH].unique().tolist()) == [0.0, 1.0]
    assert seen[0][:BATCH].sum(-1).tolist() == [1.0] * BATCH
    pi, z = _codes(model, x)
    torch.testing.assert_close(seen[0][BATCH:], pi, **EXACT)
    torch.testing.assert_close(seen[2][BATCH:], z, **EXACT)


def test_a_smoothed_target_is_a_mean_of_both():
    losses = []
    for smoothing in (0.0, 0.1, 0.0):
        torch.manual_seed(3)
        model = _aae(label_smoothing=smoothing)
        if len(losses) == 2:  # D of everything is 1 - D: its first term is -log(1 - D(prior))
            for discriminator in (model.y_discriminator, model.z_discriminator):
                for parameter in discriminator.perceptron.rest[-1].parameters():
                    parameter.data.neg_()
        torch.manual_seed(4)
        seen, told = _seen(model), _classes_told(model)
        penalties = model.penalties(_images())
        losses.append([penalties["discriminator_y"], penalties["discriminator_z"]])
    of_y, of_z = _dense(model.y_discriminator, seen[0]), _dense(model.z_discriminator, seen[2], told[0])
    for of_zero, of_tenth, logits in zip(losses[0], losses[1], (of_y, of_z), strict=True):
        # Of the model whose signs are turned, logits of -l.
        logit = -logits[:BATCH, 0]
        # (1 - ε)(-log D) + ε (-log(1 - D)), against -log D
        difference = 0.1 * (-torch.sigmoid(-logit).log() + torch.sigmoid(logit).log()).mean()
        torch.testing.assert_close(of_tenth - of_zero, difference, **EXACT)


# The prior


def test_a_prior_for_each_class_is_that_of_its_samples_and_of_its_codes():
    model = _aae(prior=ClassConditional(LATENT), event_shape=IMAGE)
    with torch.no_grad():
        model.prior.loc.copy_(torch.tensor([0.0, 100.0, 200.0]).view(3, 1, 1))
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments))
    model.sample(torch.tensor([2, 0]), num_samples=300)
    z, y = seen[0]
    assert torch.equal(y, torch.tensor([2, 0]).expand(300, 2))
    assert torch.equal((z.mean(-1) / 100).round().long(), y)
    vectors, told = _seen(model), _classes_told(model)
    model.penalties(_images(50))
    assert torch.equal((vectors[2][:50].mean(-1) / 100).round().long(), told[0][:50])
    assert len(told[0][:50].unique()) == CLASSES


def test_the_class_told_of_a_code_is_drawn_from_the_classifier():
    model = _aae()
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    model.encoder.perceptron.rest[-1].bias.data[:CLASSES] = torch.tensor([0.5, 0.3, 0.2]).log()
    told = _classes_told(model)
    model.penalties(_images(4000))
    of_prior, of_codes = told[0].chunk(2)
    shares = torch.full((CLASSES,), 1 / CLASSES)
    torch.testing.assert_close(of_prior.bincount() / 4000, shares, rtol=0, atol=0.03)
    torch.testing.assert_close(of_codes.bincount() / 4000, torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=0.03)


def test_within_each_class_codes_have_to_look_like_the_prior():
    """Codes whose signs are their class: a D_z that is told it tells them better than any that is not could."""

    class Codes(torch.nn.Module):
        def forward(self, x):
            y = torch.arange(len(x)) % 2
            z = torch.randn(len(x), LATENT).abs() * (2.0 * y.unsqueeze(-1) - 1)
            return torch.cat([1000.0 * F.one_hot(y, CLASSES), z], -1)

    model = _aae(networks=MLP(hidden=(20,)), class_prior=ClassPrior(CLASSES, [0.4999, 0.4999, 0.0002]))
    model.encoder = Codes()
    optimiser = torch.optim.Adam(model.z_discriminator.parameters(), lr=0.02)
    losses = []
    for _ in range(500):
        loss = model.penalties(torch.zeros(300, *IMAGE))["discriminator_z"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # A sample is in its class's quadrant once in four, and codes are four times as dense there: D = 1/5. Of both
    # quadrants together it is in one of them every second time, and codes are twice as dense: D = 1/3.
    best, best_untold = 1 / 4 * math.log(5) + math.log(5 / 4), 1 / 2 * math.log(3) + math.log(3 / 2)
    assert best - 0.02 < sum(losses[-200:]) / 200 < best_untold - 0.1


def test_discriminators_meet_the_prior_that_is_given():
    model = _aae(prior=GaussianMixture(LATENT, 3))
    with torch.no_grad():
        model.prior.loc.fill_(50.0)
    seen = _seen(model)
    model.penalties(_images(100))
    assert (seen[2][:100] - 50).abs().mean() < 1


def test_discriminators_may_have_networks_of_their_own():
    model = _aae(discriminators=MLP(hidden=(7, 8)))
    assert [model.z_discriminator.perceptron.first.linear.out_features, len(model.y_discriminator.perceptron.rest)] == [
        7,
        len(model.encoder.perceptron.rest) + 2,
    ]
    assert model.encoder.perceptron.first.linear.out_features == 6


def test_a_given_prior_is_not_learned():
    model = _aae(prior=GaussianMixture(LATENT, 3), class_prior=ClassPrior(CLASSES, learned=True))
    trained = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"encoder", "decoder", "y_discriminator", "z_discriminator"}


# Beside other things


def test_the_decoder_is_told_probabilities_and_a_certain_one_is_the_class():
    model, z = _aae(), torch.randn(BATCH, LATENT)
    y = torch.arange(BATCH) % CLASSES
    one_hot = F.one_hot(y, CLASSES).double()
    torch.testing.assert_close(model.p_x(z, one_hot).mean, model.p_x(z, y).mean, **EXACT)


@pytest.mark.slow
def test_a_saved_run_predicts_the_same(tmp_path):
    data = arrays()
    torch.manual_seed(0)
    model = _aae((1, 8, 8), instance_noise=0.1, networks=MLP(hidden=(6,), batch_norm=True))
    run = fit(model, data, Recipe(max_epochs=2, batch_size=10, learning_rate=0.01), folder=str(tmp_path / "run"))
    assert run.evaluation.log_likelihood is None
    loaded = load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(loaded.classify(x).logits, model.classify(x).logits)
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))
    assert {"unlabelled/generator_y", "labelled/discriminator_z"} <= run.history[-1].keys()


def test_the_docstrings_example_runs():
    result = doctest.testmod(ssvae.models.adversarial_autoencoder)
    assert (result.attempted, result.failed) == (5, 0)


ERRORS = {
    "an image without channels": (lambda: AdversarialAutoencoder((8, 8), 3), "event_shape"),
    "no classes": (lambda: AdversarialAutoencoder(IMAGE, 0), "num_classes"),
    "the class prior of others": (lambda: _aae(class_prior=ClassPrior(4)), "expected one for 3 classes; got one for 4"),
    "posteriors": (lambda: _aae(prior=VampPrior(2, 3)), "does not mix posteriors"),
    "a negative weight": (lambda: _aae(adversarial_weight=-1.0), r"adversarial_weight: .* got -1\.0"),
    "negative noise": (lambda: _aae(instance_noise=-0.1), r"instance_noise: .* got -0\.1"),
    "a target of zero": (lambda: _aae(label_smoothing=1.0), r"label_smoothing: .*\[0, 1\); got 1\.0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()
