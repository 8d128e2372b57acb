"""`python -m benchmarks.family`: the time of a training step of each model, relative to M2.

A step has 200 unlabelled images of 28×28 pixels in float32. Every network is an MLP of two layers of 500 ReLU units
with batch norm, and z has 20 dimensions. The loss is J without consistency, plus the model's own penalties. A step is a
forward pass, a backward pass and Adam. Steps of all models alternate; the times are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.steps import optimiser_step, unlabelled
from ssvae.inference.objective import Objective, Sizes
from ssvae.inference.runs.report import hardware
from ssvae.models import (
    ADGM,
    GMVAE,
    M1,
    M1M2,
    M2,
    SDGM,
    SOMVAE,
    AdversarialAutoencoder,
    ConditionalVAE,
    DistilledM1,
    DistilledM2,
    LadderVAE,
    SemiSupervisedModel,
    SparseLabelVAE,
)
from ssvae.models.networks import MLP
from ssvae.models.priors import SeparatedMeans, StandardNormal
from ssvae.models.stages import Staged

BATCH, SHAPE, CLASSES = 200, (1, 28, 28), 10


def family() -> dict[str, SemiSupervisedModel]:
    """Return untrained models of all classes, with the same sizes."""
    networks = MLP((500, 500), torch.nn.ReLU, batch_norm=True)

    def prior() -> StandardNormal:
        return StandardNormal(20)

    return {
        "M2": M2(SHAPE, CLASSES, prior=prior(), networks=networks),
        "M1": M1(SHAPE, CLASSES, prior=prior(), networks=networks),
        "DistilledM1, M1's stage": DistilledM1(SHAPE, CLASSES, prior=prior(), networks=networks),
        "DistilledM2, M2's stage": DistilledM2(SHAPE, CLASSES, prior=prior(), networks=networks),
        "M1M2, M1's stage": M1M2(SHAPE, CLASSES, prior=prior(), networks=networks, m1_until=1.0),
        "M1M2, end to end": M1M2(SHAPE, CLASSES, prior=prior(), networks=networks, m1_until=0.0, m2_until=0.0),
        "ConditionalVAE": ConditionalVAE(SHAPE, CLASSES, prior=prior(), networks=networks),
        "LadderVAE, 2 layers": LadderVAE(SHAPE, CLASSES, prior=prior(), networks=networks),
        "LadderVAE, 3 layers": LadderVAE(
            SHAPE, CLASSES, prior=prior(), networks=networks, latent_dims=(32, 16), hidden=(256, 128)
        ),
        "ADGM": ADGM(SHAPE, CLASSES, prior=prior(), networks=networks),
        "SDGM": SDGM(SHAPE, CLASSES, prior=prior(), networks=networks),
        "GMVAE": GMVAE(SHAPE, CLASSES, prior=SeparatedMeans(20), networks=networks),
        "SparseLabelVAE": SparseLabelVAE(SHAPE, CLASSES, prior=prior(), networks=networks),
        "AdversarialAutoencoder": AdversarialAutoencoder(SHAPE, CLASSES, prior=prior(), networks=networks),
        "SOMVAE": SOMVAE(SHAPE, CLASSES, latent_dim=20, networks=networks),
    }


def step_of(model: SemiSupervisedModel) -> Callable[[], None]:
    """Return a training step."""
    if isinstance(model, Staged):
        model.advance(0.5)
    return optimiser_step(model, unlabelled(torch.rand(BATCH, *SHAPE)), Sizes(0, BATCH), Objective(alpha=0))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="timed steps of each model")
    options = parser.parse_args()
    torch.manual_seed(0)
    models = family()
    steps = {name: step_of(model) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(options.repeats + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if repeat >= 2:  # the first steps allocate memory
                seconds[name].append(time.perf_counter() - started)
    print(f"{BATCH} unlabelled images; medians of {options.repeats} steps; {hardware()}\n")
    print(f"{'model':<24}{'ms':>8}{'/ M2':>8}{'parameters':>14}")
    median_of_m2 = statistics.median(seconds["M2"])
    for name, times in seconds.items():
        median = statistics.median(times)
        parameters = sum(parameter.numel() for parameter in models[name].parameters())
        print(f"{name:<24}{1000 * median:>8.1f}{median / median_of_m2:>8.2f}{parameters:>14,}")


if __name__ == "__main__":
    main()
