"""The explorer's view of classes that nobody has labelled: their images, and names for them."""

import json
import os
import shutil
import urllib.error
import urllib.request

import pytest
import torch
from playwright.sync_api import expect, sync_playwright
from support import exploring, tiny

from ssvae.data import Arrays
from ssvae.inference import fit, load
from ssvae.inference.explorer.new_classes import name_class, new_classes
from ssvae.inference.predict import predict_probabilities

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def _data():
    data = tiny.arrays()
    labels = data.train_labels.clone()
    labels[labels == 2] = -1
    return Arrays(data.images, labels, test_images=data.test_images, test_labels=data.test_labels, num_new_classes=1)


def test_images_of_new_classes():
    run = exploring.untrained(data=_data())
    (found,) = new_classes(run)
    unlabelled = run.data.train_images[run.data.unlabelled_index]
    probabilities = predict_probabilities(run.model, run.data, unlabelled)
    members = probabilities.argmax(-1) == 2
    assert found.name == "new 1"
    assert found.share == pytest.approx(members.double().mean().item())
    best = probabilities[members, 2].argmax()
    assert len(found.images) == int(members.sum())
    if len(found.images):
        assert torch.equal(found.images[0], run.data.preprocess(unlabelled[members][best]))
    assert new_classes(exploring.untrained()) == []


def _put_all_or_none_into_the_new_class(model, logit):
    with torch.no_grad():
        list(model.y_encoder.parameters())[-1][2] = logit


def test_an_empty_new_class_has_no_image():
    run = exploring.untrained(data=_data())
    _put_all_or_none_into_the_new_class(run.model, -1e3)
    (found,) = new_classes(run)
    assert (found.name, found.share, found.images.shape) == ("new 1", 0, (0, 1, 8, 8))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"class": 3, "name": "x"}', b'{"class": "new 1"}', b"[" * 100_000])
def test_names_that_are_no_names(content):
    with pytest.raises(ValueError, match=r'names: expected {"class": "new 2", "name": "boots"} in JSON'):
        name_class(exploring.untrained(data=_data()), content)


@pytest.mark.slow
def test_a_class_is_named_by_the_page(tmp_path, without_pictures):
    run = fit(tiny.m2(), _data(), tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"), baselines=False)
    address = "/api/runs/0/names"

    def ask(server, path, content=None):
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(server + path, body, {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())

    def refusal(server, content):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, address, content)
        return refused.value.code, json.loads(refused.value.read())["error"]

    with exploring.serving([run]) as (server, _):
        found = ask(server, "/api/runs")
        assert (found["may_name"], found["runs"][0]["has_new_classes"]) == (True, True)
        status, sentence = refusal(server, {"class": "new 2", "name": "boots"})
        assert status == 400
        assert sentence.startswith("names: expected one of 'new 1'; got 'new 2'")
        named = ask(server, address, {"class": "new 1", "name": "boots"})
        assert named == {"class_names": ["0", "1", "boots"]}
        assert ask(server, "/api/runs")["class_names"] == ["0", "1", "boots"]
        assert [each["name"] for each in ask(server, "/api/runs/0/new_classes")["classes"]] == ["boots"]
    assert load(str(run.folder), with_data=False).class_names == ("0", "1", "boots")
    # Nobody else may change a run folder.
    with exploring.serving([run], loopback=False) as (server, _):
        status, sentence = refusal(server, {"class": "boots", "name": "shoes"})
        assert status == 403
        assert sentence.startswith("names: expected a page that is served to this machine only")
    assert load(str(run.folder), with_data=False).class_names == ("0", "1", "boots")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (its path may be in $CHROMIUM)")
def test_the_view_of_new_classes(tmp_path, without_pictures):
    run = fit(tiny.m2(), _data(), tiny.recipe(max_epochs=1), folder=str(tmp_path / "run"), baselines=False)
    _put_all_or_none_into_the_new_class(run.model, -1e3)
    with exploring.serving([run]) as (server, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{server}/#/discovered")
        heading = page.locator("#discovered h3")
        expect(heading).to_have_text("new 1 is empty: 0.0 % of the unlabelled images")
        expect(page.locator("#discovered form")).to_have_count(0)  # nothing shows which name it should have
        _put_all_or_none_into_the_new_class(run.model, 1e3)
        page.reload()
        expect(heading).to_have_text("new 1: 100.0 % of the unlabelled images")
        expect(page.locator("#discovered .grid img")).to_have_count(len(new_classes(run)[0].images))
        page.get_by_label("a name for new 1").fill(" ")
        page.get_by_role("button", name="Name it").click()
        expect(page.locator("#discovered form p")).to_have_text("names: expected printable text after '='; got ' '.")
        page.get_by_label("a name for new 1").fill("boots")
        page.get_by_role("button", name="Name it").click()
        expect(heading).to_contain_text("boots: ")
        page.get_by_role("tab", name="Samples").click()
        expect(page.locator("#sample-classes")).to_contain_text("boots")
        browser.close()
    assert load(str(run.folder), with_data=False).class_names == ("0", "1", "boots")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (its path may be in $CHROMIUM)")
def test_a_run_without_new_classes_has_no_such_view():
    with exploring.serving([exploring.untrained()]) as (server, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{server}/#/discovered")
        expect(page.locator("#draw .panel")).to_have_count(1)
        expect(page.locator("#discovered-tab")).to_be_hidden()
        browser.close()
