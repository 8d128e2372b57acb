"""`python -m benchmarks.gpu`: M2 on a GPU, bfloat16, 512 unlabelled images, MLP 500, 50 latent dimensions.

Measured are a step of this project (eager, captured as a CUDA graph, compiled and captured), the hand-written step
(eager and captured), the arithmetic limit, the time by kind of kernel, and an epoch of 60,000 images with every
``trainer.step``. Times are medians of alternating repeats.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.__main__ import CLASSES, ROUNDS, SHAPE, alternate, m2, multiply_adds, our_step
from benchmarks.by_hand import StepByHand
from ssvae.data import Arrays
from ssvae.inference.training import Recipe, TrainerOptions, train
from ssvae.inference.training.captured_step import capture

BATCH, IMAGES = 512, 60_000
STEPS = 20
Step = Callable[[], None]


def main() -> None:
    """Measure and print the tables."""
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    eager = {"M2": our_step(images(), torch.bfloat16), "by hand": step_by_hand()}
    steps = eager | {f"{name}, captured": captured(step) for name, step in eager.items()}
    steps["M2, compiled, captured"] = captured(our_step(images(), torch.bfloat16, compiled=True))
    times = alternate(steps, timed)
    products, rate = multiply_adds(BATCH), product_rate()
    limit = products / rate
    print(f"{'one step':<24}{'ms':>8}{'/ by hand':>12}{'/ limit':>10}")
    for name, seconds in times.items():
        by_hand = times["by hand, captured" if "captured" in name else "by hand"]
        print(f"{name:<24}{seconds * 1e3:>8.3f}{seconds / by_hand:>12.2f}{seconds / limit:>10.2f}")
    print(f"{'limit':<24}{limit * 1e3:>8.3f}   {products / 1e9:.1f} G multiply-adds at {rate / 1e12:.0f} T/s")
    for name, step in steps.items():
        print_kernels(name, step)
    print()
    for step in ("eager", "cuda_graph", "compiled"):
        first, later = epoch(step)
        print(f"an epoch of {IMAGES:,} images, trainer.step {step:<10}: {later:.2f} s; the first {first:.1f} s")


def step_by_hand() -> Step:
    """Return the hand-written step."""
    by_hand, x = StepByHand(m2().cuda(), torch.bfloat16), images()
    return lambda: by_hand(x)


def images() -> torch.Tensor:
    """Return a batch of random images of zeros and ones."""
    return torch.rand(BATCH, *SHAPE).round().cuda()


def captured(step: Step) -> Step:
    """Return a function that replays a whole step as a CUDA graph: loss, gradient and Adam."""
    graph, _ = capture(step)
    kept = graph, step  # keeps the weights alive, which the kernels read
    return lambda: kept[0].replay()


def timed(step: Step) -> float:
    """Return the mean seconds of a step, over a few successive steps."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(STEPS):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / STEPS


def product_rate() -> float:
    """Return the GPU's rate in multiply-adds per second, measured by the largest matrix product of the step."""
    rows, inner, columns = BATCH * CLASSES, 500, SHAPE[1] * SHAPE[2]
    a, b = (torch.randn(size, dtype=torch.bfloat16, device="cuda") for size in ((rows, inner), (inner, columns)))
    product = captured(lambda: [torch.mm(a, b) for _ in range(10)] and None)
    return 10 * rows * inner * columns / statistics.median(timed(product) for _ in range(ROUNDS))


def print_kernels(name: str, step: Step) -> None:
    """Print the number of kernels of a step and the GPU's computing time, by kind."""
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiled:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    kinds = {"matrix products": ("gemm", "cutlass", "nvjet", "xmma"), "Adam": ("adam", "Adam"), "sums": ("reduce",)}
    times: dict[str, list[float]] = {kind: [] for kind in (*kinds, "the rest, element by element")}
    for event in profiled.events():
        if event.device_type != DeviceType.CUDA:
            continue  # the launch of a kernel
        kind = next((kind for kind, parts in kinds.items() if any(part in event.name for part in parts)), None)
        times[kind or "the rest, element by element"].append(event.device_time_total)
    number, total = (sum(map(each, times.values())) / STEPS for each in (len, sum))
    print(f"\n{name}: {number:.0f} kernels, {total / 1e3:.3f} ms of computing in a step")
    for kind, values in times.items():
        print(f"  {kind:<30}{len(values) / STEPS:>6.0f}{sum(values) / STEPS / 1e3:>9.3f} ms")


def epoch(step: Literal["eager", "cuda_graph", "compiled"]) -> tuple[float, float]:
    """Return the seconds of the first epoch, and the median of the others, with data, checkpoints and logging."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES + 100, *SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.full((IMAGES + 100,), -1)
    labels[:100] = torch.arange(100) % CLASSES
    data = Arrays(pixels, labels, test_images=pixels[:100], test_labels=labels[:100], binarise=True)
    options = TrainerOptions(accelerator="gpu", precision="bf16-mixed", step=step, progress_bar=False)
    recipe = Recipe(batch_size=BATCH, max_epochs=8, trainer=options)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = train(m2(), data, recipe, Path(folder))
        whole = time.perf_counter() - started
    later = [after["seconds"] - before["seconds"] for before, after in pairwise(rows)]
    return whole - sum(later), statistics.median(later)


if __name__ == "__main__":
    main()
