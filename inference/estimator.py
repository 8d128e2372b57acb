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
from ssvae.models.networks import Architecture, ImageShape
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

    Rows whose class is -1, as in `sklearn.semi_supervised`, NaN, None or pandas' NA are unlabelled; so no class can be
    called -1. Classes that are strings stand beside these in an array of ``dtype=object``; in an array of strings
    "unlabelled", "unlabeled" and "" are unlabelled, and strings such as "nan" and "-1" are refused.

    A row of X is an image, flattened: (channels, height, width) in this order. The models look at numbers in [0, 1],
    so `fit` notes the range of all its rows, and every method brings X to [0, 1] by it and clips what lies outside::

        x = clip((X - data_min_) / data_range_, 0, 1), rounded to multiples of 1/255 as all images are

    If `image_shape` is given, all pixels share one range; otherwise each column has its own. With twenty rows or more
    the range leaves out outliers, so that one wrong row does not squeeze all others together. An outlier lies further
    outside the middle 90 % than three times its width: the far-out values of Tukey 1977 with the 5 % and 95 %
    quantiles for the quartiles, since many pixels and features are 0 in most rows. X in [0, 1] is taken as it is,
    except for features that span less than a sixteenth of it.

    `fit` prints nothing, writes nothing, and leaves every global random state as it was (but numpy's, where
    `random_state` is None). It trains copies: the prior and the other modules that are given stay as they are, and
    clones share nothing.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from ssvae.inference import SemiSupervisedClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> y[100:] = -1
        >>> classifier = SemiSupervisedClassifier(image_shape=(1, 8, 8), max_steps=300, random_state=0).fit(X, y)
        >>> classifier.predict(X[:3])
        array([0, 1, 2])

    Args:
        model: The model's class, or a function (`functools.partial` too) that returns a model. It is called with
            image_shape, num_classes and those of the next six arguments that are given.
        prior: p(z) or p(z | y). `random_state` does not affect the initial values that its constructor drew.
        posterior: The family of q(z | ·).
        likelihood: p(x | ·).
        networks: The networks of q(z | x, y) and p(x | y, z).
        classifier: The networks of q(y | x).
        class_prior: p(y).
        image_shape: Channels (1 or 3), height and width of a row; None for (1, 1, n_features), features without a
            neighbourhood, which no augmentation suits.
        binarise: Whether pixels are drawn from Bernoulli distributions at every batch, for a Bernoulli likelihood.
        objective: J and its options; None for ``Objective(alpha=100, kl_weight=KLWeight(5, 1, 0.75))``, which suits few
            labels, as in the recipe ``few_labels_generative``.
        augmentation: How labelled images, and the x' of consistency, are shifted, turned and scaled; or None.
        max_epochs: Passes over the unlabelled rows, at most; None for no limit but max_steps.
        max_steps: Optimiser steps, at most, rounded up to whole epochs; None for no limit but max_epochs.
        batch_size: Unlabelled rows in a step; all of them where there are fewer.
        labelled_batch_size: Labelled rows in a step; all of them where there are fewer; None for at most 100.
        learning_rate: Adam's, or the highest one of the cycle.
        one_cycle: Whether the learning rate rises and falls over training rather than staying constant.
        cycles: How many times it does so, for a model in stages.
        trainer: Device, precision, gradient clipping, progress bar; None for the defaults of `TrainerOptions`, but
            without the bar.
        random_state: An integer, a `numpy.random.RandomState` or None, as everywhere in scikit-learn: of the initial
            weights, the batches and the samples.

    Attributes:
        classes_: The classes, (n_classes,), sorted.
        model_: The trained `SemiSupervisedModel`; its class k is ``classes_[k]``.
        history_: A row of terms of J for every epoch noted.
        transduction_: The class of every row that was trained on, (n_samples,): what y said, where it said
            something, and elsewhere the most probable one.
        data_min_: The least value of every feature but outliers, (n_features,); zeros where X lay in [0, 1].
        data_range_: The length of its range, (n_features,); ones where X lay in [0, 1].
        n_features_in_: How many features there are.
        feature_names_in_: Their names, where X had names that are strings.
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

        With weights w_i, J is Σ_labelled w_i L(x_i, y_i) + Σ_unlabelled w_i U(x_i) + α · the weighted mean of
        -log q(y_i|x_i): a weight of 2 is the same as the row twice, and of 0 the same as without the row. The sums are
        estimated without bias, by batches in which a row stands as often as its weight asks (`ssvae.data.Batches`); so
        two rows and one of twice the weight have the same J, and not the same random batches.

        Args:
            X: Rows, (n_samples, n_features).
            y: Their classes, (n_samples,); -1, NaN, None or pandas' NA where it is not known.
            sample_weight: How much each row counts, labelled or not, (n_samples,); None for all alike.

        Returns:
            The estimator.

        Raises:
            TypeError: If X is sparse, y holds classes of several types, or a parameter is not of its kind.
            ValueError: If X has NaN or infinite values or strings, y names fewer than two classes, a weight is
                negative, rows have different weights but the model's classifier is not trained on batches, or a
                parameter does not fit.
            FloatingPointError: If the loss is no longer finite.
        """
        self._check_parameters()
        if y is None:
            validate_data(self, X, y)  # which says in scikit-learn's words that there has to be one
        all_rows = self._rows(X, reset=True)
        values, known = _read_classes(y)
        check_consistent_length(all_rows, values)
        kept, weights = _read_weights(sample_weight, len(all_rows))
        rows, labels, is_labelled = all_rows[kept], values[kept], known[kept]
        if not is_labelled.any():
            raise ValueError("y: expected the class of some rows (-1 marks those whose class is not known); got none.")
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
                f"sample_weight: expected equal weights (or 0) for {type(model).__name__}, which looks at all labelled "
                f"rows at once, one like the other; got others."
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
        """Return q(y | x) for rows (n_samples, n_features); (n_samples, n_classes), in the order of ``classes_``."""
        pixels = self._pixels(X)
        return class_probabilities(self._in_float64(), pixels).numpy()

    def predict_log_proba(self, X: npt.ArrayLike) -> Matrix:
        """Return log q(y | x) for rows (n_samples, n_features), (n_samples, n_classes), columns as ``classes_``."""
        pixels, model = self._pixels(X), self._in_float64()
        with evaluating(model):
            chunks = torch.split(pixels, _IMAGES_AT_ONCE)
            logits = [model.classify(chunk.to(device_of(model))).logits.cpu() for chunk in chunks]
        return torch.cat(logits).log_softmax(-1).numpy()

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the accuracy on the rows whose class is known: the others are left out.

        So cross-validation and grid search work where only some rows are labelled. With ``scoring="accuracy"`` they
        would count every row with -1 as an error.

        Args:
            X: Rows, (n_samples, n_features).
            y: Their classes, (n_samples,).
            sample_weight: How much each row counts, (n_samples,); equally where it is not given.

        Raises:
            ValueError: If no row has a class.
        """
        predicted, (labels, known) = self.predict(X), _read_classes(y)
        if not known.any():
            raise ValueError("y: expected the class of some rows to score; got -1, not known, for all.")
        if len(labels) != len(predicted):
            raise ValueError(f"y: expected {len(predicted)} classes, one for each row; got {len(labels)}.")
        weight = None if sample_weight is None else column_or_1d(sample_weight)[known]
        return accuracy_score(labels[known], predicted[known], sample_weight=weight)

    def transform(self, X: npt.ArrayLike) -> Matrix:
        """Return latent features: the mean of q(z | x, y) at the most probable y, (n_samples, latent_dim)."""
        return self._encode(self._pixels(X))

    def sample(self, n_samples: int = 1, y: npt.ArrayLike | None = None) -> Any:  # noqa: ANN401
        """Return generated rows: the mean of p(x | y, z), with z drawn from the prior, in the units of X.

        As in `sklearn.mixture.GaussianMixture`, `random_state` decides the draws: with an integer every call with the
        same arguments returns the same.

        Args:
            n_samples: How many rows; of each class, where classes are given.
            y: A class, or classes (k,); None to draw the classes from p(y).

        Returns:
            X (n_samples, n_features) and the drawn classes (n_samples,) where y is None; otherwise X alone,
            (k · n_samples, n_features), the rows of each class one after the other, ``np.repeat(y, n_samples)``.

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
        """How many latent features there are, for `get_feature_names_out`."""
        return self._encode(torch.zeros(1, *self.model_.image_shape, dtype=torch.float64)).shape[1]

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
                    "image_shape: expected one, since augmentation turns and shifts images, not rows of features; "
                    "got None."
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
        """Return how to train, with batches no larger than the data."""
        labelled_batch_size = self.labelled_batch_size
        if labelled_batch_size is not None:
            labelled_batch_size = min(labelled_batch_size, data.num_labelled)
        # scikit-learn's grids are often of numpy's numbers, which Lightning does not take.
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
        """Return an untrained model, made of copies."""
        given = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        make, parts = copy.deepcopy((self.model, given))
        model = make(image_shape=image_shape, num_classes=num_classes, **parts)
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
                f"X: expected numbers; got {_first_word(X)}: make numbers of words, with "
                "sklearn.preprocessing.OneHotEncoder, say."
            ) from error
        wrong = ~np.isfinite(rows)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            name = self.feature_names_in_[column] if hasattr(self, "feature_names_in_") else int(column)
            what = "NaN" if np.isnan(rows[row, column]) else "infinity"
            raise ValueError(
                f"X: expected finite numbers; got {what} in row {row} of column {name!r}, {int(wrong.any(1).sum())} "
                f"such rows: fill them in, with sklearn.impute.SimpleImputer, say, or leave them out."
            )
        return rows

    def _pixels(self, X: npt.ArrayLike) -> Tensor:
        """Return rows as the model is to see them, (n_samples, *image_shape), float64."""
        check_is_fitted(self)
        return self._scaled(self._rows(X))

    def _scaled(self, rows: Matrix) -> Tensor:
        return _as_bytes(rows, self.data_min_, self.data_range_, self.model_.image_shape).double() / _LEVELS

    def _in_float64(self) -> SemiSupervisedModel:
        """Return a copy of the model in float64, whose predictions do not depend on the other rows of a batch.

        In float32 the order of a matrix product's sums, and so the seventh digit, changes with the number of rows.
        """
        return copy.deepcopy(self.model_).double()

    def _encode(self, pixels: Tensor) -> Matrix:
        model = self._in_float64()
        with evaluating(model):
            chunks = torch.split(pixels, _IMAGES_AT_ONCE)
            return torch.cat([model.encode(chunk.to(device_of(model))).cpu() for chunk in chunks]).numpy()

    def _codes(self, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the positions of classes in `classes_`."""
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
        raise ValueError("y: expected classes, or NaN where not known; got infinity.")
    return column_or_1d(values, warn=True), known.ravel()


