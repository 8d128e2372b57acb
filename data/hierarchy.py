"""Main classes and their sub-classes, and images of which only the main class is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssvae.data.labels import check_count, draw_labels

Tree = str | dict[str, list[str]]
"""Main classes with the names of their classes, or the path of a YAML file that says so."""


@dataclass(frozen=True)
class Hierarchy:
    """Main classes, each with the classes it holds.

    Attributes:
        names: of the main classes.
        main_class_of: int64 (K,), the main class of each class.
    """

    names: tuple[str, ...]
    main_class_of: Tensor

    def candidates(self, labels: Tensor, main_labels: Tensor) -> Tensor:
        """Say which classes labels admit.

        Args:
            labels: int64 classes (N,), -1 where not known.
            main_labels: int64 main classes (N,), -1 where not known; of no effect where the class is known.

        Returns:
            Booleans (N, K): the class alone where it is known, the classes of the main class where only that is
            known, and all of them where nothing is.
        """
        classes = torch.arange(len(self.main_class_of))
        is_class = labels.unsqueeze(-1) == classes
        in_main_class = main_labels.unsqueeze(-1) == self.main_class_of
        known, main_known = (labels >= 0).unsqueeze(-1), (main_labels >= 0).unsqueeze(-1)
        return torch.where(known, is_class, in_main_class | ~main_known)

    def coarsen(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities of main classes, (N, main classes): the sums over their classes, (N, K)."""
        coarse = probabilities.new_zeros(len(probabilities), len(self.names))
        return coarse.index_add(-1, self.main_class_of, probabilities)


def read_tree(tree: Tree) -> dict[str, list[str]]:
    """Return main classes with the names of their classes, from a file where that is given.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a list of classes for each main class.
    """
    found: object = _read(tree) if isinstance(tree, str) else tree
    expected = "tree: expected a list of classes for each main class"
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{expected}; got {found!r}.")
    for main_class, members in found.items():
        for name in (main_class, *(members if isinstance(members, list | tuple) else ())):
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise ValueError(f"tree: expected names of classes, in quotes where need be; got {name!r}.")
        if not isinstance(members, list | tuple) or not members:
            raise ValueError(f"{expected}; got {members!r} for {main_class!r}.")
    return {str(main_class): [str(name) for name in members] for main_class, members in found.items()}


def read_hierarchy(tree: Tree, class_names: Sequence[str]) -> Hierarchy:
    """Make a hierarchy from main classes with the names of their classes, or from a YAML file that says so.

    Args:
        tree: `{"footwear": ["Sandal", "Sneaker"], "bags": ["Bag"]}`, or the path of a file.
        class_names: the names of all classes, each of which must stand in one main class.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not as stated.
    """
    found = read_tree(tree)
    main_class_of: dict[str, int] = {}
    for number, (main_class, members) in enumerate(found.items()):
        for name in members:
            if name not in class_names:
                raise ValueError(f"tree: expected the classes {', '.join(class_names)}; got {name!r}.")
            if name in main_class_of:
                raise ValueError(f"tree: expected each class once; got {name!r} again in {main_class!r}.")
            main_class_of[name] = number
    missing = [name for name in class_names if name not in main_class_of]
    if missing:
        raise ValueError(f"tree: expected every class in a main class; got {missing[0]!r} in none.")
    return Hierarchy(tuple(found), torch.tensor([main_class_of[name] for name in class_names]))


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
    """Let some of the images whose class is hidden keep their main class.

    Args:
        labels: int64 classes (N,), -1 where the class is not known to begin with.
        kept: the same with most of them hidden, -1, by `draw_labels`.
        hierarchy: the main classes; None where there are none.
        num_coarse_labels: how many images keep their main class; 0 for none.
        balanced: whether every main class keeps equally many, rather than its share.
        seed: which images.
        main_labels: int64 main classes (N,) of images of whose class no more is known to begin with, -1 for the
            others; or None.

    Returns:
        Booleans (N, K), the classes that each image's label admits; None where no main classes are kept.

    Raises:
        ValueError: if there are not as many, or no main classes.
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
    # Imported here to keep `import data` light.
    from ssvae.data.yaml_files import read_yaml

    if not Path(path).is_file():
        raise FileNotFoundError(f"tree: expected a YAML file of main classes; got {path!r}, which is not a file.")
    # As text: to YAML `no` is false, 010 is 8 and 1:30 is 90.
    return read_yaml(path, "tree", as_text=True)
