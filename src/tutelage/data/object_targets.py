"""Objects as the targets of the user's Datasets, in the form of torchvision's detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tutelage.data.annotated_images import AnnotatedImage
from tutelage.data.item_values import as_tensor, describe_value
from tutelage.errors import DataError

KNOWN = ("boxes", "labels", "iscrowd", "area", "image_id")
"""The keys of an object target; an image's number isn't used."""


def are_objects(y: Any) -> bool:
    """Return whether a target has boxes."""
    return isinstance(y, Mapping) and "boxes" in y


def to_objects(y: Any, classes: Sequence[str], pixels: Tensor) -> dict[str, Tensor]:
    """Convert {"boxes": (n, 4), "labels": (n,)}, optionally with "iscrowd" and "area", to the objects of an image.

    pixels: the image (C, H, W). Boxes are x₁, y₁, x₂, y₂ in its pixels; labels count from 0.
    Raises: DataError in words that begin with "has".
    """
    if not are_objects(y) or "labels" not in y:
        coco = " (COCO's own annotations are read by data=coco:FILE)" if isinstance(y, list) else ""
        raise DataError(f'has a target without boxes: expected {{"boxes": (n, 4), "labels": (n,)}}{coco}.')
    if other := [str(key) for key in y if key not in KNOWN]:
        raise DataError(f"has {', '.join(other)} in its target, which detection doesn't use: leave it out.")
    if (form := str(getattr(y["boxes"], "format", "XYXY")).rpartition(".")[2]) != "XYXY":
        convert = "torchvision.transforms.v2.ConvertBoundingBoxFormat"
        raise DataError(f"has boxes of the format {form}: convert them to XYXY, by {convert}.")
    boxes = _numbers(y["boxes"], "boxes", 2).reshape(-1, 4).tolist()
    columns = {key: _numbers(y[key], key, 1).tolist() for key in KNOWN[1:-1] if key in y}
    if uneven := [f"{len(values)} {key}" for key, values in columns.items() if len(values) != len(boxes)]:
        raise DataError(f"has {len(boxes)} boxes and {', '.join(uneven)}: expected one of each.")
    _refuse_labels(columns["labels"], len(classes))
    image = AnnotatedImage(Path(), pixels.shape[1], pixels.shape[2])
    crowds, areas = columns.get("iscrowd", [0] * len(boxes)), columns.get("area", [None] * len(boxes))
    for number, (box, label, crowd, area) in enumerate(zip(boxes, columns["labels"], crowds, areas, strict=True)):
        if fault := image.add(tuple(box), int(label), bool(crowd), area):
            raise DataError(f"{fault} (object {number}): expected x₁, y₁, x₂, y₂ in pixels of the image.")
    return image.objects()


def _numbers(values: Any, key: str, dimensions: int) -> Tensor:
    """Return values of objects as a tensor, (n,) or (n, 4)."""
    tensor = as_tensor(values)
    if tensor is not None and not tensor.numel():
        return tensor.reshape(0)
    if tensor is None or tensor.dim() != dimensions or (dimensions == 2 and tensor.shape[1] != 4):
        raise DataError(f"has {key} {describe_value(values)}: expected {'(n, 4)' if dimensions == 2 else '(n,)'}.")
    return tensor


def _refuse_labels(labels: Sequence[float], classes: int) -> None:
    whole = all(float(label).is_integer() for label in labels)
    if labels and (not whole or min(labels) < 0 or max(labels) >= classes):
        background = ": labels count from 0, without a background" if min(labels) > 0 and max(labels) == classes else ""
        raise DataError(
            f"has labels from {min(labels)} to {max(labels)}, but there are {classes} classes (0 to {classes - 1})"
            f"{background}."
        )
