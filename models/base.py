"""What a model is, and how to write one."""

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.runtime import effectful
from torch import Tensor, nn

from ssvae.models.likelihoods import ContinuousBernoulli, Likelihood
from ssvae.models.networks import MLP, Architecture, ImageShape
from ssvae.models.posteriors import DiagonalNormal, Posterior
from ssvae.models.priors import ClassPrior, Prior

_PROGRAMS = ("model", "guide")
_ANSWERS = ("classify", "encode", "reconstruct", "analogies")


class SemiSupervisedModel(nn.Module, ABC):
    """A story of images x, classes y and latent variables z, as two Pyro programs and what is asked of them.

    To write a model:

    1. Inherit from `SemiSupervisedModel` in a file of its own. Give ``super().__init__`` the parts that it takes,
       and store every other constructor argument under its own name: run folders describe a model by them.
    2. Write `model(x, y=None)` and `guide(x, y=None)`, with the density above each line. Before they run, the batch is
       checked and the parameters are shown to Pyro. Images stand in ``pyro.plate("images", len(x))``; the site of the
       class is called "y", is observed where y is given, and is marked ``infer={"enumerate": "parallel"}`` in the guide
       where it is not; the site of the image is called "x". Broadcast: y is (batch,), or (classes, 1) under
       enumeration, or has more dimensions to the left when several samples are drawn at once. Look at no value, as
       ``.item()`` and ``if`` do: a GPU has to wait for it, and a step that is captured sees it once.
    3. Write `classify`, `q_z` and `p_x`; `encode`, `reconstruct` and `sample` follow from them. With other latent
       variables beside the prior's, write `_style` and `_draw` too. Say in `story` what the densities are, for `repr`.
    4. Say what kind of model it is, where it is of another kind than M2: the four attributes that are true below.
       What belongs to the loss beside the bound, `penalties` adds. `ssvae.models.stages` has what a model adds that is
       trained in stages, or that learns from all training images what gradients do not.
    5. Let `ssvae.inference.contracts.check_model` say whether it keeps the contract, also in a notebook. To keep it,
    add
       it to `models/__init__.py` and to the list in `tests/test_models.py`. Training, evaluation, figures and the
       command line need no edit: if they do, the interface is wrong.

    A model knows nothing of devices, learning rates, batch sizes or estimators.

    Attributes:
        image_shape: Channels, height and width of x.
        num_classes: How many classes y may take.
        prior: p(z) or p(z | y).
        posterior: The family of q(z | ·), given the encoder's output.
        likelihood: p(x | ·), given the decoder's output.
        has_label_site: Whether the programs have a use for a given y, so that there is an L(x, y) and a p(x, y).
            Otherwise labelled images are to the bound as unlabelled ones, and only -log q(y|x) sees their class.
        sums_over_class: Whether y is summed over where it is not given.
        learns_classifier: Whether q(y | x) has parameters that -log q(y|x) trains.
        bounds_evidence: Whether the guide has a density, so that the ELBO is a bound of log p(x).
    """

    image_shape: ImageShape
    num_classes: int
    prior: Prior
    posterior: Posterior
    likelihood: Likelihood
    networks: Architecture
    class_prior: ClassPrior
    has_label_site: bool = True
    sums_over_class: bool = True
    learns_classifier: bool = True
    bounds_evidence: bool = True

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        prior: Prior,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        class_prior: ClassPrior | None = None,
    ) -> None:
        """Check the sizes and keep the parts that models have in common, under their names.

        Args:
            image_shape: Channels, height and width of x.
            num_classes: How many classes.
            prior: p(z) or p(z | y).
            posterior: The family of q(z | ·); a Gaussian with a diagonal covariance where it is not given.
            likelihood: p(x | ·); continuous Bernoulli, for pixels in [0, 1], where it is not given.
            networks: The networks of guide and decoder; an MLP of 500 softplus units where they are not given.
            class_prior: p(y); None where the story has no class.

        Raises:
            ValueError: If a size is not positive, or the class prior is for another number of classes.
        """
        super().__init__()
        check_sizes(image_shape, num_classes)
        if class_prior is not None and class_prior.num_classes != num_classes:
            raise ValueError(
                f"class_prior: expected one for {num_classes} classes; got one for {class_prior.num_classes}."
            )
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.prior = prior
        prior.mix_by(class_prior)
        self.posterior = posterior if posterior is not None else DiagonalNormal()
        self.likelihood = likelihood if likelihood is not None else ContinuousBernoulli()
        self.networks = networks if networks is not None else MLP()
        if class_prior is not None:
            self.class_prior = class_prior

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401
        """Have the programs and answers of a class check their batch, whether it writes them or takes them over."""
        super().__init_subclass__(**options)
        for name in _PROGRAMS + _ANSWERS:
            method = getattr(cls, name)
            if not hasattr(method, "_is_checked") and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, _checked(name, method))

    @property
    def decoder_shape(self) -> ImageShape:
        """The shape of a decoder's output: all parameters of p(x | ·) for one pixel after the other, as channels."""
        channels, height, width = self.image_shape
        return (channels * self.likelihood.parameters_per_pixel, height, width)

    @abstractmethod
    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The story, as a Pyro program.

        Args:
            x: Images (batch, channels, height, width), pixels in [0, 1].
            y: Classes (batch,) where they are known, integers in [0, classes).
        """

    @abstractmethod
    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The approximate posterior, as a Pyro program; arguments as of `model`."""

    @abstractmethod
    def classify(self, x: Tensor) -> dist.Categorical:
        """Return q(y | x), batch_shape (batch,), for images (batch, channels, height, width)."""

    @abstractmethod
    def q_z(self, x: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Return q(z | x, y), event_shape (latent,), for images and classes that broadcast with them."""

    @abstractmethod
    def p_x(self, z: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Return p(x | y, z), event_shape image_shape, for z (..., batch, latent) and y that broadcasts.

        Where there are several latent variables, z is the `_style`.
        """

    def penalties(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Return what is to be minimised beside the negative ELBO, by name: means over the batch, in nats.

        None, as a rule. An adversary's loss is one (`AdversarialAutoencoder`); arguments as of `model`.
        """
        return {}

    def baseline(self) -> "SemiSupervisedModel":
        """Return the untrained model whose q(y | x) is the supervised baseline: a copy of this one, as a rule.

        A model without a classifier of its own (`learns_classifier` is False) returns one with the same networks.
        """
        return copy.deepcopy(self)

    def story(self) -> list[tuple[str, str]]:
        """Return the densities of model and guide, each with what it is, for `repr`: a line for each.

        A model with other densities, or with more to say of them, says so: ``[("p(y)", ...), *super().story()]``.
        """
        return [
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.image_shape)}"),
            ("q(y | x)", f"Categorical, {self.num_classes} classes"),
            ("q(z | x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions"),
        ]

    def __repr__(self) -> str:
        lines = [*self.story(), ("parameters", self._count_parameters())]
        width = max(len(name) for name, _ in lines)
        head = f"{type(self).__name__}: images {tuple(self.image_shape)}, {self.num_classes} classes"
        return "\n".join([head, *(f"  {name:<{width}}  {description}" for name, description in lines)])

    def _count_parameters(self) -> str:
        numbers = {name: parameter.numel() for name, parameter in self.named_parameters(recurse=False)}
        for name, module in self.named_children():
            numbers[name] = sum(parameter.numel() for parameter in module.parameters())
        total = sum(parameter.numel() for parameter in self.parameters())
        return f"{total:,} (" + ", ".join(f"{name} {number:,}" for name, number in numbers.items() if number) + ")"

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the style, the mean of q(z | x, y), (batch, latent); without y at the most probable class."""
        return self._style(x, self._class_of(x, y))

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | y, z) at the z that `encode` finds, (batch, channels, height, width)."""
        y = self._class_of(x, y)
        return self.p_x(self._style(x, y), y).mean

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return each image's style in every class, (classes, batch, channels, height, width).

        The mean of p(x | y', z) for every class y', at the mean z of q(z | x, y): Kingma et al. 2014, figure 1.
        """
        z = self.encode(x, y)
        classes = torch.arange(self.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
        return self.p_x(z.expand(self.num_classes, *z.shape), classes).mean

    def sample(self, y: Tensor, num_samples: int = 1) -> Tensor:
        """Return images of given classes: the mean of p(x | y, z), z drawn from the prior.

        Args:
            y: Classes (batch,).
            num_samples: How many images of each.

        Returns:
            (num_samples, batch, channels, height, width).
        """
        y = y.expand(num_samples, *y.shape)  # (samples, batch)
        return self.p_x(self._draw(y), y).mean

    def _style(self, x: Tensor, y: Tensor) -> Tensor:
        """Return what `encode` does for images and classes that broadcast with them: the mean of q(z | x, y).

        A model with several latent variables says here how they stand side by side, in `p_x` what image they give, and
        in `_draw` how they are drawn.
        """
        mean: Tensor = self.q_z(x, y).mean
        return mean

    def _draw(self, y: Tensor) -> Tensor:
        """Return a style for each class in y, drawn from the prior, (*y.shape, latent): what `p_x` takes."""
        prior = self.prior(y)
        # p(z | y) has y's shape already, p(z) has none.
        return prior.sample() if prior.batch_shape else prior.sample(y.shape)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y; where it is not given what stands in for it in `encode` and `reconstruct`: the most probable."""
        return self.classify(x).logits.argmax(-1) if y is None else y

    def _check_batch(self, x: Tensor, y: Tensor | None = None) -> None:
        """Refuse a batch that is not one, in one sentence.

        Raises:
            TypeError: If x is not of the floats that the weights are of, or y not of integers.
            ValueError: If x is not (batch, *image_shape), is empty or has pixels outside [0, 1], or y does not fit it.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"x: expected a tensor of floating-point pixels in [0, 1]; got {type(x).__name__}.")
        if not x.is_floating_point():
            raise TypeError(f"x: expected floating-point pixels in [0, 1]; got {x.dtype}.")
        weights = next(self.parameters(), x)
        if x.dtype != weights.dtype:
            raise TypeError(f"x: expected pixels of the type of the model's weights, {weights.dtype}; got {x.dtype}.")
        if x.dim() != 4 or tuple(x.shape[1:]) != tuple(self.image_shape):
            expected = ", ".join(map(str, self.image_shape))
            raise ValueError(f"x: expected images of shape (batch, {expected}); got {tuple(x.shape)}.")
        if x.shape[0] == 0:  # not len(x), which torch.export would keep as a constant
            raise ValueError("x: expected at least one image; got none.")
        # A look at the values makes a GPU wait: only where Pyro looks at values too.
        looks_at_values = pyro.settings.get("validate_distributions_pyro")
        if looks_at_values and torch.compiler.is_exporting():
            raise ValueError(
                "x: expected to be exported without its values, which are looked at here; export "
                "ssvae.models.ClassProbabilities(model), or inside of pyro.validation_enabled(False)."
            )
        if looks_at_values and not ((x >= 0) & (x <= 1)).all():  # written so that NaN is refused too
            raise ValueError(f"x: expected pixels in [0, 1]; got values from {x.min():.4g} to {x.max():.4g}.")
        if y is None:
            return
        if not isinstance(y, Tensor) or y.dtype != torch.int64:
            got = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"y: expected classes as integers (torch.int64); got {got}.")
        # (batch,), or with dimensions to the left (classes, 1).
        if y.dim() < 1 or y.shape[-1] not in (len(x), 1 if y.dim() > 1 else len(x)):
            raise ValueError(f"y: expected one class for each of the {len(x)} images; got shape {tuple(y.shape)}.")
        if looks_at_values and not ((y >= 0) & (y < self.num_classes)).all():
            raise ValueError(
                f"y: expected classes from 0 to {self.num_classes - 1}; got values from {y.min()} to {y.max()} "
                "(leave y out for unlabelled images)."
            )

    def _show_parameters(self) -> None:
        """Show the parameters to Pyro, before `model` and `guide` run.

        `pyro.infer.SVI` trains the parameters that it sees in "param" messages. `pyro.module` would send them, but
        also enter them in the global parameter store under a fixed name, so that a second model in the same
        process would silently never train. Here the message carries this model's own tensors, and no store.
        """
        if pyro.settings.get("module_local_params"):
            return  # whoever runs the program optimises `parameters()` directly
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                shown = parameter.view_as(parameter)
                shown.unconstrained = _constant(parameter)  # type: ignore[attr-defined]
                # With its constraint, as of `pyro.param`: `pyro.render_model` asks for it.
                effectful(_constant(shown), type="param")(name=name, constraint=dist.constraints.real)


def _checked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that first checks its batch (x, y) and, if it is a program, shows the parameters to Pyro."""

    @functools.wraps(method)
    def checked(self: SemiSupervisedModel, x: Tensor, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        # Where a class overrides the method and calls the one above by super(), that is not for the second time.
        if getattr(type(self), name) is checked:
            self._check_batch(x, arguments[0] if arguments else named.get("y"))
            if name in _PROGRAMS:
                self._show_parameters()
        return method(self, x, *arguments, **named)

    checked._is_checked = True  # type: ignore[attr-defined]
    return checked


def check_sizes(image_shape: ImageShape, num_classes: int) -> None:
    """Refuse sizes of which no model can be made, in one sentence.

    Raises:
        ValueError: If one is not positive.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape: expected (channels, height, width), all positive; got {image_shape}.")
    if num_classes < 1:
        raise ValueError(f"num_classes: expected a positive integer; got {num_classes}.")


def _constant(value: Tensor) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: value
