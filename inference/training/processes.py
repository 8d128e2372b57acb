"""Training with several processes, started by Lightning or by torchrun: only the first one prints and writes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from ssvae.inference._lightning import rank_zero_only


def is_first() -> bool:
    """Return whether this process is the one that prints, evaluates and writes files; true for a single process."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def connected() -> Iterator[None]:
    """Close the connection between processes after a ``with`` block, unless it existed before.

    After training the first process evaluates and the others end. A process that ends while threads of gloo still run
    may be aborted by the C++ library, and torchrun would then end all others.
    """
    before = _is_connected()
    try:
        yield
    finally:
        if _is_connected() and not before:
            distributed.destroy_process_group()


def _is_connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()
