"""The soak's record: how often each command ran, and every problem."""

import threading
from collections import Counter
from pathlib import Path

from benchmarks.children import Child, Memory
from benchmarks.whole_files import find_differences, find_torn, leftovers, whole_names
from ssvae.inference.storage.checkpoints import METADATA, read_checkpoint

GROWTH = 16.0
"""The largest tolerated growth of a process in MiB, from the first third of its life to the last."""

_NOT_YET = ("does not exist.", "expected a run folder with a config.yaml")


class Watch:
    """Checks a run folder and the commands that use it.

    Args:
        folder: The run folder, which need not exist yet.

    Attributes:
        problems: A sentence for each problem.
        done: The number of times that each command ran.
        memory: The memory of the processes of each kind.
        most_leftovers: The largest number of temporary files at once, including those being written.
        files: A lock, held while files are checked, and while the folder is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        self.memory = {name: Memory() for name in ("explorer", "training, killed", "training, undisturbed")}
        self.most_leftovers = 0
        self.files = threading.Lock()
        self._known: set[Path] = set()
        self._step = 0.0

    def blame(self, problem: str) -> None:
        """Record a problem."""
        print(problem, flush=True)
        self.problems.append(problem)

    def can_be_used(self, checkpoint: str = "last") -> bool:
        """Return whether a command that starts now must find a checkpoint."""
        return (self.folder / "checkpoints" / f"{checkpoint}.ckpt").exists()

    def check_ended(self, child: Child, must_work: bool) -> None:
        """Check the exit status and the output of a command that was not killed.

        Args:
            child: The command.
            must_work: Whether it had to succeed; otherwise it may report that there is no checkpoint yet.
        """
        name, status, errors = f"ssvae {' '.join(child.words)}", child.process.returncode, child.err.strip()
        if "Traceback" in errors or (status == 0 and not child.out.strip()):
            self.blame(f"{name}: expected an answer; got {errors or 'none'}")
        elif status != 0:
            one_sentence = errors.startswith(f"ssvae {child.words[0]}: ") and "\n" not in errors
            if must_work or not (one_sentence and any(words in errors for words in _NOT_YET)):
                self.blame(f"{name}: ended with {status}: {errors}")

    def forget_files(self) -> None:
        """Expect no files, because the folder was removed."""
        self._known.clear()
        self._step = 0.0

    def check_files(self) -> None:
        """Check that every file is whole, that none is lost, and that last.ckpt is not older than before."""
        with self.files:
            names = set(whole_names(self.folder))
            for problem in find_torn(self.folder):
                self.blame(f"torn: {problem}")
            for path in sorted(self._known - names):
                self.blame(f"lost: {path}")
            self._known |= names
            self.done["files checked"] += len(names)
            self.most_leftovers = max(self.most_leftovers, len(leftovers(self.folder)))
            last = self.folder / "checkpoints" / "last.ckpt"
            step = read_checkpoint(last)[METADATA]["history"][-1]["step"] if last.exists() else 0.0
            if step < self._step:
                self.blame(f"lost: {last} is of step {step:.0f} and was of step {self._step:.0f}")
            self._step = step

    def check_end(self, undisturbed: Path) -> None:
        """Check the folder at the end, and compare it with that of the undisturbed run."""
        self.check_files()
        for path in leftovers(self.folder):
            # A killed command may have left temporary figures; training has rewritten all of its own files.
            if path.parent.name != "figures":
                self.blame(f"left behind: {path}")
        for difference in find_differences(undisturbed, self.folder):
            self.blame(f"differs from the undisturbed run: {difference}")
        for name, memory in self.memory.items():
            growth = memory.longest()
            if growth is not None and growth.last - growth.first > GROWTH:
                self.blame(f"memory: {name} grew from {growth.first:.0f} to {growth.last:.0f} MiB")

    def summary(self) -> str:
        """Return the record as a table."""
        rows = [(name, str(times)) for name, times in sorted(self.done.items())]
        rows += [("temporary files left", f"{len(leftovers(self.folder))} (at most {self.most_leftovers} at once)")]
        for name, memory in self.memory.items():
            growth = memory.longest()
            rows.append((f"memory, {name}", "too few measurements" if growth is None else str(growth)))
        rows.append(("problems", str(len(self.problems))))
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
