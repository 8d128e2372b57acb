"""The time that a long task still takes: a progress bar in a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FIRST_LINE = 4.0
_SECONDS_BETWEEN_LINES = 28.0
"""A little earlier than promised, since a piece may take longer than the one before."""

_SHORTEST_TASK = 10.0
"""Of tasks that take less, in seconds, nothing is said."""


class TimeLeft:
    """The time that a task still takes, estimated from its pieces so far, and said in lines on the error stream.

    A line is such as "training: about 3 minutes left (140 of 500 steps)". The first one comes within five seconds, and
    then one every 30 seconds; a piece that takes longer delays it. A task of less than ten seconds has none. The
    estimate is the mean time of the latest half to three quarters of the pieces, times the number of those left. Slow
    pieces at the beginning, in which libraries choose algorithms and allocate memory, therefore count only at first.

    Args:
        task: What is done, such as "training".
        total: The number of pieces.
        unit: What a piece is, in the plural: "steps", "images".
        done: The number of pieces done before, of a task that is resumed.
        prints_lines: Whether to print lines; otherwise only `seconds` can be asked for.
        clock: A function that returns the time in seconds.
    """

    def __init__(
        self,
        task: str,
        total: int,
        unit: str,
        *,
        done: int = 0,
        prints_lines: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.task = task
        self.total = total
        self.unit = unit
        self.done = done
        self.prints_lines = prints_lines
        self.clock = clock
        self.restart()

    def restart(self, proviso: str = "") -> None:
        """Forget the pieces so far, because those that follow take another time, as in another stage of training.

        Args:
            proviso: What the estimate takes for granted, such as " at the pace of this stage"; part of each line.
        """
        self.proviso = proviso
        self._first = self.done
        self._began = self._latest = self.clock()
        self._marks = [(self.done, self._began)]  # after 0, 1, 2, 4, 8, … pieces
        self._next_line = self._began + _FIRST_LINE

    def advance(self, number: int = 1) -> None:
        """Count pieces as done, and print a line if one is due before the next ones are done."""
        if not number:
            return
        now = self.clock()
        last, self._latest = now - self._latest, now
        self.done += number
        if self.done - self._first >= 2 * (self._marks[-1][0] - self._first):
            self._marks.append((self.done, now))
        left = self.seconds
        if left is None or self.done >= self.total or now + last <= self._next_line:
            return
        if now - self._began + left < _SHORTEST_TASK:
            return
        self._next_line = now + _SECONDS_BETWEEN_LINES
        if self.prints_lines:
            counts = f"{self.done:,} of {self.total:,} {self.unit}"
            print(f"{self.task}: {in_words(left)} left{self.proviso} ({counts})", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float | None:
        """The estimate of the time left, in seconds; None before the first piece is done."""
        if self.done == self._first:
            return None
        half = self._first + (self.done - self._first) // 2
        since, began = [mark for mark in self._marks if mark[0] <= half][-1]
        return (self._latest - began) / (self.done - since) * (self.total - self.done)


def in_words(seconds: float) -> str:
    """Return a duration as words, with one or two digits.

    Example:
        >>> from ssvae.data.time_left import in_words
        >>> in_words(3), in_words(42), in_words(170), in_words(9000)
        ('less than 10 seconds', 'about 40 seconds', 'about 3 minutes', 'about 2.5 hours')
    """
    if seconds < 10:
        return "less than 10 seconds"
    if seconds < 55:
        return f"about {10 * round(seconds / 10)} seconds"
    if seconds < 90 * 60:
        minutes = round(seconds / 60)
        return f"about {minutes} minute{'s' * (minutes > 1)}"
    return f"about {seconds / 3600:.1f} hours"


@contextmanager
def progress(task: str, total: int, unit: str, *, is_shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show the progress of a task inside a ``with`` block: a bar in a terminal, the lines of `TimeLeft` elsewhere.

    A notebook, whose cells would keep the lines, shows nothing.

    Args:
        task: What is done, such as "log p(x)".
        total: The number of pieces.
        unit: What a piece is, in the plural.
        is_shown: Whether to show anything.

    Returns:
        A function that counts pieces as done.
    """
    if is_shown and sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=task, unit=f" {unit}", leave=False) as bar:
            yield bar.update
    else:
        yield TimeLeft(task, total, unit, prints_lines=is_shown and not is_notebook()).advance


def is_notebook() -> bool:
    """Return whether the program runs in a notebook."""
    return "ipykernel" in sys.modules
