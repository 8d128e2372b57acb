"""The explorer without a browser: what a drawing becomes, what a run says of it, and what the server refuses."""

import base64
import http.client
import io
import ipaddress
import json
import math
import os
import re
import signal
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from support import exploring, forked, tiny

from ssvae.data import ImageData
from ssvae.data.image_files import read_image
from ssvae.inference import figures
from ssvae.inference.command_line.main import main
from ssvae.inference.evaluation import importance_sampling, log_weights
from ssvae.inference.evaluation.diagnostics import pareto_k
from ssvae.inference.explorer import serving
from ssvae.inference.explorer.answers import answer, estimate_posterior, in_words
from ssvae.inference.explorer.completions import caution
from ssvae.inference.explorer.drawing import DrawingStyle
from ssvae.inference.explorer.explorer import Explorer, check_comparable, distinct_names
from ssvae.inference.explorer.latent import decode_point, latent_map, sample_class
from ssvae.inference.explorer.uploads import MOST_BYTES, read_upload
from ssvae.inference.predict import class_probabilities, seeded
from ssvae.inference.runs import load
from ssvae.models import M2, likelihoods
from ssvae.models.networks import MLP
from ssvae.models.priors import ClassConditional, StandardNormal

pytestmark = pytest.mark.slow

MNIST = DrawingStyle((1, 28, 28), (20, 20))
SEVEN = [[(0.2, 0.1), (0.5, 0.12), (0.45, 0.4), (0.3, 0.7)], [(0.3, 0.4), (0.5, 0.38)]]
DRAWINGS = {
    "seven": SEVEN,
    "small, in a corner": [[(0.8 + x / 5, 0.75 + y / 5) for x, y in stroke] for stroke in SEVEN],
    "across": [[(0.0, 0.0), (1.0, 1.0)]],
    "upright": [[(0.5, 0.1), (0.5, 0.9)]],
    "lying": [[(0.1, 0.9), (0.9, 0.9)]],
    "dot": [[(0.9, 0.1)]],
}


# Drawings


def centre_of_mass(image):
    grey = image.double().mean(0)
    rows, columns = torch.meshgrid(*(torch.arange(side) + 0.5 for side in grey.shape), indexing="ij")
    return [((places * grey).sum() / grey.sum()).item() for places in (rows, columns)]


def extent(image):
    """Height and width of what is drawn on."""
    return [int((image[0] > 32).any(axis).sum()) for axis in (1, 0)]


@pytest.mark.parametrize("strokes", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawings_centre_of_mass_is_in_the_middle(strokes):
    image = MNIST.render(strokes)
    assert image.dtype == torch.uint8
    assert image.shape == (1, 28, 28)
    assert centre_of_mass(image) == pytest.approx([14, 14], abs=0.1)


@pytest.mark.parametrize("name", ["seven", "small, in a corner", "across", "upright", "lying"])
def test_a_drawing_fills_mnists_box_whatever_its_size(name):
    image = MNIST.render(DRAWINGS[name])
    assert 19 <= max(extent(image)) <= 21
    assert image.max() >= 240  # a pen as wide as MNIST's: its middle is white


def test_a_drawing_keeps_its_proportions():
    assert extent(MNIST.render([[(0.4, 0.1), (0.6, 0.1), (0.6, 0.9)]]))[1] == pytest.approx(2.5 + 17.5 / 4, abs=1)
    assert max(extent(MNIST.render(DRAWINGS["dot"]))) <= 4


def test_a_drawing_moves_with_nothing_but_its_shape():
    first, second = (MNIST.render(DRAWINGS[name]) for name in ("seven", "small, in a corner"))
    assert (first.double() - second.double()).abs().max() <= 40  # the pen's edge falls on other pixels


def test_a_drawing_stays_inside_where_the_box_is_the_image():
    image = DrawingStyle((1, 8, 8), (8, 7)).render([[(0.3, 0.1), (0.7, 0.1)], [(0.5, 0.1), (0.5, 0.9)]])  # a T
    assert extent(image)[0] == 8
    assert image[0, 0].max() > 128  # the bar was not pushed out by the centre of mass, which lies above the middle
    assert image[0, -1].max() > 64


def test_a_drawing_has_the_data_sets_paper_and_channels():
    plain = MNIST.render(SEVEN)
    assert torch.equal(
        DrawingStyle((3, 28, 28), (20, 20), on_white=True).render(SEVEN), (255 - plain).expand(3, 28, 28)
    )


@pytest.mark.parametrize("on_white", [False, True])
def test_the_style_is_that_of_the_images(on_white):
    images = torch.zeros(40, 3, 12, 10, dtype=torch.uint8)
    images[:, :, 2:9, 3:7] = 200  # 7 by 4
    images[0] = 200  # one of forty, beyond the 95 % quantile
    assert DrawingStyle.of(255 - images if on_white else images) == DrawingStyle((3, 12, 10), (7, 4), on_white)
    assert DrawingStyle.of(torch.full((5, 1, 9, 8), 7, dtype=torch.uint8)).box == (9, 8)  # nothing drawn at all


@pytest.mark.parametrize("strokes", [[], [[]]])
def test_nothing_drawn_is_refused(strokes):
    with pytest.raises(ValueError, match=r"^strokes: expected at least one point; got none\.$"):
        MNIST.render(strokes)


# Uploads


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(content, kind, **options)
    return content.getvalue()


def noise(height, width, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (height, width, channels), generator=generator, dtype=torch.uint8).numpy()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12)])
def test_an_upload_is_read_as_classify_reads_a_file(kind, shape, tmp_path):
    content = encoded(noise(20, 30), kind)
    (tmp_path / "image").write_bytes(content)
    expected = read_image(tmp_path / "image", shape)
    assert torch.equal(read_upload(content, shape), expected)
    assert torch.equal(read_upload(content, shape, invert=True), 255 - expected)


