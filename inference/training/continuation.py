"""Further training of a trained model after its data have changed, some steps at a time."""

from collections.abc import Iterator

import pyro
import torch

from ssvae.data import Data
from ssvae.data.batches import Batch
from ssvae.inference.predict import device_of, seeded
from ssvae.inference.training.module import Training, epoch_seed
from ssvae.inference.training.recipe import Recipe
from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Staged


class Continuation:
    """Further training of a trained model: a given number of steps of the objective of its recipe.

    Every step minimises J / N on a labelled and an unlabelled batch, as `ssvae.inference.training.training.train` does,
    with all schedules at their end: the KL weight is that of the last steps, and a model that is trained in stages is
    in its last one. Adam starts anew. Its learning rate falls linearly from that of the recipe to 0. Weights change in
    place; nothing is written.

    Args:
        model: The trained model.
        data: The data set, preprocessed as in the training.
        recipe: The recipe of the training. Of its trainer's options, none applies.
        num_steps: The number of steps.

    Raises:
        ValueError: If the recipe has a mean teacher, whose student the trained model does not keep.
    """

    def __init__(self, model: SemiSupervisedModel, data: Data, recipe: Recipe, num_steps: int) -> None:
        if recipe.objective.teacher_decay is not None:
            raise ValueError("recipe: expected one without a mean teacher; got consistency with teacher_decay.")
        self.num_steps = num_steps
        self.num_done = 0
        self._model = model
        self._recipe = recipe
        self._training = Training(model, data, recipe, folder=None, print_lines=False).to(device_of(model))
        self._training.on_fit_start()
        self._optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
        self._batches = self._endless_batches()

    @property
    def num_left(self) -> int:
        """The number of steps that are left."""
        return self.num_steps - self.num_done

    def advance(self, num_steps: int) -> float:
        """Train some steps, at most as many as are left.

        The random state of torch is that of the recipe's seed and the number of steps done, and is restored at the end.

        Args:
            num_steps: The number of steps, positive.

        Returns:
            The mean of J / N over these steps, in nats per observation; NaN if no step was left.

        Raises:
            FloatingPointError: If J / N is no longer finite. The model then has the weights of the step before.
        """
        number = min(num_steps, self.num_left)
        if isinstance(self._model, Staged):
            self._model.advance(1.0)
        is_training = self._model.training
        self._model.train()
        total = torch.zeros(())
        try:
            # Validation would double the time; the model has been trained on such data.
            with seeded(epoch_seed(self._recipe.seed, self.num_done)), pyro.validation_enabled(False):
                for _ in range(number):
                    total = total + self._step()
        finally:
            self._model.train(is_training)
        if not self.num_left:
            self._training.refit()
        return float(total) / number if number else float("nan")

    def _step(self) -> torch.Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * self.num_left / self.num_steps
        training = self._training
        observations = training.observations(next(self._batches))
        loss, _ = self._recipe.objective(self._model, observations, training.sizes, 1.0, training.alignment)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss: expected finite numbers; got {loss.item()} at step {self.num_done + 1}.")
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.num_done += 1
        return loss.detach().cpu()

    def _endless_batches(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            self._training.batches.set_epoch(epoch)
            yield from self._training.batches
            epoch += 1
