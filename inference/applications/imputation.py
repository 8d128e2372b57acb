"""Filling in missing entries by importance sampling with a proposal that is fitted to each x."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssvae.data import Table
from ssvae.data.time_left import progress
from ssvae.inference.evaluation.proposal import fit_proposal
from ssvae.inference.predict import device_of, evaluating, images_per_chunk, seeded
from ssvae.models import SemiSupervisedModel
from ssvae.models.importance import Imputation, WeightedSamples, weighted_samples
from ssvae.models.importance import impute as impute_by

_COPIES_AT_ONCE = 16
"""Fewer copies of an x, for samples and classes, are counted than are made: a fit of the proposal to many x is fast."""


class ImputedTable(NamedTuple):
    """A table with its missing entries filled in.

    Attributes:
        csv: The table as CSV.
        summary: A line with the number of entries that were filled in, and the effective sample size.
    """

    csv: str
    summary: str


def impute(
    model: SemiSupervisedModel, x: Tensor, num_samples: int = 100, *, num_draws: int = 0, progress_bar: bool = False
) -> Imputation:
    """Fill in missing entries: E[x_missing | x_seen], and draws from p(x_missing | x_seen).

    The guide is shifted and scaled for each x (`ssvae.inference.evaluation.proposal`), as for log p(x), so that fewer
    samples suffice than in ``model.impute``. `ssvae.models.importance.impute` has the formulas.

    Args:
        model: The model, on any device. Its likelihood admits missing entries.
        x: What the model takes, ``(batch, *event_shape)``, NaN where an entry was not seen. Rows of a data set are
            preprocessed.
        num_samples: S, the number of samples of z, for each class if the model has one.
        num_draws: The number of draws from p(x_missing | x_seen).
        progress_bar: Whether to show a progress bar.

    Returns:
        Mean, draws with their classes, and the effective sample size of each x, on the CPU. What was seen is unchanged.

    Raises:
        ValueError: If the likelihood does not admit missing entries, the guide has no density, a number of samples or
            draws is out of its range, or x is not what the model takes.

    Example:
        >>> import ssvae, torch
        >>> likelihood = ssvae.likelihoods.MissingEntries(ssvae.likelihoods.Gaussian())
        >>> model = ssvae.M2((3,), 2, likelihood=likelihood)
        >>> imputation = ssvae.impute(model, torch.tensor([[0.5, torch.nan, -1.0]]), num_draws=5)
        >>> imputation.mean[0, [0, 2]].tolist(), imputation.draws.shape
        ([0.5, -1.0], torch.Size([5, 1, 3]))
    """
    model._check_imputes(num_samples)
    model._check_batch(x)
    if num_draws < 0:
        raise ValueError(f"num_draws: expected at least 0; got {num_draws}.")
    copies = num_samples * (model.num_classes if model.has_label_site else 1)
    parts: list[Imputation] = []
    with progress("imputation", len(x), "rows", is_shown=progress_bar) as advance:
        for rows in x.to(device_of(model)).split(images_per_chunk(model, copies=max(1, copies // _COPIES_AT_ONCE))):
            with evaluating(model):
                samples = fitted_samples(model, rows, num_samples)
                parts.append(impute_by(samples, model.likelihood, rows, num_draws))
            advance(len(rows))
    classes = [part.draw_classes for part in parts if part.draw_classes is not None]
    return Imputation(
        mean=torch.cat([part.mean for part in parts]).cpu(),
        draws=torch.cat([part.draws for part in parts], 1).cpu(),
        effective_samples=torch.cat([part.effective_samples for part in parts]).cpu(),
        draw_means=torch.cat([part.draw_means for part in parts], 1).cpu(),
        draw_classes=torch.cat(classes, 1).cpu() if classes else None,
    )


def fitted_samples(model: SemiSupervisedModel, x: Tensor, num_samples: int) -> WeightedSamples:
    """Draw z of every class from the guide, shifted and scaled for each x, and return the importance weights.

    Args:
        model: The model, in evaluation mode.
        x: Images or vectors, ``(batch, *event_shape)``, on the model's device, NaN where an entry was not seen.
        num_samples: S, the number of samples of z, for each class if the model has one.

    Returns:
        The weights, and p(x | y, z) of each sample.
    """
    y = model._all_classes(x)
    proposal = fit_proposal(model, x, y)
    return weighted_samples(model.model, model.guide, x, y, num_samples, proposal)


def impute_table(
    model: SemiSupervisedModel, data: Table, file: str, *, num_samples: int = 200, seed: int = 0
) -> ImputedTable:
    """Fill in the missing entries of the features of a table, in its own units.

    Args:
        model: The model.
        data: The table that the model was trained on.
        file: The table to complete, with the same features.
        num_samples: S, the number of samples of z, for each class if the model has one.
        seed: The random seed of the samples.

    Returns:
        The table, and a summary.

    Raises:
        ValueError: If the table has other features, or as in `impute`.
    """
    rows = data.read(file)
    missing = rows.isnan()
    incomplete = missing.any(-1)
    filled = rows.clone()
    summary = "No entry of a feature is missing: the new file is a copy."
    if incomplete.any():
        with seeded(seed):
            imputation = impute(model, data.preprocess(rows[incomplete]), num_samples, progress_bar=True)
        filled[incomplete] = data.restore(imputation.mean).to(rows)
        summary = (
            f"{int(missing.sum())} entries in {int(incomplete.sum())} rows filled in; effective sample size "
            f"{imputation.effective_samples.median():.0f} of {num_samples} (median), "
            f"{imputation.effective_samples.min():.0f} (least)"
        )
    return ImputedTable(data.fill(file, filled), summary)
