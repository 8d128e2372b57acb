"""Several processes that train together, started by Lightning or by torchrun: the first of them speaks and writes."""

import inference.environment  # noqa: F401  # isort: skip  (before lightning)

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import distributed


def is_first() -> bool:
    """Return whether this process is the one that prints, evaluates and writes files; true where it is alone."""
    return getattr(rank_zero_only, "rank", 0) == 0


def part() -> None:
    """End what connects the processes, which go different ways after training: the first evaluates, the others end.

    A process that ends with its threads of gloo still running may be aborted by the C++ library, for which torchrun
    would end all others too.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
