"""Sphinx's settings; `make docs` builds the pages into docs/_build/html."""

import os
import sys
from importlib.metadata import distribution
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# The pages describe the tree that they stand in, not an installed package; typing/ has it under its name.
sys.path[:0] = [str(DOCS.parent / "typing"), str(DOCS / "extensions")]
# Data sets and models are made to be described: no page needs a GPU or more than one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ssvae

project = "ssvae"
author = "the ssvae maintainers"
project_copyright = "the ssvae maintainers, Apache License 2.0"
version = release = ssvae.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_exercise",
    "sphinxcontrib.bibtex",
    "colab_links",
    "documented_names",
    "generated_tables",
    "graphical_models",
    "notebook_gallery",
]
exclude_patterns = ["_build", "generated", "tutorials/notebooks/README.md", "**/.ipynb_checkpoints"]
default_role = "py:obj"
nitpicky = True

# Markdown and notebooks

nb_execution_mode = "off"  # outputs are committed, and tests run every notebook
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "html_image"]
myst_heading_anchors = 3

# Read the Docs says where it cloned the repository from. Without an address on GitHub there are no links to Colab.
colab_repository = os.environ.get("READTHEDOCS_GIT_CLONE_URL", "")
colab_branch = os.environ.get("READTHEDOCS_GIT_IDENTIFIER", "main")

# Docstrings

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
add_module_names = False

# Sources

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

# Names of other libraries are links where their inventories can be read; the pages can be built without a network.

OTHERS = {
    "python": "https://docs.python.org/3",
    "torch": "https://docs.pytorch.org/docs/stable",
    "pyro": "https://docs.pyro.ai/en/stable",
    "sklearn": "https://scikit-learn.org/stable",
    "lightning": "https://lightning.ai/docs/pytorch/stable",
    "numpy": "https://numpy.org/doc/stable",
}
intersphinx_mapping = {name: (url, None) for name, url in OTHERS.items()} if os.environ.get("READTHEDOCS") else {}
_UNLINKED = sorted({*OTHERS, *sys.stdlib_module_names, "jsonargparse", "matplotlib", "pandas", "torchmetrics"})
nitpick_ignore_regex = [("py:.*", rf"({'|'.join(_UNLINKED)})(\..*)?")]

# Pages

html_theme = "sphinx_book_theme"
html_title = f"ssvae {release}"
html_favicon = "../inference/explorer/page/icon.svg"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "max_navbar_depth": 2,
    "home_page_in_toc": False,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "article_header_start": ["toggle-primary-sidebar.html"],
    "search_bar_text": "Search",
    # The search field stands in the sidebar.
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# MathJax comes with a package, so that formulas are drawn without a network; the file with every TeX extension loads no
# other, and SVG needs no fonts.
_MATHJAX = "sphinx-mathjax-offline"
MATHJAX_FILE = Path(str(distribution(_MATHJAX).locate_file(f"{_MATHJAX}/static/mathjax/tex-svg-full.js")))
html_static_path.append(str(MATHJAX_FILE))
mathjax_path = MATHJAX_FILE.name
mathjax3_config = {"options": {"enableMenu": False}}
