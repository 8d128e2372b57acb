"""Quality of maps: whether nodes of a grid in latent space preserve neighbourhoods and separate classes."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssvae.inference.predict import device_of, evaluating
from ssvae.models import SemiSupervisedModel

_ENCODED_AT_ONCE = 500


class BestMatchingUnits(NamedTuple):
    """The nearest and second nearest map nodes of each image.

    Attributes:
        best: Row and column of the nearest node, integers (images, 2).
        second: Row and column of the second nearest node; of the nearest, if the map has a single node.
    """

    best: Tensor
    second: Tensor


def best_matching_units(model: SemiSupervisedModel, x: Tensor) -> BestMatchingUnits:
    """Find the nodes nearest to the latent means of images.

    If each class has a map of its own, that of the most probable class is used.

    Args:
        model: A model whose prior is a map; see `ssvae.models.priors.base.Prior.nodes`.
        x: Images (images, channels, height, width), pixels in [0, 1].

    Returns:
        Row and column of the two nearest nodes of each image.

    Raises:
        ValueError: If the prior is not a map.
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
    best, second = torch.cat(places).unbind(1)  # (images, 2) each
    return BestMatchingUnits(best, second)


def topographic_error(units: BestMatchingUnits) -> float:
    """Return the fraction of images whose two nearest nodes are not neighbours on the grid.

    Each node has eight neighbours, including the diagonal ones.

    Source: Kiviluoto 1996, "Topology preservation in self-organizing maps".

    Args:
        units: The two nearest nodes of each image.

    Returns:
        A fraction in [0, 1]; 0 is best.
    """
    apart = (units.best - units.second).abs().amax(-1) > 1
    return apart.double().mean().item()


def purity(nodes: Tensor, labels: Tensor) -> float:
    """Return the fraction of images that belong to the most frequent class of their node.

    Args:
        nodes: Row and column of each image's node, integers (images, 2).
        labels: True classes, integers (images,).

    Returns:
        A fraction in [0, 1]; 1 if no node mixes classes.

    Example:
        >>> import torch
        >>> from ssvae.inference.evaluation.maps import purity
        >>> purity(torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1]]), torch.tensor([3, 3, 5, 5]))
        0.75
    """
    _, node_of_image = nodes.unique(dim=0, return_inverse=True)
    num_majority = sum(int(labels[node_of_image == node].bincount().max()) for node in node_of_image.unique())
    return num_majority / len(labels)


def normalised_mutual_information(nodes: Tensor, labels: Tensor) -> float:
    """Return the normalised mutual information of nodes and classes.

    It is defined as::

        NMI = I(node; class) / (½ H(node) + ½ H(class))

    Args:
        nodes: Row and column of each image's node, integers (images, 2).
        labels: True classes, integers (images,).

    Returns:
        A number in [0, 1]; 0 for independence, 1 for a one-to-one relation.
    """
    # Imported here since scikit-learn takes a second to import.
    from sklearn.metrics import normalized_mutual_info_score

    _, node_of_image = nodes.unique(dim=0, return_inverse=True)
    return float(normalized_mutual_info_score(labels.numpy(), node_of_image.numpy()))
