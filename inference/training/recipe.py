"""Recipes: all settings of training, apart from the model and the data."""

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
    """Settings of Lightning's Trainer: device, precision, gradient clipping.

    Attributes:
        accelerator: "auto", "cpu", "gpu", "mps", …
        devices: The number of processes on each machine, or "auto" for one on each accelerator. Each process gets an
            equal share of every batch.
        num_nodes: The number of machines, each with the same number of devices; start them with torchrun.
        strategy: "auto", "ddp", "fsdp", …
        precision: "32-true"; "bf16-mixed" for bfloat16 inside the networks and float32 for densities; "auto" for the
            faster of the two on this machine.
        gradient_clip: The largest norm of the gradient; None for no clipping.
        step: "eager" runs each step in Python. "cuda_graph" records a step on the GPU once and replays it. "compiled"
            also fuses kernels, and works on a CPU too; it needs torch 2.13, and a minute of compilation per stage. Both
            need a single process and images in memory.
        progress_bar: Whether to show a progress bar or, where none can be drawn, a line for each twentieth of training.
            The commands say how long training takes in either case: after the bar, or in a line every 30 seconds.
        logger: A logger besides metrics.csv and TensorBoard: "mlflow" logs to the store in the environment variable
            MLFLOW_TRACKING_URI, or else to mlflow.db in the run folder; "wandb" logs to Weights & Biases, as configured
            by ``wandb login`` or WANDB_MODE=offline. None for no other logger.

    Raises:
        ValueError: If the gradient clip is not positive, or the precision, the step or the logger is not one of these.
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
            # Decided here, so that config.yaml of a run contains the precision that was used.
            object.__setattr__(self, "precision", _faster_precision(self.accelerator))
        if self.step not in ("eager", "cuda_graph", "compiled"):
            raise ValueError(f"trainer.step: expected 'eager', 'cuda_graph' or 'compiled'; got {self.step!r}.")
        if self.logger not in ("mlflow", "wandb", None):
            raise ValueError(f"trainer.logger: expected 'mlflow', 'wandb' or None; got {self.logger!r}.")
        if self.gradient_clip is not None and not 0 < self.gradient_clip < math.inf:
            raise ValueError(f"trainer.gradient_clip: expected a positive number or None; got {self.gradient_clip}.")


def _faster_precision(accelerator: str) -> str:
    """Return "bf16-mixed" if the hardware supports bfloat16, else "32-true", since emulation is slower."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older versions of torch, such as 2.6, cannot say: float32 then.
        cpu: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = accelerator in ("auto", "cpu") and any(cpu.get(name) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    return "bf16-mixed" if fast else "32-true"


@dataclass(frozen=True)
class Recipe:
    """All settings of training, apart from the model and the data.

    Attributes:
        objective: The objective J and its options.
        augmentation: Random shifts, rotations and scalings of labelled images and of x' for consistency; or None.
        max_epochs: The largest number of passes over the unlabelled images; None if only max_steps limits training.
        max_steps: The largest number of optimiser steps, rounded up to whole epochs. If an epoch has more than 1000
            steps, rounded up to one of its equal parts. None if only max_epochs limits training. A limit in steps suits
            small and large data sets alike.
        batch_size: The number of unlabelled images in a step, over all processes.
        labelled_batch_size: The number of labelled images in a step, over all processes; None for all, at most 100.
        learning_rate: The learning rate of Adam; with one_cycle, the highest one.
        one_cycle: Whether the learning rate rises and falls over training (Smith and Topin 2017, arXiv 1708.07120)
            instead of staying constant.
        cycles: The number of such cycles, in equal parts of training. For a model that is trained in stages, so that
            each stage ends with a small learning rate (Loshchilov and Hutter 2017, arXiv 1608.03983).
        early_stopping: Stop after this number of epochs without a rise of the validation accuracy; for a model that is
            trained in stages, in the last stage. None to never stop early.
        seed: Random seed for batches, binarisation, augmentation and latent samples.
        hidden_fraction: The share of the entries of x that each step hides at random, anew for each x, so that a model
            trained on complete images can fill in missing pixels. Its likelihood is `MissingEntries`. 0 hides none.
        trainer: Device, precision, gradient clipping.

    Raises:
        TypeError: If a number is not of its type.
        ValueError: If a number is not positive, the hidden fraction is not in [0, 1), training has no limit, a constant
            learning rate has cycles, or consistency has no augmentation.

    Example:
        >>> from ssvae.inference import Consistency, Objective, Recipe
        >>> from ssvae.data import Augmentation
        >>> recipe = Recipe(
        ...     objective=Objective(consistency=Consistency(weight=1.0)),
        ...     augmentation=Augmentation(),
        ...     max_steps=1000,
        ... )
        >>> recipe.batch_size, recipe.learning_rate
        (200, 0.0003)
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
    hidden_fraction: float = 0.0
    trainer: TrainerOptions = field(default_factory=TrainerOptions)

    def epochs(self, batches: Batches) -> int:
        """Return the number of epochs, or of equal parts of them, that both limits allow."""
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
        if not 0 <= self.hidden_fraction < 1:
            raise ValueError(f"hidden_fraction: expected a number in [0, 1); got {self.hidden_fraction}.")
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
    """Return a positive number as a Python number, since config.yaml cannot represent NumPy's."""
    abstract_kind: Any = Integral if kind is int else Real
    if not isinstance(value, abstract_kind) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {'an integer' if kind is int else 'a number'}; got {value!r}.")
    if not 0 < value < math.inf:  # written so that NaN is refused too
        raise ValueError(f"{name}: expected a positive number; got {value}.")
    return int(value) if kind is int else float(value)
