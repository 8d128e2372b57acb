"""Files that are written whole or not at all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file beside the old one, then take its place.

    Processes that write the same file at once do so one after the other. What a killed one leaves beside the file is
    written over by the next, so that nothing piles up. Without the lock, one would take away what the other has only
    begun to write.

    Raises:
        OSError: If it cannot be written; it names the file, and the old file is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with alone(path.with_name(path.name + ".lock.partial")):
            try:
                with partial.open("wb") as file:
                    # A name of a file that is not in UTF-8 keeps its bytes.
                    file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as error:
        # A full disk is found out by `write`, which knows no name.
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def alone(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes and threads of this machine away; the lock ends with the process, however it ends.

    Where a file system has no locks, as some network file systems have none, nobody is kept away.

    Args:
        lock: A file that is there while somebody is at work, and perhaps after a process was killed; it says nothing.
        wait: Whether to wait for one's turn.

    Raises:
        filelock.Timeout: If another has the lock and `wait` is False.
    """
    held = FileLock(lock, blocking=wait)
    try:
        held.acquire()
    except Timeout:
        raise
    except OSError:
        pass  # no locks here; or nothing can be written here, which whoever writes will say
    try:
        yield
    finally:
        # Before it is let go: then nobody can have taken it. Whoever waits sees that the file is gone, and makes a new
        # one. Windows removes no file that is open; there it goes with the lock.
        if sys.platform != "win32":
            with suppress(OSError):
                lock.unlink()
        held.release()
