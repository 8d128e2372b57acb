"""Main classes and their sub-classes, and partial labels: images of which only the main class is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssvae.data.labels import check_count, draw_labels

Tree = str | dict[str, list[str]]
"""Main classes with the names of their classes, or the path of a YAML file of them."""


@dataclass(frozen=True)
class Hierarchy:
    """Main classes, each with its classes.

    Example:
        >>> import torch
        >>> from ssvae.data import Hierarchy
        >>> hierarchy = Hierarchy(("clothes", "shoes"), torch.tensor([0, 0, 1]))
        >>> hierarchy.coarsen(torch.tensor([[0.5, 0.25, 0.25]]))
        tensor([[0.7500, 0.2500]])

    Attributes:
        names: The names of the main classes.
        main_class_of: The main class of each class, int64 (K,).
    """

    names: tuple[str, ...]
    main_class_of: Tensor

    def candidates(self, labels: Tensor, main_labels: Tensor) -> Tensor:
        """Return the candidate classes of each image.

        Args:
            labels: The classes, int64 (N,), -1 if not known.
            main_labels: The main classes, int64 (N,), -1 if not known; ignored if the class is known.

        Returns:
            Booleans (N, K): the class alone if it is known; the classes of the main class if only that is known; all
            classes otherwise.
        """
        classes = torch.arange(len(self.main_class_of))
        is_class = labels.unsqueeze(-1) == classes
        in_main_class = main_labels.unsqueeze(-1) == self.main_class_of
        known, main_known = (labels >= 0).unsqueeze(-1), (main_labels >= 0).unsqueeze(-1)
        return torch.where(known, is_class, in_main_class | ~main_known)

    def coarsen(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities of the main classes: sums over their classes.

        Args:
            probabilities: Class probabilities (N, K).

        Returns:
            (N, main classes).
        """
        coarse = probabilities.new_zeros(len(probabilities), len(self.names))
        return coarse.index_add(-1, self.main_class_of, probabilities)


def read_tree(tree: Tree) -> dict[str, list[str]]:
    """Return main classes with the names of their classes, read from the file if ``tree`` is a path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a list of classes for each main class.
    """
    main_classes: object = _read(tree) if isinstance(tree, str) else tree
    expected = "tree: expected a list of classes for each main class"
    if not isinstance(main_classes, dict) or not main_classes:
        raise ValueError(f"{expected}; got {main_classes!r}.")
    for main_class, members in main_classes.items():
        for name in (main_class, *(members if isinstance(members, list | tuple) else ())):
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise ValueError(
                    f"tree: expected text as names of classes (in quotes if YAML needs them); got {name!r}."
                )
        if not isinstance(members, list | tuple) or not members:
            raise ValueError(f"{expected}; got {members!r} for {main_class!r}.")
    return {str(main_class): [str(name) for name in members] for main_class, members in main_classes.items()}


def read_hierarchy(tree: Tree, class_names: Sequence[str]) -> Hierarchy:
    """Return the hierarchy of main classes with the names of their classes, or of a YAML file of them.

    Args:
        tree: ``{"footwear": ["Sandal", "Sneaker"], "bags": ["Bag"]}``, or the path of a file.
        class_names: The names of all classes; each must be in exactly one main class.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as stated.
    """
    main_classes = read_tree(tree)
    main_class_of: dict[str, int] = {}
    for number, (main_class, members) in enumerate(main_classes.items()):
        for name in members:
            if name not in class_names:
                raise ValueError(f"tree: expected the classes {', '.join(class_names)}; got {name!r}.")
            if name in main_class_of:
                raise ValueError(f"tree: expected each class once; got {name!r} again in {main_class!r}.")
            main_class_of[name] = number
    missing = [name for name in class_names if name not in main_class_of]
    if missing:
        raise ValueError(f"tree: expected every class in a main class; got {missing[0]!r} in none.")
    return Hierarchy(tuple(main_classes), torch.tensor([main_class_of[name] for name in class_names]))


def draw_main_labels(
    labels: Tensor,
    kept: Tensor,
    hierarchy: Hierarchy | None,
    num_coarse_labels: int,
    *,
    balanced: bool,
    seed: int,
    main_labels: Tensor | None = None,
) -> Tensor | None:
    """Keep the main class of some of the images whose label is hidden: partial labels.

    Args:
        labels: The classes, int64 (N,), -1 for images that never had a label.
        kept: The classes after ``draw_labels`` has hidden most of them, -1 for hidden ones.
        hierarchy: The main classes, or None.
        num_coarse_labels: The number of images that keep their main class.
        balanced: Whether every main class keeps equally many images; otherwise each keeps its share.
        seed: The random seed of the choice.
        main_labels: The main classes, int64 (N,), of images that come with a main class only, -1 for the others; or
            None.

    Returns:
        The candidate classes of each image, booleans (N, K); None if no image keeps its main class only.

    Raises:
        ValueError: If there are too few images, or no main classes.
    """
    check_count("num_coarse_labels", num_coarse_labels)
    if hierarchy is None:
        if num_coarse_labels:
            raise ValueError(f"tree: expected main classes, as num_coarse_labels is {num_coarse_labels}; got None.")
        return None
    hidden = hierarchy.main_class_of[labels].masked_fill((labels < 0) | (kept >= 0), -1)
    known = draw_labels(
        hidden, num_coarse_labels, len(hierarchy.names), balanced=balanced, seed=seed, argument="num_coarse_labels"
    )
    if main_labels is not None:
        known = torch.where(main_labels >= 0, main_labels, known)
    return hierarchy.candidates(kept, known) if (known >= 0).any() else None


def _read(path: str) -> object:
    # Imported here to keep `import ssvae.data` fast.
    from ssvae.data.yaml_files import read_yaml

    if not Path(path).is_file():
        raise FileNotFoundError(f"tree: expected a YAML file of main classes; got {path!r}, which is not a file.")
    # As text: in YAML `no` is false, 010 is 8 and 1:30 is 90.
    return read_yaml(path, "tree", as_text=True)
