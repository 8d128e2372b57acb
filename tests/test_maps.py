"""Maps are measured as by hand."""

import math

import pytest
import torch

from ssvae.inference.evaluation import maps
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import GenerativeTopographicMapping, StandardNormal

IMAGE, CLASSES, LATENT = (1, 8, 8), 3, 2


def _m2(prior):
    return M2(IMAGE, CLASSES, prior=prior, networks=MLP((7,)))


@pytest.mark.parametrize("per_class", [False, True])
def test_an_image_hits_the_node_nearest_to_its_code(per_class):
    model = _m2(GenerativeTopographicMapping(LATENT, 3, 4, per_class=per_class))
    x = torch.rand(503, *IMAGE)  # more than are encoded at once
    found = maps.best_matching_units(model, x)
    y = model.classify(x).logits.argmax(-1)
    nodes = model.prior.nodes(torch.arange(CLASSES))
    for image, z, of_class, best, second in zip(x, model.encode(x), y, *found, strict=True):
        distances = {
            (row, column): (nodes[of_class, row, column] - z).norm().item() for row in range(3) for column in range(4)
        }
        assert sorted(distances, key=distances.get)[:2] == [tuple(best.tolist()), tuple(second.tolist())], image


def test_a_map_of_one_node_is_hit_by_all():
    found = maps.best_matching_units(_m2(GenerativeTopographicMapping(LATENT, 1, 1)), torch.rand(4, *IMAGE))
    assert found.best.tolist() == found.second.tolist() == [[0, 0]] * 4
    assert maps.topographic_error(found) == 0


def test_a_prior_that_is_no_map_is_refused():
    with pytest.raises(ValueError, match=r"^model: expected one whose prior is a map; got one with StandardNormal"):
        maps.best_matching_units(_m2(StandardNormal(LATENT)), torch.rand(4, *IMAGE))


def test_the_topographic_error_counts_images_between_nodes_that_are_no_neighbours():
    best = torch.tensor([[0, 0], [0, 0], [1, 1], [2, 3], [0, 0]])
    second = torch.tensor([[0, 1], [0, 2], [2, 2], [0, 3], [0, 0]])  # beside, two away, diagonal, two away, the same
    assert maps.topographic_error(maps.BestMatchingUnits(best, second)) == pytest.approx(2 / 5)


PLACES = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1], [0, 1], [2, 1], [2, 1], [2, 1]])


def test_purity_is_the_share_of_the_most_frequent_classes():
    labels = torch.tensor([0, 0, 2, 1, 0, 2, 2, 2])
    assert maps.purity(PLACES, labels) == pytest.approx((2 + 1 + 3) / 8)


def test_mutual_information_is_normalised_by_the_mean_entropy():
    places = torch.tensor([[0, 0], [0, 0], [3, 1], [3, 1]])
    assert maps.normalised_mutual_information(places, torch.tensor([1, 1, 0, 0])) == pytest.approx(1)
    assert maps.normalised_mutual_information(places, torch.tensor([1, 0, 1, 0])) == pytest.approx(0, abs=1e-12)
    # Classes 0 0 | 0 1: H(node) = log 2, H(class) = h(1/4), I = h(1/4) - ½ log 2
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    expected = (entropy - 0.5 * math.log(2)) / (0.5 * (entropy + math.log(2)))
    assert maps.normalised_mutual_information(places, torch.tensor([0, 0, 0, 1])) == pytest.approx(expected)
