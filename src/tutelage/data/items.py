"""Items of the user's Datasets: which two fields are image and target, and their conversion to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.decode import to_tensor
from tutelage.data.item_values import as_tensor, describe_value
from tutelage.data.object_targets import to_objects
from tutelage.data.splits import IGNORE
from tutelage.errors import ConfigError, DataError

IMAGES = ("image", "img", "pixel_values", "inputs", "input", "x")
TARGETS = ("label", "labels", "target", "targets", "mask", "y")
"""Names of fields whose meaning is unambiguous."""

Field = str | int

UNLABELLED = "backbone"
"""The task of images without labels."""


@dataclass(frozen=True)
class ItemReader:
    """A reader of items: of their targets, and the two fields that are image and target.

    Every function here raises a DataError that begins with "is" or "has"; the caller prepends the split and the sample.
    """

    targets: TargetReader
    fields: tuple[Field, Field] | None = None

    @property
    def is_certain(self) -> bool:
        """True if labels that the Dataset knows without reading its items may take the place of a look at them."""
        return self.targets.task == "classification"

    def sample(self, item: Any) -> tuple[Tensor, Tensor | dict[str, Tensor] | None]:
        """Return the image (C, H, W), uint8 or float, and the target; None without labels."""
        if self.targets.task == UNLABELLED:
            return to_image(image_of(item, self.fields)), None
        x, y = image_and_target(item, self.fields)
        pixels = to_image(x)
        return pixels, self.targets.read(y, pixels)

    def difference(self, x: Any, like: Any) -> str:
        """Return how an image differs from the first of train, in words that begin with "is"; empty if it doesn't."""
        if like is None or (len(x), x.is_floating_point()) == (len(like), like.is_floating_point()):
            return ""
        return (
            f"is {describe_value(x)}, the first of train is {describe_value(like)}: expected the same channels, and "
            "uint8 or float alike."
        )


@dataclass(frozen=True)
class TargetReader:
    """A reader of targets: the task, its classes or labels, and the number of values of a regression."""

    task: str
    classes: tuple[str, ...] = ()
    values: int = 0

    def read(self, y: Any, pixels: Tensor) -> Tensor | dict[str, Tensor]:
        """Return a target: the class, a mask (H, W) of these pixels, their objects, values (T,) or a label set (C,)."""
        if self.task == "detection":
            return to_objects(y, self.classes, pixels)
        if self.task == "regression":
            return to_values(y, self.values)
        if self.task == "multi_label":
            return to_label_set(y, self.classes)
        if self.task != "segmentation":
            return self._in_range(to_label(y, self.classes))
        mask = self._in_range(to_mask(y))
        if mask.shape[0] * pixels.shape[2] != mask.shape[1] * pixels.shape[1]:
            raise DataError(
                f"has an image of {tuple(pixels.shape[1:])} and a mask of {tuple(mask.shape)}: expected masks of the "
                "images' height and width."
            )
        return mask

    def _in_range(self, y: Tensor) -> Tensor:
        labelled = y[y != IGNORE] if self.task == "segmentation" else y
        if labelled.numel() and (labelled.min() < 0 or labelled.max() >= len(self.classes)):
            raise DataError(
                f"has labels from {int(labelled.min())} to {int(labelled.max())}, but there are {len(self.classes)} "
                f"classes (0 to {len(self.classes) - 1})."
            )
        return y.long()


def image_of(item: Any, fields: tuple[Field, Field] | None) -> Any:
    """Return an item's image, whether it has a target or not."""
    if is_image_alone(item):
        names = [name for name in item if name in IMAGES] if isinstance(item, Mapping) else []
        return item[names[0]] if names else item[0] if isinstance(item, tuple | list) else item
    return image_and_target(item, fields)[0]


def is_image_alone(item: Any) -> bool:
    """Return True if an item is an image without a target: an image, a tuple of one, or a dict with no other field."""
    if isinstance(item, Mapping):
        return len(item) == 1 and next(iter(item)) in IMAGES
    if isinstance(item, tuple | list):
        return len(item) == 1 and is_image_alone(item[0])
    return hasattr(item, "convert") or (isinstance(item, Tensor | np.ndarray) and item.ndim > 1)


def image_and_target(item: Any, fields: tuple[Field, Field] | None) -> tuple[Any, Any]:
    """Return an item's image and target: the two given fields, a pair, or the two fields with unambiguous names."""
    by_name = item if isinstance(item, Mapping) else item._asdict() if hasattr(item, "_asdict") else {}
    if fields is not None:
        try:
            image, target = (by_name[f] if isinstance(f, str) else item[f] for f in fields)
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"is {describe_value(item)}: expected the fields {fields[0]!r} and {fields[1]!r}."
            ) from error
        return image, target
    images, targets = ([name for name in by_name if name in known] for known in (IMAGES, TARGETS))
    if len(images) == len(targets) == 1:
        return by_name[images[0]], by_name[targets[0]]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise DataError(
        f"is {describe_value(item)}: expected (image, target); name these two fields, by name or number, as in "
        "fields=('image', 'label') or fields=(0, 1)."
    )


def refuse_fields(fields: Any) -> None:
    """Reject a value that doesn't name two fields, or several inputs and a target.

    Raises: ConfigError.
    """
    pair = fields if isinstance(fields, tuple | list) and len(fields) == 2 else (None, None)
    inputs = pair[0] if isinstance(pair[0], tuple | list) and pair[0] else [pair[0]]
    if not all(isinstance(f, Field) and not isinstance(f, bool) for f in (*inputs, pair[1])):
        raise ConfigError(
            f"fields={fields!r}: expected two names or numbers, the image's and the target's; a list in place of the "
            "first names several inputs."
        )


