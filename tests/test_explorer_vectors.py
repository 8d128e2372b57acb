"""The explorer of points and tables, without a browser: what it says of a row, the plane, and labels that change."""

import copy
import json
import math
import urllib.error
import urllib.request

import pytest
import torch
from support import exploring

from ssvae.data import Vectors
from ssvae.inference import figures
from ssvae.inference.evaluation import log_weights
from ssvae.inference.explorer import serving
from ssvae.inference.explorer.answers import in_words
from ssvae.inference.explorer.explorer import Explorer, check_comparable
from ssvae.inference.explorer.plane import STEPS, STEPS_AT_ONCE, Relabelling, contours_of, plane_limits, regions_of
from ssvae.inference.explorer.rows import answer_row, check_row, columns_of, sample_rows
from ssvae.inference.explorer.vectors import VectorExplorer, explorer_of
from ssvae.inference.figures.vectors import draw_vectors, plane_grid
from ssvae.inference.predict import class_probabilities, seeded
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.posteriors import FullRankNormal
from ssvae.models.priors import StandardNormal

MEDIANS = [3970.0, 2.0, 0.0, 1.0]


@pytest.fixture
def points():
    return exploring.on_moons()


@pytest.fixture
def rows(tmp_path):
    return exploring.on_table(tmp_path)


# Rows


