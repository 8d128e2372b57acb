"""Optional packages, which extras install."""

from collections.abc import Sequence
from importlib.util import find_spec


def check_extra(argument: str, extra: str, packages: Sequence[str], purpose: str = "") -> None:
    """Check that the packages of an extra are installed.

    Args:
        argument: The argument that needs them, for the error message.
        extra: The extra that installs them.
        packages: The names under which they are imported.
        purpose: Their purpose, such as " for .onnx", if the argument does not tell it.

    Raises:
        ValueError: If a package is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"{argument}: expected the packages of the extra `{extra}`{purpose}; got no {missing[0]}. "
            f"pip install 'ssvae[{extra}]' installs them."
        )
