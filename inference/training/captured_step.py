"""A step that is worked out once and then repeated: as a CUDA graph, as compiled code, or as both."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

Terms = dict[str, Tensor]
T = TypeVar("T")

_TRIALS = 3
"""Steps before a GPU's are captured, in which libraries choose their algorithms and allocate what they need."""


class CapturedStep:
    """A step's loss, terms and gradient: captured at the first call, repeated from then on.

    Small networks leave a GPU waiting for Python, which takes longer to send a kernel than the GPU to run it. A CUDA
    graph sends all of them at once. Compiled, the kernels are fewer as well, also on a processor: what Pyro, autograd
    and the networks did in the first call is written down, operation by operation, and torch.compile makes of
    neighbouring operations one.

    Neither sees Python again. So whatever changes from step to step has to be in tensors that stay where they are: the
    arguments, which are copied to where the capture found them, the weights and the buffers.

    Args:
        step: A function from tensors to a loss and its terms, without a look at a value.
        parameters: What the loss is differentiated with respect to.
        buffers: What a step may change, as batch norm does; what is tried before the capture leaves no trace in them,
            nor in the random numbers.
        compiled: Whether the step is compiled, which takes most of a minute. On a processor it has to be.
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
            *arguments: What the step depends on, on any device, always of the same shapes.

        Raises:
            ValueError: If the step cannot be captured, because it looks at a value, say.
        """
        if self._repeat is None:
            try:
                self._repeat = self._captured([argument.to(self.device) for argument in arguments])
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever tracer, compiler and driver raise
                said = str(getattr(error, "inner_exception", error))  # the compiler's, not that it had one
                reason = next((line for line in said.splitlines() if line), type(error).__name__)
                raise ValueError(
                    f"trainer.step: expected a step that can be captured; got one that cannot ({reason}). Take 'eager'."
                ) from error
        with torch.no_grad():
            loss, terms, *gradients = self._repeat(*arguments)
        loss = _Differentiated.apply(loss, self._depends, gradients, *self.parameters)  # type: ignore[no-untyped-call]
        return loss, dict(zip(self._names, terms.unbind(), strict=True))

    def _captured(self, arguments: list[Tensor]) -> Callable[..., list[Tensor]]:
        before = [buffer.clone() for buffer in self.buffers]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            run: Callable[..., list[Tensor]] = self._run
            run(*arguments)  # what is made when it is first asked for, a classifier that is fitted say, is there then
            if self.compiled:
                written = make_fx(self._run)(*arguments)
                run = torch.compile(written, fullgraph=True)
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what the compiler could do better, for those who write it
                    run(*arguments)  # compiles
            if self.device.type == "cuda":
                run = _Graph(run, arguments)
        for buffer, value in zip(self.buffers, before, strict=True):
            buffer.copy_(value)
        return run

    def _run(self, *arguments: Tensor) -> list[Tensor]:
        """Return the loss, its terms in one tensor, and the gradient with respect to what the loss depends on."""
        with torch.enable_grad():
            loss, terms = self.step(*arguments)
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        self._names = list(terms)
        self._depends = [gradient is not None for gradient in gradients]
        values = torch.stack([value.to(loss.dtype) for value in terms.values()])
        return [loss.detach(), values, *(gradient for gradient in gradients if gradient is not None)]


def capture(run: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
    """Return a CUDA graph of what a function does on the GPU, and what it returned, which replays write anew."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_TRIALS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = run()
    return graph, found


class _Graph:
    """A function's kernels as a CUDA graph, which works on its own copies of the arguments.

    Args:
        run: The function. It is kept: the kernels go on reading its weights and constants.
        arguments: What to capture it with, on a GPU.
    """

    def __init__(self, run: Callable[..., list[Tensor]], arguments: list[Tensor]) -> None:
        self.run, self.arguments = run, arguments
        with torch.no_grad():
            self.graph, self.found = capture(lambda: run(*arguments))

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        """Return what the function would."""
        for mine, given in zip(self.arguments, arguments, strict=True):
            mine.copy_(given)
        self.graph.replay()
        # The gradient is used before the next replay overwrites it; the others may be kept.
        loss, terms, *gradients = self.found
        return [loss.clone(), terms.clone(), *gradients]


class _Differentiated(torch.autograd.Function):
    """A loss whose gradient is known already."""

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
