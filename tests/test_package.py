"""The package: one name, whatever the folder one works in; a front door; a wheel with everything in it."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import ssvae
from ssvae import data, inference, models

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"models": models, "data": data, "inference": inference}


def run(program, folder, *path):
    """Run a program in a folder; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The front door


def test_the_front_door_offers_what_the_rooms_offer():
    offered = {name: room for room in ROOMS.values() for name in room.__all__}
    assert set(ssvae.__all__) == {*offered, *ROOMS, "__version__"}
    assert len(ssvae.__all__) == len(set(ssvae.__all__))
    assert dir(ssvae) == sorted(ssvae.__all__)
    for name, room in offered.items():
        assert getattr(ssvae, name) is getattr(room, name)
    for name, room in ROOMS.items():
        assert getattr(ssvae, name) is room


def test_type_checkers_see_every_name_that_is_loaded_when_it_is_asked_for():
    seen = {}
    for statement in ast.walk(ast.parse(Path(ssvae.__file__).read_text())):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("ssvae."):
            seen |= {alias.name: statement.module for alias in statement.names}
    del seen["attributes"]
    assert seen == {name: f"ssvae.{room}" for name, room in ssvae._HOMES.items()}
    assert set(ssvae.__all__) == {*seen, *ssvae._ROOMS, "__version__"}


def test_everyday_names_are_offered():
    everyday = {"M2", "fit", "evaluate", "Digits", "Arrays", "priors", "likelihoods", "networks", "Objective", "Recipe"}
    assert everyday <= set(ssvae.__all__)


def test_modules_are_attributes_without_being_imported_by_name():
    program = (
        "import ssvae, ssvae.inference\n"
        "from ssvae.models import *\n"
        "print(ssvae.figures.__name__, ssvae.inference.contracts.check_prior.__name__, Torchvision.__name__)"
    )
    assert run(program, ROOT, ROOT / "typing") == "ssvae.inference.figures check_prior Torchvision"


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ssvae' has no attribute 'M3'"):
        _ = ssvae.M3


def test_an_import_takes_a_fifth_of_a_second():
    program = "import time; start = time.perf_counter(); import ssvae; print(time.perf_counter() - start)"
    assert min(float(run(program, ROOT, ROOT / "typing")) for _ in range(3)) < 0.2


# A user's own folder


def test_modules_of_the_same_names_do_not_matter(tmp_path):
    for name in ("models.py", "data.py", "inference.py", "models/__init__.py", "inference/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('a module of the user')\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "student.py").write_text(
        "import ssvae\n"
        "from ssvae.data import Digits\n"
        "from ssvae.inference import Objective, fit\n"
        "from ssvae.models import M2\n"
        "from ssvae.inference.command_line.main import main\n"
        "assert ssvae.M2 is M2\n"
        "main(['fit', '--help'])\n"
    )
    program = "import runpy, sys; sys.path.insert(0, ''); runpy.run_path('student.py', run_name='__main__')"
    # `fit --help` ends the program, by 0.
    assert "--max_epochs" in run(program, tmp_path, ROOT / "typing")


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from a copy, since setuptools leaves its own files beside the sources."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("ssvae", *ROOMS):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", "wheels", ".")
    done = subprocess.run([sys.executable, "-m", "pip", *words], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = (copy / "wheels").glob("*.whl")
    return found


def wanted():
    """Return every file that the wheel has to have, but for its metadata."""
    found = {"ssvae/__init__.py", "ssvae/lazy.py", "ssvae/py.typed"}
    for room in ROOMS:
        for pattern in ("*.py", "recipes/*.yaml", "explorer/page/*"):
            found |= {f"ssvae/{path.relative_to(ROOT)}" for path in (ROOT / room).rglob(pattern)}
    return found


def test_the_wheel_holds_everything_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == wanted()
    assert {
        "ssvae/inference/recipes/paper.yaml",
        "ssvae/inference/explorer/page/index.html",
        "ssvae/models/m2.py",
    } <= names


def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    head = metadata.partition("\n\n")[0].splitlines()
    assert "Name: ssvae" in head
    assert f"Version: {ssvae.__version__}" in head
    assert "Requires-Python: >=3.11" in head
    assert not [line for line in head if "Private" in line]
    (scripts,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt"))
    assert "ssvae = ssvae.inference.command_line.main:main" in scripts


def test_the_wheel_works_from_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    words = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target")
    subprocess.run([sys.executable, "-m", "pip", *words, site, wheel], cwd=empty, check=True, capture_output=True)
    installed = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert wanted() <= installed
    program = (
        "import ssvae, ssvae.models, ssvae.data, ssvae.inference\n"
        "from ssvae.inference.training.recipe_choice import recipe_files\n"
        "print(*(room.__file__ for room in (ssvae, ssvae.models, ssvae.data, ssvae.inference)), sep='\\n')\n"
        "print(ssvae.M2((1, 8, 8), 10).num_classes, 'paper' in recipe_files())"
    )
    *files, last = run(program, empty, site).splitlines()
    assert files == [str(site / "ssvae" / each / "__init__.py") for each in ("", "models", "data", "inference")]
    assert last == "10 True"


def test_setup_cfg_names_the_packages_that_there_are():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    folders = [path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("__init__.py")]
    expected = {"ssvae", *(".".join(("ssvae", *folder.parts)) for folder in folders)}
    listed = settings["options"]["packages"].split()
    assert len(listed) == len(set(listed))
    assert set(listed) == expected
    places = dict(line.split(" = ") for line in settings["options"]["package_dir"].strip().splitlines())
    assert places == {"ssvae": "ssvae", **{f"ssvae.{room}": room for room in ROOMS}}


@pytest.mark.parametrize("room", ROOMS)
def test_type_checkers_find_the_rooms_by_links(room):
    link = ROOT / "typing" / "ssvae" / room
    assert link.is_symlink()
    assert link.resolve() == ROOT / room
