"""Rejecting what a model has no explanation for: thresholds, attacks, reclassification, by hand."""

import math
import re
import shutil
from types import SimpleNamespace

import pyro.distributions as dist
import pytest
import torch
from support import tiny
from torch import nn

from ssvae.data import Digits
from ssvae.inference import Recipe, fit
from ssvae.inference.applications.attacks import adaptive, attack_loss, attacks, fgsm, pgd
from ssvae.inference.applications.rejection import (
    AnomalyScores,
    Attacked,
    Outcome,
    Rejection,
    Threshold,
    anomaly_scores,
    auroc,
    fit_rejection,
    measure,
    measures,
    outcome,
    reclassify,
)
from ssvae.inference.applications.robustness import AttackResult, reject_other, run_attacks
from ssvae.inference.command_line.commands import run_command
from ssvae.inference.runs.report import hardware
from ssvae.models import GMVAE, M2
from ssvae.models.networks import MLP
from ssvae.models.priors import SeparatedMeans, StandardNormal

pytestmark = pytest.mark.slow

CLASSES, SIDE = 3, 8


class _Prior(StandardNormal):
    """N(3 e_y, I) in three dimensions."""

    def forward(self, y=None):
        return dist.Normal(3 * torch.eye(CLASSES)[y], torch.ones(CLASSES)).to_event(1)


class _Linear(nn.Module):
    """Images whose first three pixels are z / 5, the class that of the largest."""

    learns_classifier = True
    num_classes = CLASSES

    def __init__(self):
        super().__init__()
        self.prior = _Prior(CLASSES)
        self.scale = nn.Parameter(torch.ones(()))

    def classify(self, x):
        return dist.Categorical(logits=10 * self.scale * x[:, 0, 0, :3])

    def encode(self, x, y=None):
        return 5 * x[:, 0, 0, :3]

    def p_x(self, z, y):
        x = torch.zeros(*z.shape[:-1], 1, SIDE, SIDE)
        x = torch.cat([z.unflatten(-1, (1, 1, 3)) / 5, x[..., :1, 3:]], dim=-1)
        rest = torch.zeros(*z.shape[:-1], 1, SIDE - 1, SIDE)
        return dist.Normal(torch.cat([x, rest], dim=-2), 1.0)

    def reconstruct(self, x, y=None):
        return self.p_x(self.encode(x), y).mean


def _of(*z):
    """Images of given z, (N, 1, 8, 8)."""
    return _Linear().p_x(torch.tensor(z).double(), None).mean.detach()


def test_the_anomaly_scores_are_the_latent_density_and_the_distance_from_the_reconstruction():
    x = _of([3.0, 0.0, 0.0], [0.0, 2.0, 1.0])
    x[1, 0, 5, 5], x[1, 0, 6, 6] = 0.3, 0.4
    seen = anomaly_scores(_Linear(), x)
    assert seen.classes.tolist() == [0, 1]
    constant = 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(seen.latent, torch.tensor([constant, constant + 0.5 * (1 + 1)]))
    torch.testing.assert_close(seen.reconstruction, torch.tensor([0.0, 0.5]))


RULE = Rejection(
    Threshold(torch.tensor([4.0, 6.0, 6.0]), torch.tensor([2.0, 2.0, 2.0])),
    Threshold(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([0.5, 0.5, 1.0])),
)


def test_an_image_is_rejected_where_it_exceeds_either_limit_of_its_class():
    classes = torch.tensor([0, 1, 0, 1, 2])
    seen = AnomalyScores(classes, torch.tensor([5.0, 5.0, 3.0, 3.0, 3.0]), torch.tensor([0.5, 0.5, 0.75, 1.5, 1.5]))
    torch.testing.assert_close(RULE.score(seen), torch.tensor([0.5, -0.25, -0.5, 1.0, -0.5]))
    assert RULE.decide(seen).tolist() == [-1, 1, 0, -1, 2]


def test_what_comes_of_images_sums_to_one():
    found = outcome(torch.tensor([0, 1, -1, 2]), torch.tensor([0, 2, 2, 2]))
    assert (found.accuracy, found.error, found.rejection) == (0.5, 0.25, 0.25)


def test_thresholds_are_quantiles_over_the_validation_images_of_a_class():
    data = tiny.arrays(num_validation=60)
    model = tiny.m2().double()
    rule = fit_rejection(model, data, quantile=0.8)
    seen = anomaly_scores(model, data.preprocess(data.validation_images))
    for k in set(seen.classes.tolist()):
        of_class = seen.classes == k
        expected = torch.quantile(seen.latent[of_class], 0.8)
        torch.testing.assert_close(rule.latent.limit[k], expected)
        torch.testing.assert_close(
            rule.reconstruction.median[k], seen.reconstruction[of_class].median(), atol=0.2, rtol=0
        )
        assert (seen.latent[of_class] <= rule.latent.limit[k]).double().mean() == pytest.approx(0.8, abs=0.05)


