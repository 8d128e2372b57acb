"""Memory allocation by the C library, for the large tensors of each training step."""

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep memory that a step frees for the next step. Without effect if the C library is not glibc.

    By default glibc maps large blocks one by one, and returns them to the system when they are freed. The next step has
    to request them again, page by page, and the system fills each page with zeros. This takes 5 to 15 of the 45
    milliseconds of a step of M2 on two cores, and more than a third of a step of convolutional networks whose
    activations are larger than 32 MiB, below which a higher threshold would do. Blocks that are kept leave gaps: the
    peak of such a step is up to half as large again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
