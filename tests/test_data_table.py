import inspect
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from ssvae.data import Table

ROWS = 120
GENERATOR = np.random.default_rng(0)
SPECIES = np.array(["Adelie", "Chinstrap", "Gentoo"])[np.arange(ROWS) % 3]
PENGUINS = pd.DataFrame(
    {
        "species": SPECIES,
        "island": np.array(["Biscoe", "Dream", "Torgersen"])[GENERATOR.integers(0, 3, ROWS)],
        "bill_length_mm": GENERATOR.normal(44, 5, ROWS).round(1),
        "flipper_length_mm": GENERATOR.integers(172, 232, ROWS),
        "eggs": GENERATOR.integers(0, 4, ROWS),
        "sex": np.array(["female", "male"])[GENERATOR.integers(0, 2, ROWS)],
        "tagged": GENERATOR.integers(0, 2, ROWS),
    }
)
FEATURES = ["island", "bill_length_mm", "flipper_length_mm", "eggs", "sex", "tagged"]


@pytest.fixture
def write(tmp_path):
    def write(frame=PENGUINS, sep=","):
        path = tmp_path / "penguins.csv"
        frame.to_csv(path, index=False, sep=sep)
        return str(path)

    return write


@pytest.fixture
def write_text(tmp_path):
    def write_text(text):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_text


def everything(file, **changes):
    """Return the table with all rows in the training set, in the order of the file."""
    return Table(file, "species", **{"validation_fraction": 0, "test_fraction": 0, **changes})


# What is read


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_kinds_values_and_categories(write, sep):
    data = everything(write(sep=sep))
    assert data.feature_names == tuple(FEATURES)
    assert data.feature_kinds == ("categorical", "real", "real", "count", "binary", "binary")
    assert data.feature_categories == {
        "island": ("Biscoe", "Dream", "Torgersen"),
        "sex": ("female", "male"),
        "tagged": ("0", "1"),
    }
    assert data.train_x.dtype == torch.float32
    expected = PENGUINS[FEATURES].assign(
        island=PENGUINS["island"].astype("category").cat.codes, sex=(PENGUINS["sex"] == "male").astype(int)
    )
    assert np.array_equal(data.train_x.numpy(), expected.to_numpy().astype(np.float32))
    assert data.class_names == ("Adelie", "Chinstrap", "Gentoo")
    assert data.train_labels.tolist() == (np.arange(ROWS) % 3).tolist()


def test_only_real_features_are_standardised(write):
    data = everything(write())
    bill, flipper = PENGUINS["bill_length_mm"].to_numpy(), PENGUINS["flipper_length_mm"].to_numpy()
    spread = [np.subtract(*np.quantile(values.astype(np.float32), [0.75, 0.25])) / 1.349 for values in (bill, flipper)]
    assert data.scale.tolist() == [1, pytest.approx(spread[0], rel=1e-6), pytest.approx(spread[1], rel=1e-6), 1, 1, 1]
    assert data.centre.tolist()[0] == 0
    assert data.centre.tolist()[3:] == [0, 0, 0]
    assert data.log_volume(data.test_x).tolist() == []
    assert data.log_volume(data.train_x)[0].item() == pytest.approx(
        -math.log(spread[0]) - math.log(spread[1]), abs=1e-6
    )
    preprocessed = data.preprocess(data.train_x)
    assert torch.equal(preprocessed[:, [0, 3, 4, 5]], data.train_x[:, [0, 3, 4, 5]].to(preprocessed.dtype))
    assert everything(write(), standardise=False).log_volume(data.train_x).abs().max() == 0


def test_rows_without_a_label_are_unlabelled_and_stay_for_training(write):
    frame = PENGUINS.copy()
    frame.loc[:59, "species"] = None
    data = Table(write(frame), "species", num_labels=6)
    assert (data.num_labelled, len(data.validation_x), len(data.test_x)) == (6, 6, 12)
    assert len(data.train_x) == ROWS - 18
    everything_known = everything(write(frame))
    assert everything_known.train_labels[:60].tolist() == [-1] * 60
    assert everything_known.train_labels[60:].tolist() == (np.arange(60, ROWS) % 3).tolist()


