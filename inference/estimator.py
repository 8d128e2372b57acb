"""A scikit-learn estimator around any model."""

import copy
import math
from collections.abc import Callable, Mapping
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

from ssvae.data import Augmentation, ImageData, VectorData
from ssvae.data.classes import known_classes
from ssvae.data.rows import narrow
from ssvae.inference.objective.objective import Objective
from ssvae.inference.objective.schedules import KLWeight
from ssvae.inference.predict import class_probabilities, device_of, evaluating, seeded
from ssvae.inference.runs.runs import check_likelihood, check_sizes
from ssvae.inference.storage.description import Description, build, build_fields
from ssvae.inference.training.checks import check_trainable
from ssvae.inference.training.history import Row
from ssvae.inference.training.recipe import Recipe, TrainerOptions
from ssvae.inference.training.recipe_choice import for_features, for_missing, read_recipe
from ssvae.inference.training.training import train
from ssvae.models import M2, SemiSupervisedModel
from ssvae.models.likelihoods import Likelihood, Mixed
from ssvae.models.networks import Architecture, ImageShape
from ssvae.models.posteriors import Posterior
from ssvae.models.priors import ClassPrior, Prior
from ssvae.models.stages import Refits

Matrix = npt.NDArray[np.float64]

_FOR_IMAGES: dict[str, Any] = {
    "objective": Objective(alpha=100.0, kl_weight=KLWeight(start=5.0, end=1.0, until=0.75)),
    "batch_size": 100,
    "learning_rate": 2e-3,
    "max_steps": 1000,
}
_IMPUTER = "sklearn.impute.SimpleImputer fills in missing values"
_LEVELS = 255
_ROOM = 3.0
_NARROW = 1 / 16
_ROWS_AT_ONCE = 1000
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

    A row of X is a vector of numbers, or a flattened image if ``image_shape`` is given. ``fit`` stores the centre and
    the scale of its rows, unlabelled ones included, and every method gives the model::

        x = (X - center_) / scale_

    - Of vectors, real columns are standardised by the median and the interquartile range / 1.349, see
      `ssvae.data.VectorData`: they are neither rounded nor confined to an interval, and a few outliers do not change
      the other rows. All other columns stay as they are.
    - Images, in the order (channels, height, width), share one range of all pixels without outliers, into which they
      are clipped, and x is rounded to a multiple of 1/255. The range is [0, 1] if X is within it, unless it is shorter
      than 1/16. With twenty pixels or more, values are outliers if their distance from the interval between the 5 % and
      95 % quantiles is more than three times the length of the interval. (Tukey 1977 uses quartiles, but here many
      pixels are 0 in most rows.)

    The kinds of a DataFrame's columns follow from their types: floats and negative integers are real; integers of at
    least 0 counts; booleans binary; pandas' categories categorical, which need not be numbers. Convert integers that
    count nothing, such as years, to floats. All columns of an array are real. Unless ``likelihood`` is given, real
    columns follow Student's t distribution, counts a negative binomial one, binary columns are Bernoulli, categories
    categorical. A given likelihood says which columns are standardised: those for which it has a density, and no
    probability.

    NaN in vectors means not seen. If the rows of ``fit`` have some, the likelihood is `MissingEntries` of the one above
    (a given likelihood must be one), all methods take NaN, and the model sees a mask beside x. A model fitted to
    complete rows refuses NaN, as do images.

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
            event_shape, num_classes, and those of the next six arguments that are not None. For vectors, M2 itself
            has the prior, likelihood and networks of the recipe ``table`` if these are None, or of ``plane`` for two
            features.
        prior: p(z) or p(z | y). ``random_state`` does not affect initial values that its constructor has drawn.
        posterior: The family of q(z | ·).
        likelihood: p(x | ·); None for the model's own of images, and for that of the kinds of columns of vectors.
        networks: The architecture of q(z | x, y) and p(x | y, z).
        classifier: The architecture of q(y | x).
        class_prior: p(y).
        image_shape: Channels (1 or 3), height and width of a row; None for vectors, which cannot be augmented or
            binarised.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch, as a Bernoulli
            likelihood needs.
        objective: The objective J and its options; None for that of the recipe ``table``, or ``plane`` for two
            features, and for images ``Objective(alpha=100, kl_weight=KLWeight(5, 1, 0.75))``, as in the recipe
            ``few_labels_generative``.
        augmentation: Random shifts, rotations and scalings of labelled images and of x' for consistency; or None.
        max_epochs: The largest number of passes over the unlabelled rows; None if only max_steps limits training.
        max_steps: The largest number of optimiser steps, rounded up to whole epochs; None if only max_epochs limits
            training. If both are None, 500 steps for vectors, and 1,000 for two features and for images.
        batch_size: The number of unlabelled rows in a step; all, if there are fewer. None for 200, and for 100 images.
        labelled_batch_size: The number of labelled rows in a step; all, if there are fewer. None for all, at most 100.
        learning_rate: The learning rate of Adam; with one_cycle, the highest one. None for 0.003, and for images 0.002.
        one_cycle: Whether the learning rate rises and falls over training instead of staying constant.
        cycles: The number of such cycles, for a model that is trained in stages.
        trainer: Device, precision, gradient clipping; None for `TrainerOptions` without a progress bar.
        random_state: An integer, a `numpy.random.RandomState` or None, as in scikit-learn, for initial weights, batches
            and samples.

    Attributes:
        classes_: The classes, (n_classes,), sorted.
        model_: The trained `SemiSupervisedModel`; its class k is ``classes_[k]``.
        history_: A row for each logged epoch, with the terms of J in nats per row, of x.
        transduction_: The class of every training row, (n_samples,): the label if there is one, otherwise the most
            probable class.
        center_: The centre of each feature, (n_features,); 0 if X is not rescaled.
        scale_: The scale of each feature, (n_features,); 1 if X is not rescaled.
        feature_kinds_: The kind of each feature of vectors: "real", "count", "binary" or "categorical".
        categories_: The categories of each categorical column by its position; their places are the numbers of x.
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
        max_steps: int | None = None,
        batch_size: int | None = None,
        labelled_batch_size: int | None = None,
        learning_rate: float | None = None,
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
            ValueError: If X has infinite values or strings, or NaN that the likelihood does not admit, y has fewer than
                two classes, a weight is negative, weights differ but the model is refitted to all labelled rows at once
                (`ssvae.models.stages.Refits`), or a parameter is invalid.
            FloatingPointError: If the loss is no longer finite.
        """
        self._check_parameters()
        if y is None:
            validate_data(self, X, y)  # raises scikit-learn's error for a missing y
        kinds, self.categories_ = _kinds(X)
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
        all_codes = np.full(len(rows), -1)
        all_codes[is_labelled] = codes
        data = self._data(rows, all_codes, [str(each) for each in classes], weights, kinds)
        seed = self._seed()
        recipe = self._recipe(data, seed)
        with seeded(seed):
            model = self._new_model(data, len(classes))
        if weights is not None and isinstance(model, Refits):
            raise ValueError(
                f"sample_weight: expected equal weights (or 0) for {type(model).__name__}, which is fitted to all "
                f"labelled rows with equal weights; got different ones."
            )
        check_sizes(model, data)
        check_likelihood(model, data)
        self._refuse_missing(all_rows, model)  # rows of weight 0 too
        check_trainable(model, data, recipe, folder=None)
        self.history_: list[Row] = train(model, data, recipe, folder=None)
        self.model_ = model
        self.classes_ = classes
        self.transduction_ = classes[class_probabilities(self._in_float64(), self._scaled(all_rows)).numpy().argmax(1)]
        self.transduction_[known] = values[known]
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the most probable class by q(y | x) of each row, (n_samples,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: npt.ArrayLike) -> Matrix:
        """Return q(y | x) for rows (n_samples, n_features): (n_samples, n_classes), in the order of ``classes_``."""
        x = self._inputs(X)
        return class_probabilities(self._in_float64(), x).numpy()

    def predict_log_proba(self, X: npt.ArrayLike) -> Matrix:
        """Return log q(y | x) for rows (n_samples, n_features): (n_samples, n_classes), ordered as ``classes_``."""
        x, model = self._inputs(X), self._in_float64()
        with evaluating(model):
            chunks = torch.split(x, _ROWS_AT_ONCE)
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
        return self._encode(self._inputs(X))

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
            chunks = torch.split(codes.to(device_of(self.model_)), _ROWS_AT_ONCE)
            drawn = torch.cat([self.model_.sample(chunk)[0].cpu() for chunk in chunks])
        rows = drawn.flatten(start_dim=1).double().numpy() * self.scale_ + self.center_
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
            if getattr(self, name) is not None:
                _check_whole_number(name, getattr(self, name))
        if not isinstance(self.learning_rate, Real | None):
            raise TypeError(f"learning_rate: expected a number; got {self.learning_rate!r}.")

    def _data(
        self,
        rows: Matrix,
        labels: npt.NDArray[np.int64],
        class_names: list[str],
        weights: Tensor | None,
        kinds: list[str] | None,
    ) -> ImageData | VectorData:
        """Return the training data, and store the centre and scale of the rows."""
        options: dict[str, Any] = {"class_names": class_names, "train_weights": weights}
        shape, number = self._checked_image_shape(rows.shape[1]), rows.shape[1]
        if shape is not None:
            lowest, extent = _range_of(rows)
            self.center_, self.scale_ = np.full(number, lowest), np.full(number, extent)
            x = self._as_bytes(rows).view(-1, *shape)
            return ImageData("X", x, torch.from_numpy(labels), binarise=self.binarise, **options)
        if self.likelihood is not None:
            kinds = _kinds_of(self.likelihood, number)
        self.feature_kinds_ = tuple(kinds or ["real"] * number)
        names = list(getattr(self, "feature_names_in_", [])) or None
        x = narrow("X", rows, names)
        data = VectorData("X", x, torch.from_numpy(labels), feature_kinds=self.feature_kinds_, **options)
        self.center_, self.scale_ = data.centre.numpy(), data.scale.numpy()
        return data

    def _checked_image_shape(self, num_features: int) -> ImageShape | None:
        if self.image_shape is None:
            for name, is_given in {"augmentation": self.augmentation is not None, "binarise": self.binarise}.items():
                if is_given:
                    raise ValueError(
                        f"image_shape: expected (channels, height, width), as {name} needs images; got None."
                    )
            return None
        shape = tuple(self.image_shape) if isinstance(self.image_shape, tuple | list) else ()
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1 or math.prod(shape) != num_features:
            raise ValueError(
                f"image_shape: expected (channels, height, width) with 1 or 3 channels and {num_features} numbers in "
                f"all, as many as X has features; got {self.image_shape}."
            )
        return shape

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _recipe(self, data: ImageData | VectorData, seed: int) -> Recipe:
        """Return the recipe of training, with batches no larger than the data."""
        labelled_batch_size = self.labelled_batch_size
        if labelled_batch_size is not None:
            labelled_batch_size = min(labelled_batch_size, data.num_labelled)
        defaults = _FOR_IMAGES
        if isinstance(data, VectorData):
            settings = _settings_for_vectors(data.event_shape[0])
            defaults = build_fields(Recipe, {name: settings[name] for name in _FOR_IMAGES})
        objective, batch_size, learning_rate, max_steps = (
            defaults[name] if getattr(self, name) is None else getattr(self, name) for name in _FOR_IMAGES
        )
        # Grid searches often use NumPy's numbers, which Lightning does not accept.
        return Recipe(
            objective=objective,
            augmentation=self.augmentation,
            max_epochs=_plain(self.max_epochs),
            max_steps=_plain(self.max_steps if self.max_epochs is not None else max_steps),
            batch_size=int(min(batch_size, data.num_unlabelled or batch_size)),
            labelled_batch_size=_plain(labelled_batch_size),
            learning_rate=float(learning_rate),
            one_cycle=self.one_cycle,
            cycles=int(self.cycles),
            seed=seed,
            trainer=self.trainer if self.trainer is not None else TrainerOptions(progress_bar=False),
        )

    def _new_model(self, data: ImageData | VectorData, num_classes: int) -> SemiSupervisedModel:
        """Return an untrained model with copies of the given parts."""
        given = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        make, parts = copy.deepcopy((self.model, given))
        if isinstance(data, VectorData):
            described = _settings_for_vectors(data.event_shape[0])["model"] if self.model is M2 else {}
            described = for_features(described, data) or described
            if data.has_missing:
                described = for_missing(described, data)
            defaults = described.get("init_args", {})
            chosen = {**getattr(self.model, "keywords", {}), **parts}  # those of a partial function too
            parts |= {name: build(defaults[name]) for name in defaults if name not in chosen}
        model = make(event_shape=data.event_shape, num_classes=num_classes, **parts)
        if not isinstance(model, SemiSupervisedModel):
            raise TypeError(f"model: expected a function that returns a SemiSupervisedModel; got a {type(model)}.")
        return model

    def _rows(self, X: npt.ArrayLike, *, reset: bool = False) -> Matrix:
        """Return X as finite numbers, (n_samples, n_features)."""
        try:
            coded = _coded(X, self.categories_)
            rows: Matrix = validate_data(self, coded, dtype=np.float64, ensure_all_finite=False, reset=reset)
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"X: expected numbers; got {_first_word(X)} (write X.astype({{column: 'category'}}) for a column "
                "of a DataFrame; sklearn.preprocessing.OneHotEncoder converts text to numbers)."
            ) from error
        self._refuse(rows, np.isinf(rows), "finite numbers", "infinity", "leave such rows out")
        if self.image_shape is not None:
            self._refuse(rows, np.isnan(rows), "finite numbers, as for every image", "NaN", _IMPUTER)
        return rows

    def _refuse_missing(self, rows: Matrix, model: SemiSupervisedModel) -> None:
        if not model.likelihood.admits_missing:
            advice = f"fit to rows with NaN, or likelihood=MissingEntries({model.likelihood}), admits it; {_IMPUTER}"
            self._refuse(rows, np.isnan(rows), "no NaN, as rows of training had none", "NaN", advice)

    def _refuse(self, rows: Matrix, wrong: npt.NDArray[np.bool_], expected: str, what: str, advice: str) -> None:
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            name = self.feature_names_in_[column] if hasattr(self, "feature_names_in_") else int(column)
            raise ValueError(
                f"X: expected {expected}; got {what} in row {row} of column {name!r}, and {int(wrong.any(1).sum())} "
                f"such rows in all ({advice})."
            )

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        """Return scikit-learn's tags: NaN is allowed in vectors."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.image_shape is None
        return tags

    def _inputs(self, X: npt.ArrayLike) -> Tensor:
        """Return rows as the model gets them, (n_samples, *event_shape), float64."""
        check_is_fitted(self)
        rows = self._rows(X)
        self._refuse_missing(rows, self.model_)
        return self._scaled(rows)

    def _scaled(self, rows: Matrix) -> Tensor:
        if len(self.model_.event_shape) == 3:
            return self._as_bytes(rows).view(-1, *self.model_.event_shape).double() / _LEVELS
        return torch.from_numpy((rows - self.center_) / self.scale_)

    def _as_bytes(self, rows: Matrix) -> Tensor:
        """Return rows as 8-bit pixels, (n_samples, n_features)."""
        unit = ((rows - self.center_) / self.scale_).clip(0, 1)
        return torch.from_numpy(np.rint(unit * _LEVELS).astype(np.uint8))

    def _in_float64(self) -> SemiSupervisedModel:
        """Return a copy of the model in float64, whose predictions do not depend on the other rows of a batch.

        In float32 the seventh digit of a matrix product can change with the number of rows.
        """
        return copy.deepcopy(self.model_).double()

    def _encode(self, x: Tensor) -> Matrix:
        model = self._in_float64()
        with evaluating(model):
            chunks = torch.split(x, _ROWS_AT_ONCE)
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