def test_columns_are_fields_with_a_typical_value(rows):
    data = rows.data
    real, count, categorical, binary = columns_of(data)
    assert (real.name, real.kind, real.categories) == ("mass", "real", ())
    assert real.value == pytest.approx(data.train_x[:, 0].sort().values[(len(data.train_x) - 1) // 2].item())
    assert (count.kind, count.value, count.categories) == ("count", data.train_x[:, 1].median(), ())
    assert categorical.categories == ("Biscoe", "Dream", "Torgersen")
    assert categorical.value == torch.bincount(data.train_x[:, 2].long()).argmax()
    assert (binary.kind, binary.categories) == ("binary", ("f", "m"))


def test_codes_without_names_are_numbers():
    data = Vectors([[0.5, 1.0], [1.5, 0.0], [2.5, 1.0]], [0, 1, -1])
    data.feature_kinds = ("real", "categorical")  # as a data set of one's own may have them
    assert columns_of(data)[1].categories == ("0", "1")


def test_an_answer_is_the_models(rows):
    model, data = rows.model, rows.data
    row = check_row(model, data, [4200.0, 3, 2, 0])
    answer = answer_row(model, data, row, num_samples=20)
    x, y = data.preprocess(row), torch.arange(3).unsqueeze(-1)
    assert x[0, 0].item() == pytest.approx((4200 - data.centre[0].item()) / data.scale[0].item())
    torch.testing.assert_close(answer.probabilities, model.classify(x).probs[0].detach())
    with seeded(0):
        log_w = log_weights(model, x, y, 20)[..., 0]  # (samples, classes)
    torch.testing.assert_close(answer.posterior.probabilities, log_w.logsumexp(0).softmax(-1))
    in_standard_units = (log_w.logsumexp((0, 1)) - math.log(20)).item()
    assert answer.posterior.log_evidence == pytest.approx(in_standard_units - math.log(data.scale[0].item()))
    q_z = model.q_z(x, y)
    torch.testing.assert_close(answer.mean, q_z.mean[:, 0].detach())
    torch.testing.assert_close(answer.scale, q_z.stddev[:, 0].detach())
    torch.testing.assert_close(answer.covariance, q_z.variance[:, 0].detach().diag_embed())
    again = answer_row(model, data, row, num_samples=20)
    assert torch.equal(again.posterior.probabilities, answer.posterior.probabilities)


def test_the_density_is_that_of_quadrature_in_the_units_of_the_data():
    run = exploring.on_moons()
    model = M2((2,), 2, prior=StandardNormal(1), networks=MLP((16,)))
    row = torch.tensor([[0.3, 0.4]])
    answer = answer_row(model, run.data, row, num_samples=2000)
    z = torch.linspace(-8, 8, 4001).view(-1, 1, 1)
    x = run.data.preprocess(row)
    log_joint = torch.stack(
        [
            (model.p_x(z, torch.tensor([y])).log_prob(x) + model.prior(None).log_prob(z)).logsumexp(0)[0]
            + model.class_prior().probs.log()[y]
            for y in range(2)
        ]
    ) + math.log(16 / 4000)
    expected = log_joint.logsumexp(0).item() - run.data.scale.log().sum().item()
    posterior = answer.posterior
    assert abs(posterior.log_evidence - expected) <= 4 * posterior.log_evidence_error + 1e-4
    assert posterior.log_evidence_error < 0.1
    torch.testing.assert_close(posterior.probabilities, log_joint.softmax(0).detach(), atol=0.05, rtol=0)


def test_the_ellipse_of_z_is_tilted_where_the_posterior_is():
    run = exploring.on_moons(posterior=FullRankNormal())
    row = torch.tensor([[0.3, 0.4]])
    answer = answer_row(run.model, run.data, row)
    q_z = run.model.q_z(run.data.preprocess(row), torch.arange(2).unsqueeze(-1))
    torch.testing.assert_close(answer.covariance, q_z.covariance_matrix[:, 0].detach())
    assert answer.covariance[:, 0, 1].abs().min() > 0


BAD_ROWS = [
    ([4000.0, 2, 0], "values: expected 4, one for each feature; got 3."),
    ([math.inf, 2, 0, 1], "mass: expected a finite number; got inf."),
    ([math.nan, 2, 0, 1], "mass: expected a finite number; got nan."),
    ([4000.0, 1.5, 0, 1], "eggs: expected a whole number from 0 to 16777216; got 1.5."),
    ([4000.0, -1, 0, 1], "eggs: expected a whole number from 0 to 16777216; got -1."),
    ([4000.0, 2, 3, 1], "island: expected the code of a category, 0 to 2; got 3."),
    ([4000.0, 2, 0, 0.5], "sex: expected the code of a category, 0 to 1; got 0.5."),
    ([4000.0, None, 0, 1], "eggs: expected a value, since this model takes no missing entries; got an empty field."),
    ([1e38, 2, 0, 1], "values: expected a row near those of the training; got one far away, without a density."),
]


@pytest.mark.parametrize(("values", "sentence"), BAD_ROWS)
def test_a_bad_row_gets_a_sentence(rows, values, sentence):
    with pytest.raises(ValueError, match="^" + sentence.replace(".", r"\.") + "$"):
        VectorExplorer(rows).answer(values)


def test_a_row_far_away_has_finite_numbers_in_single_precision(tmp_path):
    torch.set_default_dtype(torch.float32)
    answer = VectorExplorer(exploring.on_table(tmp_path)).answer([1e8, 1_000_000, 0, 1])
    assert math.isfinite(answer.posterior.log_evidence)
    for each in (
        answer.probabilities,
        answer.posterior.probabilities,
        answer.posterior.high,
        answer.mean,
        answer.scale,
    ):
        assert each.isfinite().all()


def test_an_empty_field_is_missing_where_the_model_takes_that(rows, monkeypatch):
    monkeypatch.setattr(rows.model.likelihood, "admits_missing", True)
    assert check_row(rows.model, rows.data, [4000.0, None, 0, 1])[0].isnan().tolist() == [False, True, False, False]


def test_samples_are_rows_of_the_class_in_the_units_of_the_data(rows):
    found = sample_rows(rows.model, rows.data, 2, 40, seed=3)
    with seeded(3):
        assert torch.equal(found, draw_vectors(rows.model, rows.data, 40)[:, 2])
    assert not torch.equal(found, sample_rows(rows.model, rows.data, 2, 40, seed=4))
    mass, *others = found.T
    assert (mass - rows.data.centre[0]).abs().max() < 20 * rows.data.scale[0]
    for values, most in zip(others, (math.inf, 2, 1), strict=True):
        assert torch.equal(values, values.round())
        assert 0 <= values.min() <= values.max() <= most


# The plane


def test_regions_are_those_of_the_classifier(points):
    regions = regions_of(points.model, points.data)
    grid, _ = plane_grid(points.data, 100)
    probabilities = class_probabilities(points.model, points.data.preprocess(grid)).view(100, 100, 2)
    assert torch.equal(regions.classes, probabilities.argmax(-1))
    torch.testing.assert_close(regions.certainty, 2 * probabilities.amax(-1) - 1)
    with figures.without_pyplot():
        axes = figures.decision_plane(points.model, points.data)
    assert plane_limits(points.data) == [pytest.approx(axes.get_xlim()), pytest.approx(axes.get_ylim())]


def test_contours_of_a_normal_density_are_its_circles():
    generator = torch.Generator().manual_seed(0)
    data = Vectors(torch.randn(300, 2, generator=generator), [0, 1] + 298 * [-1], standardise=False)
    model = M2((2,), 2, prior=StandardNormal(1), networks=MLP((4,)))
    with torch.no_grad():  # p(x | y, z) = N(0, 0.7²) and q(z | x, y) = N(0, 1), the prior
        for part in (model.decoder, model.z_encoder):
            for parameter in part.parameters():
                parameter.zero_()
        model.likelihood.log_scale.fill_(math.log(0.7))
    scale = model.p_x(torch.zeros(1, 1), torch.tensor([0])).stddev[0, 0].item()
    radii = sorted(contour.norm(dim=-1).mean().item() for contour in contours_of(model, data, 2))
    expected = [scale * math.sqrt(-2 * math.log(1 - share)) for share in (0.5, 0.8, 0.95, 0.99)]
    assert radii == pytest.approx(expected, abs=0.06)


def test_a_model_without_a_density_has_no_contours(points):
    points.model.bounds_evidence = False
    with pytest.raises(ValueError, match=r"^run: expected a model whose ELBO bounds log p\(x\); got M2\.$"):
        contours_of(points.model, points.data, 2)


def test_a_label_changes_a_copy_of_the_model_alone():
    run = exploring.on_moons(num_steps=60)
    before = copy.deepcopy(run.model.state_dict())
    data, labels = run.data.train_x.clone(), run.data.train_labels.clone()
    relabelling = Relabelling(run)
    assert relabelling.advance() is None
    place = torch.tensor([[0.0, 1.0]])  # on top of the upper moon
    x = run.data.preprocess(place)
    probability = class_probabilities(run.model, x)[0, 1].item()
    relabelling.add((0.0, 1.0), 1)
    assert (relabelling.num_left, relabelling.changed) == (STEPS, 6 * [False] + [True])
    assert torch.equal(relabelling.data.train_x[-1:], place)
    assert relabelling.data.num_unlabelled == run.data.num_unlabelled
    objectives = []
    while relabelling.num_left:
        objectives.append(relabelling.advance())
    assert len(objectives) == STEPS / STEPS_AT_ONCE
    assert objectives[-1] < objectives[0]
    assert class_probabilities(relabelling.model, x)[0, 1].item() > probability + 0.1
    # The run is as it was, and so is the copy after an undo.
    assert torch.equal(run.data.train_x, data)
    assert torch.equal(run.data.train_labels, labels)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in relabelling.model.state_dict().items())
    relabelling.undo()
    assert all(torch.equal(value, before[name]) for name, value in relabelling.model.state_dict().items())
    assert (relabelling.num_left, relabelling.changed) == (0, 6 * [False])


def test_a_label_moves(points):
    relabelling = Relabelling(points)
    first = points.data.labelled_index[2]
    relabelling.move(2, (0.25, -0.5))
    assert relabelling.data.train_x[first].tolist() == [0.25, -0.5]
    assert (relabelling.data.train_x != points.data.train_x).any(-1).sum() == 1
    assert torch.equal(relabelling.data.train_labels, points.data.train_labels)
    assert relabelling.data.standardisation == points.data.standardisation
    assert relabelling.changed == [number == 2 for number in range(6)]


def test_bad_changes_are_refused_and_change_nothing(points):
    relabelling = Relabelling(points)
    with pytest.raises(ValueError, match=r"^label: expected the number of one of 6 labels; got 6\.$"):
        relabelling.move(6, (0.0, 0.0))
    with pytest.raises(ValueError, match=r"^point: expected one on the plane, -.* to .* and -.*; got 9 and 0\.$"):
        relabelling.add((9.0, 0.0), 1)
    assert relabelling.num_left == 0
    assert relabelling.data is points.data


def test_a_training_that_fails_brings_the_run_back(points):
    relabelling = Relabelling(points)
    relabelling.add((0.0, 0.0), 1)
    with torch.no_grad():
        next(relabelling.model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"^loss: expected finite .* at step 1\. The trained run is back\.$"):
        relabelling.advance()
    assert class_probabilities(relabelling.model, points.data.preprocess(points.data.train_x)).isfinite().all()
    assert relabelling.num_left == 0


# Two runs, and the command


def test_the_explorer_is_that_of_the_data(points, rows):
    assert explorer_of(points).view == "plane"
    assert explorer_of(rows).view == "row"
    assert isinstance(explorer_of(exploring.untrained()), Explorer)


def test_runs_on_other_features_are_not_compared(points):
    check_comparable(points, exploring.on_moons())
    other = exploring.on_moons()
    other.data.feature_names = ("x0", "height")
    sentence = (
        r"^run: expected two runs with the same features; got x0 \(real\), x1 \(real\) and x0 \(real\), height \("
    )
    with pytest.raises(ValueError, match=sentence):
        check_comparable(points, other)
    with pytest.raises(ValueError, match=r"^run: expected two runs on data of one shape; got 2 and 1×8×8\.$"):
        check_comparable(points, exploring.untrained())


def test_runs_on_vectors_are_served(points, rows, capsys, monkeypatch):
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda self, sockets: None)
    for run in (points, rows):
        with serving.listen("127.0.0.1", 0) as listening:
            serving.serve([run], listening, num_samples=10)
        assert capsys.readouterr().out.startswith("run: http://127.0.0.1:")


