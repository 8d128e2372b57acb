"""What a model is, and how to write one."""

import copy
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.runtime import effectful
from torch import Tensor, nn

from ssvae.models.importance import impute, weighted_samples
from ssvae.models.likelihoods import ContinuousBernoulli, Gaussian, Likelihood
from ssvae.models.networks import MLP, Architecture, EventShape, Network, WithMask
from ssvae.models.posteriors import DiagonalNormal, Posterior
from ssvae.models.priors import ClassPrior, Prior

_PROGRAMS = ("model", "guide")
_ANSWERS = ("classify", "encode", "reconstruct", "analogies")

# Over samples, classes, images and pixels: 16 MiB in float32.
_NUMBERS_AT_ONCE = 2**22

# torch 2.6 has no `is_exporting`. Only exports are compiled there: the compiled training step needs a later torch.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class SemiSupervisedModel(nn.Module, ABC):
    """A generative model of x, classes y and latent variables z: two Pyro programs, and what follows from them.

    x is an image (channels, height, width) or a vector (features,) of reals, counts or categories: its shape is the
    ``event_shape``, and the likelihood says which numbers it has. With the likelihood
    `~ssvae.models.likelihoods.MissingEntries` an entry may be NaN, which means that it was not seen. The documentation
    says "image" for either.

    To write a model:

    1. Inherit from `SemiSupervisedModel` in a file of its own. Give ``super().__init__`` the parts that it takes.
       Store every other constructor argument under its own name: run folders describe a model by these names.
    2. Write ``model(x, y=None)`` and ``guide(x, y=None)``, with the density above each line. The base class checks the
       batch and registers the parameters with Pyro before they run. Put all sites into
       ``pyro.plate("images", len(x))``. Call the site of the image "x" and the site of the class "y". The site "y" is
       observed if y is given; otherwise the guide marks it ``infer={"enumerate": "parallel"}``. Let y broadcast: its
       shape is (batch,), or (classes, 1) under enumeration, or has more dimensions on the left if several samples are
       drawn at once. Do not read values, as ``.item()`` and ``if`` do: a GPU has to wait for them, and a captured CUDA
       graph reads them once only.
    3. Make the networks of x by ``_encoder``, so that they see x as the likelihood shows it.
       Write ``classify``, ``q_z`` and ``p_x``; ``encode``, ``reconstruct`` and ``sample`` follow from them. A model
       with latent variables beside the prior's z also writes ``_style`` and ``_draw``. List the densities in
       ``_story``; ``repr`` shows them.
    4. Set the five boolean attributes below if the model differs from M2 in them. Add further terms of the loss in
       ``penalties``. Models that are trained in stages, or that learn something from all training images without
       gradients, also inherit from the classes in ``ssvae.models.stages``.
    5. Check the contract with `ssvae.inference.contracts.check_model`; it runs in a notebook too. To contribute the
       model, add it to ``models/__init__.py`` and to the list in ``tests/test_models.py``. Training, evaluation,
       figures and the command line need no edit: if they do, the interface is wrong.

    A model does not depend on devices, learning rates, batch sizes or estimators.

    Attributes:
        event_shape: The shape of x: (channels, height, width) or (features,).
        num_classes: The number of classes.
        prior: p(z) or p(z | y).
        posterior: The family of q(z | ·), given the encoder's output.
        likelihood: p(x | ·), given the decoder's output.
        networks: The architecture of encoder and decoder.
        class_prior: p(y); not set if the generative model has no class.
        has_label_site: Whether the programs use a given y, so that there is an L(x, y) and a p(x, y). Otherwise the
            bound treats labelled images like unlabelled ones, and only -log q(y|x) uses their class.
        sums_over_class: Whether y is summed over if it is not given.
        learns_classifier: Whether q(y | x) has parameters that -log q(y|x) trains.
        discovers_classes: Whether unlabelled images can teach q(y | x) a class that has no label. They cannot if a
            classifier that is fitted to labels is q(y | x), or makes its targets.
        bounds_evidence: Whether the ELBO is a lower bound of log p(x). It is not if the guide has no density.
    """

    event_shape: EventShape
    num_classes: int
    prior: Prior
    posterior: Posterior
    likelihood: Likelihood
    networks: Architecture
    class_prior: ClassPrior
    has_label_site: bool = True
    sums_over_class: bool = True
    learns_classifier: bool = True
    discovers_classes: bool = True
    bounds_evidence: bool = True

    def __init__(
        self,
        event_shape: EventShape,
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
            event_shape: The shape of x: (channels, height, width) or (features,).
            num_classes: The number of classes.
            prior: p(z) or p(z | y).
            posterior: The family of q(z | ·). Default: a Gaussian with a diagonal covariance.
            likelihood: p(x | ·). Default: continuous Bernoulli for pixels in [0, 1], Gaussian for vectors.
            networks: The architecture of encoder and decoder. Default: an MLP of 500 softplus units. Its encoders take
                a mask too (`~ssvae.models.networks.WithMask`) if the likelihood admits missing entries.
            class_prior: p(y); None if the generative model has no class.

        Raises:
            ValueError: If a size is not positive, the class prior is for another number of classes, or the likelihood
                is for another shape of x.
        """
        super().__init__()
        check_sizes(event_shape, num_classes)
        if class_prior is not None and class_prior.num_classes != num_classes:
            raise ValueError(
                f"class_prior: expected one for {num_classes} classes; got one for {class_prior.num_classes}."
            )
        self.event_shape = event_shape
        self.num_classes = num_classes
        self.prior = prior
        prior.set_class_prior(class_prior)
        self.posterior = posterior if posterior is not None else DiagonalNormal()
        self.likelihood = likelihood if likelihood is not None else _default_likelihood(event_shape)
        self.likelihood.set_event_shape(event_shape)
        self.networks = self._seeing(networks if networks is not None else MLP())
        if class_prior is not None:
            self.class_prior = class_prior

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401
        """Wrap the programs and answers of a subclass, its own and inherited ones, in the check of their batch."""
        super().__init_subclass__(**options)
        for name in _PROGRAMS + _ANSWERS:
            method = getattr(cls, name)
            if not hasattr(method, "_is_checked") and not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, _checked(name, method))

    def _seeing(self, architecture: Architecture) -> Architecture:
        """Return an architecture of this model's networks of x: with a mask if the likelihood admits missing entries.

        A model that takes an architecture beside ``networks``, such as that of a classifier, stores what this returns.
        """
        if self.likelihood.admits_missing and not isinstance(architecture, WithMask):
            return WithMask(architecture)
        return architecture

    def _encoder(
        self, architecture: Architecture, num_outputs: int, num_classes: int = 0, num_beside: int = 0
    ) -> Network:
        """Return a network of x, which sees what the likelihood's ``features`` make of x.

        Args:
            architecture: Its architecture: ``networks``, or another one from ``_seeing``.
            num_outputs: The size of the output vector.
            num_classes: The number of classes; 0 for a network without y.
            num_beside: The size of a second vector beside x; 0 for none.
        """
        shape = self.likelihood.features_shape(self.event_shape)
        encoder = architecture.encoder(shape, num_outputs, num_classes, num_beside)
        encoder.features = self.likelihood.features
        return encoder

    @property
    def decoder_shape(self) -> EventShape:
        """The shape of a decoder's output for one x: all parameters of p(x | ·). An image's are channels."""
        return self.likelihood.decoder_shape(self.event_shape)

    @abstractmethod
    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        """The generative story, as a Pyro program.

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.
            y: Classes (batch,), integers in [0, classes); None for unlabelled images.
        """

    @abstractmethod
    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """The approximate posterior, as a Pyro program; arguments as of ``model``."""

    @abstractmethod
    def classify(self, x: Tensor) -> dist.Categorical:
        """Return q(y | x), batch_shape (batch,), for x ``(batch, *event_shape)``."""

    @abstractmethod
    def q_z(self, x: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Return q(z | x, y), event_shape (latent,), for images and classes that broadcast with them."""

    @abstractmethod
    def p_x(self, z: Tensor, y: Tensor) -> dist.TorchDistribution:
        """Return p(x | y, z), event_shape event_shape, for z (..., batch, latent) and y that broadcasts with it.

        In a model with several latent variables, z is what ``encode`` returns: all of them side by side.
        """

    def penalties(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Return terms of the loss in addition to the negative ELBO.

        Most models have none. `AdversarialAutoencoder` adds the losses of its discriminators and generators.

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.
            y: Classes (batch,); None for unlabelled images.

        Returns:
            Scalars by name: means over the batch, in nats, with gradient.
        """
        return {}

    def baseline(self) -> "SemiSupervisedModel":
        """Return the untrained model whose q(y | x) is the supervised baseline. Default: a copy of this model.

        A model that learns no classifier (``learns_classifier`` is False) returns an `M2` with the same networks.
        """
        return copy.deepcopy(self)

    def _story(self) -> list[tuple[str, str]]:
        """Return the densities of model and guide, each with a description, for ``repr``.

        A model with other densities extends the list: ``[("p(y)", ...), *super()._story()]``.

        Returns:
            Pairs such as ``("p(z)", "StandardNormal(latent_dim=50)")``.
        """
        return [
            (self.prior.density, repr(self.prior)),
            ("p(x | y, z)", f"{self.likelihood}, shape {tuple(self.event_shape)}"),
            ("q(y | x)", f"Categorical, {self.num_classes} classes"),
            ("q(z | x, y)", f"{self.posterior}, {self.prior.latent_dim} dimensions"),
        ]

    def __repr__(self) -> str:
        lines = [*self._story(), ("parameters", self._count_parameters())]
        width = max(len(name) for name, _ in lines)
        head = f"{type(self).__name__}: {self._kind_of_x} {tuple(self.event_shape)}, {self.num_classes} classes"
        return "\n".join([head, *(f"  {name:<{width}}  {description}" for name, description in lines)])

    @property
    def _kind_of_x(self) -> str:
        return "images" if len(self.event_shape) == 3 else "vectors"

    def _count_parameters(self) -> str:
        numbers = {name: parameter.numel() for name, parameter in self.named_parameters(recurse=False)}
        for name, module in self.named_children():
            numbers[name] = sum(parameter.numel() for parameter in module.parameters())
        total = sum(parameter.numel() for parameter in self.parameters())
        return f"{total:,} (" + ", ".join(f"{name} {number:,}" for name, number in numbers.items() if number) + ")"

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the style, the mean of q(z | x, y).

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.
            y: Classes (batch,). Default: the most probable ones.

        Returns:
            (batch, latent).
        """
        return self._style(x, self._class_of(x, y))

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | y, z) at the z that ``encode`` returns.

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.
            y: Classes (batch,). Default: the most probable ones.

        Returns:
            ``(batch, *event_shape)``.
        """
        y = self._class_of(x, y)
        return self.p_x(self._style(x, y), y).mean

    def analogies(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return each image's style in every class: Kingma et al. 2014, arXiv 1406.5298, figure 1.

        The mean of p(x | y', z) for every class y', at the mean z of q(z | x, y).

        Args:
            x: Images or vectors, ``(batch, *event_shape)``.
            y: Classes (batch,). Default: the most probable ones.

        Returns:
            ``(classes, batch, *event_shape)``.
        """
        z = self.encode(x, y)
        classes = torch.arange(self.num_classes, device=x.device).unsqueeze(-1)  # (classes, 1)
        return self.p_x(z.expand(self.num_classes, *z.shape), classes).mean

    def sample(self, y: Tensor, num_samples: int = 1) -> Tensor:
        """Return images of given classes: the mean of p(x | y, z), z drawn from the prior.

        Args:
            y: Classes (batch,).
            num_samples: The number of images for each class.

        Returns:
            ``(num_samples, batch, *event_shape)``.
        """
        y = y.expand(num_samples, *y.shape)  # (samples, batch)
        return self.p_x(self._draw(y), y).mean

    def impute(self, x: Tensor, num_samples: int = 100) -> Tensor:
        """Return x with E[x_missing | x_seen] in place of its missing entries, by importance sampling with the guide.

        `ssvae.models.importance.impute` has the formula. Of an entry that is a category it is the most probable one.
        `ssvae.impute` also fits the proposal to each x, and returns draws and effective sample sizes.

        Args:
            x: Images or vectors, ``(batch, *event_shape)``, NaN where an entry was not seen.
            num_samples: S, the number of samples of z, for each class if the model has one.

        Returns:
            ``(batch, *event_shape)``; what was seen is unchanged.

        Raises:
            ValueError: If the likelihood does not admit missing entries, the guide has no density, or num_samples is
                not positive.
        """
        self._check_imputes(num_samples)
        self._check_batch(x)
        y = self._all_classes(x)
        copies = num_samples * (1 if y is None else len(y)) * math.prod(self.event_shape)
        with torch.no_grad():
            filled = [
                impute(weighted_samples(self.model, self.guide, rows, y, num_samples), self.likelihood, rows).mean
                for rows in x.split(max(1, _NUMBERS_AT_ONCE // copies))
            ]
        return torch.cat(filled)

    def _check_imputes(self, num_samples: int) -> None:
        """Refuse to fill in missing entries if the model cannot, or without samples.

        Raises:
            ValueError: If it is so.
        """
        if not self.likelihood.admits_missing:
            raise ValueError(
                f"model: expected the likelihood MissingEntries, which admits missing entries; got {self.likelihood}."
            )
        if not self.bounds_evidence:
            raise ValueError(
                f"model: expected one whose guide has a density, for importance weights; got {type(self).__name__}, "
                "which has none."
            )
        if num_samples < 1:
            raise ValueError(f"num_samples: expected at least 1; got {num_samples}.")

    def _all_classes(self, x: Tensor) -> Tensor | None:
        """Return all classes, (classes, 1), on the device of x; None if the programs have no class."""
        return torch.arange(self.num_classes, device=x.device).unsqueeze(-1) if self.has_label_site else None

    def _style(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean of q(z | x, y), for images and classes that broadcast with them.

        A model with several latent variables concatenates them here, splits them in ``p_x`` and draws them in
        ``_draw``.
        """
        mean: Tensor = self.q_z(x, y).mean
        return mean

    def _draw(self, y: Tensor) -> Tensor:
        """Return a style for each class in y, drawn from the prior, (*y.shape, latent): what ``p_x`` takes."""
        prior = self.prior(y)
        # The batch_shape of p(z | y) is y's shape, that of p(z) is ().
        return prior.sample() if prior.batch_shape else prior.sample(y.shape)

    def _class_of(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return y, or the most probable classes if it is None."""
        return self.classify(x).logits.argmax(-1) if y is None else y

    def _check_batch(self, x: Tensor, y: Tensor | None = None) -> None:
        """Refuse a batch of the wrong type, shape or range, in one sentence.

        Raises:
            TypeError: If x has another floating-point type than the weights, or y is not int64.
            ValueError: If x is not ``(batch, *event_shape)``, is empty or is refused by the likelihood's
                ``check_input``, or y does not fit it.
        """
        is_image = len(self.event_shape) == 3
        numbers = "floating-point pixels in [0, 1]" if is_image else "floating-point numbers"
        if not isinstance(x, Tensor):
            raise TypeError(f"x: expected a tensor of {numbers}; got {type(x).__name__}.")
        if not x.is_floating_point():
            raise TypeError(f"x: expected {numbers}; got {x.dtype}.")
        weights = next(self.parameters(), x)
        if x.dtype != weights.dtype:
            entries = "pixels" if is_image else "numbers"
            raise TypeError(
                f"x: expected {entries} of the type of the model's weights, {weights.dtype}; got {x.dtype}."
            )
        if tuple(x.shape[1:]) != tuple(self.event_shape):
            expected = ", ".join(["batch", *map(str, self.event_shape)])
            raise ValueError(f"x: expected {self._kind_of_x} of shape ({expected}); got {tuple(x.shape)}.")
        if x.shape[0] == 0:  # not len(x), which torch.export would keep as a constant
            raise ValueError("x: expected at least one image; got none.")
        # Reading values makes a GPU wait, so they are checked only if Pyro validates its distributions too.
        looks_at_values = pyro.settings.get("validate_distributions_pyro")
        if looks_at_values and _is_exporting():
            raise ValueError(
                f"x: expected an export without validation; got one that reads {'pixel ' * is_image}values; export "
                "ssvae.models.ClassProbabilities(model), or export inside pyro.validation_enabled(False)."
            )
        if looks_at_values:
            self.likelihood.check_input(x)
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
        """Register the parameters with Pyro, before ``model`` and ``guide`` run.

        ``pyro.infer.SVI`` trains the parameters that it finds in "param" messages. ``pyro.module`` would send these
        messages, but would also enter the parameters in the global parameter store under a fixed name. A second model
        in the same process would then silently never train. Here the messages carry this model's own tensors, and
        nothing is entered in the store.
        """
        if pyro.settings.get("module_local_params"):
            return  # the caller optimises `parameters()` directly
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                view = parameter.view_as(parameter)
                view.unconstrained = _constant(parameter)  # type: ignore[attr-defined]
                # With a constraint, as `pyro.param` sends it: `pyro.render_model` reads it.
                effectful(_constant(view), type="param")(name=name, constraint=dist.constraints.real)


def _checked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that first checks its batch (x, y) and, for a program, registers the parameters with Pyro."""

    @functools.wraps(method)
    def checked(self: SemiSupervisedModel, x: Tensor, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        # Check once only: not again if an overriding method calls this one by super().
        if getattr(type(self), name) is checked:
            self._check_batch(x, arguments[0] if arguments else named.get("y"))
            if name in _PROGRAMS:
                self._show_parameters()
        return method(self, x, *arguments, **named)

    checked._is_checked = True  # type: ignore[attr-defined]
    return checked


def _default_likelihood(event_shape: EventShape) -> Likelihood:
    return ContinuousBernoulli() if len(event_shape) == 3 else Gaussian()


def check_sizes(event_shape: EventShape, num_classes: int) -> None:
    """Refuse a shape of x that is neither an image's nor a vector's, or a size that is not positive.

    Raises:
        ValueError: If it is so.
    """
    if len(event_shape) not in (1, 3) or min(event_shape) < 1:
        raise ValueError(
            f"event_shape: expected (channels, height, width) or (features,), all positive; got {event_shape}."
        )
    if num_classes < 1:
        raise ValueError(f"num_classes: expected a positive integer; got {num_classes}.")


def _constant(value: Tensor) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: value