def test_few_labels_are_not_for_validation(write):
    data = Table(write(), "species")
    assert (data.num_labelled, len(data.validation_x), len(data.test_x)) == (ROWS - 24, 0, 24)
    every = Table(write(), "species", test_fraction=0)
    assert (every.num_labelled, len(every.validation_x), len(every.test_x)) == (ROWS, 0, 0)
    assert every.validation_fraction == 0
    asked = Table(write(), "species", validation_fraction=0.1)
    assert (asked.num_labelled, len(asked.validation_x), len(asked.test_x)) == (ROWS - 36, 12, 24)


def test_validation_and_test_rows_are_the_same_for_every_seed(write):
    first, second = (Table(write(), "species", num_labels=6, seed=seed) for seed in (0, 1))
    assert (len(first.validation_x), len(first.test_x)) == (12, 24)
    assert torch.equal(first.test_x, second.test_x)
    assert torch.equal(first.validation_x, second.validation_x)
    assert not torch.equal(first.train_labels, second.train_labels)
    assert torch.bincount(first.test_labels).tolist() == [8, 8, 8]


def test_kinds_can_be_overridden(write):
    kinds = {"eggs": "categorical", "flipper_length_mm": "count", "tagged": "real"}
    data = everything(write(), kinds=kinds)
    assert data.feature_kinds == ("categorical", "real", "count", "categorical", "binary", "real")
    assert data.feature_categories["eggs"] == ("0", "1", "2", "3")
    assert data.train_x[:, 3].tolist() == PENGUINS["eggs"].tolist()
    assert data.kinds == kinds


def test_columns_can_be_left_out(write):
    frame = PENGUINS.assign(name=[f"bird {number}" for number in range(ROWS)])
    data = everything(write(frame), ignore=["name", "island"])
    assert data.feature_names == tuple(FEATURES[1:])


def test_numbers_with_leading_zeros_are_categories(write):
    postcodes = np.array(["01067", "20095", "80331"])[np.arange(ROWS) % 3]
    data = everything(write(PENGUINS.assign(postcode=postcodes)))
    assert data.feature_kinds[-1] == "categorical"
    assert data.feature_categories["postcode"] == ("01067", "20095", "80331")


@pytest.mark.parametrize("cells", [["group 1", "group 2", "group 3"], ["1st", "2nd", "3rd"], ["4 doors", "2 doors"]])
def test_names_with_numbers_are_categories(write, cells):
    data = everything(write(PENGUINS.assign(ring=[cells[number % len(cells)] for number in range(ROWS)])))
    assert data.feature_categories["ring"] == tuple(sorted(cells))


def test_negative_numbers_are_no_marks_of_missing_entries(write):
    below_zero = [-99 - number % 7 for number in range(ROWS)]
    assert everything(write(PENGUINS.assign(depth=below_zero))).feature_kinds[-1] == "real"
    kinds = {"flipper_length_mm": "real"}
    assert everything(write(changed("flipper_length_mm", 5, "-999")), kinds=kinds).train_x[5, 2] == -999


def test_numbers_as_classes(write):
    data = everything(write(PENGUINS.assign(species=np.arange(ROWS) % 11)))
    assert data.class_names == tuple(map(str, range(11)))
    gaps = PENGUINS.assign(species=[None, *(np.arange(1, ROWS) % 3)])  # which pandas writes as 1.0
    assert everything(write(gaps)).class_names == ("0", "1", "2")
    assert everything(write(gaps)).train_labels[:3].tolist() == [-1, 1, 2]


def test_every_argument_is_an_attribute_of_the_same_name(write):
    data = Table(write(), "species", kinds={"eggs": "real"}, ignore=["island"], num_labels=9, seed=2)
    assert all(hasattr(data, name) for name in inspect.signature(Table).parameters)
    arguments = {name: getattr(data, name) for name in inspect.signature(Table).parameters}
    again = Table(**arguments)
    assert torch.equal(data.train_x, again.train_x)
    assert torch.equal(data.train_labels, again.train_labels)


