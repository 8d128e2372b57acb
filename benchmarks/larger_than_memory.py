"""The speed of training on images on disk, compared with images in memory.

    python -m benchmarks.larger_than_memory --folder DIR [--images 10000000]

Writes that many images of 28×28 pixels into DIR (7.8 GB) unless they exist, and times steps of M2 on random batches of
them. Steps on 60,000 images in memory alternate with them, for comparison. Images in the operating system's cache are
read from memory. To read from disk, limit the memory of the process, for example by a control group, to less than the
size of the file.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.processes import memory
from benchmarks.steps import optimiser_steps
from ssvae.data import Arrays, Batches, Digits, ImageData, NumpyFiles
from ssvae.data.batches import Batch
from ssvae.data.read_ahead import ReadAhead
from ssvae.inference.objective import Observations, Sizes
from ssvae.inference.training.memory import keep_freed_memory
from ssvae.models import M2

SIDE, BATCH, LABELS, AT_ONCE = 28, 200, 1000, 60_000


def main() -> None:
    """Write the images, time the steps, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the images")
    parser.add_argument("--images", type=int, default=10_000_000, help="how many")
    parser.add_argument("--repeats", type=int, default=15, help="number of rounds")
    parser.add_argument("--steps", type=int, default=20, help="number of steps of each kind in a round")
    options = parser.parse_args()
    write(options.folder, options.images)
    keep_freed_memory()
    on_disk = NumpyFiles(str(options.folder), num_labels=LABELS)
    first = slice(0, AT_ONCE)
    labels = np.load(options.folder / "train_labels.npy", mmap_mode="r")[first]
    in_memory = Arrays(
        on_disk.train_images[first].numpy().copy(),
        labels,
        test_images=on_disk.test_images,
        test_labels=on_disk.test_labels,
        num_labels=LABELS,
    )
    turns = {"in memory": turn(in_memory, options.steps), "on disk": turn(on_disk, options.steps)}
    for step in (*turns.values(), *turns.values()):
        step()
    before, rates = memory("self", "RssAnon"), {name: [] for name in turns}
    for _ in range(options.repeats):
        for name, step in turns.items():
            started = time.perf_counter()
            step()
            rates[name].append(options.steps * BATCH / (time.perf_counter() - started))
    print("| images | how many | images / s |\n|---|---|---|")
    for name, data in {"in memory": in_memory, "on disk": on_disk}.items():
        print(f"| {name} | {len(data.train_images):,} | {statistics.median(rates[name]):.0f} |")
    ratio = statistics.median(disk / memory for memory, disk in zip(*rates.values(), strict=True))
    print(f"\nrate on disk / in memory: {ratio:.2f}")
    after = memory("self", "RssAnon")
    print(f"memory of the process itself, without the files' pages: {before:.0f} MiB, at the end {after:.0f} MiB")


def write(folder: Path, number: int) -> None:
    """Write images and labels: enlarged digits of scikit-learn, with another shift in each block."""
    if (folder / "train_labels.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    digits = Digits(num_labels=None)
    small = digits.preprocess(digits.train_images)
    large = F.interpolate(small, (SIDE, SIDE), mode="bilinear").mul(255).round().to(torch.uint8)[:, 0].numpy()
    generator = np.random.default_rng(0)
    chosen = generator.integers(len(large), size=number)
    images = np.lib.format.open_memmap(folder / "train_images.npy", "w+", np.uint8, (number, SIDE, SIDE))
    for start in range(0, number, AT_ONCE):
        block = large[chosen[start : start + AT_ONCE]]
        images[start : start + AT_ONCE] = np.roll(block, generator.integers(-3, 4, size=2), axis=(1, 2))
    images.flush()
    np.save(folder / "test_images.npy", large[:1000])
    np.save(folder / "test_labels.npy", digits.train_labels[:1000].numpy())
    # Written last, so that a folder with this file is complete.
    np.save(folder / "train_labels.npy", digits.train_labels.numpy()[chosen])


def turn(data: ImageData, steps: int) -> Callable[[], None]:
    """Return a function that takes a number of training steps of M2, each on another batch."""
    torch.manual_seed(0)
    model = M2(data.image_shape, data.num_classes)
    take = optimiser_steps(model, Sizes(data.num_labelled, data.num_unlabelled))
    batches = Batches(data, BATCH)
    epoch = forever(ReadAhead(batches, data.train_images) if data.memory_mapped else batches)

    def step() -> None:
        for _ in range(steps):
            batch = next(epoch)
            x, unlabelled = (data.preprocess(data.train_images[index]) for index in (batch.labelled, batch.unlabelled))
            take(Observations(x, data.train_labels[batch.labelled], unlabelled))

    return step


def forever(epoch: Batches | ReadAhead) -> Iterator[Batch]:
    """Yield batches without end, pass after pass."""
    while True:
        yield from epoch


if __name__ == "__main__":
    main()
