"""What the tests of captured steps share, on a processor and on a GPU."""

from dataclasses import replace

import pyro
import pytest
import torch
from test_models import CLASSES
from torch._inductor import config

from ssvae.data import hide
from ssvae.inference import KLWeight, Objective
from ssvae.inference.objective import Consistency, Observations, Sizes
from ssvae.inference.objective.alignment import Alignment
from ssvae.inference.training import train
from ssvae.inference.training.captured_step import CapturedStep
from ssvae.inference.training.module import Training
from ssvae.models import M1M2
from ssvae.models.feature_classifiers import LabelSpreading
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal
from support import tiny

SIZES = Sizes(num_labelled=6, num_unlabelled=60)
OBJECTIVE = Objective(
    alpha=0.3,
    kl_weight=KLWeight(3, 1, 0.5),
    consistency=Consistency(2.0, temperature=0.5, aligned=True),
    free_bits=0.1,
)


def in_stages(kind):
    """A small model in stages, its weights decided by a seed, for the images of `tiny`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"prior": StandardNormal(3), "networks": MLP((7,), batch_norm=True)}
        if kind is M1M2:
            return M1M2((1, 8, 8), 3, z1_dim=4, m1_until=0.3, m2_until=0.6, **options)
        spreading = LabelSpreading(num_neighbours=3, num_unlabelled=20, balanced=True)
        return kind((1, 8, 8), 3, feature_classifier=spreading, feature_dim=4, fitted_at=(0.3, 0.6), **options)


def seen(model, device):
    """A step's images of zeros and ones, always the same, a third of their entries missing if the model admits it."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(20, *model.event_shape, generator=generator, dtype=torch.get_default_dtype()).round()
    if model.likelihood.admits_missing:
        images = hide(images, 1 / 3, generator)
    images = images.to(device)
    y = (torch.arange(6) % CLASSES).to(device)
    return Observations(images[:6], y, images[6:13], images[13:])


def assert_is_the_step(make, device, objective, compiled):
    """Compare losses, terms, gradients and buffers after three steps with those of three steps as they are.

    The rows change places from step to step, and with them the missing entries.
    """
    torch.manual_seed(0)
    model = make().to(device)
    alignment = Alignment(model)
    images = seen(model, device)
    given = images.labelled, images.y, images.unlabelled, images.transformed

    def step(labelled, y, unlabelled, transformed, progress):
        return objective(model, Observations(labelled, y, unlabelled, transformed), SIZES, progress, alignment)

    buffers = [*model.buffers(), *alignment.buffers()]
    before = [buffer.clone() for buffer in buffers]

    def found(step, shares):
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        torch.manual_seed(4)
        losses = []
        for number, share in enumerate(shares):
            model.zero_grad()
            with pyro.validation_enabled(False):
                loss, terms = step(*(rows.roll(number, 0) for rows in given), torch.tensor(share))
            (2 * loss).backward()
            losses.append(torch.stack([loss.detach(), *terms.values()]))
        gradient = [p.grad for p in model.parameters() if p.grad is not None]
        return losses + gradient + [buffer.clone() for buffer in buffers]

    shares = (0.1, 0.3, 0.9)
    with config.patch(fallback_random=True):  # the same random numbers
        captured = CapturedStep(step, model.parameters(), buffers, compiled)
        theirs = found(captured, shares)
    for captured_value, value in zip(theirs, found(step, shares), strict=True):
        torch.testing.assert_close(captured_value, value, rtol=1e-6, atol=1e-6)


def trained(step, accelerator, folder=None, max_epochs=3, model=None, **mlp):
    """Train a model, or a small M2, with all that has a state; return it and its rows."""
    model = model if model is not None else tiny.m2(batch_norm=True, **mlp)
    recipe = tiny.everything(max_epochs=max_epochs)
    trainer = replace(recipe.trainer, accelerator=accelerator, step=step, gradient_clip=1.0)
    return model, train(model, tiny.arrays(binarise=True), replace(recipe, trainer=trainer), folder)


def stopped_and_resumed(step, accelerator, folder, monkeypatch, **options):
    """Train the same, stopped halfway and gone on with."""

    go_on = Training.training_step

    def stop(training, *batch):
        if training.global_step / training.total_steps > 0.5:
            raise KeyboardInterrupt
        return go_on(training, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(step, accelerator, folder, **options)
    return trained(step, accelerator, folder, **options)
