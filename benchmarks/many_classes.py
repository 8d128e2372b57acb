"""`python -m benchmarks.many_classes`: the cost of U(x) with 10 to 10,000 classes, summed exactly and truncated.

A training step of M2 has the paper's sizes and 200 images of 28×28 pixels in float32; it is a forward pass, a backward
pass and Adam. Each setting has a process of its own, whose peak memory is printed. Steps of all settings alternate; the
times are medians.
"""

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import torch

from benchmarks.processes import peak_memory
from benchmarks.steps import optimiser_step, unlabelled
from ssvae.inference.objective import Objective, Sizes
from ssvae.models import M2

BATCH = 200


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="number of timed steps of each setting")
    parser.add_argument("--k", type=int, default=2, help="number of classes to sum over")
    options = parser.parse_args()
    # More than 100 classes, summed exactly, would need more memory than most machines have.
    settings = [(10, None), (10, options.k), (100, None), (100, options.k), (1000, options.k), (10_000, options.k)]
    context = multiprocessing.get_context("spawn")
    workers = []
    for num_classes, k in settings:
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, num_classes, k), daemon=True)
        process.start()
        here.recv()  # the first steps are done
        workers.append((process, here))
    seconds: list[list[float]] = [[] for _ in settings]
    for _ in range(options.repeats):
        for times, (_, connection) in zip(seconds, workers, strict=True):
            connection.send("step")
            times.append(connection.recv())
    print(f"M2, {BATCH} unlabelled images, {torch.get_num_threads()} threads; medians of {options.repeats} steps\n")
    print(f"{'classes':>8}  {'summed over':>12}  {'ms':>8}  {'/ 10 classes':>12}  {'peak MiB':>9}")
    first = statistics.median(seconds[1])
    for (num_classes, k), times, (process, connection) in zip(settings, seconds, workers, strict=True):
        connection.send("stop")
        summed = "all" if k is None else f"{k}, 1 drawn"
        median = statistics.median(times)
        print(f"{num_classes:8}  {summed:>12}  {1000 * median:8.1f}  {median / first:12.2f}  {connection.recv():9.0f}")
        process.join()


def work(connection: Connection, num_classes: int, k: int | None) -> None:
    """Take a step at each request and return its time; at the end return the peak memory of this process."""
    torch.manual_seed(0)
    x = torch.rand(BATCH, 1, 28, 28)
    objective = Objective(alpha=0, summed_classes=k)
    step = optimiser_step(M2((1, 28, 28), num_classes), unlabelled(x), Sizes(0, BATCH), objective)
    for _ in range(3):
        step()
    connection.send("ready")
    while connection.recv() == "step":
        started = time.perf_counter()
        step()
        connection.send(time.perf_counter() - started)
    connection.send(peak_memory())


if __name__ == "__main__":
    main()
