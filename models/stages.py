"""Interfaces of models that are trained in stages, or that are refitted to all training images without gradients."""

from abc import abstractmethod

from torch import Tensor


class Staged:
    """A model that is trained in stages: ``class YourModel(Staged, SemiSupervisedModel)``.

    The stage must depend on the progress given to ``advance`` and on buffers alone, so that a run can be resumed in any
    stage.

    Attributes:
        current_stage: The number of the stage. It must change when another stage begins: a captured training step is
            kept for as long as the stage stays the same.
    """

    current_stage: int = 0

    @abstractmethod
    def advance(self, progress: float) -> None:
        """Enter the stage that belongs to the progress of training. Training calls this before each step.

        Args:
            progress: The share of training steps that are done, in [0, 1].
        """

    @property
    def last_stage_from(self) -> float:
        """The share of training at which the last stage begins. Early stopping does not stop training before it."""
        return 0.0

    @property
    def is_consistent(self) -> bool:
        """Whether the loss of this stage includes posterior consistency, if the recipe has it."""
        return True

    def consistency_targets(self, x: Tensor) -> Tensor | None:
        """Return log-probabilities that replace log q(y | x) in the targets of posterior consistency.

        Called without gradients.

        Args:
            x: Unlabelled images or vectors, ``(batch, *event_shape)``, as training gives them to the model.

        Returns:
            (batch, classes), or None (the default) to keep q(y | x) itself, or that of a mean teacher.
        """
        return None


class Refits:
    """A model with a part that is refitted to all training images: ``class YourModel(Refits, SemiSupervisedModel)``."""

    @property
    @abstractmethod
    def num_refit_images(self) -> int:
        """The number of unlabelled images that ``refit`` receives."""

    @abstractmethod
    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Refit to the training images what is not learned by gradients, and store it in buffers.

        Called without gradients and in evaluation mode, whenever the model is about to be validated and saved.

        Args:
            x: The labelled images or vectors, ``(labelled, *event_shape)``.
            y: Their classes (labelled,).
            unlabelled: ``num_refit_images`` of the unlabelled images, or all if there are fewer; the same ones at each
                call.
        """
