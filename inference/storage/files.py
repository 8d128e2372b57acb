"""Atomic writing of files, and locks."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a temporary file, then replace the old file by it.

    A lock makes processes that write the same file take turns. The temporary file of a killed process is overwritten by
    the next one.

    Args:
        path: The file.
        content: Its new content.

    Raises:
        OSError: If the file cannot be written. The error names the file; the old file is unchanged.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with alone(path.with_name(path.name + ".lock.partial")):
            try:
                with partial.open("wb") as file:
                    # surrogateescape keeps the bytes of file names that are not in UTF-8.
                    file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        # The error of `write` on a full disk does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def alone(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock inside a ``with`` block, against other processes and threads of this machine.

    The lock is released when the process ends, however it ends. On file systems without locks, such as some network
    file systems, there is no lock.

    Args:
        lock: The lock file. It is empty, and may remain after a process was killed.
        wait: Whether to wait for the lock.

    Raises:
        filelock.Timeout: If another process has the lock and ``wait`` is False.
    """
    held = FileLock(lock, blocking=wait)
    try:
        held.acquire()
    except Timeout:
        raise
    except OSError:
        pass  # No locks on this file system, or no permission; then writing fails with a clear error.
    try:
        yield
    finally:
        # Removed before the release, while no other process can have it. A process that waits notices that the file is
        # gone and makes a new one. Windows cannot remove open files; there it goes with the release.
        if sys.platform != "win32":
            with suppress(OSError):
                lock.unlink()
        held.release()
