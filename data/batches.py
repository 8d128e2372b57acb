"""Batches of labelled, unlabelled and partially labelled images for each training step."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssvae.data.observations import Data

_UNLABELLED, _LABELLED, _PARTIAL = 0, 1, 2
_LABELLED_AT_ONCE = _PARTIAL_AT_ONCE = 100
_STEPS_AT_ONCE = 1000


class Batch(NamedTuple):
    """The images of one training step, as indices into the training set.

    Attributes:
        labelled: Int64 indices (B_l,) of labelled images; of length 0 if there are none.
        unlabelled: Int64 indices (B_u,) of unlabelled images; of length 0 if there are none.
        partial: Int64 indices (B_p,) of partially labelled images; of length 0 if there are none.
    """

    labelled: Tensor
    unlabelled: Tensor
    partial: Tensor


class Batches:
    """Batches of indices of labelled, unlabelled and partially labelled images.

    A pass goes through the unlabelled images in a new random order, ``batch_size`` at a time. The remainder is dropped,
    a different one in every pass. Each batch is thus a uniformly drawn subset, and the mean over it is unbiased. Every
    batch also has ``labelled_batch_size`` labelled images. These are taken from successive random orders of all
    labelled images, across passes: their numbers of appearances never differ by more than one. Every batch has 100
    partially labelled images too, or all if there are fewer, taken in the same way.

    Without unlabelled images a pass goes through the partially labelled images, and without these through the labelled
    ones.

    An epoch is a pass. A pass of more than 1000 steps is split into ``num_parts`` epochs of equal length, so that
    training on many images is logged, validated and saved in between. The batches of an epoch depend on the seed and
    the number of the epoch only, so that a resumed run gets the same batches as an uninterrupted one.

    If the training images have weights, an image with weight w_i appears n w_i / Σ w times in a random order of n
    images, rounded up or down at random with this expectation (systematic sampling). The mean over a batch is then an
    unbiased estimate of the weighted mean over the images of its kind.

    Several processes can share a step: each takes an equal part of every batch, without overlap, so that the mean over
    the processes' means is the mean over the batch.

    Example:
        >>> from ssvae.data import Batches, Digits
        >>> batches = Batches(Digits(num_labels=50), batch_size=100)
        >>> [len(index) for index in next(iter(batches))]
        [50, 100, 0]

    Args:
        data: The data set, or int64 indices of the labelled, the unlabelled and the partially labelled images.
        batch_size: The number of unlabelled images in a batch.
        labelled_batch_size: The number of labelled images in a batch. Default: 100, or all if there are fewer, rounded
            down to a multiple of ``num_processes``.
        seed: The random seed of the orders.
        num_processes: The number of processes that share every batch.

    Raises:
        ValueError: If there are no images, or a batch size is not positive, exceeds the number of images or is not a
            multiple of ``num_processes``.

    Attributes:
        num_parts: The number of epochs in a pass.
        process: The number of this process, from 0.
    """

    def __init__(
        self,
        data: Data | tuple[Tensor, Tensor, Tensor],
        batch_size: int,
        labelled_batch_size: int | None = None,
        *,
        seed: int = 0,
        num_processes: int = 1,
    ) -> None:
        weights = data.train_weights if isinstance(data, Data) else None
        if isinstance(data, Data):
            data = data.labelled_index, data.unlabelled_index, data.partially_labelled_index
        labelled, unlabelled, partial = data
        if len(labelled) + len(unlabelled) + len(partial) == 0:
            raise ValueError("data: expected at least one image; got none.")
        if labelled_batch_size is None:
            labelled_batch_size = _shared(min(_LABELLED_AT_ONCE, len(labelled)), num_processes)
        elif labelled_batch_size < 1:
            raise ValueError(f"labelled_batch_size: expected at least 1; got {labelled_batch_size}.")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1; got {batch_size}.")
        if 0 < len(unlabelled) < batch_size:
            raise ValueError(
                f"batch_size: expected at most {len(unlabelled)}, the number of unlabelled images; got {batch_size}."
            )
        if 0 < len(labelled) < labelled_batch_size:
            raise ValueError(
                f"labelled_batch_size: expected at most {len(labelled)}, the number of labelled images; "
                f"got {labelled_batch_size}."
            )
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more; got {seed}.")
        for name, index, size in (
            ("batch_size", unlabelled, batch_size),
            ("labelled_batch_size", labelled, labelled_batch_size),
        ):
            if len(index) and size % num_processes:
                raise ValueError(
                    f"{name}: expected a multiple of {num_processes}, the number of processes; got {size}."
                )
        for kind, index in (("labelled", labelled), ("partially labelled", partial)):
            if 0 < len(index) < num_processes:
                raise ValueError(
                    f"data: expected a {kind} image for each of the {num_processes} processes; got {len(index)}."
                )
        self.labelled_index = labelled
        self.unlabelled_index = unlabelled
        self.partially_labelled_index = partial
        self.weights = None if weights is None else weights.numpy()
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size if len(labelled) else 0
        self.partial_batch_size = _shared(min(_PARTIAL_AT_ONCE, len(partial)), num_processes)
        self.seed = seed
        self.num_processes = num_processes
        self.epoch = 0
        self.num_parts = -(-self._steps_per_pass // _STEPS_AT_ONCE)
        self.process = 0

    @property
    def _steps_per_pass(self) -> int:
        if len(self.unlabelled_index):
            return len(self.unlabelled_index) // self.batch_size
        if len(self.partially_labelled_index):
            return len(self.partially_labelled_index) // self.partial_batch_size
        return len(self.labelled_index) // self.labelled_batch_size

    def __len__(self) -> int:
        """Steps per epoch."""
        # Parts of equal length; further steps of the pass are dropped.
        return self._steps_per_pass // self.num_parts

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose batches the next pass yields.

        Args:
            epoch: The number of the epoch.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch: expected 0 or more; got {epoch}.")
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        steps = len(self)
        number, part = divmod(self.epoch, self.num_parts)
        streams = {
            _LABELLED: (self.labelled_index, self.labelled_batch_size),
            _UNLABELLED: (self.unlabelled_index, self.batch_size),
            _PARTIAL: (self.partially_labelled_index, self.partial_batch_size),
        }
        # The pass is over one kind of images; batches of the other kinds come from their walks.
        main_kind = next(kind for kind in (_UNLABELLED, _PARTIAL, _LABELLED) if len(streams[kind][0]))
        orders = {
            kind: self._order(index, kind, number)[part * steps * size :]
            if kind == main_kind
            else self._walk(index, kind, steps * size)
            for kind, (index, size) in streams.items()
        }
        for step in range(steps):
            batch = {kind: slice(step * size, (step + 1) * size) for kind, (_, size) in streams.items()}
            yield Batch(*(self._own_part(orders[kind][batch[kind]]) for kind in (_LABELLED, _UNLABELLED, _PARTIAL)))

    def _own_part(self, batch: Tensor) -> Tensor:
        """Return this process's part of a batch."""
        return batch[self.process :: self.num_processes]

    def _order(self, index: Tensor, kind: int, number: int) -> Tensor:
        """Return the random order with this number of the images of a kind; by weight if there are weights."""
        generator = np.random.default_rng((self.seed, kind, number))
        order = generator.permutation(len(index))
        if self.weights is None or not len(index):
            return index[torch.from_numpy(order)]
        ends = np.cumsum(self.weights[index.numpy()])
        points = (generator.uniform() + order) / len(index) * ends[-1]
        return index[torch.from_numpy(np.searchsorted(ends, points, side="right").clip(max=len(index) - 1))]

    def _walk(self, index: Tensor, kind: int, length: int) -> Tensor:
        """Return this epoch's part of the walk through successive random orders of the images of a kind."""
        if length == 0 or len(index) == 0:
            return index[:0]
        first, offset = divmod(self.epoch * length, len(index))
        num_orders = -(-(offset + length) // len(index))
        orders = [self._order(index, kind, first + number) for number in range(num_orders)]
        return torch.cat(orders)[offset : offset + length]


def _shared(size: int, num_processes: int) -> int:
    """Return a batch size rounded down to a multiple of the number of processes."""
    return size - size % num_processes
