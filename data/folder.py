"""Image files in folders, or listed in a table."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import torch
from torch import Tensor

from ssvae.data.class_names import PARTS, check_distinct, class_of
from ssvae.data.decoded_images import DecodedImages
from ssvae.data.hierarchy import Tree, draw_main_labels, read_hierarchy, read_tree
from ssvae.data.image_files import (
    SMALLEST_SIDE,
    Header,
    check_bits,
    check_no_link,
    common_bits,
    images_in,
    passed_over,
    some_of,
)
from ssvae.data.images import ImageData
from ssvae.data.label_table import Row, read_table
from ssvae.data.labels import check_count, check_fractions, draw_labels, split, validation_share
from ssvae.data.observations import check_num_new_classes

# Folders that operating systems and file servers create.
_CLUTTER = {"__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"}

_NEARLY_BLACK = 16
"""Images with no larger value were probably saved without scaling: digits from 0 to 16, or zeros and ones."""

_SUGGESTED_SIZE = 32


class ImageFolder(ImageData):
    """Your own images: a sub-folder for each class, or a table of files and labels.

    **Folders.** ``root`` contains a sub-folder of images for each class, with the class's name, and optionally a
    sub-folder ``unlabelled`` (or ``unlabeled``, in any case, or ``-1``). Hidden files and folders and system folders
    are ignored; other files that are no images by their names are named in the summary. Classes are in alphabetical
    order, or in numerical order if all are numbers.

    **Parts.** ``root`` may instead contain the folders ``train``, ``test`` and ``validation`` (or ``val``, ``valid``),
    each with a sub-folder for each class. Or ``test_root`` and ``validation_root`` are the folders of test and
    validation images. The classes are those of the training images.

    **Table.** ``csv`` is the path of a table of files, relative to ``root``, and their labels. An empty label, -1, NaN
    and ``unlabelled`` mark unlabelled images. Cells are separated by commas, semicolons, tabs or bars. A heading
    (``file,label``, ``filename``, ``path``, ``image``; ``class``, ``category``, ``target`` and the like) is optional. A
    further column ``split`` may assign images to training, validation and testing. Labels are text: 01 stays 01; but
    1.0 becomes 1, unless some labels have a fraction.

    ``root`` itself may be a symbolic link. Links below it are not followed, and the table's files must be inside
    ``root``, so that no image is among both the training and the test images under another name.

    With a ``tree`` of main classes, a sub-folder or a label in the table may also be the name of a main class. Its
    images are partially labelled: the candidate classes are those of the main class.

    Without test or validation images, they are drawn from the labelled images, in proportion to the classes, the same
    ones for every ``seed``. No image is drawn for validation if fewer than 1,000 are labelled and ``num_labels`` hides
    none of their labels. The other labelled images are for training; ``num_labels`` of them keep their label.

    Images are rotated as their EXIF data says. Transparent parts become white. The first frame of an animation is used.
    JPEG files much larger than ``size`` are decoded at a fraction of their size. 500 files or more are decoded once;
    the pixels are kept below the environment variable SSVAE_DATA, else below ``~/.cache/ssvae``, never in ``root``.
    16-bit grey becomes 8-bit by the same rule for all files of the data set: if the values use 12 bits, as those of
    cameras and scanners do, 4095 becomes 255. The summary states the number of bits.

    Example:
        >>> from ssvae.data import ImageFolder
        >>> data = ImageFolder("photos", num_labels=100, size=32)  # doctest: +SKIP
        >>> print(data.summary())  # doctest: +SKIP

    Args:
        root: The folder of images.
        num_labels: The number of training images that keep their label; None for all that have one, 0 for none.
        csv: The path of the table; None for a sub-folder for each class.
        file_column: The heading of the table's column of files; None to detect it.
        label_column: The heading of the table's column of labels; None to detect it.
        test_root: The folder of test images, with a sub-folder for each class; None for those in ``root``.
        validation_root: The folder of validation images, likewise.
        bits: The number of bits that the values of 16-bit files use, 8 to 16; None for the fewest that hold the largest
            value.
        size: The height and width of the images, in pixels: the short side is resampled, the long side cropped at both
            ends. None for that of the files, if they have one size; otherwise for 32, or their shortest side if that is
            less, and the summary names the sizes.
        channels: 1 for grey, 3 for RGB; None for 1 if all files are grey, otherwise 3.
        validation_fraction: The share of labelled images set apart for validation, at least 0 and below 1; ignored if
            validation images are given. None for 0 if there are fewer than 1,000 labelled images and ``num_labels`` is
            None, otherwise for 0.1.
        test_fraction: The share of labelled images set apart for testing, at least 0 and below 1; ignored if test
            images are given.
        balanced: Whether every class keeps equally many labels; otherwise each class keeps its share; of no effect if
            ``num_labels`` is None.
        seed: The random seed of the choice of labelled images.
        binarise: Whether each pixel is drawn from a Bernoulli distribution, anew in every batch (dynamic binarisation).
        tree: Main classes with their classes, ``{"footwear": ["Sandal", …], …}``, or the path of a YAML file of them;
            accuracy is then also reported for main classes. None for no main classes.
        num_coarse_labels: The number of further training images that keep their main class only.
        num_new_classes: The number of further classes, of which no training image has a label: a guess, if it is not
            known. A model calls them "new 1", "new 2", … Test images may then be of classes of which no training image
            has a label. Without sub-folders, the images in ``root`` itself are unlabelled.

    Raises:
        FileNotFoundError: If ``root``, ``test_root``, ``validation_root``, ``csv`` or a file listed there does not
            exist.
        TypeError: If a number is not an integer.
        ValueError: If the folder, the table, an image or an argument is not as stated above, or is ambiguous.

    Attributes:
        bits: The number of bits that the values of 16-bit files use; None if there are no such files.
        validation_fraction: The share as it was used, a number.
    """

    def __init__(
        self,
        root: str,
        num_labels: int | None = None,
        *,
        csv: str | None = None,
        file_column: str | None = None,
        label_column: str | None = None,
        test_root: str | None = None,
        validation_root: str | None = None,
        bits: int | None = None,
        size: int | None = None,
        channels: int | None = None,
        validation_fraction: float | None = None,
        test_fraction: float = 0.2,
        balanced: bool = False,
        seed: int = 0,
        binarise: bool = False,
        tree: Tree | None = None,
        num_coarse_labels: int = 0,
        num_new_classes: int = 0,
    ) -> None:
        check_count("num_labels", num_labels or 0)
        check_count("seed", seed)
        _check_format(size, channels)
        check_fractions(validation_fraction, test_fraction)
        check_bits(bits)
        check_num_new_classes(num_new_classes)
        folder = _check_folder("root", root)
        roots = {"test": test_root, "validation": validation_root}
        others = {part: _check_folder(f"{part}_root", name) for part, name in roots.items() if name is not None}
        for argument, value in {"file_column": file_column, "label_column": label_column}.items():
            if value is not None and csv is None:
                raise ValueError(f"{argument}: expected None, as there is no csv; got {value!r}.")
        if csv is not None and others:
            raise ValueError(f"{next(iter(others))}_root: expected None, as csv names the images; got a folder.")
        entries = (
            _in_folders(folder, others, need_classes=not num_new_classes)
            if csv is None
            else _in_table(folder, Path(csv), file_column, label_column, need_classes=not num_new_classes)
        )
        self._passed_over = _passed_over_beside(entries) if csv is None else ""
        names = {entry.class_name for entry in entries if entry.class_name is not None}
        check_distinct(names, "root" if csv is None else "csv")
        main_classes = {} if tree is None else read_tree(tree)
        # A name that is both a class's and a main class's is the class's.
        only_main = main_classes.keys() - {name for members in main_classes.values() for name in members}
        _check_parts(entries, only_main, may_be_new=num_new_classes > 0)
        names -= only_main
        trained = {entry.class_name for entry in entries if entry.part in (None, "train")}
        hierarchy = None
        if tree is not None:
            hierarchy = read_hierarchy(main_classes, _in_order(names))
        unprintable = sorted(name for name in names if not name.isprintable())
        if unprintable:
            # Reports, tables and figures show the names in UTF-8 and in one line.
            raise ValueError(f"class_names: expected printable text in UTF-8; got {unprintable[0]!r}.")
        class_names, hidden = _in_order(names & trained), _in_order(names - trained)
        num_classes = len(class_names)
        labels = _positions(entries, [*class_names, *hidden])
        pool = _indices(entries, None, "train")
        num_known = int((labels[pool] >= 0).sum())
        given = _indices(entries, "test"), _indices(entries, "validation")
        pool, test = _set_apart(labels, pool, given[0], test_fraction, num_known, num_classes, "test_fraction")
        validation_fraction = validation_share(validation_fraction, num_known, num_labels)
        train, validation = _set_apart(
            labels, pool, given[1], validation_fraction, num_known, num_classes, "validation_fraction"
        )
        train_labels = draw_labels(labels[train], num_labels, num_classes, balanced=balanced, seed=seed)
        main_labels = None if hierarchy is None else _positions(entries, hierarchy.names)
        candidates = draw_main_labels(
            labels[train],
            train_labels,
            hierarchy,
            num_coarse_labels,
            balanced=balanced,
            seed=seed,
            main_labels=None if main_labels is None else main_labels.masked_fill(labels >= 0, -1)[train],
        )
        paths = [entry.path for entry in entries]
        files = DecodedImages(paths, folder)
        headers = files.headers()
        image_shape, self._resampled = _common_shape(headers, size, channels)
        bits = common_bits(paths, headers, bits)
        images = files.pixels(image_shape, bits)
        train_images = images[train]
        if 0 < int(train_images.max()) <= _NEARLY_BLACK:
            raise ValueError(
                f"root: expected pixels from 0 to 255; got none above {int(train_images.max())} in "
                f"{len(train_images)} training images, which would be nearly black; save them with 255 for white."
            )
        super().__init__(
            os.fsencode(folder.resolve().name).decode(errors="replace"),
            train_images,
            train_labels,
            class_names=class_names,
            validation_images=images[validation],
            validation_labels=labels[validation],
            test_images=images[test],
            test_labels=labels[test],
            binarise=binarise,
            train_candidates=candidates,
            hierarchy=hierarchy,
            num_new_classes=num_new_classes,
            hidden_class_names=hidden,
        )
        self.root = str(root)
        self.num_labels = num_labels
        self.csv = None if csv is None else str(csv)
        self.file_column = file_column
        self.label_column = label_column
        self.test_root = None if test_root is None else str(test_root)
        self.validation_root = None if validation_root is None else str(validation_root)
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
        """Return the summary of `ImageData.summary`, with the scaling of values of more than 8 bits, and of sizes.

        A sentence names files beside the images that are not images.
        """
        first, *warnings = super().summary().splitlines()
        return "\n".join([first + self._scale, *filter(None, [self._resampled, self._passed_over]), *warnings])


class _Entry(NamedTuple):
    path: Path
    class_name: str | None
    part: str | None = None


def _passed_over_beside(entries: Sequence[_Entry]) -> str:
    """Return a sentence that names the files in the images' folders that are not images; "" if there are none."""
    folders = sorted({entry.path.parent for entry in entries})
    files = [name for folder in folders for name in passed_over(folder) if (folder / name).is_file()]
    return f"Not read, as their names are not those of images: {some_of(files)}." if files else ""


