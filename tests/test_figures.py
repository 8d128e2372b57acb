"""Figures show what the model and the metrics say: pictures, counts, names, curves, compared as numbers."""

import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ssvae.inference import figures
from ssvae.inference.evaluation import reliability_bins
from ssvae.models import M2
from ssvae.models.likelihoods import Gaussian
from ssvae.models.networks import MLP
from ssvae.models.priors import GenerativeTopographicMapping, StandardNormal

pytestmark = pytest.mark.slow

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
NAMES = ["T-shirt/top", "ankle boot", "bag"]


@pytest.fixture(autouse=True)
def _pyplot():
    """No window is opened, and no figure is left to the next test."""
    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)


def m2(shape=GREY, num_classes=3, latent_dim=2):
    likelihood = Gaussian() if shape == COLOUR else None
    return M2(shape, num_classes, prior=StandardNormal(latent_dim), networks=MLP((8,)), likelihood=likelihood).eval()


def tile(axes, row, column, size=8, gap=1):
    picture = torch.from_numpy(axes.images[0].get_array().data)
    top, left = row * (size + gap), column * (size + gap)
    return picture[top : top + size, left : left + size]


def shown(image):
    """What is drawn of an image (channels, height, width)."""
    return image.detach().clamp(0, 1).permute(1, 2, 0).squeeze(-1)


def texts(labels):
    return [label.get_text() for label in labels]


def draw(axes):
    """Draw, and refuse what sticks out of the figure."""
    figure = axes.figure
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
    axes = figures.class_samples(model, 4, NAMES)
    torch.manual_seed(5)
    samples = model.sample(torch.arange(3), 4)  # (samples, classes, ...)
    for y in range(3):
        for number in range(4):
            torch.testing.assert_close(tile(axes, y, number), shown(samples[number, y]))
    assert texts(axes.get_yticklabels()) == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("samples", "class y")
    assert axes.figure.axes == [axes]
    draw(axes)


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("y", [None, torch.tensor([2, 0])])
def test_analogies_begin_with_the_image(shape, y):
    model, x = m2(shape), torch.rand(2, *shape)
    axes = figures.analogies(model, x, NAMES, y=y)
    styles = model.analogies(x, y)
    for row in range(2):
        torch.testing.assert_close(tile(axes, row, 0), shown(x[row]))
        for y_drawn in range(3):
            torch.testing.assert_close(tile(axes, row, 1 + y_drawn), shown(styles[y_drawn, row]))
    assert texts(axes.get_xticklabels()) == ["image", *NAMES]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("class y", "images")
    draw(axes)


@pytest.mark.parametrize("num_images", [1, 10, 13])
def test_reconstructions_lie_below_their_images(num_images):
    model, x = m2(), torch.rand(num_images, *GREY)
    axes = figures.reconstructions(model, x)
    reconstructed = model.reconstruct(x)
    for n in range(num_images):
        line, column = divmod(n, 10)
        torch.testing.assert_close(tile(axes, 2 * line, column), shown(x[n]))
        torch.testing.assert_close(tile(axes, 2 * line + 1, column), shown(reconstructed[n]))
    lines = -(-num_images // 10)
    assert texts(axes.get_yticklabels()) == ["image", "reconstruction"] * lines
    if num_images == 13:
        assert (tile(axes, 2, 3) == 1).all()
    draw(axes)


def _map(num_classes=3, **options):
    """M2 whose two style dimensions are the grid itself, and its images, whose codes are where they are put."""
    model = M2(GREY, num_classes, prior=GenerativeTopographicMapping(2, 2, 3, **options), networks=MLP((8,))).eval()
    places = torch.tensor([[0, 0], [0, 0], [0, 2], [1, 1], [1, 1], [1, 1]])
    nodes = model.prior.nodes(torch.tensor(0)).detach()
    codes = nodes[places[:, 0], places[:, 1]]
    model.encode = lambda x, y=None: codes[: len(x)]
    return model, torch.rand(len(places), *GREY)


def frames(axes):
    """Colour of each node's frame, by row and column."""
    return {
        (round((patch.get_y() + 1) / 9), round((patch.get_x() + 1) / 9)): (patch.get_edgecolor(), patch.get_linestyle())
        for patch in axes.patches
    }


def test_a_map_shows_every_node_in_a_frame_of_its_class():
    model, x = _map()
    labels = torch.tensor([1, 1, 0, 2, 2, 0])
    axes = figures.node_map(model, x, labels, NAMES)
    nodes = model.prior.nodes(torch.tensor(0))
    of_node = {(0, 0): 1, (0, 2): 0, (1, 1): 2}
    for row in range(2):
        for column in range(3):
            y = of_node.get((row, column), 0)
            image = model.p_x(nodes[row, column].unsqueeze(0), torch.tensor([y])).mean[0]
            torch.testing.assert_close(tile(axes, row, column), shown(image))
    assert frames(axes) == {node: (to_rgba(figures.COLOURS[y]), "-") for node, y in of_node.items()}
    assert texts(axes.get_legend().get_texts()) == NAMES
    # Five of six images are of their node's class.
    assert axes.get_title().startswith("purity 0.83, NMI ")
    draw(axes)


def test_a_map_for_each_class_shows_a_nodes_own():
    model, x = _map(per_class=True)
    model.encode = lambda x, y=None: model.prior.nodes(torch.full((len(x),), 2))[:, 1, 0]
    model.classify = lambda x: torch.distributions.Categorical(torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3))
    axes = figures.node_map(model, x, torch.full((6,), 1))
    # Looked up in the map of class 2, which all images are taken for; of class 1, as all of them are.
    assert list(frames(axes)) == [(1, 0)]
    z = model.prior.nodes(torch.tensor([1]))[:, 1, 0]
    torch.testing.assert_close(tile(axes, 1, 0), shown(model.p_x(z, torch.tensor([1])).mean[0]))


