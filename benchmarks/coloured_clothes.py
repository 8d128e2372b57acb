"""`python -m benchmarks.coloured_clothes FOLDER`: photos of clothing in colour, for `studies/coloured_clothes.yaml`.

The folder gets `train` with 2,000 of Fashion-MNIST's training images and `test` with 1,000 of its test images, equally
many of each class and each class in a sub-folder. An image is 32×32 pixels, with two black pixels at each side, and the
garment is dyed: grey times a colour, whose red, green and blue are uniform on [0.3, 1]. The background stays black.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ssvae.data import FashionMNIST

OF_EACH_CLASS = {"train": 200, "test": 100}
DARKEST_DYE = 0.3
BORDER = 2


def main(words: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to write, which must not exist")
    parser.add_argument("--root", help="the folder of Fashion-MNIST (default: download it to ~/.cache/ssvae)")
    options = parser.parse_args(words)
    if options.folder.exists():
        parser.error(f"folder: expected a path where nothing is; got {options.folder}.")
    data = FashionMNIST(num_labels=None, num_validation=0, root=options.root)
    chance = np.random.default_rng(0)
    parts = {"train": (data.train_images, data.train_labels), "test": (data.test_images, data.test_labels)}
    for part, (images, labels) in parts.items():
        for y, name in enumerate(data.class_names):
            chosen = images[labels == y][: OF_EACH_CLASS[part]]
            write(chosen, options.folder / part / name, chance)


def write(images: Tensor, folder: Path, chance: np.random.Generator) -> None:
    """Write grey images, bytes (images, 1, height, width), as dyed PNG files."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images[:, 0].numpy()):
        grey = np.pad(image, BORDER)[..., None]  # (height, width, 1)
        dyed = grey * chance.uniform(DARKEST_DYE, 1, 3)  # (height, width, 3)
        Image.fromarray(dyed.round().astype(np.uint8)).save(folder / f"{number:03}.png")


if __name__ == "__main__":
    main()
