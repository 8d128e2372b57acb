"""What the soak notes: what was done and how often, and every sentence about what was wrong."""

import threading
from collections import Counter
from pathlib import Path

from benchmarks.children import Child, Memory
from benchmarks.whole_files import find_differences, find_torn, leftovers, whole_names
from ssvae.inference.storage.checkpoints import METADATA, read_checkpoint

GROWTH = 16.0
"""MiB that a process may grow from the first third of its life to the last; an allocator's noise is a few."""

_NOT_YET = ("does not exist.", "expected a run folder with a config.yaml")


class Watch:
    """Looks at a run folder and at the commands that use it.

    Args:
        folder: The run folder, which need not exist yet.

    Attributes:
        problems: Sentences: what was wrong.
        done: How often what was done.
        memory: Of the processes of each kind.
        most_leftovers: The most temporary files at once, those of writers at work among them.
        files: Held while files are looked at, and by whoever takes the folder away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        self.memory = {name: Memory() for name in ("explorer", "training, killed", "training, undisturbed")}
        self.most_leftovers = 0
        self.files = threading.Lock()
        self._seen: set[Path] = set()
        self._step = 0.0

    def blame(self, problem: str) -> None:
        """Note that something was wrong."""
        print(problem, flush=True)
        self.problems.append(problem)

    def can_be_used(self, checkpoint: str = "last") -> bool:
        """Say whether a command that begins now must find a checkpoint."""
        return (self.folder / "checkpoints" / f"{checkpoint}.ckpt").exists()

    def judge(self, child: Child, must_work: bool) -> None:
        """Look at the end of a command that was not killed.

        Args:
            child: The command.
            must_work: Whether it had to succeed; it may say that there is no checkpoint yet otherwise.
        """
        name, status, errors = f"ssvae {' '.join(child.words)}", child.process.returncode, child.err.strip()
        if "Traceback" in errors or (status == 0 and not child.out.strip()):
            self.blame(f"{name}: expected an answer; got {errors or 'none'}")
        elif status != 0:
            one_sentence = errors.startswith(f"ssvae {child.words[0]}: ") and "\n" not in errors
            if must_work or not (one_sentence and any(words in errors for words in _NOT_YET)):
                self.blame(f"{name}: ended with {status}: {errors}")

    def forget_files(self) -> None:
        """Expect no file any more, as the folder was taken away."""
        self._seen.clear()
        self._step = 0.0

    def check_files(self) -> None:
        """Look at every file: whole, none lost, and no work either."""
        with self.files:
            names = set(whole_names(self.folder))
            for problem in find_torn(self.folder):
                self.blame(f"torn: {problem}")
            for path in sorted(self._seen - names):
                self.blame(f"lost: {path}")
            self._seen |= names
            self.done["files checked"] += len(names)
            self.most_leftovers = max(self.most_leftovers, len(leftovers(self.folder)))
            last = self.folder / "checkpoints" / "last.ckpt"
            step = read_checkpoint(last)[METADATA]["history"][-1]["step"] if last.exists() else 0.0
            if step < self._step:
                self.blame(f"lost: {last} is of step {step:.0f} and was of step {self._step:.0f}")
            self._step = step

    def check_end(self, undisturbed: Path) -> None:
        """Look at what is left when everything has ended, beside the run that was not disturbed."""
        self.check_files()
        for path in leftovers(self.folder):
            # What only a command writes may have been left by the last one; training has written all of its own again.
            if path.parent.name != "figures":
                self.blame(f"left behind: {path}")
        for difference in find_differences(undisturbed, self.folder):
            self.blame(f"differs from the undisturbed run: {difference}")
        for name, memory in self.memory.items():
            growth = memory.longest()
            if growth is not None and growth.last - growth.first > GROWTH:
                self.blame(f"memory: {name} grew from {growth.first:.0f} to {growth.last:.0f} MiB")

    def summary(self) -> str:
        """Return everything in a table."""
        rows = [(name, str(times)) for name, times in sorted(self.done.items())]
        rows += [("temporary files left", f"{len(leftovers(self.folder))} (at most {self.most_leftovers} at once)")]
        for name, memory in self.memory.items():
            growth = memory.longest()
            told = "too short a life to tell" if growth is None else str(growth)
            rows.append((f"memory, {name}", told))
        rows.append(("problems", str(len(self.problems))))
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