def test_images_without_a_label_do_not_count_in_a_map():
    model, x = _map()
    axes = figures.node_map(model, x, torch.tensor([1, 1, 0, -1, -1, -1]))
    assert set(frames(axes)) == {(0, 0), (0, 2)}
    assert axes.get_title().startswith("purity 1.00, NMI 1.00, ")


def test_from_the_eleventh_class_on_frames_have_other_lines():
    model, x = _map(num_classes=12)
    axes = figures.node_map(model, x, torch.tensor([1, 1, 11, 11, 11, 11]))
    assert frames(axes)[0, 0] == (to_rgba(figures.COLOURS[1]), "-")
    assert frames(axes)[1, 1] == (to_rgba(figures.COLOURS[1]), ":")


def test_a_large_map_and_its_legend_lie_within_the_figure():
    model = M2(GREY, 10, prior=GenerativeTopographicMapping(2, 8, 8), networks=MLP((8,)))
    draw(figures.node_map(model, torch.rand(20, *GREY), torch.arange(20) % 10))


def test_a_map_is_drawn_into_axes_that_are_given():
    model, x = _map()
    figure, (left, right) = pyplot.subplots(1, 2, layout="constrained")
    assert figures.node_map(model, x, torch.zeros(6, dtype=torch.int64), ax=right) is right
    assert figure.axes == [left, right]
    assert not left.has_data()


@pytest.mark.parametrize("labels", [torch.full((6,), -1), torch.zeros(5, dtype=torch.int64)])
def test_a_map_without_labels_is_refused(labels):
    model, x = _map()
    with pytest.raises(ValueError, match=r"^labels: expected one for each of 6 images, and some known"):
        figures.node_map(model, x, labels)


def test_names_are_numbers_where_they_are_not_given():
    axes = figures.class_samples(m2(num_classes=4), 1)
    assert texts(axes.get_yticklabels()) == ["0", "1", "2", "3"]


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
    axes = figures.latent_map(model, x, labels, NAMES)
    drawn = [torch.from_numpy(points.get_offsets().data) for points in axes.collections]
    assert [len(points) for points in drawn] == [1, 4, 4, 3]
    # Two principal components of two dimensions are a rotation.
    order = torch.cat([torch.tensor([11]), *(torch.nonzero(labels == y).squeeze(-1) for y in range(3))])
    z = model.encode(x).detach()[order]
    torch.testing.assert_close(torch.cdist(torch.cat(drawn), torch.cat(drawn)), torch.cdist(z, z))
    variances = torch.linalg.eigvalsh(torch.cov(z.T))
    assert axes.get_xlabel() == f"component 1 ({variances[1] / variances.sum():.0%} of variance)"
    assert texts(axes.get_legend().get_texts()) == ["unlabelled", *NAMES]
    colours = [tuple(points.get_facecolor()[0]) for points in axes.collections]
    assert len(set(colours)) == 4
    draw(axes)


