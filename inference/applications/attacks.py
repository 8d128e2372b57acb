"""Adversarial attacks: each pixel changes by at most ε, so that the model misclassifies the image.

FGSM and PGD use the gradient of the classifier only. They do not try to pass the thresholds of
`ssvae.inference.applications.rejection.Rejection`. The adaptive attack uses the thresholds too. A rejection rule must
be tested against such an attack (Carlini and Wagner 2017, arXiv 1705.07263; Tramèr, Carlini, Brendel and Madry 2020,
arXiv 2002.08347).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssvae.data.time_left import progress
from ssvae.inference.applications.rejection import REJECTED, Rejection, anomaly_scores, measures
from ssvae.inference.predict import device_of, evaluating, seeded
from ssvae.models import SemiSupervisedModel

_AT_ONCE = 500
_TARGETS = 9
_SLACK = 1e-3
"""Safety margin by which an attack must succeed, against rounding in another batch."""


def attacks(
    model: SemiSupervisedModel, rejection: Rejection, x: Tensor, y: Tensor, *, num_steps: int = 40, seed: int = 0
) -> dict[str, Callable[[float], Tensor]]:
    """Return the attacks by name, each a function of ε; arguments as of `adaptive`."""
    return {
        "FGSM": lambda epsilon: fgsm(model, x, y, epsilon),
        "PGD": lambda epsilon: pgd(model, x, y, epsilon, num_steps=num_steps, seed=seed),
        "adaptive": lambda epsilon: adaptive(model, rejection, x, y, epsilon, num_steps=num_steps, seed=seed),
    }


def check_strength(epsilon: float, num_steps: int = 1) -> None:
    """Check the options of an attack.

    Raises:
        ValueError: If ε is not in [0, 1], or there is no step.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon: expected a change of pixels in [0, 1]; got {epsilon}.")
    if num_steps < 1:
        raise ValueError(f"num_steps: expected at least 1; got {num_steps}.")


def check_attackable(model: SemiSupervisedModel) -> None:
    """Check that q(y|x) has a gradient in x.

    Raises:
        ValueError: If it has none, as that of a scikit-learn classifier.
    """
    if not model.learns_classifier:
        raise ValueError(
            f"model: expected one whose q(y|x) has a gradient to follow; got {type(model).__name__}, whose has none."
        )


