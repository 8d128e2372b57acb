"""Figures show what the model and the metrics say: pictures, counts, names, curves, compared as numbers."""

import subprocess
import sys

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from inference import figures
from inference.calibration import reliability_bins
from models import M2
from models.likelihoods import Gaussian
from models.networks import MLP
from models.priors import StandardNormal

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
NAMES = ["T-shirt/top", "ankle boot", "bag"]


def m2(shape=GREY, num_classes=3, latent_dim=2):
    likelihood = Gaussian() if shape == COLOUR else None
    return M2(shape, num_classes, prior=StandardNormal(latent_dim), networks=MLP((8,)), likelihood=likelihood).eval()


def tile(figure, row, column, size=8, gap=1):
    picture = torch.from_numpy(figure.axes[0].images[0].get_array().data)
    top, left = row * (size + gap), column * (size + gap)
    return picture[top : top + size, left : left + size]


def shown(image):
    """What is drawn of an image (channels, height, width)."""
    return image.detach().clamp(0, 1).permute(1, 2, 0).squeeze(-1)


def texts(labels):
    return [label.get_text() for label in labels]


def draw(figure):
    """Draw, and refuse what sticks out of the figure."""
    FigureCanvasAgg(figure)
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width + 1e-6
    assert box.y1 <= height + 1e-6


# What a model draws


@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_class_samples_are_the_models_samples(shape):
    model = m2(shape)
    torch.manual_seed(5)
    figure = figures.class_samples(model, 4, NAMES)
    torch.manual_seed(5)
    samples = model.sample(torch.arange(3), 4)  # (samples, classes, ...)
    for y in range(3):
        for number in range(4):
            torch.testing.assert_close(tile(figure, y, number), shown(samples[number, y]))
    assert texts(figure.axes[0].get_yticklabels()) == NAMES
    assert len(figure.axes) == 1
    draw(figure)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("y", [None, torch.tensor([2, 0])])
def test_analogies_begin_with_the_image(shape, y):
    model, x = m2(shape), torch.rand(2, *shape)
    figure = figures.analogies(model, x, NAMES, y=y)
    styles = model.analogies(x, y)
    for row in range(2):
        torch.testing.assert_close(tile(figure, row, 0), shown(x[row]))
        for y_drawn in range(3):
            torch.testing.assert_close(tile(figure, row, 1 + y_drawn), shown(styles[y_drawn, row]))
    assert texts(figure.axes[0].get_xticklabels()) == ["image", *NAMES]
    draw(figure)


@pytest.mark.parametrize("num_images", [1, 10, 13])
def test_reconstructions_lie_below_their_images(num_images):
    model, x = m2(), torch.rand(num_images, *GREY)
    figure = figures.reconstructions(model, x)
    reconstructed = model.reconstruct(x)
    for n in range(num_images):
        line, column = divmod(n, 10)
        torch.testing.assert_close(tile(figure, 2 * line, column), shown(x[n]))
        torch.testing.assert_close(tile(figure, 2 * line + 1, column), shown(reconstructed[n]))
    lines = -(-num_images // 10)
    assert texts(figure.axes[0].get_yticklabels()) == ["image", "reconstruction"] * lines
    if num_images == 13:
        assert (tile(figure, 2, 3) == 1).all()
    draw(figure)


def test_names_are_numbers_where_they_are_not_given():
    figure = figures.class_samples(m2(num_classes=4), 1)
    assert texts(figure.axes[0].get_yticklabels()) == ["0", "1", "2", "3"]


def test_drawing_keeps_the_training_mode():
    model = m2().train()
    figures.class_samples(model, 1)
    figures.reconstructions(model, torch.rand(2, *GREY))
    assert model.training


# The latent space


def test_latent_map_keeps_distances():
    model, x = m2(latent_dim=2), torch.rand(12, *GREY)
    labels = torch.arange(12) % 3
    labels[-1] = -1
    figure = figures.latent_map(model, x, labels, NAMES)
    drawn = [torch.from_numpy(points.get_offsets().data) for points in figure.axes[0].collections]
    assert [len(points) for points in drawn] == [1, 4, 4, 3]
    # Two principal components of two dimensions are a rotation.
    order = torch.cat([torch.tensor([11]), *(torch.nonzero(labels == y).squeeze(-1) for y in range(3))])
    z = model.encode(x).detach()[order]
    torch.testing.assert_close(torch.cdist(torch.cat(drawn), torch.cat(drawn)), torch.cdist(z, z))
    assert texts(figure.legends[0].get_texts()) == ["unlabelled", *NAMES]
    colours = [tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections]
    assert len(set(colours)) == 4
    draw(figure)


def test_latent_map_of_thirty_classes_tells_them_apart():
    figure = figures.latent_map(m2(num_classes=30), torch.rand(60, *GREY), torch.arange(60) % 30)
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in figure.axes[0].collections
    }
    assert len(looks) == 30
    draw(figure)


def test_latent_map_of_one_dimension_and_by_neighbours():
    model, x, labels = m2(latent_dim=1), torch.rand(9, *GREY), torch.arange(9) % 3
    line = figures.latent_map(model, x, labels)
    assert all((points.get_offsets().data[:, 1] == 0).all() for points in line.axes[0].collections)
    draw(line)
    neighbours = figures.latent_map(m2(), x, labels, tsne=True)
    assert [len(points.get_offsets()) for points in neighbours.axes[0].collections] == [3, 3, 3]
    assert neighbours.axes[0].get_xlabel() == "t-SNE 1"
    draw(neighbours)


