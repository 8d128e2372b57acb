"""The memory of a process, as the operating system reports it."""

import math
import sys
from pathlib import Path


def memory(process: int | str, kind: str) -> float:
    """Return the memory of a process in MiB, on Linux; 0 if it has just ended.

    Args:
        process: The number of the process.
        kind: "VmRSS" for its resident memory, or "RssAnon" for that without the pages of files.

    Raises:
        OSError: If the process does not exist.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{kind}:")), 0.0)


def peak_memory() -> float:
    """Return the peak memory of this process in MiB; NaN on Windows."""
    try:
        import resource
    except ImportError:
        return math.nan
    # The unit is KiB on Linux and bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
