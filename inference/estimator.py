"""A scikit-learn estimator around any model."""

import copy
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pyro
import torch
from pyro import poutine
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from ssvae.data import Augmentation, ImageData
from ssvae.data.classes import known_classes
from ssvae.inference.objective.objective import Objective
from ssvae.inference.objective.schedules import KLWeight
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.inference.runs.runs import check_likelihood, check_sizes
from ssvae.inference.training.checks import check_trainable
from ssvae.inference.training.history import Row
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.inference.training.training import train
from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood
from ssvae.models.networks import Architecture, EventShape, ImageShape
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior
from ssvae.models.stages import Refits

Matrix = npt.NDArray[np.float64]

_FEW_LABELS = Objective(alpha=100.0, kl_weight=KLWeight(start=5.0, end=1.0, until=0.75))
_LEVELS = 255
_ROOM = 3.0
_NARROW = 1 / 16
_IMAGES_AT_ONCE = 1000
_KINDS: dict[str, type] = {
    "prior": Prior,
    "posterior": Posterior,
    "likelihood": Likelihood,
    "networks": Architecture,
    "classifier": Architecture,
    "class_prior": ClassPrior,
    "objective": Objective,
    "augmentation": Augmentation,
    "trainer": TrainerOptions,
}
_PARTS = ("prior", "posterior", "likelihood", "networks", "classifier", "class_prior")
_WHOLE_NUMBERS = ("max_epochs", "max_steps", "batch_size", "labelled_batch_size")


