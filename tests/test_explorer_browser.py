"""The explorer's page in a real browser: draws, drops files, walks the map, samples; drags labels; fills in a row."""

import base64
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from support import exploring

from ssvae.inference.explorer.answers import in_words
from ssvae.inference.explorer.server import picture
from ssvae.inference.runs import load

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium (apt-get install chromium, or its path in $CHROMIUM)"
    ),
]

# Chromium's own calls home would be seen as the page's.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.62, 0.4), (0.54, 0.6), (0.48, 0.82)]
BAR = [(0.4, 0.5), (0.7, 0.5)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folders = exploring.trained(tmp_path_factory.mktemp("browsed"))
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    with exploring.serving([load(str(folder)) for folder in folders]) as found:
        yield found
    torch.set_default_dtype(dtype)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(autouse=True)
def _as_users_do():
    torch.set_default_dtype(torch.float32)


@contextmanager
def visiting(browser, url):
    """A new visitor's page; whatever it complains of unforeseen, or asks of another host, fails the test."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    complaints, requested = [], []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    # A test says which of Chromium's notes it provokes: one may come after the page has shown what is waited for.
    page.foreseen = []
    page.goto(url)
    yield page
    context.close()
    assert [text for text in complaints if not any(part in text for part in page.foreseen)] == []
    assert requested
    assert [each for each in requested if not each.startswith((url, "data:"))] == []


@pytest.fixture
def page(served, browser):
    """The page of the two runs on images."""
    with visiting(browser, served[0]) as page:
        expect(page.locator("#draw .panel")).to_have_count(2)
        expect(page.locator("[role=tab]:visible")).to_have_count(3)
        yield page


def stroke(page, points):
    box = page.locator("#paper").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def settled(page):
    """Wait until every question is answered."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=30_000)  # a hundred steps of training


def read(panel):
    """What a panel says: the answer, and both probabilities of every class in percent."""
    values = [[float(text.removesuffix(" %")) for text in panel.locator(f".value.{kind}").all_inner_texts()]
              for kind in ("q", "p")]  # fmt: skip
    return panel.locator(".answer").inner_text(), values


def assert_says(panel, answer, class_names):
    words, rows = read(panel)
    assert words == in_words(answer.probabilities, class_names)
    expected = torch.stack([answer.probabilities, answer.posterior.probabilities]) * 100
    assert torch.tensor(rows).double().sub(expected).abs().max() <= 0.0501
    widths = panel.locator(".bar.q").evaluate_all("bars => bars.map((bar) => parseFloat(bar.style.width))")
    assert widths == pytest.approx((answer.probabilities * 100).tolist(), abs=0.006)
    whiskers = panel.locator(".whisker").evaluate_all(
        "bars => bars.map((bar) => [parseFloat(bar.style.left), parseFloat(bar.style.width)])"
    )
    ends = torch.stack([answer.posterior.low, answer.posterior.high - answer.posterior.low], dim=-1) * 100
    assert torch.tensor(whiskers).double().sub(ends).abs().max() <= 0.006


def source(locator):
    return locator.get_attribute("src")


def test_a_drawing_is_answered_by_both_runs_as_the_server_says(page, served):
    panels = page.locator("#draw .panel").all()
    assert [panel.locator("h2").inner_text() for panel in panels] == ["normal", "by_class"]
    assert "prior ClassConditional" in panels[1].locator(".story").inner_text()
    drawn = []
    page.on("request", lambda request: drawn.append(request) if "drawing" in request.url else None)
    stroke(page, SEVEN)
    stroke(page, BAR)
    settled(page)
    strokes = json.loads(drawn[-1].post_data)["strokes"]
    assert len(strokes) == 2  # the last that was asked is all that was drawn
    assert strokes[1][-1] == pytest.approx(BAR[-1], abs=0.005)
    for panel, explorer in zip(panels, served[1], strict=True):
        assert_says(panel, explorer.answer(explorer.drawn(strokes)), explorer.run.class_names)
        assert panel.locator(".analogies img").count() == 10
        assert source(panel.locator(".reconstruction")).startswith("data:image/png")
    # by_class sees binarised pixels, and its panel shows them.
    assert [panel.locator(".observed").is_visible() for panel in panels] == [False, True]
    assert len({source(panel.locator(".reconstruction")) for panel in panels}) == 2


def test_drawing_is_live_and_can_be_undone(page):
    answer = page.locator("#draw .answer").first
    expect(answer).to_have_text("Nothing drawn yet")
    expect(page.locator("#clear")).to_be_disabled()
    box = page.locator("#paper").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 220, box["y"] + 60, steps=4)
    expect(answer).not_to_have_text("Nothing drawn yet")  # the button is still down
    page.mouse.up()
    settled(page)
    first = read(page.locator("#draw .panel").first)
    stroke(page, [(0.5, 0.2), (0.5, 0.8)])
    settled(page)
    assert read(page.locator("#draw .panel").first) != first
    page.locator("#undo").click()
    settled(page)
    assert read(page.locator("#draw .panel").first) == first
    page.locator("#clear").click()
    expect(answer).to_have_text("Nothing drawn yet")
    expect(page.locator("#paper-hint")).to_be_visible()