# Attacks


def test_the_fast_gradient_sign_method_moves_each_pixel_by_epsilon_against_its_class():
    x = torch.full((2, 1, SIDE, SIDE), 0.5).double()
    x[:, 0, 0, :3] = torch.tensor([[0.9, 0.5, 0.4], [0.2, 0.5, 0.95]])
    moved = fgsm(_Linear(), x, torch.tensor([0, 2]), 0.1)
    expected = torch.tensor([[0.8, 0.6, 0.5], [0.3, 0.6, 0.85]])
    torch.testing.assert_close(moved[:, 0, 0, :3], expected)
    assert torch.equal(moved[:, 0, 1:], x[:, 0, 1:])  # the classifier does not look there
    # Within [0, 1] whatever ε.
    torch.testing.assert_close(
        fgsm(_Linear(), x, torch.tensor([0, 2]), 0.95).aminmax(), (torch.tensor(0.0), torch.tensor(1.0))
    )


def test_projected_gradient_descent_goes_as_far_as_it_may_and_no_further():
    x = torch.full((2, 1, SIDE, SIDE), 0.5).double()
    x[:, 0, 0, :3] = torch.tensor([[0.9, 0.5, 0.4], [0.2, 0.5, 0.95]])
    moved = pgd(_Linear(), x, torch.tensor([0, 2]), 0.1, num_steps=10)
    # A linear classifier leaves no better place than the corner.
    torch.testing.assert_close(moved[:, 0, 0, :3], torch.tensor([[0.8, 0.6, 0.5], [0.3, 0.6, 0.85]]))
    assert (moved - x).abs().max() <= 0.1 + 1e-12
    assert torch.equal(moved, pgd(_Linear(), x, torch.tensor([0, 2]), 0.1, num_steps=10))


def test_an_attack_lowers_the_probability_of_the_class_and_leaves_no_trace_in_the_model():
    data, model = tiny.arrays(), tiny.m2().double()
    model.train()
    x, y = data.preprocess(data.test_images), data.test_labels
    before = model.eval().classify(x).log_prob(y)
    model.train()
    for attack in (fgsm, pgd):
        after = model.classify(attack(model, x, y, 0.1)).log_prob(y)
        assert (after < before).all()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_a_model_without_a_gradient_to_follow_is_refused():
    model = _Linear()
    model.learns_classifier = False
    with pytest.raises(ValueError, match=r"model: expected one whose q\(y\|x\) has a gradient to follow; got _Linear"):
        fgsm(model, torch.zeros(1, 1, SIDE, SIDE), torch.tensor([0]), 0.1)
    with pytest.raises(ValueError, match=r"model: expected one whose q\(y\|x\) has a gradient to follow; got _Linear"):
        adaptive(model, RULE, torch.zeros(1, 1, SIDE, SIDE), torch.tensor([0]), 0.1)


@pytest.mark.parametrize("name", ["FGSM", "PGD", "adaptive"])
def test_an_attack_stays_within_epsilon_and_within_the_pixels_range(name):
    data, model = tiny.arrays(num_validation=30), tiny.m2().double()
    x, y = data.preprocess(data.test_images), data.test_labels
    rule = fit_rejection(model, data)
    for epsilon in (0.0, 0.07, 0.4):
        attacked = attacks(model, rule, x, y, num_steps=5)[name](epsilon)
        assert (attacked - x).abs().max() <= epsilon + 1e-12
        assert attacked.min() >= 0
        assert attacked.max() <= 1


def test_who_knows_the_thresholds_finds_the_image_that_is_wrong_and_accepted_where_there_is_one():
    # z = (3, 0, 0) becomes another class where 5 ε of it goes to another axis, so from ε = 0.3 on. Then
    # -log p(z | 1) = 1.5 log 2π + (3 - 5 ε)² = 3.8 at ε = 0.4, where the limit is 6.
    model, x, y = _Linear().double(), _of([3.0, 0.0, 0.0]), torch.tensor([0])
    assert RULE.decide(anomaly_scores(model, adaptive(model, RULE, x, y, 0.29))).item() in (-1, 0)
    for epsilon in (0.4, 0.5):
        # Without a look at the thresholds the other pixels stay where the start put them.
        assert RULE.decide(anomaly_scores(model, pgd(model, x, y, epsilon))).tolist() == [-1]
        assert RULE.decide(anomaly_scores(model, adaptive(model, RULE, x, y, epsilon))).item() in (1, 2)
    never = Rejection(Threshold(torch.full((3,), 2.7), torch.full((3,), 1.0)), RULE.reconstruction)  # < 1.5 log 2π
    torch.testing.assert_close(adaptive(model, never, x, y, 0.5), pgd(model, x, y, 0.5))


