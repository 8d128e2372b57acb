import pytest
import torch

from ssvae.data.labels import draw_labels, split

# 50, 30, 15 and 5 images of the four classes, in a fixed disorder.
LABELS = torch.arange(4).repeat_interleave(torch.tensor([50, 30, 15, 5]))[
    torch.randperm(100, generator=torch.Generator().manual_seed(1))
]


def counts(labels):
    return torch.bincount(labels[labels >= 0], minlength=4).tolist()


def test_none_keeps_every_label_in_new_memory():
    drawn = draw_labels(LABELS, None, 4, balanced=True, seed=0)
    assert torch.equal(drawn, LABELS)
    assert drawn.data_ptr() != LABELS.data_ptr()


def test_zero_hides_every_label():
    assert draw_labels(LABELS, 0, 4, balanced=True, seed=0).tolist() == [-1] * 100


@pytest.mark.parametrize("num_labels", [4, 8, 20])
def test_balanced_counts_are_equal(num_labels):
    drawn = draw_labels(LABELS, num_labels, 4, balanced=True, seed=0)
    assert counts(drawn) == [num_labels // 4] * 4
    assert torch.equal(drawn[drawn >= 0], LABELS[drawn >= 0])


@pytest.mark.parametrize(
    ("num_labels", "expected"),
    [
        (100, [50, 30, 15, 5]),
        (20, [10, 6, 3, 1]),
        (
            10,
            [5, 3, 1, 1],
        ),  # shares 5, 3, 1.5, 0.5: the third class gives way to "at least one" of the fourth
        (7, [3, 2, 1, 1]),  # shares 3.5, 2.1, 1.05, 0.35
        (33, [16, 10, 5, 2]),  # shares 16.5, 9.9, 4.95, 1.65: the three largest remainders are rounded up
        (4, [1, 1, 1, 1]),
    ],
)
def test_stratified_counts_follow_the_largest_remainders(num_labels, expected):
    drawn = draw_labels(LABELS, num_labels, 4, balanced=False, seed=0)
    assert counts(drawn) == expected
    assert torch.equal(drawn[drawn >= 0], LABELS[drawn >= 0])


def test_one_seed_gives_one_draw_and_another_seed_another():
    first, again, other = (draw_labels(LABELS, 20, 4, balanced=True, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_smaller_balanced_draw_lies_within_a_larger_one():
    small, large = (draw_labels(LABELS, number, 4, balanced=True, seed=3) >= 0 for number in (8, 20))
    assert bool((large | ~small).all())


def test_every_image_is_drawn_equally_often():
    # 5 of 50 images of class 0 in each of 2000 draws: 200 ± 13.4 times each; 6 standard errors.
    times = sum((draw_labels(LABELS, 20, 4, balanced=True, seed=seed) >= 0).long() for seed in range(2000))
    of_class_0 = times[LABELS == 0]
    assert int(of_class_0.sum()) == 10_000
    assert int((of_class_0 - 200).abs().max()) < 6 * 13.4


def test_labels_unknown_from_the_start_stay_unknown():
    partial = LABELS.clone()
    partial[::2] = -1
    drawn = draw_labels(partial, 4, 4, balanced=False, seed=0)
    assert int((drawn >= 0).sum()) == 4
    assert drawn[::2].tolist() == [-1] * 50


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    draw_labels(LABELS, 20, 4, balanced=True, seed=0)
    split(LABELS, 20, 4, argument="num_test")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_labels": 101}, ValueError, "num_labels: expected at most the 100 known labels; got 101"),
        ({"num_labels": 3}, ValueError, "at least one label for each of the 4 classes .*; got 3"),
        ({"num_labels": -1}, ValueError, "num_labels: expected 0 or more; got -1"),
        ({"num_labels": 10.0}, TypeError, "num_labels: expected an integer; got 10.0"),
        ({"num_labels": 10}, ValueError, "multiple of the 4 classes as balanced=True; got 10"),
        ({"num_labels": 24}, ValueError, "at least 6 known labels of every class .* got 5 of class 3"),
        (
            {"num_labels": 20, "num_classes": 5},
            ValueError,
            "a known label of every class; got none of class 4",
        ),
        ({"num_labels": 20, "seed": -2}, ValueError, "seed: expected 0 or more; got -2"),
    ],
)
def test_a_draw_that_cannot_be_given_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        draw_labels(LABELS, **{"num_classes": 4, "balanced": True, "seed": 0, **arguments})


def test_split_is_a_stratified_partition():
    kept, held_out = split(LABELS, 20, 4, argument="num_test")
    assert sorted(kept.tolist() + held_out.tolist()) == list(range(100))
    assert counts(LABELS[held_out]) == [10, 6, 3, 1]
    assert torch.equal(split(LABELS, 20, 4, argument="num_test")[1], held_out)


def test_split_leaves_a_label_of_every_class_and_every_unlabelled_image():
    labels = torch.tensor([0, 0, 0, 0, 1, -1, -1])
    kept, held_out = split(labels, 3, 2, argument="num_test")
    assert counts(labels[kept])[:2] == [1, 1]
    assert {5, 6} <= set(kept.tolist())
    assert labels[held_out].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("number", "error", "match"),
    [
        (97, ValueError, "num_test: expected at most 96 images, .* got 97"),
        (-1, ValueError, "num_test: expected 0 or more; got -1"),
        (0.5, TypeError, "num_test: expected an integer; got 0.5"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(number, error, match):
    with pytest.raises(error, match=match):
        split(LABELS, number, 4, argument="num_test")
