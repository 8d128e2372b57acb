"""A training step of M2 on unlabelled images in plain PyTorch, without Pyro.

It is optimised by hand. The image's share of the encoder's first layer is computed once for all classes. The decoder
outputs logits. Log-densities are computed in few elementwise passes; that of the pixels by the function of this
project, which is faster than PyTorch's. Adam is fused.
"""

import copy
import math
from abc import ABC, abstractmethod
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.steps import adam
from ssvae.models import M2
from ssvae.models.likelihoods import log_bernoulli


class ByHand(ABC):
    """One optimiser step on the mean of U(x) of an M2.

    Attributes:
        optimizer: The optimiser of the weights.
    """

    optimizer: Optimizer

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """Return the mean of U(x) in nats, for x (batch, ...)."""

    def __call__(self, x: Tensor) -> None:
        """Take an optimiser step on a batch."""
        self.optimizer.zero_grad()
        self.loss(x).backward()
        self.optimizer.step()


class CopyByHand(ByHand):
    """A step with the networks of an M2.

    Args:
        model: Whose weights to start from; they are copied.
    """

    def __init__(self, model: M2) -> None:
        self.model = copy.deepcopy(model)
        self.optimizer = adam(self.model.parameters())


def mean_u(log_likelihood: Tensor, log_q_y: Tensor, z: Tensor, noise: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean of U(x) in nats, with uniform p(y), p(z) = N(0, I) and z = loc + exp(log_scale) noise.

    Args:
        log_likelihood: log p(x | y, z), (classes, batch).
        log_q_y: log q(y | x), (classes, batch).
        z: A sample of q(z | x, y), (classes, batch, latent).
        noise: That of z.
        log_scale: That of q(z | x, y).
    """
    # log p(z) - log q(z | x, y): the constants cancel
    log_ratio = (0.5 * (noise.square() - z.square()) + log_scale).sum(-1)
    bound = log_likelihood + log_ratio - math.log(len(log_q_y)) - log_q_y
    return -(log_q_y.exp() * bound).sum(0).mean()


class StepByHand(ByHand):
    """One optimiser step on U(x) of an M2 with one hidden layer, N(0, I) and Bernoulli pixels.

    Args:
        model: The model whose weights are copied.
        dtype: torch.bfloat16 for autocast inside the networks; None for float32.
    """

    def __init__(self, model: M2, dtype: torch.dtype | None) -> None:
        self.num_classes, self.latent_dim = model.num_classes, model.prior.latent_dim
        self.dtype = dtype

        def layer(linear: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
            return nn.Parameter(linear.weight.detach().clone()), nn.Parameter(linear.bias.detach().clone())

        y_net, z_net, x_net = (net.perceptron for net in (model.y_encoder, model.z_encoder, model.decoder))
        self.y_hidden, self.y_out = layer(y_net.first.linear), layer(y_net.rest[1])
        self.z_hidden, self.z_out = layer(z_net.first.linear), layer(z_net.rest[1])
        self.x_hidden, self.x_out = layer(x_net.first.linear), layer(x_net.rest[1])
        self.z_class = nn.Parameter(z_net.first.embedding.weight.detach().clone())
        self.x_class = nn.Parameter(x_net.first.embedding.weight.detach().clone())
        layers = (self.y_hidden, self.y_out, self.z_hidden, self.z_out, self.x_hidden, self.x_out)
        parameters = [parameter for pair in layers for parameter in pair] + [self.z_class, self.x_class]
        self.optimizer = adam(parameters)

    def loss(self, x: Tensor) -> Tensor:
        """Return the mean of U(x) in nats, for images (batch, 1, height, width) of zeros and ones."""
        image_shape, x = x.shape[1:], x.flatten(1)
        amp = nullcontext() if self.dtype is None else torch.autocast(x.device.type, dtype=self.dtype)
        with amp:
            # q(y | x)
            logits = F.linear(F.softplus(F.linear(x, *self.y_hidden)), *self.y_out)
            # q(z | x, y)
            shared = F.linear(x, *self.z_hidden)  # (batch, hidden)
            hidden = F.softplus(shared + self.z_class.to(shared.dtype).unsqueeze(1))  # (classes, batch, hidden)
            outputs = F.linear(hidden, *self.z_out)
        log_q_y = logits.float().log_softmax(-1).T  # (classes, batch)
        loc, log_scale = outputs.float().chunk(2, -1)
        log_scale = 6 * torch.tanh(log_scale / 6)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        with amp:
            # p(x | y, z)
            hidden = F.linear(z, *self.x_hidden)
            hidden = F.softplus(hidden + self.x_class.to(hidden.dtype).unsqueeze(1))
            pixels = F.linear(hidden, *self.x_out)
        log_likelihood = log_bernoulli(pixels.float().unflatten(-1, image_shape), x.unflatten(-1, image_shape))
        return mean_u(log_likelihood, log_q_y, z, noise, log_scale)