@pytest.mark.parametrize("kind", [M2, GMVAE])
@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_what_gets_through_without_a_look_at_the_thresholds_gets_through_with_it(kind, epsilon):
    data = tiny.arrays(num_validation=30)
    prior = StandardNormal(3) if kind is M2 else SeparatedMeans(3, distance=2.0)
    model = kind(data.image_shape, data.num_classes, prior=prior, networks=MLP((6,))).double()
    x, y = data.preprocess(data.test_images), data.test_labels
    rule = fit_rejection(model, data, quantile=0.6)
    wrong = {}
    for name, attack in attacks(model, rule, x, y, num_steps=10, seed=3).items():
        decisions = rule.decide(anomaly_scores(model, attack(epsilon)))
        wrong[name] = (decisions != y) & (decisions != -1)
    assert not (wrong["PGD"] & ~wrong["adaptive"]).any()
    assert wrong["adaptive"].sum() > wrong["PGD"].sum()


def test_the_obstacle_is_margin_and_excesses_and_its_gradient_a_finite_difference():
    data = tiny.arrays(num_validation=30)
    model = tiny.m2().double().eval()
    rule = fit_rejection(model, data, quantile=0.3)
    x = 0.1 + 0.8 * data.preprocess(data.test_images)[:4]
    target = torch.arange(4) % data.num_classes
    latent, reconstruction = measures(model, x, target)
    log_q = model.classify(x).logits
    others = torch.stack([torch.cat([row[:k], row[k + 1 :]]).max() for row, k in zip(log_q, target, strict=True)])
    of_each = torch.stack(
        [
            others - log_q[torch.arange(4), target],
            rule.latent.excess(latent, target),
            rule.reconstruction.excess(reconstruction, target),
        ]
    )
    assert (of_each > 0.01).any()
    by_hand = (of_each + 1e-3).clamp(min=0).sum(0)
    torch.testing.assert_close(attack_loss(model, rule, x, target), by_hand)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda x: attack_loss(model, rule, x, target), x.requires_grad_())


def test_a_class_with_one_validation_image_leaves_a_gradient_to_follow():
    one = Threshold(torch.tensor([2.0]), torch.tensor([2.0]))
    values = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(one.excess(values, torch.tensor([0])).sum(), values)
    assert 0 < gradient.float().item() < math.inf
    assert one.excess(torch.tensor([1.9, 2.0, 2.1]), torch.zeros(3, dtype=torch.int64)).sign().tolist() == [-1, 0, 1]


# Reclassification


def test_through_the_decoder_an_image_finds_its_nearest_component():
    rule = Rejection(Threshold(torch.full((3,), 4.0), torch.zeros(3)), RULE.reconstruction)
    x = _of([2.5, 0.2, 0.0], [0.0, 0.3, 3.2], [9.0, 9.0, 9.0])
    x[:, 0, 4, 4] = 0.3  # what no z explains
    assert reclassify(_Linear(), rule, x, num_steps=300).tolist() == [0, 2, -1]
    assert reclassify(_Linear(), rule, x[:0]).tolist() == []


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order():
    ordinary, anomalous = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0])
    # 2 is above 1, level with 2 and below 3; 4 is above all.
    assert auroc(ordinary, anomalous) == pytest.approx((1 + 0.5 + 3) / 6)


