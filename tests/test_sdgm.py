"""SDGM: the style is z and ε, the part of a that y and z leave open. What it shares with ADGM is in test_adgm.py."""

import pyro
import torch
from pyro import poutine

from ssvae.models import SDGM
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional

CLASSES, LATENT, AUXILIARY, BATCH = 3, 2, 4, 5
IMAGE = (1, 4, 4)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def _model(**options):
    model = SDGM(
        IMAGE,
        CLASSES,
        prior=ClassConditional(LATENT),
        likelihood=Bernoulli(),
        networks=MLP(hidden=(6,)),
        auxiliary_dim=AUXILIARY,
        **options,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def _images():
    return (torch.rand(BATCH, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _normal(outputs):
    loc, log_scale = outputs.chunk(2, dim=-1)
    return torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())


def test_the_reconstruction_is_of_the_mean_of_both_latent_variables():
    model, x, y = _model(), _images(), torch.tensor([0, 1, 2, 2, 1])
    a = _normal(model.a_encoder(x)).mean
    z = _normal(model.z_encoder(x, y, a)).mean
    expected = model.decoder(torch.cat([z, a], dim=-1), y).sigmoid()
    torch.testing.assert_close(model.reconstruct(x, y), expected, **EXACT)
    torch.testing.assert_close(model.encode(x, y)[:, :LATENT], z, **EXACT)


def test_epsilon_is_a_as_the_story_sees_it():
    model, x, y = _model(), _images(), torch.tensor([0, 1, 2, 2, 1])
    q_a = _normal(model.a_encoder(x))
    z = _normal(model.z_encoder(x, y, q_a.mean)).mean
    p_a = _normal(model.a_decoder(z, y))
    epsilon = model.encode(x, y)[:, LATENT:]
    torch.testing.assert_close(epsilon, (q_a.loc - p_a.loc) / p_a.scale, **EXACT)
    # The same divergence in either coordinates: KL(q(ε) || N(0, I)) = KL(q(a) || p(a | y, z)).
    of_noise = torch.distributions.Normal(epsilon, q_a.scale / p_a.scale)
    standard = torch.distributions.Normal(torch.zeros(AUXILIARY), torch.ones(AUXILIARY))
    torch.testing.assert_close(
        torch.distributions.kl_divergence(of_noise, standard), torch.distributions.kl_divergence(q_a, p_a), **EXACT
    )


def test_in_another_class_the_same_style_has_another_a():
    model, x = _model(), _images()
    style = model.encode(x, torch.zeros(BATCH, dtype=torch.int64))
    z, noise = style.split([LATENT, AUXILIARY], dim=-1)
    for k in range(CLASSES):
        y = torch.full((BATCH,), k)
        p_a = _normal(model.a_decoder(z, y))
        expected = model.decoder(torch.cat([z, p_a.loc + p_a.scale * noise], dim=-1), y).sigmoid()
        torch.testing.assert_close(model.p_x(style, y).mean, expected, **EXACT)


def test_what_is_drawn_and_decoded_is_what_the_program_draws():
    model, y = _model(), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.manual_seed(1)
        ours = model.sample(y, num_samples=4000)  # (samples, classes, channels, height, width)
        torch.manual_seed(2)
        images = torch.zeros(3 * 4000, *IMAGE)
        story = poutine.condition(poutine.uncondition(model.model), data={"y": y.repeat(4000)})
        drawn = poutine.trace(story).get_trace(images).nodes["x"]["fn"].mean.view(4000, 3, *IMAGE)
    for moment in (torch.mean, torch.std):
        difference = moment(ours, 0) - moment(drawn, 0)
        assert difference.abs().max() < 5 * (2 / 4000) ** 0.5 * drawn.std(0).max()
    # Drawn at the mean of p(a | y, z) they would vary less.
    z = model._draw(y.expand(4000, 3))
    z[..., LATENT:] = 0
    assert (model.p_x(z, y).mean.std(0) < drawn.std(0)).all()


def test_its_story_has_an_arrow_from_a_to_x_and_its_guide_from_a_to_y_and_z():
    model, x = _model(), _images()

    def arrows(program):
        drawing = pyro.render_model(program, model_args=(x,)).source
        return {tuple(line.split(" -> ")) for line in drawing.replace("\t", "").splitlines() if " -> " in line}

    story = {("y", "z"), ("y", "a"), ("z", "a"), ("y", "x"), ("z", "x"), ("a", "x")}
    assert arrows(model.model) == story
    assert arrows(model.guide) == {("a", "y"), ("a", "z"), ("y", "z")}
    densities = [line.split("  ")[1] for line in repr(model).splitlines()[1:-1]]
    assert densities == [
        "p(y)",
        "p(z | y)",
        "p(a | y, z)",
        "p(x | a, y, z)",
        "q(a | x)",
        "q(y | a, x)",
        "q(z | a, x, y)",
    ]
