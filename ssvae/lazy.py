"""Packages whose names are imported when they are first asked for (PEP 562).

So `import ssvae` takes no longer than an interpreter, and `ssvae --help` does not wait for Lightning.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attributes(
    package: str, names: list[str], homes: Mapping[str, str], modules: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`.

    Args:
        package: The package's `__name__`.
        names: Its `__all__`.
        homes: For each name that is not in the package itself, the module below it that has the name.
        modules: Modules below the package that it offers themselves.

    Example:
        >>> get, names = attributes("ssvae", ["M2"], {"M2": "models"})
        >>> get("M2").__name__, names()
        ('M2', ['M2'])
    """

    def get(name: str) -> Any:  # noqa: ANN401
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: names