def test_latent_map_of_thirty_classes_tells_them_apart():
    axes = figures.latent_map(m2(num_classes=30), torch.rand(60, *GREY), torch.arange(60) % 30)
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes()) for points in axes.collections
    }
    assert len(looks) == 30
    draw(axes)


def test_latent_map_of_one_dimension_and_by_neighbours():
    model, x, labels = m2(latent_dim=1), torch.rand(9, *GREY), torch.arange(9) % 3
    line = figures.latent_map(model, x, labels)
    assert all((points.get_offsets().data[:, 1] == 0).all() for points in line.collections)
    draw(line)
    neighbours = figures.latent_map(m2(), x, labels, tsne=True)
    assert [len(points.get_offsets()) for points in neighbours.collections] == [3, 3, 3]
    assert neighbours.get_xlabel() == "t-SNE 1"
    draw(neighbours)


# Metrics


def test_confusion_matrix_by_hand():
    labels, predictions = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 2, 0])
    axes = figures.confusion_matrix(labels, predictions, NAMES)
    counts = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (0, 1): "1", (2, 0): "1", (2, 2): "1"}
    assert axes.images[0].get_array().tolist() == [[2 / 3, 1 / 3, 0], [0, 0, 0], [0.5, 0, 0.5]]
    assert texts(axes.get_xticklabels()) == NAMES == texts(axes.get_yticklabels())
    assert axes.get_title() == "3 of 5 correct"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.figure.axes[1].get_ylabel() == "fraction of the true class"
    draw(axes)


@pytest.mark.parametrize("num_classes", [2, 30])
@pytest.mark.parametrize("count", [1, 10000])
def test_confusion_matrix_of_few_and_many_classes(num_classes, count):
    labels = torch.arange(num_classes).repeat(count)
    axes = figures.confusion_matrix(labels, labels, [f"class {y}" for y in range(num_classes)])
    draw(axes)
    cell = axes.get_window_extent().width / num_classes
    assert len(axes.texts) == num_classes
    assert all(text.get_window_extent().width < cell for text in axes.texts)


def test_reliability_diagram_draws_the_bins():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(50, 3, generator=generator).softmax(-1)
    labels = torch.randint(0, 3, (50,), generator=generator)
    axes = figures.reliability_diagram(probabilities, labels, "p(y|x)")
    assert axes.get_title() == "p(y|x), 50 images"
    bins = reliability_bins(probabilities, labels)
    filled = bins.count > 0
    accuracy, gap = axes.containers
    height = torch.tensor([bar.get_height() for bar in accuracy])
    top = torch.tensor([bar.get_y() + bar.get_height() for bar in gap])
    torch.testing.assert_close(height, bins.accuracy[filled])
    torch.testing.assert_close(top, bins.confidence[filled])
    assert f"ECE {bins.ece:.2%}" in texts(axes.get_legend().get_texts())[-1]
    (numbers,) = axes.child_axes
    assert [bar.get_height() for bar in numbers.containers[0]] == bins.count[filled].tolist()
    assert [label.get_text() for label in (axes.xaxis.label, axes.yaxis.label, numbers.yaxis.label)] == [
        "confidence, max p(y|x)",
        "accuracy",
        "images",
    ]
    draw(axes)
    # The numbers of images end where the accuracies begin.
    assert numbers.get_window_extent().y1 == pytest.approx(axes.transData.transform((0, 0))[1])


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
    drawn = figures.training_curves(HISTORY)
    assert drawn == drawn[0].figure.axes
    panels = {axes.get_title(): axes for axes in drawn}
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
    assert {axes.get_xlabel() for axes in drawn} == {"epoch"}
    units = [axes.get_ylabel() for axes in drawn]
    assert units == ["nats", "nats", "nats", "nats", "β", "fraction of images"]
    draw(drawn[0])


