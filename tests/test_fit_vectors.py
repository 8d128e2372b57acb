"""Training, evaluation, report and figures of vectors: points, tables, arrays."""

import json
import math
import re
import shutil

import pytest
import torch
import yaml
from matplotlib.contour import ContourSet

import ssvae
from ssvae.data import Moons, Vectors
from ssvae.inference import evaluate, figures, fit, load, resume
from ssvae.inference.command_line.main import main
from ssvae.inference.evaluation import evaluation
from ssvae.inference.storage.trained_on import restore, trained_on
from ssvae.models import M2, likelihoods
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

pytestmark = pytest.mark.slow

SMALL = ["--max_steps=3", "--batch_size=20", "--model.networks.hidden=[8]", "--trainer.progress_bar=false"]
TABLE = """mass,eggs,sex,island,kind
{rows}"""


def table():
    rows = []
    for row in range(60):
        kind = ("cat", "dog", "")[row % 3]
        rows.append(f"{3000 + 17 * row}.5,{row % 4},{'mf'[row % 2]},{'abc'[row % 3 - row % 2]},{kind}")
    return TABLE.format(rows="\n".join(rows))


def small(data, likelihood=None):
    parts = {"prior": StandardNormal(2), "networks": MLP((6,))}
    return M2(data.event_shape, data.num_classes, likelihood=likelihood or likelihoods.Gaussian(), **parts)


@pytest.fixture
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """A short run on points in the plane; no test changes it."""
    folder = tmp_path_factory.mktemp("moons") / "run"
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    words = ["--data=Moons", "--data.num_points=60", "--data.num_test=30", "--data.num_validation=10"]
    assert main(["fit", *words, *SMALL, "--folder", str(folder)]) == 0
    torch.set_default_dtype(dtype)
    return folder


def test_a_run_on_points_says_rows_and_has_the_plane(moons):
    report = (moons / "report.md").read_text()
    assert "60 training rows (6 labelled, 54 unlabelled), 10 validation, 30 test, 2 classes, 2 features" in report
    assert "in the units of the data" in report
    assert "pixel" not in report
    assert "![plane](figures/plane.png)" in report
    assert {path.stem for path in (moons / "figures").iterdir()} == {
        *("plane", "marginals", "latent_map", "confusion_matrix", "reliability", "training_curves")
    }
    numbers = json.loads((moons / "evaluation.json").read_text())
    assert numbers["bits_per_dimension"] is None
    assert numbers["seen_by_classifier"] == "values"
    config = yaml.safe_load((moons / "config.yaml").read_text())
    assert config["model"]["init_args"]["likelihood"]["class_path"].endswith(".Gaussian")


@pytest.mark.usefixtures("_there")
def test_a_run_on_points_is_loaded_with_its_standardisation(moons):
    run = load(str(moons))
    fresh = Moons(num_points=60, num_test=30, num_validation=10)
    assert torch.equal(run.data.train_x, fresh.train_x)
    assert torch.equal(run.data.centre, fresh.centre)
    found = evaluate(run.model, run.data).classifier.accuracy
    assert found == json.loads((moons / "evaluation.json").read_text())["classifier"]["accuracy"]


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize(
    "words",
    [["score", "{run}"], ["features", "{run}"], ["attack", "{run}"]],
    ids=lambda words: words[0],
)
def test_what_needs_images_says_so(moons, capsys, words):
    assert main([word.format(run=moons) for word in words]) == 2
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "expected one of images" in written


