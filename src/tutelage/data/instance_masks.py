"""Masks that number instances, read as classes: background, the inside of an instance, and its border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.data.masks import Codes, read_values
from tutelage.errors import DataError, plain

READ = 10
"""The number of masks that are looked at."""

PARTS = 4
"""The mean number of separate parts of a number in a mask from which on it can't be that of an instance."""


@dataclass(frozen=True)
class InstanceReading:
    """The classes of masks with 0 for background and a number for each instance.

    A border pixel belongs to an instance, and has a neighbour above, below or beside it that doesn't: so instances that
    touch stay apart.
    """

    classes: tuple[str, ...] = ("background", "inside", "border")
    identity: str = ""

    @classmethod
    def of(cls, paths: Sequence[Path]) -> InstanceReading:
        """Return the reading, after a look at the masks.

        Raises: DataError if no mask has two instances, or the numbers are those of classes.
        """
        spread = paths[:: -(-len(paths) // READ)]
        if all(len(np.unique(codes[codes > 0])) < 2 for codes in map(read_values, spread)):
            raise DataError(
                f"{plain(paths[0].parent)}: none of its masks has two instances (numbers above 0): expected a number "
                "for each instance; masks of classes are data=segmentation:PATH."
            )
        parts = [(share, path) for path in spread if (share := parts_of_each(read_values(path)))]
        share, path = max(parts)
        if np.mean([share for share, _ in parts]) > PARTS:
            raise DataError(
                f"{plain(path)}: each of its numbers lies in {share:.0f} separate places on average, which is a "
                "class's, not an instance's: use data=segmentation:PATH."
            )
        return cls()

    def read(self, path: Path) -> Tensor:
        """Return (H, W) uint8 classes."""
        codes = read_values(path)
        return torch.from_numpy((codes > 0).astype(np.uint8) + ((codes > 0) & has_other_neighbour(codes)))


def has_other_neighbour(codes: Codes) -> Codes:
    """Return where a pixel of (H, W) has a neighbour with another number; the image's edge is none."""
    padded = np.pad(codes, 1, mode="edge")
    shifted = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.logical_or.reduce([codes != other for other in shifted])


def parts_of_each(codes: Codes) -> float:
    """Return the mean number of connected parts of a number above 0; 0 if there is none."""
    from scipy.ndimage import label

    numbers = np.unique(codes[codes > 0]).tolist()
    return float(np.mean([label(codes == number)[1] for number in numbers])) if numbers else 0.0
