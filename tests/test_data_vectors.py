import inspect
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from ssvae.data import Data, Vectors
from ssvae.data.standardisation import Standardisation
from ssvae.data.vector_data import VectorData

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(30, 3)) * [1.0, 100.0, 0.01] + [5.0, -2000.0, 0.0]
Y = np.arange(30) % 3
TEST_X, TEST_Y = X[:6] + 1, Y[:6]
FRAME = pd.DataFrame(X, columns=["length", "depth", "mass"])


def build(x=X, y=Y, **changes):
    return Vectors(x, y, **{"test_x": TEST_X, "test_y": TEST_Y, **changes})


# What is kept


FORMS = {
    "float64": (X, X),
    "float32": (X.astype(np.float32), X),
    "tensor": (torch.tensor(X, requires_grad=True), X),
    "lists": (X.tolist(), X),
    "a DataFrame": (FRAME, X),
    "columns first": (np.asfortranarray(X), X),
    "reversed": (X[::-1], X[::-1]),
    "counts": (np.rint(X).astype(int), np.rint(X)),
    "booleans": (X > 0, X > 0),
    "float16": ((X > 0).astype(np.float16), X > 0),
    "bfloat16": (torch.tensor(X > 0).bfloat16(), X > 0),
    "objects": ((X > 0).astype(object), X > 0),
    "nullable columns": (pd.DataFrame(X > 0).astype("Int64"), X > 0),
}


@pytest.mark.parametrize(("x", "expected"), FORMS.values(), ids=FORMS.keys())
def test_rows_of_every_form_come_out_as_float32(x, expected):
    data = Vectors(x, Y)
    assert data.train_x.dtype == torch.float32
    assert np.array_equal(data.train_x.numpy(), np.asarray(expected, dtype=np.float32))
    assert data.event_shape == (3,)
    assert len(data.test_x) == len(data.validation_x) == 0


def test_rows_are_copied():
    x = X.astype(np.float32)
    data = Vectors(x, Y)
    x[:] = 0
    assert np.array_equal(data.train_x.numpy(), X.astype(np.float32))


def test_features_have_names():
    assert build().feature_names == ("x0", "x1", "x2")
    assert build(FRAME).feature_names == ("length", "depth", "mass")
    assert build(FRAME, feature_names=["a", "b", "c"]).feature_names == ("a", "b", "c")


def test_labels_are_read_as_those_of_arrays_and_hidden():
    data = build(y=np.array(["cat", "dog", "eel"])[Y], test_y=["cat", "dog", "eel"] * 2, num_labels=6, seed=3)
    assert data.class_names == ("cat", "dog", "eel")
    assert sorted(data.y.tolist()) == [-1] * 24 + [0, 0, 1, 1, 2, 2]
    assert data.test_y.tolist() == TEST_Y.tolist()
    assert build(y=[None, *Y[1:]]).y.tolist() == [-1, *Y[1:].tolist()]
    series = pd.Series([pd.NA, *Y[1:]], dtype="Int64")
    assert build(y=series).y.tolist() == [-1, *Y[1:].tolist()]


def test_hidden_labels_are_nowhere_on_the_object():
    data, hidden = build(num_labels=6), build(num_labels=6).unlabelled_index.numpy()
    labels = Y.copy()
    labels[hidden] = -1
    other = build(y=labels)
    for name, value in vars(data).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(other, name)), name
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
        elif name != "num_labels":
            assert value == getattr(other, name), name


def test_every_argument_is_an_attribute_of_the_same_name():
    data = build(num_labels=6, balanced=False, seed=3, standardise=False)
    assert all(hasattr(data, name) for name in inspect.signature(Vectors).parameters)
    assert (data.num_labels, data.balanced, data.seed, data.standardise) == (6, False, 3, False)
    assert isinstance(data, Data)
    assert data.x is data.train_x
    assert data.test_x is not data.validation_x


def test_the_summary_counts_rows_and_features():
    assert build(num_labels=6).summary() == (
        "Vectors: 30 training rows (6 labelled, 24 unlabelled), 0 validation, 6 test, 3 classes, 3 features"
    )
    assert build(X[:, :1], test_x=TEST_X[:, :1]).summary().endswith("3 classes, 1 feature")


# Standardisation


