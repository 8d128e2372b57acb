"""Sphinx extension: tables of what the package offers, made from its classes, recipes and parsers.

{classes} KIND          one row for each class of a kind, such as prior
{part} NAME             what a class is, how it is chosen, and a prior's density
{recipes}               one row for each recipe
{recipe} NAME …         the options of recipes
{options} KIND          the options of `ssvae fit` that belong to the classes of a kind, or to the run
{command} NAME          the help of another command
{study} NAME            the table of a study, from its CSV file
{measured} NAME         what studies measured of a model
"""

import contextlib
import io
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ssvae.inference.command_line import choices
from ssvae.inference.command_line.commands import help_of_fit, run_command
from ssvae.inference.study.results import from_csv, table
from ssvae.inference.training.recipe_choice import recipe_files
from ssvae.models import SemiSupervisedModel, priors
from ssvae.models.priors import Prior

PAGES = {"model": "models", "prior": "priors", "posterior": "posteriors", "likelihood": "likelihoods"}
"""The folder that has a page for each class of a kind."""
_PAGE = """# {name}

```{{part}} {name}
```

## Reference

```{{eval-rst}}
.. autoclass:: {path}
   :members:
   :show-inheritance:
```
"""
_WRITTEN: list[Path] = []
_NUM_CLASSES = 10


def classes_of(kind: str) -> list[type]:
    """Return the package's own classes of a kind."""
    found = [each for each in choices.CHOICES[kind] if each.__module__.startswith("ssvae.")]
    return [*found, priors.ClassPrior] if kind == "prior" else found


def page_of(kind: str, owner: type) -> str:
    """Return the page of a class, from the folder of the pages: "models/ladder_vae"."""
    return f"{PAGES[kind]}/{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', owner.__name__).lower()}"


def public_name(owner: type) -> str:
    """Return the name that a class is imported by: that of the package which offers it."""
    parts = owner.__module__.split(".")
    for length in range(2, len(parts)):
        package = __import__(".".join(parts[:length]), fromlist=["_"])
        if getattr(package, owner.__name__, None) is owner:
            return f"{'.'.join(parts[:length])}.{owner.__name__}"
    return f"{owner.__module__}.{owner.__name__}"


def summary(owner: type) -> str:
    """Return the first sentence or line of a class's docstring, as Markdown."""
    return _escaped((owner.__doc__ or "").strip().partition("\n\n")[0])


def arxiv_numbers(owner: type) -> list[str]:
    """Return the arXiv numbers that a class's docstring cites, each once."""
    return list(dict.fromkeys(re.findall(r"arXiv[: ](\d{4}\.\d{4,5})", " ".join((owner.__doc__ or "").split()))))


def _escaped(text: str) -> str:
    """Return a docstring's text as a line of Markdown: what is in backticks stays as it is."""
    line = " ".join(text.split())
    parts = re.split(r"(`+[^`]+`+)", line)
    return "".join(
        part.replace("``", "`") if part.startswith("`") else re.sub(r"([\\*_<$\[\]#])", r"\\\1", part) for part in parts
    )


