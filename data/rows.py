"""Reading rows of numbers from arrays, tensors, lists and DataFrames."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssvae.data.observations import describe
from ssvae.data.pixels import Array
from ssvae.data.standardisation import Standardisation
from ssvae.data.vector_data import check_not_infinite, place

Numbers = npt.NDArray[np.float64]

_MOST_ROUNDING = 0.01
"""The highest error of float32, in units of a feature's scale, that is accepted for half of the rows."""


class Rows(NamedTuple):
    """Rows of numbers.

    Attributes:
        x: float32 (N, features), NaN where an entry is missing, in memory of its own.
        names: The names of the features, of a DataFrame; None if there are none.
    """

    x: Tensor
    names: tuple[str, ...] | None


def read_rows(argument: str, rows: Array, like: Rows | None = None) -> Rows:
    """Return rows of numbers as float32.

    Args:
        argument: Their name in error messages.
        rows: Numbers (N, features): an array, a tensor, lists, or a DataFrame.
        like: The training rows "x", whose number of features and names these rows need; None if these are they.

    Raises:
        TypeError: If they are not numbers.
        ValueError: If they are not (N, features), have infinite or too large numbers, or numbers that float32 does not
            tell apart, or the training rows have a feature without an entry.
    """
    names = _names(argument, rows)
    values = _as_float64(argument, rows, names)
    if values.ndim != 2 or values.shape[1] == 0:
        advice = f": write {argument}.reshape(-1, 1) if there is one feature" if values.ndim == 1 else ""
        raise ValueError(f"{argument}: expected shape (N, features); got {values.shape}{advice}.")
    if like is not None:
        if values.shape[1] != like.x.shape[1]:
            raise ValueError(f"{argument}: expected {like.x.shape[1]} features as in x; got {values.shape[1]}.")
        if names is not None and like.names is not None and names != like.names:
            ours, theirs = next(pair for pair in zip(names, like.names, strict=True) if pair[0] != pair[1])
            raise ValueError(
                f"{argument}: expected the columns of x in its order; got {ours!r} in place of {theirs!r}."
            )
    return Rows(narrow(argument, values, names, check_rounding=like is None), names)


def narrow(
    argument: str, values: Numbers, names: Sequence[str] | None, *, check_rounding: bool = True, first_row: int = 0
) -> Tensor:
    """Return numbers as float32, in memory of their own; NaN is a missing entry.

    Args:
        argument: Their name in error messages.
        values: float64 (N, features).
        names: The names of the features, for error messages; None for x0, x1, …
        check_rounding: Whether to refuse numbers that float32 does not tell apart, and features without an entry.
        first_row: The number of the first row in error messages: 0 in Python, 1 in files.

    Raises:
        ValueError: If a number is infinite or too large for float32, a feature has no entry, or most of its variation
            would be rounded away.
    """
    check_not_infinite(argument, torch.from_numpy(values), names, first_row=first_row)
    with np.errstate(over="ignore"):
        x = torch.from_numpy(values.astype(np.float32))
    if x.isinf().any():
        where = place(x.isinf(), names, first_row)
        raise ValueError(
            f"{argument}: expected numbers below 3.4e38; got {values[x.isinf().numpy()][0]:.3g} in {where}."
        )
    if check_rounding and len(values):
        _check_columns(argument, values, x, names)
    return x


def _names(argument: str, rows: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    """Return the names of the columns of a DataFrame; None for anything else."""
    columns = getattr(rows, "columns", None)
    if columns is None or not hasattr(rows, "dtypes"):
        return None
    names = tuple(map(str, columns))
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{argument}: expected columns of different names; got {repeated[0]!r} twice or more.")
    return names


def _as_float64(argument: str, rows: Any, names: Sequence[str] | None) -> Numbers:  # noqa: ANN401
    if names is not None:
        columns = [_column(argument, name, rows.iloc[:, number]) for number, name in enumerate(names)]
        return np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))
    if hasattr(rows, "toarray"):
        raise TypeError(f"{argument}: expected a dense array; got a sparse one: write {argument}.toarray().")
    if isinstance(rows, np.ma.MaskedArray) and rows.dtype.kind in "buif":
        return np.ma.filled(rows.astype(np.float64), np.nan)
    if isinstance(rows, Tensor):
        # numpy has no bfloat16.
        rows = rows.detach().to_dense().cpu().resolve_neg()
        rows = (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()
    try:
        values = np.asarray(rows)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{argument}: expected rows of one length; got a {describe(rows)} of several.") from error
    return _numeric(argument, values, rows)


def _column(argument: str, name: str, column: Any) -> Numbers:  # noqa: ANN401
    if getattr(column.dtype, "kind", "O") not in "buif":
        raise TypeError(
            f"{argument}: expected columns of numbers; got {name!r} of {column.dtype}: leave it out, or write its "
            "categories as columns of zeros and ones."
        )
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _numeric(argument: str, values: npt.NDArray[Any], given: object) -> Numbers:
    if values.dtype == object:
        try:
            # Numbers beside None, as in an array of a table.
            flat = [np.nan if value is None else value for value in values.ravel().tolist()]
            if any(isinstance(value, str | bytes) for value in flat):
                raise TypeError
            return np.array(flat, dtype=np.float64).reshape(values.shape)
        except (TypeError, ValueError):
            word = next((value for value in flat if isinstance(value, str | bytes)), None)
            came = describe(given) if word is None else f"{word!r}"
            raise TypeError(f"{argument}: expected numbers; got {came}.") from None
    if values.dtype.kind not in "buif":
        raise TypeError(f"{argument}: expected numbers; got {describe(values)}.")
    return values.astype(np.float64)


def _check_columns(argument: str, values: Numbers, x: Tensor, names: Sequence[str] | None) -> None:
    """Refuse features without an entry, and those most of whose variation float32 would round away, such as times."""
    empty = np.isnan(values).all(axis=0)
    if empty.any():
        number = int(empty.argmax())
        name = f"x{number}" if names is None else names[number]
        raise ValueError(f"{argument}: expected an entry of each feature; got none of {name!r}: leave it out.")
    scale = np.array(Standardisation.robust(torch.from_numpy(values)).scale)
    error = np.nanmedian(np.abs(values - x.double().numpy()), axis=0)
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    wrong = (error > _MOST_ROUNDING * scale) & (highest > lowest)
    if wrong.any():
        number = int(wrong.argmax())
        name = f"x{number}" if names is None else names[number]
        raise ValueError(
            f"{argument}: expected numbers that float32 tells apart; got feature {name!r} with values from "
            f"{lowest[number]:.12g} to {highest[number]:.12g}: subtract the smallest."
        )
