"""The base class of data sets of vectors."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ssvae.data.observations import Data, describe
from ssvae.data.standardisation import Standardisation


class VectorData(Data):
    """A data set of rows of numbers, and the labels that are known.

    Rows are stored as they are, with NaN for a missing entry. ``preprocess`` standardises them by the training rows,
    unlabelled ones included:

        (x - centre) / scale,    centre = median,    scale = interquartile range / 1.349

    The scale is the standard deviation if the interquartile range is 0, and 1 if a feature is constant. A few rows far
    away, such as one in another unit, do not change the other rows.

    Args:
        name: The name in printed lines.
        train_x: Training rows, float32 (N, features): finite, or NaN where an entry is missing.
        train_labels: Classes, int64 (N,), -1 for unlabelled rows. Either all are -1, or every class of
            ``class_names`` has a label.
        class_names: The names of the classes that have labels.
        validation_x: Validation rows, float32 (N_v, features), or None for none.
        validation_labels: Classes, int64 (N_v,), or None.
        test_x: Test rows, float32 (N_t, features), or None for none.
        test_labels: Classes, int64 (N_t,), or None.
        feature_names: The names of the features, all different. Default: x0, x1, …
        feature_kinds: The kind of each feature, "real", "count", "binary" or "categorical". Default: all real.
        standardise: Whether ``preprocess`` standardises real features; all others stay as they are.
        train_weights: The weight of each training row in the objective's sums, float64 (N,), or None; see `Data`.
        num_new_classes: The number of further classes, of which no training row has a label; see `Data`.
        hidden_class_names: The names of the classes of validation and test rows without a label in training.

    Raises:
        TypeError: If rows are not float32 or labels not int64 tensors.
        ValueError: If shapes, sizes or label values do not fit together, a number is infinite, or a feature has no
            entry in the training rows.
    """

    item: ClassVar[str] = "row"

    def __init__(
        self,
        name: str,
        train_x: Tensor,
        train_labels: Tensor,
        *,
        class_names: Sequence[str],
        validation_x: Tensor | None = None,
        validation_labels: Tensor | None = None,
        test_x: Tensor | None = None,
        test_labels: Tensor | None = None,
        feature_names: Sequence[str] | None = None,
        feature_kinds: Sequence[str] | None = None,
        standardise: bool = True,
        train_weights: Tensor | None = None,
        num_new_classes: int = 0,
        hidden_class_names: Sequence[str] = (),
    ) -> None:
        super().__init__(
            name,
            train_x,
            train_labels,
            class_names=class_names,
            validation_x=validation_x,
            validation_labels=validation_labels,
            test_x=test_x,
            test_labels=test_labels,
            train_weights=train_weights,
            num_new_classes=num_new_classes,
            hidden_class_names=hidden_class_names,
        )
        (num_features,) = self.event_shape
        if feature_names is None:
            feature_names = [f"x{number}" for number in range(num_features)]
        _check_feature_names(feature_names, num_features)
        self.feature_names = tuple(feature_names)
        self.feature_kinds = ("real",) * num_features if feature_kinds is None else tuple(feature_kinds)
        empty = [name for name, column in zip(feature_names, train_x.T, strict=True) if column.isnan().all()]
        if empty:
            raise ValueError(
                f"train_x: expected an entry of each feature in some training row; got none of {empty[0]!r}."
            )
        self.standardise = standardise
        is_standardised = [standardise and kind == "real" for kind in self.feature_kinds]
        self.standardisation = Standardisation.robust(train_x).only(is_standardised)
        # Kept for each device and type: a step that is captured as a CUDA graph must not copy them from memory.
        self._constants: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    @property
    def centre(self) -> Tensor:
        """The centre of each feature, float64 (features,); zeros if rows are not standardised."""
        return torch.tensor(self.standardisation.centre, dtype=torch.float64)

    @property
    def scale(self) -> Tensor:
        """The scale of each feature, float64 (features,); ones if rows are not standardised."""
        return torch.tensor(self.standardisation.scale, dtype=torch.float64)

    def log_volume(self, x: Tensor) -> Tensor:
        """Return what log p(x_seen) has more than log p(preprocess(x)_seen): -Σ_{seen} log scale; see `Data`."""
        log_scale = self.scale.log().to(x)
        return -(log_scale * ~x.isnan()).sum(-1)

    def preprocess(self, x: Tensor) -> Tensor:
        """Standardise rows.

        Args:
            x: Rows (…, features), floats in the units of the training rows.

        Returns:
            (x - centre) / scale, of the same shape, in torch's default floating-point type, on the same device.

        Raises:
            TypeError: If ``x`` is not a tensor of floats.
            ValueError: If it has another number of features.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"x: expected a tensor of floats; got {describe(x)}.")
        if x.shape[-1:] != self.event_shape:
            raise ValueError(f"x: expected shape (…, {self.event_shape[0]}); got {tuple(x.shape)}.")
        dtype = torch.get_default_dtype()
        if (x.device, dtype) not in self._constants:
            self._constants[x.device, dtype] = self.standardisation.tensors(x)
        centre, scale = self._constants[x.device, dtype]
        return (x.to(dtype) - centre) / scale

    def restore(self, preprocessed: Tensor) -> Tensor:
        """Return rows in the data's own units: the inverse of ``preprocess``.

        Args:
            preprocessed: Rows (…, features), floats.

        Returns:
            preprocessed · scale + centre, of the same shape and type.
        """
        centre, scale = (
            torch.tensor(numbers, dtype=preprocessed.dtype, device=preprocessed.device)
            for numbers in (self.standardisation.centre, self.standardisation.scale)
        )
        return preprocessed * scale + centre

    def num_categories(self, feature: int) -> int:
        """Return the number of categories of a feature whose numbers are codes from 0."""
        parts = (self.train_x, self.validation_x, self.test_x)
        return 1 + max(int(part[:, feature].nan_to_num(0).max()) for part in parts if len(part))

    def _size(self) -> str:
        (number,) = self.event_shape
        missing = f", {self.train_x.isnan().double().mean():.1%} of the training entries missing" * self.has_missing
        return f"{number} feature{'s' * (number > 1)}{missing}"

    @classmethod
    def _check_x(cls, argument: str, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            raise TypeError(f"{argument}: expected a float32 tensor; got {describe(x)}.")
        if x.dim() != 2 or x.shape[1] == 0:
            raise ValueError(f"{argument}: expected shape (N, features); got {tuple(x.shape)}.")
        check_not_infinite(argument, x)


def check_not_infinite(argument: str, x: Tensor, names: Sequence[str] | None = None, *, first_row: int = 0) -> None:
    """Refuse rows with infinity; NaN is a missing entry.

    Args:
        argument: The name of the rows in the error message.
        x: Rows (N, features).
        names: The names of the features; None for x0, x1, …
        first_row: The number of the first row in the error message: 0 in Python, 1 in files.

    Raises:
        ValueError: If a number is infinite.
    """
    is_infinite = x.isinf()
    if is_infinite.any():
        where = place(is_infinite, names, first_row)
        raise ValueError(f"{argument}: expected finite numbers; got {x[is_infinite][0]:g} in {where}.")


def place(is_wrong: Tensor, names: Sequence[str] | None, first_row: int) -> str:
    """Return the first place of wrong numbers in words: "row 3 of column 'mass', and in 2 rows in all".

    Args:
        is_wrong: Which numbers are wrong, bool (N, features), at least one.
        names: The names of the features; None for x0, x1, …
        first_row: The number of the first row.
    """
    row, column = is_wrong.nonzero()[0].tolist()
    number = int(is_wrong.any(-1).sum())
    name = f"x{column}" if names is None else names[column]
    return f"row {row + first_row} of column {name!r}" + (f", and in {number} rows in all" if number > 1 else "")


def _check_feature_names(feature_names: Sequence[str], num_features: int) -> None:
    if isinstance(feature_names, str) or not all(isinstance(name, str) for name in feature_names):
        raise TypeError(f"feature_names: expected a sequence of strings; got {feature_names!r}.")
    if len(feature_names) != num_features:
        raise ValueError(f"feature_names: expected {num_features}, one for each feature; got {len(feature_names)}.")
    repeated = [name for name in feature_names if list(feature_names).count(name) > 1]
    if repeated:
        raise ValueError(f"feature_names: expected different names; got {repeated[0]!r} twice or more.")
