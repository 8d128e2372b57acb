"""What a model is made of: priors, likelihoods and network recipes, each told in a line."""

import inspect

_LONGEST = 60


class Part:
    """A part of a model, whose `repr` is its class with its constructor's arguments, less those that are off.

    Every argument is kept under its own name, which is also how run folders describe a part.
    """

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        arguments = {name: getattr(self, name) for name in names}
        told = [f"{name}={_format_value(value)}" for name, value in arguments.items() if not _is_off(value)]
        return f"{type(self).__name__}({', '.join(told)})"


def _is_off(value: object) -> bool:
    return value is None or (isinstance(value, bool | float) and not value)


def _format_value(value: object) -> str:
    """Return an argument in a few words: an array or a network by its class alone."""
    if isinstance(value, type):
        return value.__name__
    words = repr(value)
    return words if len(words) <= _LONGEST and "\n" not in words else type(value).__name__
