"""The documentation: it builds without a warning, no link in it leads nowhere, and every page opens in a browser."""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urldefrag

import generated_tables as tables
import graphical_models
import pytest
import yaml
from colab_links import colab_address
from filelock import FileLock
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# Chromium's own calls home would be seen as the page's.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDE, NARROW = {"width": 1300, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def build(tmp_path_factory, worker_id):
    """Build the pages as `make docs` does, once for all processes; return the folder and what was said on the way."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "documentation"
    with FileLock(f"{folder}.lock"):
        if not (folder / "said").is_file():
            environment = {name: value for name, value in os.environ.items() if name != "READTHEDOCS"}
            environment |= {
                "READTHEDOCS_GIT_CLONE_URL": "https://github.com/owner/name.git",
                "READTHEDOCS_GIT_IDENTIFIER": "release",
            }
            command = [
                sys.executable,
                "-m",
                "sphinx",
                "-n",
                "--keep-going",
                "-q",
                "-b",
                "html",
                "-d",
                folder / "doctrees",
            ]
            done = subprocess.run(
                [*command, DOCS, folder / "html"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            (folder / "said").write_text(done.stderr, encoding="utf-8")
    return folder / "html", (folder / "said").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What is asked of a page; a tree of its tags would take four times as long."""

    def __init__(self, text):
        super().__init__(convert_charrefs=False)
        self.anchors, self.links, self.scripts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.append(value)
                if name == "src" and tag == "script":
                    self.scripts.append(value)


@pytest.fixture(scope="module")
def pages(build):
    """The pages, read, by their paths."""
    found = {
        path: Page(path.read_text(encoding="utf-8")) for path in build[0].rglob("*.html") if "_static" not in path.parts
    }
    assert len(found) > 50
    return found


def test_it_builds_without_a_warning(build):
    assert build[1].strip() == ""


def test_every_link_within_the_site_leads_somewhere(build, pages):
    assert sum(len(page.links) for page in pages.values()) > 5000
    lost = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link) or link in ("", "#"):
                continue
            place, anchor = urldefrag(link)
            target = (path.parent / unquote(place.partition("?")[0])).resolve() if place else path
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                lost.append(f"{path.relative_to(build[0])}: {link}")
    assert lost == []


@pytest.mark.parametrize("kind", tables.PAGES)
def test_every_class_that_can_be_swapped_has_a_page(kind):
    expected = {tables.page_of(kind, owner): owner for owner in tables.classes_of(kind)}
    found = {f"{tables.PAGES[kind]}/{path.stem}" for path in (DOCS / tables.PAGES[kind]).glob("*.md")}
    index = f"{tables.PAGES[kind]}/index"
    # A model's page is written by hand; of a new part the build writes a short one, until somebody does.
    assert found == {*expected, index} if kind == "model" else {index} < found <= {*expected, index}
    headings = ["When to use it", "When not", "Sources"]
    if kind == "model":
        headings += ["The story and the guide", "Symbols and code", "Recipe", "Measured"]
    for page, owner in ((page, expected[page]) for page in sorted(found - {index})):
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# {owner.__name__}\n")
        assert f"```{{part}} {owner.__name__}\n" in text
        assert f".. autoclass:: {tables.public_name(owner)}\n" in text
        if kind == "model":
            assert all(
                f"```{{{each}}} {owner.__name__}\n" in text for each in ("graph", "symbols", "recipe", "measured")
            )
            if "\n## Samples\n" in text:
                assert (DOCS / "models" / re.search(r"```{figure} (\S+)\n", text)[1]).is_file()
                assert re.search(rf"(--model {owner.__name__}|`make demo)`: a row for each class", text)
        for heading in headings:
            assert f"\n## {heading}\n" in text, f"{page}: expected the heading {heading!r}"