def test_the_command_prints_shares_that_sum_to_one_and_draws_the_curves(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    model = M2((1, 8, 8), 10, prior=StandardNormal(2), networks=MLP((6,)))
    fit(model, Digits(20, num_validation=50, num_test=40), Recipe(max_steps=4), folder=str(folder), baselines=False)
    shutil.rmtree(folder / "figures")  # as while it is trained
    capsys.readouterr()
    words = [str(folder), "--epsilons", "[0, 0.2]", "--num_steps", "3", "--other", "Digits"]
    clock = SimpleNamespace(perf_counter=iter([100.0, 137.4]).__next__)
    monkeypatch.setattr("ssvae.inference.command_line.commands.time", clock)
    assert run_command("attack", words) == 0
    printed = capsys.readouterr().out
    rows = [line.split("|") for line in printed.splitlines() if line.startswith(("| FGSM", "| PGD", "| adaptive"))]
    assert len(rows) == 6
    for row in rows:
        assert sum(float(cell.strip().rstrip("%")) for cell in row[3:6]) == pytest.approx(100, abs=0.2)
    assert re.search(r"Digits: .* of 400 test images rejected, AUROC 0\.\d+", printed)
    assert printed.endswith(f"figures\n37 s; {hardware()}\n")
    assert (folder / "figures" / "attack_fgsm.png").stat().st_size > 1000
    assert (folder / "figures" / "attack_pgd.png").exists()
    assert (folder / "figures" / "attack_adaptive.png").exists()


def test_every_attack_is_measured_at_every_strength():
    data, model = tiny.arrays(num_validation=60), tiny.m2().double()
    rule = fit_rejection(model, data, quantile=0.9)
    chosen = torch.randperm(12, generator=torch.Generator().manual_seed(2))[:9]  # sets may be sorted by class
    x, y = data.preprocess(data.test_images[chosen]), data.test_labels[chosen]
    options = {"num_steps": 4, "seed": 2}
    results = list(run_attacks(model, data, rule, epsilons=[0.0, 0.1], num_images=9, **options))
    by_hand = attacks(model, rule, x, y, **options)
    assert [result.attack for result in results] == list(by_hand) == ["FGSM", "PGD", "adaptive"]
    for result in results:
        assert (result.num_images, result.epsilons) == (9, (0.0, 0.1))
        assert result.outcomes == tuple(
            measure(model, rule, x, by_hand[result.attack](epsilon), y) for epsilon in result.epsilons
        )
    accuracy = (model.classify(x).logits.argmax(-1) == y).double().mean().item()
    assert results[0].outcomes[0].undefended == pytest.approx(accuracy)


def test_the_table_and_the_curves_of_an_attack_have_its_numbers():
    first = Attacked(Outcome(0.5, 0.25, 0.25), Outcome(0.75, 0.25, 0.0), 0.625, 0.5)
    second = Attacked(Outcome(0.125, 0.75, 0.125), Outcome(0.125, 0.875, 0.0), 0.25, 0.875)
    result = AttackResult("PGD", 8, (0.0, 0.1), (first, second))
    assert result.rows() == [
        "| PGD | 0 | 50.0% | 25.0% | 25.0% | 75.0% right, 25.0% wrong | 62.5% | 0.500 |",
        "| PGD | 0.1 | 12.5% | 75.0% | 12.5% | 12.5% right, 87.5% wrong | 25.0% | 0.875 |",
    ]
    (axes,) = result.draw().axes
    assert axes.get_title() == "PGD, 8 test images"
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == result.curves()
    assert drawn == {
        "accuracy": [0.5, 0.125],
        "error": [0.25, 0.75],
        "rejected": [0.25, 0.125],
        "accuracy without rejection": [0.625, 0.25],
    }


def test_images_of_another_set_are_rejected_where_their_score_is_positive():
    data, other = tiny.arrays(num_validation=60), tiny.arrays(seed=3)
    model = tiny.m2().double()
    rule = fit_rejection(model, data, quantile=0.5)
    found = reject_other(model, data, rule, other, num_images=7, seed=2)
    chosen = torch.randperm(12, generator=torch.Generator().manual_seed(2))[:7]
    own, scores = (
        rule.score(anomaly_scores(model, data.preprocess(images[chosen])))
        for images in (data.test_images, other.test_images)
    )
    assert found.num_images == 7
    assert found.rejected == pytest.approx(sum(score > 0 for score in scores.tolist()) / 7)
    pairs = [float(a > b) + 0.5 * float(a == b) for a in scores for b in own]
    assert found.auroc == pytest.approx(sum(pairs) / 49)


def _attacked(attack, epsilon, **options):
    data = tiny.arrays()
    return attack(tiny.m2().double(), data.preprocess(data.test_images), data.test_labels, epsilon, **options)


def _all_attacks(**options):
    return run_attacks(tiny.m2(), tiny.arrays(), RULE, **options)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fit_rejection(tiny.m2(), tiny.arrays(), quantile=1.0), "quantile: expected a number between 0 and 1"),
        (
            lambda: fit_rejection(tiny.m2(), tiny.arrays(num_validation=0)),
            "data: expected validation images, by which the thresholds are set; got none",
        ),
        (lambda: _attacked(fgsm, 1.5), r"epsilon: expected a change of pixels in \[0, 1\]; got 1.5"),
        (lambda: _attacked(pgd, float("nan")), r"epsilon: expected a change of pixels in \[0, 1\]; got nan"),
        (lambda: _attacked(pgd, 0.1, num_steps=0), "num_steps: expected at least 1; got 0"),
        (lambda: _all_attacks(num_images=0), "num_images: expected at least 1; got 0"),
        (lambda: _all_attacks(epsilons=(0.1, 2.0)), r"epsilon: expected a change of pixels in \[0, 1\]; got 2.0"),
        (lambda: _all_attacks(num_steps=0), "num_steps: expected at least 1; got 0"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
