"""Images in folders, or listed in a table."""

import csv as comma_separated
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.hierarchy import Tree, draw_main_labels, read_hierarchy, read_tree
from data.images import ImageData
from data.labels import check_count, draw_labels, split

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# No others, whatever a file is called: of PostScript, for one, Pillow would have another program run what it says.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_SMALLEST_SIDE = 8
_EXIF_ORIENTATION = 0x0112


class ImageFolder(ImageData):
    """Your own images: a sub-folder for each class, or a table of files and labels.

    `root` holds one sub-folder of images per class, named after it, and if there are any a sub-folder
    `unlabelled` of images whose class is not known. Or else `csv` names a table of rows `file,label`, files
    relative to `root`, where an empty label means not known; a first row `file,label` is taken as its
    heading. Hidden files and files that are not images are passed over. Classes are in alphabetical order, in
    numerical order if all are numbers.

    `root` itself may be a symbolic link, but below it none is followed, and no file of the table lies elsewhere:
    what is read is in `root`, and no image is among both the training and the test images by another name.

    With a `tree` of main classes a sub-folder, or a label in the table, may also be named after a main class: of
    its images no more is known than that.

    Test and validation images are drawn from the labelled ones, each class in proportion, the same ones
    whatever the seed. The other labelled images are for training, where `num_labels` of them keep their
    label.

    Files are turned as their EXIF data says; transparent parts are laid on white; 16-bit grey becomes 8-bit;
    of an animation the first frame is taken.

    Args:
        root: the folder.
        num_labels: how many training images keep their label; None for all that have one, 0 for none.
        csv: path of the table; None for a sub-folder for each class.
        size: height and width in pixels to bring images to, the short side by resampling, the long side by
            cutting both ends; None if all images have one size.
        channels: 1 for grey, 3 for RGB; None for 1 if all files are grey, else 3.
        validation_fraction: share of the labelled images set apart for validation, at least 0 and below 1.
        test_fraction: share of the labelled images set apart for testing, at least 0 and below 1.
        balanced: whether every class keeps equally many labels, rather than its share; of no effect if
            `num_labels` is None.
        seed: which images keep their label.
        binarise: whether pixels are drawn from Bernoulli distributions at every batch.
        tree: main classes with their classes, `{"footwear": ["Sandal", …], …}` or a YAML file of them, at which
            accuracy is reported too; or None.
        num_coarse_labels: how many of the other training images keep their main class.

    Raises:
        FileNotFoundError: if `root`, `csv` or a file listed there does not exist.
        TypeError: if a number is not an integer.
        ValueError: if the folder, the table, an image or an argument is not as stated above.
    """

    def __init__(
        self,
        root: str,
        num_labels: int | None = None,
        *,
        csv: str | None = None,
        size: int | None = None,
        channels: int | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.2,
        balanced: bool = False,
        seed: int = 0,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        _check_format(size, channels)
        _check_fractions(validation_fraction, test_fraction)
        folder = Path(root)
        if not folder.exists():
            raise FileNotFoundError(f"root: expected a folder of images, got {str(root)!r}, which does not exist.")
        if not folder.is_dir():
            raise ValueError(f"root: expected a folder of images, got {str(root)!r}, which is a file.")
        entries = _in_folders(folder) if csv is None else _in_table(folder, Path(csv))
        names = {entry.class_name for entry in entries if entry.class_name is not None}
        hierarchy = None
        if tree is not None:
            main_classes = read_tree(tree)
            # A name that is both a class's and a main class's is the class's.
            names -= main_classes.keys() - {name for members in main_classes.values() for name in members}
            hierarchy = read_hierarchy(main_classes, _in_order(names))
        odd = sorted(name for name in names if not name.isprintable())
        if odd:
            # Reports, tables and pictures show them, in UTF-8 and in one line.
            raise ValueError(f"class_names: expected printable text in UTF-8, got {odd[0]!r}.")
        class_names = _in_order(names)
        num_classes = len(class_names)
        labels = _positions(entries, class_names)
        num_known = int((labels >= 0).sum())
        kept, test = split(labels, round(test_fraction * num_known), num_classes, argument="test_fraction")
        train, validation = (
            kept[part]
            for part in split(
                labels[kept],
                round(validation_fraction * num_known),
                num_classes,
                argument="validation_fraction",
            )
        )
        train_labels = draw_labels(labels[train], num_labels, num_classes, balanced=balanced, seed=seed)
        main_labels = None if hierarchy is None else _positions(entries, hierarchy.names)
        admissible = draw_main_labels(
            labels[train],
            train_labels,
            hierarchy,
            num_coarse_labels,
            balanced=balanced,
            seed=seed,
            main_labels=None if main_labels is None else main_labels.masked_fill(labels >= 0, -1)[train],
        )
        image_shape = _common_shape([_header(entry.path) for entry in entries], size, channels)

        def read(index: Tensor) -> Tensor:
            return _read_images([entries[i].path for i in index.tolist()], image_shape)

        super().__init__(
            os.fsencode(folder.resolve().name).decode(errors="replace"),
            read(train),
            train_labels,
            class_names=class_names,
            validation_images=read(validation),
            validation_labels=labels[validation],
            test_images=read(test),
            test_labels=labels[test],
            binarise=binarise,
            train_admissible=admissible,
            hierarchy=hierarchy,
        )
        self.root = str(root)
        self.num_labels = num_labels
        self.csv = None if csv is None else str(csv)
        self.size = size
        self.channels = channels
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels


def read_image(path: str | Path, image_shape: tuple[int, int, int]) -> Tensor:
    """Read one image as a trained model needs it.

    Args:
        path: an image file.
        image_shape: channels (1 or 3), height and width of the model's images; an image of another size is
            resampled and its long side cut at both ends.

    Returns:
        uint8 image (C, H, W).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image that can be read, or is smaller than 8×8.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: expected an image file, got {str(path)!r}, which is not a file.")
    _header(Path(path))
    return _read_images([Path(path)], image_shape)[0]


def fit_image(image: "Image", image_shape: tuple[int, int, int]) -> Tensor:
    """Bring an opened image to a model's shape: upright, opaque, resampled, its long side cut at both ends.

    Args:
        image: Pillow's image.
        image_shape: channels (1 or 3), height and width.

    Returns:
        uint8 image (C, H, W).

    Raises:
        ValueError: if the model is one of stereo pairs.
    """
    from PIL import Image, ImageOps

    channels, height, width = image_shape
    if channels == 2:
        raise ValueError("channels: expected a model of grey or colour images, got one of stereo pairs.")
    # Bilinear in Pillow averages over all that a new pixel covers, and unlike higher orders never overshoots.
    fitted = ImageOps.fit(_plain(image, channels), (width, height), method=Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fitted).reshape(height, width, channels)).permute(2, 0, 1)


def find_images(path: str | Path) -> list[Path]:
    """List the image files that a path stands for.

    Args:
        path: an image file, or a folder of images, in which hidden files and files that are not images are
            passed over.

    Returns:
        The file itself, or the images in the folder in alphabetical order.

    Raises:
        FileNotFoundError: if there is neither a file nor a folder of this name.
        ValueError: if the folder holds no images.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"path: expected an image file or a folder of images, got {str(path)!r}, which does not exist."
        )
    files = _images_in(path, "path")
    if not files:
        raise ValueError(f"path: expected images in the folder {str(path)!r}, got none.")
    return files