def fgsm(model: SemiSupervisedModel, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """The fast gradient sign method, x + ε sign ∇_x -log q(y|x), cut to [0, 1].

    Goodfellow, Shlens and Szegedy 2015, arXiv 1412.6572.

    Args:
        model: The model under attack.
        x: Images (N, channels, height, width), pixels in [0, 1].
        y: True classes, integers (N,).
        epsilon: ε, the largest change of a pixel, in [0, 1].

    Returns:
        The attacked images, of the shape of x.

    Raises:
        ValueError: If the model's q(y|x) has no gradient, or ε is not in [0, 1].
    """

    def run(images: Tensor, labels: Tensor) -> Tensor:
        return _moved(images, images, _gradient(images, lambda x: _cross_entropy(model, x, labels)), epsilon, epsilon)

    return _attack(model, epsilon, run, x, y)


def pgd(
    model: SemiSupervisedModel, x: Tensor, y: Tensor, epsilon: float, *, num_steps: int = 40, seed: int = 0
) -> Tensor:
    """Projected gradient descent on log q(y|x) from a random start, in steps of 2.5 ε / num_steps.

    Madry et al. 2018, arXiv 1706.06083.

    Args:
        model: The model under attack.
        x: Images (N, channels, height, width), pixels in [0, 1].
        y: True classes, integers (N,).
        epsilon: ε, the largest change of a pixel in total, in [0, 1].
        num_steps: The number of steps.
        seed: The random seed for the start within ±ε.

    Returns:
        The attacked images, of the shape of x.

    Raises:
        ValueError: If the model's q(y|x) has no gradient, ε is not in [0, 1], or there is no step.
    """
    check_strength(epsilon, num_steps)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        moved = _started(images, epsilon)
        with progress("PGD", num_steps, "steps") as advance:
            for _ in range(num_steps):
                gradient = _gradient(moved, lambda x: _cross_entropy(model, x, labels))
                moved = _moved(moved, images, gradient, 2.5 * epsilon / num_steps, epsilon)
                advance(1)
        return moved

    with seeded(seed):
        return _attack(model, epsilon, run, x, y)


def adaptive(
    model: SemiSupervisedModel,
    rejection: Rejection,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    num_steps: int = 40,
    seed: int = 0,
) -> Tensor:
    """Projected gradient descent towards images that are misclassified and accepted by the thresholds.

    For each wrong class t, the most probable one first, the attack minimises::

        h( max_{k ≠ t} log q(k|x') - log q(t|x') )  +  h( r_z(x', t) )  +  h( r_x(x', t) ),    h(v) = max(0, v)

    over x' within ±ε of x and in [0, 1], from a random start, in steps of 2.5 ε / num_steps. Here r_z and r_x are the
    excesses of -log p(z | t) and of ‖x - x̂‖ over the limits of class t. If the sum is 0, x' is classified as t and
    accepted, and the search ends. The attack starts from the result of `pgd`. Images for which `pgd` succeeds, or no x'
    is found, keep that result, so the attack succeeds at least as often as `pgd`.

    Args:
        model: The model under attack.
        rejection: The rejection rule.
        x: Images (N, channels, height, width), pixels in [0, 1].
        y: True classes, integers (N,).
        epsilon: ε, the largest change of a pixel in total, in [0, 1].
        num_steps: The number of steps for each of at most 9 wrong classes.
        seed: The random seed for the starts within ±ε.

    Returns:
        The attacked images, of the shape of x.

    Raises:
        ValueError: If the model's q(y|x) has no gradient, ε is not in [0, 1], or there is no step.
    """

    def run(images: Tensor, labels: Tensor, moved: Tensor) -> Tensor:
        logits = model.classify(images).logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
        targets = logits.argsort(dim=-1, descending=True)[:, : min(_TARGETS, model.num_classes - 1)]
        moved = moved.clone()
        left = _unsuccessful(model, rejection, moved, labels)
        with progress("adaptive attack", targets.shape[1] * num_steps, "steps") as advance:
            for target in targets.unbind(1):
                if not len(left):
                    break
                candidates, passed = _search(model, rejection, images[left], target[left], epsilon, num_steps, advance)
                moved[left[passed]] = candidates[passed]
                left = left[~passed]
        return moved

    start = pgd(model, x, y, epsilon, num_steps=num_steps, seed=seed)
    with seeded(seed):
        return _attack(model, epsilon, run, x, y, start)


def attack_loss(model: SemiSupervisedModel, rejection: Rejection, x: Tensor, target: Tensor) -> Tensor:
    """Return the sum that `adaptive` minimises, (N,), with gradient. It is 0 for images classified as t and accepted.

    Args:
        model: The model, in evaluation mode.
        rejection: The rejection rule.
        x: Images (N, channels, height, width), pixels in [0, 1], on the model's device.
        target: The target classes t, integers (N,).

    Returns:
        The sums in units of log-probability and of excess, float64 (N,).
    """
    log_q = model.classify(x).logits.double()
    others = log_q.scatter(-1, target.unsqueeze(-1), -torch.inf).amax(-1)
    latent, reconstruction = measures(model, x, target)
    terms = [
        others - log_q.gather(-1, target.unsqueeze(-1)).squeeze(-1),
        rejection.latent.excess(latent, target),
        rejection.reconstruction.excess(reconstruction, target),
    ]
    return F.relu(torch.stack(terms) + _SLACK).sum(0)


def _search(
    model: SemiSupervisedModel,
    rejection: Rejection,
    x: Tensor,
    target: Tensor,
    epsilon: float,
    num_steps: int,
    advance: Callable[[int], object],
) -> tuple[Tensor, Tensor]:
    """Return attacked images, and which of them are classified as their targets and accepted."""
    moved = _started(x, epsilon)
    for _ in range(num_steps):
        gradient = _gradient(moved, lambda images: -attack_loss(model, rejection, images, target))
        # A successful image has gradient 0 and stays.
        moved = _moved(moved, x, gradient, 2.5 * epsilon / num_steps, epsilon)
        advance(1)
    return moved, attack_loss(model, rejection, moved, target) == 0


def _unsuccessful(model: SemiSupervisedModel, rejection: Rejection, x: Tensor, y: Tensor) -> Tensor:
    """Return the indices of the images that are correctly classified or rejected."""
    decisions = rejection.decide(anomaly_scores(model, x)).to(y.device)
    return ((decisions == y) | (decisions == REJECTED)).nonzero().squeeze(-1)


def _started(x: Tensor, epsilon: float) -> Tensor:
    return (x + epsilon * (2 * torch.rand_like(x) - 1)).clamp(0, 1)


def _cross_entropy(model: SemiSupervisedModel, x: Tensor, y: Tensor) -> Tensor:
    """Return -log q(y | x), (N,)."""
    return F.cross_entropy(model.classify(x).logits, y, reduction="none")


def _gradient(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the gradient of a function's value for each image, with respect to this image."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
    return gradient


def _moved(x: Tensor, original: Tensor, gradient: Tensor, size: float, epsilon: float) -> Tensor:
    """Take a step along the sign of the gradient, within ±ε of the original images and [0, 1]."""
    moved = original + (x + size * gradient.sign() - original).clamp(-epsilon, epsilon)
    return moved.clamp(0, 1)


def _attack(
    model: SemiSupervisedModel, epsilon: float, run: Callable[..., Tensor], x: Tensor, *beside: Tensor
) -> Tensor:
    check_attackable(model)
    check_strength(epsilon)
    device = device_of(model)
    with evaluating(model):
        parts = zip(*(each.to(device).split(_AT_ONCE) for each in (x, *beside)), strict=True)
        return torch.cat([run(*part).to(x.device) for part in parts])