STORIES = {
    "ADGM": (
        r"p(a, x, y, z) = p(y)\,p(z)\,p(x \mid y, z)\,p(a \mid x, y, z)",
        r"q(a, y, z \mid x) = q(a \mid x)\,q(y \mid a, x)\,q(z \mid a, x, y)",
    ),
    "AdversarialAutoencoder": (
        r"p(\pi, x, z) = p(\pi)\,p(z)\,p(x \mid \pi, z)",
        r"q(\pi, z \mid x) = q(\pi \mid x)\,q(z \mid x)",
    ),
    "ConditionalVAE": (r"p(x, y, z) = p(y)\,p(z)\,p(x \mid y, z)", r"q(z \mid x, y)"),
    "DistilledM1": (r"p(x, z) = p(z)\,p(x \mid z)", r"q(z \mid x)"),
    "DistilledM2": (
        r"p(x, y, z) = p(y)\,p(z)\,p(x \mid y, z)",
        r"q(y, z \mid x) = q(y \mid x)\,q(z \mid x, y)",
    ),
    "GMVAE": (r"p(x, y, z) = p(y)\,p(z \mid y)\,p(x \mid z)", r"q(y, z \mid x) = q(y \mid x)\,q(z \mid x)"),
    "LadderVAE": (
        r"p(x, y, z_1, z_2) = p(y)\,p(z_2)\,p(z_1 \mid y, z_2)\,p(x \mid z_1)",
        r"q(y, z_1, z_2 \mid x) = q(y \mid x)\,q(z_2 \mid x, y)\,q(z_1 \mid x, y, z_2)",
    ),
    "M1": (r"p(x, z) = p(z)\,p(x \mid z)", r"q(z \mid x)"),
    "M1M2": (
        r"p(x, y, z_1, z_2) = p(y)\,p(z_2)\,p(z_1 \mid y, z_2)\,p(x \mid z_1)",
        r"q(y, z_1, z_2 \mid x) = q(z_1 \mid x)\,q(y \mid z_1)\,q(z_2 \mid y, z_1)",
    ),
    "M2": (r"p(x, y, z) = p(y)\,p(z)\,p(x \mid y, z)", r"q(y, z \mid x) = q(y \mid x)\,q(z \mid x, y)"),
    "SDGM": (
        r"p(a, x, y, z) = p(y)\,p(z)\,p(a \mid y, z)\,p(x \mid a, y, z)",
        r"q(a, y, z \mid x) = q(a \mid x)\,q(y \mid a, x)\,q(z \mid a, x, y)",
    ),
    "SOMVAE": (r"p(x, z) = p(z)\,p(x \mid z)", r"q(z \mid x)"),
    "SparseLabelVAE": (r"p(x, z) = p(z)\,p(x \mid z)", r"q(z \mid x)"),
}


@pytest.mark.parametrize("owner", tables.classes_of("model"), ids=lambda owner: owner.__name__)
def test_the_drawn_graphs_are_those_of_the_papers(owner):
    model, guide = graphical_models.graphs_of(owner((1, 8, 8), 10))
    assert (graphical_models.formula(model, "p"), graphical_models.formula(guide, "q")) == STORIES[owner.__name__]
    for graph, number in ((model, len(model.parents)), (guide, len(guide.parents) + len(guide.inputs))):
        drawn = graphical_models.drawing(graph, "any")
        assert drawn.count("<circle") == number
        assert drawn.count('class="arrow"') == sum(map(len, graph.parents.values()))
        assert drawn.count('class="observed"') == 1


def test_every_recipe_and_option_has_a_line(build):
    recipes = (build[0] / "reference" / "recipes.html").read_text(encoding="utf-8")
    for name in tables.recipe_files():
        assert f'id="recipe-{name.replace("_", "-")}"' in recipes
    options = (build[0] / "reference" / "command-line.html").read_text(encoding="utf-8")
    for kind in ("data", "model", "prior", "posterior", "likelihood", "networks", "feature_classifier"):
        for owner in tables.classes_of(kind):
            assert f'id="options-{owner.__name__.lower()}"' in options
    for option in (
        "--objective.consistency.weight",
        "--model.prior.num_components",
        "--trainer.precision",
        "--num_images",
    ):
        assert option in options