# The server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    runs = [exploring.on_moons("first"), exploring.on_table(tmp_path_factory.mktemp("served"), "second"),
            exploring.untrained("third")]  # fmt: skip
    with exploring.serving(runs) as served:
        yield served
    torch.set_default_dtype(dtype)


def request(server, path, content=None):
    """Ask the server, with JSON or bytes; return the status and what it says."""
    body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(server[0] + path, body, headers), timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask(server, path, content=None):
    status, said = request(server, path, content)
    assert status == 200, said
    return said


def test_the_server_says_what_there_is_to_explore(server):
    found = ask(server, "/api/runs")
    assert (found["view"], found["num_steps"], found["takes_missing"]) == ("plane", STEPS, False)
    assert [column["name"] for column in found["columns"]] == ["x0", "x1"]
    assert found["runs"][0] == {
        "name": "first", "model": "M2", "prior": "StandardNormal", "likelihood": "Gaussian", "data": "Moons",
        "num_labelled": 6, "num_samples": 20, "has_density": True, "is_discrete": False,
    }  # fmt: skip


def test_a_row_is_answered(server):
    expected = server[1][1].answer(MEDIANS)
    found = ask(server, "/api/runs/1/row", {"values": MEDIANS})
    assert found["words"] == in_words(expected.probabilities, server[1][1].run.class_names)
    assert found["probabilities"] == expected.probabilities.tolist()
    assert found["posterior"]["log_evidence"] == expected.posterior.log_evidence
    assert (found["mean"], found["scale"]) == (expected.mean.tolist(), expected.scale.tolist())
    assert found["covariance"] is None  # three dimensions
    assert ask(server, "/api/runs/0/row", {"values": [0, 1]})["covariance"] == (
        server[1][0].answer([0.0, 1.0]).covariance.tolist()
    )


