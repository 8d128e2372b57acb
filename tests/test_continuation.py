"""Further training: its steps are those of the objective, at the end of all schedules, and nothing else changes."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from support import exploring, tiny

from ssvae.data import Augmentation
from ssvae.inference import Consistency, KLWeight, Objective, Recipe
from ssvae.inference.objective.objective import Observations, Sizes
from ssvae.inference.predict import seeded
from ssvae.inference.training import Continuation
from ssvae.inference.training.module import batches_of, epoch_seed


@pytest.fixture
def run():
    run = exploring.on_moons()
    run.recipe = Recipe(
        objective=Objective(alpha=1, kl_weight=KLWeight(0.1, 0.7, 1.0)),
        max_steps=100,
        batch_size=60,
        learning_rate=3e-3,
    )
    return run


def test_steps_are_those_of_the_objective_at_the_end_of_its_schedules(run):
    data, recipe, by_hand = run.data, run.recipe, copy.deepcopy(run.model)
    found = Continuation(run.model, data, recipe, 5).advance(5)
    constant = replace(recipe.objective, kl_weight=KLWeight(0.7, 0.7, 1.0))
    adam = torch.optim.Adam(by_hand.parameters())
    batches, losses = batches_of(data, recipe, 1), []
    with seeded(epoch_seed(recipe.seed, 0)):
        for step in range(5):
            batches.set_epoch(step // 3)  # three batches of 60 are in 194 unlabelled points
            batch = list(batches)[step % 3]
            labelled, unlabelled = (
                data.preprocess(data.train_x[index]) for index in (batch.labelled, batch.unlabelled)
            )
            observations = Observations(labelled, data.train_labels[batch.labelled], unlabelled)
            loss, _ = constant(by_hand, observations, Sizes(6, 194), 0.3)
            adam.param_groups[0]["lr"] = recipe.learning_rate * (5 - step) / 5
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
    assert found == pytest.approx(sum(losses) / 5)
    for ours, theirs in zip(run.model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_steps_end_and_leave_the_mode_and_the_random_state(run):
    run.model.eval()
    before = torch.get_rng_state()
    continuation = Continuation(run.model, run.data, run.recipe, 5)
    continuation.advance(3)
    assert continuation.num_left == 2
    continuation.advance(3)
    assert (continuation.num_done, continuation.num_left) == (5, 0)
    weights = copy.deepcopy(run.model.state_dict())
    assert math.isnan(continuation.advance(3))
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())
    assert not run.model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mean_teacher_is_refused():
    recipe = tiny.recipe(
        objective=Objective(consistency=Consistency(2.0, teacher_decay=0.5)), augmentation=Augmentation()
    )
    with pytest.raises(ValueError, match=r"^recipe: expected one without a mean teacher; got consistency with teacher"):
        Continuation(tiny.m2(), tiny.arrays(), recipe, 5)


def test_an_objective_that_is_not_finite_stops_at_once(run):
    with torch.no_grad():
        run.model.decoder.perceptron.first.linear.weight.fill_(torch.nan)
    continuation = Continuation(run.model, run.data, run.recipe, 5)
    with pytest.raises(FloatingPointError, match=r"^loss: expected finite numbers; got nan at step 1\.$"):
        continuation.advance(5)
    assert continuation.num_done == 0
