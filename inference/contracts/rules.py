"""Checking a rule of a contract, and the rules that priors and models share."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro
import torch
from torch import Tensor, nn

from ssvae.inference.predict import seeded
from ssvae.inference.storage.description import describe

_PLACES = 10  # the number of parameter values at which a gradient is checked to be non-zero


class ContractError(ValueError):
    """A prior or a model breaks a rule of its contract. The message is one sentence: expected …; got …."""


class _BrokenRuleError(Exception):
    """A broken rule, in a sentence without the name of the class that breaks it."""


@contextmanager
def checking(name: str, rule: str) -> Iterator[None]:
    """Check a rule with a fixed seed and an empty parameter store; any failure becomes one sentence.

    Args:
        name: The name of the class that is checked.
        rule: The rule, a sentence.

    Raises:
        ContractError: If the rule is broken.
    """
    store = pyro.get_param_store()
    try:
        with seeded(0), pyro.validation_enabled(), store.scope():
            yield
            in_store = ", ".join(map(repr, store.keys()))
        expect(not in_store, "parameters that are kept as nn.Parameter, and none in Pyro's global store", in_store)
    except _BrokenRuleError as broken:
        raise ContractError(f"{name}: {broken}") from None
    # Any exception: code under test can raise any.
    except Exception as error:
        words = str(error).strip().partition("\n")[0].rstrip(".")
        raise ContractError(f"{name}: expected that {rule}; got {type(error).__name__}: {words}.") from error


def expect(holds: bool | Tensor, expected: str, got: object) -> None:
    """Raise unless a condition holds, with what was expected and what was found instead."""
    if not holds:
        raise _BrokenRuleError(f"expected {expected}; got {got}.")


def close(first: Tensor, second: Tensor) -> bool:
    """Return whether numbers agree up to rounding errors."""
    tolerance = torch.finfo(second.dtype).eps ** 0.5
    return bool(((first - second).abs() <= tolerance * (1 + second.abs())).all())


def check_arguments(thing: nn.Module) -> None:
    """Check that every constructor argument is stored under its own name."""
    try:
        describe(thing)
    except TypeError as error:
        _, _, sentence = str(error).partition(": ")
        raise _BrokenRuleError(sentence) from error


def check_gradients(parameters: dict[str, Tensor], where: str, backward: Callable[[], None]) -> None:
    """Check that every parameter has a finite gradient that is not zero everywhere.

    A gradient may be zero at some parameter values, for example if all rectified units of a layer are off. Then the
    parameters are changed and the gradient is checked again.

    Args:
        parameters: The parameters by name, without gradients.
        where: The function whose gradients are checked, for error messages.
        backward: Adds the gradients at the current values of the parameters.
    """
    for _ in range(_PLACES):
        backward()
        for name, parameter in parameters.items():
            expect(parameter.grad is not None, f"a gradient of {where} in every parameter", f"none in {name!r}")
            assert parameter.grad is not None
            expect(parameter.grad.isfinite().all(), f"a finite gradient of {where}", f"another in {name!r}")
        zero = [name for name, parameter in parameters.items() if not (parameter.grad != 0).any()]  # type: ignore[union-attr]
        if not zero:
            return
        with torch.no_grad():
            for parameter in parameters.values():
                parameter.add_(0.2 * torch.randn_like(parameter))
    expect(False, f"a gradient of {where} in every parameter", f"zeros in {zero[0]!r}")


def learned(module: nn.Module) -> dict[str, Tensor]:
    """Return the trained parameters by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def check_state(model: nn.Module) -> None:
    """Check that no tensor has two names in the state_dict, under both of which it would be saved and trained."""
    names: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        first = names.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        expect(first == name, "every tensor once in the state_dict", f"one as both {first!r} and {name!r}")


def check_copy(model: nn.Module, answer: Callable[[nn.Module], Tensor]) -> None:
    """Check that a copy of a model gives the same results, and shares no tensors with it.

    Args:
        model: The model after a training step, whose graph must not prevent the copy.
        answer: A function of the model whose result is compared.
    """
    duplicate = copy.deepcopy(model)
    with torch.no_grad():
        before = answer(model)
        expect(close(answer(duplicate), before), "a copy with the results of the original", "another result")
        for parameter in duplicate.parameters():
            parameter.add_(0.5)
        expect(torch.equal(answer(model), before), "a copy with tensors of its own", "one that shares them")
