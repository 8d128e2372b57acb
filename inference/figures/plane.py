"""Projections to two dimensions: principal components and t-SNE."""

import torch
from torch import Tensor

from ssvae.inference.principal_plane import principal_plane


def principal_components(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Project z on its first two principal components.

    Args:
        z: Latent values (N, latent).

    Returns:
        Points (N, 2), and labels of the two axes with the share of variance. If z has one dimension, the second
        coordinate is 0 and its label empty.
    """
    plane = principal_plane(z)
    if z.shape[-1] == 1:
        return plane.points, ("z, centred", "")
    first, second = (f"component {number} ({plane.shares[number - 1]:.0%} of variance)" for number in (1, 2))
    return plane.points, (first, second)


def by_neighbours(z: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Project z by t-SNE (van der Maaten and Hinton 2008, "Visualizing data using t-SNE").

    Args:
        z: Latent values (N, latent).

    Returns:
        Points (N, 2), and labels of the two axes.
    """
    # Imported here since scikit-learn takes a second to import.
    from sklearn.manifold import TSNE

    # The perplexity, the effective number of neighbours, must be less than the number of points.
    points = TSNE(perplexity=min(30.0, (len(z) - 1) / 3), init="random", random_state=0).fit_transform(z.numpy())
    return torch.from_numpy(points), ("t-SNE 1", "t-SNE 2")
