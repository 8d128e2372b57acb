"""`python -m benchmarks.soak --minutes 60`: a soak test of a run folder, used by all commands at once and killed.

``ssvae fit`` trains a run on the bundled digits. It is killed with SIGKILL at random times, half of them while a file
is written, and resumed until it has finished. A finished run is resumed again for the rest of the time. Meanwhile other
processes evaluate the run, draw its figures, attack it and so on; some of them are killed too. ``ssvae explore`` serves
the run and gets requests over HTTP. The same run is also trained undisturbed, in another folder.

After each kill every file must be complete, no file may be lost, and last.ckpt must not be older than before. Each
command must succeed, or report in one sentence that there is no checkpoint yet. The explorer must respond with the
right status. Memory must not grow after a warm-up. At the end both runs must have the same weights bit for bit, the
same metrics and the same evaluation. The exit status is 1 if anything was wrong; the folders are then kept.

``--minutes`` is the duration of the disturbances. A short run before them determines how many steps fit in. A run that
has not finished afterwards continues undisturbed. Linux only.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path

from benchmarks.children import Child
from benchmarks.questions import draw_question, picture
from benchmarks.watch import Watch
from benchmarks.whole_files import leftovers
from ssvae.inference.storage.checkpoints import METADATA, read_checkpoint

SHARE = 0.25
"""The share of the minutes for training, if it had the machine for itself; restarts and other processes need time."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "evaluate": ("--num_samples=10", "--num_images=100"),
    "evaluate --checkpoint=best": ("--num_samples=10", "--num_images=100"),
    "generate": (),
    "features": (),
    "score": ("--num_samples=10", "--max_steps=50"),
    "attack": ("--epsilons=[0, 0.2]", "--num_images=50", "--num_steps=3"),
    "classify": ("image.png",),
}
"""Few samples and images suffice, because the soak tests files, not numbers."""

_RATE_STEPS = 100
_LONGEST_PAUSE = 10  # seconds between two commands, so that training proceeds
_WARM_UP = 50  # responses of the explorer: a few of each kind


