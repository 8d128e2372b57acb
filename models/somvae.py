"""SOMVAE: an autoencoder whose codes are quantised to the nodes of a self-organising map."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ssvae.models.base import SemiSupervisedModel, check_sizes
from ssvae.models.likelihoods import Likelihood
from ssvae.models.m2 import baseline_of
from ssvae.models.networks import Architecture, EventShape
from ssvae.models.priors import Prior
from ssvae.models.priors.base import check_grid, check_latent_dim
from ssvae.models.stages import Refits


class Codebook(Prior):
    """The uniform distribution over the nodes of a map: p(z) = 1/K Σ_k δ(z - e_k); p(z | y) over the class's nodes.

    It has no density. Only `SOMVAE` can use it.

    Args:
        latent_dim: The dimension of z.
        rows: The number of rows of the map.
        columns: The number of columns of the map.
        num_classes: The number of classes.
    """

    is_class_conditional = True

    node_classes: Tensor
    neighbours: Tensor
    exists: Tensor

    def __init__(self, latent_dim: int, rows: int, columns: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.rows = rows
        self.columns = columns
        self.num_classes = num_classes
        # As close together as the codes of an untrained encoder, so that every node is the nearest of some images.
        self.embeddings = nn.Parameter(0.05 * torch.randn(rows * columns, latent_dim))
        # p(y | k), estimated by `refit` from the labelled images
        self.register_buffer("node_classes", torch.full((rows * columns, num_classes), 1 / num_classes))
        neighbours, exists = _neighbourhoods(rows, columns)
        self.register_buffer("neighbours", neighbours, persistent=False)  # (nodes, 5)
        self.register_buffer("exists", exists, persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Return the uniform distribution over all nodes, or over those of class y; see ``Prior.forward``."""
        weights = torch.ones_like(self.node_classes[:, 0]) if y is None else self.class_nodes().T[y].to(self.embeddings)
        nodes = self.embeddings.expand(*weights.shape[:-1], *self.embeddings.shape)  # (..., nodes, latent)
        return dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Delta(nodes, event_dim=1))

    def nodes(self, y: Tensor) -> Tensor:
        """Return the nodes, the same for all classes, as a grid; see ``Prior.nodes``."""
        return self.embeddings.unflatten(0, (self.rows, self.columns)).expand(
            *y.shape, self.rows, self.columns, self.latent_dim
        )

    def nearest(self, z: Tensor) -> Tensor:
        """Return the index of the node nearest to z (..., latent), integers (...)."""
        # Not by |z|² - 2 z·e + |e|², whose rounding error could assign a node to another node.
        return torch.cdist(z, self.embeddings, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)

    def class_nodes(self) -> Tensor:
        """Return whether each node belongs to each class, (nodes, classes): a node belongs to its most probable class.

        A class that is the most probable at no node gets the nodes where its probability is largest.
        """
        is_first = self.node_classes == self.node_classes.amax(-1, keepdim=True)
        is_best = self.node_classes == self.node_classes.amax(0)
        return is_first | (is_best & ~is_first.any(0))

    def refit(self, best_matching_units: Tensor, y: Tensor) -> None:
        """Estimate p(y | k) from the labelled images whose best-matching unit is k.

        With n_k images at node k, n_ky of them of class y, and C classes::

            p(y | k) = (n_ky + 1/C) / (n_k + 1)

        A node without labelled images takes the counts of the nearest nodes on the grid that have some, summed if
        several are equally near.

        Args:
            best_matching_units: The node of each labelled image, integers (labelled,).
            y: Their classes (labelled,).
        """
        counts = torch.zeros_like(self.node_classes)
        counts.index_put_((best_matching_units, y), counts.new_ones(len(y)), accumulate=True)
        steps = _steps(self.rows, self.columns).to(counts)  # (nodes, nodes)
        steps = steps.masked_fill(counts.sum(-1) == 0, torch.inf)
        is_nearest = steps == steps.amin(-1, keepdim=True)
        counts = is_nearest.to(counts) @ counts
        smoothed = counts + 1 / self.num_classes
        self.node_classes.copy_(smoothed / smoothed.sum(-1, keepdim=True))


