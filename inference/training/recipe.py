"""How a model is trained: everything that decides it, beside the model and the data."""

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

import torch

from ssvae.data import Augmentation, Batches
from ssvae.data.labels import check_count
from ssvae.inference.objective.objective import Objective


@dataclass(frozen=True)
class TrainerOptions:
    """What Lightning's Trainer is given.

    Attributes:
        accelerator: "auto", "cpu", "gpu", "mps", …
        devices: How many processes train together on each machine, or "auto" for one on each accelerator. Each takes
            an equal share of every batch.
        num_nodes: How many machines, each with as many devices; torchrun starts the processes.
        strategy: "auto", "ddp", "fsdp", …
        precision: "32-true", or "bf16-mixed": bfloat16 inside the networks, densities in float32; "auto" becomes
            the one that multiplies matrices faster on this machine.
        gradient_clip: The largest norm of the gradient; None for no clipping.
        step: "eager", or how a step's loss and gradient are worked out once and then repeated without Python:
            "cuda_graph" sends a GPU all kernels at once, "compiled" makes fewer of them too, also on a processor, and
            takes most of a minute to begin with. For one process, a model that is trained in one stage, and images in
            memory.
        progress_bar: Whether to draw one.
        logger: Where the epochs' numbers go beside metrics.csv and TensorBoard's events: "mlflow", to the store of the
            environment variable MLFLOW_TRACKING_URI or, without it, to mlflow.db in the run folder; "wandb", to Weights
            and Biases as `wandb login` or WANDB_MODE=offline say; or None.

    Raises:
        ValueError: If the gradient clip is not positive, or the precision, the step or the logger is none of these.
    """

    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "auto"] = "32-true"
    gradient_clip: float | None = None
    step: Literal["eager", "cuda_graph", "compiled"] = "eager"
    progress_bar: bool = True
    logger: Literal["mlflow", "wandb"] | None = None

    def __post_init__(self) -> None:
        if self.precision not in ("32-true", "bf16-mixed", "auto"):
            raise ValueError(f"trainer.precision: expected '32-true', 'bf16-mixed' or 'auto'; got {self.precision!r}.")
        if self.precision == "auto":
            # Decided at once, so that a run's config.yaml says which it was.
            object.__setattr__(self, "precision", _faster_precision(self.accelerator))
        if self.step not in ("eager", "cuda_graph", "compiled"):
            raise ValueError(f"trainer.step: expected 'eager', 'cuda_graph' or 'compiled'; got {self.step!r}.")
        if self.logger not in ("mlflow", "wandb", None):
            raise ValueError(f"trainer.logger: expected 'mlflow', 'wandb' or None; got {self.logger!r}.")
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            raise ValueError(f"trainer.gradient_clip: expected a positive number or None; got {self.gradient_clip}.")


def _faster_precision(accelerator: str) -> str:
    """Return "bf16-mixed" where the hardware multiplies in bfloat16, "32-true" where it would be emulated, slower."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu.get_capabilities()
        fast = accelerator in ("auto", "cpu") and any(cpu.get(name) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    return "bf16-mixed" if fast else "32-true"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model is trained, beside the model and the data.

    Attributes:
        objective: J and its options.
        augmentation: How labelled images, and the x' of consistency, are shifted, turned and scaled; or None.
        max_epochs: Passes over the unlabelled images, at most; None for no limit but max_steps.
        max_steps: Optimiser steps, at most, rounded up to whole epochs (of data so large that an epoch has more than
            1000 steps, to one of its equal parts); None for no limit but max_epochs. A budget in steps suits small
            and large data sets alike.
        batch_size: Unlabelled images in a step, over all processes.
        labelled_batch_size: Labelled images in a step, over all processes; None for all, at most 100.
        learning_rate: Adam's, or the highest one of the cycle.
        one_cycle: Whether the learning rate rises and falls over training (Smith and Topin 2017, arXiv
            1708.07120) rather than staying constant.
        cycles: How many times it does so, in equal parts of training: for a model in stages, of which each is to end
            with small steps (Loshchilov and Hutter 2017, arXiv 1608.03983).
        early_stopping: Stop after so many epochs in which the validation accuracy did not rise, of a model trained in
            stages in the last of them; None for never.
        seed: Of the batches, the binarisation, the augmentation, the samples of z.
        trainer: Device, precision, gradient clipping.

    Raises:
        TypeError: If a number is not of its type.
        ValueError: If a number is not positive, there is no limit to training, a constant learning rate has cycles, or
            consistency has no augmentation.
    """

    objective: Objective = field(default_factory=Objective)
    augmentation: Augmentation | None = None
    max_epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 200
    labelled_batch_size: int | None = None
    learning_rate: float = 3e-4
    one_cycle: bool = False
    cycles: int = 1
    early_stopping: int | None = None
    seed: int = 0
    trainer: TrainerOptions = field(default_factory=TrainerOptions)

    def epochs(self, batches: Batches) -> int:
        """Return how many whole epochs, or equal parts of them, the two limits allow."""
        limits = [self.max_epochs * batches.num_parts] if self.max_epochs is not None else []
        if self.max_steps is not None:
            limits.append(-(-self.max_steps // len(batches)))
        return min(limits)

    def __post_init__(self) -> None:
        for name in ("max_epochs", "max_steps", "batch_size", "labelled_batch_size", "cycles", "early_stopping"):
            value = getattr(self, name)
            if value is not None or name in ("batch_size", "cycles"):
                object.__setattr__(self, name, _positive(name, value, int))
        object.__setattr__(self, "learning_rate", _positive("learning_rate", self.learning_rate, float))
        check_count("seed", self.seed)
        if self.max_epochs is None and self.max_steps is None:
            raise ValueError("max_epochs: expected a number of epochs, or max_steps a number of steps; got neither.")
        if self.cycles > 1 and not self.one_cycle:
            raise ValueError(f"cycles: expected 1 for a learning rate that stays constant; got {self.cycles}.")
        if self.objective.consistency is not None and self.augmentation is None:
            raise ValueError(
                "augmentation: expected one, since consistency compares q(y|x) with q(y|x') for a transformed x'; "
                "got None."
            )


def _positive(name: str, value: Any, kind: type[int] | type[float]) -> int | float:  # noqa: ANN401
    """Return a number as Python's own: config.yaml has no words for NumPy's."""
    of_kind: Any = Integral if kind is int else Real
    if not isinstance(value, of_kind) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {'an integer' if kind is int else 'a number'}; got {value!r}.")
    if not 0 < value < math.inf:  # written so that NaN is refused too
        raise ValueError(f"{name}: expected a positive number; got {value}.")
    return int(value) if kind is int else float(value)