def _settings_for_vectors(num_features: int) -> Description:
    """Return the recipe ``plane`` for two features, and ``table`` for any other number."""
    return read_recipe("plane" if num_features == 2 else "table", "Vectors")


def _kinds(X: Any) -> tuple[list[str] | None, dict[int, list[Any]]]:  # noqa: ANN401
    """Return the kinds of a DataFrame's columns by their types, None of anything else, and categories by column."""
    if not _is_frame(X):
        return None, {}
    kinds, categories = [], {}
    for number in range(X.shape[1]):
        column = X.iloc[:, number]
        letter = getattr(column.dtype, "kind", "O")
        if hasattr(column.dtype, "categories"):
            categories[number] = column.cat.remove_unused_categories().cat.categories.tolist()
            kinds.append("categorical" if len(categories[number]) > 1 else "real")
        elif letter in "iu" and not (column < 0).any():
            kinds.append("count")
        else:
            kinds.append("binary" if letter == "b" else "real")
    return kinds, categories


def _kinds_of(likelihood: Likelihood, number: int) -> list[str]:
    """Return the kinds of features that a likelihood is for: "real" if it has a density, otherwise "count"."""
    kinds = ["count" if likelihood.is_discrete else "real"] * number
    if isinstance(likelihood, Mixed):
        for part, columns in zip(likelihood.likelihoods, likelihood.columns, strict=True):
            for column in columns:
                if column < number:  # a wrong number of columns is refused where the model is made
                    kinds[column] = "count" if part.is_discrete else "real"
    return kinds


