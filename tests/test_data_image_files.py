"""What becomes of the pixels of every kind of image file: exact values, or one sentence."""

import struct
import zlib
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from ssvae.data import ImageFolder
from ssvae.data.image_files import read_image
from ssvae.inference import Recipe, fit, load
from ssvae.inference.command_line.main import main
from ssvae.inference.explorer.uploads import read_upload
from ssvae.inference.predict import class_probabilities
from ssvae.inference.training import TrainerOptions
from ssvae.models import M2
from ssvae.models.networks import MLP
from ssvae.models.priors import StandardNormal

SHAPE = (1, 8, 8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def steps(largest, dtype=np.uint16):
    """64 values from 0 to the largest."""
    return np.linspace(0, largest, 64).round().astype(dtype).reshape(8, 8)


def read(root, **options):
    return ImageFolder(str(root), **{"validation_fraction": 0, "test_fraction": 0, **options})


def write_16_bit_colours(path, values, kind=2):
    """A PNG file of 16-bit RGB (kind 2) or RGBA (6), which Pillow cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = values.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (1000, 10), (4095, 12), (16000, 14), (65535, 16)])
def test_16_bit_values_are_scaled_by_the_bits_that_the_data_set_uses(tmp_path, largest, bits, suffix):
    # The darker images come first; each alone would be scaled by its own largest value.
    for name, part in (("a", 0.1), ("b", 0.6), ("c", 1)):
        write(tmp_path / name / f"x.{suffix}", steps(part * largest))
    data = read(tmp_path)
    assert data.bits == bits
    assert data.summary().endswith(f"pixels, of 16-bit files (bits={bits}) the value {2**bits - 1} is 255")
    for image, part in zip(data.train_images, (0.1, 0.6, 1), strict=True):
        values = steps(part * largest).astype(float)
        assert np.array_equal(image[0].numpy(), np.rint(values * 255 / (2**bits - 1)))


def test_test_images_and_later_files_are_scaled_as_the_training_images(tmp_path):
    for part, largest in (("train", 4000), ("test", 700)):
        for name in ("cat", "dog"):
            write(tmp_path / "set" / part / name / "x.png", steps(largest))
    data = read(tmp_path / "set")
    by_hand = np.rint(steps(700).astype(float) * 255 / 4095)
    assert np.array_equal(data.test_images[1, 0].numpy(), by_hand)
    assert read(tmp_path / "set", bits=data.bits).bits == 12
    assert read(tmp_path / "set", bits=14).train_images.max() == round(4000 * 255 / 16383)
    path = write(tmp_path / "later.png", steps(700))
    assert np.array_equal(read_image(path, SHAPE, bits=12)[0].numpy(), by_hand)
    assert np.array_equal(read_upload(path.read_bytes(), SHAPE, bits=12)[0].numpy(), by_hand)
    with pytest.raises(ValueError, match=r"^bits: expected at least 12, as a value in .*x.png' is 4000; got 11\."):
        read(tmp_path / "set", bits=11)


def test_8_bit_files_among_16_bit_ones_stay_as_they_are(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write(tmp_path / "a" / "x.png", grey)
    write(tmp_path / "b" / "x.png", steps(4000))
    assert np.array_equal(read(tmp_path).train_images[0, 0].numpy(), grey)
    assert read(tmp_path, bits=12).bits == 12


def test_without_16_bit_files_there_are_no_bits(tmp_path):
    for name in "ab":
        write(tmp_path / name / "x.png", np.arange(64, dtype=np.uint8).reshape(8, 8))
    data = read(tmp_path)
    assert data.bits is None
    assert "bits" not in data.summary()


@pytest.mark.parametrize("bits", [7, 17, 12.0, True, "12"])
def test_bits_are_checked(tmp_path, bits):
    with pytest.raises(ValueError, match=r"^bits: expected an integer from 8 to 16, or None; got "):
        read(tmp_path, bits=bits)


def test_a_16_bit_file_of_doubtful_range_is_asked_about(tmp_path):
    dark, bright = write(tmp_path / "dark.png", steps(4000)), write(tmp_path / "bright.png", steps(60000))
    assert np.array_equal(read_image(bright, SHAPE)[0].numpy(), np.rint(steps(60000) / 257))
    with pytest.raises(
        ValueError, match=r"^'.*dark.png': expected values up to 65535 .*; got 4000 at most, which may be"
    ):
        read_image(dark, SHAPE)
    with pytest.raises(ValueError, match=r"^file: expected values up to 65535 .*; got 4000 at most"):
        read_upload(dark.read_bytes(), SHAPE)
    for call in (lambda: read_image(bright, SHAPE, bits=12), lambda: read_upload(bright.read_bytes(), SHAPE, bits=12)):
        with pytest.raises(
            ValueError, match=r": expected 16-bit values below 4096, as in the training .*; got 60000\."
        ):
            call()


@pytest.mark.parametrize("kind", [2, 6])
def test_16_bit_colours_keep_their_8_bits_or_are_asked_about(tmp_path, kind):
    channels = {2: 3, 6: 4}[kind]
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, channels))
    values[0, 0, 0] = 65535
    values[..., 3:] = 65535
    for name in ("a", "b"):
        write_16_bit_colours(tmp_path / name / "x.png", values, kind)
    data = read(tmp_path)
    assert data.bits == 16
    assert np.array_equal(data.train_images[0].permute(1, 2, 0).numpy(), values[..., :3] // 256)
    dark = write_16_bit_colours(tmp_path / "b" / "y.png", values // 16 | (values * (np.arange(channels) == 3)), kind)
    assert read(tmp_path).bits == 16  # among bright ones a dark one is dark
    with pytest.raises(ValueError, match=r"y.png': expected 16-bit colours that use all 16 bits; got none above 4095"):
        read_image(dark, (3, 8, 8))
    (tmp_path / "a" / "x.png").write_bytes(dark.read_bytes())
    (tmp_path / "b" / "x.png").unlink()
    with pytest.raises(
        ValueError, match=r"a/x.png': expected 16-bit colours that use all 16 bits; got none above 4095"
    ):
        read(tmp_path)


@pytest.mark.parametrize("largest", [1, 16])
def test_8_bit_files_that_would_be_nearly_black_are_asked_about(tmp_path, largest):
    for name in "ab":
        write(tmp_path / name / "x.png", steps(largest, np.uint8))
    expected = (
        rf"^root: expected pixels from 0 to 255; got none above {largest} in 2 training images, which would be near"
    )
    with pytest.raises(ValueError, match=expected):
        read(tmp_path)


def inverted(path):
    write(path, steps(4000), tiffinfo={262: 0})


def pages(path):
    images = [Image.fromarray(np.full((9, 9), value, dtype=np.uint8)) for value in (50, 200)]
    images[0].save(path, save_all=True, append_images=images[1:])


REFUSED = {
    "floats": (lambda path: write(path, steps(1, np.float32)), "8 or 16 bits per pixel; got floating-point"),
    "large values": (lambda path: write(path, steps(70000, np.int32)), "values from 0 to 65535; got 0 to 70000"),
    "negative values": (lambda path: write(path, steps(100, np.int32) - 5), "values from 0 to 65535; got -5 to 95"),
    "white is zero": (inverted, "16-bit values of which 0 is black; got a TIFF file in which 0 is white"),
    "pages": (pages, "one picture in a file; got a TIFF file of 2 pages"),
}


@pytest.mark.parametrize(("prepare", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_would_be_misread_is_refused(tmp_path, prepare, expected):
    path = tmp_path / "x.tif"
    prepare(path)
    with pytest.raises(ValueError, match=rf"^'.*x\.tif': expected {expected}"):
        read_image(path, SHAPE, bits=16)


def test_integers_of_32_bits_that_fit_are_read(tmp_path):
    path = write(tmp_path / "x.tif", steps(4000, np.int32))
    assert np.array_equal(read_image(path, SHAPE, bits=12)[0].numpy(), np.rint(steps(4000) * (255 / 4095)))


def test_a_preview_is_no_second_page(tmp_path):
    large, small = (Image.fromarray(np.full((side, side), 60, dtype=np.uint8)) for side in (16, 8))
    large.save(tmp_path / "x.tif", save_all=True, append_images=[small])
    assert read_image(tmp_path / "x.tif", (1, 16, 16)).unique().tolist() == [60]


def test_one_bit_is_black_and_white(tmp_path):
    pixels = np.indices((8, 8)).sum(0) % 2 == 0
    for suffix in ("png", "tif", "bmp"):
        path = write(tmp_path / f"x.{suffix}", pixels)
        assert np.array_equal(read_image(path, SHAPE)[0].numpy(), np.where(pixels, 255, 0))


def test_grey_with_transparency_is_laid_on_white(tmp_path):
    pixels = np.full((8, 8, 2), 100, dtype=np.uint8)
    pixels[..., 1] = np.arange(8) * 51 % 256
    found = read_image(write(tmp_path / "x.png", Image.fromarray(pixels, "LA")), SHAPE)[0]
    alpha = pixels[..., 1] / 255
    by_hand = (100 * alpha + 255 * (1 - alpha)).round()
    assert np.abs(found.numpy() - by_hand).max() <= 1


def test_inks_become_colours(tmp_path):
    cyan = np.zeros((8, 8, 4), dtype=np.uint8)
    cyan[..., 0] = 255
    for suffix in ("tif", "jpg"):
        image = read_image(write(tmp_path / f"x.{suffix}", Image.fromarray(cyan, "CMYK")), (3, 8, 8))
        assert torch.allclose(image.double().mean((1, 2)), torch.tensor([0.0, 255, 255]).double(), atol=3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, suffix):
    frames = [Image.fromarray(np.full((8, 8), value, dtype=np.uint8)) for value in (60, 200)]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], duration=50)
    assert (read_image(tmp_path / f"x.{suffix}", SHAPE).int() - 60).abs().max() <= 2


def test_a_run_keeps_the_scale_of_its_images(tmp_path, capsys):
    for name, largest in (("a", 4000), ("b", 900)):
        write(tmp_path / "set" / name / "x.png", steps(largest))
    folder = tmp_path / "run"
    model = M2(SHAPE, 2, networks=MLP((4,)), prior=StandardNormal(2))
    recipe = Recipe(max_steps=1, batch_size=1, trainer=TrainerOptions(progress_bar=False))
    with mock.patch("ssvae.inference.runs.report.write_report"):
        assert fit(model, read(tmp_path / "set"), recipe, folder=str(folder), baselines=False).bits == 12
    run = load(str(folder), with_data=False)
    assert (run.bits, load(str(folder)).bits) == (12, 12)
    later = write(tmp_path / "later.png", steps(700))
    capsys.readouterr()
    assert main(["classify", str(folder), str(later)]) == 0
    shown = [float(cell) for cell in capsys.readouterr().out.splitlines()[1].split(",")[-2:]]
    pixels = torch.from_numpy(np.rint(steps(700) * (255 / 4095)) / 255).to(torch.get_default_dtype())
    by_hand = class_probabilities(run.model, pixels.view(1, *SHAPE))[0].tolist()
    assert shown == pytest.approx(by_hand, abs=1e-4)
    # Taken for 16 bits, the image would be 16 times as dark.
    dark = class_probabilities(run.model, pixels.view(1, *SHAPE) / 16)[0].tolist()
    assert shown != pytest.approx(dark, abs=2e-4)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPEG"])
def test_every_name_of_jpeg_is_an_image(tmp_path, suffix):
    for name in "ab":
        write(tmp_path / name / f"x.{suffix}", np.full((8, 8), 90, dtype=np.uint8), format="JPEG")
    assert read(tmp_path).train_images.unique().tolist() == [90]
