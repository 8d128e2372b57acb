"""The plane of the first two principal components of points."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class PrincipalPlane:
    """The plane through points z along their two directions of largest variance.

    Attributes:
        centre: Mean of the points, (dimensions,).
        directions: The directions d₁ and d₂, orthonormal, (2, dimensions). In one dimension d₂ is zero.
        points: The coordinates (u, v) of each point's projection on the plane, (N, 2).
        shares: The share of the variance along each direction, (2,).
    """

    centre: Tensor
    directions: Tensor
    points: Tensor
    shares: Tensor

    def codes(self, points: Tensor) -> Tensor:
        """Return z = centre + u d₁ + v d₂, (..., dimensions), for coordinates (u, v), (..., 2)."""
        return self.centre + points.to(self.centre) @ self.directions


def principal_plane(z: Tensor) -> PrincipalPlane:
    """Return the principal plane of points z, (N, dimensions), with N at least 2."""
    centre = z.mean(0)
    # torch.pca_lowrank is random, and scikit-learn takes a second to import.
    _, singular, right = torch.linalg.svd(z - centre, full_matrices=False)
    shares = singular.square() / singular.square().sum().clamp(min=torch.finfo(z.dtype).tiny)
    # In one dimension the sign is fixed, so that u increases with z.
    directions = torch.ones_like(right) if z.shape[-1] == 1 else right[:2]
    missing = 2 - len(directions)
    directions, shares = pad(directions, (0, 0, 0, missing)), pad(shares[:2], (0, missing))
    return PrincipalPlane(centre, directions, (z - centre) @ directions.T, shares)
