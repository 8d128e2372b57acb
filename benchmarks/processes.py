"""The memory of a process, as the operating system reports it."""

import math
import sys
from pathlib import Path


def memory(process: int | str, kind: str) -> float:
    """Return a process's memory in MiB, of kind "VmRSS", or "RssAnon" without the pages of files; 0 when it has ended.

    On Linux.

    Raises:
        OSError: If there is no such process any more.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{kind}:")), 0.0)


def peak_memory() -> float:
    """Return the peak memory of this process in MiB; NaN on Windows, which does not report it this way."""
    try:
        import resource
    except ImportError:
        return math.nan
    # In KiB; on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