def _printable(metavar: str) -> str:
    """Return what stands for a value, without the control characters by which argparse hides a space."""
    return "".join(letter for letter in metavar if letter.isprintable())


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    cells = [list(head), *map(list, rows)]
    lines = ["| " + " | ".join(each.replace("|", r"\|") for each in row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


class Generated(SphinxDirective):
    """A directive that becomes the Markdown which `text` returns."""

    required_arguments = 0
    optional_arguments = 1
    final_argument_whitespace = True

    def text(self, argument: str) -> str:
        """Return what stands in place of the directive."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the text."""
        argument = self.arguments[0] if self.arguments else ""
        return self.parse_text_to_nodes(self.text(argument), allow_section_headings=True)


class Classes(Generated):
    """A row for each class of a kind: name, what it is, source."""

    def text(self, argument: str) -> str:
        """Return the table."""
        rows = []
        for owner in classes_of(argument):
            if argument in PAGES:
                name = f"[`{owner.__name__}`](/{page_of(argument, owner)}.md)"
            else:
                name = f"{{py:obj}}`{owner.__name__} <{public_name(owner)}>`"
            numbers = [f"[arXiv {each}](https://arxiv.org/abs/{each})" for each in arxiv_numbers(owner)]
            rows.append((name, summary(owner), ", ".join(numbers[:3])))
        return markdown_table((argument, "what it is", "sources"), rows)


class PartCard(Generated):
    """What a class is and how it is chosen, and a prior's density."""

    def text(self, argument: str) -> str:
        """Return the summary and the tables."""
        kind, owner = next((kind, each) for kind in PAGES for each in classes_of(kind) if each.__name__ == argument)
        option = (
            "--model.class_prior" if owner is priors.ClassPrior else f"--model{'' if kind == 'model' else '.' + kind}"
        )
        rows = [
            ("import", f"`from {public_name(owner).rpartition('.')[0]} import {owner.__name__}`"),
            ("command line", f"`ssvae fit {option} {owner.__name__}`, {{ref}}`its options <options-{owner.__name__}>`"),
            ("reference", f"{{py:obj}}`{owner.__name__} <{public_name(owner)}>`"),
        ]
        if issubclass(owner, Prior):
            rows.append(("density", f"`{owner.example().density}`"))
        if issubclass(owner, SemiSupervisedModel):
            rows.append(("bound on log p(x)", "yes" if owner.bounds_evidence else "no"))
        return f"{summary(owner)}\n\n{markdown_table(('', f'`{argument}`'), rows)}"


def _comment(text: str) -> str:
    """Return the comment that a recipe begins with."""
    lines = [line.removeprefix("#").strip() for line in text.splitlines()]
    marked = [line.startswith("#") for line in text.splitlines()]
    return " ".join(lines[: marked.index(False)])


class Recipes(Generated):
    """A row for each recipe: name, what its first comment says, its model, its own options."""

    def text(self, argument: str) -> str:
        """Return the table."""
        rows = []
        for name, path in recipe_files().items():
            text = path.read_text(encoding="utf-8")
            model = _model_of_recipe(name)
            rows.append((f"{{ref}}`{name} <recipe-{name}>`", model, _escaped(_comment(text)), f"`--recipe {name}`"))
        return markdown_table(("recipe", "model", "what it is", "option"), rows)


class RecipeFile(Generated):
    """The options of a recipe, as its file has them; of a model all recipes that are for it."""

    def text(self, argument: str) -> str:
        """Return the files, each under its name."""
        shown = []
        for name, path in recipe_files().items():
            text = path.read_text(encoding="utf-8")
            if argument == "all":
                shown.append(f"(recipe-{name})=\n## {name}\n\n```yaml\n{text.strip()}\n```")
            elif argument == _model_of_recipe(name):
                shown.append(f"- {{ref}}`{name} <recipe-{name}>`: {_escaped(_comment(text))}")
        return "\n".join(shown) if argument != "all" else "\n\n".join(shown)


class Options(Generated):
    """The options of `ssvae fit` for the run, or for each class of a kind."""

    def text(self, argument: str) -> str:
        """Return a table for each class."""
        if argument == "run":
            shown = help_of_fit(["--recipe", "none", "--objective.consistency.weight=200", "--augmentation.degrees=15"])
            wanted = [
                group for group in shown._action_groups if not (group.title or "").startswith(("--data", "--model"))
            ]
            return "\n\n".join(self._group(group.title or "", group._group_actions) for group in wanted[2:])
        path = {"data": "--data", "model": "--model"}.get(argument, f"--model.{argument}")
        base = ["--recipe", "none"]
        if argument == "feature_classifier":
            base += ["--model", "M1"]
        if argument == "class_prior":
            base += [f"{path}.num_classes={_NUM_CLASSES}"]
        tables = []
        # A class that two options take is described once, with its options.
        others = classes_of("networks") if argument == "classifier" else [priors.ClassPrior]
        for owner in classes_of(argument):
            if owner in others and argument != "class_prior":
                continue
            shown = help_of_fit([path, owner.__name__, *base])
            groups = [
                each for each in shown._action_groups if (each.title or "").startswith(f"{path}, {owner.__name__}:")
            ]
            actions = groups[0]._group_actions if groups else []
            tables.append(f"(options-{owner.__name__})=\n{self._group(f'{path} {owner.__name__}', actions)}")
        return "\n\n".join(tables)

    def _group(self, title: str, actions: Iterable[Any]) -> str:
        option, _, about = title.partition(": ")
        head = f"### {_escaped(option)}\n\n{_escaped(about)}"
        rows = [
            (
                f"`{action.option_strings[0]}`",
                f"`{_printable(action.metavar)}`",
                _escaped(action.help.replace("%%", "%")),
            )
            for action in actions
        ]
        return f"{head}\n\n{markdown_table(('option', 'value', 'meaning'), rows) if rows else 'It has no options.'}"


class Command(Generated):
    """What a command says of itself with --help."""

    def text(self, argument: str) -> str:
        """Return the help, as it is printed."""
        printed = io.StringIO()
        columns = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = "100"
        try:
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                run_command(argument, ["--help"])
        finally:
            del os.environ["COLUMNS"]
            if columns is not None:
                os.environ["COLUMNS"] = columns
        return f"```text\n{printed.getvalue().strip()}\n```"


class Study(Generated):
    """The table of a study, with the command that makes it."""

    def text(self, argument: str) -> str:
        """Return the command, and the table that the CSV file stands for."""
        path = Path(self.env.srcdir).parent / "studies" / f"{argument}.csv"
        self.env.note_dependency(path)
        found = table(from_csv(path.read_text(encoding="utf-8")))
        return f"    {_command_of(path)}\n\n{found}"


class Measured(Generated):
    """What studies measured of a model, with the commands that measure it."""

    def text(self, argument: str) -> str:
        """Return the rows of the model in each study that has some."""
        shown = []
        for path in sorted((Path(self.env.srcdir).parent / "studies").glob("*.csv")):
            self.env.note_dependency(path)
            results = from_csv(path.read_text(encoding="utf-8"))
            rows = [result for result in results if _models_of_study(path)[result.model] == argument]
            if rows:
                shown.append(f"    {_command_of(path)}\n\n{table(rows)}")
        return "\n\n".join([*shown, "{doc}`/results/index` has the other models beside it."])


def _command_of(results: Path) -> str:
    """Return the command that makes the results of a study, which stands in the first lines of its YAML file."""
    found = re.search(r"ssvae study studies/.*", results.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert found is not None, f"{results.with_suffix('.yaml')} does not say its command"
    return found[0]


@cache  # asked for on the page of every model
def _models_of_study(results: Path) -> dict[str, str]:
    """Return the name of the model for each row of a study."""
    options = yaml.safe_load(results.with_suffix(".yaml").read_text(encoding="utf-8"))["models"]
    return {
        row: str(each["model"]) if "model" in each else _model_of_recipe(each["recipe"])
        for row, each in options.items()
    }


@cache  # asked for on the page of every model
def _model_of_recipe(name: str) -> str:
    """Return the name of a recipe's model; "" for a recipe that leaves it open."""
    recipe = yaml.safe_load(recipe_files()[name].read_text(encoding="utf-8"))
    return str(recipe.get("model", {}).get("class_path", "")).rpartition(".")[2]


def _write_missing_pages(app: Sphinx, config: object) -> None:
    """Write a page for each class that has none, so that a new class needs no page at once; until the build is over."""
    for kind in PAGES:
        for owner in classes_of(kind):
            path = Path(app.srcdir) / f"{page_of(kind, owner)}.md"
            if not path.exists():
                path.write_text(_PAGE.format(name=owner.__name__, path=public_name(owner)), encoding="utf-8")
                _WRITTEN.append(path)


def _remove_written_pages(app: Sphinx, exception: Exception | None) -> None:
    while _WRITTEN:
        _WRITTEN.pop().unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, and the pages that nobody has written yet."""
    app.connect("config-inited", _write_missing_pages)
    app.connect("build-finished", _remove_written_pages)
    for name, directive in {
        "classes": Classes,
        "part": PartCard,
        "recipes": Recipes,
        "recipe": RecipeFile,
        "options": Options,
        "command": Command,
        "study": Study,
        "measured": Measured,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
