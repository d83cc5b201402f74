"""Write a smaller copy of a picture data set as arrays, for studies that a CPU trains in minutes.

    python bench/smaller.py fashion-mnist FOLDER fashion.npz --train 2000 --test 2000 --size 16
    python bench/smaller.py folder EUROSAT eurosat.npz --size 32
    python bench/smaller.py npz cifar100.npz cifar.npz --train 5000 --test 2000

FOLDER has FashionMNIST/raw; EUROSAT has train/ and test/ with a folder for each class. Of each class as many samples
are taken, at random but the same each time; without a number, all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import FashionMNIST, ImageFolder
from torchvision.transforms.v2.functional import resize

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pictures (N, H, W, C) and their classes (N,)."""


def of_fashion(path: Path, split: str) -> Arrays:
    """Read the idx files of Fashion-MNIST."""
    data = FashionMNIST(str(path), train=split == "train")
    return data.data.numpy()[..., None], data.targets.numpy()


def of_folder(path: Path, split: str) -> Arrays:
    """Read pictures of one size from a folder for each class."""
    data = ImageFolder(str(path / split))
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in data.samples]), np.array(data.targets)


def of_arrays(path: Path, split: str) -> Arrays:
    """Read x_train, y_train, x_test and y_test of an npz file."""
    with np.load(path) as arrays:
        return arrays[f"x_{split}"], arrays[f"y_{split}"]


READERS: dict[str, Callable[[Path, str], Arrays]] = {
    "fashion-mnist": of_fashion,
    "folder": of_folder,
    "npz": of_arrays,
}


def rows(classes: NDArray[np.int64], count: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers of `count` samples, as many of each class; None: of all."""
    if count is None:
        return np.arange(len(classes))
    names = np.unique(classes)
    each = count // len(names)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(classes == name))[:each] for name in names]))


def resized(pictures: NDArray[np.uint8], side: int | None) -> NDArray[np.uint8]:
    """Return square pictures of this side; None: as they are."""
    if side is None:
        return pictures
    small = resize(torch.tensor(pictures).permute(0, 3, 1, 2), [side, side], antialias=True)
    result: NDArray[np.uint8] = small.permute(0, 2, 3, 1).numpy()
    return result


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=READERS)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--train", type=int, help="samples of train")
    parser.add_argument("--test", type=int, help="samples of test")
    parser.add_argument("--size", type=int, help="the pictures' new side")
    args = parser.parse_args()
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", args.train), ("test", args.test)):
        pictures, classes = READERS[args.kind](args.source, split)
        taken = rows(classes, count, rng)
        arrays |= {f"x_{split}": resized(pictures[taken], args.size), f"y_{split}": classes[taken]}
    np.savez(args.target, **arrays)
    print({name: array.shape for name, array in arrays.items()})


if __name__ == "__main__":
    main()
