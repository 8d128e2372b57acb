"""Processes that the soak test starts and kills, and measurements of their memory."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

from benchmarks.processes import memory

_SSVAE = "import sys; from ssvae.inference.command_line.main import main; sys.exit(main())"
_POLL = 0.05
_MEMORY_EVERY = 1.0
_numbers = count(1)


class Child:
    """An ``ssvae`` command in a process group of its own, whose output is written to two files.

    Args:
        words: The words after ``ssvae``.
        logs: The folder for its output.
    """

    _alive: ClassVar[set["Child"]] = set()
    _starting: ClassVar[threading.Lock] = threading.Lock()
    _no_more: ClassVar[bool] = False

    def __init__(self, words: Sequence[str], logs: Path) -> None:
        self.words = words
        self.was_killed = False
        self.began = time.time()
        stem = f"{next(_numbers):05d}-{words[0]}"
        self._paths = logs / f"{stem}.out", logs / f"{stem}.err"
        # One thread for each process, since there are many, and since sums then have the same order in all of them.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self._paths[0].open("wb") as out, self._paths[1].open("wb") as err, Child._starting:
            if Child._no_more:
                raise RuntimeError("no further process can be started")
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SSVAE, *words], stdout=out, stderr=err, env=environment, start_new_session=True
            )
            Child._alive.add(self)

    @property
    def out(self) -> str:
        """Its output so far."""
        return self._paths[0].read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """Its errors and warnings so far."""
        return self._paths[1].read_text(encoding="utf-8", errors="replace")

    def wait(self, until: float) -> bool:
        """Wait for its end, at most until a time of the monotonic clock, and return whether it has ended."""
        while self.process.poll() is None and time.monotonic() < until:
            time.sleep(_POLL)
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it and all processes that it has started with SIGKILL; without effect if it has ended."""
        if self.process.poll() is None:
            self.was_killed = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def forget(self) -> None:
        """Delete its output."""
        Child._alive.discard(self)
        for path in self._paths:
            path.unlink()

    def memory(self) -> float | None:
        """Return its resident memory in MiB; None if it has ended."""
        with suppress(OSError):
            # An ended process that nobody has waited for has no resident memory.
            return memory(self.process.pid, "VmRSS") or None
        return None

    @classmethod
    def kill_all(cls) -> None:
        """Kill all running children, and prevent the start of others."""
        with cls._starting:
            cls._no_more = True
        for child in list(cls._alive):
            child.kill()


@dataclass
class Memory:
    """The resident memory over time of successive processes of one kind.

    Attributes:
        lives: The measurements of each process after its warm-up: seconds and MiB.
    """

    lives: list[list[tuple[float, float]]] = field(default_factory=list)

    def note(self, child: Child, is_warm: Callable[[], bool]) -> None:
        """Measure the memory of a child in a thread until the child ends."""
        life: list[tuple[float, float]] = []
        self.lives.append(life)

        def watch() -> None:
            while child.process.poll() is None:
                memory = child.memory()
                if memory is not None and is_warm():
                    life.append((time.time() - child.began, memory))
                time.sleep(_MEMORY_EVERY)

        threading.Thread(target=watch, daemon=True).start()

    def longest(self) -> "Growth | None":
        """Return the growth of memory of the longest-lived process; None if none lived long enough."""
        life = max(self.lives, key=len, default=[])
        return Growth.of(life) if len(life) >= Growth.FEWEST else None


@dataclass(frozen=True)
class Growth:
    """The growth of a process's memory after its warm-up.

    Attributes:
        seconds: The duration of the measurement.
        first: The median of the first third of the measurements, in MiB.
        last: The median of the last third, in MiB.
        per_hour: The slope of the least-squares line, in MiB per hour.
    """

    FEWEST = 9

    seconds: float
    first: float
    last: float
    per_hour: float

    def __str__(self) -> str:
        return (
            f"{self.first:.1f} MiB at first, {self.last:.1f} at last ({self.per_hour:+.1f} MiB/h over "
            f"{self.seconds / 60:.1f} minutes)"
        )

    @classmethod
    def of(cls, life: Sequence[tuple[float, float]]) -> "Growth":
        """Return the growth for measurements of seconds and MiB."""
        seconds, memory = zip(*life, strict=True)
        third = len(life) // 3
        slope, _ = statistics.linear_regression(seconds, memory)
        return cls(
            seconds[-1] - seconds[0],
            statistics.median(memory[:third]),
            statistics.median(memory[-third:]),
            3600 * slope,
        )
