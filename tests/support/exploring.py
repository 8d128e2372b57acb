"""What the tests of the explorer share: runs, and a real server on a free port."""

import threading
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
import uvicorn

from ssvae.data import Digits
from ssvae.inference.explorer.server import create_app
from ssvae.inference.explorer.serving import listen
from ssvae.inference.explorer.vectors import explorer_of
from ssvae.inference.runs import Run, fit
from ssvae.inference.training import Recipe
from ssvae.models import M2, likelihoods
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, StandardNormal
from support import tiny


def untrained(name="run", data=None, model=None):
    """A run of three classes of 8×8 images, with weights as they are drawn."""
    data = data or tiny.arrays()
    return Run(Path("runs") / name, model or tiny.m2(), data.class_names, data)


def trained(folder):
    """Two runs on the digits, a few steps each, that differ by their priors; in float32, as users' runs are."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        for name, prior in {"normal": StandardNormal(3), "by_class": ClassConditional(3)}.items():
            data = Digits(num_labels=300, num_validation=30, num_test=60, binarise=name == "by_class")
            likelihood = likelihoods.Bernoulli() if data.binarise else likelihoods.ContinuousBernoulli()
            model = M2((1, 8, 8), 10, prior=prior, likelihood=likelihood, networks=MLP((16,)))
            recipe = Recipe(batch_size=500, max_steps=40, learning_rate=1e-2)
            # Pictures take longer than all the rest, and nobody looks at them here.
            with mock.patch("ssvae.inference.runs.report.write_report"):
                fit(model, data, recipe, folder=str(folder / name), baselines=False)
    finally:
        torch.set_default_dtype(dtype)
    return folder / "normal", folder / "by_class"


@contextmanager
def serving(runs):
    """Serve runs as `ssvae explore` does, from a thread; yields the address and the explorers."""
    explorers = [explorer_of(run, num_samples=20) for run in runs]
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(explorers), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", explorers
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
