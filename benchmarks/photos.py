"""`python -m benchmarks.photos`: a training step of convolutional models on colour images, against the same by hand.

250 unlabelled RGB images of 32×32, then of 64×64 pixels, `Convolutional()`, continuous Bernoulli pixels, 50 latent
dimensions, the exact sum over ten classes; forward, backward and Adam in float32. By hand is M2 in plain PyTorch; the
doubling convolutions and the pixels' log-density are this project's, which are faster than PyTorch's own. The limit is
that of the step's multiply-adds at the rate of a convolution of the decoder's size. Steps alternate, and medians count.
With one thread the time is the processor's, in which other programs do not count.
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

import pyro
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.__main__ import alternate
from benchmarks.by_hand import CopyByHand, mean_u
from benchmarks.steps import optimiser_step, unlabelled
from ssvae.inference.objective import Objective, Sizes
from ssvae.inference.training.memory import keep_freed_memory
from ssvae.models import GMVAE, M2, SDGM
from ssvae.models.networks import Convolutional

BATCH, CLASSES = 250, 10


class PhotosByHand(CopyByHand):
    """One optimiser step on U(x) of an M2 of `Convolutional()` networks, N(0, I) and continuous Bernoulli pixels."""

    def loss(self, x: Tensor) -> Tensor:
        """Return mean U(x) for images (batch, 3, height, width)."""
        y_net, z_net, x_net = self.model.y_encoder, self.model.z_encoder, self.model.decoder
        image = x.contiguous(memory_format=torch.channels_last)
        # q(y | x)
        first, last = y_net.perceptron.first, y_net.perceptron.rest[-1]
        log_q_y = last(F.relu(first.linear(_features(y_net.convolutions, image)))).log_softmax(-1).T
        # q(z | x, y)
        first, last = z_net.perceptron.first, z_net.perceptron.rest[-1]
        shared = first.linear(_features(z_net.convolutions, image))  # (batch, hidden)
        loc, log_scale = last(F.relu(shared + first.embedding.weight.unsqueeze(1))).chunk(2, -1)  # (classes, batch, ·)
        log_scale = 6 * torch.tanh(log_scale / 6)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        # p(x | y, z)
        first, last = x_net.perceptron.first, x_net.perceptron.rest[-1]
        hidden = last(F.relu(first.linear(z) + first.embedding.weight.unsqueeze(1)))
        pixels = hidden.flatten(end_dim=-2).unflatten(-1, x_net.seed_shape)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        for layer in x_net.convolutions:
            if isinstance(layer, nn.Conv2d):
                pixels = layer(F.relu(pixels))
        log_likelihood = self.model.likelihood(pixels.unflatten(0, z.shape[:-1])).log_prob(x)
        return mean_u(log_likelihood, log_q_y, z, noise, log_scale)

    def __call__(self, x: Tensor) -> None:
        """Take a step."""
        with pyro.validation_enabled(False):
            super().__call__(x)


def _features(convolutions: nn.Sequential, image: Tensor) -> Tensor:
    for layer in convolutions:
        if isinstance(layer, nn.Conv2d):
            image = F.relu(F.conv2d(image, layer.weight, layer.bias, stride=2, padding=1))
    return image.flatten(1)


def multiply_adds(model: M2, batch: int) -> float:
    """Count a step's multiply-adds: three times those of the forward pass, less the gradient to the image."""
    total = 0.0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += 3 * output.numel() * layer.in_features
        elif isinstance(layer, nn.Conv2d):
            doubles = layer.stride == (1, 1)  # each output has 4 of the 16 sums of taps
            taps = 4 if doubles else 9
            total += (2 if layer.in_channels == 3 else 3) * output.numel() * taps * layer.in_channels

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    x, y = torch.zeros(1, *model.event_shape), torch.arange(CLASSES).unsqueeze(-1)
    with torch.no_grad():
        model.y_encoder(x)
        z = model.z_encoder(x, y)[..., : model.prior.latent_dim]
        model.decoder(z, y)
    for hook in hooks:
        hook.remove()
    return batch * total


def convolution_rate(clock: Callable[[], float], repeats: int) -> float:
    """Return the machine's rate in multiply-adds per second, by a 3×3 convolution of 64 channels, forward."""
    x = torch.randn(1000, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(repeats + 1):
        started = clock()
        F.conv2d(x, weight, padding=1)
        times.append(clock() - started)
    return x.numel() * 9 * 64 / statistics.median(times[1:])


def steps_of(size: int) -> tuple[dict[str, Callable[[], None]], float]:
    """Return the steps on images of a size, and the multiply-adds of M2's."""
    shape, x = (3, size, size), torch.rand(BATCH, 3, size, size)

    def models() -> tuple[M2, SDGM, GMVAE]:
        torch.manual_seed(0)
        networks = Convolutional()
        return tuple(kind(shape, CLASSES, networks=networks) for kind in (M2, SDGM, GMVAE))  # type: ignore[return-value]

    m2, sdgm, gmvae = models()
    by_hand = PhotosByHand(m2)
    seen, sizes = unlabelled(x), Sizes(0, BATCH)
    steps = {
        "M2": optimiser_step(m2, seen, sizes),
        "by hand": lambda: by_hand(x),
        "M2, two classes summed": optimiser_step(copy.deepcopy(m2), seen, sizes, Objective(summed_classes=2)),
        "SDGM": optimiser_step(sdgm, seen, sizes),
        "GMVAE": optimiser_step(gmvae, seen, sizes),
    }
    return steps, multiply_adds(m2, BATCH)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each model")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="height and width of the images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter

    def timed(step: Callable[[], None]) -> float:
        started = clock()
        step()
        return clock() - started

    keep_freed_memory()  # as training does
    rate = convolution_rate(clock, options.repeats)
    print(f"{options.threads} threads, torch {torch.__version__}; a convolution has {rate / 1e9:.0f} G multiply-adds/s")
    for size in options.sizes:
        torch.manual_seed(0)
        steps, products = steps_of(size)
        medians = alternate(steps, timed, options.repeats)
        print(f"\n{f'{BATCH} images of 3×{size}×{size}':<26}{'s':>8}{'/ by hand':>12}{'/ limit':>10}")
        for name, median in medians.items():
            limit = f"{median * rate / products:>10.2f}" if name in ("M2", "by hand") else ""
            print(f"{name:<26}{median:>8.3f}{median / medians['by hand']:>12.2f}{limit}")


if __name__ == "__main__":
    main()
