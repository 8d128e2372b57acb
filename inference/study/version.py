"""The version of the code that produced a result."""

import hashlib
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

_PACKAGES = ("models", "data", "inference")


@cache
def code_version() -> str:
    """Return a hash of all modules and recipes, twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        root = Path(str(files(f"ssvae.{package}")))
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
            digest.update(f"{package}/{path.relative_to(root)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str:
    """Return the short hash of the code's git commit; an empty string outside of a checkout."""
    root = Path(str(files("ssvae.inference"))).parent
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return result.stdout.strip()
