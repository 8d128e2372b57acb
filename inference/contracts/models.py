"""The contract of models: two Pyro programs that can be summed over y, and the shapes of the methods' results."""

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from ssvae.inference.contracts.rules import (
    ContractError,
    check_arguments,
    check_copy,
    check_gradients,
    check_state,
    checking,
    close,
    expect,
    learned,
)
from ssvae.inference.evaluation.evaluation import importance_sampling
from ssvae.inference.objective.objective import Objective, Observations, Sizes
from ssvae.inference.predict import seeded
from ssvae.models import SemiSupervisedModel
from ssvae.models.stages import Refits, Staged
from ssvae.models.trace_sites import latent_sites, sample_sites

_PLATE = "images"


class _Batch(NamedTuple):
    """A batch with every class and one image more than classes, so that these dimensions cannot be confused."""

    x: Tensor
    y: Tensor


def check_model(model: SemiSupervisedModel) -> tuple[str, ...]:
    """Check that a model keeps its contract, which `ssvae.models.SemiSupervisedModel` states.

    A copy of the model is run on a few random images. The model itself, torch's random state and Pyro's parameter store
    are not changed.

    Example:
        >>> from ssvae.inference.contracts import check_model
        >>> from ssvae.models import M2, networks, priors
        >>> rules = check_model(M2((1, 8, 8), 3, prior=priors.StandardNormal(2), networks=networks.MLP(hidden=(8,))))
        >>> rules[0]
        'every constructor argument is kept under its own name, and every tensor once'

    Args:
        model: The model; checking a small one takes a second.

    Returns:
        The rules, all of which hold, as sentences.

    Raises:
        TypeError: If it is not a model.
        ContractError: If it breaks a rule; the message says which.
    """
    if not isinstance(model, SemiSupervisedModel):
        raise TypeError(f"model: expected an object of a class that inherits from SemiSupervisedModel; got {model!r}.")
    name = type(model).__name__
    for attribute in ("event_shape", "num_classes", "prior", "likelihood"):
        if not hasattr(model, attribute):
            raise ContractError(f"{name}: expected the attribute {attribute!r}; got a model without it.")
    for method, kind in {"advance": Staged, "refit": Refits}.items():
        if hasattr(model, method) and not isinstance(model, kind):
            raise ContractError(
                f"{name}: expected a model with {method!r} to inherit from ssvae.models.stages.{kind.__name__}, "
                "since nothing calls it otherwise; got another class."
            )
    with checking(name, "a model can be copied"):
        duplicate = copy.deepcopy(model).cpu().eval()
        batch = _batch(duplicate)
    rules = {rule: check for rule, (check, applies) in _RULES.items() if applies(duplicate)}
    for rule, check in rules.items():
        with checking(name, rule):
            check(duplicate, batch)
    return tuple(rules)


def _batch(model: SemiSupervisedModel) -> _Batch:
    """Return random images or vectors that the likelihood accepts, and classes."""
    y = torch.arange(model.num_classes + 1) % model.num_classes
    return _Batch(_observations(model, len(y)), y)


def _observations(model: SemiSupervisedModel, number: int) -> Tensor:
    """Return images of 256 grey levels, or black and white; or what the likelihood draws, if it accepts neither."""
    grey = (torch.rand(number, *model.event_shape) * 255).round() / 255
    images = (grey, grey.round()) if grey.dim() > 2 else ()
    for x in images:
        with suppress(ValueError):
            model.likelihood.check(x)
            return x
    drawn: Tensor = model.likelihood(torch.randn(number, *model.decoder_shape)).sample()
    return drawn


def _check_arguments(model: SemiSupervisedModel, batch: _Batch) -> None:
    check_arguments(model)
    check_state(model)


# The two Pyro programs


def _given(model: SemiSupervisedModel, batch: _Batch) -> tuple[Trace, Trace]:
    """Run the guide, and the model on its latent variables, with y given if the model has a site "y"."""
    arguments = (batch.x, batch.y) if model.has_label_site else (batch.x,)
    guide = _run(model.guide, *arguments)
    return guide, _run(poutine.replay(model.model, trace=guide), *arguments)