def _check_format(size: int | None, channels: int | None) -> None:
    if size is not None:
        check_count("size", size)
        if size < SMALLEST_SIDE:
            raise ValueError(f"size: expected at least {SMALLEST_SIDE} pixels; got {size}.")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels: expected 1 (grey), 3 (RGB) or None; got {channels!r}.")


def _check_folder(argument: str, root: str) -> Path:
    folder = Path(root)
    if not folder.exists():
        raise FileNotFoundError(f"{argument}: expected a folder of images; got {str(root)!r}, which does not exist.")
    if not folder.is_dir():
        raise ValueError(f"{argument}: expected a folder of images; got {str(root)!r}, which is a file.")
    return folder


def _subfolders(folder: Path) -> list[Path]:
    folders = (path for path in folder.iterdir() if path.is_dir())
    return sorted(path for path in folders if not path.name.startswith(".") and path.name.casefold() not in _CLUTTER)


def _holds_folders(folder: Path) -> bool:
    """Return whether a folder contains folders of images."""
    return any(not path.is_symlink() and images_in(path, "root") for path in _subfolders(folder))


def _in_folders(root: Path, others: dict[str, Path], *, need_classes: bool) -> list[_Entry]:
    """List the images of ``root``, whose folders may be parts of the data set, and of the other parts' folders.

    Without folders of images, those in ``root`` itself are unlabelled.
    """
    given = {path.resolve() for path in others.values()}
    if root.resolve() in given or len(given) < len(others):
        raise ValueError(
            f"{next(iter(others))}_root: expected a folder for each part; got {str(next(iter(others.values())))!r} "
            "twice."
        )
    folders = [path for path in _subfolders(root) if path.resolve() not in given]
    for folder in folders:
        check_no_link("root", folder)
    parts = {folder: PARTS[folder.name.casefold()] for folder in folders if folder.name.casefold() in PARTS}
    unsorted = (
        []
        if any(images_in(folder, "root") or _holds_folders(folder) for folder in folders)
        else images_in(root, "root")
    )
    if unsorted:
        _check_needs_no_classes("root", root, need_classes)
        entries = [_Entry(file, None, "train" if others else None) for file in unsorted]
    elif not parts or _is_class_train(folders, parts):
        entries = _classes_in("root", folders, "train" if others else None, root, need_classes=need_classes)
    else:
        entries = _in_parts(root, folders, parts, need_classes=need_classes)
    for part, folder in others.items():
        if part in parts.values():
            raise ValueError(f"{part}_root: expected None, as {str(root)!r} has a folder of that name; got a folder.")
        for path in _subfolders(folder):
            check_no_link(f"{part}_root", path)
        entries += _classes_in(f"{part}_root", _subfolders(folder), part, folder)
    return entries


