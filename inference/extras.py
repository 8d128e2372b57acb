"""Packages that only an extra installs."""

from collections.abc import Sequence
from importlib.util import find_spec


def check_extra(argument: str, extra: str, packages: Sequence[str], purpose: str = "") -> None:
    """Raise ValueError, in the name of an argument, unless the packages of an extra are installed.

    Args:
        argument: The argument that asks for them.
        extra: The extra that installs them.
        packages: Their names, as they are imported.
        purpose: What they are for, such as " for .onnx", where the argument does not say it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"{argument}: expected the packages of the extra `{extra}`{purpose}; got no {missing[0]}. "
            f"pip install 'ssvae[{extra}]' installs them."
        )