class _Entry(NamedTuple):
    path: Path
    class_name: str | None


class _Header(NamedTuple):
    height: int
    width: int
    is_grey: bool


def _check_format(size: int | None, channels: int | None) -> None:
    if size is not None:
        check_count("size", size)
        if size < _SMALLEST_SIDE:
            raise ValueError(f"size: expected at least {_SMALLEST_SIDE} pixels, got {size}.")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels: expected 1 (grey), 3 (RGB) or None, got {channels!r}.")


def _check_fractions(validation_fraction: float, test_fraction: float) -> None:
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    for argument, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{argument}: expected a number of at least 0 and below 1, got {fraction}.")
    if sum(fractions.values()) >= 1:
        raise ValueError(
            f"validation_fraction: expected validation_fraction + test_fraction below 1, got "
            f"{validation_fraction} + {test_fraction}."
        )


def _check_no_link(argument: str, path: Path) -> None:
    if path.is_symlink():
        raise ValueError(
            f"{argument}: expected files and folders themselves, got {str(path)!r}, which is a symbolic link "
            "(cp -RL makes a copy without links)."
        )


def _in_folders(root: Path) -> list[_Entry]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    entries = []
    for folder in folders:
        _check_no_link("root", folder)
        files = _images_in(folder, "root")
        if folder.name == "unlabelled":
            entries += [_Entry(file, None) for file in files]
        elif files:
            entries += [_Entry(file, folder.name) for file in files]
        else:
            raise ValueError(f"root: expected images in every class's folder, got none in {str(folder)!r}.")
    if all(entry.class_name is None for entry in entries):
        raise ValueError(f"root: expected a sub-folder of images for each class in {str(root)!r}, got none.")
    return entries


def _images_in(folder: Path, argument: str) -> list[Path]:
    named = (path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix.lower() in _SUFFIXES)
    # No pipes and devices, which might never end.
    files = sorted(path for path in named if path.is_file())
    for path in files:
        _check_no_link(argument, path)
    return files


