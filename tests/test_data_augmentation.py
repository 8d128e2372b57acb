import math

import pytest
import torch

from ssvae.data import Augmentation
from ssvae.data.augmentation import _resample, _smoothing


def eight_bit(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator).to(torch.get_default_dtype()) / 255


def resample(pixels, degrees=0.0, scale=1.0, shift=(0.0, 0.0), bends=None):
    number = len(pixels)
    return _resample(
        pixels,
        torch.full((number,), math.radians(degrees), dtype=pixels.dtype),
        torch.full((number,), scale, dtype=pixels.dtype),
        torch.tensor(shift, dtype=pixels.dtype).expand(number, 2),
        bends,
    )


@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (3, 3, 32, 32), (2, 1, 8, 11)])
def test_no_change_is_the_identity_exactly(shape):
    pixels = eight_bit(*shape)
    assert torch.equal(Augmentation(degrees=0.0, scale=0.0, shift=0.0)(pixels), pixels)
    assert torch.equal(resample(pixels), pixels)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 2), (-2, 1), (3, -3)])
def test_a_shift_by_whole_pixels_is_a_roll(right, down):
    pixels = eight_bit(2, 1, 12, 15)
    rolled = torch.roll(pixels, (down, right), dims=(2, 3))
    shifted = resample(pixels, shift=(right, down))
    assert torch.equal(shifted[..., 3:-3, 3:-3], rolled[..., 3:-3, 3:-3])


def test_beyond_the_border_its_pixels_go_on():
    pixels = eight_bit(1, 1, 8, 8)
    shifted = resample(pixels, shift=(2.0, 0.0))
    assert torch.equal(shifted[..., :3], pixels[..., :1].expand(1, 1, 8, 3))


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_are_rot90(quarters):
    pixels = eight_bit(3, 3, 10, 10)
    turned = resample(pixels, degrees=90.0 * quarters)
    assert torch.equal(turned, torch.rot90(pixels, quarters, dims=(2, 3)))


def test_a_turn_of_an_image_that_is_not_square_does_not_shear_it():
    pixels = eight_bit(1, 1, 8, 14)
    # The 8×8 in the middle turns as if it were alone.
    middle = resample(pixels, degrees=90.0)[..., 3:11]
    assert torch.equal(middle, torch.rot90(pixels[..., 3:11], 1, dims=(2, 3)))


def test_scaling_by_two_doubles_lengths_about_the_centre():
    pixels = torch.zeros(1, 1, 16, 16)
    pixels[..., 6:10, 6:10] = 1.0
    bright = (resample(pixels, scale=2.0)[0, 0] > 0.5).nonzero()
    assert bright.min(0).values.tolist() == [4, 4]
    assert bright.max(0).values.tolist() == [11, 11]


def test_each_image_is_changed_by_itself_and_stays_8_bit():
    pixels = eight_bit(1, 1, 28, 28).expand(50, 1, 28, 28)
    changed = Augmentation()(pixels)
    assert changed.shape == pixels.shape
    assert changed.dtype == pixels.dtype
    assert len(torch.unique(changed.flatten(1), dim=0)) == 50
    levels = (changed * 255).round()
    assert torch.equal(levels / 255, changed)
    assert 0 <= float(levels.min()) <= float(levels.max()) <= 255


def test_shifts_are_uniform_within_their_bounds():
    # Where an image grows by one level per column, the shift can be read off, to the nearest level.
    pixels = (torch.arange(64, dtype=torch.get_default_dtype()) / 255).expand(4000, 1, 8, 64)
    shifts = 32 - 255 * Augmentation(degrees=0.0, scale=0.0, shift=10 / 64)(pixels)[:, 0, 4, 32]
    assert float(shifts.abs().max()) <= 10
    # U(-10, 10) has variance 33.3; the standard error of the mean is 0.09, that of the variance 0.47.
    assert abs(float(shifts.mean())) < 0.46
    assert abs(float(shifts.var()) - 100 / 3) < 2.5


def test_bends_are_smooth_between_their_nodes():
    nodes = torch.randn(3, 2, 5, 5)
    smooth = torch.nn.functional.interpolate(nodes, (9, 13), mode="bicubic", align_corners=True)
    found = _smoothing(nodes, 9) @ nodes @ _smoothing(nodes, 13).T
    torch.testing.assert_close(found, smooth, rtol=0, atol=1e-6)
    # At every third of 13 columns there is a node, at every second of 9 rows.
    torch.testing.assert_close(found[..., ::2, ::3], nodes, rtol=0, atol=1e-6)


