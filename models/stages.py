"""What models add that learn otherwise than by gradients alone: in stages, or by a look at all training images."""

from abc import abstractmethod

from torch import Tensor


class Staged:
    """A model that is trained in stages: ``class Yours(Staged, SemiSupervisedModel)``.

    What follows from the stage has to depend on `advance`'s progress and on buffers alone, so that a run can be resumed
    in any of them.

    Attributes:
        current_stage: Which stage training is in. It has to change where another one begins: what a step does, and what
            it trains, depends on it.
    """

    current_stage: int = 0

    @abstractmethod
    def advance(self, progress: float) -> None:
        """Enter the stage of a share of the training steps that are done, in [0, 1]; called before each step."""

    @property
    def last_stage_from(self) -> float:
        """The share of training at which the last stage begins; before it, training is not stopped early."""
        return 0.0

    @property
    def is_consistent(self) -> bool:
        """Whether posterior consistency takes part in this stage, if the recipe has it."""
        return True

    def consistency_targets(self, x: Tensor) -> Tensor | None:
        """Return what stands in for log q(y | x) in the targets of posterior consistency, (batch, classes).

        None, as a rule: then it is q(y | x) itself, or a teacher's. Called without gradients.

        Args:
            x: Unlabelled images, as the model sees them.
        """
        return None


class Refits:
    """A model that learns from all training images what gradients do not: ``class Yours(Refits, …)``."""

    @property
    @abstractmethod
    def num_refit_images(self) -> int:
        """How many unlabelled images `refit` is shown."""

    @abstractmethod
    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Learn from the training images what gradients do not, and keep it in buffers.

        Called without gradients and in evaluation mode whenever the model is about to be validated and saved.

        Args:
            x: The labelled images, pixels in [0, 1].
            y: Their classes.
            unlabelled: `num_refit_images` of the unlabelled images, or all if there are fewer; always the same ones.
        """
