import pytest
import torch

from ssvae.data import Batches, ImageData

NONE = torch.empty(0, dtype=torch.int64)
LABELLED = torch.arange(100, 107)
UNLABELLED = torch.arange(20)


def epoch_of(batches, epoch):
    batches.set_epoch(epoch)
    return list(batches)


def times_seen(indices, lowest, number):
    return torch.bincount(torch.cat(indices) - lowest, minlength=number)


def test_an_epoch_sees_every_unlabelled_image_once_where_the_batch_size_divides():
    batches = epoch_of(Batches((LABELLED, UNLABELLED, NONE), 5, 3), 0)
    assert len(batches) == 4
    assert all(batch.labelled.shape == (3,) and batch.unlabelled.shape == (5,) for batch in batches)
    assert times_seen([batch.unlabelled for batch in batches], 0, 20).tolist() == [1] * 20


def test_the_dropped_remainder_is_another_one_every_epoch():
    batches = Batches((LABELLED, UNLABELLED, NONE), 6, 3)
    assert len(batches) == 3
    seen = [set(torch.cat([batch.unlabelled for batch in epoch_of(batches, epoch)]).tolist()) for epoch in range(40)]
    assert {len(images) for images in seen} == {18}
    assert set.intersection(*seen) == set()


def test_every_unlabelled_image_is_seen_equally_often_in_expectation():
    batches = Batches((LABELLED, UNLABELLED, NONE), 6, 3, seed=1)
    epochs = 2000
    first = times_seen([epoch_of(batches, epoch)[0].unlabelled for epoch in range(epochs)], 0, 20)
    # The first batch holds an image with probability 6/20: 600 ± 20.5 times; 5 standard errors.
    assert int((first - 600).abs().max()) < 103


def test_labelled_appearances_differ_by_at_most_one_at_any_time():
    batches = Batches((LABELLED, UNLABELLED, NONE), 5, 3)
    walk = [batch.labelled for epoch in range(25) for batch in epoch_of(batches, epoch)]
    for end in range(1, len(walk) + 1):
        seen = times_seen(walk[:end], 100, 7)
        assert int(seen.max() - seen.min()) <= 1
    # Over 25 epochs of 4 steps of 3 images: 300 = 42 · 7 + 6.
    assert sorted(seen.tolist()) == [42] + [43] * 6


def test_the_labelled_walk_uses_different_orders():
    walk = torch.cat([batch.labelled for batch in epoch_of(Batches((LABELLED, torch.arange(700), NONE), 7, 7), 0)])
    assert len({tuple(order) for order in walk.view(100, 7).tolist()}) > 90


def test_batches_depend_on_seed_and_epoch_only():
    one, other = (
        Batches((LABELLED, UNLABELLED, NONE), 6, 3, seed=2),
        Batches((LABELLED, UNLABELLED, NONE), 6, 3, seed=2),
    )
    for epoch in range(3):
        list(epoch_of(one, epoch))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    resumed = epoch_of(other, 3)
    assert torch.equal(torch.get_rng_state(), before)
    for batch, expected in zip(resumed, epoch_of(one, 3), strict=True):
        assert torch.equal(batch.labelled, expected.labelled)
        assert torch.equal(batch.unlabelled, expected.unlabelled)


def test_other_seeds_and_epochs_give_other_batches():
    orders = set()
    for seed in range(3):
        batches = Batches((LABELLED, UNLABELLED, NONE), 20, 3, seed=seed)
        orders |= {tuple(epoch_of(batches, epoch)[0].unlabelled.tolist()) for epoch in range(3)}
    assert len(orders) == 9


def test_the_epoch_may_be_set_after_iter_was_called():
    # Lightning calls iter() before the hooks in which a training module sets the epoch.
    batches = Batches((LABELLED, UNLABELLED, NONE), 5, 3)
    expected = epoch_of(batches, 4)[0].unlabelled
    batches.set_epoch(0)
    iterator = iter(batches)
    batches.set_epoch(4)
    assert torch.equal(next(iterator).unlabelled, expected)


def test_without_unlabelled_images_an_epoch_is_a_pass_over_the_labelled_ones():
    batches = Batches((UNLABELLED, NONE, NONE), 500, 6)
    assert len(batches) == 3
    seen = torch.cat([batch.labelled for batch in epoch_of(batches, 0)])
    assert len(seen) == len(seen.unique()) == 18
    assert all(batch.unlabelled.shape == (0,) and batch.unlabelled.dtype == torch.int64 for batch in batches)


def test_without_labelled_images_the_labelled_part_is_empty():
    batches = epoch_of(Batches((NONE, UNLABELLED, NONE), 5), 2)
    assert all(batch.labelled.shape == (0,) and batch.labelled.dtype == torch.int64 for batch in batches)
    assert times_seen([batch.unlabelled for batch in batches], 0, 20).tolist() == [1] * 20


@pytest.mark.parametrize(("num_labelled", "expected"), [(7, 7), (100, 100), (250, 100)])
def test_the_default_labelled_batch_is_at_most_a_hundred(num_labelled, expected):
    batches = Batches((torch.arange(num_labelled), UNLABELLED, NONE), 5)
    assert batches.labelled_batch_size == expected
    assert len(next(iter(batches)).labelled) == expected


