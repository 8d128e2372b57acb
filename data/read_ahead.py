"""Images that lie on disk, read while the step before theirs is still being taken."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from data.batches import Batch, Batches

_BATCHES_AHEAD = 4


class ReadAhead:
    """The batches of an epoch, whose images a thread touches a few steps before they are used.

    Memory-mapped images are read from disk when they are first looked at, one after the other: for a batch of
    images from all over the file that takes as long as a good part of a step. Touched ahead, they lie in the operating
    system's cache when the step wants them, and only there: the process keeps none.

    Args:
        batches: the batches.
        images: the training images, memory-mapped.
    """

    def __init__(self, batches: Batches, images: Tensor) -> None:
        self.batches = batches
        self.images = images

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        waiting: deque[tuple[Batch, Future[None]]] = deque()
        with ThreadPoolExecutor(1, "read-ahead") as thread:
            try:
                for batch in self.batches:
                    waiting.append((batch, thread.submit(self._touch, batch)))
                    if len(waiting) > _BATCHES_AHEAD:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                thread.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _next(waiting: deque[tuple[Batch, Future[None]]]) -> Batch:
        batch, touched = waiting.popleft()
        touched.result()
        return batch

    def _touch(self, batch: Batch) -> None:
        # A copy that is thrown away: what counts is that the pages are there.
        self.images[torch.cat(batch)]
