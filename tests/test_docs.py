"""The documentation: it builds without a warning, no link in it leads nowhere, and every page opens in a browser."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import generated_tables as tables
import pytest
import yaml
from bs4 import BeautifulSoup
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


@pytest.fixture(scope="module")
def pages(build):
    """The pages, read, by their paths."""
    found = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in build[0].rglob("*.html")
        if "_static" not in path.parts
    }
    assert len(found) > 50
    return found


def test_it_builds_without_a_warning(build):
    assert build[1].strip() == ""


def test_every_link_within_the_site_leads_somewhere(build, pages):
    anchors = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in pages.items()}
    lost = []
    for path, soup in pages.items():
        for tag, attribute in (
            (tag, name) for tag in soup.find_all(True) for name in ("href", "src") if name in tag.attrs
        ):
            link = tag[attribute]
            if re.match(r"[a-z]+:|//", link) or link in ("", "#"):
                continue
            place, anchor = urldefrag(link)
            target = (path.parent / unquote(place.partition("?")[0])).resolve() if place else path
            if not target.is_file() or (anchor and target in anchors and unquote(anchor) not in anchors[target]):
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
        for heading in headings:
            assert f"\n## {heading}\n" in text, f"{page}: expected the heading {heading!r}"


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


def test_every_notebook_is_in_the_gallery():
    listed = yaml.safe_load((DOCS / "tutorials" / "gallery.yaml").read_text(encoding="utf-8"))
    assert list(listed) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_source_that_the_package_cites_is_in_the_bibliography():
    known = (DOCS / "references.bib").read_text(encoding="utf-8")
    texts = [
        path.read_text(encoding="utf-8")
        for room in ("models", "data", "inference")
        for path in (ROOT / room).rglob("*.py")
    ]
    cited = {number for text in texts for number in re.findall(r"arXiv[:\s]+(\d{4}\.\d{4,5})", text)}
    assert len(cited) > 30
    assert {number for number in cited if f"eprint = {{{number}}}" not in known} == set()
    assert len(re.findall(r"eprint = ", known)) == len(set(re.findall(r"eprint = .*", known)))


def test_formulas_are_drawn_without_a_network(build, pages):
    scripts = {script["src"] for soup in pages.values() for script in soup.find_all("script", src=True)}
    assert any("tex-svg-full.js" in script for script in scripts)
    assert [script for script in scripts if "//" in script] == []


@pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium (apt-get install chromium, or its path in $CHROMIUM)"
)
def test_every_page_opens_without_a_complaint_and_fits_a_wide_and_a_narrow_window(build, pages):
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
        page.on("requestfailed", lambda request: complaints.append(f"{page.url}: {request.url}"))
        page.route(lambda url: not url.startswith("file:") and not url.startswith("data:"), lambda route: route.abort())
        for path in pages:
            page.goto(path.as_uri())
            for viewport in (NARROW, WIDE):  # the next page opens in the wide one again
                page.set_viewport_size(viewport)
                if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
                    too_wide.append((str(path.relative_to(build[0])), viewport["width"]))
        browser.close()
    assert complaints == []
    assert too_wide == []
