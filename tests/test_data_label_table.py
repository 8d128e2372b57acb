"""Tables of files and labels as spreadsheets and programs write them: each label with the pixels of its file."""

import os

import numpy as np
import pandas as pd
import pytest
from test_data_folder_layouts import contents, lay_out, read

FILES = [f"pictures/{i}.png" for i in range(4)]
LABELS = ["cat", "dog", "cat", "dog"]
MEANT = {20: "cat", 21: "dog", 22: "cat", 23: "dog"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lay_out(tmp_path, *FILES)


def read_rows(folder, *rows, encoding="utf-8", root=None, **options):
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding=encoding)
    return read(root or folder, csv=str(folder / "labels.csv"), **options)


def column(*cells, of=LABELS):
    return [pattern.format(file=file, label=label) for pattern in cells for file, label in zip(FILES, of, strict=True)]


LAYOUTS = {
    "no heading": column("{file},{label}"),
    "no heading, labels first": column("{label},{file}"),
    "file, label": ["file,label", *column("{file},{label}")],
    "label, file": ["Class;Image_Path", *column("{label};{file}")],
    "semicolons": ["filename;category", *column("{file};{label}")],
    "tabs": ["path\ttarget", *column("{file}\t{label}")],
    "bars": ["Image Path|Class Name", *column("{file}|{label}")],
    "quotes": ['"image","class"', *column('"{file}","{label}"')],
    "spaces": ["file , label", *column(" {file} ,  {label} ")],
    "empty columns": ["file,label,,", *column("{file},{label},,"), ",,,"],
    "further columns": ["image,width,label,author", *column('{file},8,{label},"Doe, Jane"')],
    "unknown label heading": ["filename,breed", *column("{file},{label}")],
    "unknown headings": ["photo of,what", *column("{file},{label}")],
    "an index": [",file,label", *[f"{i},{row}" for i, row in enumerate(column("{file},{label}"))]],
    "an index by name": ["Unnamed: 0,file,breed", *[f"{i},{row}" for i, row in enumerate(column("{file},{label}"))]],
    "an index without heading": [f"{i},{row}" for i, row in enumerate(column("{file},{label}"), 1)],
    "numbers beside names": ["class id,filepaths,labels", *column("7,{file},{label}")],
    "blank lines before": ["", " , ", "file,label", *column("{file},{label}")],
    "a row of spaces": ["file,label", *column("{file},{label}"), " , ", ""],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("rows", LAYOUTS.values(), ids=LAYOUTS)
def test_a_table_is_read_as_it_is_written(root, rows, encoding):
    assert contents(read_rows(root, *rows, encoding=encoding))["train"] == MEANT


@pytest.mark.parametrize("options", [{}, {"sep": ";"}, {"index": False}, {"index": False, "sep": "\t"}])
def test_what_pandas_writes_is_read_back(root, options):
    frame = pd.DataFrame({"image": FILES, "width": [8.0] * 4, "class": [0, 1, np.nan, 1]})
    frame.to_csv(root / "labels.csv", **options)
    data = read(root, csv=str(root / "labels.csv"))
    assert data.class_names == ("0", "1")
    assert contents(data)["train"] == {20: "0", 21: "1", 22: None, 23: "1"}


def test_columns_may_be_named(root):
    rows = ["original,image,coarse,fine", *column("{file},x,pet,{label}")]
    with pytest.raises(
        ValueError, match=r"^csv: expected one column of labels; got the columns 'original', 'image', 'co"
    ):
        read_rows(root, *rows, file_column="original")
    data = read_rows(root, *rows, file_column="Original", label_column="fine")
    assert contents(data)["train"] == MEANT
    assert (data.file_column, data.label_column) == ("Original", "fine")
    with pytest.raises(
        ValueError, match=r"^label_column: expected one of the table's headings, original, .*; got 'kind'"
    ):
        read_rows(root, *rows, file_column="original", label_column="kind")


@pytest.mark.parametrize(
    "label",
    ["", "-1", "-1.0", "nan", "NaN", "NA", "<NA>", "#N/A", "n/a", "unlabelled", "unlabeled", "Unlabelled", " -1 "],
)
def test_labels_that_are_not_known(root, label):
    data = read_rows(root, *column("{file},{label}", of=["cat", "dog", label, "dog"]))
    assert contents(data)["train"] == {20: "cat", 21: "dog", 22: None, 23: "dog"}


@pytest.mark.parametrize("label", ["None", "null", "NULL", "unknown", "?", "Unsure"])
def test_labels_that_may_be_a_class_or_none_are_asked_about(root, label):
    with pytest.raises(
        ValueError, match=r"^csv: expected names of classes, or `unlabelled`; got .*; write `unlabelled`"
    ):
        read_rows(root, *column("{file},{label}", of=["cat", "dog", label, "dog"]))


NUMBERS = {
    "whole numbers as fractions": (["0", "0.0", "1.0", "1"], ["0", "0", "1", "1"]),
    "versions": (["1.0", "1.1", "2.0", "1.1"], ["1.0", "1.1", "2.0", "1.1"]),
    "leading zeros": (["00", "01", "10", "01"], ["00", "01", "10", "01"]),
    "large numbers": (["12345678901234567890", "1", "1", "1"], ["12345678901234567890", "1", "1", "1"]),
    "what looks like another type": (["True", "1e3", "2026-01-01", "1e3"], ["True", "1e3", "2026-01-01", "1e3"]),
    "one letter": (["A", "a", "A", "b"], ["A", "a", "A", "b"]),
}


@pytest.mark.parametrize(("labels", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_labels_are_text(root, labels, expected):
    data = read_rows(root, "file,label", *column("{file},{label}", of=labels))
    assert contents(data)["train"] == dict(zip(range(20, 24), expected, strict=True))


@pytest.mark.parametrize("labels", [["Cat", "cat", "dog", "dog"], ["1", "01", "2", "2"], ["1", "1.0", "1.5", "2"]])
def test_labels_that_are_probably_one_are_asked_about(root, labels):
    with pytest.raises(
        ValueError, match=r"^csv: expected names that tell the classes apart; got '.*' and '.*'; write both"
    ):
        read_rows(root, *column("{file},{label}", of=labels))


@pytest.mark.parametrize("labels", [["-1", "1", "1", "-1"], ["-1.0", "1.0", "1.0", "-1.0"], ["-1", "+1", "+1", "-1"]])
def test_two_classes_of_opposite_sign_are_asked_about(root, labels):
    with pytest.raises(
        ValueError, match=r"^csv: expected two classes or more; got the labels -1 and 1, .* write 0 and 1"
    ):
        read_rows(root, *column("{file},{label}", of=labels))


WAYS = {
    "a dot": "./{file}",
    "a way round": "pictures/../{file}",
    "backslashes": ".\\{file}",
    "absolute": "{here}/{file}",
    "from the table": "below/../{file}",
}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_paths_are_followed_inside_of_the_root(root, way, absolute):
    (root / "below").mkdir()
    rows = [row.replace("{here}", str(root)) for row in (way.replace("{file}", file) for file in FILES)]
    rows = [row.replace("/", "\\") if "\\" in row else row for row in rows]
    rows = [f"{row},{label}" for row, label in zip(rows, LABELS, strict=True)]
    assert contents(read_rows(root, *rows, root=str(root) if absolute else "."))["train"] == MEANT
    # The root is the folder of pictures, and the table beside it names them from there.
    if "below" not in way:
        found = read_rows(root, *rows, root=str(root / "pictures") if absolute else "pictures")
        assert contents(found)["train"] == MEANT


def test_paths_are_followed_through_a_root_that_is_a_link(root, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "link"
    link.symlink_to(root)
    for start in (root, link):
        rows = [f"{start / file},{label}" for file, label in zip(FILES, LABELS, strict=True)]
        assert contents(read_rows(root, *rows, root=str(link)))["train"] == MEANT


@pytest.mark.skipif(os.name == "nt", reason="no backslash is in a file's name there")
def test_a_backslash_may_be_in_a_name(root):
    lay_out(root, *FILES, "a\\b.png")
    assert contents(read_rows(root, *column("{file},{label}"), "a\\b.png,cat"))["train"] == {**MEANT, 24: "cat"}


@pytest.mark.parametrize("file", ["../beside.png", "..\\beside.png", "C:\\beside.png", "/beside.png", "pictures"])
def test_files_outside_of_the_root_are_not_read(root, file):
    lay_out(root.parent, "beside.png")
    with pytest.raises((ValueError, FileNotFoundError), match=r"^csv: expected (files|a file) in .* in line 5"):
        read_rows(root, *column("{file},{label}"), f"{file},cat")


def test_a_column_may_say_which_images_are_for_testing(root):
    rows = [
        f"{file},{label},{part}"
        for file, label, part in zip(FILES, LABELS, ["train", "Train", "test", "val"], strict=True)
    ]
    assert contents(read_rows(root, "file,label,split", *rows)) == {
        "train": {20: "cat", 21: "dog"},
        "test": {22: "cat"},
        "validation": {23: "dog"},
    }
    # Folds are no parts.
    assert contents(read_rows(root, "file,label,split", *column("{file},{label},3")))["train"] == MEANT


QUESTIONS = {
    "two columns of labels": (
        ["file,label,class", *column("{file},{label},x")],
        "labels; got the columns 'file', 'label",
    ),
    "two columns of files": (
        ["image,path,label", *column("{file},{file},{label}")],
        "files; got the columns 'image', 'pa",
    ),
    "a column for each class": (
        ["file,cat,dog", *column("{file},0,1")],
        "labels; got the columns 'file', 'cat', 'dog'; na",
    ),
    "no heading": (
        column("{file},3,{label}"),
        "labels; got no heading, and in line 1 'pictures/0.png,3,cat'; add",
    ),
}


@pytest.mark.parametrize(("rows", "expected"), QUESTIONS.values(), ids=QUESTIONS)
def test_columns_that_cannot_be_told_are_asked_about(root, rows, expected):
    with pytest.raises(ValueError, match=f"^csv: expected one column of {expected}"):
        read_rows(root, *rows)


@pytest.mark.parametrize("rows", [[""], ["", " , "], ["file,label"]])
def test_a_table_of_nothing_is_refused(root, rows):
    with pytest.raises(ValueError, match=r"^csv: expected at least one row with a label in "):
        read_rows(root, *rows)


def test_a_row_of_too_many_cells_is_refused(root):
    with pytest.raises(ValueError, match=r"^csv: expected rows `file,label` in UTF-8 .* line 3, saw 3"):
        read_rows(root, *column("{file},{label}")[:2], f"{FILES[2]},cat,1")