class SemiSupervisedClassifier(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Any model of this project as a scikit-learn classifier and transformer, trained on all rows, labelled or not.

    A row is unlabelled if its class is -1, as in `sklearn.semi_supervised`, or NaN, None or pandas' NA. If classes are
    strings, mark unlabelled rows by one of these in an array of ``dtype=object``, or by "unlabelled", "unlabeled" or ""
    in an array of strings. Strings such as "nan" and "-1" are ambiguous and refused.

    A row of X is a flattened image, in the order (channels, height, width). Models need pixels in [0, 1]. ``fit``
    stores the range of its rows, and every method rescales X by this range::

        x = clip((X - data_min_) / data_range_, 0, 1), rounded to a multiple of 1/255

    If ``image_shape`` is given, all pixels share one range; otherwise each column has its own. X is not rescaled if it
    is within [0, 1], except for columns whose range is shorter than 1/16. With twenty rows or more the range excludes
    outliers: values whose distance from the interval between the 5 % and 95 % quantiles is more than three times the
    length of the interval. (Tukey 1977 uses quartiles, but here many pixels are 0 in most rows.)

    ``fit`` prints nothing, writes no files, and restores global random states, except NumPy's if ``random_state`` is
    None. It trains copies of the prior and the other modules, and clones share nothing.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from ssvae.inference import SemiSupervisedClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> y[100:] = -1
        >>> classifier = SemiSupervisedClassifier(image_shape=(1, 8, 8), max_steps=60, random_state=0).fit(X, y)
        >>> classifier.predict(X[:3])
        array([0, 1, 2])

    Args:
        model: The model's class, or a function that returns a model, such as a `functools.partial`. It is called with
            event_shape, num_classes, and those of the next six arguments that are not None.
        prior: p(z) or p(z | y). ``random_state`` does not affect initial values that its constructor has drawn.
        posterior: The family of q(z | ·).
        likelihood: p(x | ·).
        networks: The architecture of q(z | x, y) and p(x | y, z).
        classifier: The architecture of q(y | x).
        class_prior: p(y).
        image_shape: Channels (1 or 3), height and width of a row; None for rows that are not images, which become
            (1, 1, n_features) and cannot be augmented.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch, as a Bernoulli
            likelihood needs.
        objective: The objective J and its options; None for ``Objective(alpha=100, kl_weight=KLWeight(5, 1, 0.75))``,
            as in the recipe ``few_labels_generative``, for few labels.
        augmentation: Random shifts, rotations and scalings of labelled images and of x' for consistency; or None.
        max_epochs: The largest number of passes over the unlabelled rows; None if only max_steps limits training.
        max_steps: The largest number of optimiser steps, rounded up to whole epochs; None if only max_epochs limits
            training.
        batch_size: The number of unlabelled rows in a step; all, if there are fewer.
        labelled_batch_size: The number of labelled rows in a step; all, if there are fewer. None for all, at most 100.
        learning_rate: The learning rate of Adam; with one_cycle, the highest one.
        one_cycle: Whether the learning rate rises and falls over training instead of staying constant.
        cycles: The number of such cycles, for a model that is trained in stages.
        trainer: Device, precision, gradient clipping; None for `TrainerOptions` without a progress bar.
        random_state: An integer, a `numpy.random.RandomState` or None, as in scikit-learn, for initial weights, batches
            and samples.

    Attributes:
        classes_: The classes, (n_classes,), sorted.
        model_: The trained `SemiSupervisedModel`; its class k is ``classes_[k]``.
        history_: A row for each logged epoch, with the terms of J in nats per image.
        transduction_: The class of every training row, (n_samples,): the label if there is one, otherwise the most
            probable class.
        data_min_: The least value of each feature without outliers, (n_features,); 0 if X is not rescaled.
        data_range_: The length of the range of each feature, (n_features,); 1 if X is not rescaled.
        n_features_in_: The number of features.
        feature_names_in_: The names of the features, if X has names that are strings.
    """

    def __init__(
        self,
        model: Callable[..., SemiSupervisedModel] = M2,
        *,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        networks: Architecture | None = None,
        classifier: Architecture | None = None,
        class_prior: ClassPrior | None = None,
        image_shape: ImageShape | None = None,
        binarise: bool = False,
        objective: Objective | None = None,
        augmentation: Augmentation | None = None,
        max_epochs: int | None = None,
        max_steps: int | None = 1000,
        batch_size: int = 100,
        labelled_batch_size: int | None = None,
        learning_rate: float = 2e-3,
        one_cycle: bool = True,
        cycles: int = 1,
        trainer: TrainerOptions | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.model = model
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.networks = networks
        self.classifier = classifier
        self.class_prior = class_prior
        self.image_shape = image_shape
        self.binarise = binarise
        self.objective = objective
        self.augmentation = augmentation
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size
        self.learning_rate = learning_rate
        self.one_cycle = one_cycle
        self.cycles = cycles
        self.trainer = trainer
        self.random_state = random_state

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> "SemiSupervisedClassifier":
        """Train a model on labelled and unlabelled rows.

        With weights w_i the objective is::

            J = Σ_labelled w_i L(x_i, y_i) + Σ_unlabelled w_i U(x_i) + α mean_labelled( -log q(y_i|x_i) )

        where the mean is weighted too. A weight of 2 has the same effect on J as including the row twice, and a weight
        of 0 as leaving it out. A row appears in batches in proportion to its weight (`ssvae.data.Batches`), which
        estimates the sums without bias.

        Args:
            X: Rows, (n_samples, n_features).
            y: Their classes, (n_samples,); -1, NaN, None or pandas' NA for unlabelled rows.
            sample_weight: The weight of each row, (n_samples,); None for equal weights.

        Returns:
            The estimator.

        Raises:
            TypeError: If X is sparse, classes are of several types, or a parameter is of the wrong type.
            ValueError: If X has NaN or infinite values or strings, y has fewer than two classes, a weight is negative,
                weights differ but the model is refitted to all labelled rows at once (`ssvae.models.stages.Refits`),
                or a parameter is invalid.
            FloatingPointError: If the loss is no longer finite.
        """
        self._check_parameters()
        if y is None:
            validate_data(self, X, y)  # raises scikit-learn's error for a missing y
        all_rows = self._rows(X, reset=True)
        values, known = _read_classes(y)
        check_consistent_length(all_rows, values)
        kept, weights = _read_weights(sample_weight, len(all_rows))
        rows, labels, is_labelled = all_rows[kept], values[kept], known[kept]
        if not is_labelled.any():
            raise ValueError("y: expected the class of some rows (-1 marks unlabelled rows); got none.")
        check_classification_targets(labels[is_labelled])
        classes, codes = np.unique(labels[is_labelled], return_inverse=True)
        if len(classes) < 2:
            raise ValueError(_one_class(classes, values))
        image_shape = self._image_shape(rows.shape[1])
        lowest, extent = self._range_of(rows)
        all_codes = np.full(len(rows), -1)
        all_codes[is_labelled] = codes
        data = ImageData(
            "X",
            _as_bytes(rows, lowest, extent, image_shape),
            torch.from_numpy(all_codes),
            class_names=[str(each) for each in classes],
            binarise=self.binarise,
            train_weights=weights,
        )
        seed = self._seed()
        recipe = self._recipe(data, seed)
        with seeded(seed):
            model = self._new_model(image_shape, len(classes))
        if weights is not None and isinstance(model, Refits):
            raise ValueError(
                f"sample_weight: expected equal weights (or 0) for {type(model).__name__}, which is fitted to all "
                f"labelled rows with equal weights; got different ones."
            )
        check_sizes(model, data)
        check_likelihood(model, data)
        check_trainable(model, data, recipe, folder=None)
        self.history_: list[Row] = train(model, data, recipe, folder=None)
        self.model_ = model
        self.classes_ = classes
        self.data_min_, self.data_range_ = lowest, extent
        self.transduction_ = classes[class_probabilities(self._in_float64(), self._scaled(all_rows)).numpy().argmax(1)]
        self.transduction_[known] = values[known]
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the most probable class by q(y | x) of each row, (n_samples,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: npt.ArrayLike) -> Matrix:
        """Return q(y | x) for rows (n_samples, n_features): (n_samples, n_classes), in the order of ``classes_``."""
        pixels = self._pixels(X)
        return class_probabilities(self._in_float64(), pixels).numpy()

    def predict_log_proba(self, X: npt.ArrayLike) -> Matrix:
        """Return log q(y | x) for rows (n_samples, n_features): (n_samples, n_classes), ordered as ``classes_``."""
        pixels, model = self._pixels(X), self._in_float64()
        with evaluating(model):
            chunks = torch.split(pixels, _IMAGES_AT_ONCE)
            logits = [model.classify(chunk.to(device_of(model))).logits.cpu() for chunk in chunks]
        return torch.cat(logits).log_softmax(-1).numpy()

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the accuracy on labelled rows; unlabelled rows are left out.

        Cross-validation and grid search therefore also work if only some rows are labelled. With
        ``scoring="accuracy"`` they count every unlabelled row as an error.

        Args:
            X: Rows, (n_samples, n_features).
            y: Their classes, (n_samples,); -1, NaN, None or pandas' NA for unlabelled rows.
            sample_weight: The weight of each row, (n_samples,); None for equal weights.

        Returns:
            The accuracy, in [0, 1].

        Raises:
            ValueError: If no row has a label, or there is not one class for each row.
        """
        predicted, (labels, known) = self.predict(X), _read_classes(y)
        if not known.any():
            raise ValueError("y: expected the class of some rows to score; got unlabelled rows only.")
        if len(labels) != len(predicted):
            raise ValueError(f"y: expected {len(predicted)} classes, one for each row; got {len(labels)}.")
        weight = None if sample_weight is None else column_or_1d(sample_weight)[known]
        return accuracy_score(labels[known], predicted[known], sample_weight=weight)

    def transform(self, X: npt.ArrayLike) -> Matrix:
        """Return the mean of q(z | x, y) at the most probable y, (n_samples, latent_dim), for rows X."""
        return self._encode(self._pixels(X))

    def sample(self, n_samples: int = 1, y: npt.ArrayLike | None = None) -> Any:  # noqa: ANN401
        """Return generated rows: the mean of p(x | y, z), with z drawn from the prior, in the units of X.

        The samples depend on ``random_state``. If it is an integer, every call with the same arguments returns the same
        samples, as in `sklearn.mixture.GaussianMixture`.

        Args:
            n_samples: The number of rows; with y, the number of rows of each class.
            y: A class, or classes (k,); None to draw the classes from p(y).

        Returns:
            Without y, X (n_samples, n_features) and the drawn classes (n_samples,). With y, X alone,
            (k · n_samples, n_features), whose classes are ``np.repeat(y, n_samples)``.

        Raises:
            TypeError: If n_samples is not an integer.
            ValueError: If n_samples is not positive or a class is unknown.
        """
        check_is_fitted(self)
        _check_whole_number("n_samples", n_samples)
        if n_samples < 1:
            raise ValueError(f"n_samples: expected at least 1; got {n_samples}.")
        with seeded(self._seed()), evaluating(self.model_):
            if y is None:
                codes = _draw_classes(self.model_, n_samples)
            else:
                codes = torch.from_numpy(np.repeat(self._codes(y), n_samples))
            chunks = torch.split(codes.to(device_of(self.model_)), _IMAGES_AT_ONCE)
            images = torch.cat([self.model_.sample(chunk)[0].cpu() for chunk in chunks])
        rows = images.flatten(start_dim=1).double().numpy() * self.data_range_ + self.data_min_
        return (rows, self.classes_[codes.numpy()]) if y is None else rows

    @property
    def _n_features_out(self) -> int:
        """The number of latent features, for `get_feature_names_out`."""
        return self._encode(torch.zeros(1, *self.model_.event_shape, dtype=torch.float64)).shape[1]

    def _check_parameters(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}: expected an object of class {kind.__name__}, or None; got {value!r}.")
        if not callable(self.model):
            raise TypeError(f"model: expected a model's class or a function that returns a model; got {self.model!r}.")
        for name in _WHOLE_NUMBERS:
            if getattr(self, name) is not None or name == "batch_size":
                _check_whole_number(name, getattr(self, name))
        if not isinstance(self.learning_rate, Real):
            raise TypeError(f"learning_rate: expected a number; got {self.learning_rate!r}.")

    def _image_shape(self, num_features: int) -> ImageShape:
        if self.image_shape is None:
            if self.augmentation is not None:
                raise ValueError(
                    "image_shape: expected (channels, height, width), as augmentation needs images; got None."
                )
            return (1, 1, num_features)
        shape = tuple(self.image_shape) if isinstance(self.image_shape, tuple | list) else ()
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1 or math.prod(shape) != num_features:
            raise ValueError(
                f"image_shape: expected (channels, height, width) with 1 or 3 channels and {num_features} numbers in "
                f"all, as many as X has features; got {self.image_shape}."
            )
        return shape

    def _range_of(self, X: Matrix) -> tuple[Matrix, Matrix]:
        """Return the least value and the length of the range of each feature."""
        columns = X.T if self.image_shape is None else X.reshape(1, -1)
        lowest, highest = np.array([_reach(column) for column in columns]).T
        extent = np.where(highest > lowest, highest - lowest, 1.0)  # a constant feature becomes 0
        if lowest.min() >= 0 and highest.max() <= 1:
            is_wide = extent >= _NARROW
            lowest, extent = np.where(is_wide, 0.0, lowest), np.where(is_wide, 1.0, extent)
        return np.broadcast_to(lowest, X.shape[1]).copy(), np.broadcast_to(extent, X.shape[1]).copy()

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _recipe(self, data: ImageData, seed: int) -> Recipe:
        """Return the recipe of training, with batches no larger than the data."""
        labelled_batch_size = self.labelled_batch_size
        if labelled_batch_size is not None:
            labelled_batch_size = min(labelled_batch_size, data.num_labelled)
        # Grid searches often use NumPy's numbers, which Lightning does not accept.
        return Recipe(
            objective=self.objective if self.objective is not None else _FEW_LABELS,
            augmentation=self.augmentation,
            max_epochs=_plain(self.max_epochs),
            max_steps=_plain(self.max_steps),
            batch_size=int(min(self.batch_size, data.num_unlabelled or self.batch_size)),
            labelled_batch_size=_plain(labelled_batch_size),
            learning_rate=float(self.learning_rate),
            one_cycle=self.one_cycle,
            cycles=int(self.cycles),
            seed=seed,
            trainer=self.trainer if self.trainer is not None else TrainerOptions(progress_bar=False),
        )

    def _new_model(self, image_shape: ImageShape, num_classes: int) -> SemiSupervisedModel:
        """Return an untrained model with copies of the given parts."""
        given = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        make, parts = copy.deepcopy((self.model, given))
        model = make(event_shape=image_shape, num_classes=num_classes, **parts)
        if not isinstance(model, SemiSupervisedModel):
            raise TypeError(f"model: expected a function that returns a SemiSupervisedModel; got a {type(model)}.")
        return model

    def _rows(self, X: npt.ArrayLike, *, reset: bool = False) -> Matrix:
        """Return X as finite numbers, (n_samples, n_features)."""
        try:
            rows: Matrix = validate_data(self, X, dtype=np.float64, ensure_all_finite=False, reset=reset)
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"X: expected numbers; got {_first_word(X)} (sklearn.preprocessing.OneHotEncoder converts text to "
                "numbers)."
            ) from error
        wrong = ~np.isfinite(rows)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            name = self.feature_names_in_[column] if hasattr(self, "feature_names_in_") else int(column)
            what = "NaN" if np.isnan(rows[row, column]) else "infinity"
            raise ValueError(
                f"X: expected finite numbers; got {what} in row {row} of column {name!r}, and "
                f"{int(wrong.any(1).sum())} such rows in all (sklearn.impute.SimpleImputer fills in missing values)."
            )
        return rows

    def _pixels(self, X: npt.ArrayLike) -> Tensor:
        """Return rows as images with pixels in [0, 1], (n_samples, *image_shape), float64."""
        check_is_fitted(self)
        return self._scaled(self._rows(X))

    def _scaled(self, rows: Matrix) -> Tensor:
        return _as_bytes(rows, self.data_min_, self.data_range_, self.model_.event_shape).double() / _LEVELS

    def _in_float64(self) -> SemiSupervisedModel:
        """Return a copy of the model in float64, whose predictions do not depend on the other rows of a batch.

        In float32 the seventh digit of a matrix product can change with the number of rows.
        """
        return copy.deepcopy(self.model_).double()

    def _encode(self, pixels: Tensor) -> Matrix:
        model = self._in_float64()
        with evaluating(model):
            chunks = torch.split(pixels, _IMAGES_AT_ONCE)
            return torch.cat([model.encode(chunk.to(device_of(model))).cpu() for chunk in chunks]).numpy()

    def _codes(self, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the positions of classes in ``classes_``."""
        wanted = np.atleast_1d(np.asarray(y))
        matches = wanted[:, None] == self.classes_  # (k, classes)
        unknown = wanted[~matches.any(1)].tolist()
        if unknown:
            raise ValueError(f"y: expected classes among {self.classes_.tolist()}; got {unknown[0]!r}.")
        return matches.argmax(1)


def _read_classes(y: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return classes (n_samples,) and which of them are known."""
    values, known = known_classes("y", y)
    if np.asarray(y).dtype.kind == "U":
        values = values.astype(str)
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError("y: expected classes, or NaN for unlabelled rows; got infinity.")
    return column_or_1d(values, warn=True), known.ravel()


def _read_weights(sample_weight: npt.ArrayLike | None, number: int) -> tuple[npt.NDArray[np.bool_], Tensor | None]:
    """Return which rows have a positive weight, (n_samples,), and their weights, float64; None if these are equal."""
    if sample_weight is None:
        return np.ones(number, dtype=bool), None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sample_weight: expected numbers; got others: {error}.") from error
    if weights.shape != (number,):
        raise ValueError(f"sample_weight: expected shape ({number},), one for each row; got {weights.shape}.")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"sample_weight: expected finite numbers of at least 0; got {weights.min()}.")
    kept = weights > 0
    if number and not kept.any():
        raise ValueError("sample_weight: expected a positive weight for some rows; got zero for all.")
    weights = weights[kept]
    return kept, None if (weights == weights[:1]).all() else torch.from_numpy(weights)


