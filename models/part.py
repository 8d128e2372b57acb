"""The base class of a model's parts (priors, posteriors, likelihoods, architectures), with a one-line ``repr``."""

import inspect

_LONGEST = 60


class Part:
    """A part of a model. Its ``repr`` shows its class and its constructor's arguments, without None, False and 0.0.

    Every argument is stored under its own name. Run folders describe a part by these names too.
    """

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        arguments = {name: getattr(self, name) for name in names}
        formatted = [f"{name}={_format_value(value)}" for name, value in arguments.items() if not _is_off(value)]
        return f"{type(self).__name__}({', '.join(formatted)})"


def _is_off(value: object) -> bool:
    return value is None or (isinstance(value, bool | float) and not value)


def _format_value(value: object) -> str:
    """Return an argument's ``repr``, or only its class's name if the ``repr`` is long, as of an array or a network."""
    if isinstance(value, type):
        return value.__name__
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else type(value).__name__
