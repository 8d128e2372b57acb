"""Sphinx extension: what the Pyro programs of a model say, read from the programs themselves.

{graph} NAME            model and guide as drawings of graphical models, and as products of densities
{symbols} NAME          a row for each density: what it is by default, and the methods that return it
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import hypot

import pyro
import pyro.distributions as dist
import torch
from docutils import nodes
from generated_tables import Generated, classes_of, markdown_table, public_name
from pyro.infer.inspect import get_model_relations
from sphinx.application import Sphinx
from torch import Tensor

from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Staged

_IMAGE_SHAPE, _NUM_CLASSES, _BATCH = (1, 28, 28), 10, 3

_GIVEN = {"given_x": "x", "given_y": "y"}
_GREEK = {"pi": ("π", r"\pi")}

_RADIUS, _ACROSS, _DOWN, _MARGIN = 20, 84, 80, 46
"""Of the drawings, in pixels: a circle's radius, between two circles' centres, and around all."""

_DENSITY = re.compile(r"(?:Return )?(?:the parameters of )?([pq]\([^()]*\))")


@dataclass(frozen=True)
class Graph:
    """A graphical model.

    Attributes:
        parents: For each variable that the program draws, in the program's order, those that its density depends on.
    """

    parents: Mapping[str, frozenset[str]]

    @property
    def inputs(self) -> list[str]:
        """The variables that the program does not draw, such as the image in a guide."""
        return sorted(frozenset[str]().union(*self.parents.values()) - set(self.parents))

    def layers(self) -> list[list[str]]:
        """Return the variables by the number of arrows on the longest way to them."""
        depths = dict.fromkeys(self.inputs, 0)
        for _ in self.parents:  # a program may draw a variable after those that depend on it, when it is observed
            for name, parents in self.parents.items():
                depths[name] = max((depths.get(parent, 0) + 1 for parent in parents), default=0)
        return [[name for name in depths if depths[name] == depth] for depth in range(max(depths.values()) + 1)]


def graphs_of(model: SemiSupervisedModel) -> tuple[Graph, Graph]:
    """Return the graphs of a model's two programs, `model` and `guide`, in the last stage of its training."""
    model.eval()
    if isinstance(model, Staged):
        model.advance(1.0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        images = torch.zeros(_BATCH, *model.event_shape)
        classes = torch.ones(_BATCH, model.num_classes)
        return _graph(model.model, images, classes), _graph(model.guide, images, classes)


def _graph(program: Callable[[Tensor, Tensor | None], None], images: Tensor, classes: Tensor) -> Graph:
    """Return what a program does for labelled and for unlabelled images, in one graph."""
    unlabelled, labelled = (_dependencies(program, images, given) for given in (None, classes))
    names = list(labelled) + [name for name in unlabelled if name not in labelled]
    if "y" in unlabelled:  # a guide draws the class of unlabelled images before what depends on it
        names = list(unlabelled)
    return Graph({name: labelled.get(name, frozenset()) | unlabelled.get(name, frozenset()) for name in names})


def _dependencies(
    program: Callable[[Tensor, Tensor | None], None], images: Tensor, classes: Tensor | None
) -> dict[str, frozenset[str]]:
    """Return which variables the density of each site was computed from, by Pyro's provenance of tensors.

    Image and class are drawn here, so that they are variables like any other.
    """

    def given() -> None:
        x = pyro.sample("given_x", dist.Uniform(images, images + 1).to_event(images.dim()))
        program(x, None if classes is None else pyro.sample("given_y", dist.Categorical(classes).to_event(1)))

    with pyro.validation_enabled(False):  # grey pixels under any likelihood
        found = get_model_relations(given)["sample_sample"]
    return {
        name: frozenset(_GIVEN.get(parent, parent) for parent in parents) - {name}
        for name, parents in found.items()
        if name not in _GIVEN
    }


def _name(variable: str) -> tuple[str, str]:
    """Return a variable's letter and its subscript: z_1 and z1 are z with a 1."""
    letter, digits = re.fullmatch(r"([a-z]+)_?(\d*)", variable).groups()  # type: ignore[union-attr]
    return letter, digits


def _in_tex(variable: str) -> str:
    letter, digits = _name(variable)
    return f"{_GREEK[letter][1] if letter in _GREEK else letter}{f'_{digits}' if digits else ''}"


def formula(graph: Graph, letter: str) -> str:
    """Return the density of all variables as a product of their densities, in TeX: p(x, z) = p(z) p(x | z)."""

    def density(variables: Iterable[str], given: Iterable[str]) -> str:
        bar = r" \mid " + ", ".join(map(_in_tex, sorted(given))) if given else ""
        return f"{letter}({', '.join(map(_in_tex, variables))}{bar})"

    whole = density(sorted(graph.parents), graph.inputs)
    factors = r"\,".join(density([name], parents) for name, parents in graph.parents.items())
    return whole if factors == whole else f"{whole} = {factors}"


def drawing(graph: Graph, title: str, *, upwards: bool = False) -> str:
    """Return a graph as SVG: the variables in layers, those that are observed filled, within a plate over images."""
    layers = graph.layers()[:: -1 if upwards else 1]
    width = 2 * _MARGIN + _ACROSS * (max(map(len, layers)) - 1) + 2 * _RADIUS
    places = {
        name: (width / 2 + _ACROSS * (index - (len(layer) - 1) / 2), _MARGIN + _RADIUS + _DOWN * depth)
        for depth, layer in enumerate(layers)
        for index, name in enumerate(layer)
    }
    height = 2 * _MARGIN + 2 * _RADIUS + _DOWN * (len(layers) - 1)
    edges = [(parent, name) for name, parents in graph.parents.items() for parent in sorted(parents)]
    said = "; ".join(f"{parent} to {name}" for parent, name in edges)
    marker = f"arrow-{title}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" aria-label="graphical model, {title}: arrows from {said}">',
        f'<defs><marker id="{marker}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0L10 5L0 10z" fill="currentColor"/></marker></defs>',
        f'<rect x="4" y="4" width="{width - 8:.0f}" height="{height - 8:.0f}" rx="8" class="plate"/>',
        f'<text x="{width - 12:.0f}" y="{height - 12:.0f}" class="plate-name">images</text>',
        *(_arrow(places, parent, name, marker) for parent, name in edges),
    ]
    for name, (x, y) in places.items():
        observed = "observed" if name == "x" else "free"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" class="{observed}"/>')
        if name == "y":
            top, bottom = y - _RADIUS, y + _RADIUS
            half = f"M{x:.1f} {top:.1f}A{_RADIUS} {_RADIUS} 0 0 0 {x:.1f} {bottom:.1f}z"
            parts.append(f'<path d="{half}" class="labelled"/>')
        letter, digits = _name(name)
        subscript = f'<tspan class="subscript" dy="5">{digits}</tspan>' if digits else ""
        letter = _GREEK[letter][0] if letter in _GREEK else letter
        parts.append(f'<text x="{x:.1f}" y="{y + 6:.1f}" class="variable">{letter}{subscript}</text>')
    return "".join([*parts, "</svg>"])


