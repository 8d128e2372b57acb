"""Maps: how well the nodes of a grid in latent space keep neighbours together and classes apart."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssvae.inference.predict import device_of, evaluating
from ssvae.models import SemiSupervisedModel

_ENCODED_AT_ONCE = 500


class BestMatchingUnits(NamedTuple):
    """Which nodes of a map images are nearest to.

    Attributes:
        best: The nearest node's row and column, (images, 2).
        second: Those of the second nearest; of the nearest again on a map of one node.
    """

    best: Tensor
    second: Tensor


def best_matching_units(model: SemiSupervisedModel, x: Tensor) -> BestMatchingUnits:
    """Look up the nodes nearest to the codes of images, of the map of the most probable class where each has its own.

    Args:
        model: A model whose prior is a map; see `ssvae.models.priors.Prior.nodes`.
        x: Images (images, channels, height, width), pixels in [0, 1].

    Raises:
        ValueError: If the prior is no map.
    """
    places = []
    with evaluating(model):
        for chunk in torch.split(x, _ENCODED_AT_ONCE):
            chunk = chunk.to(device_of(model))
            nodes = model.prior.nodes(model.classify(chunk).logits.argmax(-1))  # (batch, rows, columns, latent)
            if nodes is None:
                raise ValueError(f"model: expected one whose prior is a map; got one with {model.prior!r}.")
            columns, nodes = nodes.shape[-2], nodes.flatten(1, 2)  # (batch, nodes, latent)
            distances = (nodes - model.encode(chunk).unsqueeze(1)).square().sum(-1)
            nearest = distances.sort(stable=True).indices[:, [0, min(1, nodes.shape[1] - 1)]].cpu()  # (batch, 2)
            places.append(torch.stack([nearest // columns, nearest % columns], dim=-1))
    found = torch.cat(places)  # (images, 2, 2)
    return BestMatchingUnits(found[:, 0], found[:, 1])


def topographic_error(units: BestMatchingUnits) -> float:
    """Return the share of images whose two nearest nodes are no neighbours on the grid: Kiviluoto 1996.

    Neighbours are the eight around a node, the diagonal ones too.
    """
    apart = (units.best - units.second).abs().amax(-1) > 1
    return apart.double().mean().item()


def purity(nodes: Tensor, labels: Tensor) -> float:
    """Return the share of images that are of the most frequent class at their node.

    Args:
        nodes: Row and column of each image's node, (images, 2).
        labels: Their true classes, (images,).
    """
    _, node = nodes.unique(dim=0, return_inverse=True)
    of_most = sum(int(labels[node == one].bincount().max()) for one in node.unique())
    return of_most / len(labels)


def normalised_mutual_information(nodes: Tensor, labels: Tensor) -> float:
    """Return I(node; class) / (½ H(node) + ½ H(class)), in [0, 1]; arguments as of `purity`."""
    # Imported here since scikit-learn takes a second to import.
    from sklearn.metrics import normalized_mutual_info_score

    _, node = nodes.unique(dim=0, return_inverse=True)
    return float(normalized_mutual_info_score(labels.numpy(), node.numpy()))