def test_indices_are_those_of_the_training_images():
    labels = torch.tensor([-1, 0, -1, 1, -1, -1])
    data = ImageData("Example", torch.zeros(6, 1, 8, 8, dtype=torch.uint8), labels, class_names=["a", "b"])
    (batch,) = Batches(data, 4)
    assert sorted(batch.labelled.tolist()) == [1, 3]
    assert sorted(batch.unlabelled.tolist()) == [0, 2, 4, 5]


ERRORS = {
    "large batch": (
        lambda: Batches((LABELLED, UNLABELLED, NONE), 21),
        "batch_size: expected at most 20, .*; got 21",
    ),
    "large labelled batch": (
        lambda: Batches((LABELLED, UNLABELLED, NONE), 5, 8),
        "labelled_batch_size: expected at most 7, .*; got 8",
    ),
    "zero": (lambda: Batches((LABELLED, UNLABELLED, NONE), 0), "batch_size: expected at least 1; got 0"),
    "zero labelled": (
        lambda: Batches((LABELLED, UNLABELLED, NONE), 5, 0),
        "labelled_batch_size: expected at least 1; got 0",
    ),
    "no images": (lambda: Batches((NONE, NONE, NONE), 5), "data: expected at least one image; got none"),
    "negative seed": (
        lambda: Batches((LABELLED, UNLABELLED, NONE), 5, seed=-1),
        "seed: expected 0 or more; got -1",
    ),
    "negative epoch": (
        lambda: Batches((LABELLED, UNLABELLED, NONE), 5).set_epoch(-1),
        "epoch: expected 0 or more; got -1",
    ),
}


@pytest.mark.parametrize(("call", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_bad_arguments_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_batches_of_an_epoch_are_images_that_stay():
    batches = Batches((torch.arange(3), torch.arange(3, 11), torch.arange(0)), 4, 2, seed=5)
    batches.set_epoch(1)
    assert [(batch.labelled.tolist(), batch.unlabelled.tolist()) for batch in batches] == [
        ([0, 2], [10, 3, 6, 7]),
        ([1, 2], [5, 4, 8, 9]),
    ]


def weighted(weights, labels):
    return ImageData(
        "Example",
        torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8),
        torch.tensor(labels),
        class_names=["a", "b"],
        train_weights=torch.tensor(weights, dtype=torch.float64),
    )


def test_whole_weights_are_that_many_appearances_in_every_order():
    data = weighted([3, 1, 1, 3, 2, 0.5, 0.5, 1], [0, 1, 0, 1, -1, -1, -1, -1])
    batches = Batches(data, 2, 2, seed=4)
    assert len(batches) == 2
    orders = set()
    for epoch in range(20):
        found = epoch_of(batches, epoch)
        orders.add(tuple(torch.cat([batch.labelled for batch in found]).tolist()))
        # Of four places: 3/8, 1/8, 1/8 and 3/8 of them, 1½ and ½ rounded either way.
        seen = times_seen([batch.labelled for batch in found], 0, 4)
        assert ((seen == torch.tensor([1, 0, 0, 1])) | (seen == torch.tensor([2, 1, 1, 2]))).all()
        unlabelled = times_seen([batch.unlabelled for batch in found], 4, 4)
        assert unlabelled[[0, 3]].tolist() == [2, 1]
        assert unlabelled[[1, 2]].tolist() in ([1, 0], [0, 1])
    assert len(orders) > 10


def test_every_place_of_a_batch_is_drawn_by_weight():
    weights = [0.3, 2.0, 5.1, 0.6, 1, 1, 1, 1]
    batches = Batches(weighted(weights, [0, 1, 0, 1, -1, -1, -1, -1]), 4, 1, seed=1)
    epochs = 4000
    first = times_seen([epoch_of(batches, epoch)[0].labelled for epoch in range(epochs)], 0, 4) / epochs
    # Standard errors are at most sqrt(0.25 / 4000) = 0.008.
    torch.testing.assert_close(first.double(), torch.tensor(weights[:4]).double() / 8, atol=0.03, rtol=0)


def test_equal_weights_are_every_image_once():
    batches = Batches(weighted([7.0] * 8, [0, 1, 0, 1, -1, -1, -1, -1]), 2, 2)
    for epoch in range(5):
        assert times_seen([batch.unlabelled for batch in epoch_of(batches, epoch)], 4, 4).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        (torch.ones(2), TypeError, "train_weights: expected a float64 tensor; got float32"),
        (torch.ones(3).double(), ValueError, r"train_weights: expected shape \(2,\), .* got \(3,\)"),
        (torch.tensor([1.0, 0.0]).double(), ValueError, "train_weights: expected positive numbers; got 0.0"),
        (torch.tensor([1.0, float("nan")]).double(), ValueError, "train_weights: expected positive numbers; got nan"),
    ],
)
def test_weights_that_are_none_are_refused(weights, error, match):
    with pytest.raises(error, match=match):
        ImageData(
            "Example",
            torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
            torch.tensor([0, 1]),
            class_names=["a", "b"],
            train_weights=weights,
        )
