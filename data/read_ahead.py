"""Images that lie on disk, read while the steps before theirs are still being taken."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ssvae.data.batches import Batch, Batches

_BATCHES_AHEAD = 4
_THREADS = 8
"""A disk that is asked for one image at a time is asked for little."""


class ReadAhead:
    """The batches of an epoch, whose images are touched by other threads a few steps before they are used.

    Memory-mapped images are read from disk when they are first looked at, one after the other: for a batch of
    images from all over the file that takes as long as a good part of a step. Touched ahead, several at a time, they
    lie in the operating system's cache when the step wants them, and only there: the process keeps none.

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
        waiting: deque[tuple[Batch, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(_THREADS, "read-ahead") as threads:
            try:
                for batch in self.batches:
                    waiting.append(
                        (batch, [threads.submit(self._touch, part) for part in torch.cat(batch).chunk(_THREADS)])
                    )
                    if len(waiting) > _BATCHES_AHEAD:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                threads.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _next(waiting: deque[tuple[Batch, list[Future[None]]]]) -> Batch:
        batch, touched = waiting.popleft()
        for part in touched:
            part.result()
        return batch

    def _touch(self, index: Tensor) -> None:
        # A copy that is thrown away: what counts is that the pages are there.
        self.images[index]
