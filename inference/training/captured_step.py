"""A training step that is captured once and then replayed: as a CUDA graph, as compiled code, or both."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

Terms = dict[str, Tensor]
T = TypeVar("T")

_TRIALS = 3
"""Warm-up steps before a CUDA graph is captured, in which libraries choose algorithms and allocate memory."""


class CapturedStep:
    """The loss, terms and gradient of a step: captured at the first call, replayed at later ones.

    With small networks a GPU waits for Python, since launching a kernel takes longer than running it. A CUDA graph
    launches all kernels at once. Compilation also fuses kernels, on a CPU as well: the operations of Pyro, autograd and
    the networks are traced in the first call, and torch.compile fuses neighbouring ones.

    A replay does not run the Python code. All that changes from step to step must therefore be in tensors at fixed
    addresses: the arguments, which are copied to the captured ones, the weights and the buffers.

    Args:
        step: A function from tensors to a loss and its terms that does not depend on values of tensors in Python.
        parameters: The parameters for the gradient.
        buffers: Tensors that a step may change, such as those of batch norm. Steps before the capture change neither
            them nor the random state.
        compiled: Whether to compile the step, which takes about a minute. Required on a CPU.
    """

    def __init__(
        self,
        step: Callable[..., tuple[Tensor, Terms]],
        parameters: Iterable[nn.Parameter],
        buffers: Iterable[Tensor],
        compiled: bool,
    ) -> None:
        self.step = step
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.buffers = list(buffers)
        self.compiled = compiled
        self.device = self.parameters[0].device
        self._repeat: Callable[..., list[Tensor]] | None = None

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss, which can be differentiated, and its terms.

        Args:
            *arguments: The arguments of the step, on any device, with the same shapes at each call.

        Raises:
            ValueError: If the step cannot be captured, for example because it depends on the value of a tensor.
        """
        if self._repeat is None:
            try:
                self._repeat = self._captured([argument.to(self.device) for argument in arguments])
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # tracer, compiler and driver raise many kinds
                message = str(getattr(error, "inner_exception", error))  # the cause of a compiler's error
                reason = next((line for line in message.splitlines() if line), type(error).__name__)
                raise ValueError(
                    f"trainer.step: expected a step that can be captured; got one that cannot ({reason}). Use 'eager'."
                ) from error
        with torch.no_grad():
            loss, terms, *gradients = self._repeat(*arguments)
        loss = _Differentiated.apply(loss, self._depends, gradients, *self.parameters)  # type: ignore[no-untyped-call]
        return loss, dict(zip(self._names, terms.unbind(), strict=True))

    def _captured(self, arguments: list[Tensor]) -> Callable[..., list[Tensor]]:
        before = [buffer.clone() for buffer in self.buffers]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            run: Callable[..., list[Tensor]] = self._run
            run(*arguments)  # creates what is made on first use, such as a fitted classifier
            if self.compiled:
                traced = make_fx(self._run, decomposition_table=_DECOMPOSITIONS)(*arguments)
                run = torch.compile(traced, fullgraph=True)
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the compiler's hints on performance
                    run(*arguments)  # compiles
            if self.device.type == "cuda":
                run = _Graph(run, arguments)
        for buffer, value in zip(self.buffers, before, strict=True):
            buffer.copy_(value)
        return run

    def _run(self, *arguments: Tensor) -> list[Tensor]:
        """Return the loss, its terms in one tensor, and the gradients of the parameters that it depends on."""
        with torch.enable_grad():
            loss, terms = self.step(*arguments)
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        self._names = list(terms)
        self._depends = [gradient is not None for gradient in gradients]
        values = torch.stack([value.to(loss.dtype) for value in terms.values()])
        return [loss.detach(), values, *(gradient for gradient in gradients if gradient is not None)]


def capture(run: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
    """Return a CUDA graph of a function, and its result, whose tensors each replay overwrites."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(_TRIALS):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = run()
    return graph, result


def _bernoulli_(x: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill x with ones and zeros, which are 1 with probability p: the same random numbers as ``x.bernoulli_(p)``."""
    assert generator is None
    _, kept = torch.native_dropout(torch.ones_like(x), 1 - p, True)
    return x.copy_(kept)


# Dropout on a CPU is `bernoulli_` into new memory. torch 2.13 may compile what reads it into a kernel that runs before,
# so that units are multiplied by whatever was in that memory. `native_dropout` returns a tensor of its own.
_DECOMPOSITIONS: dict[Any, Callable[..., Tensor]] = {torch.ops.aten.bernoulli_.float: _bernoulli_}


class _Graph:
    """A function as a CUDA graph, with its own copies of the arguments.

    Args:
        run: The function. It is kept alive, since the kernels read its weights and constants.
        arguments: Arguments for the capture, on a GPU.
    """

    def __init__(self, run: Callable[..., list[Tensor]], arguments: list[Tensor]) -> None:
        self.run, self.arguments = run, arguments
        with torch.no_grad():
            self.graph, self.result = capture(lambda: run(*arguments))

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        """Return the result of the function."""
        for captured, given in zip(self.arguments, arguments, strict=True):
            captured.copy_(given)
        self.graph.replay()
        # Gradients are used before the next replay overwrites them; loss and terms may be kept by the caller.
        loss, terms, *gradients = self.result
        return [loss.clone(), terms.clone(), *gradients]


class _Differentiated(torch.autograd.Function):
    """A loss whose gradient has been computed already."""

    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401
        loss: Tensor,
        depends: list[bool],
        gradients: list[Tensor],
        *parameters: nn.Parameter,
    ) -> Tensor:
        context.depends, context.gradients = depends, gradients
        return loss

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        scaled = iter(torch._foreach_mul(context.gradients, gradient))
        return None, None, None, *(next(scaled) if depends else None for depends in context.depends)
