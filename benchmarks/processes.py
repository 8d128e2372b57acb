"""What Linux says of a process."""

from pathlib import Path


def memory(process: int | str, kind: str) -> float:
    """Return a process's memory in MiB: of kind "VmRSS", or "RssAnon" without the pages of files; 0 when it has ended.

    Raises:
        OSError: If there is no such process any more.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{kind}:")), 0.0)