def _arrow(places: Mapping[str, tuple[float, float]], start: str, end: str, marker: str) -> str:
    """Return an arrow between two circles, bent where a straight one would cross another circle."""
    (x1, y1), (x2, y2) = places[start], places[end]
    length = hypot(x2 - x1, y2 - y1)
    across = ((y2 - y1) / length, (x1 - x2) / length)
    others = [place for name, place in places.items() if name not in (start, end)]
    is_crossed = any(
        abs((x - x1) * across[0] + (y - y1) * across[1]) < _RADIUS + 4
        and 0 < (x - x1) * (x2 - x1) + (y - y1) * (y2 - y1) < length**2
        for x, y in others
    )
    size = min(2.9, 1.2 * length / _DOWN) * _RADIUS * is_crossed
    bends = [((x1 + x2) / 2 + across[0] * bend, (y1 + y2) / 2 + across[1] * bend) for bend in (size, -size)]
    if length > 2.5 * _DOWN:
        bends.reverse()  # in a row of circles the longest arrow goes round the other side
    middle = max(bends, key=lambda place: round(min((hypot(place[0] - x, place[1] - y) for x, y in others), default=0)))

    def on_the_rim(x: float, y: float, distance: float) -> str:
        away = hypot(middle[0] - x, middle[1] - y)
        return f"{x + (middle[0] - x) * distance / away:.1f} {y + (middle[1] - y) * distance / away:.1f}"

    path = f"M{on_the_rim(x1, y1, _RADIUS)}Q{middle[0]:.1f} {middle[1]:.1f} {on_the_rim(x2, y2, _RADIUS + 2)}"
    return f'<path d="{path}" class="arrow" marker-end="url(#{marker})"/>'


