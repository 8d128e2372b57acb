"""Files that are written whole or not at all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file beside the old one, then take its place.

    Processes that write the same file at once do so one after the other. What a killed one leaves beside the file is
    written over by the next, so that nothing piles up.

    Raises:
        OSError: If it cannot be written; it names the file, and the old file is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with _alone(partial):
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
def _alone(partial: Path) -> Iterator[None]:
    """Keep other processes of this machine from writing a file; the lock ends with the process, however it ends.

    Without it, one would take away what the other has only begun to write. Windows has no such locks, and some network
    file systems have none.
    """
    if sys.platform == "win32":
        yield
        return
    while True:
        with partial.open("ab") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(partial, file.fileno()):
                yield
                return


def _is_still(path: Path, descriptor: int) -> bool:
    """Say whether a path still names the file that was opened: who had the lock before has given it its real name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