# Metrics


def test_confusion_matrix_by_hand():
    labels, predictions = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 2, 0])
    figure = figures.confusion_matrix(labels, predictions, NAMES)
    axes = figure.axes[0]
    counts = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (0, 1): "1", (2, 0): "1", (2, 2): "1"}
    assert axes.images[0].get_array().tolist() == [[2 / 3, 1 / 3, 0], [0, 0, 0], [0.5, 0, 0.5]]
    assert texts(axes.get_xticklabels()) == NAMES == texts(axes.get_yticklabels())
    assert axes.get_title().startswith("3 of 5 right")
    draw(figure)


@pytest.mark.parametrize("num_classes", [2, 30])
@pytest.mark.parametrize("count", [1, 10000])
def test_confusion_matrix_of_few_and_many_classes(num_classes, count):
    labels = torch.arange(num_classes).repeat(count)
    figure = figures.confusion_matrix(labels, labels, [f"class {y}" for y in range(num_classes)])
    draw(figure)
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / num_classes
    assert len(axes.texts) == num_classes
    assert all(text.get_window_extent().width < cell for text in axes.texts)


def test_reliability_diagram_draws_the_bins():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(50, 3, generator=generator).softmax(-1)
    labels = torch.randint(0, 3, (50,), generator=generator)
    figure = figures.reliability_diagram({"q(y|x)": (probabilities, labels), "p(y|x)": (probabilities[:9], labels[:9])})
    assert len(figure.axes) == 4
    assert [axes.get_title() for axes in figure.axes[:2]] == ["q(y|x), 50 images", "p(y|x), 9 images"]
    for column, n in enumerate((50, 9)):
        bins = reliability_bins(probabilities[:n], labels[:n])
        filled = bins.count > 0
        accuracy, gap = figure.axes[column].containers
        height = torch.tensor([bar.get_height() for bar in accuracy])
        top = torch.tensor([bar.get_y() + bar.get_height() for bar in gap])
        torch.testing.assert_close(height, bins.accuracy[filled])
        torch.testing.assert_close(top, bins.confidence[filled])
        counts = [bar.get_height() for bar in figure.axes[2 + column].containers[0]]
        assert counts == bins.count[filled].tolist()
        assert f"ECE {bins.ece:.2%}" in texts(figure.axes[column].get_legend().get_texts())[-1]
    draw(figure)


# Training

HISTORY = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "seconds": 1.5 * epoch,
        "loss": 90.0 - epoch,
        "labelled/kl": 3.0 + epoch,
        "unlabelled/kl": 4.0 + epoch,
        "unlabelled/entropy": 1 / epoch,
        "classification": 2 / epoch,
        "kl_weight": 1.0,
        **({"validation_accuracy": 0.1 * epoch} if epoch > 1 else {}),
    }
    for epoch in (1, 2, 3)
]


def test_training_curves_have_a_panel_for_each_term():
    figure = figures.training_curves(HISTORY)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == [
        "J / N",
        "KL divergence",
        "entropy",
        "classification",
        "KL weight",
        "validation accuracy",
    ]
    assert panels["J / N"].lines[0].get_ydata().tolist() == [89.0, 88.0, 87.0]
    labelled, unlabelled = panels["KL divergence"].lines
    assert labelled.get_ydata().tolist() == [4.0, 5.0, 6.0]
    assert unlabelled.get_ydata().tolist() == [5.0, 6.0, 7.0]
    assert labelled.get_color() != unlabelled.get_color() == panels["entropy"].lines[0].get_color()
    assert texts(panels["KL divergence"].get_legend().get_texts()) == ["labelled", "unlabelled"]
    assert panels["validation accuracy"].lines[0].get_xdata().tolist() == [2, 3]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    units = [axes.get_ylabel() for axes in figure.axes]
    assert units == ["nats", "nats", "nats", "nats", "β", "share of images"]
    draw(figure)


def test_a_single_epoch_is_a_dot():
    figure = figures.training_curves(HISTORY[:1])
    assert all(line.get_marker() == "." for axes in figure.axes for line in axes.lines)
    draw(figure)


# Refusals


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: figures.class_samples(m2(), 0), "num_samples: expected at least 1; got 0"),
        (
            lambda: figures.class_samples(m2(), 1, ["one"]),
            "class_names: expected 3, one for each class; got 1",
        ),
        (lambda: figures.analogies(m2(), torch.rand(1, *GREY), ["one"]), "class_names: expected 3"),
        (lambda: figures.latent_map(m2(), torch.rand(1, *GREY), torch.zeros(1)), "x: expected at least 2"),
        (lambda: figures.latent_map(m2(), torch.rand(3, *GREY), torch.zeros(2)), "x: expected at least 2"),
        (
            lambda: figures.confusion_matrix(torch.tensor([0, 1]), torch.tensor([0]), NAMES),
            "predictions: expected one for each of 2 labels",
        ),
        (
            lambda: figures.confusion_matrix(torch.tensor([0]), torch.tensor([3]), NAMES),
            "class_names: expected a name for every class; got 3 names",
        ),
        (lambda: figures.reliability_diagram({}), "predictions: expected at least one"),
        (lambda: figures.training_curves([]), "history: expected at least one row"),
        (lambda: figures.training_curves([{"epoch": 1}]), "history: expected at least one row"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_no_pyplot():
    code = "import sys, inference.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
