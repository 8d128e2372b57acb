"""SparseLabelVAE: a VAE whose decoder sees what its classifier says; from no labels to all."""

import pytest
import torch
import torch.nn.functional as F
from support.tiny import arrays, recipe

from ssvae import inference
from ssvae.inference.evaluation import importance_sampling
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.inference.predict import class_probabilities
from ssvae.models import M2, SparseLabelVAE
from ssvae.models.likelihoods import Bernoulli
from ssvae.models.networks import MLP, Convolutional
from ssvae.models.priors import ClassConditional, GaussianMixture, StandardNormal, VampPrior

CLASSES, LATENT, BATCH = 3, 2, 5
IMAGE = (1, 8, 8)
EXACT = {"rtol": 0, "atol": 1e-9}
Y = torch.tensor([0, 2, 1, 1, 2])
NONE = torch.zeros(0, dtype=torch.int64)


def _model(num_classes=CLASSES, prior=None, networks=None):
    return SparseLabelVAE(
        IMAGE,
        num_classes,
        prior=prior or StandardNormal(LATENT),
        likelihood=Bernoulli(),
        networks=networks or MLP(hidden=(6,)),
    )


def _images(n=BATCH):
    return (torch.rand(n, *IMAGE) > 0.5).to(torch.get_default_dtype())


def _unlabelled(x):
    return Observations(x[:0], NONE, x), Sizes(0, len(x))


def _seeded_loss(model, seen, sizes, **options):
    torch.manual_seed(7)
    return Objective(**options)(model, seen, sizes)[0]


def test_its_objective_is_the_papers_by_hand_in_value_and_gradient():
    model, x, unlabelled = _model(), _images(), _images(4)
    sizes, alpha = Sizes(10, 30), 0.7
    loss = _seeded_loss(model, Observations(x, Y, unlabelled), sizes, alpha=alpha)

    encoder, decoder = model.encoder.perceptron, model.decoder.perceptron
    torch.manual_seed(7)

    def heads(images):
        hidden = F.softplus(encoder.first.linear(images.flatten(1)))
        return torch.split(encoder.rest[-1](hidden), [CLASSES, LATENT, LATENT], dim=-1)

    def minus_elbo(images):
        logits, loc, log_scale = heads(images)
        q_z = torch.distributions.Normal(loc, (6 * torch.tanh(log_scale / 6)).exp())
        z = q_z.rsample()
        # [π(x); z] through one matrix is W z + b + E π(x).
        first = decoder.first
        hidden = F.softplus(
            torch.cat([logits.softmax(-1), z], -1) @ torch.cat([first.embedding.weight.T, first.linear.weight], 1).T
            + first.linear.bias
        )
        log_p_x = torch.distributions.Bernoulli(logits=decoder.rest[-1](hidden)).log_prob(images.flatten(1)).sum(-1)
        log_p_z = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return -(log_p_x + log_p_z - q_z.log_prob(z).sum(-1)).mean()

    by_hand = 0.25 * minus_elbo(x) + 0.75 * minus_elbo(unlabelled)
    by_hand = by_hand + alpha * -heads(x)[0].log_softmax(-1)[torch.arange(BATCH), Y].mean()
    torch.testing.assert_close(loss, by_hand, **EXACT)
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(each, parameters) for each in (loss, by_hand))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
        assert (one != 0).any()


@pytest.mark.parametrize(
    "prior", [lambda: StandardNormal(LATENT), lambda: GaussianMixture(LATENT, 3)], ids=["N", "mix"]
)
@pytest.mark.parametrize(
    "networks", [MLP(hidden=(6,)), Convolutional(channels=(2, 3), hidden=6)], ids=["MLP", "convolutional"]
)
def test_with_one_class_it_is_a_vae_which_is_m2_with_one_class(networks, prior):
    model = _model(1, prior(), networks)
    m2 = M2(IMAGE, 1, prior=prior(), likelihood=Bernoulli(), networks=networks)
    m2.prior.load_state_dict(model.prior.state_dict())
    m2.decoder.load_state_dict(model.decoder.state_dict())
    state = model.encoder.state_dict()
    heads = [key for key in state if key.startswith("perceptron.rest.") and len(state[key]) == 1 + 2 * LATENT]
    assert len(heads) == 2
    for key in heads:
        state[key] = state[key][1:]
    state["perceptron.first.embedding.weight"] = torch.zeros(1, 6)
    m2.z_encoder.load_state_dict(state)

    x = _images()
    losses = [_seeded_loss(one, *_unlabelled(x)) for one in (model, m2)]
    torch.testing.assert_close(*losses, **EXACT)
    for loss in losses:
        loss.backward()
    for (key, ours), theirs in zip(model.decoder.named_parameters(), m2.decoder.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, **EXACT, msg=key)
    theirs = dict(m2.z_encoder.named_parameters())
    for key, ours in model.encoder.named_parameters():
        gradient = ours.grad[1:] if key in heads else ours.grad
        torch.testing.assert_close(gradient, theirs[key].grad, **EXACT, msg=key)
        if key in heads:
            assert (ours.grad[0] == 0).all()  # π(x) = 1, whatever its logit


