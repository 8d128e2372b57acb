"""The three rooms: who may import whom, and what an import costs."""

import ast
import importlib.util
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "data", "inference")
PACKAGES = tuple(f"ssvae.{room}" for room in ROOMS)


def _modules():
    """Every module of ours: its dotted name and its file."""
    modules = {"ssvae": ROOT / "ssvae" / "__init__.py", "ssvae.lazy": ROOT / "ssvae" / "lazy.py"}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = ("ssvae", *path.relative_to(ROOT).with_suffix("").parts)
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = _modules()


def _imports(name):
    """Return the dotted names that a module imports anywhere in its text, also within functions and for type checkers.

    `from ssvae.models import priors` is an import of `ssvae.models.priors` where that is a module, of `ssvae.models`
    where not.
    """
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: expected an absolute import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return found


def _is_in(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_modules_are_found():
    assert {"ssvae", "ssvae.models", "ssvae.models.m2", "ssvae.models.priors.vamp"} <= set(MODULES)
    assert "ssvae.inference.objective.objective" in MODULES
    assert "ssvae.models.priors" in _imports("ssvae.models.base")
    assert "ssvae.models.networks" in _imports("ssvae.models")  # from ssvae.models import networks
    assert "ssvae.models" in _imports(
        "ssvae.inference.objective.objective"
    )  # from ssvae.models import SemiSupervisedModel
    assert "ssvae.inference.runs.run" in _imports("ssvae.inference.runs.report")  # for the type checker


@pytest.mark.parametrize("name", [name for name in MODULES if _is_in(name, ["ssvae.models", "ssvae.data"])])
def test_models_and_data_import_neither_each_other_nor_inference(name):
    (own,) = [package for package in PACKAGES if _is_in(name, [package])]
    assert {
        imported for imported in _imports(name) if _is_in(imported, ["ssvae"]) and not _is_in(imported, [own])
    } == set()


# Nobody asks the front door: it is for users.
@pytest.mark.parametrize("name", [name for name in MODULES if name != "ssvae"])
def test_no_room_imports_the_front_door(name):
    assert "ssvae" not in _imports(name)


# What a module imports within functions, when it is needed; see the test of what an import loads, below.
WITHIN_FUNCTIONS = {
    "ssvae.models.feature_classifiers": {"sklearn", "scipy"},
    "ssvae.models.torchvision_classifier": {"torchvision"},
}


@pytest.mark.parametrize("name", [name for name in MODULES if _is_in(name, ["ssvae.models"])])
def test_models_import_torch_and_pyro_only(name):
    foreign = {imported.split(".")[0] for imported in _imports(name)} - set(sys.stdlib_module_names)
    assert foreign <= {"torch", "pyro", "ssvae"} | WITHIN_FUNCTIONS.get(name, set())


def test_lightning_is_imported_in_one_place():
    found = [name for name in MODULES if "lightning" in {imported.split(".")[0] for imported in _imports(name)}]
    assert found == ["ssvae.inference._lightning"]


IMPORT_TORCHVISION = ("lightning", "torchmetrics")


@pytest.mark.parametrize(
    "name", [name for name in MODULES if {each.split(".")[0] for each in _imports(name)} & set(IMPORT_TORCHVISION)]
)
def test_what_imports_torchvision_is_imported_after_the_environment_is_ready(name):
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    first = next(
        i
        for i, line in enumerate(lines)
        if line.startswith(tuple(f"{word} {each}" for word in ("from", "import") for each in IMPORT_TORCHVISION))
    )
    assert any(line.startswith("import ssvae.inference.environment") for line in lines[:first])


def test_no_module_imports_itself_through_others():
    # An import within a function or for the type checker counts, since a cycle is a cycle.
    graph = {name: _imports(name) & set(MODULES) for name in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


# The folders of inference/ stand on floors, too: no two of them import each other.
def test_no_folder_imports_itself_through_others():
    def folder(name):
        parts = name.split(".")
        return ".".join(parts[:3]) if parts[1:2] == ["inference"] else ".".join(parts[:2])

    graph = {}
    for name in MODULES:
        if name.count(".") > 1 or name in PACKAGES[:2]:
            ours = {folder(imported) for imported in _imports(name) if imported in MODULES}
            graph.setdefault(folder(name), set()).update(ours - {folder(name)})
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("cycle of folders: " + " -> ".join(error.args[1]))
    assert {"ssvae.inference.training", "ssvae.inference.evaluation", "ssvae.inference.predict"} <= set(order)


@pytest.mark.parametrize("name", ["ssvae", *PACKAGES])
def test_the_packages_are_those_of_this_repository(name):
    folder = "ssvae" if name == "ssvae" else name.removeprefix("ssvae.")
    (location,) = importlib.util.find_spec(name).submodule_search_locations
    assert (Path(location) / "__init__.py").resolve() == ROOT / folder / "__init__.py"


# Names of modules that would make an import slow, or need what a user of one room alone may not have.
UNWANTED = {
    "ssvae": {"torch", "numpy", "pyro", "lightning", "ssvae.models", "ssvae.data", "ssvae.inference"},
    "ssvae.models": {"lightning", "torchvision", "matplotlib", "sklearn", "PIL", "ssvae.data", "ssvae.inference"},
    "ssvae.data": {
        *("torchvision", "sklearn", "PIL", "pandas", "pyro", "lightning", "matplotlib"),
        *("ssvae.models", "ssvae.inference"),
    },
    "ssvae.inference": {"torch", "lightning", "matplotlib", "ssvae.models", "ssvae.data"},
    "ssvae.inference.training.recipe": {"lightning", "matplotlib", "sklearn"},
    "ssvae.inference.evaluation": {"lightning", "matplotlib"},
}


@pytest.mark.parametrize("package", UNWANTED)
@pytest.mark.slow
def test_an_import_loads_only_what_it_needs(package):
    program = f"import json, sys, {package}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert package in loaded
    assert loaded & UNWANTED[package] == set()