def _in_table(root: Path, table: Path) -> list[_Entry]:
    if not table.is_file():
        raise FileNotFoundError(f"csv: expected a table of files and labels, got {str(table)!r}, which is not a file.")
    entries: dict[Path, _Entry] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = comma_separated.reader(lines)
            numbered = [(rows.line_num, [cell.strip() for cell in row]) for row in rows if any(row)]
    except (UnicodeDecodeError, comma_separated.Error) as error:
        raise ValueError(f"csv: expected rows `file,label` in UTF-8 in {str(table)!r}, got: {error}.") from error
    for position, (line, row) in enumerate(numbered):
        if position == 0 and [cell.lower() for cell in row] == ["file", "label"]:
            continue
        if len(row) != 2:
            raise ValueError(f"csv: expected a row `file,label` in line {line}, got {','.join(row)!r}.")
        path = Path(os.path.normpath(root / row[0]))
        if not path.absolute().is_relative_to(os.path.normpath(root.absolute())):
            raise ValueError(f"csv: expected files in {str(root)!r} alone, got {row[0]!r} in line {line}.")
        if not path.is_file():
            raise FileNotFoundError(
                f"csv: expected a file in {str(root)!r} in line {line}, got {row[0]!r}, which is not there "
                f"(a heading would read `file,label`)."
            )
        for part in (path, *path.parents[: len(path.relative_to(os.path.normpath(root)).parts) - 1]):
            _check_no_link("csv", part)
        # A file in two rows could be among both the training and the test images.
        if path in entries:
            raise ValueError(f"csv: expected each file once, got {row[0]!r} again in line {line}.")
        entries[path] = _Entry(path, row[1] or None)
    if all(entry.class_name is None for entry in entries.values()):
        raise ValueError(f"csv: expected at least one row with a label in {str(table)!r}, got none.")
    return sorted(entries.values(), key=lambda entry: entry.path)


def _positions(entries: Sequence[_Entry], names: Sequence[str]) -> Tensor:
    """Return for each entry where its class stands among the names, -1 for one that is not among them."""
    place = {name: position for position, name in enumerate(names)}
    return torch.tensor([-1 if entry.class_name is None else place.get(entry.class_name, -1) for entry in entries])


def _in_order(class_names: set[str]) -> list[str]:
    if all(name.isdecimal() for name in class_names):
        return sorted(class_names, key=lambda name: (int(name), name))
    return sorted(class_names)


def _common_shape(headers: Sequence[_Header], size: int | None, channels: int | None) -> tuple[int, int, int]:
    if channels is None:
        channels = 1 if all(header.is_grey for header in headers) else 3
    if size is not None:
        return channels, size, size
    sizes = Counter((header.height, header.width) for header in headers)
    if len(sizes) > 1:
        found = ", ".join(f"{height}×{width} ({count})" for (height, width), count in sizes.most_common(4))
        raise ValueError(
            f"size: expected images of one size, got {len(sizes)} sizes: {found}"
            f"{' …' if len(sizes) > 4 else ''}; "
            f"size={min(min(sides) for sides in sizes)} would bring them to the shortest side there is."
        )
    return channels, *next(iter(sizes))


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """Open an image; whatever is wrong with the file becomes one sentence that names it."""
    # Imported here to keep `import data` light.
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns of oddities that it reads past, such as broken EXIF data.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                yield image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(
                f"{str(path)!r}: expected an image of at most {Image.MAX_IMAGE_PIXELS} pixels, got a larger one."
            ) from error
        # Everything: on a damaged file Pillow raises whatever its parser stumbles upon.
        except Exception as error:
            raise ValueError(
                f"{str(path)!r}: expected an image file, got one that cannot be read ({type(error).__name__})."
            ) from error


def _header(path: Path) -> _Header:
    """Size and colour of an image, without reading its pixels."""
    with _opened(path) as image:
        width, height = image.size
        mode = image.mode
        if image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8):
            width, height = height, width
        palette = (image.getpalette() or []) if mode == "P" else []
    if min(height, width) < _SMALLEST_SIDE:
        raise ValueError(
            f"{str(path)!r}: expected an image of at least {_SMALLEST_SIDE}×{_SMALLEST_SIDE} pixels, "
            f"got {height}×{width}."
        )
    if mode == "F":
        raise ValueError(f"{str(path)!r}: expected 8 or 16 bits per pixel, got floating-point pixels.")
    is_grey = mode in ("1", "L", "LA", "La", "I") or mode.startswith("I;16")
    if mode == "P":
        is_grey = palette[0::3] == palette[1::3] == palette[2::3]
    return _Header(height, width, is_grey)


def _read_images(paths: Sequence[Path], image_shape: tuple[int, int, int]) -> Tensor:
    """Read files into one uint8 tensor (N, C, H, W)."""
    images = torch.empty(len(paths), *image_shape, dtype=torch.uint8)
    for row, path in enumerate(paths):
        with _opened(path) as image:
            images[row] = fit_image(image, image_shape)
    return images


def _plain(image: "Image", channels: int) -> "Image":
    """An upright 8-bit grey or RGB image without transparency."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        # Pillow's own conversion cuts values above 255 off.
        values = np.asarray(upright).clip(0, 65535)
        upright = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if upright.has_transparency_data:
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return upright.convert("L" if channels == 1 else "RGB")