DROP = """([content, name, type]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(content)], name, { type }));
  document.getElementById("paper").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


@pytest.fixture
def image(tmp_path):
    generator = torch.Generator().manual_seed(0)
    Image.fromarray(torch.randint(0, 256, (16, 16), generator=generator).numpy().astype(np.uint8)).save(
        tmp_path / "image.png"
    )
    return tmp_path / "image.png"


def test_images_are_chosen_and_dropped(page, served, image):
    panel, explorer = page.locator("#draw .panel").first, served[1][0]
    page.locator("#file").set_input_files(image)
    settled(page)
    assert_says(panel, explorer.answer(explorer.uploaded(image.read_bytes())), explorer.run.class_names)
    as_it_is = read(panel)
    page.locator("#invert").check()
    settled(page)
    assert_says(panel, explorer.answer(explorer.uploaded(image.read_bytes(), invert=True)), explorer.run.class_names)
    page.locator("#invert").uncheck()
    page.locator("#clear").click()
    expect(panel.locator(".answer")).to_have_text("Nothing drawn yet")
    page.evaluate(DROP, [list(image.read_bytes()), "image.png", "image/png"])
    settled(page)
    assert read(panel) == as_it_is


def test_bad_files_get_a_sentence_and_are_forgotten(page, tmp_path):
    page.foreseen.append("status of 400 (Bad Request)")
    complaint = page.locator("#complaint")
    (tmp_path / "text.png").write_text("To be, or not to be")
    page.locator("#file").set_input_files(tmp_path / "text.png")
    expect(complaint).to_have_text("file: expected a PNG or JPEG image; got a file that is neither.")
    page.evaluate(DROP, [list(b"more text"), "notes.txt", "text/plain"])
    expect(complaint).to_have_text("file: expected a PNG or JPEG image; got a file that is neither.")
    (tmp_path / "large.png").write_bytes(bytes(5_000_001))
    page.locator("#file").set_input_files(tmp_path / "large.png")
    expect(complaint).to_have_text("file: expected at most 5 MB; got 5.0 MB.")
    Image.new("L", (4100, 10)).save(tmp_path / "wide.png")
    page.locator("#file").set_input_files(tmp_path / "wide.png")
    expect(complaint).to_have_text("file: expected at most 4096×4096 pixels; got 4100×10 pixels.")
    expect(page.locator("#draw .answer").first).to_have_text("Nothing drawn yet")
    stroke(page, SEVEN)
    settled(page)
    expect(complaint).to_be_empty()


def is_hatched(page, x, y):
    """Whether the paper has a colour at a point, given as shares of its side: an image on it is grey."""
    data = page.locator("#paper").evaluate(
        "(paper, [x, y]) => [...paper.getContext('2d').getImageData(560 * x, 560 * y, 1, 1).data]", [x, y]
    )
    return data[0] != data[1]


@pytest.mark.usefixtures("quick_proposals")
def test_what_is_wiped_is_completed(page, served):
    page.foreseen.append("willReadFrequently")  # this test reads the paper
    panels, explorers = page.locator("#draw .panel").all(), served[1]
    asked = []
    page.on("request", lambda request: asked.append(parse_qs(urlparse(request.url).query)))
    expect(page.locator("#wipe-tool")).to_be_disabled()
    page.locator("#example").click()
    expect(panels[0].locator(".answer")).not_to_have_text("Nothing drawn yet")
    settled(page)
    content = base64.b64decode(picture(explorers[0].example(0)).split(",")[1])
    for panel, explorer in zip(panels, explorers, strict=True):
        assert_says(panel, explorer.answer(explorer.uploaded(content)), explorer.run.class_names)
    before = read(panels[0])
    page.get_by_text("Wipe", exact=True).click()
    page.get_by_role("button", name="Left half").click()
    settled(page)
    missing = torch.zeros(8, 8, dtype=torch.bool)
    missing[:, :4] = True
    for panel, explorer in zip(panels, explorers, strict=True):
        found = explorer.complete(explorer.uploaded(content), missing)
        words, rows = read(panel)
        assert words == in_words(found.posterior.probabilities, explorer.run.class_names)
        expected = torch.stack([found.probabilities, found.posterior.probabilities]) * 100
        assert torch.tensor(rows).double().sub(expected).abs().max() <= 0.0501
        images = panel.locator(".completions img").all()
        assert [source(each) for each in images] == [picture(image) for image in found.completions]
        assert panel.locator(".completions figcaption").all_inner_texts() == [str(int(y)) for y in found.classes]
        size = f"Effective sample size {found.effective_samples:.1f} of 20."
        low = " This is low: few samples carry the weight, so that completions repeat and probabilities are rough."
        expect(panel.locator(".size")).to_have_text(size + low * (found.effective_samples < 8))
        assert source(panel.locator(".mean")) == picture(found.mean)
        expect(panel.locator(".caution")).to_contain_text("This run was trained on complete images")
        expect(panel.locator(".analogies")).to_be_hidden()
    assert is_hatched(page, 0.3, 0.5)
    assert not is_hatched(page, 0.7, 0.5)
    # By hand: the corner on the right.
    stroke(page, [(0.94, 0.06), (0.94, 0.2)])
    settled(page)
    missing[:2, 7] = True
    digits = "".join(f"{int(''.join(str(int(bit)) for bit in row), 2):02x}" for row in missing)
    assert asked[-1]["missing"] == [digits]
    assert is_hatched(page, 0.94, 0.1)
    page.locator("#undo").click()
    settled(page)
    assert asked[-1]["missing"] == [8 * "f0"]
    page.get_by_role("button", name="Nothing").click()
    settled(page)
    assert "missing" not in asked[-1]
    assert read(panels[0]) == before
    expect(panels[0].locator(".analogies")).to_be_visible()
    # Drawing brings back what was wiped.
    page.get_by_role("button", name="Bottom half").click()
    settled(page)
    assert asked[-1]["missing"] == ["00000000ffffffff"]
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("Draw", exact=True).last.click()
    settled(page)
    assert read(panels[0]) == before


def test_the_mouse_walks_the_map(page, served):
    page.locator("#latent-tab").click()
    panel, explorer = page.locator("#latent .panel").nth(1), served[1][1]
    expect(panel.locator(".axes")).to_contain_text("60 test images")
    settled(page)
    tile = panel.locator(".tile img")
    expect(tile).to_be_visible()
    seen = []
    for y, place in ((3, (0.3, 0.4)), (3, (0.8, 0.7)), (5, (0.8, 0.7))):
        page.locator("#latent-classes input").nth(1 + y).check()
        box = panel.locator("canvas").bounding_box()
        before = panel.get_attribute("data-decoded")
        page.mouse.move(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"], steps=4)
        settled(page)
        expect(panel.locator(".tile figcaption")).to_have_text(f"y = {y}")
        if y == 3:
            assert panel.get_attribute("data-decoded") != before
        seen.append(source(tile))
        point = tuple(map(float, panel.get_attribute("data-decoded").split(",")))
        images = explorer.decode(point)
        assert [source(each) for each in panel.locator(".decoded img").all()] == [picture(image) for image in images]
        assert source(tile) == picture(images[y])
    assert len(set(seen)) == 3
    # The place that was pointed at is that of the map: left is less along the first component.
    assert point[0] > explorer.map.plane.points[:, 0].mean()
    assert point[1] < explorer.map.plane.points[:, 1].mean()


def test_the_map_is_walked_by_keys_and_takes_the_nearest_class(page, served):
    page.locator("#latent-tab").click()
    panel, explorer = page.locator("#latent .panel").first, served[1][0]
    expect(panel.locator(".tile img")).to_be_visible()
    panel.locator(".map").focus()
    places = []
    for key in ("ArrowRight", "ArrowUp"):
        places.append(tuple(map(float, panel.get_attribute("data-decoded").split(","))))
        page.keyboard.press(key)
        settled(page)
    places.append(tuple(map(float, panel.get_attribute("data-decoded").split(","))))
    assert places[1][0] > places[0][0]
    assert places[1][1] == pytest.approx(places[0][1])
    assert places[2][1] > places[1][1]
    distance = (explorer.map.plane.points - torch.tensor(places[2]).to(explorer.map.plane.points)).square().sum(-1)
    expect(panel.locator(".tile figcaption")).to_have_text(f"y = {explorer.map.labels[distance.argmin()]}")


def test_classes_are_sampled(page, served):
    page.locator("#samples-tab").click()
    panels = page.locator("#samples .panel").all()
    expect(panels[0].locator("img")).to_have_count(30)
    page.locator("#sample-classes input").nth(4).check()
    page.locator("#number").fill("7")
    page.locator("#number").press("Tab")
    for panel, explorer in zip(panels, served[1], strict=True):
        expect(panel).to_have_attribute("data-drawn", "4,0")
        expect(panel.locator("img")).to_have_count(7)
        expected = [picture(image) for image in explorer.sample(4, 7, seed=0)]
        assert [source(each) for each in panel.locator("img").all()] == expected
    page.locator("#resample").click()
    expect(panels[1]).to_have_attribute("data-drawn", "4,1")
    assert source(panels[1].locator("img").first) == picture(served[1][1].sample(4, 7, seed=1)[0])
    page.foreseen.append("status of 400 (Bad Request)")
    page.locator("#number").fill("500")
    page.locator("#number").press("Tab")
    expect(panels[0].locator(".grid")).to_have_text("number: expected an integer from 1 to 100; got '500'.")


def test_tabs_are_walked_by_keys(page):
    page.locator("#draw-tab").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#latent")).to_be_visible()
    expect(page.locator("#draw")).to_be_hidden()
    expect(page.locator("#latent-tab")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#samples-tab")).to_have_attribute("aria-selected", "true")
    assert Path(page.url).name == "samples"


def test_a_server_that_has_ended_is_told_of(page):
    page.foreseen.append("net::ERR_FAILED")
    page.route("**/drawing", lambda route: route.abort())
    stroke(page, SEVEN)
    expect(page.locator("#complaint")).to_have_text("The server does not respond. Is ssvae explore still running?")


def read_vector(page):
    """Both probabilities of every class in percent, and the sentence with log p(x)."""
    return read(page.locator(".panel:visible"))[1], page.locator(".density:visible").inner_text()


def assert_says_of_vector(page, answer):
    rows, density = read_vector(page)
    expected = torch.stack([answer.probabilities, answer.posterior.probabilities]) * 100
    assert torch.tensor(rows).double().sub(expected).abs().max() <= 0.0501
    log_p, error = answer.posterior.log_evidence, answer.posterior.log_evidence_error
    assert density == f"log p(x) = {log_p:.2f} ± {error:.2f} nats, a density in the units of the data"


def test_the_plane_answers_and_its_labels_are_changed(browser):
    run = exploring.on_moons(num_steps=60)
    with exploring.serving([run]) as (url, (explorer,)), visiting(browser, url) as page:
        expect(page.locator("[role=tab]:visible")).to_have_text(["Plane"])
        panel = page.locator("#plane .panel")
        expect(panel.locator(".answer")).not_to_have_text("\u00a0")
        settled(page)
        canvas = panel.locator(".map canvas")
        box = canvas.bounding_box()
        limits = explorer.limits

        def pixels(point):
            shares = [(value - low) / (high - low) for value, (low, high) in zip(point, limits, strict=True)]
            # The room that plane.js leaves for the axes.
            width, height = box["width"] - 64, box["height"] - 54
            return box["x"] + 52 + shares[0] * width, box["y"] + 10 + (1 - shares[1]) * height

        def looked_at():
            return [float(value) for value in panel.get_attribute("data-place").split(",")]

        # The colour of a point far from the boundary is that of its class: blue or orange.
        page.locator("#plane-contours").uncheck()
        cells = {(90, 10): 0, (10, 90): 1}
        assert [explorer.regions().classes[cell] for cell in cells] == list(cells.values())
        places = [[low + cell / 99 * (high - low) for cell, (low, high) in zip(reversed(each), limits, strict=True)]
                  for each in cells]  # fmt: skip
        colours = canvas.evaluate(
            """(canvas, places) => {
              const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return places.map(([x, y]) => [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)]);
            }""",
            [[round(x - box["x"]), round(y - box["y"])] for x, y in map(pixels, places)],
        )
        assert [blue > red for red, _, blue in colours] == [True, False]
        # A click asks about the point.
        page.mouse.click(*pixels((0.5, 0.8)))
        settled(page)
        assert looked_at() == pytest.approx([0.5, 0.8], abs=0.01)
        assert_says_of_vector(page, explorer.answer(looked_at()))
        ellipse = panel.locator(".posterior .chosen").get_attribute("points")
        page.locator("#plane-class input").nth(2).check()
        expect(panel.locator(".of")).to_have_text("q(z|x, y = lower)")
        mean, scale = explorer.answer(looked_at()).mean[1], explorer.answer(looked_at()).scale[1]
        first, second = (f"z{i} = {m:.2f} ± {s:.2f}" for i, m, s in zip("\u2081\u2082", mean, scale, strict=True))
        expect(panel.locator(".numbers")).to_have_text(f"{first}, {second} (mean ± standard deviation)")
        assert panel.locator(".posterior .chosen").get_attribute("points") != ellipse
        # With a class chosen, a click adds a label, and the copy learns.
        weights = [parameter.clone() for parameter in run.model.parameters()]
        page.locator("#plane-click input").nth(3).check()
        page.mouse.click(*pixels((0.5, 0.8)))
        expect(panel).to_have_attribute("data-changed", "1")
        settled(page)
        expect(panel.locator(".state")).to_contain_text(
            "1 label changed. A copy of the model was trained for 100 steps"
        )
        assert explorer.relabelling.data.train_labels[-1] == 1
        assert_says_of_vector(page, explorer.answer(looked_at()))
        # A label is dragged.
        index = run.data.labelled_index[0]
        start = run.data.train_x[index].tolist()
        page.mouse.move(*pixels(start))
        page.mouse.down()
        page.mouse.move(*pixels((start[0] + 0.3, start[1] - 0.2)), steps=3)
        page.mouse.up()
        expect(panel).to_have_attribute("data-changed", "2")
        settled(page)
        moved = explorer.relabelling.data.train_x[index].tolist()
        assert moved == pytest.approx([start[0] + 0.3, start[1] - 0.2], abs=0.01)
        # Samples are asked for when they are to be seen.
        with page.expect_response(lambda response: "/rows?class=1" in response.url) as response:
            page.locator("#plane-samples").check()
        assert len(response.value.json()["rows"]) == 200
        settled(page)
        # By keys, the nearest label moves to the place; its training ends when all is undone.
        page.locator("#plane-click input").nth(1).check()
        panel.locator(".map").focus()
        page.keyboard.press("ArrowLeft")
        with page.expect_response(lambda response: "/steps" in response.url):
            page.keyboard.press("Enter")
        step = (limits[0][1] - limits[0][0]) / 100
        assert explorer.relabelling.data.train_x[index].tolist() == pytest.approx([moved[0] - step, moved[1]], abs=1e-3)
        panel.locator(".undo").click()
        expect(panel.locator(".state")).to_have_text("This is the trained run.")
        settled(page)
        expect(panel.locator(".undo")).to_be_disabled()
        assert explorer.relabelling.data is run.data
        assert all(map(torch.equal, weights, run.model.parameters()))
        assert_says_of_vector(page, explorer.answer(looked_at()))
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_row_is_filled_in(browser, tmp_path):
    with (
        exploring.serving([exploring.on_table(tmp_path, num_steps=40)]) as (url, (explorer,)),
        visiting(browser, url) as page,
    ):
        expect(page.locator("[role=tab]:visible")).to_have_text(["Row"])
        panel, complaint = page.locator("#row .panel"), page.locator("#row-complaint")
        mass, eggs, island, sex = (page.get_by_label(name, exact=True) for name in ("mass", "eggs", "island", "sex"))
        expect(panel.locator(".answer")).not_to_have_text("\u00a0")
        settled(page)
        medians = [column.value for column in explorer.columns]
        assert [float(field.input_value()) for field in (mass, eggs, island, sex)] == medians
        assert_says_of_vector(page, explorer.answer(medians))
        mass.fill("4900.5")
        eggs.fill("4")
        island.select_option("Torgersen")
        settled(page)
        assert_says_of_vector(page, explorer.answer([4900.5, 4, 2, medians[3]]))
        said = read_vector(page)
        for field, text, sentence in (
            (eggs, "", "eggs: expected a value, since this model takes no missing entries; got an empty field."),
            (eggs, "1.5", "eggs: expected a whole number of 0 or more; got 1.5."),
            (eggs, "-1", "eggs: expected a whole number of 0 or more; got -1."),
        ):
            field.fill(text)
            expect(complaint).to_have_text(sentence)
        assert read_vector(page) == said
        page.locator("#row-class input").nth(2).check()
        expect(panel.locator(".of")).to_have_text("q(z|x, y = Chinstrap)")
        expect(panel.locator(".posterior .mean")).to_have_count(3)
        page.get_by_role("button", name="Sample a row of class Chinstrap").click()
        expect(panel.locator(".sampled")).to_contain_text("drawn from p(x|y) for y = Chinstrap")
        settled(page)
        expect(complaint).to_be_empty()
        sampled = explorer.sample(1, 1, 0)[0].tolist()
        assert [float(field.input_value()) for field in (mass, eggs, island, sex)] == pytest.approx(sampled, rel=1e-5)
        page.locator("#row-medians").click()
        settled(page)
        assert_says_of_vector(page, explorer.answer(medians))
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