def test_the_summary_counts_the_kinds(write):
    assert Table(write(), "species", num_labels=6).summary() == (
        "penguins: 84 training rows (6 labelled, 78 unlabelled), 12 validation, 24 test, 3 classes, 6 features "
        "(2 real, 1 count, 2 binary, 1 categorical)"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_write_is_read(write, tmp_path, encoding, newline):
    text = PENGUINS.to_csv(index=False, sep="\t").replace("\n", newline)
    (tmp_path / "sheet.csv").write_bytes(text.encode(encoding))
    data, expected = everything(str(tmp_path / "sheet.csv")), everything(write())
    assert torch.equal(data.train_x, expected.train_x)
    assert (data.feature_names, data.class_names) == (expected.feature_names, expected.class_names)


def test_one_label_of_each_class_is_enough_among_many_rows(write):
    labels = [*SPECIES[:4], *[None] * (ROWS - 4)]
    assert everything(write(PENGUINS.assign(species=labels))).num_labelled == 4
    names = [*(f"bird {number}" for number in range(21)), *[None] * (ROWS - 21)]
    with pytest.raises(ValueError, match="got 21 different labels in 21 labelled rows"):
        everything(write(PENGUINS.assign(species=names)))


# Parquet


def test_a_parquet_file_is_read_as_the_same_table(write, tmp_path):
    pytest.importorskip("pyarrow")
    frame = PENGUINS.copy()
    frame.loc[0, "species"] = None
    frame.to_parquet(tmp_path / "penguins.parquet")
    data, from_text = everything(str(tmp_path / "penguins.parquet")), everything(write(frame))
    assert torch.equal(data.train_x, from_text.train_x)
    assert torch.equal(data.train_labels, from_text.train_labels)
    assert data.feature_kinds == from_text.feature_kinds
    assert data.feature_categories == from_text.feature_categories


def test_values_of_a_parquet_file_become_the_text_of_a_csv_file(write, tmp_path, monkeypatch):
    frame = PENGUINS.assign(tagged=PENGUINS["tagged"].astype("Int64")).astype({"eggs": "Int64"})
    frame.loc[0, "species"] = None
    (tmp_path / "penguins.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda file: frame)
    data, from_text = everything(str(tmp_path / "penguins.parquet")), everything(write(frame))
    assert torch.equal(data.train_x, from_text.train_x)
    assert torch.equal(data.train_labels, from_text.train_labels)
    assert data.feature_kinds == from_text.feature_kinds
    frame.loc[3, "eggs"] = pd.NA
    assert everything(str(tmp_path / "penguins.parquet")).train_x.isnan().nonzero().tolist() == [[3, 3]]


def test_a_parquet_file_without_pyarrow_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "penguins.parquet").touch()
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImportError, match=r"^file: expected pyarrow for a Parquet file; got none: pip install pyarrow\."
    ):
        everything(str(tmp_path / "penguins.parquet"))


# Bad input


def changed(column, row, value):
    return PENGUINS.astype({column: object}).assign(
        **{column: [value if number == row else cell for number, cell in enumerate(PENGUINS[column])]}
    )


