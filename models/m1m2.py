"""M1+M2: M2 on the features of M1, as one generative model."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ssvae.models.base import SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood, bounded
from ssvae.models.m2 import M2, baseline_of
from ssvae.models.networks import MLP, Architecture, EventShape
from ssvae.models.normal import LogScaleNormal, UnitNormal, diagonal_normal
from ssvae.models.posteriors import AmortizedPosterior, Posterior
from ssvae.models.priors import ClassPrior, Prior, StandardNormal
from ssvae.models.stages import Refits, Staged

_UNUSED = 0.1
_M1, _M2, _BOTH = 1, 2, 3
_PARTS_OF_M1 = ("z1_encoder", "decoder", "likelihood")


class M1M2(Staged, Refits, SemiSupervisedModel):
    """The stacked model M1+M2 of Kingma et al. 2014, arXiv 1406.5298.

    The generative story::

        y ~ p(y)                the class: observed, or summed over
        z2 ~ p(z2)              the style; or p(z2 | y)
        z1 ~ p(z1 | y, z2)      the features, = N(μ(y, z2), diag σ²(y, z2))
        x ~ p(x | z1)           the image

    The guide::

        z1 ~ q(z1 | x)          = N(μ(x), diag σ²(x))
        y ~ q(y | z1)           the classifier
        z2 ~ q(z2 | z1, y)      = N(μ(z1, y), diag σ²(z1, y))

    Training has three stages, which ``advance`` enters:

    1. M1 alone: z1 ~ N(0, I), x ~ p(x | z1), with the guide q(z1 | x). There is no class.
    2. M2 on z1: the whole model, with p(x | z1) and q(z1 | x) held fixed. Every batch draws z1 anew.
    3. The whole model, end to end. The paper does not have this stage, and by default it is left out.

    M1 uses few of its features: the mean of q(z1_j | x) of an unused feature hardly varies over the images that
    ``refit`` received (standard deviation at most 0.1). From the second stage on, unused features have
    p(z1_j | y, z2) = N(0, 1), and are no inputs of q(y | z1) and q(z2 | z1, y). In training mode ``classify`` draws z1,
    in evaluation mode it takes the mean.

    Example:
        >>> import torch
        >>> from ssvae.models import M1M2, priors
        >>> m1m2 = M1M2((1, 28, 28), 10, prior=priors.StandardNormal(20), m1_until=0.4)
        >>> m1m2.advance(0.7)
        >>> m1m2.eval().classify(torch.rand(4, 1, 28, 28)).probs.shape
        torch.Size([4, 10])

    Args:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z2) or p(z2 | y). Default: N(0, I) in 50 dimensions. A VampPrior mixes q(z2 | z1, y) at the mean z1 of
            q(z1 | u), which is not the aggregate posterior.
        posterior: The family of q(z2 | z1, y). Default: DiagonalNormal. q(z1 | x) and p(z1 | y, z2) are always diagonal
            Gaussians.
        likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors. The
            paper's Bernoulli is for binarised images.
        networks: The architecture of q(z1 | x) and p(x | z1). Default: the paper's MLP, two layers of 600 softplus
            units.
        inner_networks: The architecture of q(z2 | z1, y) and p(z1 | y, z2). Default: the paper's MLP, one layer of 500
            softplus units.
        classifier: The architecture of q(y | z1). Default: ``inner_networks``.
        class_prior: p(y). Default: uniform.
        z1_dim: The dimension of z1.
        m1_until: The share of training after which M1 is held fixed and M2 begins.
        m2_until: The share of training after which the whole model is trained end to end; 1 for never.

    Raises:
        ValueError: If a size is not positive, the class prior is for another number of classes, or the shares are not 0
            <= m1_until <= m2_until <= 1.
    """

    stage: Tensor
    used: Tensor

    def __init__(
        self,
        event_shape: EventShape,
        num_classes: int,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        inner_networks: Architecture | None = None,
        classifier: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        z1_dim: int = 50,
        m1_until: float = 0.5,
        m2_until: float = 1.0,
    ) -> None:
        if z1_dim < 1:
            raise ValueError(f"z1_dim: expected a positive integer; got {z1_dim}.")
        if not 0 <= m1_until <= m2_until <= 1:
            raise ValueError(f"m1_until: expected 0 <= m1_until <= m2_until <= 1; got {m1_until} and {m2_until}.")
        super().__init__(
            event_shape,
            num_classes,
            prior=prior if prior is not None else StandardNormal(),
            posterior=posterior,
            likelihood=likelihood,
            networks=networks if networks is not None else MLP(hidden=(600, 600)),
            class_prior=class_prior if class_prior is not None else ClassPrior(num_classes),
        )
        self.inner_networks = inner_networks if inner_networks is not None else MLP()
        self.classifier = classifier if classifier is not None else self.inner_networks
        self.z1_dim = z1_dim
        self.m1_until = m1_until
        self.m2_until = m2_until

        latent_dim = self.prior.latent_dim
        self.z1_encoder = self._encoder(self.networks, 2 * z1_dim)
        self.decoder = self.networks.decoder(z1_dim, self.decoder_shape)
        self.y_encoder = self.classifier.dense(z1_dim, num_classes)
        num_parameters = self.posterior.num_parameters(latent_dim)
        self.z2_encoder = self.inner_networks.dense(z1_dim, num_parameters, num_classes)
        self.z1_decoder = self.inner_networks.dense(latent_dim, 2 * z1_dim, num_classes)
        self.prior.attach(num_classes, event_shape, AmortizedPosterior(self.encode_z, self.posterior))
        self.register_buffer("stage", torch.tensor(_M1))
        self.register_buffer("used", torch.ones(z1_dim, dtype=torch.bool))
        self._fixed = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        self._enter(_M1)
        self.register_load_state_dict_post_hook(_enter_saved_stage)  # type: ignore[no-untyped-call]

    def _story(self) -> list[tuple[str, str]]:
        """The seven densities; see `SemiSupervisedModel._story`."""
        return [
            ("p(y)", repr(self.class_prior)),
            (self.prior.density.replace("z", "z2"), repr(self.prior)),
            ("p(z1 | y, z2)", f"Normal, {self.z1_dim} dimensions; z1_decoder {self.inner_networks}"),
            ("p(x | z1)", f"{self.likelihood}, shape {tuple(self.event_shape)}; decoder {self.networks}"),
            ("q(z1 | x)", f"Normal, {self.z1_dim} dimensions; z1_encoder {self.networks}"),
            ("q(y | z1)", f"Categorical, {self.num_classes} classes; y_encoder {self.classifier}"),
            (
                "q(z2 | z1, y)",
                f"{self.posterior}, {self.prior.latent_dim} dimensions; z2_encoder {self.inner_networks}",
            ),
        ]

    def advance(self, progress: float) -> None:
        """Enter the stage that belongs to the progress of training; see ``Staged.advance``."""
        self._enter(_BOTH if progress >= self.m2_until else _M2 if progress >= self.m1_until else _M1)
        for name in _PARTS_OF_M1:
            # Parts that are held fixed stay in evaluation mode: no dropout, and batch norm by its running statistics.
            getattr(self, name).train(self.training and self.current_stage != _M2)

    @property
    def last_stage_from(self) -> float:
        """The start of end-to-end training, or of M2 if there is none; see ``Staged.last_stage_from``."""
        return self.m2_until if self.m2_until < 1 else self.m1_until

    def _enter(self, stage: int) -> None:
        self.current_stage = stage  # an integer beside the buffer: training reads it in each step, without a GPU wait
        self.stage.fill_(stage)
        self.has_label_site = self.sums_over_class = self.learns_classifier = stage != _M1
        for name, parameter in self.named_parameters():
            fixed_stage = _M2 if name.partition(".")[0] in _PARTS_OF_M1 else _M1
            parameter.requires_grad_(stage != fixed_stage and name not in self._fixed)

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """p(y) p(z2) p(z1 | y, z2) p(x | z1); p(z1) p(x | z1) in stage 1. See `SemiSupervisedModel.model`."""
        with pyro.plate("images", len(x)):
            if self.has_label_site:
                # p(y)
                y = pyro.sample("y", self.class_prior(), obs=y)
                # p(z2 | y)
                z2 = pyro.sample("z2", self.prior(y))
                # p(z1 | y, z2)
                z1 = pyro.sample("z1", self.p_z1(z2, y))
            else:
                # p(z1)
                z1 = pyro.sample("z1", dist.Independent(UnitNormal(x.new_zeros(self.z1_dim)), 1))
            # p(x | z1)
            pyro.sample("x", self._p_x(z1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """q(z1 | x) q(y | z1) q(z2 | z1, y); q(z1 | x) in stage 1. See `SemiSupervisedModel.guide`."""
        with pyro.plate("images", len(x)):
            # q(z1 | x)
            z1 = pyro.sample("z1", self.q_z1(x))  # (batch, z1_dim)
            if self.has_label_site:
                if y is None:
                    # q(y | z1)
                    y = pyro.sample("y", self.q_y(z1), infer={"enumerate": "parallel"})  # (classes, 1)
                # q(z2 | z1, y)
                pyro.sample("z2", self.q_z2(z1, y))  # (classes, batch, latent) if y is enumerated

    def q_z1(self, x: Tensor) -> TorchDistribution:
        """Return q(z1 | x), event_shape (z1_dim,), for x ``(batch, *event_shape)``."""
        return diagonal_normal(self.z1_encoder(x))

    def p_z1(self, z2: Tensor, y: Tensor) -> TorchDistribution:
        """Return p(z1 | y, z2), event_shape (z1_dim,), in which unused features are N(0, 1)."""
        loc, log_scale = self.z1_decoder(z2, y).chunk(2, dim=-1)
        return dist.Independent(LogScaleNormal(self.used * loc, self.used * bounded(log_scale)), 1)

    def q_y(self, z1: Tensor) -> dist.Categorical:
        """Return q(y | z1) for features (..., batch, z1_dim)."""
        return dist.Categorical(logits=self.y_encoder(self.used * z1))

    def q_z2(self, z1: Tensor, y: Tensor) -> TorchDistribution:
        """Return q(z2 | z1, y), event_shape (latent_dim,), for features and classes that broadcast with them."""
        return self.posterior(self.z2_encoder(self.used * z1, y))

    def _p_x(self, z1: Tensor) -> TorchDistribution:
        return self.likelihood(self.decoder(z1))

    def classify(self, x: Tensor) -> dist.Categorical:
        """q(y | z1) at the mean z1, or at a drawn z1 in training mode; see `SemiSupervisedModel.classify`."""
        q_z1 = self.q_z1(x)
        return self.q_y(q_z1.rsample() if self.training else q_z1.mean)

    def encode_z(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the parameters of q(z2 | z1, y) at the mean z1 of q(z1 | x)."""
        parameters: Tensor = self.z2_encoder(self.used * self.q_z1(x).mean, y)
        return parameters

    def q_z(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z2 | z1, y) at the mean z1; see `SemiSupervisedModel.q_z`."""
        return self.q_z2(self.q_z1(x).mean, y)

    def p_x(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | z1) at the mean of p(z1 | y, z2 = z); see `SemiSupervisedModel.p_x`."""
        return self._p_x(self.p_z1(z, y).mean)

    @property
    def num_refit_images(self) -> int:
        """The number of images over which the features' standard deviations are computed; see ``Refits``."""
        return 2000

    def refit(self, x: Tensor, y: Tensor, unlabelled: Tensor) -> None:
        """Find the features that M1 uses, before end-to-end training; see ``Refits.refit``."""
        if self.current_stage != _BOTH:
            means = self.q_z1(torch.cat([x, unlabelled])).mean
            used = means.std(0, correction=0) > _UNUSED
            # If M1 uses no feature, it is hardly trained yet: keep all.
            self.used.copy_(used | ~used.any())

    def baseline(self) -> M2:
        """Return an `M2` with the same networks, whose classifier takes the image itself."""
        return baseline_of(self)


def _enter_saved_stage(model: M1M2, keys: object) -> None:
    """Enter the stage that was loaded, which sets the parameters that are trained."""
    model._enter(int(model.stage))
