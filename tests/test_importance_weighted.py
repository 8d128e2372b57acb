"""The bound of several importance samples: L_K and U_K by hand, from L to log p(x, y), and where it cannot be had."""

import pytest
import torch
from support import tiny
from test_models import MODELS
from test_objective import (
    CLASSES,
    EXACT,
    LATENT,
    SIZES,
    _assert_same_gradients,
    _gradients,
    _images,
    _model,
    _noise,
    _ScoreFunctionM2,
    _seen,
    _terms_by_hand,
)

from ssvae.inference import KLWeight, fit
from ssvae.inference.evaluation import importance_sampling
from ssvae.inference.objective import Objective, Observations, Sizes
from ssvae.models import ADGM, GMVAE, SDGM, AdversarialAutoencoder
from ssvae.models.networks import MLP
from ssvae.models.priors import SeparatedMeans, StandardNormal

K = 3


def _tighter_by_hand(model, x, y, noise, beta):
    """L_K(x, y) = -log 1/K Σ_k p(x, y, z_k) / q(z_k|x, y) + (β - 1) 1/K Σ_k log q(z_k|x, y) / p(z_k), (batch,)."""
    weights, mean_kl = 0.0, 0.0
    for epsilon in noise:
        reconstruction, kl, cross_entropy = _terms_by_hand(model, x, y, epsilon)
        weights = weights + (-reconstruction - kl - cross_entropy).exp() / len(noise)
        mean_kl = mean_kl + kl / len(noise)
    return -weights.log() + (beta - 1) * mean_kl


@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("prior", ["StandardNormal", "ClassConditional"])
def test_the_bound_is_the_logarithm_of_the_mean_weight_written_by_hand_in_value_and_gradient(prior, beta):
    model, seen = _model(prior), _seen()
    objective = Objective(alpha=0, kl_weight=KLWeight(beta, beta), importance_samples=K)
    torch.manual_seed(7)
    loss, terms = objective(model, seen, SIZES)

    torch.manual_seed(7)
    labelled_noise, unlabelled_noise = _noise(K, 4, LATENT), _noise(CLASSES, K, 5, LATENT)
    labelled = _tighter_by_hand(model, seen.labelled, seen.y, labelled_noise, beta)
    log_q_y = model.y_encoder(seen.unlabelled).log_softmax(-1)
    unlabelled = 0.0
    for y in range(CLASSES):
        bound = _tighter_by_hand(model, seen.unlabelled, torch.full((5,), y), unlabelled_noise[y], beta)
        unlabelled = unlabelled + log_q_y[:, y].exp() * (bound + log_q_y[:, y])
    expected = 10 / 50 * labelled.mean() + 40 / 50 * unlabelled.mean()

    torch.testing.assert_close(loss, expected, **EXACT)
    _assert_same_gradients(_gradients(model, loss), _gradients(model, expected))
    # What is logged is the ELBO, whose one sample is each of the K in turn.
    elbo = sum(sum(_terms_by_hand(model, seen.labelled, seen.y, epsilon)) for epsilon in labelled_noise) / K
    torch.testing.assert_close(terms["labelled/negative_elbo"], elbo.mean().detach(), **EXACT)
    kl = sum(
        log_q_y[:, y].exp() * _terms_by_hand(model, seen.unlabelled, torch.full((5,), y), epsilon)[1]
        for y in range(CLASSES)
        for epsilon in unlabelled_noise[y]
    )
    torch.testing.assert_close(terms["unlabelled/kl"], kl.mean().detach() / K, **EXACT)


def test_free_bits_are_of_the_kl_divergence_over_all_samples():
    model, seen = _model("ClassConditional"), _seen(unlabelled=0)
    losses = []
    for free_bits in (0.0, 100.0):
        torch.manual_seed(7)
        objective = Objective(alpha=0, importance_samples=K, free_bits=free_bits)
        losses.append(objective(model, seen, SIZES))
    (without, terms), (with_them, _) = losses
    # The sizes' share stands before L alone, as it does before the free bits in it.
    torch.testing.assert_close(with_them - without, 10 / 50 * (100.0 - terms["labelled/kl"]), **EXACT)


@pytest.mark.parametrize("name", [name for name, make in MODELS.items() if make().bounds_evidence])
@pytest.mark.parametrize("summed_classes", [None, 1])
def test_where_all_samples_are_the_same_it_is_the_elbo(name, summed_classes, monkeypatch):
    model = MODELS[name]().eval()
    monkeypatch.setattr(torch, "randn", lambda shape, **options: torch.zeros(shape, **options))
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(8, *model.event_shape, generator=generator).round()
    candidates = (torch.arange(model.num_classes) > 0).expand(2, -1)
    seen = Observations(x[:3], torch.arange(3) % model.num_classes, x[3:6], None, x[6:], candidates)
    found = []
    for samples in (1, K):
        torch.manual_seed(2)  # of the class that a truncated sum draws
        objective = Objective(summed_classes=summed_classes, importance_samples=samples)
        loss, terms = objective(model, seen, Sizes(3, 30, 2))
        found.append((loss, terms, _gradients(model, loss)))
    (one, its_terms, its_gradients), (several, same_terms, same_gradients) = found
    torch.testing.assert_close(several, one, **EXACT)
    _assert_same_gradients(same_gradients, its_gradients)
    assert its_terms.keys() == same_terms.keys()
    for key, term in its_terms.items():
        torch.testing.assert_close(same_terms[key], term, **EXACT, msg=lambda text, key=key: f"{key}: {text}")