def _enumerated(model: SemiSupervisedModel, x: Tensor) -> tuple[Trace, Trace]:
    """Run the guide, and the model on its latent variables, without y: enumerated if the model sums over y."""
    guide = _run(poutine.enum(model.guide, first_available_dim=-2), x)
    return guide, _run(poutine.replay(model.model, trace=guide), x)


def _run(program: Callable[..., None], *arguments: Tensor) -> Trace:
    """Run a program with a fixed seed, so that draws outside its sites, as of a normaliser, are the same."""
    with seeded(0):
        return poutine.trace(program).get_trace(*arguments)


def _scored(trace: Trace) -> dict[str, Any]:
    """Return the sample sites with their log-densities."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered")  # values that are not finite break a rule, checked later
        trace.compute_log_prob()
    return sample_sites(trace)


def _names(names: Mapping[str, Any] | set[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"


def _check_runs(model: SemiSupervisedModel, batch: _Batch) -> None:
    _given(model, batch)
    _enumerated(model, batch.x)


def _check_sites(model: SemiSupervisedModel, batch: _Batch) -> None:
    (guide, enumerated), (_, given) = _enumerated(model, batch.x), _given(model, batch)
    for program, trace in {"model": enumerated, "guide": guide}.items():
        for name, site in sample_sites(trace).items():
            plates = [frame.name for frame in site["cond_indep_stack"]]
            expect(
                plates == [_PLATE],
                f'every site of the {program} in pyro.plate("{_PLATE}", len(x))',
                f"{name!r} in {_names(set(plates)) if plates else 'no plate'}",
            )
    observations = {"x": batch.x, "y": batch.y} if model.has_label_site else {"x": batch.x}
    expect(
        observations.keys() <= sample_sites(given).keys() and "x" in sample_sites(enumerated),
        f"sites of the names {' and '.join(map(repr, observations))} in the model",
        f"only {_names(sample_sites(enumerated))}",
    )
    for name, value in observations.items():
        site = sample_sites(given)[name]
        observed = site["is_observed"] and torch.equal(site["value"].expand(value.shape), value)
        expect(observed, f"the site {name!r} of the model with obs={name} if {name} is given", "one that is drawn")


def _check_given(model: SemiSupervisedModel, batch: _Batch) -> None:
    guide_trace, model_trace = _given(model, batch)
    expect("y" not in sample_sites(guide_trace), "no site 'y' in the guide if y is given", "one")
    _check_each_image(guide_trace, model_trace, " with y given" if model.has_label_site else "")


def _check_without(model: SemiSupervisedModel, batch: _Batch) -> None:
    guide_trace, model_trace = _enumerated(model, batch.x)
    expect("y" not in sample_sites(guide_trace), "no site 'y' in the guide of a model that does not sum over y", "one")
    _check_each_image(guide_trace, model_trace, " without y")


def _check_each_image(guide_trace: Trace, model_trace: Trace, when: str) -> None:
    """Check that both programs have the same latent variables, with a log-density for each image."""
    _check_latents(guide_trace, model_trace)
    for program, trace in {"model": model_trace, "guide": guide_trace}.items():
        for name, site in _scored(trace).items():
            images = (site["cond_indep_stack"][0].size,)
            expect(site["log_prob"].isfinite().all(), f"a finite log-density at {name!r} of the {program}", "others")
            expect(
                site["log_prob"].shape == images,
                f"a log-density of shape (batch,) = {images} at {name!r} of the {program}{when}",
                tuple(site["log_prob"].shape),
            )


def _check_latents(guide_trace: Trace, model_trace: Trace) -> None:
    latent = set(latent_sites(model_trace))
    expect(
        set(sample_sites(guide_trace)) == latent,
        "the same latent variables in model and guide",
        f"{_names(latent)} in the model and {_names(sample_sites(guide_trace))} in the guide",
    )


def _check_enumerated(model: SemiSupervisedModel, batch: _Batch) -> None:
    x = batch.x
    guide_trace, model_trace = _enumerated(model, x)
    expect(
        "y" in sample_sites(guide_trace),
        "a site 'y' in the guide if y is not given",
        _names(sample_sites(guide_trace)),
    )
    expect(
        sample_sites(guide_trace)["y"]["infer"].get("enumerate") == "parallel",
        'the guide\'s site \'y\' with infer={"enumerate": "parallel"}, so that it is summed over',
        "one that is drawn",
    )
    _check_latents(guide_trace, model_trace)
    shape = (model.num_classes, len(x))
    for program, trace in {"guide": guide_trace, "model": model_trace}.items():
        for name, site in _scored(trace).items():
            got = tuple(site["log_prob"].shape)
            # Densities that do not depend on y need not be repeated for every class.
            smaller = name != "y" and got in [(len(x),), (1, len(x))]
            expect(
                smaller or got == shape,
                f"log-densities of shape (classes, batch) = {shape} at {name!r} of the {program} with y summed over",
                got,
            )
    for k in range(model.num_classes):
        y = torch.full((len(x),), k)
        latents = {name: _value_in_class(site, k) for name, site in sample_sites(guide_trace).items() if name != "y"}
        for program, trace in {"guide": guide_trace, "model": model_trace}.items():
            given = _run(poutine.condition(getattr(model, program), data=latents), x, y)
            for name, site in _scored(given).items():
                summed = sample_sites(trace)[name]["log_prob"].expand(shape)[k]
                expect(
                    close(summed, site["log_prob"]),
                    f"the same log-density at {name!r} of the {program} whether y is summed over or given",
                    f"another in class {k}",
                )


def _value_in_class(site: Mapping[str, Any], k: int) -> Tensor:
    """Return the value of an enumerated site in one class, (batch, …)."""
    value: Tensor = site["value"]
    if value.dim() - site["fn"].event_dim < 2:
        return value
    return value[k if len(value) > 1 else 0]


def _check_draws(model: SemiSupervisedModel, batch: _Batch) -> None:
    drawn = sample_sites(poutine.trace(poutine.uncondition(model.model)).get_trace(batch.x))
    if model.sums_over_class:
        y = drawn["y"]["value"]
        expect(
            y.shape == batch.y.shape, f"classes of shape {tuple(batch.y.shape)} drawn from the model", tuple(y.shape)
        )
    x = drawn["x"]["value"]
    expect(x.shape == batch.x.shape, f"images of shape {tuple(batch.x.shape)} drawn from the model", tuple(x.shape))


# The other methods


def _check_answers(model: SemiSupervisedModel, batch: _Batch) -> None:
    x, y = batch
    images, classes, shape = len(x), model.num_classes, tuple(model.event_shape)
    every_class = torch.arange(classes).unsqueeze(-1)  # (classes, 1)
    q_y = model.classify(x)
    _expect_shapes("classify(x)", q_y, (images,), ())
    expect(q_y.probs.shape == (images, classes), f"classify(x) over {classes} classes", q_y.probs.shape[-1])
    with seeded(0):
        among_others = model.classify(x).probs[:1]
    with seeded(0):
        alone = model.classify(x[:1]).probs
    expect(
        close(alone, among_others),
        "classify(x) of an image that does not depend on the others in evaluation mode",
        "one that does",
    )
    latent = tuple(model.q_z(x, y).event_shape)
    expect(len(latent) == 1, "q_z(x, y) with event_shape (latent,)", latent)
    _expect_shapes("q_z(x, y)", model.q_z(x, y), (images,), latent)
    style = tuple(model._draw(y).shape[1:])  # larger than z in a model with further latent variables
    if model.has_label_site:
        call = "q_z(x, y) with y of shape (classes, 1)"
        _expect_shapes(call, model.q_z(x, every_class), (classes, images), latent)
    for leading in ((), (classes,), (5, classes)):
        z = torch.randn(*leading, images, *style)
        classes_of_z = every_class.expand(*leading, 1) if leading else y
        call = f"p_x(z, y) with z of shape {tuple(z.shape)} and y of shape {tuple(classes_of_z.shape)}"
        _expect_shapes(call, model.p_x(z, classes_of_z), (*leading, images), shape)
    answers = {
        "encode(x)": (model.encode(x), (images, *style)),
        "encode(x, y)": (model.encode(x, y), (images, *style)),
        "reconstruct(x)": (model.reconstruct(x), (images, *shape)),
        "reconstruct(x, y)": (model.reconstruct(x, y), (images, *shape)),
        "analogies(x)": (model.analogies(x), (classes, images, *shape)),
        "sample(y)": (model.sample(y), (1, images, *shape)),
        "sample(y, num_samples=5)": (model.sample(y, num_samples=5), (5, images, *shape)),
    }
    for call, (answer, expected) in answers.items():
        expect(answer.shape == expected, f"{call} of shape {expected}", tuple(answer.shape))
        expect(answer.isfinite().all(), f"finite numbers of {call}", "others")


def _expect_shapes(call: str, distribution: Any, batch_shape: tuple[int, ...], event_shape: tuple[int, ...]) -> None:  # noqa: ANN401
    got = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    expect(
        got == (batch_shape, event_shape),
        f"{call} with batch_shape {batch_shape} and event_shape {event_shape}",
        f"{got[0]} and {got[1]}",
    )


def _check_evaluation(model: SemiSupervisedModel, batch: _Batch) -> None:
    log_joint = importance_sampling(model, batch.x, num_samples=3).log_joint
    expected = (len(batch.x), model.num_classes if model.has_label_site else 1)
    expect(log_joint.shape == expected, f"log p(x, y) of shape {expected}", tuple(log_joint.shape))
    expect(log_joint.isfinite().all(), "a finite log p(x, y)", "others")


def _check_training(model: SemiSupervisedModel, batch: _Batch) -> None:
    model.train()
    model.zero_grad()
    observations = Observations(batch.x, batch.y, batch.x.flip(0))

    def backward() -> None:
        loss, terms = Objective()(model, observations, Sizes(len(batch.x), len(batch.x)))
        anomalous = [name for name, value in terms.items() if not value.isfinite()]
        expect(not anomalous, "a finite loss", f"another in the term {', '.join(anomalous)!r}")
        loss.backward()

    check_gradients(learned(model), "J", backward)
    model.eval()


def _check_stages(model: SemiSupervisedModel, batch: _Batch) -> None:
    assert isinstance(model, Staged)

    def learning() -> tuple[object, ...]:
        parts = [part.training for part in model.modules()]
        kind = model.has_label_site, model.sums_over_class, model.learns_classifier, model.is_consistent
        return *parts, *kind, *(parameter.requires_grad for parameter in model.parameters())

    before = None
    for tenths in range(11):
        model.train()
        model.advance(tenths / 10)
        now = model.current_stage, learning()
        expect(
            before is None or now[0] != before[0] or now == before,
            "a new current_stage if advance or refit changes the trained parts or their terms",
            f"{now[0]} again",
        )
        before = now
        if isinstance(model, Refits):
            model.eval()
            with torch.no_grad():
                model.refit(batch.x, batch.y, batch.x.flip(0))


def _check_copy(model: SemiSupervisedModel, batch: _Batch) -> None:
    def reconstruction(one: nn.Module) -> Tensor:
        assert isinstance(one, SemiSupervisedModel)
        return one.reconstruct(batch.x, batch.y)

    check_copy(model, reconstruction)


def _always(model: SemiSupervisedModel) -> bool:
    return True


def _sums(model: SemiSupervisedModel) -> bool:
    return model.sums_over_class


_Check = Callable[[SemiSupervisedModel, _Batch], None]
_Kind = Callable[[SemiSupervisedModel], bool]

_RULES: dict[str, tuple[_Check, _Kind]] = {
    "every constructor argument is kept under its own name, and every tensor once": (_check_arguments, _always),
    "guide and model run with y given, and with y summed over": (_check_runs, _sums),
    "guide and model run": (_check_runs, lambda model: not model.sums_over_class),
    "the sites 'x' and 'y' are in the plate of images, and observed if they are given": (_check_sites, _always),
    "if y is given, the guide has no site 'y'": (_check_given, _always),
    "if y is not given, the guide sums over it, and each class gives the same as if it were given": (
        _check_enumerated,
        _sums,
    ),
    "if y is not given, each image has one log-density": (_check_without, lambda model: not model.sums_over_class),
    "classes and images can be drawn from the model": (_check_draws, _always),
    "classify, q_z, p_x and what follows from them return the right shapes": (_check_answers, _always),
    "log p(x, y) can be estimated by importance sampling": (_check_evaluation, lambda model: model.bounds_evidence),
    "J is finite and has a gradient in every parameter": (_check_training, _always),
    "a trained model can be copied, and the copy has tensors of its own": (_check_copy, _always),
    "current_stage changes with the stage of training": (_check_stages, lambda model: isinstance(model, Staged)),
}