def _one_class(classes: npt.NDArray[Any], values: npt.NDArray[Any]) -> str:
    expected = "y: expected two classes or more; got"
    if classes[0] == 1 and values.dtype != bool and (values == -1).any():
        return (
            f"{expected} -1 and 1, where -1 marks unlabelled rows, as in sklearn.semi_supervised. Encode the classes "
            "as 0 and 1."
        )
    return f"{expected} one class, {classes.tolist()[0]!r}."


def _first_word(X: npt.ArrayLike) -> str:
    """Return the first string in X with the name of its column, for an error message."""
    values = np.asarray(X, dtype=object)
    word, column = next((each, column) for row in values for column, each in enumerate(row) if isinstance(each, str))
    names = getattr(X, "columns", range(values.shape[1]))
    return f"{word!r} in column {names[column]!r}"


def _reach(values: Matrix) -> tuple[float, float]:
    """Return the minimum and maximum of values (n,) without outliers."""
    ordered = np.sort(values)
    cut = len(ordered) // 20
    low, high = ordered[cut], ordered[-1 - cut]
    if low == high and ordered[0] < ordered[-1]:
        # Nine of ten values are equal, as in sparse features. The others then determine the range.
        low, high = _reach(ordered[ordered != low])
        return min(low, ordered[cut]), max(high, ordered[cut])
    room = _ROOM * (high - low)
    inside = ordered[(ordered >= low - room) & (ordered <= high + room)]
    return inside[0], inside[-1]