def _model_of(name: str) -> SemiSupervisedModel:
    owner = next(each for each in classes_of("model") if each.__name__ == name)
    return owner(_IMAGE_SHAPE, _NUM_CLASSES)


class Drawings(Generated):
    """Model and guide, drawn and as formulas."""

    def text(self, argument: str) -> str:
        """Return the formulas."""
        model, guide = graphs_of(_model_of(argument))
        return f"$$\n{formula(model, 'p')}\n$$\n\n$$\n{formula(guide, 'q')}\n$$"

    def run(self) -> list[nodes.Node]:
        """Return the drawings and the formulas."""
        model, guide = graphs_of(_model_of(self.arguments[0]))
        legend = "Filled: observed."
        if "y" in model.parents:
            legend += " Half filled: observed for labelled images alone."
        drawn = (
            '<figure class="graphical-models"><div>'
            f"<div>{drawing(model, 'model')}<p>model, p</p></div>"
            f"<div>{drawing(guide, 'guide', upwards=True)}<p>guide, q</p></div></div>"
            f"<figcaption>Read from the Pyro programs of {self.arguments[0]}. {legend}</figcaption></figure>"
        )
        return [nodes.raw("", drawn, format="html"), *super().run()]


def methods_of(owner: type) -> dict[str, tuple[type, str]]:
    """Return the methods whose docstring begins with a density, each with the class that defines it and the density."""
    found: dict[str, tuple[type, str]] = {}
    for base in owner.__mro__:
        for name, method in vars(base).items():
            says = _DENSITY.match(inspect.getdoc(method) or "") if inspect.isfunction(method) else None
            if says and not name.startswith("_") and base is not SemiSupervisedModel:
                found.setdefault(name, (base, says[1]))
    return {name: each for name, each in found.items() if name not in ("model", "guide")}


class Symbols(Generated):
    """A row for each density of a model."""

    def text(self, argument: str) -> str:
        """Return the table."""
        model = _model_of(argument)
        defaults = dict(model._story())
        methods: dict[str, list[str]] = {density: [] for density in defaults}
        for name, (owner, density) in methods_of(type(model)).items():
            link = f"{{py:obj}}`{name} <{public_name(owner)}.{name}>`"
            methods.setdefault(density, []).append(link)
        if model.prior.density in defaults:
            methods[model.prior.density].insert(0, "`prior`")
        if "p(y)" in defaults:
            methods["p(y)"].insert(0, "`class_prior`")
        rows = [
            (f"`{density}`", f"`{defaults[density]}`" if density in defaults else "", ", ".join(links))
            for density, links in methods.items()
        ]
        both = ", ".join(f"{{py:obj}}`{name} <{public_name(type(model))}.{name}>`" for name in ("model", "guide"))
        rows.append(("all of p, all of q", "Pyro programs", both))
        return markdown_table(("density", "by default", f"in `{argument}`"), rows)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("graph", Drawings)
    app.add_directive("symbols", Symbols)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