def test_each_latent_variable_has_a_panel_for_both_kinds_of_images():
    rows = [{"epoch": 1, "labelled/kl/z_1": 2.0, "unlabelled/kl/z_1": 3.0, "unlabelled/kl/z_2": 4.0}]
    first, second = figures.training_curves(rows)
    assert (first.get_title(), second.get_title()) == ("KL divergence, z_1", "KL divergence, z_2")
    labelled, unlabelled = first.lines
    assert (labelled.get_ydata().tolist(), unlabelled.get_ydata().tolist()) == ([2.0], [3.0])
    assert labelled.get_color() != unlabelled.get_color() == second.lines[0].get_color()
    assert texts(first.get_legend().get_texts()) == ["labelled", "unlabelled"]
    draw(first)
    alone = figures.training_curve(rows, "kl/z_2")
    assert alone.lines[0].get_ydata().tolist() == [4.0]
    draw(alone)


def test_a_single_epoch_is_a_dot():
    drawn = figures.training_curves(HISTORY[:1])
    assert all(line.get_marker() == "." for axes in drawn for line in axes.lines)
    draw(drawn[0])


def test_a_training_curve_is_one_term():
    axes = figures.training_curve(HISTORY, "kl")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[4.0, 5.0, 6.0], [5.0, 6.0, 7.0]]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("KL divergence", "epoch", "nats")
    assert axes.figure.axes == [axes]
    draw(axes)


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_lays_images_out(channels):
    images = torch.rand(2, 3, channels, 8, 8)
    axes = figures.image_grid(images, ["up", "down"], ["a", "b", "c"])
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(tile(axes, row, column), shown(images[row, column]))
    assert (texts(axes.get_yticklabels()), texts(axes.get_xticklabels())) == (["up", "down"], ["a", "b", "c"])
    draw(axes)


# Axes, of one's own and given

PROBABILITIES = torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
LABELS = torch.arange(40) % 3
FUNCTIONS = {
    "class_samples": lambda **ax: figures.class_samples(m2(), 4, NAMES, **ax),
    "analogies": lambda **ax: figures.analogies(m2(), PROBABILITIES[:4, :1, None, None].expand(4, *GREY), **ax),
    "reconstructions": lambda **ax: figures.reconstructions(m2(), torch.ones(3, *GREY), **ax),
    "latent_map": lambda **ax: figures.latent_map(m2(), torch.rand(40, *GREY), LABELS, NAMES, **ax),
    "node_map": lambda **ax: figures.node_map(*_map(), torch.arange(6) % 3, NAMES, **ax),
    "confusion_matrix": lambda **ax: figures.confusion_matrix(LABELS, PROBABILITIES.argmax(-1), NAMES, **ax),
    "reliability_diagram": lambda **ax: figures.reliability_diagram(PROBABILITIES, LABELS, **ax),
    "training_curve": lambda **ax: figures.training_curve(HISTORY, "kl", **ax),
    "image_grid": lambda **ax: figures.image_grid(torch.rand(2, 3, *COLOUR), ["up", "down"], **ax),
}
each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def pixels(axes):
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())


def artists(axes):
    """What is drawn in axes besides their frame: its kinds and how many."""
    drawn = [type(child).__name__ for child in (*axes.lines, *axes.patches, *axes.collections, *axes.images)]
    return sorted(drawn), texts(axes.texts), axes.get_xlabel(), axes.get_ylabel(), axes.get_title()


@each_function
def test_without_axes_a_figure_of_pyplots_is_made(function):
    axes = function()
    assert pyplot.get_fignums() == [1]
    assert pyplot.gcf() is axes.figure
    # In a report: nobody's figure but the caller's.
    with figures.without_pyplot():
        axes = function()
    assert type(axes.figure) is Figure
    assert pyplot.get_fignums() == [1]


@each_function
@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_given_axes_are_drawn_into_and_no_others(function, layout):
    figure, grid = pyplot.subplots(2, 2, layout=layout, figsize=(8, 7))
    untouched = artists(grid[0, 1])
    axes = function(ax=grid[0, 0])
    assert axes is grid[0, 0]
    torch.manual_seed(0)
    alone = artists(function())
    assert artists(axes) == alone
    assert [artists(others) for others in grid.flat[1:]] == [untouched] * 3
    assert figure.get_size_inches().tolist() == [8, 7]
    assert len(pyplot.get_fignums()) == 2  # that of the grid, and the one that was made to compare
    figure.canvas.draw()
    if axes.get_legend():
        box = axes.get_legend().get_window_extent()
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)


