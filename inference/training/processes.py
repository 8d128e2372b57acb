"""Several processes that train together, started by Lightning or by torchrun: the first of them speaks and writes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from ssvae.inference._lightning import rank_zero_only


def is_first() -> bool:
    """Return whether this process is the one that prints, evaluates and writes files; true where it is alone."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def connected() -> Iterator[None]:
    """Train inside; afterwards what connects the processes is ended, unless it was there before.

    They go different ways then: the first evaluates, the others end. A process that ends with its threads of gloo still
    running may be aborted by the C++ library, for which torchrun would end all others too.
    """
    before = _is_connected()
    try:
        yield
    finally:
        if _is_connected() and not before:
            distributed.destroy_process_group()


def _is_connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()
