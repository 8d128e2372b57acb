"""Reading memory-mapped images ahead, while previous training steps are computed."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ssvae.data.batches import Batch, Batches

_BATCHES_AHEAD = 4
_THREADS = 8
"""Disks are faster with several requests at a time."""


class ReadAhead:
    """The batches of an epoch, whose images other threads read a few steps before they are used.

    Memory-mapped images are read from disk at their first access, one after the other. For a batch of random images
    this takes a good part of a step. Here several threads access the images ahead, so that they are in the operating
    system's cache when the step uses them. The process itself keeps no copy.

    Args:
        batches: The batches.
        images: The training images, memory-mapped.
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
        # The copy is discarded; its purpose is to bring the pages into the cache.
        self.images[index]
