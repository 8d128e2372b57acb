"""Several processes that train together, started by Lightning or by torchrun: the first of them speaks and writes."""

import inference.environment  # noqa: F401  # isort: skip  (before lightning)

from lightning.fabric.utilities.rank_zero import rank_zero_only


def is_first() -> bool:
    """Return whether this process is the one that prints, evaluates and writes files; true where it is alone."""
    return getattr(rank_zero_only, "rank", 0) == 0
