"""The predictions of a run for a vector: class probabilities with intervals, log p(x), and the posterior of z."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyro
import torch
from torch import Tensor

from ssvae.data import Table, VectorData
from ssvae.inference.explorer.answers import Posterior, estimate_posterior
from ssvae.inference.figures.vectors import draw_vectors
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.models import SemiSupervisedModel

_DIGITS = 6
"""Significant digits of a number in a form; float32 has seven."""

_FARTHEST = 1e6


@dataclass(frozen=True)
class Column:
    """A feature, as a field of a form.

    Attributes:
        name: Its name.
        kind: "real", "count", "binary" or "categorical".
        value: The median of the training rows, or the most frequent code of a category.
        categories: The names of the codes 0, 1, …; empty if it is real or a count.
    """

    name: str
    kind: str
    value: float
    categories: tuple[str, ...]


@dataclass(frozen=True)
class RowAnswer:
    """The predictions of a model for one vector; float64, on the CPU.

    Attributes:
        probabilities: q(y|x), (classes,).
        posterior: p(y|x) and log p(x), in the data's own units; None if the model has no class, or its ELBO does not
            bound log p(x).
        mean: The mean of q(z|x, y) for every class y, (classes, latent).
        scale: The standard deviation of each z_i under q(z|x, y), (classes, latent).
        covariance: The covariance of z under q(z|x, y), (classes, latent, latent).
    """

    probabilities: Tensor
    posterior: Posterior | None
    mean: Tensor
    scale: Tensor
    covariance: Tensor


def columns_of(data: VectorData) -> list[Column]:
    """Return the features of a data set, as fields of a form."""
    named = data.feature_categories if isinstance(data, Table) else {}
    columns = []
    for number, (name, kind) in enumerate(zip(data.feature_names, data.feature_kinds, strict=True)):
        entries = data.train_x[:, number]
        entries = entries[~entries.isnan()]
        if kind in ("real", "count"):
            categories: tuple[str, ...] = ()
            value = float(f"{float(entries.median()):.{_DIGITS}g}")
        else:
            categories = named.get(name, tuple(map(str, range(data.num_categories(number)))))
            value = float(entries.mode().values)
        columns.append(Column(name, kind, value, categories))
    return columns


def check_row(model: SemiSupervisedModel, data: VectorData, values: Sequence[float | None]) -> Tensor:
    """Return the values of a form as a row.

    Args:
        model: The model that gets the row.
        data: Its data set.
        values: A number for each feature, in the data's own units; the code of a category; None for an empty field.

    Returns:
        float32 (1, features), NaN for an empty field.

    Raises:
        ValueError: If a value is not of its feature's kind, or a field is empty and the model takes no missing entries.
    """
    columns = columns_of(data)
    if len(values) != len(columns):
        raise ValueError(f"values: expected {len(columns)}, one for each feature; got {len(values)}.")
    for column, value in zip(columns, values, strict=True):
        if value is not None:
            _check_value(column, value)
    row = torch.tensor([[math.nan if value is None else value for value in values]], dtype=torch.float32)
    if None in values and not model.likelihood.admits_missing:
        name = columns[list(values).index(None)].name
        raise ValueError(f"{name}: expected a value, since this model takes no missing entries; got an empty field.")
    return row


def answer_row(model: SemiSupervisedModel, data: VectorData, row: Tensor, *, num_samples: int = 50) -> RowAnswer:
    """Return the predictions of a model for one row; the same ones for the same row.

    Args:
        model: The model.
        data: Its data set, in whose units the row is.
        row: float32 (1, features).
        num_samples: The number of importance samples for each class.

    Raises:
        ValueError: If num_samples is less than 2, or a value is a million times as large as those of the training rows:
            its density is too small for a floating-point number.
    """
    x = data.preprocess(row)
    largest = max(1.0, float(data.preprocess(data.train_x).nan_to_num().abs().max()))
    if x.nan_to_num().abs().max() > _FARTHEST * largest:
        raise ValueError("values: expected a row near those of the training; got one far away, without a density.")
    posterior = None
    if model.has_label_site and model.bounds_evidence:
        # Pyro's validation would double the time; the row has been checked. NumPy would warn of the weights of a row
        # far away, all but one of which are 0: their k̂ is NaN, which counts as unreliable.
        with pyro.validation_enabled(False), np.errstate(divide="ignore", invalid="ignore"), seeded(0):
            posterior = estimate_posterior(model, x, num_samples)
        posterior = replace(posterior, log_evidence=posterior.log_evidence + data.log_volume(row).item())
    y = torch.arange(model.num_classes, device=device_of(model)).unsqueeze(-1)  # (classes, 1)
    with evaluating(model):
        q_z = model.q_z(x.to(y.device), y)
        shape = model.num_classes, 1, *q_z.event_shape
        # (classes, latent): of some models q(z | x, y) is the same for all classes.
        mean, variance = (value.expand(shape)[:, 0].cpu().double() for value in (q_z.mean, q_z.variance))
        if isinstance(q_z, torch.distributions.MultivariateNormal):
            covariance = q_z.covariance_matrix.expand(*shape, shape[-1])[:, 0].cpu().double()
        else:
            covariance = variance.diag_embed()  # (classes, latent, latent)
    return RowAnswer(class_probabilities(model, x)[0], posterior, mean, variance.sqrt(), covariance)


def sample_rows(model: SemiSupervisedModel, data: VectorData, y: int, number: int, seed: int) -> Tensor:
    """Return rows of a class, x ~ p(x | y, z) p(z | y), (number, features), in the units of the data."""
    with seeded(seed):
        return draw_vectors(model, data, number)[:, y]


def _check_value(column: Column, value: float) -> None:
    if column.kind == "real" and not abs(value) <= torch.finfo(torch.float32).max:
        raise ValueError(f"{column.name}: expected a finite number; got {value}.")
    if column.kind == "count" and not (0 <= value <= 2**24 and value == round(value)):
        raise ValueError(f"{column.name}: expected a whole number from 0 to {2**24}; got {value}.")
    if column.categories and value not in range(len(column.categories)):
        raise ValueError(f"{column.name}: expected the code of a category, 0 to {len(column.categories) - 1}; "
                         f"got {value}.")  # fmt: skip
