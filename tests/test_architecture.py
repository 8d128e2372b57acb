"""The three rooms: who may import whom, and what an import costs."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "data", "inference")


def _modules():
    """Every module of ours: its dotted name and its file."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = _modules()


def _walk(node, types_too):
    """Every node of a syntax tree; without what stands under `if TYPE_CHECKING:` unless types_too."""
    yield node
    for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in ast.iter_child_nodes(node):
        if types_too or not for_types or child in node.orelse:
            yield from _walk(child, types_too)


def _imports(name, types_too=True):
    """Return the dotted names that a module imports anywhere in its text, also within functions.

    `from models import priors` is an import of `models.priors` where that is a module, of `models` where not.
    """
    found = set()
    for node in _walk(ast.parse(MODULES[name].read_text(encoding="utf-8")), types_too):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: expected an absolute import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else node.module)
    return found


def test_the_modules_are_found():
    assert {"models", "models.m2", "models.priors.vamp", "inference.objective"} <= set(MODULES)
    assert "models.priors" in _imports("models.base")
    assert "models.networks" in _imports("models")  # from models import networks
    assert "models" in _imports("inference.objective")  # from models import SemiSupervisedModel


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] != "inference"])
def test_models_and_data_import_neither_each_other_nor_inference(name):
    ours = {imported for imported in _imports(name) if imported.split(".")[0] in PACKAGES}
    own = name.split(".")[0]
    assert {imported for imported in ours if imported.split(".")[0] != own} == set()


# What a module imports within functions, when it is needed; see the test of what an import loads, below.
WITHIN_FUNCTIONS = {
    "models.feature_classifiers": {"sklearn", "scipy"},
    "models.torchvision_classifier": {"torchvision"},
}


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "models"])
def test_models_import_torch_and_pyro_only(name):
    foreign = {imported.split(".")[0] for imported in _imports(name)} - set(sys.stdlib_module_names)
    assert foreign <= {"torch", "pyro", "models"} | WITHIN_FUNCTIONS.get(name, set())


IMPORT_TORCHVISION = ("lightning", "torchmetrics")


@pytest.mark.parametrize(
    "name", [name for name in MODULES if {each.split(".")[0] for each in _imports(name)} & set(IMPORT_TORCHVISION)]
)
def test_what_imports_torchvision_is_imported_after_the_environment_is_ready(name):
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    first = next(
        i for i, line in enumerate(lines) if re.match(rf"(from|import) ({'|'.join(IMPORT_TORCHVISION)})", line)
    )
    assert any(line.startswith("import inference.environment") for line in lines[:first])


def test_no_module_imports_itself_through_others():
    # An import within a function counts, since a cycle is a cycle; one for the type checker does not.
    graph = {name: _imports(name, types_too=False) & set(MODULES) for name in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_those_of_this_repository(package):
    (location,) = importlib.util.find_spec(package).submodule_search_locations
    assert Path(location).resolve() == ROOT / package


# Names of modules that would make an import slow, or need what a user of one room alone may not have.
UNWANTED = {
    "models": {"lightning", "torchvision", "matplotlib", "sklearn", "PIL", "data", "inference"},
    "data": {"torchvision", "sklearn", "PIL", "pandas", "pyro", "lightning", "matplotlib", "models", "inference"},
}


@pytest.mark.parametrize("package", UNWANTED)
def test_an_import_loads_only_what_it_needs(package):
    program = f"import json, sys, {package}; print(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert package in loaded
    assert loaded & UNWANTED[package] == set()
