"""Sphinx extension: links that open a notebook in Colab, on its page and in the gallery.

Colab opens what is on GitHub, so that there are links only where the repository's address is known: the setting
colab_repository, as https://github.com/OWNER/NAME, and colab_branch.
"""

import re
from pathlib import PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

NOTEBOOKS = PurePosixPath("tutorials/notebooks")  # a link to the folder of that name in the repository's root


def colab_address(config: Config, name: str) -> str | None:
    """Return the address under which Colab opens a notebook, or None if the repository is not known to be on GitHub."""
    on_github = re.fullmatch(
        r"(?:https://|ssh://git@|git@)github\.com[/:]([^/]+/[^/]+?)(?:\.git)?/?", config.colab_repository
    )
    if on_github is None:
        return None
    # GitHub does not follow links between folders.
    return f"https://colab.research.google.com/github/{on_github[1]}/blob/{config.colab_branch}/notebooks/{name}.ipynb"


def _add_link(app: Sphinx, document: nodes.document) -> None:
    page = PurePosixPath(app.env.docname)
    if page.parent == NOTEBOOKS and (address := colab_address(app.config, page.name)):
        title = next(iter(document.findall(nodes.title)))
        link = nodes.reference("", "Open in Colab", refuri=address, internal=False)
        title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the settings and the link on each notebook's page."""
    app.add_config_value("colab_repository", "", "env", str)
    app.add_config_value("colab_branch", "main", "env", str)
    app.connect("doctree-read", _add_link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