def header(width, height):
    """A PNG of a hundred bytes that promises to be large."""
    content = encoded(np.zeros((1, 1), dtype=np.uint8))
    chunk = content[12:16] + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


BAD_FILES = [
    (b"", "a PNG or JPEG image; got an empty file."),
    (b"To be, or not to be", "a PNG or JPEG image; got a file that is neither."),
    (encoded(noise(9, 9), "GIF"), "a PNG or JPEG image; got a file that is neither."),
    (encoded(noise(99, 99))[:5000], r"a whole image; got one that is damaged or cut short \(\w+\)."),
    (encoded(noise(99, 99), "JPEG")[:3000], r"a whole image; got one that is damaged or cut short \(\w+\)."),
    (encoded(np.zeros((9, 4097), dtype=np.uint8)), "at most 4096×4096 pixels; got 4097×9 pixels."),
    (encoded(np.zeros((20, 7), dtype=np.uint8)), "at least 8×8 pixels; got 7×20 pixels."),
    (header(60_000, 60_000), "at most 4096×4096 pixels; got far more."),
    (header(10_000, 10_000), "at most 4096×4096 pixels; got 10000×10000 pixels."),
    (bytes(MOST_BYTES + 1), "at most 5 MB; got 5.0 MB."),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_FILES, ids=lambda value: str(value)[:20])
def test_a_bad_file_is_refused(content, sentence):
    with pytest.raises(ValueError, match=f"^file: expected {sentence}$"):
        read_upload(content, (1, 28, 28))


# Answers


def test_an_answer_is_the_models():
    run = exploring.untrained()
    image = run.data.test_images[3]
    found = answer(run, image, num_samples=20)
    x = run.data.preprocess(image)[None]
    assert torch.equal(found.image, x[0])
    assert torch.equal(found.observed, x[0])
    assert found.probabilities.sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(found.probabilities, run.model.classify(x).probs[0])
    torch.testing.assert_close(found.reconstruction, run.model.reconstruct(x)[0])
    torch.testing.assert_close(found.analogies, run.model.analogies(x)[:, 0])
    assert found.entropy == pytest.approx(run.model.classify(x).entropy().item())
    assert found.posterior.probabilities.sum().item() == pytest.approx(1, abs=1e-12)
    again = answer(run, image, num_samples=20)
    assert torch.equal(again.posterior.probabilities, found.posterior.probabilities)  # the same image, the same answer


def test_binarised_pixels_are_cut_and_the_classifier_sees_grey():
    data = tiny.arrays(binarise=True)
    model = M2((1, 8, 8), 3, prior=StandardNormal(3), likelihood=likelihoods.Bernoulli(), networks=MLP((7,)))
    run = exploring.untrained(data=data, model=model)
    found = answer(run, data.test_images[0], num_samples=20)
    x = data.preprocess(data.test_images[:1])
    assert torch.equal(found.observed, (x[0] > 0.5).double())
    torch.testing.assert_close(found.probabilities, class_probabilities(model, x)[0])
    black = (x > 0.5).double()
    with seeded(0):
        log_w = log_weights(model, black, torch.arange(3).unsqueeze(-1), 20)[..., 0]  # (samples, classes)
    torch.testing.assert_close(found.posterior.probabilities, log_w.logsumexp(0).softmax(-1))
    assert found.posterior.log_evidence == pytest.approx((log_w.logsumexp((0, 1)) - math.log(20)).item())
    v = log_w.exp().sum(-1)
    assert found.posterior.effective_samples == pytest.approx((v.sum() ** 2 / v.square().sum()).item())
    assert found.posterior.pareto_k is None  # 20 samples have too short a tail
    # What p(y|x) is compared with is q(y|x) of the same pixels.
    torch.testing.assert_close(found.posterior.classifier, class_probabilities(model, black)[0])
    assert not torch.equal(found.posterior.classifier, found.probabilities)
    assert answer(run, data.test_images[0], num_samples=25).posterior.pareto_k == pytest.approx(
        pareto_k(_log_v(model, black, 25)).item()
    )


