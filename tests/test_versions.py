"""The versions that are asked for agree wherever they are written, and admit those that people have."""

import configparser
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

# What Google Colab shipped in August 2026.
COLAB = {
    "torch": "2.11",
    "torchvision": "0.26",
    "numpy": "2.1.3",
    "scipy": "1.16.3",
    "scikit-learn": "1.6.1",
    "pillow": "11.3",
    "matplotlib": "3.10",
    "pandas": "2.2.2",
}
COLAB_PYTHON = "3.13"

# inference/command_line/error_messages.py finds its sentences in jsonargparse's English: test_cli.py and
# test_cli_options.py pass with these.
KNOWN_TO_ERROR_MESSAGES = {"4.52", "4.53"}


def _setup():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def _requirements(lines):
    found = [Requirement(line) for line in lines.splitlines() if line and not line.startswith("#")]
    assert found
    return {canonicalize_name(each.name): each.specifier for each in found}


def _installed_with():
    return _requirements(_setup()["options"]["install_requires"])


def _pins(name):
    pins = {}
    for package, specifier in _requirements((ROOT / name).read_text(encoding="utf-8")).items():
        (pin,) = specifier
        assert pin.operator == "=="
        pins[package] = pin.version
    return pins


def _lowest(specifier):
    (bound,) = (each.version for each in specifier if each.operator == ">=")
    return bound


def test_the_oldest_versions_are_the_lower_bounds():
    oldest, pins = _pins("constraints-oldest.txt"), _pins("constraints.txt")
    bounds = {package: _lowest(specifier) for package, specifier in _installed_with().items()}
    assert {package: oldest[package] for package in bounds} == bounds
    # What only the tests need is as old as everywhere.
    assert {package: pin for package, pin in oldest.items() if package not in bounds} == {
        package: pin for package, pin in pins.items() if package not in bounds
    }


def test_the_pinned_versions_are_within_all_bounds():
    pins = _pins("constraints.txt")
    asked = [_installed_with(), *map(_requirements, dict(_setup()["options.extras_require"]).values())]
    for package, specifier in ((package, each) for bounds in asked for package, each in bounds.items()):
        assert package not in pins or pins[package] in specifier, package
    assert set(asked[0]) <= set(pins)


@pytest.mark.parametrize("package", COLAB)
def test_what_colab_ships_is_within_the_bounds(package):
    assert COLAB[package] in _installed_with()[package]


def test_the_pythons_that_are_named_are_those_that_are_admitted():
    setup = _setup()
    admitted = SpecifierSet(setup["options"]["python_requires"])
    named = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)
    assert named == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in admitted][: len(named)]
    assert COLAB_PYTHON in named


def test_error_messages_know_this_jsonargparse():
    installed = Version(version("jsonargparse"))
    assert f"{installed.major}.{installed.minor}" in KNOWN_TO_ERROR_MESSAGES, (
        f"jsonargparse {installed} is not one of {', '.join(sorted(KNOWN_TO_ERROR_MESSAGES))}, whose English "
        "inference/command_line/error_messages.py knows: run tests/test_cli.py and tests/test_cli_options.py with it, "
        "mend error_messages.py where they fail, and add the version to KNOWN_TO_ERROR_MESSAGES."
    )
    # And every version that may be installed has been tried, up to the newest of today.
    bound = _installed_with()["jsonargparse"]
    assert _lowest(bound) == min(KNOWN_TO_ERROR_MESSAGES, key=Version)
    assert "5.0" not in bound
