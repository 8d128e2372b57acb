"""What can be named on the command line: all that the packages offer, and what other packages register."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from ssvae.inference.command_line.choices import CHOICES, offered, registered
from ssvae.inference.command_line.main import main
from ssvae.models import SemiSupervisedModel, likelihoods, posteriors, priors

ROOT = Path(__file__).parents[1]
MODULE = '''
from ssvae.models.likelihoods import Gaussian
from ssvae.models.posteriors import DiagonalNormal
from ssvae.models.priors import Prior, StandardNormal

class TheirPrior(StandardNormal):
    """N(0, I), from elsewhere.

    Args:
        latent_dim: The dimension of z.
        colour: Of no use.
    """

    def __init__(self, latent_dim: int = 5, colour: str = "blue") -> None:
        super().__init__(latent_dim)
        self.colour = colour

class TheirPosterior(DiagonalNormal): ...
class TheirLikelihood(Gaussian): ...
class Unfinished(Prior): ...
'''
ENTRY_POINTS = """
[ssvae.priors]
TheirPrior = their_package:TheirPrior
Unfinished = their_package:Unfinished
Gone = their_package:Gone

[ssvae.posteriors]
TheirPosterior = their_package:TheirPosterior

[ssvae.likelihoods]
TheirLikelihood = their_package:TheirLikelihood
"""


@pytest.fixture
def their_package(tmp_path, monkeypatch):
    """A package that is installed: its module, and the metadata that pip leaves beside it."""
    (tmp_path / "their_package.py").write_text(MODULE)
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("their_package", None)


def test_what_another_package_registers_is_found_and_what_is_of_no_use_is_said(their_package):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = registered("ssvae.priors", priors.Prior)
    assert [each.__name__ for each in found] == ["TheirPrior"]
    sentences = sorted(str(each.message) for each in caught)
    assert len(sentences) == 2
    assert sentences[0].startswith("ssvae.priors: expected a class at their_package:Gone; got AttributeError(")
    assert sentences[1].startswith("ssvae.priors: expected a class that inherits from Prior and has no abstract method")
    assert [each.__name__ for each in registered("ssvae.posteriors", posteriors.Posterior)] == ["TheirPosterior"]
    assert [each.__name__ for each in registered("ssvae.likelihoods", likelihoods.Likelihood)] == ["TheirLikelihood"]
    assert registered("ssvae.models", SemiSupervisedModel) == ()


@pytest.mark.slow
def test_what_another_package_registers_can_be_named_on_the_command_line(their_package):
    words = "fit --model.prior TheirPrior --model.prior.colour red --model.prior.latent_dim 6 --max_steps 1 "
    words += "--model.posterior TheirPosterior --model.likelihood TheirLikelihood "
    words += "--model.networks.hidden [8] --model.classifier.hidden [8] --data.num_test 20"
    program = "import sys; from support.forked import main_without_pictures as main; sys.exit(main(*sys.argv[1:]))"
    paths = os.pathsep.join(map(str, [their_package, ROOT / "typing", ROOT / "tests"]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *words.split(), "--baselines", "false", "--folder", "run"],
        cwd=their_package,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    described = yaml.safe_load((their_package / "run" / "config.yaml").read_text())["model"]["init_args"]
    assert described["prior"] == {
        "class_path": "their_package.TheirPrior",
        "init_args": {"latent_dim": 6, "colour": "red"},
    }
    assert described["posterior"]["class_path"] == "their_package.TheirPosterior"
    assert described["likelihood"]["class_path"] == "their_package.TheirLikelihood"


@pytest.mark.parametrize("model", ["SOMVAE", "AdversarialAutoencoder"])
def test_a_model_without_a_choice_of_posterior_says_so(model, capsys):
    assert main(["fit", "--model", model, "--model.posterior", "FullRankNormal"]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"ssvae fit: --model.posterior: expected an option of {model} (")
    assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "package", "base"),
    [
        ("prior", priors, priors.Prior),
        ("posterior", posteriors, posteriors.Posterior),
        ("likelihood", likelihoods, likelihoods.Likelihood),
    ],
)
def test_every_part_that_a_package_offers_can_be_named_and_has_an_example(kind, package, base):
    assert set(offered(package, base)) <= set(CHOICES[kind])
    for each in offered(package, base):
        assert type(each.example()) is each