TABLES = {
    "a column without an entry": (
        PENGUINS.assign(eggs=[None, "NA"] * (ROWS // 2)),
        r"^file: expected an entry in column 'eggs'; got none: leave it out by ignore=\['eggs'\]\.$",
    ),
    "one category beside gaps": (
        PENGUINS.assign(sex=["male", None] * (ROWS // 2)),
        r"^file: expected two categories or more in column 'sex'; got 'male' alone",
    ),
    "a text among numbers": (
        changed("bill_length_mm", 16, "long"),
        "file: expected numbers in column 'bill_length_mm', as most of its cells are; got 'long' in row 17: mend it",
    ),
    "infinity": (
        changed("bill_length_mm", 0, "inf"),
        "expected numbers in column 'bill_length_mm', .* got 'inf' in row 1",
    ),
    "too large": (
        changed("bill_length_mm", 5, "1e40"),
        r"file: expected numbers below 3.4e38; got 1e\+40 in row 6 of column 'bill_length_mm'\.$",
    ),
    "infinite in float64": (
        changed("bill_length_mm", 5, "-1e999"),
        r"file: expected finite numbers; got -inf in row 6 of column 'bill_length_mm'\.$",
    ),
    "many texts": (
        PENGUINS.assign(name=[f"bird {number:03}" for number in range(ROWS)]),
        r"file: expected numbers or at most 50 categories in column 'name'; got 120 different texts, such as "
        r"'bird 000': leave it out by ignore=\['name'\]",
    ),
    "decimal commas": (
        PENGUINS.assign(depth=[f"{number},5" for number in range(ROWS)]),
        "file: expected numbers with a decimal point in column 'depth'; got '0,5': write 0.5",
    ),
    "minus 999 for a missing entry": (
        changed("flipper_length_mm", 5, "-999"),
        "file: expected empty cells where entries are missing in column 'flipper_length_mm'; got '-999', where",
    ),
    "a unit": (
        PENGUINS.assign(mass=[f"{3000 + number % 9} g" for number in range(ROWS)]),
        "file: expected numbers without a unit in column 'mass'; got '3000 g': write 3000, or kinds={'mass'",
    ),
    "a currency": (
        PENGUINS.assign(price=[f"${number % 9}.50" for number in range(ROWS)]),
        r"got '\$0\.50': write 0\.50, or",
    ),
    "a measurement as label": (
        PENGUINS.assign(species=[2700 + 25 * (number % 51) for number in range(ROWS)]),
        "label: expected a column of classes; got 51 different numbers from 2700 to 3950 in 'species', as a",
    ),
    "one text": (
        PENGUINS.assign(island="Dream"),
        r"file: expected two categories or more in column 'island'; got 'Dream' alone: leave it out by ignore=\['isl",
    ),
    "two spellings": (
        changed("island", 0, "dream"),
        "file, column 'island': expected names that tell the classes apart; got 'Dream' and 'dream'",
    ),
    "row numbers": (
        PENGUINS.reset_index(),
        r"file: expected a feature in column 'index'; got the number of the row: leave it out by ignore=\['index'\]",
    ),
    "seconds since 1970": (
        PENGUINS.assign(time=1.7e9 + np.arange(ROWS) / 2),
        "file: expected numbers that float32 tells apart; got feature 'time'",
    ),
    "the same name": (
        pd.concat([PENGUINS, PENGUINS["eggs"]], axis=1),
        "file: expected columns of different names; got 'eggs' twice",
    ),
    "a number as label": (
        PENGUINS.assign(species=PENGUINS["bill_length_mm"]),
        "label: expected a column of classes; got [0-9.]+ in 'species', which is a number: name another column",
    ),
    "a name as label": (
        PENGUINS.assign(species=[f"bird {number}" for number in range(ROWS)]),
        "label: expected classes of several rows each; got 120 different labels in 120 labelled rows of 'species', as "
        "identifiers and measurements have: name the column of classes, or label more rows of each class",
    ),
    "no labels": (PENGUINS.assign(species=None), "label: expected a column with a label in some row; got 'species'"),
    "-1 and 1": (
        PENGUINS.assign(species=np.arange(ROWS) % 2 * 2 - 1),
        "label: expected two classes or more; got -1 and 1, of which -1 marks what is unlabelled; write 0 and 1",
    ),
    "a doubtful label": (changed("species", 0, "unknown"), "label: expected names of classes, .* got 'unknown'"),
    "only a label": (PENGUINS[["species"]], "file: expected columns with a comma, .* got one column 'species'"),
}


@pytest.mark.parametrize(("frame", "match"), TABLES.values(), ids=TABLES.keys())
def test_tables_that_are_not_what_they_seem_are_refused(write, frame, match):
    with pytest.raises(ValueError, match=match):
        Table(write(frame), "species")


THOUSANDS = "mass,species\n" + "{0},x\n{1},y\n{2},x\n" * 4


def test_all_columns_to_leave_out_are_named_at_once(write):
    frame = PENGUINS.assign(island="Dream", name=[f"bird {number:03}" for number in range(ROWS)], note=None)
    with pytest.raises(
        ValueError,
        match=r"^file: expected two categories or more in column 'island'; got 'Dream' alone, in 'name' 120 different "
        r"texts, such as 'bird 000', in 'note' none: leave them out by ignore=\['eggs', 'island', 'name', 'note'\]\.$",
    ):
        Table(write(frame), "species", ignore=["eggs"])
    assert len(Table(write(frame), "species", ignore=["eggs", "island", "name", "note"]).feature_names) == 4


TEXTS = {
    "another separator": (
        "a b species\n1 2 x\n2 3 y\n",
        "file: expected columns with a comma, .* one column 'a b species'",
    ),
    "no heading": ("5.1,3.5,x\n4.9,3.0,y\n", "file: expected a first row of column names; got '5.1', '3.5', 'x'"),
    "a short row": (
        "a,b,species\n1,2,x\n3,y\n",
        "file: expected 3 cells in each row, as in the heading; got 2 in line 3 of '.*csv'",
    ),
    "a long row": (
        'a,b,species\n1,2,"x\nX"\n\n3,4,5,y\n',
        "file: expected 3 cells in each row, as in the heading; got 4 in line 5 of '.*csv'",
    ),
    "a comma after each row": ("a,b,species\n1,2,x,\n3,4,y,\n", "expected 3 cells in each row, .* got 4 in line 2 of"),
    "an open quotation mark": (
        'a,b,species\n1,2,x\n3,"4,y\n5,6,x\n',
        "file: expected quotation marks in pairs; got others in the row that begins in line 3 of '.*csv'",
    ),
    "a quotation mark in a cell": (
        'a,b,species\n1,2,x\n3,"4"5,y\n',
        "file: expected cells as in CSV; got others in the row that begins in line 3",
    ),
    "no row": ("a,b,species\n", "file: expected a heading and rows below it; got none"),
    "empty": ("", "file: expected a heading and rows below it; got none"),
    "blank": ("\n \n,,\n", "file: expected"),
    "commas between thousands": (
        THOUSANDS.format('"1,250"', '"12,500"', "950"),
        "file: expected numbers without signs between thousands in column 'mass'; got '1,250': write 1250, 1.250 if "
        "the comma is a decimal one, or kinds={'mass': 'categorical'} if it is a name",
    ),
    "points between thousands": (
        THOUSANDS.format("2.500", "1.250.000", "950"),
        "expected numbers without signs between thousands in column 'mass'; got '1.250.000': write 1250000, or kinds=",
    ),
    "spaces between thousands": (
        THOUSANDS.format("2 500", "1 250 000.5", "950"),
        "got '1 250 000.5': write 1250000.5, or",
    ),
}


@pytest.mark.parametrize(("text", "match"), TEXTS.values(), ids=TEXTS.keys())
def test_texts_that_are_no_tables_are_refused(write_text, text, match):
    with pytest.raises(ValueError, match=match):
        Table(write_text(text), "species")


ARGUMENTS = {
    "no such label": (
        {"label": "Species"},
        ValueError,
        "label: expected names of the columns 'species', .* got 'Species'",
    ),
    "no such column": ({"ignore": ["age"]}, ValueError, "ignore: expected names of the columns .* got 'age'"),
    "a string": ({"ignore": "sex"}, TypeError, r"ignore: expected a list of column names; got 'sex': write \['sex'\]"),
    "the label": ({"ignore": ["species"]}, ValueError, "ignore: expected other columns than the label; got 'species'"),
    "all": ({"ignore": FEATURES}, ValueError, "ignore: expected at least one column to stay beside the label"),
    "no such kind": (
        {"kinds": {"eggs": "number"}},
        ValueError,
        "kinds: expected 'real', .* got 'number' for column 'eggs'",
    ),
    "a kind of nothing": ({"kinds": {"age": "real"}}, ValueError, "kinds: expected names of the columns .* got 'age'"),
    "a kind of the label": ({"kinds": {"species": "real"}}, ValueError, "kinds: expected columns that are features"),
    "real texts": (
        {"kinds": {"sex": "real"}},
        ValueError,
        "expected numbers in column 'sex', whose kind is 'real'; got",
    ),
    "broken counts": (
        {"kinds": {"bill_length_mm": "count"}},
        ValueError,
        "expected whole numbers of 0 or more in column 'bill_length_mm', whose kind is 'count'; got",
    ),
    "three of two": (
        {"kinds": {"island": "binary"}},
        ValueError,
        "expected two categories in column 'island'; got 'Bis",
    ),
    "fraction": (
        {"test_fraction": 1.0},
        ValueError,
        "test_fraction: expected a number of at least 0 and below 1; got 1",
    ),
    "fractions": (
        {"test_fraction": 0.6, "validation_fraction": 0.4},
        ValueError,
        "validation_fraction: expected validation_fraction . test_fraction below 1; got 0.4 . 0.6",
    ),
    "labels": ({"num_labels": 100}, ValueError, "num_labels: expected at most the 84 known labels; got 100"),
}


@pytest.mark.parametrize(("changes", "error", "match"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_bad_arguments_are_refused(write, changes, error, match):
    with pytest.raises(error, match=match):
        Table(**{"file": write(), "label": "species", **changes})


def test_files_that_do_not_exist_or_are_not_text_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"file: expected a table; got .*none\.csv', which is not a file"):
        Table(str(tmp_path / "none.csv"), "species")
    (tmp_path / "latin.csv").write_bytes("a,species\n1,Ad\xe9lie\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"file: expected a table in UTF-8 in .*latin\.csv'; got another .* line 2 shows"
    ):
        Table(str(tmp_path / "latin.csv"), "species")