def test_a_bend_that_is_the_same_everywhere_is_a_shift():
    pixels = eight_bit(2, 1, 12, 16)
    bends = torch.tensor([2 / 8, -1 / 6]).expand(2, 12, 16, 2)  # two pixels from the right, one from above
    assert torch.equal(resample(pixels, bends=bends), resample(pixels, shift=(-2.0, 1.0)))


def test_bends_have_the_standard_deviation_asked_for():
    # The middle column of 65 is a node; where it was looked up can be read off, to the nearest level.
    pixels = (torch.arange(65, dtype=torch.get_default_dtype()) / 255).expand(4000, 1, 65, 65)
    augmentation = Augmentation(degrees=0.0, scale=0.0, shift=0.0, elastic=0.1)
    moved = 255 * augmentation(pixels)[:, 0, 32, 32] - 32
    # N(0, 6.5²), of which rounding makes 1/12 more; the standard error of the mean is 0.10, that of the variance 0.95.
    assert abs(float(moved.mean())) < 0.5
    assert abs(float(moved.var()) - 6.5**2 - 1 / 12) < 4.8


def test_without_bends_the_draws_are_what_they_were():
    pixels = eight_bit(4, 1, 12, 12)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain = Augmentation()(pixels)
        torch.manual_seed(5)
        bent = Augmentation(elastic=1e-9)(pixels)
    assert torch.equal(plain, bent)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_as_many_images_are_mirrored_as_asked_for_and_nothing_else_happens_to_them(probability):
    pixels = eight_bit(1, 3, 4, 5).expand(4000, 3, 4, 5)
    found = Augmentation(degrees=0.0, scale=0.0, shift=0.0, horizontal_flip=probability)(pixels)
    mirrored = (found == pixels.flip(-1)).flatten(1).all(1)
    kept = (found == pixels).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    # The standard error is 0.007.
    assert abs(float(mirrored.double().mean()) - probability) < 0.03


def test_a_mirrored_image_is_moved_as_it_would_have_been():
    pixels = eight_bit(4, 1, 12, 12)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain = Augmentation(elastic=0.1)(pixels)
        torch.manual_seed(5)
        mirrored = Augmentation(elastic=0.1, horizontal_flip=1.0)(pixels)
    assert torch.equal(mirrored, plain.flip(-1))


STILL = {"degrees": 0.0, "scale": 0.0, "shift": 0.0}


@pytest.mark.parametrize("cutout", [0.25, 0.5, 1.0])
def test_a_rectangle_about_a_random_place_is_cut_out_and_the_rest_is_left(cutout):
    pixels = torch.rand(4000, 1, 20, 12)
    cut = Augmentation(**STILL, cutout=cutout)(pixels) == 128 / 255
    rows, columns = cut.any(3), cut.any(2)  # (B, 1, 20), (B, 1, 12)
    assert torch.equal(cut, rows.unsqueeze(3) & columns.unsqueeze(2))
    for covered, side in ((rows, 20), (columns, 12)):
        # A row is cut where the centre lies within half a side of it: at the border for half as many centres as in
        # the middle. The standard error is at most 0.008.
        middles = torch.arange(side) + 0.5
        half = cutout * side / 2
        expected = ((middles + half).clamp(max=side) - (middles - half).clamp(min=0)) / side
        assert (covered[:, 0].double().mean(0) - expected).abs().max() < 0.035
        covered = covered[:, 0].int()
        assert (covered.diff(dim=1).abs().sum(1) <= 2).all()  # one piece
        assert int(covered.sum(1).max()) == min(side, round(cutout * side))


def test_what_is_not_cut_out_is_the_image_in_every_channel():
    pixels = torch.rand(50, 3, 8, 8)
    found = Augmentation(**STILL, cutout=0.5)(pixels)
    cut = (found == 128 / 255).all(1, keepdim=True).expand_as(found)
    assert cut.any()
    assert torch.equal(found[~cut], pixels[~cut])


