"""What the benchmark of photos calls the same mathematics by hand is the same."""

import torch

from benchmarks.photos import PhotosByHand
from benchmarks.steps import unlabelled
from ssvae.inference.objective import Objective, Sizes
from ssvae.models import M2
from ssvae.models.networks import Convolutional


def test_a_step_on_photos_by_hand_has_the_loss_and_the_gradients_of_ours():
    model, x = M2((3, 9, 8), 10, networks=Convolutional(channels=(4, 5), hidden=7)), torch.rand(4, 3, 9, 8)
    by_hand = PhotosByHand(model)
    torch.manual_seed(1)
    expected = by_hand.loss(x)
    torch.manual_seed(1)
    loss, _ = Objective()(model, unlabelled(x), Sizes(0, len(x)))
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    loss.backward()
    expected.backward()
    for (name, ours), theirs in zip(model.named_parameters(), by_hand.model.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12, msg=name)
