"""What it is to check a rule, and the rules that priors and models share."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro
import torch
from torch import Tensor, nn

from ssvae.inference.predict import seeded
from ssvae.inference.storage.description import describe

_PLACES = 10  # at which a gradient may be other than zero


class ContractError(ValueError):
    """A rule that a prior or model breaks, in one sentence: what was expected of it, and what came."""


class _BrokenRuleError(Exception):
    """A rule is broken; the sentence does not yet say by whom."""


@contextmanager
def checking(name: str, rule: str) -> Iterator[None]:
    """Check a rule, from a seed and with an empty store; whatever goes wrong on the way becomes one sentence.

    Args:
        name: Of the class that is checked.
        rule: A sentence that is to hold.

    Raises:
        ContractError: If it does not.
    """
    store = pyro.get_param_store()
    try:
        with seeded(0), pyro.validation_enabled(), store.scope():
            yield
            in_store = ", ".join(map(repr, store.keys()))
        expect(not in_store, "parameters that are kept as nn.Parameter, and none in Pyro's global store", in_store)
    except _BrokenRuleError as broken:
        raise ContractError(f"{name}: {broken}") from None
    # Everything: what was just written may stumble over anything.
    except Exception as error:
        words = str(error).strip().partition("\n")[0].rstrip(".")
        raise ContractError(f"{name}: expected that {rule}; got {type(error).__name__}: {words}.") from error


def expect(holds: bool | Tensor, expected: str, got: object) -> None:
    """Go on only if something holds; else say what was expected and what came."""
    if not holds:
        raise _BrokenRuleError(f"expected {expected}; got {got}.")


def close(first: Tensor, second: Tensor) -> bool:
    """Say whether numbers agree but for rounding."""
    tolerance = torch.finfo(second.dtype).eps ** 0.5
    return bool(((first - second).abs() <= tolerance * (1 + second.abs())).all())


def check_arguments(thing: nn.Module) -> None:
    """Every constructor argument is kept under its own name."""
    try:
        describe(thing)
    except TypeError as error:
        _, _, sentence = str(error).partition(": ")
        raise _BrokenRuleError(sentence) from error


def check_gradients(parameters: dict[str, Tensor], where: str, backward: Callable[[], None]) -> None:
    """Every parameter has a gradient, finite, and not zero everywhere.

    It may be zero at one place, where all of a layer's rectified units happen to be off: then the parameters are moved.

    Args:
        parameters: By their names, without gradients.
        where: Of what the gradients are.
        backward: Adds the gradients at the place where the parameters are.
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
    """Return the parameters that learn, by their names."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def check_state(model: nn.Module) -> None:
    """No tensor has two names, under both of which it would be saved and trained."""
    names: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        first = names.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        expect(first == name, "every tensor once in the state_dict", f"one as both {first!r} and {name!r}")


def check_copy(model: nn.Module, answer: Callable[[nn.Module], Tensor]) -> None:
    """A copy of a model answers as the model does, and goes its own way.

    Args:
        model: The model, after a step of training, whose traces must not stand in the way.
        answer: A number of the model's, or many.
    """
    duplicate = copy.deepcopy(model)
    with torch.no_grad():
        before = answer(model)
        expect(close(answer(duplicate), before), "a copy that answers as the original does", "another answer")
        for parameter in duplicate.parameters():
            parameter.add_(0.5)
        expect(torch.equal(answer(model), before), "a copy with tensors of its own", "one that shares them")
