"""`python -m benchmarks.vectors`: a training step of M2 on rows of 2 and of 50 features, against the same by hand.

200 unlabelled rows, the networks, latent dimensions and Gaussian likelihood of the recipes ``plane`` (2 features, 2
classes) and ``table`` (50 features, 3 classes), the exact sum over the classes; forward, backward and Adam in float32.
By hand is the same mathematics in plain PyTorch. Steps alternate, and medians count. With one thread the time is the
processor's, in which other programs do not count.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.__main__ import alternate
from benchmarks.by_hand import CopyByHand, mean_u
from benchmarks.steps import compiled_step, optimiser_step, unlabelled
from ssvae.inference.objective import Sizes
from ssvae.inference.training.memory import keep_freed_memory
from ssvae.models import M2
from ssvae.models.likelihoods import Gaussian
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

BATCH, ROUNDS, STEPS = 200, 15, 20
SETTINGS = {2: (2, 1), 50: (3, 10)}
"""Classes and latent dimensions by the number of features."""


class VectorsByHand(CopyByHand):
    """One optimiser step on U(x) of an M2 of rectified perceptrons, N(0, I) and a Gaussian likelihood."""

    def loss(self, x: Tensor) -> Tensor:
        """Return mean U(x) for rows (batch, features)."""
        y_net, z_net, x_net = (
            net.perceptron for net in (self.model.y_encoder, self.model.z_encoder, self.model.decoder)
        )
        # q(y | x)
        log_q_y = _rest(y_net, y_net.first.linear(x)).log_softmax(-1).T  # (classes, batch)
        # q(z | x, y)
        hidden = z_net.first.linear(x) + z_net.first.embedding.weight.unsqueeze(1)  # (classes, batch, hidden)
        loc, log_scale = _rest(z_net, hidden).chunk(2, -1)
        log_scale = 6 * torch.tanh(log_scale / 6)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        # p(x | y, z)
        mean = _rest(x_net, x_net.first.linear(z) + x_net.first.embedding.weight.unsqueeze(1))
        log_scale_x = 6 * torch.tanh(self.model.likelihood.log_scale / 6)
        squares = ((x - mean) * (-log_scale_x).exp()).square().sum(-1)
        log_likelihood = -0.5 * squares - x.shape[-1] * (log_scale_x + 0.5 * math.log(2 * math.pi))
        return mean_u(log_likelihood, log_q_y, z, noise, log_scale)


def _rest(perceptron: nn.Module, hidden: Tensor) -> Tensor:
    """Return the output of a perceptron for the pre-activation of its first layer."""
    for layer in perceptron.rest:
        hidden = layer(hidden) if isinstance(layer, nn.Linear) else F.relu(hidden)
    return hidden


def model_of(num_features: int) -> M2:
    """Return the model for rows of so many features, with the same weights in each call."""
    num_classes, latent_dim = SETTINGS[num_features]
    torch.manual_seed(0)
    networks = MLP((128, 128, 128), nn.ReLU)
    return M2((num_features,), num_classes, prior=StandardNormal(latent_dim), likelihood=Gaussian(), networks=networks)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter

    def timed(step: Callable[[], None]) -> float:
        started = clock()
        for _ in range(STEPS):
            step()
        return (clock() - started) / STEPS

    keep_freed_memory()  # as training does
    print(f"{options.threads} threads, torch {torch.__version__}")
    for num_features in SETTINGS:
        x = torch.randn(BATCH, num_features)
        seen, sizes = unlabelled(x), Sizes(0, BATCH)
        by_hand = VectorsByHand(model_of(num_features))
        steps: dict[str, Callable[[], None]] = {
            "M2": optimiser_step(model_of(num_features), seen, sizes),
            "M2, compiled": compiled_step(model_of(num_features), seen, sizes),
            "by hand": partial(by_hand, x),
        }
        medians = alternate(steps, timed, ROUNDS)
        print(f"\n{f'{BATCH} rows of {num_features} features':<26}{'ms':>8}{'/ by hand':>12}")
        for name, median in medians.items():
            print(f"{name:<26}{median * 1e3:>8.2f}{median / medians['by hand']:>12.2f}")


if __name__ == "__main__":
    main()
