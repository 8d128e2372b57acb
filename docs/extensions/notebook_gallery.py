"""Sphinx extension: {gallery}, a card for each notebook, with the picture, time and level that gallery.yaml says."""

import base64
from pathlib import Path

import nbformat
import yaml
from colab_links import colab_address
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def pictures(notebook: nbformat.NotebookNode) -> list[bytes]:
    """Return the PNG pictures that a notebook was committed with."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        base64.b64decode(data["image/png"]) for output in outputs if "image/png" in (data := output.get("data", {}))
    ]


class Gallery(SphinxDirective):
    """A grid of cards, one for each notebook of gallery.yaml."""

    def run(self) -> list[nodes.Node]:
        """Write the pictures below generated/, and return the grid."""
        source = Path(self.env.srcdir)
        folder = source / "generated" / "gallery"
        folder.mkdir(parents=True, exist_ok=True)
        cards = []
        for name, about in yaml.safe_load((source / "tutorials" / "gallery.yaml").read_text(encoding="utf-8")).items():
            path = source / "tutorials" / "notebooks" / f"{name}.ipynb"
            self.env.note_dependency(path)
            notebook = nbformat.read(path, as_version=4)
            title = notebook.cells[0].source.partition("\n")[0].removeprefix("#").strip()
            (folder / f"{name}.png").write_bytes(pictures(notebook)[about["picture"]])
            needs = f"after {about['after']}" if about["after"] else "needs nothing before it"
            address = colab_address(self.config, name)
            colab = f" · [Colab]({address})" if address else ""
            cards.append(
                f"::::{{grid-item-card}} {title}\n:link: /tutorials/notebooks/{name}\n:link-type: doc\n"
                f":img-top: /generated/gallery/{name}.png\n:img-alt: a picture from this notebook\n\n"
                f"{about['what']}\n\n:::{{card-footer}}\n{about['level']} · {about['time']} · {needs}{colab}\n:::\n::::"
            )
        grid = ":::::{grid} 1 2 2 3\n:gutter: 3\n:class-container: gallery\n\n" + "\n\n".join(cards) + "\n:::::"
        return self.parse_text_to_nodes(grid)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