def test_every_notebook_opens_in_colab_from_its_page_and_from_the_gallery(build, pages):
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    gallery = pages[build[0] / "tutorials" / "index.html"].links
    for notebook in notebooks:
        address = f"https://colab.research.google.com/github/owner/name/blob/release/notebooks/{notebook.name}"
        page = build[0] / "tutorials" / "notebooks" / f"{notebook.stem}.html"
        assert address in pages[page].links
        assert address in gallery


@pytest.mark.parametrize(
    ("repository", "on_github"),
    [
        ("https://github.com/a/b", "a/b"),
        ("https://github.com/a/b.c.git", "a/b.c"),
        ("git@github.com:a/b.git", "a/b"),
        ("https://gitlab.com/a/b.git", None),
        ("https://example.org/github.com/a/b", None),
        ("", None),
    ],
)
def test_only_what_is_on_github_has_a_link_to_colab(repository, on_github):
    config = SimpleNamespace(colab_repository=repository, colab_branch="main")
    expected = on_github and f"https://colab.research.google.com/github/{on_github}/blob/main/notebooks/x.ipynb"
    assert colab_address(config, "x") == expected


def test_every_notebook_is_in_the_gallery():
    listed = yaml.safe_load((DOCS / "tutorials" / "gallery.yaml").read_text(encoding="utf-8"))
    assert list(listed) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_source_that_is_cited_is_in_the_bibliography():
    known = (DOCS / "references.bib").read_text(encoding="utf-8")
    texts = [
        path.read_text(encoding="utf-8")
        for room, kind in (
            ("models", "*.py"),
            ("data", "*.py"),
            ("inference", "*.py"),
            ("docs", "*.md"),
            ("notebooks", "*.ipynb"),
        )
        for path in (ROOT / room).rglob(kind)
        if "_build" not in path.parts
    ]
    cited = {
        number
        for text in texts
        for number in re.findall(r"arXiv[:\s]+(\d{4}\.\d{4,5})|arxiv\.org/abs/(\d{4}\.\d{4,5})", text)
    }
    numbers = {first or second for first, second in cited}
    assert len(numbers) > 40
    assert {number for number in numbers if f"eprint = {{{number}}}" not in known} == set()
    assert len(re.findall(r"eprint = ", known)) == len(set(re.findall(r"eprint = .*", known)))


def test_formulas_are_drawn_without_a_network(build, pages):
    scripts = {script for page in pages.values() for script in page.scripts}
    assert any("tex-svg-full.js" in script for script in scripts)
    assert [script for script in scripts if "//" in script] == []


class Server(SimpleHTTPRequestHandler):
    """Serves the pages; a browser compiles each of their scripts once, which takes half of the time from the disk."""

    protocol_version = "HTTP/1.1"

    def end_headers(self):
        """Let the browser keep what it has."""
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *_):
        """Write nothing."""


@pytest.fixture
def address(build):
    """Where the pages are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=build[0])) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium (apt-get install chromium, or its path in $CHROMIUM)"
)
def test_every_page_opens_without_a_complaint_and_fits_a_wide_and_a_narrow_window(build, pages, address):
    complaints, too_wide = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(viewport=WIDE).new_page()
        page.on(
            "console",
            # The theme notes on the console which colours it takes.
            lambda message: (
                complaints.append(f"{page.url}: {message.text}") if message.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on(
            "requestfailed",
            # The next page may open before the browser has the icon of the one before.
            lambda request: (
                None if request.failure == "net::ERR_ABORTED" else complaints.append(f"{page.url}: {request.url}")
            ),
        )
        page.on(
            "request",
            lambda request: None if request.url.startswith((address, "data:")) else complaints.append(request.url),
        )
        for number, path in enumerate(pages):
            page.goto(f"{address}{path.relative_to(build[0]).as_posix()}")
            # The page opens as the one before was left, and is laid out once more.
            for viewport in (WIDE, NARROW)[:: 1 if number % 2 == 0 else -1]:
                if page.viewport_size != viewport:
                    page.set_viewport_size(viewport)
                if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
                    too_wide.append((str(path.relative_to(build[0])), viewport["width"]))
        browser.close()
    assert complaints == []
    assert too_wide == []