@pytest.mark.usefixtures("_there")
def test_each_column_of_a_table_has_a_likelihood_of_its_kind(tmp_path):
    (tmp_path / "animals.csv").write_text(table())
    words = ["--data=Table", "--data.file=animals.csv", "--data.label=kind", "--baselines=false"]
    assert main(["fit", *words, *SMALL, "--folder=run"]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    parts = config["model"]["init_args"]["likelihood"]["init_args"]
    kinds = [each["class_path"].rpartition(".")[2] for each in parts["likelihoods"]]
    columns = [list(each) for each in parts["columns"]]
    assert list(zip(kinds, columns, strict=True)) == [
        ("StudentT", [0]),
        ("NegativeBinomial", [1]),
        ("Bernoulli", [2]),
        ("Categorical", [3]),
    ]
    assert "20 unlabelled" in (tmp_path / "run" / "report.md").read_text()


# Units


def test_log_p_is_in_the_units_of_the_data():
    torch.manual_seed(1)
    x, y = torch.randn(40, 2).float(), torch.arange(40) % 2
    found = {}
    for factor in (1.0, 8.0):
        rows = factor * x
        data = Vectors(rows, y, test_x=rows[:10], test_y=y[:10])
        torch.manual_seed(0)
        found[factor] = evaluate(small(data), data, num_samples=4)
    one, eight = found[1.0], found[8.0]
    # The density of 8 x is that of x over 8 for each of the two features.
    shift = 2 * math.log(8)
    assert one.log_likelihood - eight.log_likelihood == pytest.approx(shift, abs=1e-6)
    assert one.elbo - eight.elbo == pytest.approx(shift, abs=1e-6)
    assert eight.terms["reconstruction"] - one.terms["reconstruction"] == pytest.approx(shift, abs=1e-6)
    assert eight.terms["kl"] == pytest.approx(one.terms["kl"], abs=1e-9)


# Figures


@pytest.fixture
def plane():
    data = Moons(num_points=40, num_labels=4, num_test=5)
    torch.manual_seed(0)
    return small(data), data


def test_the_decision_plane_has_the_most_probable_class_of_each_cell(plane):
    model, data = plane
    with figures.without_pyplot():
        ax = figures.decision_plane(model, data, num_cells=7)
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    for column, row in ((0, 0), (6, 6), (2, 5)):
        corner = torch.tensor([[left + (right - left) * column / 6, bottom + (top - bottom) * row / 6]])
        probs = model.classify(data.preprocess(corner)).probs[0].detach()
        red, green, blue, alpha = image.get_array()[row, column]
        expected = figures.COLOURS[int(probs.argmax())]
        assert [round(255 * value) for value in (red, green, blue)] == list(bytes.fromhex(expected[1:]))
        assert alpha == pytest.approx(0.4 * (2 * float(probs.max()) - 1), abs=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x0", "x1")


def test_the_density_planes_contours_enclose_their_shares(plane, monkeypatch):
    model, data = plane

    class Known:
        """log p(x) of a normal distribution, for the points of the grid."""

        def __init__(self, x):
            self.log_evidence = -2 * x.square().sum(-1)

    monkeypatch.setattr("ssvae.inference.figures.vectors.importance_sampling", lambda model, x, num_samples: Known(x))
    with figures.without_pyplot():
        ax = figures.density_plane(model, data, num_cells=60)
    (contours,) = [each for each in ax.collections if isinstance(each, ContourSet)]
    mass = contours.zmax
    # Of exp(-2 r²) in two dimensions a share s lies where the density is more than (1 - s) times its maximum.
    assert [level / mass for level in contours.levels] == pytest.approx([0.01, 0.05, 0.2, 0.5], abs=0.03)


def test_samples_are_in_the_units_of_the_data(plane):
    model, data = plane
    torch.manual_seed(0)
    drawn = figures.vectors.draw_vectors(model, data, 2000)
    assert drawn.shape == (2000, 2, 2)
    torch.manual_seed(0)
    y = torch.arange(2).expand(2000, -1)
    standardised = model.p_x(model._draw(y), y).sample()
    torch.testing.assert_close(data.preprocess(drawn), standardised)


def test_marginals_have_a_panel_for_each_feature():
    torch.manual_seed(0)
    x, y = torch.randn(30, 5).float(), torch.arange(30) % 2
    data = Vectors(x, y, feature_names=["a", "b", "c", "d", "e"])
    with figures.without_pyplot():
        ax = figures.marginals(small(data), data, num_samples=50)
    assert [each.get_xlabel() for each in figures.figure_of(ax).axes if each.axison] == ["a", "b", "c", "d", "e"]


def test_a_plane_has_two_features():
    data = Vectors(torch.randn(9, 3).float(), torch.arange(9) % 2)
    model = small(data)
    for figure in (figures.decision_plane, figures.density_plane, figures.sampled_plane):
        with pytest.raises(ValueError, match=r"^data: expected two features; got 3\.$"):
            figure(model, data)


# Python


@pytest.mark.usefixtures("_there", "without_pictures")
def test_fit_takes_arrays_of_rows_and_its_recipe_is_that_of_a_table(capsys):
    torch.manual_seed(0)
    x, y = torch.randn(60, 3), torch.arange(60) % 3
    data = Vectors(x, y, test_x=x[:9], test_y=y[:9], num_labels=6)
    run = fit(small(data), data, max_steps=2, baselines=False)
    assert "recipe: table\n" in capsys.readouterr().out
    assert math.isfinite(run.evaluation.log_likelihood)
    with pytest.raises(ValueError, match="trained on arrays in memory"):
        load(str(run.folder))


@pytest.mark.usefixtures("_there")
def test_a_recipe_for_images_is_refused_for_vectors_before_a_folder_is_made(tmp_path):
    data = Moons(num_points=20, num_test=5, num_labels=2)
    with pytest.raises(ValueError, match=r"^augmentation: expected None for rows, .* recipes plane or table have none"):
        fit(small(data), data, "few_labels")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize(
    ("words", "recipe"), [(["--recipe=discover"], "discover"), (["--model=GMVAE"], "gmvae"), (["--model=ADGM"], "adgm")]
)
def test_the_recipes_for_vectors_are_named_where_another_is_chosen(capsys, words, recipe):
    assert main(["fit", "--data=Moons", *words]) == 2
    assert capsys.readouterr().err == (
        f"ssvae fit: --recipe: expected plane or table for Moons, which has no images; got {recipe}, which is for "
        "images.\n"
    )


def test_a_model_of_vectors_is_gaussian_unless_told_otherwise():
    assert isinstance(ssvae.M2((3,), 2).likelihood, likelihoods.Gaussian)
    assert isinstance(ssvae.M2((1, 8, 8), 2).likelihood, likelihoods.ContinuousBernoulli)


def test_there_are_no_bits_of_vectors_and_no_pixels():
    data = Moons(num_points=20, num_test=5, num_labels=2)
    found = evaluation.evaluate(small(data), data, num_samples=2)
    assert (found.bits_per_dimension, found.seen_by_classifier, found.seen_by_posterior) == (None, "values", "values")


# Class probabilities of new rows


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """A short run on a table; no test changes it."""
    folder = tmp_path_factory.mktemp("animals")
    (folder / "animals.csv").write_text(table())
    words = [f"--data.file={folder / 'animals.csv'}", "--data.label=kind", "--baselines=false"]
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    assert main(["fit", "--data=Table", *words, *SMALL, "--folder", str(folder / "run")]) == 0
    torch.set_default_dtype(dtype)
    return folder


@pytest.mark.usefixtures("_there")
def test_classify_takes_a_table_of_new_rows(animals, tmp_path, capsys):
    # Columns in another order, one more than needed, and not all of the categories.
    (tmp_path / "new.csv").write_text("island,note,sex,eggs,mass\nc,x,f,2,3100.5\na,y,m,0,3999.5\n")
    assert main(["classify", str(animals / "run"), "new.csv"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading == "row,class,cat,dog"
    run = load(str(animals / "run"))
    # sex: f, m; island: a, b, c
    rows = torch.tensor([[3100.5, 2, 0, 2], [3999.5, 0, 1, 0]])
    probs = run.model.classify(run.data.preprocess(rows)).probs.tolist()
    for number, (line, row) in enumerate(zip(lines, probs, strict=True), start=1):
        found, name, *numbers = line.split(",")
        assert (found, name) == (str(number), ["cat", "dog"][row.index(max(row))])
        assert list(map(float, numbers)) == pytest.approx(row, abs=6e-5)


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "mass,eggs,sex\n1.5,2,f\n",
            "expected the columns of the table of the training; got no 'island'",
        ),
        (
            "mass,eggs,sex,island\n1.5,2,f,z\n",
            "expected 'a', 'b', 'c' in column 'island', as in the .* got 'z' in",
        ),
        (
            "mass,eggs,sex,island\n,2,f,a\n",
            "expected no missing entries, as the table of the training had none; got some in row 1",
        ),
        ("mass,eggs,sex,island\n1.5,-2,f,a\n", "expected whole numbers of 0 or more in column 'eggs'"),
    ],
)
def test_a_table_of_other_columns_or_categories_is_refused(animals, tmp_path, capsys, content, sentence):
    (tmp_path / "new.csv").write_text(content)
    assert main(["classify", str(animals / "run"), "new.csv"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert re.match(f"ssvae classify: file: {sentence}", written.err)


@pytest.fixture
def changed(animals, tmp_path):
    """A function that copies the run and its table, the table with more rows, and returns the run's folder."""

    def change(more):
        shutil.copytree(animals / "run", tmp_path / "run")
        config = tmp_path / "run" / "config.yaml"
        config.write_text(config.read_text().replace(str(animals), str(tmp_path)))
        (tmp_path / "animals.csv").write_text(table() + "\n" + more)
        return str(tmp_path / "run")

    return change


@pytest.mark.usefixtures("_there")
def test_a_table_that_has_grown_is_standardised_as_in_training(animals, changed):
    before = load(str(animals / "run"))
    with pytest.warns(UserWarning, match=r"^animals has other rows or labels than .* Test rows may be among"):
        after = load(changed("9999.5,1,f,a,cat\n" * 40))
    assert after.data.standardisation == before.data.standardisation
    assert float(after.data.train_x[:, 0].median()) > float(before.data.train_x[:, 0].median()) + 300
    rows = before.data.test_x
    assert torch.equal(after.data.preprocess(rows), before.data.preprocess(rows))


@pytest.mark.usefixtures("_there")
def test_a_table_whose_categories_have_changed_is_refused(changed):
    # "aa" would take the code of "b".
    with pytest.raises(ValueError, match=r"^run: expected the features .* whose categories of features have"):
        load(changed("3500.5,1,f,aa,cat\n"))


@pytest.mark.usefixtures("_there")
def test_a_run_goes_on_with_the_table_that_it_began_with_alone(changed):
    with pytest.raises(ValueError, match=r"^data: expected the rows and labels that .*run began with; got others\.$"):
        resume(changed("3500.5,1,f,a,cat\n"))


@pytest.mark.parametrize(
    "kept",
    [{"centre": [0.0]}, {"scale": [1.0, 1.0, 1.0, -1.0]}, {"scale": "1111"}, {"centre": [0.0, 0.0, 0.0, math.nan]}],
)
@pytest.mark.usefixtures("_there")
def test_a_checkpoint_with_a_standardisation_of_other_features_is_refused(animals, kept):
    data = load(str(animals / "run")).data
    with pytest.raises(ValueError, match=r"^checkpoint: expected .*; got others\.$"):
        restore(data, {**trained_on(data), **kept})


@pytest.mark.usefixtures("_there")
def test_points_that_a_seed_drew_are_not_classified_from_a_file(moons, capsys):
    assert main(["classify", str(moons), "new.csv"]) == 2
    assert capsys.readouterr().err == (
        "ssvae classify: run: expected one on images or on a Table; got one on Moons, whose points no file has.\n"
    )