def main() -> int:
    """Soak a run, print the summary, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="duration of the disturbances")
    parser.add_argument("--seed", type=int, default=0, help="random seed for the run and the disturbances")
    parser.add_argument(
        "--folder", help="an empty folder for the runs (default: a temporary one, removed if nothing was wrong)"
    )
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error(f"--minutes: expected a positive number; got {options.minutes}.")
    folder = Path(options.folder or tempfile.mkdtemp(prefix="soak-")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--folder: expected an empty folder; {folder} is none.")
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell ignores Ctrl-C by default
        signal.signal(number, signal.default_int_handler)
    soak = Soak(folder, options.minutes, options.seed)
    try:
        soak.run()
    except KeyboardInterrupt:
        print(f"soak: interrupted; {folder} holds what there is.", file=sys.stderr)
        return 1
    finally:
        soak.stop()
    print(f"\n{soak.watch.summary()}")
    problems = soak.watch.problems
    if problems:
        (folder / "problems.txt").write_text("\n".join(problems) + "\n", encoding="utf-8")
        print(f"\nsoak: expected no problem; got {len(problems)}: {folder / 'problems.txt'}", file=sys.stderr)
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


class Soak:
    """The disturbed and the undisturbed run, and the actors, each of which runs in a thread."""

    def __init__(self, folder: Path, minutes: float, seed: int) -> None:
        self.folder, self.minutes, self.seed = folder, minutes, seed
        self.soaked, self.undisturbed = folder / "soaked", folder / "undisturbed"
        self.watch = Watch(self.soaked)
        self._max_steps = _RATE_STEPS
        self._mean_life = 0.0
        self._end = float("inf")
        self._stopped = False

    def run(self) -> None:
        """Run the soak test.

        Raises:
            KeyboardInterrupt: If Ctrl-C or SIGTERM came.
        """
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "image.png").write_bytes(picture(random.Random(self.seed)))
        self._measure()
        print(
            f"{self.minutes:g} minutes; {self._max_steps} steps, killed every {self._mean_life:.0f} s on average",
            flush=True,
        )
        self._end = time.monotonic() + 60 * self.minutes
        actors = [self._train_undisturbed, self._train_and_kill, self._use, self._use, self._explore]
        threads = [self._start(actor, random.Random(f"{self.seed} {n}")) for n, actor in enumerate(actors)]
        for thread in threads:
            while thread.is_alive():
                thread.join(1)  # in short waits, since Ctrl-C would otherwise wait for the end
        if not self._stopped:
            self.watch.check_end(self.undisturbed)

    def stop(self) -> None:
        """Kill all running processes."""
        self._stopped = True
        Child.kill_all()

    def _start(self, actor: Callable[[random.Random], None], chance: random.Random) -> threading.Thread:
        """Run an actor in a thread. If it fails, the soak test ends."""

        def act() -> None:
            try:
                actor(chance)
            except Exception as error:
                if not self._stopped:
                    self.watch.blame(f"the soak itself: {type(error).__name__}: {error}")
                    self.stop()

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        return thread

    def _child(self, *words: str) -> Child:
        return Child(words, self.folder / "logs")

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._end and not self._stopped

    def _fit(self, folder: Path) -> tuple[str, ...]:
        return "fit", f"--folder={folder}", f"--max_steps={self._max_steps}", f"--seed={self.seed}"

    def _measure(self) -> None:
        """Measure by a short run how many steps fit in, and how long a process takes to start."""
        folder = self.folder / "rate"
        started = time.monotonic()
        child = self._child(*self._fit(folder))
        while not _first_weights(folder).exists() and not child.wait(time.monotonic() + 0.1):
            pass
        # Five times the start of a process: all processes start at once, and a run that is usually killed earlier would
        # make no progress. A soak test that is too short for this trains the run after its minutes.
        self._mean_life = min(5 * (time.monotonic() - started), 15 * self.minutes)
        self._let_finish(child)
        rows = [read_checkpoint(path)[METADATA]["history"][-1] for path in folder.rglob("last.ckpt")]
        shutil.rmtree(folder)
        per_step = sum(row["seconds"] / row["step"] for row in rows)
        self._max_steps = max(_RATE_STEPS, int(SHARE * 60 * self.minutes / per_step))

    def _let_finish(self, child: Child) -> None:
        """Wait for a process that must succeed."""
        child.wait(float("inf"))
        if not child.was_killed:
            self.watch.check_ended(child, must_work=True)
        child.forget()

    def _train_undisturbed(self, chance: random.Random) -> None:
        child = self._child(*self._fit(self.undisturbed))
        self.watch.memory["training, undisturbed"].note(child, partial(_trains, self.undisturbed, child))
        self._let_finish(child)

    def _train_and_kill(self, chance: random.Random) -> None:
        """Train, kill and resume the run until it has finished and the time is over."""
        finished = False
        while (self._goes_on or not finished) and not self._stopped:
            child = self._child(*self._words_to_go_on())
            self.watch.memory["training, killed"].note(child, partial(_trains, self.soaked, child))
            moment = time.monotonic() + chance.expovariate(1 / self._mean_life)
            if not child.wait(min(moment, self._end)) and self._goes_on:
                self._kill(child, chance)
            if child.was_killed:
                self.watch.done["fit, killed"] += 1
                child.forget()
            else:
                self._let_finish(child)
                self.watch.done["fit, finished"] += 1
                finished = True
            self.watch.check_files()

    def _words_to_go_on(self) -> tuple[str, ...]:
        if _first_weights(self.soaked).exists():
            self.watch.done["fit, resumed"] += 1
            return "fit", f"--resume={self.soaked}"
        # Killed before its first weights were saved: there is nothing to resume.
        with self.watch.files:
            shutil.rmtree(self.soaked, ignore_errors=True)
            self.watch.forget_files()
        return self._fit(self.soaked)

    def _kill(self, child: Child, chance: random.Random) -> None:
        """Kill a process, in half of the cases as soon as some process has begun to write a file."""
        if chance.random() < 0.5:
            before = self._writes()
            while child.process.poll() is None and self._goes_on and self._writes() <= before:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.02))
        child.kill()

    def _writes(self) -> set[tuple[Path, int]]:
        """Return the temporary files with their times of modification."""
        times = set()
        for path in leftovers(self.soaked):
            try:
                times.add((path, path.stat().st_mtime_ns))
            except FileNotFoundError:  # it has replaced its file
                times.add((path, 0))
        return times

    def _use(self, chance: random.Random) -> None:
        """Run one command after another on the run, and kill a quarter of them."""
        while self._goes_on:
            name = chance.choice(list(COMMANDS))
            options = [word.replace("image.png", str(self.folder / "image.png")) for word in COMMANDS[name]]
            must_work = self.watch.can_be_used("best" if "best" in name else "last")
            command, *checkpoint = name.split()
            child = self._child(command, str(self.soaked), *options, *checkpoint)
            is_doomed = chance.random() < 0.25
            moment = time.monotonic() + chance.expovariate(3 / self._mean_life) if is_doomed else float("inf")
            if not child.wait(moment):
                self._kill(child, chance)
            if child.was_killed:
                self.watch.check_files()
            else:
                self.watch.check_ended(child, must_work)
            self.watch.done[f"{name}, killed" if child.was_killed else name] += 1
            child.forget()
            time.sleep(chance.uniform(0, _LONGEST_PAUSE))

    def _explore(self, chance: random.Random) -> None:
        """Serve the run and send requests; kill the server about three times, and serve again."""
        while self._goes_on:
            must_work = self.watch.can_be_used()
            child = self._child("explore", str(self.soaked), "--port=0", "--open=false")
            address = self._address(child)
            if address is not None:
                life = threading.Timer(chance.expovariate(1 / (20 * self.minutes)), child.kill)
                life.start()
                self._ask(child, address, chance)
                life.cancel()
            elif child.process.poll() is not None:
                self.watch.check_ended(child, must_work)
                time.sleep(1)
            child.kill()
            if "Traceback" in child.err:
                self.watch.blame(f"ssvae explore: {child.err}")
            self.watch.done["explore, killed" if child.was_killed else "explore, refused"] += 1
            child.forget()

    def _address(self, child: Child) -> str | None:
        """Wait until an explorer is served and return its address; None if it has ended."""
        while not child.wait(time.monotonic() + 0.2) and self._goes_on:
            _, separator, rest = child.out.partition("http://")
            if separator and " " in rest:
                return f"http://{rest.split()[0]}"
        return None

    def _ask(self, child: Child, address: str, chance: random.Random) -> None:
        """Send requests to an explorer until it is killed or the time is over."""
        answered: Counter[str] = Counter()
        self.watch.memory["explorer"].note(child, lambda: answered["warm-up"] >= _WARM_UP)
        while self._goes_on:
            question = draw_question(chance)
            problem = None
            try:
                problem = question.ask(address)
            except (OSError, HTTPException) as error:
                if child.was_killed:
                    return
                # The server stops reading a body that is too long, which the client may notice before the response.
                if question.status != 413:
                    problem = f"/{question.path}: no answer, {error}"
            if problem is not None:
                self.watch.blame(f"ssvae explore: {problem} {child.err}")
                if child.process.poll() is not None:
                    return
            answered["warm-up"] += 1
            self.watch.done["HTTP requests"] += 1
            time.sleep(0.1)


def _first_weights(folder: Path) -> Path:
    return folder / "checkpoints" / "initial.ckpt"


def _trains(folder: Path, child: Child) -> bool:
    """Return whether a process trains the model: it has logged an epoch, and no baseline has begun."""
    metrics = folder / "metrics.csv"
    return metrics.exists() and metrics.stat().st_mtime > child.began and not (folder / "baselines").exists()


if __name__ == "__main__":
    sys.exit(main())