@pytest.mark.parametrize("k", range(CLASSES))
def test_where_the_classifier_is_certain_its_bound_is_m2s_but_for_the_class(k):
    model = _model()
    m2 = M2(IMAGE, CLASSES, prior=StandardNormal(LATENT), likelihood=Bernoulli(), networks=MLP(hidden=(6,)))
    with torch.no_grad():
        head = model.encoder.perceptron.rest[-1]
        head.weight[:CLASSES] = 0
        head.bias[:CLASSES] = 1000 * F.one_hot(torch.tensor(k), CLASSES).double()
    state = model.encoder.state_dict()
    for key in ("perceptron.rest.1.weight", "perceptron.rest.1.bias"):
        state[key] = state[key][CLASSES:]
    state["perceptron.first.embedding.weight"] = torch.zeros(CLASSES, 6)
    m2.z_encoder.load_state_dict(state)
    m2.decoder.load_state_dict(model.decoder.state_dict())
    x, y = _images(), torch.full((BATCH,), k)
    ours = _seeded_loss(model, *_unlabelled(x))
    theirs = _seeded_loss(m2, Observations(x, y, x[:0]), Sizes(BATCH, 0), alpha=0.0)
    torch.testing.assert_close(ours, theirs - torch.tensor(float(CLASSES)).log(), **EXACT)
    for one, other in zip(
        torch.autograd.grad(ours, list(model.decoder.parameters())),
        torch.autograd.grad(theirs, list(m2.decoder.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **EXACT)


def test_a_label_does_not_change_the_bound():
    model, x = _model(), _images()
    labelled = _seeded_loss(model, Observations(x, Y, x[:0]), Sizes(BATCH, 0), alpha=0.0)
    unlabelled = _seeded_loss(model, *_unlabelled(x), alpha=0.0)
    torch.testing.assert_close(labelled, unlabelled, **EXACT)


def test_it_reconstructs_by_what_its_classifier_says_and_samples_by_classes():
    model, x = _model(), _images()
    z, pi = model.q_z(x).mean, model.classify(x).probs
    torch.testing.assert_close(model.encode(x), z, **EXACT)
    torch.testing.assert_close(model.reconstruct(x), model.p_x(z, pi).mean, **EXACT)
    torch.testing.assert_close(model.reconstruct(x, Y), model.p_x(z, F.one_hot(Y, CLASSES).double()).mean, **EXACT)
    torch.testing.assert_close(model.encode(x, Y), z, **EXACT)


def test_its_bound_is_not_taken_for_one_of_the_evidence():
    with pytest.raises(ValueError, match="whose guide has a density; got SparseLabelVAE"):
        importance_sampling(_model(), _images(), 3)


@pytest.mark.parametrize("num_labels", [0, 6, None], ids=["no labels", "some", "all"])
@pytest.mark.usefixtures("without_pictures")
@pytest.mark.slow
def test_it_runs_unchanged_from_no_labels_to_all(num_labels, tmp_path):
    torch.manual_seed(1)
    model = SparseLabelVAE(IMAGE, 3, prior=StandardNormal(3), networks=MLP((16,)))
    data = arrays(num_labels=num_labels)
    options = vars(recipe(max_epochs=40, objective=Objective(alpha=10.0)))
    run = inference.fit(model, data, folder=str(tmp_path / "run"), **options)
    first, last = run.history[0], run.history[-1]
    assert last["loss"] < first["loss"]
    assert ("classification" in last) == ("labelled/negative_elbo" in last) == (num_labels != 0)
    assert ("unlabelled/negative_elbo" in last) == (num_labels is not None)
    assert (run.evaluation.classifier.accuracy > 0.9) == (num_labels != 0)
    assert run.evaluation.posterior is None
    assert run.evaluation.log_likelihood is None
    assert run.baselines.keys() == ({"supervised"} if num_labels != 0 else set())
    loaded = inference.load(str(tmp_path / "run"), with_data=False).model
    x = data.preprocess(data.test_images)
    assert torch.equal(class_probabilities(loaded, x), class_probabilities(run.model, x))
    assert torch.equal(loaded.reconstruct(x), run.model.reconstruct(x))


ERRORS = {
    "an image without channels": (lambda: SparseLabelVAE((8, 8), 3), "event_shape: expected"),
    "no classes": (lambda: SparseLabelVAE(IMAGE, 0), "num_classes: expected"),
    "a prior that looks at the class": (
        lambda: SparseLabelVAE(IMAGE, 3, prior=ClassConditional(2)),
        r"prior: expected p\(z\), as SparseLabelVAE has no p\(y\); got p\(z \| y\), ClassConditional",
    ),
    "a VampPrior that does": (
        lambda: SparseLabelVAE(IMAGE, 3, prior=VampPrior(2, 3, per_class=True)),
        r"prior: expected p\(z\)",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_model_that_cannot_be_is_refused_in_words(name):
    mistake, words = ERRORS[name]
    with pytest.raises(ValueError, match=words):
        mistake()
