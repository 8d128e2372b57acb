"""Images in folders, or listed in a table."""

import csv as comma_separated
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from data.hierarchy import Tree, draw_main_labels, read_hierarchy, read_tree
from data.image_files import (
    SMALLEST_SIDE,
    Header,
    check_bits,
    check_no_link,
    common_bits,
    images_in,
    read_header,
    read_images,
)
from data.images import ImageData
from data.labels import check_count, draw_labels, split

_NEARLY_BLACK = 16
"""The largest value of images that somebody has saved as they were: digits from 0 to 16, classes, or zeros and ones."""


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

    Files are turned as their EXIF data says; transparent parts are laid on white; of an animation the first frame is
    taken. 16-bit grey becomes 8-bit, by one rule for all files of the data set: of values that use 12 bits, as
    cameras and scanners write them, 4095 becomes 255. The summary says how many bits that were.

    Args:
        root: the folder.
        num_labels: how many training images keep their label; None for all that have one, 0 for none.
        csv: path of the table; None for a sub-folder for each class.
        bits: how many bits the values of 16-bit files use, 8 to 16; None for the fewest that hold the largest value.
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

    Attributes:
        bits: how many bits the values of 16-bit files use; None where there are no such files.
    """

    def __init__(
        self,
        root: str,
        num_labels: int | None = None,
        *,
        csv: str | None = None,
        bits: int | None = None,
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
        check_bits(bits)
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
        paths = [entry.path for entry in entries]
        headers = [read_header(path) for path in paths]
        image_shape = _common_shape(headers, size, channels)
        bits = common_bits(paths, headers, bits)

        def read(index: Tensor) -> Tensor:
            return read_images([paths[i] for i in index.tolist()], image_shape, bits)

        train_images = read(train)
        if 0 < int(train_images.max()) <= _NEARLY_BLACK:
            raise ValueError(
                f"root: expected pixels from 0 to 255, got none above {int(train_images.max())} in "
                f"{len(train_images)} training images, which would be nearly black; save them with 255 for white."
            )
        super().__init__(
            os.fsencode(folder.resolve().name).decode(errors="replace"),
            train_images,
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
        self.bits = bits
        self._scale = ""
        if bits is not None and any(header.largest is not None for header in headers):
            self._scale = f", of 16-bit files (bits={bits}) the value {2**bits - 1} is 255"
        self.size = size
        self.channels = channels
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.balanced = balanced
        self.seed = seed
        self.tree = tree
        self.num_coarse_labels = num_coarse_labels

    def summary(self) -> str:
        """What `ImageData.summary` says, and how values of more than 8 bits were scaled."""
        first, *warnings = super().summary().splitlines()
        return "\n".join([first + self._scale, *warnings])


class _Entry(NamedTuple):
    path: Path
    class_name: str | None


def _check_format(size: int | None, channels: int | None) -> None:
    if size is not None:
        check_count("size", size)
        if size < SMALLEST_SIDE:
            raise ValueError(f"size: expected at least {SMALLEST_SIDE} pixels, got {size}.")
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


def _in_folders(root: Path) -> list[_Entry]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    entries = []
    for folder in folders:
        check_no_link("root", folder)
        files = images_in(folder, "root")
        if folder.name == "unlabelled":
            entries += [_Entry(file, None) for file in files]
        elif files:
            entries += [_Entry(file, folder.name) for file in files]
        else:
            raise ValueError(f"root: expected images in every class's folder, got none in {str(folder)!r}.")
    if all(entry.class_name is None for entry in entries):
        raise ValueError(f"root: expected a sub-folder of images for each class in {str(root)!r}, got none.")
    return entries


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
            check_no_link("csv", part)
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


def _common_shape(headers: Sequence[Header], size: int | None, channels: int | None) -> tuple[int, int, int]:
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