def _log_v(model, x, num_samples):
    with seeded(0):
        return log_weights(model, x, torch.arange(3).unsqueeze(-1), num_samples).logsumexp(1)


def with_a_good_guide():
    """A run whose q(z|x, y) is near to p(z|x, y): the class matters more to the image than z does."""
    run = exploring.untrained()
    with torch.no_grad():
        for parameter in run.model.z_encoder.parameters():
            parameter.mul_(0.1)
        run.model.decoder.perceptron.first.linear.weight.mul_(0.3)
    return run, run.data.preprocess(run.data.test_images[:1])


@pytest.fixture(scope="module")
def estimates():
    """p(y|x) and log p(x) by 20,000 samples, and 200 estimates of them by 50 samples each."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    run, x = with_a_good_guide()
    found = importance_sampling(run.model, x, 20_000), [estimate_posterior(run.model, x, 50) for _ in range(200)]
    torch.set_default_dtype(dtype)
    return found


def test_the_posterior_agrees_with_evaluation_within_its_interval(estimates):
    truth, found = estimates
    assert truth.posterior.min() > 0.02
    inside = [((each.low <= truth.posterior[0]) & (truth.posterior[0] <= each.high)).double() for each in found]
    # Two standard errors, 95 % of a normal distribution.
    assert 0.88 < torch.stack(inside).mean().item() < 0.98
    evidence = [abs(each.log_evidence - truth.log_evidence.item()) < 2 * each.log_evidence_error for each in found]
    assert 0.88 < sum(evidence) / len(evidence) < 0.98


def test_the_standard_errors_are_the_spread_of_the_estimates(estimates):
    _, found = estimates
    log_odds = torch.stack([each.probabilities for each in found]).logit()
    low = torch.stack([each.low for each in found]).logit()
    said = ((log_odds - low) / 2).square().mean(0).sqrt()
    torch.testing.assert_close(said, log_odds.std(0), rtol=0.2, atol=0)
    evidence = torch.tensor([[each.log_evidence, each.log_evidence_error] for each in found])
    torch.testing.assert_close(evidence[:, 1].square().mean().sqrt(), evidence[:, 0].std(), rtol=0.2, atol=0)


def test_the_estimate_and_its_error_by_hand():
    run = exploring.untrained()
    x = run.data.preprocess(run.data.test_images[:1])
    y = torch.arange(3).unsqueeze(-1)
    with seeded(0):
        found = estimate_posterior(run.model, x, 4)
    with seeded(0):
        w = log_weights(run.model, x, y, 4)[..., 0].exp()  # (samples, classes)
    torch.testing.assert_close(found.probabilities, w.sum(0) / w.sum())
    assert found.log_evidence == pytest.approx(w.mean(0).sum().log().item())
    without = torch.stack([w[[other for other in range(4) if other != s]].sum(0) for s in range(4)])
    log_odds = (without / (without.sum(-1, keepdim=True) - without)).log()
    error = (0.75 * (log_odds - log_odds.mean(0)).square().sum(0)).sqrt()
    low = (found.probabilities.logit() - 2 * error).sigmoid()
    torch.testing.assert_close(found.low, low)
    left = torch.stack([1 - low[[1, 2]].sum(), 1 - low[[0, 2]].sum(), 1 - low[[0, 1]].sum()])
    torch.testing.assert_close(found.high, (found.probabilities.logit() + 2 * error).sigmoid().minimum(left))
    assert (found.high >= found.probabilities).all()


def test_many_samples_are_drawn_in_parts():
    run, x = with_a_good_guide()
    found, truth = estimate_posterior(run.model, x, 1010), importance_sampling(run.model, x, 20_000)
    torch.testing.assert_close(found.probabilities, truth.posterior[0], atol=0.03, rtol=0)
    assert 0 < found.log_evidence_error < 0.05
    assert found.log_evidence == pytest.approx(truth.log_evidence.item(), abs=4 * found.log_evidence_error)


def test_one_class_is_certain():
    model = M2((1, 8, 8), 1, prior=StandardNormal(3), networks=MLP((7,)))
    found = estimate_posterior(model, torch.rand(1, 1, 8, 8), 4)
    assert (found.low.tolist(), found.probabilities.tolist(), found.high.tolist()) == ([1.0], [1.0], [1.0])


@pytest.mark.parametrize("number", [1, 0, -10])
def test_one_sample_has_no_standard_error(number):
    run = exploring.untrained()
    with pytest.raises(ValueError, match=rf"^num_samples: expected at least 2; got {number}\.$"):
        answer(run, run.data.test_images[0], num_samples=number)


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ([0.01, 0.97, 0.02, 0, 0], "b, 97 %"),
        ([0.9999, 0.0001, 0, 0, 0], "a, more than 99 %"),
        ([0.9, 0.1, 0, 0, 0], "a, 90 %"),
        ([0.1, 0.35, 0.55, 0, 0], "not sure: c or b"),
        ([0.3, 0.3, 0.35, 0.05, 0], "not sure: c, a or b"),
        ([0.2, 0.2, 0.2, 0.2, 0.2], "no idea"),
    ],
)
def test_an_answer_in_words(probabilities, words):
    assert in_words(torch.tensor(probabilities), "abcde") == words


def test_all_of_three_classes_are_no_answer():
    assert in_words(torch.tensor([0.4, 0.3, 0.3]), "abc") == "no idea"


# The latent space


def test_the_map_is_that_of_the_figures():
    run = exploring.untrained()
    mapped = latent_map(run)
    assert mapped.part == "test"
    with seeded(0):
        order = torch.randperm(len(run.data.test_images))
    with figures.without_pyplot():
        x = run.data.preprocess(run.data.test_images[order])
        axes = figures.latent_map(run.model, x, run.data.test_labels[order])
    drawn = {each.get_label(): torch.from_numpy(each.get_offsets().data) for each in axes.collections}
    assert torch.equal(mapped.labels, run.data.test_labels[order])
    for y in range(3):
        torch.testing.assert_close(mapped.plane.points[mapped.labels == y], drawn[str(y)])
    shares = [f"({share:.0%} of variance)" for share in mapped.plane.shares.tolist()]
    assert shares[0] in axes.get_xlabel()
    assert shares[1] in axes.get_ylabel()


def test_a_place_of_the_map_is_decoded_as_the_model_decodes_it():
    run = exploring.untrained(model=tiny.m2(prior=StandardNormal(2)))
    mapped = latent_map(run)
    with seeded(0):
        order = torch.randperm(len(run.data.test_images))
    z = run.model.encode(run.data.preprocess(run.data.test_images[order]))
    torch.testing.assert_close(mapped.plane.codes(mapped.plane.points), z)  # two dimensions: nothing is lost
    found = decode_point(run, mapped, tuple(mapped.plane.points[4].tolist()))
    for y in range(3):
        torch.testing.assert_close(found[y], run.model.p_x(z[4], torch.tensor(y)).mean)


def test_a_place_between_is_decoded_at_the_principal_plane():
    run = exploring.untrained()
    mapped = latent_map(run)
    torch.testing.assert_close(mapped.plane.directions @ mapped.plane.directions.T, torch.eye(2))
    z = mapped.plane.centre + 0.3 * mapped.plane.directions[0] - 1.2 * mapped.plane.directions[1]
    found = decode_point(run, mapped, (0.3, -1.2))
    torch.testing.assert_close(found[2], run.model.p_x(z, torch.tensor(2)).mean)


def test_one_latent_dimension_lies_on_a_line():
    mapped = latent_map(exploring.untrained(model=tiny.m2(prior=StandardNormal(1))))
    assert mapped.plane.points.shape == (12, 2)
    assert torch.equal(mapped.plane.points[:, 1], torch.zeros(12))
    torch.testing.assert_close(
        mapped.plane.codes(torch.tensor([[0.5, 9.0]])), mapped.plane.codes(torch.tensor([[0.5, 0.0]]))
    )
    torch.testing.assert_close(mapped.plane.shares, torch.tensor([1.0, 0.0]))


def test_without_test_images_others_are_mapped():
    options = {"num_test": 0}
    assert latent_map(exploring.untrained(data=tiny.arrays(**options))).part == "validation"
    mapped = latent_map(exploring.untrained(data=tiny.arrays(**options, num_validation=0)))
    assert mapped.part == "training"
    assert (mapped.labels == -1).sum() == 34


def test_one_image_makes_no_map():
    data = ImageData("one", torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([-1]), class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"^run: expected at least two images to map; got 1\.$"):
        latent_map(exploring.untrained(data=data))


@pytest.mark.parametrize("prior", [StandardNormal, ClassConditional])
def test_samples_are_the_models(prior):
    run = exploring.untrained(model=tiny.m2(prior=prior(3)))
    with seeded(5):
        expected = run.model.sample(torch.tensor([2]), 4)[:, 0]
    torch.testing.assert_close(sample_class(run, 2, 4, seed=5), expected)
    assert not torch.allclose(sample_class(run, 2, 4, seed=6), expected)


# Two runs


def test_runs_of_other_shapes_or_classes_are_not_compared():
    run = exploring.untrained()
    check_comparable(run, run)
    wide = M2((1, 8, 9), 3, networks=MLP((7,)))
    with pytest.raises(ValueError, match=r"^run: expected two runs on data of one shape; got 1×8×8 and 1×8×9\.$"):
        check_comparable(run, exploring.untrained(model=wide))
    other = exploring.untrained()
    other.class_names = ("0", "1", "x")
    with pytest.raises(ValueError, match=r"^run: expected two runs with the same classes; got 0, 1, 2 and 0, 1, x\.$"):
        check_comparable(run, other)


def test_runs_of_one_name_are_told_apart():
    explorers = [Explorer(exploring.untrained(name)) for name in ("a/run", "b/run", "b/other")]
    assert distinct_names(explorers[1:]) == ["run", "other"]
    assert distinct_names(explorers[:2]) == ["a/run", "b/run"]


def test_a_run_without_data_is_refused():
    run = exploring.untrained()
    run.data = None
    with pytest.raises(ValueError, match=r"^run: expected one with its data; got one that was loaded without\.$"):
        Explorer(run)


# The server


@pytest.fixture(scope="module")
def server():
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    binarised = M2((1, 8, 8), 3, prior=ClassConditional(3), likelihood=likelihoods.Bernoulli(), networks=MLP((7,)))
    runs = [exploring.untrained("first"), exploring.untrained("second", tiny.arrays(binarise=True), binarised)]
    with exploring.serving(runs) as served:
        yield served
    torch.set_default_dtype(dtype)


def request(server, path, body=None, kind="application/octet-stream", **headers):
    """Ask the server; return the status, the headers, and what it says."""
    headers = {**headers, **({"Content-Type": kind} if body is not None else {})}
    asked = urllib.request.Request(server[0] + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def ask(server, path, body=None, **options):
    status, _, content = request(server, path, body, **options)
    assert status == 200, content
    return json.loads(content)


def draw(server, strokes, run=0):
    return ask(server, f"/api/runs/{run}/drawing", json.dumps({"strokes": strokes}).encode(), kind="application/json")


def pixels(uri):
    """The 8-bit picture in a data URI."""
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(content)))))


def levels(image):
    return (image[0] * 255).round().to(torch.uint8)


def test_the_server_says_what_there_is_to_explore(server):
    found = ask(server, "/api/runs")
    assert found["class_names"] == ["0", "1", "2"]
    assert found["image_shape"] == [1, 8, 8]
    first, second = found["runs"]
    assert first == {
        "name": "first", "model": "M2", "prior": "StandardNormal", "likelihood": "ContinuousBernoulli",
        "data": "Arrays", "num_labelled": 6, "binarise": False, "on_white": first["on_white"], "num_samples": 20,
        "has_new_classes": False, "obstacle": None, "caution": caution(server[1][0].run),
    }  # fmt: skip
    assert (second["name"], second["prior"], second["binarise"]) == ("second", "ClassConditional", True)


@pytest.mark.parametrize("run", [0, 1])
def test_a_drawing_is_answered(server, run):
    explorer = server[1][run]
    found, expected = draw(server, SEVEN, run), explorer.answer(explorer.drawn(SEVEN))
    assert found["probabilities"] == expected.probabilities.tolist()
    assert found["posterior"]["probabilities"] == expected.posterior.probabilities.tolist()
    assert found["posterior"]["low"] == expected.posterior.low.tolist()
    assert found["posterior"]["high"] == expected.posterior.high.tolist()
    assert found["words"] == in_words(expected.probabilities, ["0", "1", "2"])
    assert found["entropy"] == expected.entropy
    assert torch.equal(pixels(found["image"]), explorer.style.render(SEVEN)[0])
    assert torch.equal(pixels(found["observed"]), levels(expected.observed))
    assert torch.equal(pixels(found["reconstruction"]), levels(expected.reconstruction))
    assert all(map(torch.equal, map(pixels, found["analogies"]), map(levels, expected.analogies)))


def test_an_image_is_answered(server):
    content = encoded(noise(16, 16))
    for invert in (False, True):
        found = ask(server, f"/api/runs/1/image?invert={str(invert).lower()}", content)
        expected = server[1][1].answer(read_upload(content, (1, 8, 8), invert=invert))
        assert found["probabilities"] == expected.probabilities.tolist()
        assert torch.equal(pixels(found["image"]), read_upload(content, (1, 8, 8), invert=invert)[0])


def test_an_incomplete_image_is_completed(server):
    explorer, missing = server[1][1], torch.zeros(8, 8, dtype=torch.bool)
    missing[0, 0] = missing[1, 2:6] = True
    path = "missing=803c000000000000"
    expected = explorer.complete(explorer.drawn(SEVEN), missing)
    content = json.dumps({"strokes": SEVEN}).encode()
    found = ask(server, f"/api/runs/1/drawing?{path}", content, kind="application/json")
    assert found["probabilities"] == expected.probabilities.tolist()
    assert found["posterior"]["probabilities"] == expected.posterior.probabilities.tolist()
    assert found["words"] == in_words(expected.probabilities, ["0", "1", "2"])
    assert found["classes"] == expected.classes.tolist()
    assert found["effective_samples"] == expected.effective_samples
    assert torch.equal(pixels(found["original"]), explorer.style.render(SEVEN)[0])
    assert all(map(torch.equal, map(pixels, found["completions"]), map(levels, expected.completions)))
    assert torch.equal(pixels(found["mean"]), levels(expected.mean))
    # Missing pixels are transparent.
    seen = pixels(found["observed"])
    assert torch.equal(seen[..., 1], 255 * (~missing).to(torch.uint8))
    assert torch.equal(seen[..., 0], levels(expected.observed.nan_to_num(0)))
    content = encoded(noise(16, 16))
    found = ask(server, f"/api/runs/1/image?invert=true&{path}", content)
    expected = explorer.complete(explorer.uploaded(content, invert=True), missing)
    assert found["posterior"]["log_evidence"] == expected.posterior.log_evidence


def test_examples_are_served(server):
    found = ask(server, "/api/runs/1/example?number=4")
    assert torch.equal(pixels(found["image"]), levels(server[1][1].example(4)))


def test_the_map_is_served_and_decoded(server):
    explorer = server[1][1]
    found = ask(server, "/api/runs/1/map")
    assert found["points"] == explorer.map.plane.points.tolist()
    assert found["labels"] == explorer.map.labels.tolist()
    assert found["part"] == "test"
    images = ask(server, "/api/runs/1/decode?u=0.5&v=-1e-1")["images"]
    assert all(map(torch.equal, map(pixels, images), map(levels, explorer.decode((0.5, -0.1)))))


def test_samples_are_served(server):
    images = ask(server, "/api/runs/0/samples?class=2&number=5&seed=7")["images"]
    assert len(images) == 5
    assert all(map(torch.equal, map(pixels, images), map(levels, server[1][0].sample(2, 5, 7))))


def test_colour_is_served_in_colour():
    images = torch.from_numpy(noise(12 * 8, 8)).view(12, 8, 8, 3).permute(0, 3, 1, 2)
    data = ImageData("colourful", images, torch.arange(12) % 3, class_names=["0", "1", "2"])
    model = M2((3, 8, 8), 3, prior=StandardNormal(2), likelihood=likelihoods.Gaussian(), networks=MLP((7,)))
    with exploring.serving([exploring.untrained(data=data, model=model)]) as served:
        content = encoded(noise(8, 8))
        assert torch.equal(pixels(ask(served, "/api/runs/0/image?invert=false", content)["image"]),
                           torch.from_numpy(noise(8, 8)))  # fmt: skip
        drawn = pixels(draw(served, SEVEN)["image"])
        assert drawn.shape == (8, 8, 3)
        assert torch.equal(drawn[..., 0], drawn[..., 2])
        incomplete = pixels(ask(served, "/api/runs/0/image?invert=false&missing=ff00000000000001", content)["image"])
        assert torch.equal(incomplete[1:, :7, :3], torch.from_numpy(noise(8, 8))[1:, :7])
        assert torch.equal((incomplete[..., 3] == 0).nonzero(), torch.tensor([[0, x] for x in range(8)] + [[7, 7]]))


def test_the_page_is_served_and_keeps_to_itself(server):
    for path, kind in {"/": "text/html", "/explorer.js": "text/javascript", "/style.css": "text/css"}.items():
        status, headers, content = request(server, path)
        assert (status, headers.get_content_type()) == (200, kind)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in content


@pytest.mark.parametrize("path", ["/nothing", "/../server.py", "/%2e%2e/server.py", "/api/nothing"])
def test_nothing_else_is_served(server, path):
    status, headers, content = request(server, path)
    assert (status, json.loads(content)) == (404, {"error": "Not Found"})
    assert "default-src 'none'" in headers["Content-Security-Policy"]


STROKES = 'strokes: expected {"strokes": [[[x, y], …], …]} in JSON; got another text.'
COORDINATES = "strokes: expected coordinates from 0 to 1; got others."
NUMBER = "number: expected an integer from 1 to 100; got "
MISSING = "missing: expected 16 hexadecimal digits, a bit for each of 8×8 pixels; got "
BAD_REQUESTS = [
    ("/api/runs/2/map", None, 404, "run: expected one of 0, 1; got '2'."),
    ("/api/runs/0/samples?class=3&number=5&seed=0", None, 400, "class: expected an integer from 0 to 2; got '3'."),
    ("/api/runs/0/samples?number=5&seed=0", None, 400, "class: expected an integer from 0 to 2; got ''."),
    ("/api/runs/0/samples?class=1&number=101&seed=0", None, 400, NUMBER + "'101'."),
    ("/api/runs/0/samples?class=1&number=0&seed=0", None, 400, NUMBER + "'0'."),
    ("/api/runs/0/samples?class=1&number=1.5&seed=0", None, 400, NUMBER + "'1.5'."),
    ("/api/runs/0/samples?class=%C2%B2&number=1&seed=0", None, 400, "class: expected an integer from 0 to 2; got '²'."),
    ("/api/runs/0/samples?class=1&number=1&seed=" + "9" * 99, None, 400,
     f"seed: expected an integer from 0 to 2147483647; got '{'9' * 99}'."),
    ("/api/runs/0/decode?u=1", None, 400, "v: expected a number between -1e6 and 1e6; got ''."),
    ("/api/runs/0/decode?u=nan&v=0", None, 400, "u: expected a number between -1e6 and 1e6; got 'nan'."),
    ("/api/runs/0/decode?u=0&v=1e7", None, 400, "v: expected a number between -1e6 and 1e6; got '1e7'."),
    ("/api/runs/0/image", b"", 400, "invert: expected true or false; got ''."),
    ("/api/runs/0/image?invert=false", b"", 400, "file: expected a PNG or JPEG image; got an empty file."),
    ("/api/runs/0/image?invert=false", b"text", 400, "file: expected a PNG or JPEG image; got a file that is neither."),
    ("/api/runs/0/image?invert=false", bytes(MOST_BYTES + 1), 413, "file: expected at most 5 MB; got more."),
    ("/api/runs/0/example?number=-1", None, 400, "number: expected an integer from 0 to 2147483647; got '-1'."),
    ("/api/runs/0/drawing?missing=ff", b"", 400, MISSING + "'ff'."),
    ("/api/runs/0/drawing?missing=", b"", 400, MISSING + "''."),
    ("/api/runs/0/drawing?missing=0x00000000000001", b"", 400, MISSING + "'0x00000000000001'."),
    ("/api/runs/0/image?invert=true&missing=" + 17 * "0", b"", 400, MISSING + f"'{17 * '0'}'."),
    ("/api/runs/0/image?invert=true&missing=" + 16 * "0", b"", 400,
     "missing: expected at least one missing pixel; got none."),
    ("/api/runs/0/image?invert=true&missing=" + 16 * "1", b"", 400,
     "file: expected a PNG or JPEG image; got an empty file."),
    ("/api/runs/0/drawing", b"", 400, STROKES),
    ("/api/runs/0/drawing", b"[1]", 400, STROKES),
    ("/api/runs/0/drawing", b'{"strokes": 5}', 400, STROKES),
    ("/api/runs/0/drawing", b'{"strokes": [[[1]]]}', 400, STROKES),
    ("/api/runs/0/drawing", b'{"strokes": [[[1, "x"]]]}', 400, STROKES),
    ("/api/runs/0/drawing", b"[" * 100_000, 400, STROKES),
    ("/api/runs/0/drawing", b'{"strokes": []}', 400, "strokes: expected at least one point; got none."),
    ("/api/runs/0/drawing", b'{"strokes": [[[0, NaN]]]}', 400, COORDINATES),
    ("/api/runs/0/drawing", b'{"strokes": [[[0, 1.1]]]}', 400, COORDINATES),
    ("/api/runs/0/drawing", json.dumps({"strokes": [[[0, 1]] * 20_001]}).encode(), 400,
     "strokes: expected at most 20000 points; got 20001."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "sentence"), BAD_REQUESTS)
def test_a_bad_request_gets_a_sentence(server, path, body, status, sentence):
    found, _, content = request(server, path, body)
    assert (found, json.loads(content)) == (status, {"error": sentence})


def test_another_sites_page_is_refused(server):
    # A form or a script elsewhere may send text/plain without asking first; only what a page may not send is read.
    status, _, content = request(server, "/api/runs/0/drawing", b'{"strokes": [[[0, 0]]]}', kind="text/plain")
    assert (status, json.loads(content)["error"]) == (
        415, "content-type: expected application/json or application/octet-stream; got another.",
    )  # fmt: skip
    assert request(server, "/api/runs", Host="attacker.example")[0] == 400
    assert request(server, "/api/runs", Host="localhost:8642")[0] == 200


def test_a_failure_is_no_secret_and_no_end(server, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("inner")

    monkeypatch.setattr(server[1][0], "decode", fail)
    assert request(server, "/api/runs/0/decode?u=0&v=0")[::2] == (500, b"Internal Server Error")
    assert request(server, "/api/runs/1/decode?u=0&v=0")[0] == 200


def test_two_at_once_are_answered_as_one_by_one(server):
    alone = [draw(server, SEVEN, run) for run in (0, 1)]
    host = server[0].removeprefix("http://")
    connections = [http.client.HTTPConnection(host, timeout=20) for _ in range(6)]
    body = json.dumps({"strokes": SEVEN})
    for number, connection in enumerate(connections):
        path = f"/api/runs/{number % 2}/drawing"
        connection.request("POST", path, body, {"Content-Type": "application/json"})
    for number, connection in enumerate(connections):
        assert json.loads(connection.getresponse().read()) == alone[number % 2]
        connection.close()


# The command


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return exploring.trained(tmp_path_factory.mktemp("explored"))


def refused(capsys, *arguments):
    """Run a command that fails; return its sentence."""
    capsys.readouterr()
    assert main(["explore", *map(str, arguments)]) == 2
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.startswith("ssvae explore: ")
    return written.removeprefix("ssvae explore: ").strip()


def test_the_command_serves_until_ctrl_c(folders):
    torch.set_default_dtype(torch.float32)
    running = forked.command("explore", *map(str, folders), "--port=0", "--open=false", "--num_samples=10")
    try:
        line = running.readline()
        found = re.fullmatch(r"normal and by_class: (http://127\.0\.0\.1:\d+) \(stop with Ctrl-C\)\n", line)
        assert found, line
        served = (found[1], None)
        assert [run["name"] for run in ask(served, "/api/runs")["runs"]] == ["normal", "by_class"]
        image = load(str(folders[0])).data.test_images[0]
        answered = ask(served, "/api/runs/0/image?invert=false", encoded(image[0]))
        model = load(str(folders[0]), with_data=False).model
        expected = model.classify(image[None].float() / 255).probs[0].tolist()
        assert answered["probabilities"] == pytest.approx(expected, abs=1e-5)
    finally:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (0, "\n", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "run: expected a run folder with a config.yaml; got nowhere, which does not exist."),
        ([], "run: expected a value; got none."),
        (["a", "b", "c"], "c: expected an option, which begins with --; got a word without one."),
        (["a", "--prt=5"], "--prt: expected an option that --help lists; got an unknown one. Did you mean --port?"),
        (["a", "--port=x"], "--port: expected an integer; got 'x'."),
        (["a", "--port=70000"], "--port: expected 0 to 65535; got 70000."),
        (["a", "--host=nowhere.invalid"], "--host: expected an address of this machine; got 'nowhere.invalid'."),
        (["a", "--host=192.0.2.1"], "--host: expected an address of this machine; got '192.0.2.1'."),
        (["a", "--num_samples=1"], "num_samples: expected at least 2; got 1."),
    ],
)  # fmt: skip
def test_a_bad_command_is_refused(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    if words and not any(word.startswith("--port") for word in words):
        words = [*words, "--port=0"]
    assert refused(capsys, *words) == sentence


def test_a_busy_port_is_refused(capsys, folders):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(capsys, folders[0], f"--port={port}") == (
            f"--port: expected a free port; got {port}, which is in use, perhaps by another ssvae explore "
            "(--port 0 chooses any free one)."
        )


def test_a_forbidden_port_is_refused(monkeypatch):
    def bind(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(serving.socket.socket, "bind", bind, raising=False)
    with pytest.raises(ValueError, match=r"^--port: expected a port that this user may open, such as 8642; got 80\.$"):
        serving.listen("127.0.0.1", 80)


def test_runs_that_do_not_fit_are_refused_by_the_command(capsys, folders, monkeypatch):
    monkeypatch.setattr("ssvae.inference.runs.runs.load", lambda folder, checkpoint: next(loaded))
    loaded = iter([exploring.untrained(), exploring.untrained(model=M2((1, 9, 8), 3, networks=MLP((7,))))])
    assert refused(capsys, *folders, "--port=0") == (
        "run: expected two runs on data of one shape; got 1×8×8 and 1×9×8."
    )


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_without_the_extra_there_is_a_sentence(capsys, monkeypatch, name):
    for module in [module for module in sys.modules if module.startswith(("ssvae.inference.explorer", f"{name}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    assert refused(capsys, "run").endswith(
        "expected the packages of the extra `explore`; pip install '.[explore]' installs them."
    )


@pytest.mark.parametrize(
    ("address", "named"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "localhost"), ("10.0.0.2", "10.0.0.2")]
)
def test_an_address_stands_in_a_url(address, named):
    assert serving.page_host(ipaddress.ip_address(address)) == named


@pytest.mark.parametrize(
    ("host", "warned", "named"),
    [
        ("127.0.0.1", False, "http://127.0.0.1"),
        ("0.0.0.0", True, "http://localhost"),
    ],
)
def test_the_network_is_told_of(capsys, monkeypatch, host, warned, named):
    apps = []
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda self, sockets: apps.append(self.config.app))
    with serving.listen(host, 0) as listening:
        serving.serve([exploring.untrained()], listening, num_samples=10)
        port = listening.getsockname()[1]
    expected = f"run: {named}:{port} (stop with Ctrl-C)\n"
    if warned:
        expected = "Everyone on the network who can reach this machine can open the page.\n" + expected
    assert capsys.readouterr().out == expected
    trusted = apps[0].user_middleware[1].kwargs["allowed_hosts"]
    assert (trusted == ["*"]) is warned


def test_the_page_is_opened_where_there_is_a_screen(monkeypatch):
    opened = []
    monkeypatch.setattr(serving.webbrowser, "open", opened.append)
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda self, sockets: time.sleep(0.1))
    monkeypatch.setattr(serving.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for screen, wanted in (("", True), (":0", False), (":0", True)):
        monkeypatch.setitem(os.environ, "DISPLAY", screen)
        with serving.listen("127.0.0.1", 0) as listening:
            serving.serve([exploring.untrained()], listening, num_samples=10, open_page=wanted)
    assert len(opened) == 1
    assert opened[0].startswith("http://127.0.0.1:")
