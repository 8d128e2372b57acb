"""Which version of the code made a result."""

import hashlib
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

_PACKAGES = ("models", "data", "inference")


@cache
def code_version() -> str:
    """Return twelve hexadecimal digits of the hash of all modules and recipes: other code, other digits."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        root = Path(str(files(f"ssvae.{package}")))
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
            digest.update(f"{package}/{path.relative_to(root)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str:
    """Return git's name for the commit that the code was checked out from; "" where there is none."""
    root = Path(str(files("ssvae.inference"))).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip()
