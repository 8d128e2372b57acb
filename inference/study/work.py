"""Run a study: one run after the other in this process, or in parallel on a Ray cluster."""

import json
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import Timeout

from ssvae.data.time_left import TimeLeft
from ssvae.inference.runs.report import hardware
from ssvae.inference.storage.files import alone, write_atomically
from ssvae.inference.study.plan import Cell, Plan
from ssvae.inference.study.version import code_version, commit

RUNS = "runs"

Fit = Callable[[list[str]], bool]
"""Runs ``ssvae fit`` with these arguments, prints errors to stderr, and returns whether it succeeded."""

Ended = Generator[tuple[str, bool]]
"""Yields the name of each run that has ended, and whether it succeeded."""

_RETRIES = 3


def run_study(
    plan: Plan, folder: Path, fit: Fit, ray: str | None = None, after_each: Callable[[], object] = lambda: None
) -> list[str]:
    """Do the remaining runs of a study.

    Complete runs are skipped, incomplete ones resumed. Both must have been made by this version of the code and with
    the same options.

    Args:
        plan: The study.
        folder: The folder of the study. Run folders are in its subfolder "runs".
        fit: Function that does a run.
        ray: The address of a Ray cluster whose machines share the folder and have this version of the code; "auto" for
            the cluster of this machine, "local" for the cores of this machine only. None to do one run after the other.
        after_each: Called after each run, whether it succeeded or failed.

    Returns:
        The names of the runs that failed.

    Raises:
        ValueError: If an existing run was made by another version of the code or with other options, or another process
            is working on this study.
    """
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for cell in plan.cells:
            check_same(cell, folder)
        left = [cell for cell in plan.cells if not is_done(cell, folder)]
        print(f"{len(plan.cells)} runs, {len(plan.cells) - len(left)} of them done", flush=True)
        failed, time_left = [], TimeLeft("study", len(left), "runs")
        with closing(_here(left, folder, fit) if ray is None else _on_ray(left, folder.resolve(), fit, ray)) as ended:
            for name, succeeded in ended:
                if not succeeded:
                    failed.append(name)
                after_each()
                time_left.advance()
        return failed


def is_done(cell: Cell, folder: Path) -> bool:
    """Return whether a run has its evaluation and its report, which is written last."""
    run = folder / RUNS / cell.name
    return (run / "evaluation.json").is_file() and (run / "report.md").is_file()


def check_same(cell: Cell, folder: Path) -> None:
    """Raise ValueError if a run exists that was made by other code or with other options."""
    run = folder / RUNS / cell.name
    if not run.exists():
        return
    try:
        origin = json.loads(_origin(cell, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"study: expected runs that this study started; got {run}, whose origin is unknown."
        ) from error
    if origin["code"] != code_version():
        raise ValueError(
            f"study: expected runs of this version of the code, {code_version()}; got {run}, which is of "
            f"{origin['code']}. Choose another --folder, or remove this one."
        )
    if origin["options"] != cell.identity:
        raise ValueError(
            f"study: expected runs with the options of the study file; got {run}, whose options differ: "
            f"{_difference(origin['options'], cell.identity)}. Choose another --folder, or remove this one."
        )


def do(cell: Cell, folder: Path, fit: Fit) -> bool:
    """Do or resume one run in this process, and return whether it succeeded."""
    check_same(cell, folder)
    run = folder / RUNS / cell.name
    print(f"\n{cell.name}", flush=True)
    if is_done(cell, folder):
        return True
    if (run / "config.yaml").is_file() and (run / "checkpoints" / "initial.ckpt").is_file():
        return fit([f"--resume={run}"])
    # Killed before the first checkpoint: nothing is lost.
    shutil.rmtree(run, ignore_errors=True)
    origin = {"code": code_version(), "commit": commit(), "options": cell.identity, "hardware": hardware()}
    write_atomically(_origin(cell, folder), json.dumps(origin, indent=2) + "\n")
    return fit([*cell.words, f"--folder={run}"])


def _origin(cell: Cell, folder: Path) -> Path:
    return folder / RUNS / f"{cell.name}.json"


def _difference(theirs: list[str], ours: list[str]) -> str:
    changed = [word for word in (*theirs, *ours) if (word in theirs) != (word in ours)]
    return ", ".join(changed) or "another order"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the study against other processes of this machine."""
    try:
        with alone(folder / "lock", wait=False):
            yield
    except Timeout:
        raise ValueError(f"study: expected no other process that works on {folder}; got one.") from None


def _here(cells: list[Cell], folder: Path, fit: Fit) -> Ended:
    for cell in cells:
        yield cell.name, do(cell, folder, fit)


def _on_ray(cells: list[Cell], folder: Path, fit: Fit, address: str) -> Ended:
    """Do the runs on the workers of a cluster; if a worker dies, another one resumes its run."""
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "--ray: expected Ray to be installed (pip install 'ssvae[ray]'); got no such package."
        ) from error

    # In the worker's process, so that killing the worker ends the run.
    def task(cell: Cell, version: str) -> bool:
        if code_version() != version:
            raise RuntimeError(f"expected the code {version} on every machine; got {code_version()}")
        return do(cell, folder, fit)

    # Ray installs a handler for SIGTERM and does not remove it.
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=True)
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(task)
        pending = {remote.remote(cell, code_version()): cell for cell in cells}
        while pending:
            (ready,), _ = ray.wait(list(pending))
            cell = pending.pop(ready)
            try:
                succeeded = ray.get(ready)
            except ray.exceptions.RayError as error:
                print(f"{cell.name}: {str(error).strip().splitlines()[-1]}", flush=True)
                succeeded = False
            yield cell.name, succeeded
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_terminate)