def _is_class_train(folders: Sequence[Path], parts: dict[Path, str]) -> bool:
    """Return whether a folder ``train`` is a class, for example of vehicles, and not a part of the data set."""
    rest = [folder for folder in folders if folder not in parts and images_in(folder, "root")]
    return (
        any(class_of(folder.name, "root") is not None for folder in rest)
        and list(parts.values()) == ["train"]
        and all(images_in(folder, "root") and not _holds_folders(folder) for folder in parts)
    )


def _in_parts(root: Path, folders: Sequence[Path], parts: dict[Path, str], *, need_classes: bool) -> list[_Entry]:
    """List the images of a data set laid out as train/…, test/… and validation/…."""
    names = ", ".join(repr(folder.name) for folder in parts)
    flat = [folder for folder in parts if images_in(folder, "root")]
    if flat:
        raise ValueError(
            f"root: expected a sub-folder for each class in {names}; got images directly in {str(flat[0])!r}; put them "
            f"into such folders, or `train/unlabelled` if their classes are not known. If {flat[0].name!r} is itself a "
            f"class, give it another name ({f'class {flat[0].name}'!r}, say)."
        )
    rest = [folder for folder in folders if folder not in parts]
    unlabelled = [folder for folder in rest if class_of(folder.name, "root") is None]
    mixed = [
        folder for folder in rest if folder not in unlabelled and (images_in(folder, "root") or _holds_folders(folder))
    ]
    if mixed:
        raise ValueError(
            f"root: expected parts of a data set ({names}) or classes; got both: {mixed[0].name!r} is beside them; "
            f"set root to the folder of training images and test_root to that of test images, or move "
            f"{mixed[0].name!r}."
        )
    if "train" not in parts.values() or len(set(parts.values())) < len(parts):
        raise ValueError(
            f"root: expected a folder 'train', and at most one each of 'validation' and 'test', in {str(root)!r}; "
            f"got {names}."
        )
    entries = _classes_in("root", unlabelled, "train", root, need_classes=False)
    for folder, part in parts.items():
        for path in _subfolders(folder):
            check_no_link("root", path)
        needed = need_classes or part != "train"
        entries += _classes_in("root", _subfolders(folder), part, folder, need_classes=needed)
    return entries


