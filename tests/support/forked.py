"""Processes of their own for what can be killed, forked from one that has imported everything.

A new interpreter takes several seconds to import torch, Lightning and the rest; a fork of one that has takes none.
What is about the start of a process starts one: `test_cli` and `test_processes` have such tests too.
"""

import math
import multiprocessing
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
import warnings
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch

import ssvae.inference.command_line.commands
import ssvae.inference.runs.report
from ssvae.data import time_left
from ssvae.inference.command_line.main import main

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


class Forked:
    """A function that runs in a process and a session of its own; it is used as a `subprocess.Popen` is."""

    def __init__(self, function, *arguments, **environment):
        (out, its_out), (err, its_err) = CONTEXT.Pipe(duplex=False), CONTEXT.Pipe(duplex=False)
        self._pipes = {out: b"", err: b""}
        # The server starts with the first process, and looks for modules where the tests are.
        paths = os.pathsep.join([str(ROOT / "typing"), str(ROOT / "tests")])
        with mock.patch.dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS="1"):
            forkserver.ensure_running()
        # The warnings that the test refuses are errors there too.
        call = (function, arguments, {**os.environ, **environment}, warnings.filters[:], its_out, its_err)
        self._process = CONTEXT.Process(target=_run, args=call)
        self._process.start()
        its_out.close()
        its_err.close()
        self.pid = self._process.pid

    def poll(self):
        """Return its exit status, or None while it runs."""
        return self._process.exitcode

    @property
    def returncode(self):
        """Its exit status."""
        return self._process.exitcode

    def send_signal(self, number):
        """Send a signal."""
        os.kill(self.pid, number)

    def readline(self):
        """Wait for a line of what it writes; return it, and "" where there comes none."""
        line, out = b"", next(iter(self._pipes)).fileno()
        while not line.endswith(b"\n") and (byte := os.read(out, 1)):
            line += byte
        return line.decode()

    def communicate(self, timeout=300):
        """Wait for its end; return what it wrote, in text."""
        until = time.monotonic() + timeout
        with selectors.DefaultSelector() as reading:
            for pipe in self._pipes:
                reading.register(pipe, selectors.EVENT_READ)
            while reading.get_map():
                ready = reading.select(until - time.monotonic())
                if not ready:
                    self.send_signal(signal.SIGKILL)
                    raise subprocess.TimeoutExpired("a forked process", timeout)
                for key, _ in ready:
                    read = os.read(key.fd, 1 << 16)
                    self._pipes[key.fileobj] += read
                    if not read:
                        reading.unregister(key.fileobj)
        self._process.join()
        for pipe in self._pipes:
            pipe.close()
        return tuple(written.decode() for written in self._pipes.values())


def _run(function, arguments, environment, filters, out, err):
    """Do it, as a new interpreter would."""
    os.setsid()
    for number, pipe in ((1, out), (2, err)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    # As of a new interpreter, whose streams have not looked at what the server's were.
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.resetwarnings()
    warnings.filters[:] = filters
    try:
        status = function(*arguments)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def command(*words):
    """Start `ssvae` with these words, without a report's pictures: they take longer than all the rest."""
    return Forked(main_without_pictures, *words)


def ranks(num_processes, function, *arguments):
    """Start a function in processes that train together: with what torchrun tells them, which is in its environment."""
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    told = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "GROUP_RANK": "0",
    }
    running = [Forked(function, *arguments, **told, RANK=str(n), LOCAL_RANK=str(n)) for n in range(num_processes)]
    running[0].store = store  # which lives as long as they do
    return running


def main_without_pictures(*words):
    """Do what `ssvae` does with these words, but for a report's pictures; return its exit status.

    However slow the machine is, nothing is said of the time left.
    """
    with (
        mock.patch.object(ssvae.inference.runs.report, "save_pictures", return_value=[]),
        mock.patch.object(time_left, "_SHORTEST_TASK", math.inf),
    ):
        return main(list(words))
