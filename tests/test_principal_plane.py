"""The plane of two principal components, against scikit-learn and by hand."""

import torch
from sklearn.decomposition import PCA

from ssvae.inference.principal_plane import principal_plane


def test_it_is_scikit_learns_but_for_signs():
    z = torch.randn(40, 5) @ torch.diag(torch.tensor([3.0, 0.5, 2.0, 0.1, 1.0])) + 4
    plane, pca = principal_plane(z), PCA(2).fit(z.numpy())
    torch.testing.assert_close(plane.centre.numpy(), pca.mean_)
    torch.testing.assert_close(plane.shares.numpy(), pca.explained_variance_ratio_)
    torch.testing.assert_close(plane.directions.abs().numpy(), abs(pca.components_))
    signs = (plane.directions * torch.from_numpy(pca.components_)).sum(-1).sign()
    torch.testing.assert_close(plane.points * signs, torch.from_numpy(pca.transform(z.numpy())))


def test_a_rectangle_lies_along_its_long_side():
    z = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]]) + 2
    plane = principal_plane(z)
    torch.testing.assert_close(plane.shares, torch.tensor([0.9, 0.1]))  # 9 to 1
    torch.testing.assert_close(plane.directions.abs(), torch.eye(2))
    torch.testing.assert_close(plane.codes(plane.points), z)


def test_one_dimension_keeps_its_sign_and_has_no_second_direction():
    plane = principal_plane(torch.tensor([[1.0], [2.0], [6.0]]))
    assert plane.points.tolist() == [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]]
    assert plane.directions.tolist() == [[1.0], [0.0]]
    assert plane.shares.tolist() == [1.0, 0.0]
    assert plane.codes(torch.tensor([0.5, 7.0])).tolist() == [3.5]


def test_two_points_of_many_dimensions_have_one_direction():
    plane = principal_plane(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]))
    torch.testing.assert_close(plane.shares, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(plane.points.abs(), torch.tensor([[2.5, 0.0], [2.5, 0.0]]))


def test_points_that_are_all_the_same_have_no_variance_to_share():
    plane = principal_plane(torch.ones(4, 3))
    assert plane.shares.tolist() == [0.0, 0.0]
    assert plane.points.tolist() == [[0.0, 0.0]] * 4