def test_rows_are_sampled(server):
    found = ask(server, "/api/runs/1/rows?class=2&number=3&seed=7")["rows"]
    torch.testing.assert_close(torch.tensor(found), server[1][1].sample(2, 3, 7), rtol=1e-5, atol=1e-5)


def test_the_plane_is_served_and_labels_are_changed_and_undone(server):
    explorer = server[1][0]
    plane = ask(server, "/api/runs/0/plane")
    assert plane["classes"] == explorer.regions().classes.tolist()
    assert len(plane["unlabelled"]) == 194
    assert [label["class"] for label in plane["labelled"]].count(1) == 3
    torch.testing.assert_close(
        torch.tensor([label["point"] for label in plane["labelled"]], dtype=torch.float32),
        explorer.data.train_x[explorer.data.labelled_index], rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    lines = ask(server, "/api/runs/0/contours")["contours"]
    assert [len(line) for line in lines] == [len(line) for line in explorer.contours()]
    added = ask(server, "/api/runs/0/labels", {"point": [0, 1], "class": 1})
    assert added["labelled"][-1] == {"point": [0, 1], "class": 1, "changed": True}
    assert (added["num_left"], added["classes"]) == (STEPS, plane["classes"])
    stepped = ask(server, "/api/runs/0/steps", {})
    assert stepped["num_left"] == STEPS - STEPS_AT_ONCE
    assert math.isfinite(stepped["objective"])
    assert stepped["certainty"] != plane["certainty"]
    moved = ask(server, "/api/runs/0/labels", {"point": [0.5, 0.5], "label": 0})
    assert [label["changed"] for label in moved["labelled"]] == [True, *5 * [False], True]
    assert moved["num_left"] == STEPS
    undone = ask(server, "/api/runs/0/undo", {})
    assert (undone["classes"], undone["labelled"], undone["num_left"]) == (plane["classes"], plane["labelled"], 0)
    assert ask(server, "/api/runs/0/steps", {})["objective"] is None


VALUES = 'values: expected {"values": [number or null, …]} in JSON; got another text.'
LABEL = 'label: expected {"point": [x, y], "class": 1} or {"point": [x, y], "label": 0} in JSON; got another text.'
BAD_REQUESTS = [
    ("/api/runs/0/row", b"", 400, VALUES),
    ("/api/runs/0/row", {"values": [0, "1"]}, 400, VALUES),
    ("/api/runs/0/row", {"values": [0, True]}, 400, VALUES),
    ("/api/runs/0/row", b'{"values": [0, NaN]}', 400, VALUES),
    ("/api/runs/0/row", b'{"values": [0, 1e999]}', 400, VALUES),
    ("/api/runs/0/row", {"values": [0]}, 400, "values: expected 2, one for each feature; got 1."),
    ("/api/runs/0/row", {"values": [0, None]}, 400,
     "x1: expected a value, since this model takes no missing entries; got an empty field."),
    ("/api/runs/0/labels", {"point": [0, 0]}, 400, LABEL),
    ("/api/runs/0/labels", {"point": [0, 0], "class": 0, "label": 0}, 400, LABEL),
    ("/api/runs/0/labels", b'{"point": [0, NaN], "class": 0}', 400, LABEL),
    ("/api/runs/0/labels", {"point": [0, 0], "class": 2}, 400, "class: expected an integer from 0 to 1; got '2'."),
    ("/api/runs/0/labels", {"point": [0, 0], "label": "a"}, 400, "label: expected an integer; got 'a'."),
    ("/api/runs/0/labels", {"point": [0, 0], "label": 9}, 400,
     "label: expected the number of one of 6 labels; got 9."),
    ("/api/runs/0/rows?class=0&number=501&seed=0", None, 400, "number: expected an integer from 1 to 500; got '501'."),
    ("/api/runs/0/map", None, 404, "run: expected one on images; got one on vectors."),
    ("/api/runs/1/plane", None, 404, "run: expected one on two real features; got one on other vectors."),
    ("/api/runs/2/rows?class=0&number=1&seed=0", None, 404, "run: expected one on vectors; got one on images."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "content", "status", "sentence"), BAD_REQUESTS)
def test_a_bad_request_gets_a_sentence(server, path, content, status, sentence):
    assert request(server, path, content) == (status, {"error": sentence})


def test_a_page_of_another_site_cannot_change_labels(server):
    asked = urllib.request.Request(server[0] + "/api/runs/0/undo", b"{}", {"Content-Type": "text/plain"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=20)
    with refused.value as error:
        assert error.code == 415
