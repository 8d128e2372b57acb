"""Every test: float64, a fixed seed, Pyro's validation on, no store left behind; warnings are errors (setup.cfg)."""

import os
import signal
import sys

# A laptop's cores are few and the tensors here are small: threads would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyro
import pytest
import torch

# A shell that starts the tests in the background has them ignore Ctrl-C, and so every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Start with what takes long: at the end, no core waits for one test of another."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _every_test():
    dtype = torch.get_default_dtype()
    on_terminate = signal.getsignal(signal.SIGTERM)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    pyro.clear_param_store()
    with pyro.validation_enabled():
        yield
    torch.set_default_dtype(dtype)
    figures = sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else []
    assert figures == [], "a test left a figure open"
    assert len(pyro.get_param_store()) == 0, "a test left parameters in Pyro's global store"
    assert signal.getsignal(signal.SIGTERM) is on_terminate, "a test left its own answer to SIGTERM"


@pytest.fixture
def quick_proposals(monkeypatch):
    """The proposals of importance sampling are fitted in few steps: log p(x) is less certain, and not wrong."""
    monkeypatch.setattr("ssvae.inference.evaluation.proposal._STEPS", 3)


@pytest.fixture
def without_pictures(monkeypatch):
    """A report has no pictures, which take longer than all the rest of a small run."""
    monkeypatch.setattr("ssvae.inference.runs.report.save_pictures", lambda run, folder, **options: [])