def _classes_in(
    argument: str, folders: Sequence[Path], part: str | None, root: Path, *, need_classes: bool = True
) -> list[_Entry]:
    entries = []
    for folder in folders:
        files = images_in(folder, argument)
        if _holds_folders(folder):
            raise ValueError(
                f"{argument}: expected the images of a class in its folder; got more folders of images in "
                f"{str(folder)!r}; move them up"
                + ("." if files else f", or set {argument} to {str(folder)!r} if its folders are the classes.")
            )
        class_name = class_of(folder.name, argument)
        if not files and class_name is not None:
            raise ValueError(f"{argument}: expected images in every class's folder; got none in {str(folder)!r}.")
        entries += [_Entry(file, class_name, part) for file in files]
    if need_classes and all(entry.class_name is None for entry in entries):
        if entries:
            _check_needs_no_classes(argument, root, need_classes)
        raise ValueError(f"{argument}: expected a sub-folder of images for each class in {str(root)!r}; got none.")
    return entries


def _check_needs_no_classes(argument: str, root: Path, need_classes: bool) -> None:
    """Refuse images that are all unlabelled, unless the number of classes to look for is given."""
    if need_classes:
        raise ValueError(
            f"{argument}: expected a sub-folder of images for each class in {str(root)!r}; got unlabelled images "
            "alone: num_new_classes=10 looks for ten classes that have no label, for example."
        )


def _in_table(
    root: Path, table: Path, file_column: str | None, label_column: str | None, *, need_classes: bool
) -> list[_Entry]:
    entries: dict[Path, _Entry] = {}
    for row in read_table(table, file_column, label_column):
        inside = _inside(root, table, row)
        path = root / inside
        for part in (path, *(root / parent for parent in inside.parents[:-1])):
            check_no_link("csv", part)
        # A file in two rows could be in both the training and the test images.
        if inside in entries:
            raise ValueError(f"csv: expected each file once; got {row.file!r} again in line {row.line}.")
        entries[inside] = _Entry(path, row.class_name, row.part)
    if need_classes and all(entry.class_name is None for entry in entries.values()):
        raise ValueError(f"csv: expected at least one row with a label in {str(table)!r}; got none.")
    return sorted(entries.values(), key=lambda entry: entry.path)


