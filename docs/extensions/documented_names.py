"""Sphinx extension: makes links of the names that docstrings have in backticks.

Sphinx finds a name in the module or class that it stands in. A docstring also names what stands elsewhere, as
`SemiSupervisedModel` or `ssvae.inference.training.train`: it becomes a link where it is described anywhere. What exists
and is described nowhere, such as an argument or a private function, stays code. What does not exist is a warning.
"""

import builtins
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_NAME = re.compile(r"~?\.?[A-Za-z_][\w.]*(\(\))?")
Described = dict[str, ObjectEntry]


def imported(name: str) -> Any:  # noqa: ANN401
    """Return the object of a dotted name, or None."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        return _within(found, parts[length:])
    return None


def _within(place: Any, parts: list[str]) -> Any:  # noqa: ANN401
    for part in parts:
        place = getattr(place, part, None)
    return place


def _identity(thing: Any) -> tuple[str, str] | None:  # noqa: ANN401
    """Return where an object is defined; None for what does not say so, such as a number."""
    thing = thing.fget if isinstance(thing, property) else thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return (module, name) if module and name else None


def _meant(target: str, module: str | None, owner: str | None) -> Iterator[Any]:
    """Yield the objects that a name may mean where it stands, the nearest first."""
    parts = target.split(".")
    holder = imported(f"{module}.{owner}") if owner else None
    places = [holder, sys.modules.get(getattr(holder, "__module__", "")), imported(module) if module else None]
    if places[-1] is not None:
        # A package offers what its modules define; the other names of a module are meant in its functions' docstrings.
        homes = {getattr(each, "__module__", None) for each in vars(places[-1]).values()}
        places += [sys.modules[home] for home in sorted(filter(None, homes)) if home.startswith(f"{module}.")]
    for place in filter(None, places):
        if (found := _within(place, parts)) is not None:
            yield found
    if (found := imported(target)) is not None:
        yield found
    if (found := _within(builtins, parts)) is not None:
        yield found


def _by_identity(described: Described, thing: Any) -> str | None:  # noqa: ANN401
    """Return the full name under which an object is described."""
    identity = _identity(thing)
    if identity is None:
        return None
    tail = identity[1].rpartition(".")[2]
    ours = (name for name in described if name.rpartition(".")[2] == tail)
    return next((name for name in ours if _identity(imported(name)) == identity), None)


def _by_ending(described: Described, target: str) -> str | None:
    """Return the full name of what is described, of all that end in what was written the shortest, if it is one."""
    endings = [name for name in described if name.endswith(f".{target}")]
    fewest = min((name.count(".") for name in endings), default=0)
    shortest = [name for name in endings if name.count(".") == fewest]
    places = {(described[name].docname, described[name].node_id) for name in shortest}
    return shortest[0] if len(places) == 1 else None


def _is_argument(name: str, module: str | None, owner: str | None) -> bool:
    """Say whether a name is an argument or an annotated attribute of a class, or of a function of a module."""
    place = imported(f"{module}.{owner}" if owner else module or "")
    for each in (place, *(each for _, each in inspect.getmembers(place, callable))):
        if any(name in getattr(base, "__annotations__", {}) for base in getattr(each, "__mro__", [each])):
            return True
        try:
            if name in inspect.signature(each).parameters:
                return True
        except (TypeError, ValueError):
            continue
    return False


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Return the link of a name that Sphinx does not find, or its text where it needs none."""
    if node.get("refdomain") != "py":
        return None
    written, is_text = node["reftarget"], node["reftype"] == "obj"
    if not _NAME.fullmatch(written):
        return content if is_text else None  # a command or a formula
    target = written.lstrip("~.").removesuffix("()")
    module, owner = node.get("py:module"), node.get("py:class")
    described = env.domains.python_domain.objects
    meant = list(_meant(target, module, owner))
    name = next(filter(None, (_by_identity(described, each) for each in meant)), None) or _by_ending(described, target)
    if name is not None:
        place = described[name]
        return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, content, name)
    return content if is_text and (meant or _is_argument(target.partition(".")[0], module, owner)) else None


_WHOLE: dict[str, list[str]] = {}


def keep(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep the docstring of an attribute, before napoleon takes what stands before its first colon for a type."""
    if what in ("attribute", "data", "property"):
        _WHOLE[name] = list(lines)


def restore(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Put it back, after napoleon."""
    lines[:] = _WHOLE.pop(name, lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension; napoleon's place is 500."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
