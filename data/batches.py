"""Which images each step sees."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.images import ImageData

_UNLABELLED, _LABELLED, _PARTLY = 0, 1, 2
_PARTLY_AT_ONCE = 100


class Batch(NamedTuple):
    """One step's images, as indices into the training set.

    Attributes:
        labelled: int64 indices (B_l,) of labelled images; of length 0 if there are none.
        unlabelled: int64 indices (B_u,) of unlabelled images; of length 0 if there are none.
        partly: int64 indices (B_p,) of partly labelled images; of length 0 if there are none.
    """

    labelled: Tensor
    unlabelled: Tensor
    partly: Tensor


class Batches:
    """Batches of indices, labelled and unlabelled side by side.

    An epoch is one pass over the unlabelled images in a fresh random order, `batch_size` at a time. The
    remainder is dropped, another one every epoch, so each batch is a uniformly drawn subset and the mean over
    it is unbiased. Beside each lie `labelled_batch_size` labelled images, from a walk through one random
    order of them after another that goes on over the epochs: at any time their numbers of appearances differ
    by at most one. In the same way as many partly labelled ones, or all if there are fewer, lie beside them.

    Without unlabelled images an epoch is a pass over the partly labelled ones, without those over the labelled
    ones, that many at a time.

    The batches of an epoch depend on the seed and the epoch only, so a resumed run sees those it would have
    seen.

    Args:
        data: the images, or int64 index tensors: of the labelled, the unlabelled and the partly labelled ones.
        batch_size: number of unlabelled images in a batch.
        labelled_batch_size: number of labelled images in a batch; None for 100, or all if there are fewer.
        seed: which random orders.

    Raises:
        ValueError: if there are no images, or a batch size is not positive or exceeds the number of images.
    """

    def __init__(
        self,
        data: ImageData | tuple[Tensor, Tensor, Tensor],
        batch_size: int,
        labelled_batch_size: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if isinstance(data, ImageData):
            data = data.labelled_index, data.unlabelled_index, data.partly_labelled_index
        labelled, unlabelled, partly = data
        if len(labelled) + len(unlabelled) + len(partly) == 0:
            raise ValueError("data: expected at least one image, got none.")
        if labelled_batch_size is None:
            labelled_batch_size = min(100, len(labelled))
        elif labelled_batch_size < 1:
            raise ValueError(f"labelled_batch_size: expected at least 1, got {labelled_batch_size}.")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}.")
        if 0 < len(unlabelled) < batch_size:
            raise ValueError(
                f"batch_size: expected at most {len(unlabelled)}, the number of unlabelled images, got {batch_size}."
            )
        if 0 < len(labelled) < labelled_batch_size:
            raise ValueError(
                f"labelled_batch_size: expected at most {len(labelled)}, the number of labelled images, "
                f"got {labelled_batch_size}."
            )
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {seed}.")
        self.labelled_index = labelled
        self.unlabelled_index = unlabelled
        self.partly_labelled_index = partly
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size if len(labelled) else 0
        self.partly_batch_size = min(_PARTLY_AT_ONCE, len(partly))
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Steps per epoch."""
        if len(self.unlabelled_index):
            return len(self.unlabelled_index) // self.batch_size
        if len(self.partly_labelled_index):
            return len(self.partly_labelled_index) // self.partly_batch_size
        return len(self.labelled_index) // self.labelled_batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose batches the next pass yields.

        Args:
            epoch: number of the epoch.

        Raises:
            ValueError: if `epoch` is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch: expected 0 or more, got {epoch}.")
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        steps = len(self)
        streams = {
            _LABELLED: (self.labelled_index, self.labelled_batch_size),
            _UNLABELLED: (self.unlabelled_index, self.batch_size),
            _PARTLY: (self.partly_labelled_index, self.partly_batch_size),
        }
        # The epoch is a pass over one kind; the others go on beside it.
        passed = next(kind for kind in (_UNLABELLED, _PARTLY, _LABELLED) if len(streams[kind][0]))
        orders = {
            kind: self._order(index, kind, self.epoch) if kind == passed else self._walk(index, kind, steps * size)
            for kind, (index, size) in streams.items()
        }
        for step in range(steps):
            part = {kind: slice(step * size, (step + 1) * size) for kind, (_, size) in streams.items()}
            yield Batch(*(orders[kind][part[kind]] for kind in (_LABELLED, _UNLABELLED, _PARTLY)))

    def _order(self, index: Tensor, kind: int, number: int) -> Tensor:
        """A random order of `index`: the one with this number among those of its kind."""
        generator = np.random.default_rng((self.seed, kind, number))
        return index[torch.from_numpy(generator.permutation(len(index)))]

    def _walk(self, index: Tensor, kind: int, length: int) -> Tensor:
        """This epoch's stretch of the walk through successive orders of the images of a kind."""
        if length == 0 or len(index) == 0:
            return index[:0]
        first, offset = divmod(self.epoch * length, len(index))
        num_orders = -(-(offset + length) // len(index))
        orders = [self._order(index, kind, first + number) for number in range(num_orders)]
        return torch.cat(orders)[offset : offset + length]
