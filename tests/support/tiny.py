"""What the tests of training, runs and commands share: a model and data so small that an epoch takes milliseconds."""

import pytest
import torch

from ssvae.data import Arrays, Augmentation
from ssvae.inference import Consistency, KLWeight, Objective, Recipe, TrainerOptions
from ssvae.inference.training import train
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal


def arrays(seed=0, num_labels=6, num_validation=20, num_test=12, num_train=40, **options):
    """Three classes of 1×8×8 images that differ by where they are bright; labels for a few of them."""
    generator = torch.Generator().manual_seed(seed)

    def draw(number):
        y = torch.arange(number) % 3
        images = torch.randint(0, 120, (number, 1, 8, 8), generator=generator)
        images[torch.arange(number), 0, 2 * y] += 90
        return images.to(torch.uint8), y

    images, labels = draw(num_train)
    validation, test = draw(num_validation), draw(num_test)
    return Arrays(
        images,
        labels,
        validation_images=validation[0],
        validation_labels=validation[1],
        test_images=test[0],
        test_labels=test[1],
        num_labels=num_labels,
        **options,
    )


def m2(seed=0, prior=None, **mlp):
    """M2 for `arrays`, its weights decided by the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return M2((1, 8, 8), 3, prior=prior or StandardNormal(3), networks=MLP((7,), **mlp))


def recipe(**options):
    """A recipe in batches of ten, two or three steps to an epoch."""
    return Recipe(**{"batch_size": 10, "max_epochs": 3, "learning_rate": 1e-2, **options})


def everything(precision="32-true", **options):
    """A recipe that uses all that has a state: schedules, augmentation, consistency, the learning rate's cycle."""
    return recipe(
        objective=Objective(
            alpha=1, kl_weight=KLWeight(3, 1, 0.8), consistency=Consistency(2.0, aligned=True, teacher_decay=0.5)
        ),
        augmentation=Augmentation(cutout=0.5, brightness=0.2, contrast=0.4),
        one_cycle=True,
        trainer=TrainerOptions(precision=precision, progress_bar=False),
        **options,
    )


def at(model, *shares):
    """Let a model take stock of the same 12 labelled and 30 other images at shares of training, in training mode.

    It stands before the step that follows on the last of them.
    """
    torch.manual_seed(5)
    x = (torch.rand(42, *model.event_shape) > 0.5).to(torch.get_default_dtype())
    y = torch.arange(12) % model.num_classes
    for share in shares:
        model.advance(share)
        model.eval()
        with torch.no_grad():
            model.refit(x[:12], y, x[12:])
        model.train()
        model.advance(share)
    return model


def assert_same_tensors(first, second):
    """Compare two state dictionaries bit for bit."""
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def assert_resumed_in_any_stage(make, recipe, fits_after, tmp_path, monkeypatch):
    """Check that a run stopped after so many epochs, when `fits` was so many, ends as a whole one; return its rows."""
    data, whole = arrays(), make()
    go_on = type(whole).advance
    rows = train(whole, data, recipe, None)
    for epochs, fits in fits_after.items():
        folder = tmp_path / str(epochs)

        def advance(model, progress, last=epochs / recipe.max_epochs):
            if progress > last + 1e-6:
                raise KeyboardInterrupt
            go_on(model, progress)

        stopping = make()
        monkeypatch.setattr(type(whole), "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            train(stopping, data, recipe, folder)
        monkeypatch.undo()
        assert int(stopping.num_fits) == fits
        resumed = make()
        train(resumed, data, recipe, folder)
        assert_same_tensors(resumed.state_dict(), whole.state_dict())
    return rows
