"""What the soak looks for is found: torn files of every kind, lost ones, runs that differ, memory that grows."""

import io
import shutil

import pytest
import torch
from PIL import Image

from benchmarks.children import Growth
from benchmarks.watch import Watch
from benchmarks.whole_files import find_differences, find_torn, leftovers
from ssvae.inference.storage.checkpoints import METADATA, AtomicCheckpointIO

ROWS = "epoch,seconds,loss\n1,0.5,20.25\n2,1.0,19.125\n"


def write_run(folder, seconds="0.5", weight=1.0):
    """A run folder with a file of each kind, small."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "figures").mkdir()
    story = {"model": {"class_path": "a.B", "init_args": {}}, "history": [{"step": 7.0}]}
    checkpoint = {"state_dict": {"weight": torch.full((100,), weight)}, METADATA: story}
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder / "checkpoints" / "last.ckpt")
    picture = io.BytesIO()
    Image.effect_noise((50, 50), 9).save(picture, "PNG")
    (folder / "figures" / "map.png").write_bytes(picture.getvalue())
    (folder / "metrics.csv").write_text(ROWS.replace("0.5", seconds))
    (folder / "evaluation.json").write_text('{"accuracy": 0.5, "seconds": {"model": ' + seconds + "}}\n")
    (folder / "config.yaml").write_text("data: null\nmodel: null\nbaselines: true\n")
    (folder / "report.md").write_text("# run\n\n## Pictures\n\n![map](figures/map.png)\n")
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def test_whole_files_are_whole(run):
    (run / "last.ckpt.partial").write_text("half of")
    assert list(find_torn(run)) == []
    assert leftovers(run) == [run / "last.ckpt.partial"]


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "name", ["checkpoints/last.ckpt", "figures/map.png", "metrics.csv", "evaluation.json", "config.yaml", "report.md"]
)
def test_a_file_that_was_cut_is_found(run, name, share):
    whole = (run / name).read_bytes()
    (run / name).write_bytes(whole[: int(share * len(whole))])
    (problem,) = find_torn(run)
    assert problem.startswith(f"{run / name}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROWS + "3,1.5", "ends in the middle of a row"),
        (ROWS + "3,1.5\n", "row 3 has 2 cells of 3"),
        (ROWS + "3,1.5,\n", "cannot be read"),
        ("epoch,seconds,loss\n", "has no row"),
    ],
)
def test_half_a_row_is_found(run, text, said):
    (run / "metrics.csv").write_text(text)
    (problem,) = find_torn(run)
    assert said in problem


def test_a_file_that_is_gone_and_a_checkpoint_that_fell_behind_are_found(run):
    watch = Watch(run)
    watch.check_files()
    assert watch.problems == []
    (run / "report.md").unlink()
    (run / "checkpoints" / "last.ckpt").unlink()
    watch.check_files()
    assert watch.problems == [
        f"lost: {run / 'checkpoints' / 'last.ckpt'}",
        f"lost: {run / 'report.md'}",
        f"lost: {run / 'checkpoints' / 'last.ckpt'} is of step 0 and was of step 7",
    ]


def test_only_times_may_differ(run, tmp_path):
    assert list(find_differences(run, write_run(tmp_path / "slower", seconds="9.5"))) == []
    other = write_run(tmp_path / "other", weight=1.0000001)
    assert list(find_differences(run, other)) == ["checkpoints/last.ckpt: weight"]
    other = shutil.copytree(run, tmp_path / "third")
    (other / "metrics.csv").write_text(ROWS.replace("20.25", "20.26"))
    (other / "evaluation.json").write_text('{"accuracy": 0.6, "seconds": {}}')
    assert list(find_differences(run, other)) == ["metrics.csv: other rows", "evaluation.json: other numbers"]


def test_growth_is_measured():
    found = Growth.of([(float(second), 100 + second / 36) for second in range(90)])
    assert found.per_hour == pytest.approx(100)
    assert (found.first, found.last) == pytest.approx((100 + 14.5 / 36, 100 + 74.5 / 36))
    assert found.seconds == 89
