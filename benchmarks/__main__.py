"""`make benchmark`: one M2 training step, MNIST's shapes, 200 unlabelled images, MLP 500, 50 latent dimensions.

The times are medians of repeats. Repeats of all rows alternate, so that a slower machine slows all rows down alike.
Compare the ratios; milliseconds depend on the machine.
"""

import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.by_hand import StepByHand
from benchmarks.processes import peak_memory
from benchmarks.steps import compiled_step, optimiser_step, unlabelled
from ssvae.data import Arrays
from ssvae.inference.objective import Observations, Sizes
from ssvae.inference.training import Recipe, TrainerOptions, train
from ssvae.inference.training.memory import keep_freed_memory
from ssvae.inference.training.precision import set_compute_dtype
from ssvae.models import M2
from ssvae.models.likelihoods import Bernoulli

BATCH, SHAPE, CLASSES, HIDDEN, LATENT = 200, (1, 28, 28), 10, 500, 50
ROUNDS, STEPS = 15, 4
THREADS = 2


def main() -> None:
    """Measure and print the tables."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    keep_freed_memory()  # as in training; applies to all rows
    print(f"{os.cpu_count()} {platform.machine()} cores, {THREADS} threads; torch {torch.__version__}\n")
    print_steps()
    print_epoch()
    print(f"\nPeak memory of this process, over all tables above: {peak_memory():.0f} MiB")


def print_steps() -> None:
    """Print the time of a step in each precision: of this project, by hand, and the arithmetic limit."""
    x = torch.rand(BATCH, *SHAPE).round()
    steps: dict[str, Callable[[], None]] = {}
    precisions = {"float32": torch.float32}
    if TrainerOptions(accelerator="cpu", precision="auto").precision == "bf16-mixed":
        precisions["bfloat16"] = torch.bfloat16
    else:
        print("bfloat16 is left out: this processor emulates it, which is slow.\n")
    for name, product_dtype in precisions.items():
        dtype = None if name == "float32" else product_dtype
        steps[f"M2, {name}"] = our_step(x, dtype)
        steps[f"M2, compiled, {name}"] = our_step(x, dtype, compiled=True)
        by_hand = StepByHand(m2(), dtype)
        steps[f"by hand, {name}"] = lambda step=by_hand: step(x)  # type: ignore[misc]
    times = alternate(steps)
    products = multiply_adds(BATCH) / 1e9
    rates = {name: product_rate(dtype) for name, dtype in precisions.items()}
    print(f"{'one step':<24}{'ms':>8}{'/ by hand':>12}{'/ limit':>10}")
    for name, seconds in times.items():
        precision = name.rpartition(" ")[2]
        limit = products / rates[precision]
        by_hand_seconds = times[f"by hand, {precision}"]
        print(f"{name:<24}{seconds * 1e3:>8.1f}{seconds / by_hand_seconds:>12.2f}{seconds / limit:>10.2f}")
    for precision, rate in rates.items():
        limit = f"{products:.2f} G multiply-adds at {rate:.0f} G/s"
        print(f"{'limit, ' + precision:<24}{products / rate * 1e3:>8.1f}   {limit}")


def print_epoch() -> None:
    """Print the time of an epoch beside that of its steps: the rest is data, logging, checkpoints and Lightning."""
    generator = torch.Generator().manual_seed(0)
    num_images = 100 * BATCH + 100
    images = torch.randint(0, 256, (num_images, *SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.full((num_images,), -1)
    labels[:100] = torch.arange(100) % CLASSES
    test = {"test_images": images[:100], "test_labels": labels[:100]}
    data = Arrays(images, labels, **test, binarise=True)
    recipe = Recipe(batch_size=BATCH, max_epochs=4, trainer=TrainerOptions(progress_bar=True))
    model = m2()
    # The time includes the progress bar, which is drawn on stderr here.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        train(model, data, recipe, Path(folder), interactive=True)
        started = time.perf_counter()
        recipe_longer = Recipe(batch_size=BATCH, max_epochs=8, trainer=TrainerOptions(progress_bar=True))
        train(model, data, recipe_longer, Path(folder), interactive=True)
        epoch = (time.perf_counter() - started) / 4
    step = full_step(data)
    alone = statistics.median(timed(step) for _ in range(ROUNDS)) * 100
    print(f"\nAn epoch of 100 steps {epoch:.2f} s, its steps alone {alone:.2f} s: ratio {epoch / alone:.2f}")


def m2() -> M2:
    """Return the model of the benchmark, with the same weights in each call."""
    torch.manual_seed(0)
    return M2(SHAPE, CLASSES, likelihood=Bernoulli())


def our_step(x: torch.Tensor, dtype: torch.dtype | None, compiled: bool = False) -> Callable[[], None]:
    """Return a step of this project on unlabelled images, on the images' device."""
    model = m2().to(x.device)
    set_compute_dtype(model, dtype)
    return (compiled_step if compiled else optimiser_step)(model, unlabelled(x), Sizes(0, len(x)))


def full_step(data: Arrays) -> Callable[[], None]:
    """Return a step on labelled and unlabelled images that are already floats, as in an epoch but without the data."""
    pixels = data.observe(data.preprocess(data.train_images[: 100 + BATCH]))
    observations = Observations(pixels[:100], data.train_labels[:100], pixels[100:])
    return optimiser_step(m2(), observations, Sizes(data.num_labelled, data.num_unlabelled))


def timed(step: Callable[[], None], repeats: int = STEPS) -> float:
    """Return the mean seconds of a step, over a few successive steps."""
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - started) / repeats


def alternate(
    steps: dict[str, Callable[[], None]],
    timed: Callable[[Callable[[], None]], float] = timed,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """Return the median time of each step, over rounds in which the steps alternate."""
    for step in steps.values():
        timed(step)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(timed(step))
    return {name: statistics.median(values) for name, values in times.items()}


def multiply_adds(batch: int) -> float:
    """Count the multiply-adds of a step: the forward pass, and the gradients of weights and inputs."""
    pixels = SHAPE[0] * SHAPE[1] * SHAPE[2]
    once = batch * pixels * HIDDEN * 2  # layers that take the image, which needs no gradient
    classifier = batch * HIDDEN * CLASSES
    per_class = batch * CLASSES * (HIDDEN * 2 * LATENT + LATENT * HIDDEN + HIDDEN * pixels)
    return 2 * once + 3 * (classifier + per_class)


def product_rate(dtype: torch.dtype) -> float:
    """Return the machine's rate in 10⁹ multiply-adds per second, measured by the largest matrix product of the step."""
    rows, inner, columns = BATCH * CLASSES, HIDDEN, SHAPE[1] * SHAPE[2]
    a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
    times = [timed(lambda: torch.mm(a, b), 10) for _ in range(ROUNDS)]
    return rows * inner * columns / statistics.median(times) / 1e9


if __name__ == "__main__":
    main()