def _as_bytes(X: Matrix, lowest: Matrix, extent: Matrix, image_shape: EventShape) -> Tensor:
    """Return rows as 8-bit images, (n_samples, *image_shape)."""
    unit = ((X - lowest) / extent).clip(0, 1)
    return torch.from_numpy(np.rint(unit * _LEVELS).astype(np.uint8)).view(-1, *image_shape)


def _draw_classes(model: SemiSupervisedModel, number: int) -> Tensor:
    """Draw classes from p(y), (number,), on the CPU; from the uniform distribution if the model has no class."""
    if not model.has_label_site:
        return torch.randint(model.num_classes, (number,))
    blank = torch.zeros(1, *model.event_shape, device=device_of(model))
    drawn = []
    with pyro.settings.context(module_local_params=True):  # nothing enters Pyro's store
        for start in range(0, number, _IMAGES_AT_ONCE):
            images = blank.expand(min(_IMAGES_AT_ONCE, number - start), -1, -1, -1)
            nodes: dict[str, Any] = poutine.trace(model.model).get_trace(images).nodes
            drawn.append(nodes["y"]["value"].cpu())
    return torch.cat(drawn)


def _plain(value: int | None) -> int | None:
    return None if value is None else int(value)


def _check_whole_number(name: str, value: object) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer; got {value!r}.")