def test_a_model_gets_rows_less_the_median_by_the_interquartile_range():
    data = build(num_labels=6)
    lower, centre, upper = np.quantile(X.astype(np.float32).astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(data.centre.numpy(), centre, rtol=1e-12)
    np.testing.assert_allclose(data.scale.numpy(), (upper - lower) / 1.349, rtol=1e-12)
    assert data.centre.dtype == data.scale.dtype == torch.float64
    standardised = data.preprocess(data.train_x)
    assert standardised.dtype == torch.get_default_dtype()
    # float32 keeps 7 digits of -2000, of which the scale is 100.
    expected = (X - centre) * 1.349 / (upper - lower)
    np.testing.assert_allclose(standardised.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        data.preprocess(data.test_x)[:, 0].numpy(), ((TEST_X - centre) / data.scale.numpy())[:, 0], atol=1e-5
    )


def test_normally_distributed_rows_have_unit_variance():
    x = torch.from_numpy(np.random.default_rng(1).normal(3.0, 7.0, (100_000, 1))).float()
    # Standard error of an interquartile range's sigma: 1.17 / sqrt(N) = 0.0037 of it.
    assert Standardisation.robust(x).scale[0] == pytest.approx(7, rel=0.0185)
    assert Standardisation.robust(x).centre[0] == pytest.approx(3, abs=0.14)


def test_a_row_a_thousand_times_too_large_changes_the_others_by_almost_nothing():
    x = np.random.default_rng(2).normal(50.0, 10.0, (1000, 2))
    y = np.arange(1000) % 2
    wrong = x.copy()
    wrong[7] *= 1000
    before, after = Vectors(x, y), Vectors(wrong, y)
    others = np.arange(1000) != 7
    difference = after.preprocess(after.train_x) - before.preprocess(before.train_x)
    # One row less below the quartiles moves them by a thousandth of the rows: 0.003 of the scale.
    assert difference[others].abs().max() < 0.02
    assert after.preprocess(after.train_x)[7].min() > 1000
    # By the mean and the standard deviation, the others would become one and the same number.
    assert ((wrong - wrong.mean(0)) / wrong.std(0))[others].std() < 0.01


def test_mostly_equal_numbers_are_scaled_by_their_standard_deviation_and_equal_ones_not_at_all():
    rare = np.zeros(100)
    rare[:10] = 1
    data = Vectors(np.stack([rare, np.full(100, 0.1)], 1), np.arange(100) % 2)
    assert data.scale.tolist() == [pytest.approx(0.3, rel=1e-12), 1.0]
    assert data.preprocess(data.train_x)[:, 1].abs().max() == 0


def test_log_volume_is_the_logarithm_of_the_jacobian_determinant():
    data = build()
    jacobian = torch.autograd.functional.jacobian(data.preprocess, data.train_x[0].double())
    log_volume = data.log_volume(data.train_x[:1].double()).item()
    assert log_volume == pytest.approx(float(torch.linalg.slogdet(jacobian.double())[1]), abs=1e-6)
    assert log_volume == pytest.approx(-math.fsum(math.log(scale) for scale in data.scale.tolist()), rel=1e-12)


def test_log_volume_has_the_scales_of_the_entries_that_were_seen():
    data = build()
    x = data.train_x[:3].double()
    x[0, 1] = x[1] = torch.nan
    scale = data.scale.tolist()
    expected = [-math.log(scale[0]) - math.log(scale[2]), 0.0, -sum(map(math.log, scale))]
    torch.testing.assert_close(data.log_volume(x), torch.tensor(expected), rtol=1e-12, atol=0)


def test_log_volume_makes_a_density_of_the_raw_units():
    data = Vectors(X[:, 1:2], Y)
    grid = torch.linspace(-4000, 0, 20_001, dtype=torch.float64).unsqueeze(-1)
    log_p = torch.distributions.Normal(0.3, 0.9).log_prob(data.preprocess(grid).double()).squeeze(-1) + data.log_volume(
        grid
    )
    assert float(torch.trapezoid(log_p.exp(), grid.squeeze(-1))) == pytest.approx(1, abs=1e-6)


def test_standardisation_can_be_switched_off():
    data = build(standardise=False)
    assert torch.equal(data.preprocess(data.train_x), data.train_x.to(torch.get_default_dtype()))
    assert not data.log_volume(data.train_x).any()
    assert (data.centre.tolist(), data.scale.tolist()) == ([0, 0, 0], [1, 1, 1])


def test_the_default_type_decides_the_type_of_what_a_model_gets():
    data = build()
    first = data.preprocess(data.train_x)
    other = torch.float32 if torch.get_default_dtype() == torch.float64 else torch.float64
    before = torch.get_default_dtype()
    torch.set_default_dtype(other)
    try:
        second = data.preprocess(data.train_x)
    finally:
        torch.set_default_dtype(before)
    assert (first.dtype, second.dtype) == (before, other)
    torch.testing.assert_close(first.double(), second.double(), atol=2e-5, rtol=1e-5)


def test_standardisation_is_plain_numbers():
    data = build()
    kept = {"centre": list(data.standardisation.centre), "scale": list(data.standardisation.scale)}
    again = Standardisation(**{name: tuple(values) for name, values in kept.items()})
    assert again == data.standardisation


# Missing entries


MISSING = {
    "NaN": lambda: with_value(np.nan, 3),
    "pandas": lambda: pd.DataFrame(with_value(np.nan, 3)).astype("Float64"),
    "None": lambda: [[None if value != value else value for value in row] for row in with_value(np.nan, 3).tolist()],
    "masked": lambda: np.ma.masked_invalid(with_value(np.nan, 3)),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_entries_are_nan_and_do_not_change_the_scale_of_the_others(name):
    data, complete = build(MISSING[name]()), build()
    given = torch.from_numpy(with_value(np.nan, 3).astype(np.float32))
    assert data.has_missing
    assert not complete.has_missing
    assert torch.equal(data.train_x.isnan(), given.isnan())
    assert torch.equal(data.train_x.nan_to_num(), given.nan_to_num())
    column = 1
    expected = np.median(np.delete(X[:, column], [3, 4, 5]).astype(np.float32))
    assert data.centre[column].item() == pytest.approx(expected, rel=1e-6)
    others = [number for number in range(X.shape[1]) if number != column]
    assert torch.equal(data.scale[others], complete.scale[others])
    assert torch.equal(data.preprocess(data.train_x).isnan(), given.isnan())
    assert torch.equal(data.restore(data.preprocess(data.train_x)).isnan(), given.isnan())
    assert "missing" in data.summary()
    assert "missing" not in complete.summary()


def test_missing_entries_of_test_rows_count():
    test_x = TEST_X.copy()
    test_x[0, 0] = np.nan
    assert build(test_x=test_x).has_missing


# Bad input


def with_value(value, rows=1):
    x = X.copy()
    x[3 : 3 + rows, 1] = value
    return x


ERRORS = {
    "a feature without an entry": (
        lambda: build([[1.0, None, 2.0]] * 30),
        ValueError,
        r"^x: expected an entry of each feature; got none of 'x1': leave it out\.$",
    ),
    "infinite": (
        lambda: build(with_value(np.inf)),
        ValueError,
        "x: expected finite numbers; got inf in row [0-9]+ of column 'x[0-9]'",
    ),
    "too large": (lambda: build(with_value(1e39)), ValueError, "x: expected numbers below 3.4e38; got 1e.39"),
    "one dimension": (
        lambda: build(X[:, 0]),
        ValueError,
        r"x: expected shape \(N, features\); got \(30,\): write x.resh",
    ),
    "images": (lambda: build(X[..., None]), ValueError, r"x: expected shape \(N, features\); got \(30, 3, 1\)\."),
    "no features": (lambda: build(X[:, :0]), ValueError, r"x: expected shape .* got \(30, 0\)"),
    "no rows": (
        lambda: Vectors(X[:0], Y[:0], class_names=["a", "b"]),
        ValueError,
        "expected at least one row; got none",
    ),
    "words": (lambda: build(X.astype(str)), TypeError, "x: expected numbers; got a numpy array of <U"),
    "words in a list": (lambda: build([["a", 1.0, 2.0]] * 30), TypeError, "x: expected numbers; got"),
    "words among objects": (
        lambda: build(np.array([["a", 1.0, 2.0]] * 30, dtype=object)),
        TypeError,
        "x: expected numbers; got 'a'",
    ),
    "a column of words": (
        lambda: build(FRAME.assign(sex=["m", "f"] * 15)),
        TypeError,
        "x: expected columns of numbers; got 'sex' of (object|str): leave it out",
    ),
    "a column of dates": (
        lambda: build(FRAME.assign(day=pd.Timestamp("2026-01-01"))),
        TypeError,
        "x: expected columns of numbers; got 'day' of datetime64",
    ),
    "complex": (lambda: build(X * 1j), TypeError, "x: expected numbers; got a numpy array of complex128"),
    "None as rows": (lambda: build(None), ValueError, "x: expected values as y is given; got None"),
    "ragged": (lambda: build([[1.0, 2.0], [1.0]]), ValueError, "x: expected rows of one length; got a list of several"),
    "sparse": (
        lambda: build(scipy.sparse.csr_matrix(X)),
        TypeError,
        r"x: expected a dense array; .* write x.toarray\(\)",
    ),
    "seconds since 1970": (
        lambda: build(X + np.array([0, 1.7e9, 0])),
        ValueError,
        "x: expected numbers that float32 tells apart; got feature 'x1' with values from .*: subtract the smallest",
    ),
    "the label among the features": (
        lambda: build(FRAME.assign(kind=Y), FRAME.assign(kind=Y)["kind"]),
        ValueError,
        r"x: expected features without the label; got the column 'kind', which is y: write x.drop\(columns='kind'\)",
    ),
    "another order": (
        lambda: build(FRAME, pd.Series(Y).sample(frac=1, random_state=0)),
        ValueError,
        r"y: expected the rows in the order of x; .* write y.loc\[x.index\]",
    ),
    "columns of one name": (
        lambda: build(pd.DataFrame(X, columns=["a", "b", "a"])),
        ValueError,
        "x: expected columns of different names; got 'a' twice",
    ),
    "columns in another order": (
        lambda: build(FRAME, test_x=FRAME[:6][["depth", "length", "mass"]]),
        ValueError,
        "test_x: expected the columns of x in its order; got 'depth' in place of 'length'",
    ),
    "fewer test features": (
        lambda: build(test_x=TEST_X[:, :2]),
        ValueError,
        "test_x: expected 3 features as in x; got 2",
    ),
    "lengths": (lambda: build(y=Y[:29]), ValueError, "y: expected 30 labels, one for each row; got 29"),
    "test lengths": (lambda: build(test_y=TEST_Y[:5]), ValueError, r"test_labels: expected shape \(6,\)"),
    "half a set": (lambda: build(test_y=None), ValueError, "test_y: expected values as test_x is given; got None"),
    "half a set, other": (
        lambda: build(validation_y=TEST_Y),
        ValueError,
        "validation_x: expected values as validation_y is given; got None",
    ),
    "a test label of -1": (lambda: build(test_y=TEST_Y - 1), ValueError, "test_y: expected labels from 0 to 2; got -1"),
    "half a class": (lambda: build(y=Y / 2), ValueError, "y: expected whole numbers.*; got 0.5"),
    "feature names": (
        lambda: build(feature_names=["a"]),
        ValueError,
        "feature_names: expected 3, one for each .* got 1",
    ),
    "same feature names": (lambda: build(feature_names=["a", "b", "a"]), ValueError, "different names; got 'a' twice"),
    "one string": (lambda: build(feature_names="abc"), TypeError, "feature_names: expected a sequence of strings"),
    "too many labels": (lambda: build(num_labels=33), ValueError, "num_labels: expected at most the 30"),
}


@pytest.mark.parametrize(("call", "error", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_preprocess_refuses_other_rows():
    data = build()
    with pytest.raises(TypeError, match=r"x: expected a tensor of floats; got int64 of shape \(2, 3\)"):
        data.preprocess(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"x: expected shape \(…, 3\); got \(2, 4\)"):
        data.preprocess(torch.zeros(2, 4))
    assert data.preprocess(torch.zeros(3)).shape == (3,)


def test_the_base_class_refuses_what_is_not_float32():
    with pytest.raises(TypeError, match="train_x: expected a float32 tensor; got float64"):
        VectorData("Example", torch.from_numpy(X), torch.from_numpy(Y), class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="train_x: expected an entry of each feature in some training row"):
        VectorData("Example", torch.from_numpy(X).float() * torch.nan, torch.from_numpy(Y), class_names=["a", "b", "c"])
