"""Decline of the validation accuracy during training."""

from collections.abc import Sequence

from ssvae.inference.training.history import Row

_STANDARD_ERRORS = 3.0
"""The best epoch is chosen among many and is partly luck, so that two standard errors would be exceeded too often."""


def decline(history: Sequence[Row], num_images: int) -> Row | None:
    """Return the row of the best epoch if the validation accuracy has fallen since then by more than chance.

    With a and b the validation accuracies of the best and the last row, on N images, it has if::

        a - b > 3 sqrt( (a (1 - a) + b (1 - b)) / N )

    which is three standard errors of the difference of two independent accuracies.

    Args:
        history: The rows of training, each with a validation accuracy if there are validation images.
        num_images: N, the number of validation images.

    Returns:
        The row of the best epoch; None if there was no such fall, or no validation.

    Example:
        >>> from ssvae.inference.training.decline import decline
        >>> rows = [{"epoch": 1, "validation_accuracy": 0.75}, {"epoch": 2, "validation_accuracy": 0.45}]
        >>> decline(rows, 200), decline(rows, 10)
        ({'epoch': 1, 'validation_accuracy': 0.75}, None)
    """
    if not num_images or not history or "validation_accuracy" not in history[-1]:
        return None
    best = max(history, key=lambda row: row["validation_accuracy"])
    a, b = best["validation_accuracy"], history[-1]["validation_accuracy"]
    standard_error = ((a * (1 - a) + b * (1 - b)) / num_images) ** 0.5
    return best if a - b > _STANDARD_ERRORS * standard_error else None