def _coded(X: Any, categories: Mapping[int, list[Any]]) -> Any:  # noqa: ANN401
    """Return a DataFrame with the place of each category in place of the category, NaN if there is none."""
    if not _is_frame(X) or X.shape[1] <= max(categories, default=-1):
        return X
    coded = X.copy(deep=False)
    for number, known in categories.items():
        column = X.iloc[:, number]
        unknown = column[column.notna() & ~column.isin(known)]
        if len(unknown):
            raise ValueError(
                f"X: expected {', '.join(map(repr, known))} in column {X.columns[number]!r}, as in fit; got "
                f"{unknown.tolist()[0]!r}."
            )
        places = {category: place for place, category in enumerate(known)}
        coded.isetitem(number, np.array([places.get(each, np.nan) for each in column.tolist()], dtype=np.float64))
    return coded


def _is_frame(X: object) -> bool:
    """Return whether X is a DataFrame of pandas."""
    return hasattr(X, "dtypes") and hasattr(X, "iloc") and hasattr(X, "columns")


def _range_of(X: Matrix) -> tuple[float, float]:
    """Return the least pixel and the length of the range of all pixels."""
    lowest, highest = _reach(X.ravel())
    extent = highest - lowest if highest > lowest else 1.0  # constant images become 0
    is_unit = lowest >= 0 and highest <= 1 and extent >= _NARROW
    return (0.0, 1.0) if is_unit else (lowest, extent)


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


def _draw_classes(model: SemiSupervisedModel, number: int) -> Tensor:
    """Draw classes from p(y), (number,), on the CPU; from the uniform distribution if the model has no class."""
    if not model.has_label_site:
        return torch.randint(model.num_classes, (number,))
    blank = torch.zeros(1, *model.event_shape, device=device_of(model))
    drawn = []
    with pyro.settings.context(module_local_params=True):  # nothing enters Pyro's store
        for start in range(0, number, _ROWS_AT_ONCE):
            rows = blank.expand(min(_ROWS_AT_ONCE, number - start), *model.event_shape)
            nodes: dict[str, Any] = poutine.trace(model.model).get_trace(rows).nodes
            drawn.append(nodes["y"]["value"].cpu())
    return torch.cat(drawn)


def _plain(value: int | None) -> int | None:
    return None if value is None else int(value)


def _check_whole_number(name: str, value: object) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer; got {value!r}.")