class SOMVAE(Refits, SemiSupervisedModel):
    """The SOM-VAE of Fortuin et al. 2019, arXiv 1806.02199, for single images, without the paper's model of time.

    The nodes e_k of a codebook form a grid, a self-organising map (Kohonen 1990). The generative story::

        k ~ 1 / K           a node of the map, and z = e_k
        x ~ p(x | z)        the image

    The guide is deterministic, and so takes no `~ssvae.models.posteriors.Posterior`. p(x | z) decodes the node nearest
    to z::

        z = z_e(x)          the encoder's code
        z_q = e_k           k = argmin_k |z_e - e_k|², the best-matching unit

    The loss decodes both z_q and z_e, because the gradient of the first does not reach the encoder::

        reconstruction    -log p(x | z_q)                                decoder and e_k: the "ELBO"
        second path       -log p(x | z_e)                                decoder and encoder
        commitment        α |z_e - z_q|²                                 encoder and e_k
        map               β mean_{e in {z_q} and its neighbours} |e - z_e|²    nodes alone, z_e held fixed

    The neighbours of a node are the up to four nodes beside, above and below it. By the last term, Kohonen's rule,
    neighbours on the grid become neighbours in latent space. Reconstructions are in nats here. The paper's are squared
    errors averaged over pixels; its β of 0.9 would be too small here for the map to unfold.

    The loss does not use labels. After training, ``refit`` estimates the class probabilities of each node from the
    labelled images whose best-matching unit it is. An image gets the class probabilities of its best-matching unit. The
    supervised baseline is the classifier of an `M2` with the same networks.

    Example:
        >>> import torch
        >>> from ssvae.models import SOMVAE
        >>> som = SOMVAE(event_shape=(1, 28, 28), num_classes=10, rows=4, columns=6)
        >>> som.prior.nodes(torch.tensor(0)).shape
        torch.Size([4, 6, 64])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        latent_dim: The dimension of z.
        rows: The number of rows of the map.
        columns: The number of columns of the map.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
        networks: The architecture of encoder and decoder. Default: an MLP of 500 softplus units.
        commitment: α, the weight of the commitment term.
        neighbourhood: β, the weight of the map term.

    Raises:
        ValueError: If a size is not positive, or a weight is negative.
    """

    has_label_site = False
    sums_over_class = False
    learns_classifier = False
    discovers_classes = False
    bounds_evidence = False

    prior: Codebook

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        latent_dim: int = 64,
        rows: int = 8,
        columns: int = 8,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        commitment: float = 1.0,
        neighbourhood: float = 30.0,
    ) -> None:
        check_sizes(event_shape, num_classes)
        check_latent_dim(latent_dim)
        check_grid(rows, columns)
        for name, weight in (("commitment", commitment), ("neighbourhood", neighbourhood)):
            if weight < 0:
                raise ValueError(f"{name}: expected a number of at least 0; got {weight}.")
        codebook = Codebook(latent_dim, rows, columns, num_classes)
        super().__init__(event_shape, num_classes, prior=codebook, likelihood=likelihood, networks=networks)
        self.latent_dim = latent_dim
        self.rows = rows
        self.columns = columns
        self.commitment = commitment
        self.neighbourhood = neighbourhood

        self.encoder = self._encoder(self.networks, latent_dim)
        self.decoder = self.networks.decoder(latent_dim, self.decoder_shape)

    def _story(self) -> list[tuple[str, str]]:
        """The densities; see `SemiSupervisedModel._story`."""
        return [
            ("p(z)", f"one of {self.rows} × {self.columns} nodes, {self.latent_dim} dimensions"),
            ("p(x | z)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("z_e(x)", f"the nearest node's classes are q(y | x); encoder {self.networks}"),
        ]

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(z) p(x | z); the first is masked. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            with poutine.mask(mask=False):
                # p(z); the distribution is masked too, because it has no density
                z = pyro.sample("z", self.prior().mask(False))  # (batch, latent)
            # p(x | z)
            pyro.sample("x", self._decode_nearest(z), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """z_e(x), deterministic; see `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)), poutine.mask(mask=False):
            pyro.sample("z", dist.Delta(self.encoder(x), event_dim=1))

    def penalties(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The second path, the commitment and the map term; see `SemiSupervisedModel.penalties`."""
        z_e = self.encoder(x)  # (batch, latent)
        best_matching_units = self.prior.nearest(z_e)
        z_q = self.prior.embeddings[best_matching_units]
        # -log p(x | z_e)
        second_path = -self.likelihood(self.decoder(z_e)).log_prob(x)
        around = self.prior.embeddings[self.prior.neighbours[best_matching_units]]  # (batch, 5, latent)
        distances = (around - z_e.detach().unsqueeze(-2)).square().sum(-1)
        exists = self.prior.exists[best_matching_units]
        map_loss = (distances * exists).sum(-1) / exists.sum(-1)
        return {
            "second_path": second_path.mean(),
            "commitment": self.commitment * (z_e - z_q).square().sum(-1).mean(),
            "map": self.neighbourhood * map_loss.mean(),
        }

    @property
    def num_refit_images(self) -> int:
        """0: only labelled images are used. See ``Refits.num_refit_images``."""
        return 0

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Estimate p(y | k) from the labelled images of each best-matching unit k; see ``Refits.refit``."""
        self.prior.refit(self.prior.nearest(self.encoder(x)), y)

    def baseline(self) -> SemiSupervisedModel:
        """Return an `M2` with the same networks, trained as a classifier; see `SemiSupervisedModel.baseline`."""
        return baseline_of(self)

    def classify(self, x: Tensor) -> dist.Categorical:
        """p(y | k) of the best-matching unit k; see `SemiSupervisedModel.classify`."""
        return dist.Categorical(probs=self.prior.node_classes[self.prior.nearest(self.encoder(x))])

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """A point mass at the code z_e(x), the same for all classes; see `SemiSupervisedModel.q_z`."""
        return dist.Delta(self.encoder(x), event_dim=1)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | z) of the node nearest to z, the same for all classes; see `SemiSupervisedModel.p_x`."""
        return self._decode_nearest(z)

    def _decode_nearest(self, z: Tensor) -> TorchDistribution:
        return self.likelihood(self.decoder(self.prior.embeddings[self.prior.nearest(z)]))

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x | z) at the nearest node of each class; see `SemiSupervisedModel.analogies`."""
        distances = torch.cdist(self.encode(x, y), self.prior.embeddings)  # (batch, nodes)
        belongs = self.prior.class_nodes().T.unsqueeze(1)  # (classes, 1, nodes)
        nearest = distances.masked_fill(~belongs, torch.inf).argmin(-1)  # (classes, batch)
        return self.likelihood(self.decoder(self.prior.embeddings[nearest])).mean


def _places(rows: int, columns: int) -> Tensor:
    """Return row and column of each node, (nodes, 2)."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2)


def _steps(rows: int, columns: int) -> Tensor:
    """Return the distance on the grid, in steps to a neighbour, between each two nodes, (nodes, nodes)."""
    places = _places(rows, columns)
    return (places.unsqueeze(1) - places).abs().sum(-1)


def _neighbourhoods(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the indices of each node and its four neighbours, and whether these exist: both (nodes, 5)."""
    steps = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
    places = _places(rows, columns).unsqueeze(1) + steps  # (nodes, 5, 2)
    size = torch.tensor([rows, columns])
    exists = ((places >= 0) & (places < size)).all(-1)
    numbers = places[..., 0] * columns + places[..., 1]
    return numbers.where(exists, 0), exists.to(torch.get_default_dtype())