def test_another_light_keeps_the_order_of_values_and_moves_their_mean_and_spread_by_as_much_as_it_says():
    pixels = 0.4 + 0.2 * torch.rand(3000, 3, 6, 6)  # far from 0 and 1, so that nothing is clipped
    relit = Augmentation(**STILL, brightness=0.2, contrast=0.5)(pixels)
    mean, other = (each.flatten(1).mean(1) for each in (pixels, relit))
    factor = ((relit - other[:, None, None, None]).flatten(1).std(1)) / (pixels.flatten(1) - mean[:, None]).std(1)
    # Uniform in [-0.2, 0.2] and in [0.5, 1.5]: means, standard deviations and ends. Rounding to 1/255 adds a little.
    for found, low, high, rounding in ((other - mean, -0.2, 0.2, 0.001), (factor, 0.5, 1.5, 0.02)):
        width = high - low
        assert found.mean().item() == pytest.approx((low + high) / 2, abs=5 * width / math.sqrt(12 * 3000))
        assert found.std().item() == pytest.approx(width / math.sqrt(12), rel=0.05)
        assert low - rounding <= found.min() < low + 0.01 * width + rounding
        assert high - 0.01 * width - rounding < found.max() <= high + rounding
    expected = mean[:, None] + factor[:, None] * (pixels.flatten(1) - mean[:, None]) + (other - mean)[:, None]
    assert (relit.flatten(1) - expected).abs().max() < 0.8 / 255


def test_light_stays_in_0_to_1_in_steps_of_an_eight_bit_pixel():
    relit = Augmentation(**STILL, brightness=1.0, contrast=1.0)(eight_bit(40, 1, 8, 8))
    assert relit.min() == 0
    assert relit.max() == 1
    assert torch.equal((relit * 255).round() / 255, relit)


@pytest.mark.parametrize(("options", "disturbs"), [({}, False), ({"cutout": 0.5}, True), ({"contrast": 0.1}, True)])
def test_light_and_cutout_are_for_the_classifier_alone(options, disturbs):
    augmentation = Augmentation(**options)
    assert augmentation.disturbs == disturbs
    pixels = eight_bit(4, 1, 8, 8)
    assert torch.equal(augmentation.disturb(pixels), pixels) == (not disturbs)


def test_to_augment_is_to_move_and_then_to_disturb():
    pixels = eight_bit(4, 1, 12, 12)
    augmentation = Augmentation(elastic=0.1, horizontal_flip=0.5, cutout=0.5, brightness=0.2)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        both = augmentation(pixels)
        torch.manual_seed(5)
        moved = augmentation.move(pixels)
        apart = augmentation.disturb(moved)
        torch.manual_seed(5)
        whole = Augmentation(elastic=0.1, horizontal_flip=0.5)(pixels)
    assert torch.equal(both, apart)
    assert torch.equal(moved, whole)
    assert not torch.equal(both, whole)


def test_randomness_comes_from_the_global_generator():
    pixels = eight_bit(4, 1, 12, 12)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = Augmentation()(pixels)
        second = Augmentation()(pixels)
        torch.manual_seed(5)
        again = Augmentation()(pixels)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_no_images_give_no_images():
    assert Augmentation(cutout=0.5)(torch.zeros(0, 1, 8, 8)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"degrees": -1.0}, "degrees: expected an angle from 0 to 180; got -1"),
        ({"degrees": 181.0}, "degrees: .* got 181"),
        ({"scale": 1.0}, "scale: expected a number of at least 0 and below 1; got 1"),
        ({"scale": math.nan}, "scale: .* got nan"),
        ({"shift": -0.5}, "shift: .* got -0.5"),
        ({"shift": 1.5}, "shift: expected a share .* got 1.5"),
        ({"elastic": -0.1}, "elastic: expected a share .* got -0.1"),
        ({"horizontal_flip": 1.1}, "horizontal_flip: expected a probability from 0 to 1; got 1.1"),
        ({"cutout": -0.1}, "cutout: expected a share .* got -0.1"),
        ({"brightness": 1.1}, "brightness: expected a number from 0 to 1; got 1.1"),
        ({"contrast": -0.4}, "contrast: expected a number from 0 to 1; got -0.4"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        Augmentation(**arguments)


@pytest.mark.parametrize("pixels", [torch.zeros(1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_what_is_not_a_batch_of_floats_is_refused(pixels):
    with pytest.raises(ValueError, match=r"pixels: expected floats of shape \(B, C, H, W\); got"):
        Augmentation()(pixels)