@pytest.mark.parametrize("four", [list(FUNCTIONS)[start:][:4] for start in (0, 4, 5)], ids=lambda names: names[0])
@pytest.mark.parametrize("layout", ["constrained", "tight"])
def test_a_grid_of_figures_has_room_for_each(four, layout):
    figure, grid = pyplot.subplots(2, 2, layout=layout, figsize=(8, 7))
    for name, ax in zip(four, grid.flat, strict=True):
        FUNCTIONS[name](ax=ax)
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    for box in boxes:
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)


def test_a_legend_within_axes_covers_no_points():
    _, grid = pyplot.subplots(2, 2, figsize=(8, 7))
    axes = FUNCTIONS["latent_map"](ax=grid[1, 0])
    axes.figure.canvas.draw()
    legend = axes.get_legend().get_window_extent()
    assert axes.get_window_extent().padded(1).contains(legend.x1, legend.y1)
    points = np.concatenate([axes.transData.transform(points.get_offsets()) for points in axes.collections])
    assert points[:, 0].max() < legend.x0


@each_function
def test_light_and_dark_styles_give_the_same_picture(function):
    pictures = {}
    for style in ("default", "dark_background"):
        with matplotlib.style.context(style):
            torch.manual_seed(0)
            alone = pixels(function())
            _, grid = pyplot.subplots(1, 2)
            grid[1].set_visible(False)
            torch.manual_seed(0)
            pictures[style] = alone, pixels(function(ax=grid[0]))
    for light, dark in zip(*pictures.values(), strict=True):
        assert (light[0] == 255).all()  # white paper
        assert np.array_equal(light, dark)
    assert light.min() < 50


def test_the_resolution_is_the_users():
    with matplotlib.rc_context({"figure.dpi": 37}):
        assert FUNCTIONS["training_curve"]().figure.dpi == 37
        assert FUNCTIONS["image_grid"]().figure.dpi == 37


def test_numbers_that_would_not_fit_are_left_out():
    _, grid = pyplot.subplots(3, 3)
    labels = torch.arange(30)
    axes = figures.confusion_matrix(labels, labels, [str(y) for y in range(30)], ax=grid[0, 0])
    assert texts(axes.texts) == []
    assert axes.get_title() == "30 of 30 correct"


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
        (lambda: figures.reliability_diagram(torch.ones(2, 3), LABELS[:2]), "probabilities: expected rows"),
        (lambda: figures.training_curves([]), "history: expected at least one row"),
        (lambda: figures.training_curves([{"epoch": 1}]), "history: expected at least one row"),
        (lambda: figures.training_curve([], "kl"), "history: expected at least one row"),
        (
            lambda: figures.training_curve(HISTORY, "labelled/kl"),
            "term: expected one of loss, kl, entropy, .*; got 'labelled/kl'",
        ),
        (lambda: figures.image_grid(torch.rand(3, *GREY)), r"images: expected \(rows, .*; got \(3, 1, 8, 8\)"),
        (lambda: figures.image_grid(torch.rand(1, 1, 4, 8, 8)), "images: .* 1 to 3 channels; got"),
        (lambda: figures.image_grid(torch.rand(2, 1, *GREY), ["up"]), "rows: expected 2 names, or none; got 1"),
        (lambda: figures.image_grid(torch.rand(2, 1, *GREY), (), NAMES), "columns: expected 1 names, or none; got 3"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
    assert pyplot.get_fignums() == []


def test_an_import_chooses_no_backend():
    code = "import sys, ssvae.inference.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_stereo_pair_is_shown_side_by_side():
    images = torch.rand(2, 3, 2, 8, 8)
    both = figures.image_grid(images).images[0].get_array()
    beside = figures.image_grid(torch.cat([images[:, :, :1], images[:, :, 1:]], dim=-1)).images[0].get_array()
    assert both.shape == (2 * 9 - 1, 3 * 17 - 1)
    assert (both == beside).all()


def test_shares_are_drawn_against_the_strength_of_an_attack():
    axes = figures.rejection_curves([0, 0.1, 0.3], {"accuracy": [1, 0.5, 0.1], "rejected": [0, 0.4, 0.9]}, "FGSM")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 0.5, 0.1], [0, 0.4, 0.9]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["accuracy", "rejected"]
    with pytest.raises(ValueError, match="outcomes: expected 2 shares of 'accuracy'; got 1"):
        figures.rejection_curves([0, 0.1], {"accuracy": [1]})