def _inside(root: Path, table: Path, row: Row) -> Path:
    """Return the path of a table's file, relative to ``root``."""
    # A backslash is Windows's separator, unless a file with a backslash in its name exists.
    names = [Path(row.file), *([Path(PureWindowsPath(row.file).as_posix())] if "\\" in row.file else [])]
    # `root` as it was given, and resolved, in case it is a link.
    roots = [os.path.abspath(root), os.path.realpath(root)]
    candidates = [
        Path(os.path.relpath(path, root_path))
        for name in names
        for base in (root, table.parent)
        for path in [os.path.abspath(base / name)]
        for root_path in roots
        if Path(path).is_relative_to(root_path)
    ]
    for inside in candidates:
        if (root / inside).is_file():
            return inside
    if not candidates:
        raise ValueError(f"csv: expected files in {str(root)!r} alone; got {row.file!r} in line {row.line}.")
    raise FileNotFoundError(
        f"csv: expected a file in {str(root)!r} in line {row.line}; got {row.file!r}, which does not exist "
        f"(a heading would read `file,label`)."
    )


def _check_parts(entries: Sequence[_Entry], main_classes: set[str], *, may_be_new: bool) -> None:
    """Refuse test and validation images that are unlabelled, or whose class no training image has."""
    trained = {entry.class_name for entry in entries if entry.part in (None, "train")}
    for entry in entries:
        if entry.part in (None, "train"):
            continue
        if entry.class_name is None or entry.class_name in main_classes:
            raise ValueError(
                f"root: expected labelled {entry.part} images; got {str(entry.path)!r}, whose class is not known; move "
                "such images to the unlabelled training images."
            )
        if entry.class_name not in trained and not may_be_new:
            raise ValueError(
                f"root: expected the classes of the training images among the {entry.part} images; got "
                f"{str(entry.path)!r} of class {entry.class_name!r}, of which there is no training image."
            )


def _indices(entries: Sequence[_Entry], *parts: str | None) -> Tensor:
    """Return int64 indices of the images that are in one of the parts."""
    return torch.tensor([i for i, entry in enumerate(entries) if entry.part in parts], dtype=torch.int64)


def _set_apart(
    labels: Tensor, pool: Tensor, given: Tensor, fraction: float, num_known: int, num_classes: int, argument: str
) -> tuple[Tensor, Tensor]:
    """Return the images of the pool that stay, and those of a part: the given ones, or a share of the labelled ones."""
    if len(given):
        return pool, given
    kept, apart = split(labels[pool], round(fraction * num_known), num_classes, argument=argument)
    return pool[kept], pool[apart]


def _positions(entries: Sequence[_Entry], names: Sequence[str]) -> Tensor:
    """Return the position of each entry's class among the names; -1 if it is not among them."""
    place = {name: position for position, name in enumerate(names)}
    return torch.tensor([-1 if entry.class_name is None else place.get(entry.class_name, -1) for entry in entries])


def _in_order(class_names: set[str]) -> list[str]:
    if all(name.isdecimal() for name in class_names):
        return sorted(class_names, key=lambda name: (int(name), name))
    return sorted(class_names)


def _common_shape(
    headers: Sequence[Header], size: int | None, channels: int | None
) -> tuple[tuple[int, int, int], str]:
    """Return the shape of the images; and if their sizes differ and none is asked for, a sentence that says so."""
    if channels is None:
        channels = 1 if all(header.is_grey for header in headers) else 3
    if size is not None:
        return (channels, size, size), ""
    sizes = Counter((header.height, header.width) for header in headers)
    if len(sizes) == 1:
        return (channels, *next(iter(sizes))), ""
    (height, width), count = sizes.most_common(1)[0]
    shortest = min(min(sides) for sides in sizes)
    chosen = min(shortest, _SUGGESTED_SIZE)
    larger = f"; size={min(2 * chosen, shortest)} shows more detail, in more time" if shortest > chosen else ""
    sentence = (
        f"The files have {len(sizes)} sizes, most often {height}×{width} ({count:,} of {len(headers):,}), the shortest "
        f"side is {shortest} pixels: all are resampled to {chosen}×{chosen}, as with size={chosen}{larger}."
    )
    return (channels, chosen, chosen), sentence