def test_more_samples_bring_the_bound_from_the_elbo_to_log_p():
    model = _model()
    x, y = _images(1).expand(400, -1, -1, -1), torch.ones(400, dtype=torch.int64)
    seen, sizes = Observations(x, y, x[:0]), Sizes(400, 0)
    with torch.no_grad():
        bounds = [-Objective(alpha=0, importance_samples=k)(model, seen, sizes)[0].item() for k in (1, 4, 16, 256)]
        log_p = importance_sampling(model, x[:1], 50_000).log_joint[0, 1].item()
    # Burda et al. 2015, theorem 1
    assert bounds == sorted(bounds)
    assert bounds[0] < log_p - 0.5
    assert bounds[-1] == pytest.approx(log_p, abs=0.03)  # whose standard error is 0.01; K leaves as much


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("kl_weight", [1.0, 3.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda: GMVAE((1, 3, 3), 5, prior=SeparatedMeans(5), networks=MLP(hidden=(6,))),
        lambda: ADGM((1, 3, 3), 5, prior=StandardNormal(2), networks=MLP(hidden=(6,)), auxiliary_dim=3),
        lambda: SDGM((1, 3, 3), 5, prior=StandardNormal(2), networks=MLP(hidden=(6,)), auxiliary_dim=3),
    ],
    ids=["GMVAE", "ADGM", "SDGM"],
)
def test_the_truncated_sum_over_classes_stays_unbiased(make, kl_weight, k, monkeypatch):
    classes, model = 5, make()
    # Of each sample the same in every class, whether it is summed over or drawn; in ADGM the classifiers differ by it.
    noise = {dimensions: torch.randn(K, 1, dimensions) for dimensions in (2, 3, 5)}
    monkeypatch.setattr(torch, "randn", lambda shape, **options: noise[shape[-1]].expand(shape))
    asked = {}
    monkeypatch.setattr(
        "pyro.distributions.Categorical.sample", lambda self, shape=(): asked.update(p=self.probs) or asked["y"]
    )
    x = torch.rand(1, 1, 3, 3)
    seen = Observations(x[:0], torch.zeros(0, dtype=torch.int64), x)

    def found(summed_classes):
        objective = Objective(
            alpha=0, kl_weight=KLWeight(kl_weight, kl_weight), summed_classes=summed_classes, importance_samples=K
        )
        loss, terms = objective(model, seen, Sizes(0, 1))
        return loss.detach(), _gradients(model, loss), terms

    exact, exact_gradients, exact_terms = found(None)
    value, gradients, terms = 0.0, dict.fromkeys(exact_gradients, 0.0), dict.fromkeys(exact_terms, 0.0)
    for y in range(classes):
        asked["y"] = torch.tensor([[y]])
        estimate, its_gradients, its_terms = found(k)
        probability = asked["p"].flatten()[y]
        if probability:  # it is not summed over
            value = value + probability * estimate
            gradients = {name: g + probability * its_gradients[name] for name, g in gradients.items()}
            terms = {name: term + probability * its_terms[name] for name, term in terms.items()}
    for name, term in exact_terms.items():
        torch.testing.assert_close(terms[name], term, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(value, exact, **EXACT)
    _assert_same_gradients(gradients, exact_gradients)


def test_what_cannot_be_weighed_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="importance_samples: expected at least 1; got 0"):
        Objective(importance_samples=0)
    for schedule in (KLWeight(0, 1), KLWeight(1, 0.5), KLWeight(3, 0.2, until=0)):
        with pytest.raises(ValueError, match=f"kl_weight: expected at least 1 throughout .* got {schedule.smallest}"):
            Objective(importance_samples=2, kl_weight=schedule)
    Objective(importance_samples=2, kl_weight=KLWeight(0, 1, until=0))  # never below 1
    with pytest.raises(ValueError, match="importance_samples: expected 1 for latent variables that are not repar"):
        Objective(importance_samples=2)(_model(cls=_ScoreFunctionM2), _seen(), SIZES)
    data = tiny.arrays()
    model = AdversarialAutoencoder(data.image_shape, data.num_classes, networks=MLP(hidden=(6,)))
    words = "objective.importance_samples: expected 1 for AdversarialAutoencoder, whose guide has no density"
    with pytest.raises(ValueError, match=words):
        fit(model, data, tiny.recipe(objective=Objective(importance_samples=2)), folder=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
