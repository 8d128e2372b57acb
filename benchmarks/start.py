"""Start-up times: the help of the command, and the import of a model relative to that of Pyro.

python -m benchmarks.start
"""

import argparse
import statistics
import subprocess
import sys
import time

STARTS = {
    "ssvae --help": "from ssvae.inference.command_line.main import main; main(['--help'])",
    "import pyro": "import pyro",
    "from ssvae.models import M2": "from ssvae.models import M2",
}


def main() -> None:
    """Time each program in a process of its own; the programs alternate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="of each")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(options.repeats):
        for name, program in STARTS.items():
            times[name].append(timed(program))
    print("| | seconds |\n|---|---|")
    for name, seconds in times.items():
        print(f"| `{name}` | {statistics.median(seconds):.2f} |")
    ratio = statistics.median(
        model / pyro for model, pyro in zip(times["from ssvae.models import M2"], times["import pyro"], strict=True)
    )
    print(f"\nfrom ssvae.models import M2 / import pyro: {ratio:.2f}")


def timed(program: str) -> float:
    """Return the seconds that a new Python process takes for a program."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
