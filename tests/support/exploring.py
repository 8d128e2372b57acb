"""What the tests of the explorer share: runs on images, points and tables, and a real server on a free port."""

import threading
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import uvicorn

from ssvae.data import Digits, Moons, Table
from ssvae.inference.explorer.server import create_app
from ssvae.inference.explorer.serving import listen
from ssvae.inference.explorer.vectors import explorer_of
from ssvae.inference.objective import Objective
from ssvae.inference.runs import Run, fit
from ssvae.inference.training import Continuation, Recipe
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


def on_moons(name="run", num_steps=0, **options):
    """A run on 200 points of the moons, two latent dimensions, after some steps of training."""
    data = Moons(200, num_validation=0, num_test=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = M2((2,), 2, prior=StandardNormal(2), networks=MLP((16,)), **options)
    return _trained_by_hand(name, model, data, num_steps)


def table(folder):
    """A table with a column of each kind, as `Table` reads it."""
    generator = np.random.default_rng(0)
    lines = ["mass,eggs,island,sex,species"]
    for number in range(90):
        y = number % 3
        mass = generator.normal([3000, 4000, 5000][y], 300)
        island = ["Biscoe", "Dream", "Torgersen"][min(y + generator.integers(2), 2)]
        species = ["Adelie", "Chinstrap", "Gentoo"][y] if number < 45 else ""
        lines.append(f"{mass:.0f},{generator.poisson(y + 1)},{island},{['f', 'm'][generator.integers(2)]},{species}")
    (folder / "animals.csv").write_text("\n".join(lines))
    return Table(str(folder / "animals.csv"), "species")


def on_table(folder, name="run", num_steps=0):
    """A run on `table`."""
    data = table(folder)
    parts = [likelihoods.Gaussian(), likelihoods.Poisson(), likelihoods.Categorical(3), likelihoods.Bernoulli()]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        likelihood = likelihoods.Mixed(parts, [(0,), (1,), (2,), (3,)])
        model = M2((4,), 3, prior=StandardNormal(3), likelihood=likelihood, networks=MLP((16,)))
    return _trained_by_hand(name, model, data, num_steps)


def _trained_by_hand(name, model, data, num_steps):
    recipe = Recipe(objective=Objective(alpha=1), max_steps=100, batch_size=40, learning_rate=1e-2)
    Continuation(model, data, recipe, num_steps).advance(num_steps)
    model.eval()
    return Run(Path("runs") / name, model, data.class_names, data, recipe)


@contextmanager
def serving(runs, **options):
    """Serve runs as `ssvae explore` does, from a thread; yields the address and the explorers."""
    explorers = [explorer_of(run, num_samples=20) for run in runs]
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(explorers, **options), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", explorers
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
