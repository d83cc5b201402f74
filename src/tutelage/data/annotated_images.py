"""Images with boxes: what a file of annotations holds of one image, and the checks that all formats share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tutelage.data.decode import ImageFile
from tutelage.data.listing import summarise
from tutelage.errors import DataError, plain

TOLERANCE = 1.0
"""The pixels by which a box may reach beyond its image, as rounding makes it; it is cut there."""
CHECKED = 2000
"""The number of images, evenly spaced, whose declared size is compared with the file's."""


@dataclass
class AnnotatedImage:
    """An image file with its objects.

    height, width: in pixels. boxes: x₁, y₁, x₂, y₂ in pixels, and labels, one for each object. crowds: whether each is
    a crowd, which no detection has to find and none is wrong in. areas: in pixels; None: the box's.
    """

    path: Path
    height: int
    width: int
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowds: list[bool] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)

    def add(
        self,
        box: tuple[float, float, float, float],
        label: int,
        crowd: bool = False,
        area: float | None = None,
    ) -> str:
        """Add an object; return what is wrong with its box, in words that begin with a verb; empty if nothing is."""
        x1, y1, x2, y2 = box
        if not all(map(math.isfinite, box)):
            return f"has the box {box}: expected finite numbers"
        if x2 <= x1 or y2 <= y1:
            return f"has a box of no area, {x1:g}, {y1:g} to {x2:g}, {y2:g}"
        if min(x1, y1) < -TOLERANCE or x2 > self.width + TOLERANCE or y2 > self.height + TOLERANCE:
            return (
                f"has a box from {x1:g}, {y1:g} to {x2:g}, {y2:g}, which isn't inside the image of {self.width} × "
                f"{self.height} pixels"
            )
        inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(self.width)), min(y2, float(self.height))
        self.boxes.append(inside)
        self.labels.append(label)
        self.crowds.append(crowd)
        self.areas.append(area)
        return ""

    def objects(self) -> dict[str, Tensor]:
        """Return the objects as tensors, with the image's size as floats."""
        boxes = torch.tensor(self.boxes, dtype=torch.float32).reshape(-1, 4)
        of_boxes = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()
        areas = [own if area is None else area for own, area in zip(of_boxes, self.areas, strict=True)]
        return {
            "boxes": boxes,
            "labels": torch.tensor(self.labels, dtype=torch.int64),
            "iscrowd": torch.tensor(self.crowds, dtype=torch.bool),
            "area": torch.tensor(areas, dtype=torch.float32),
            "size": torch.tensor([self.height, self.width], dtype=torch.float32),
        }


def refuse_faults(path: Path, faults: Sequence[str], advice: str = "") -> None:
    """Refuse a file with faults.

    Raises: DataError that names the file and the first of them.
    """
    if faults:
        more = f"\nAnd {len(faults) - 5} more." if len(faults) > 5 else ""
        advice = f" {advice}" if advice else ""
        raise DataError(f"{plain(path)}: " + "\n".join(faults[:5]) + f"{more}{advice}")


def refuse_other_sizes(path: Path, images: Sequence[AnnotatedImage]) -> None:
    """Refuse images of another size than declared, whose boxes would be misplaced; of many, some are read.

    Raises: DataError that names the annotations' file and the images; DataError for an image that can't be read.
    """
    faults = []
    for image in images[:: -(-len(images) // CHECKED) or 1]:
        picture = ImageFile(image.path)
        if (picture.height, picture.width) != (image.height, image.width):
            rotated = ", rotated by its EXIF orientation" if picture.rotated else ""
            faults.append(
                f"{plain(image.path)} is {picture.width} × {picture.height}{rotated}, and its annotations are for "
                f"{image.width} × {image.height} pixels"
            )
    refuse_faults(path, faults, "Annotate the images as they are, or resize them back.")


def refuse_missing_files(path: Path, files: Iterable[Path]) -> None:
    """Refuse annotations of images that aren't there.

    Raises: DataError that names the first of them.
    """
    if missing := [str(plain(file)) for file in files if not file.is_file()]:
        raise DataError(
            f"{plain(path)}: {len(missing)} of its images are missing: {summarise(missing)}: provide them, or remove "
            "their annotations."
        )


def refuse_in_two_splits(splits: Mapping[str, Sequence[AnnotatedImage]]) -> None:
    """Refuse a file that is in two splits, or twice in one, and splits without images.

    Raises: DataError.
    """
    places: dict[Path, str] = {}
    for split, images in splits.items():
        if not images:
            raise DataError(f"there is no image for {split}: provide some, or remove the split.")
        for image in images:
            path = image.path.resolve()
            if path in places:
                where = f"in {places[path]} and {split}" if places[path] != split else f"twice in {split}"
                raise DataError(f"{plain(image.path)}: is {where}: expected each image in one split, once.")
            places[path] = split
