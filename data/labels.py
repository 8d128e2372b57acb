"""Choosing the labelled images, and setting validation and test images apart."""

import torch
from torch import Tensor

# Independent of the label seed, so that all draws of labels are evaluated on the same validation and test images. The
# number is the arXiv identifier of Kingma et al. 2014.
_SPLIT_SEED = 14065298

_VALIDATION_SHARE = 0.1

_MANY_LABELS = 1000
"""From this number on a tenth is 100 observations, whose accuracy has a standard error of at most 5 %."""


def draw_labels(
    labels: Tensor,
    num_labels: int | None,
    num_classes: int,
    *,
    balanced: bool,
    seed: int,
    argument: str = "num_labels",
) -> Tensor:
    """Keep ``num_labels`` of the known labels and hide the others.

    For the same seed, the balanced labels of a smaller ``num_labels`` are a subset of those of a larger one. The global
    random state is neither read nor changed.

    Args:
        labels: The classes, int64 (N,), -1 for images without a label.
        num_labels: The number of labels to keep; None for all.
        num_classes: The number of classes K; known labels are in 0 … K - 1.
        balanced: Whether every class keeps num_labels / K labels; otherwise each class keeps its share of the known
            labels, by largest remainder, and at least one.
        seed: The random seed.
        argument: The name of ``num_labels`` in error messages.

    Returns:
        The classes, int64 (N,), in new memory, -1 for hidden labels and images without one.

    Raises:
        TypeError: If ``num_labels`` or ``seed`` is not an integer.
        ValueError: If there are too few known labels.
    """
    check_count("seed", seed)
    if num_labels is None:
        return labels.clone()
    check_count(argument, num_labels)
    if num_labels == 0:
        return torch.full_like(labels, -1)
    available = _class_counts(labels, num_classes)
    if num_labels > sum(available):
        raise ValueError(
            f"{argument}: expected at most the {sum(available)} known labels; got {num_labels} (labels for validation "
            "and testing are not among them)."
        )
    if num_labels < num_classes:
        raise ValueError(
            f"{argument}: expected at least one label for each of the {num_classes} classes (or 0 for none); "
            f"got {num_labels}."
        )
    if 0 in available:
        raise ValueError(f"{argument}: expected a known label of every class; got none of class {available.index(0)}.")
    if balanced:
        share = num_labels // num_classes
        if num_labels % num_classes:
            raise ValueError(
                f"{argument}: expected a multiple of the {num_classes} classes as balanced=True; got {num_labels}: "
                f"write {share * num_classes}, {(share + 1) * num_classes} or balanced=False."
            )
        if min(available) < share:
            raise ValueError(
                f"{argument}: expected at least {share} known labels of every class as balanced=True and "
                f"{argument}={num_labels}; got {min(available)} of class {available.index(min(available))}."
            )
        counts = [share] * num_classes
    else:
        counts = _proportional_counts(available, num_labels, lower=[1] * num_classes, upper=available)
    drawn = torch.full_like(labels, -1)
    chosen = _choose(labels, counts, seed)
    drawn[chosen] = labels[chosen]
    return drawn


def split(
    labels: Tensor, num_held_out: int, num_classes: int, *, argument: str, items: str = "images"
) -> tuple[Tensor, Tensor]:
    """Set labelled images apart, in proportion to the classes' numbers of labels, the same images at every call.

    At least one labelled image of every class stays, and all unlabelled images stay.

    Args:
        labels: The classes, int64 (N,), -1 for unlabelled images.
        num_held_out: The number of images to set apart.
        num_classes: The number of classes K.
        argument: The name of ``num_held_out`` in error messages.
        items: The word for observations in error messages.

    Returns:
        Ascending int64 indices of the images that stay, and of those set apart.

    Raises:
        TypeError: If ``num_held_out`` is not an integer.
        ValueError: If it is negative or leaves a class without a label.
    """
    check_count(argument, num_held_out)
    available = _class_counts(labels, num_classes)
    spare = [max(count - 1, 0) for count in available]
    if num_held_out > sum(spare):
        raise ValueError(
            f"{argument}: expected at most {sum(spare)} {items}, so that a label of each class stays for "
            f"training; got {num_held_out}."
        )
    counts = _proportional_counts(available, num_held_out, lower=[0] * num_classes, upper=spare)
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    is_held_out[_choose(labels, counts, _SPLIT_SEED)] = True
    return (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)


def check_count(argument: str, value: int) -> None:
    """Raise unless ``value`` is an integer from 0 to 2^63 - 1, torch's largest.

    Args:
        argument: The name of the value in the error message.
        value: The argument's value.

    Raises:
        TypeError: If ``value`` is not an integer.
        ValueError: If it is negative, or 2^63 or more.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{argument}: expected an integer; got {value!r}.")
    if value < 0:
        raise ValueError(f"{argument}: expected 0 or more; got {value}.")
    if value >= 2**63:
        raise ValueError(f"{argument}: expected less than 2^63; got {value}.")


def validation_share(fraction: float | None, num_known: int, num_labels: int | None) -> float:
    """Return the share of the labelled observations that is set apart for validation.

    A user's few labels train the model. No choice is made by validation unless it is asked for, and an accuracy on
    some ten observations says little.

    Args:
        fraction: The share; None for a tenth, or for none if all labels are kept and are fewer than 1,000.
        num_known: The number of labelled observations, those of a given test set not counted.
        num_labels: The number of labels that training keeps; None for all. Validation then takes from those that would
            be hidden.
    """
    if fraction is not None:
        return fraction
    return 0.0 if num_labels is None and num_known < _MANY_LABELS else _VALIDATION_SHARE


def check_fractions(validation_fraction: float | None, test_fraction: float) -> None:
    """Refuse shares of validation and test observations outside of [0, 1), and those that leave none for training.

    Args:
        validation_fraction: The share for validation; None for that of `validation_share`.
        test_fraction: The share for testing.

    Raises:
        ValueError: If they are.
    """
    if validation_fraction is None:
        validation_fraction = _VALIDATION_SHARE
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    for argument, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{argument}: expected a number of at least 0 and below 1; got {fraction}.")
    if sum(fractions.values()) >= 1:
        raise ValueError(
            f"validation_fraction: expected validation_fraction + test_fraction below 1; got "
            f"{validation_fraction} + {test_fraction}."
        )


def _class_counts(labels: Tensor, num_classes: int) -> list[int]:
    counts: list[int] = torch.bincount(labels[labels >= 0], minlength=num_classes).tolist()
    return counts


def _choose(labels: Tensor, counts: list[int], seed: int) -> Tensor:
    """Draw ``counts[k]`` indices of each class k, without replacement."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == label][:count] for label, count in enumerate(counts)]
    return torch.cat([order[:0], *chosen])


def _proportional_counts(available: list[int], total: int, lower: list[int], upper: list[int]) -> list[int]:
    """Share ``total`` among the classes in proportion to ``available``, by largest remainder within bounds."""
    if total == 0:
        return [0] * len(available)
    whole = sum(available)
    classes = range(len(available))
    counts = [min(max(total * available[k] // whole, lower[k]), upper[k]) for k in classes]

    # In integers, so that ties are resolved identically on every machine.
    def lack(k: int) -> int:
        return total * available[k] - counts[k] * whole

    while sum(counts) < total:
        counts[max((k for k in classes if counts[k] < upper[k]), key=lack)] += 1
    while sum(counts) > total:
        counts[min((k for k in classes if counts[k] > lower[k]), key=lack)] -= 1
    return counts