def are_pixels(x: Any) -> bool:
    """Return True if an image's values are certainly pixels: 8 or 16 bits."""
    return hasattr(x, "convert") or getattr(x.dtype, "name", str(x.dtype)).removeprefix("torch.") in ("uint8", "uint16")


def to_image(x: Any) -> Tensor:
    """Convert an image to (C, H, W), uint8 or float; 16 bits become floats in [0, 1]."""
    description = describe_value(x)
    if hasattr(x, "convert"):
        x = _from_pil(x)
    elif isinstance(x, np.ndarray):
        x = _from_array(x)
    dense = isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta
    if dense:
        x = x.detach().cpu()
        x = x.float() / 65535 if x.dtype == torch.uint16 else x.float() if x.dtype == torch.bfloat16 else x
        x = x[None] if x.dim() == 2 else x
    if not dense or x.dim() != 3 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise DataError(
            f"is {description}: expected a uint8 or float tensor (C, H, W), an array (H, W) or (H, W, C), or a PIL "
            "image."
        )
    if 0 in x.shape or (x.shape[2] == 3 and min(x.shape[:2]) >= 16):
        raise DataError(f"is {description}: expected (C, H, W); convert (H, W, C) by permute(2, 0, 1).")
    if not x.isfinite().all():
        raise DataError("has NaN or infinite pixels.")
    return x


def _from_pil(picture: Any) -> Tensor:
    """Convert a PIL image to bytes, grey or RGB; one of 16 bits to floats in [0, 1]."""
    if picture.mode.startswith("I;16"):
        return torch.from_numpy(np.array(picture).astype(np.float32) / 65535)[None]
    try:
        if picture.mode in ("I", "F"):  # PIL would clip them at 255
            raise ValueError("its values have no agreed range")
        return to_tensor(picture if picture.mode == "L" else picture.convert("RGB"))
    except ValueError as error:
        raise DataError(
            f"is {describe_value(picture)}: {error}; convert it in the Dataset to 8 bits per channel, or to a tensor "
            "(C, H, W)."
        ) from error


def _from_array(x: np.ndarray[Any, Any]) -> Any:
    """Convert (H, W), (H, W, C) or (C, H, W) to a tensor where the layout is unambiguous, else return it unchanged."""
    if x.dtype.kind not in "uf" or not 2 <= x.ndim <= 3:
        return x
    x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    channel_sides = [[i for i in (0, 2) if x.ndim == 3 and x.shape[i] in counts] for counts in ((1, 3), (2, 4))]
    sides = channel_sides[0] or channel_sides[1]
    if x.ndim == 3 and len(sides) != 1:
        raise DataError(f"is {describe_value(x)}: its channel axis is ambiguous; convert it to a tensor (C, H, W).")
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    return tensor.permute(2, 0, 1).contiguous() if sides == [2] else tensor


def to_label(y: Any, classes: Sequence[str]) -> Tensor:
    """Convert a class, by number or by name, to a tensor."""
    if isinstance(y, str):
        if y not in classes:
            known = ", ".join(map(repr, classes[:6])) + (", …" if len(classes) > 6 else "")
            raise DataError(f"has the label {y!r}: expected a class's number, or its name, one of {known}.")
        return torch.tensor(classes.index(y))
    tensor = as_tensor(y)
    tensor = tensor.reshape(()) if tensor is not None and tensor.numel() == 1 and tensor.dim() == 1 else tensor
    if tensor is None or tensor.dim() or tensor.is_floating_point() or tensor.is_complex():
        raise DataError(f"has the target {describe_value(y)}: expected an integer class, or a class's name.")
    return tensor


def to_mask(y: Any) -> Tensor:
    """Convert a mask to (H, W) integers."""
    values = np.array(y) if hasattr(y, "convert") else y
    tensor = as_tensor(values)
    if tensor is not None and tensor.dim() == 3:  # one channel, first or last
        tensor = tensor[0] if tensor.shape[0] == 1 else tensor[..., 0] if tensor.shape[2] == 1 else tensor
    if tensor is None or tensor.dim() != 2 or tensor.is_floating_point() or tensor.is_complex():
        raise DataError(
            f"has the target {describe_value(y)}: expected a mask (H, W) of integer classes, {IGNORE} at unlabelled "
            "pixels; "
            "convert colours or fractions into classes in the Dataset."
        )
    return tensor


def to_values(y: Any, count: int) -> Tensor:
    """Convert a number, or several, to (T,) float64."""
    tensor = as_tensor(y)
    if tensor is None or tensor.dim() > 1 or tensor.is_complex() or tensor.numel() != count:
        raise DataError(f"has the target {describe_value(y)}: expected {count} number(s), as the first sample has.")
    if not tensor.isfinite().all():
        raise DataError(f"has the target {tensor.tolist()}: expected finite numbers.")
    return tensor.double().reshape(count)


def to_label_set(y: Any, classes: Sequence[str]) -> Tensor:
    """Convert a set of labels to (C,) float32: 1, 0, or -1 where it isn't known."""
    tensor = as_tensor(y)
    if tensor is None or tensor.shape != (len(classes),) or tensor.is_complex():
        raise DataError(f"has the target {describe_value(y)}: expected a number for each of {len(classes)} labels.")
    values = tensor.float()
    if not torch.isin(values, torch.tensor([-1.0, 0.0, 1.0])).all():
        raise DataError(
            f"has the target {tensor.tolist()}: expected 1 (has the label), 0 (hasn't), or -1 (not known) for each of "
            f"{len(classes)} labels."
        )
    return values