def _read_weights(sample_weight: npt.ArrayLike | None, number: int) -> tuple[npt.NDArray[np.bool_], Tensor | None]:
    """Return which rows count, (n_samples,), and their weights, float64; None where these are equal."""
    if sample_weight is None:
        return np.ones(number, dtype=bool), None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"sample_weight: expected numbers; got others, {error}.") from error
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
            f"{expected} -1 and 1, where -1 marks unlabelled rows, as in sklearn.semi_supervised: encode the classes "
            "as 0 and 1."
        )
    return f"{expected} one class, {classes.tolist()[0]!r}."


def _first_word(X: npt.ArrayLike) -> str:
    """Say which word there is in X, and in which column."""
    values = np.asarray(X, dtype=object)
    word, column = next((each, column) for row in values for column, each in enumerate(row) if isinstance(each, str))
    names = getattr(X, "columns", range(values.shape[1]))
    return f"{word!r} in column {names[column]!r}"


def _reach(values: Matrix) -> tuple[float, float]:
    """Return the least and the greatest of values (n,) that are no outliers."""
    ordered = np.sort(values)
    cut = len(ordered) // 20
    low, high = ordered[cut], ordered[-1 - cut]
    if low == high and ordered[0] < ordered[-1]:
        # Nine of ten are equal, as in sparse features: it is the others that say how far they go.
        low, high = _reach(ordered[ordered != low])
        return min(low, ordered[cut]), max(high, ordered[cut])
    room = _ROOM * (high - low)
    inside = ordered[(ordered >= low - room) & (ordered <= high + room)]
    return inside[0], inside[-1]


def _as_bytes(X: Matrix, lowest: Matrix, extent: Matrix, image_shape: ImageShape) -> Tensor:
    """Return rows as 8-bit images, (n_samples, *image_shape)."""
    unit = ((X - lowest) / extent).clip(0, 1)
    return torch.from_numpy(np.rint(unit * _LEVELS).astype(np.uint8)).view(-1, *image_shape)


def _draw_classes(model: SemiSupervisedModel, number: int) -> Tensor:
    """Draw classes from p(y), (number,), on the CPU: the first line of the story; uniformly where it has none."""
    if not model.has_label_site:
        return torch.randint(model.num_classes, (number,))
    blank = torch.zeros(1, *model.image_shape, device=device_of(model))
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
