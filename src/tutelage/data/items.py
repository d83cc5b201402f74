"""What the items of somebody's Dataset are: which two parts count, and both as tensors."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.decode import tensor_of
from tutelage.data.splits import IGNORE
from tutelage.errors import ConfigError, DataError

IMAGES = ("image", "img", "pixel_values", "inputs", "input", "x")
TARGETS = ("label", "labels", "target", "targets", "mask", "y")
"""Names of fields whose meaning is certain."""

Field = str | int


@dataclass(frozen=True)
class Items:
    """How items are read: for which task and classes, and which two fields of them are image and target.

    Everything here raises a DataError that begins with "is" or "has", for whoever knows the split and the sample.
    """

    task: str
    classes: tuple[str, ...]
    fields: tuple[Field, Field] | None = None

    def sample(self, item: Any) -> tuple[Tensor, Tensor]:
        """The image (C, H, W), uint8 or float, and the target: the class, or a mask (H, W)."""
        x, y = parts(item, self.fields)
        pixels = image(x)
        if self.task != "segmentation":
            return pixels, self._in_range(label(y, self.classes))
        mask = self._in_range(classes_of_pixels(y))
        if mask.shape[0] * pixels.shape[2] != mask.shape[1] * pixels.shape[1]:
            raise DataError(
                f"has an image of {tuple(pixels.shape[1:])} and a mask of {tuple(mask.shape)}: expected masks of the "
                "images' height and width."
            )
        return pixels, mask

    def _in_range(self, y: Tensor) -> Tensor:
        counts = y[y != IGNORE] if self.task == "segmentation" else y
        if counts.numel() and (counts.min() < 0 or counts.max() >= len(self.classes)):
            raise DataError(
                f"has labels from {int(counts.min())} to {int(counts.max())}, but there are {len(self.classes)} "
                f"classes (0 to {len(self.classes) - 1})."
            )
        return y.long()


def parts(item: Any, fields: tuple[Field, Field] | None) -> tuple[Any, Any]:
    """The image and the target of an item: two fields by name or number, or a pair, or those with telling names."""
    named = item if isinstance(item, Mapping) else item._asdict() if hasattr(item, "_asdict") else {}
    if fields is not None:
        try:
            image, target = (named[f] if isinstance(f, str) else item[f] for f in fields)
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(f"is {said(item)}: expected the fields {fields[0]!r} and {fields[1]!r}.") from error
        return image, target
    images, targets = ([name for name in named if name in known] for known in (IMAGES, TARGETS))
    if len(images) == len(targets) == 1:
        return named[images[0]], named[targets[0]]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise DataError(
        f"is {said(item)}: expected (image, target); say which two fields these are, by name or number, as in "
        "fields=('image', 'label') or fields=(0, 1)."
    )


def refuse_fields(fields: Any) -> None:
    """Refuse what doesn't name two fields.

    Raises: ConfigError.
    """
    named = isinstance(fields, tuple | list) and all(isinstance(f, Field) and not isinstance(f, bool) for f in fields)
    if not named or len(fields) != 2:
        raise ConfigError(f"fields={fields!r}: expected two names or numbers, the image's and the target's.")


def are_pixels(x: Any) -> bool:
    """Whether an image's values are pixels beyond doubt: bytes, or 16 bits."""
    return hasattr(x, "convert") or getattr(x.dtype, "name", str(x.dtype)).removeprefix("torch.") in ("uint8", "uint16")


def image(x: Any) -> Tensor:
    """(C, H, W), uint8 or float; 16 bits become floats in [0, 1]."""
    came = said(x)
    if hasattr(x, "convert"):
        x = _of_picture(x)
    elif isinstance(x, np.ndarray):
        x = _of_array(x)
    usual = isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta
    if usual:
        x = x.detach().cpu()
        x = x.float() / 65535 if x.dtype == torch.uint16 else x.float() if x.dtype == torch.bfloat16 else x
        x = x[None] if x.dim() == 2 else x
    if not usual or x.dim() != 3 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise DataError(
            f"is {came}: expected a uint8 or float tensor (C, H, W), an array (H, W) or (H, W, C), or a PIL image."
        )
    if 0 in x.shape or (x.shape[2] == 3 and min(x.shape[:2]) >= 16):
        raise DataError(f"is {came}: expected (C, H, W); of (H, W, C) make it by permute(2, 0, 1).")
    if not x.isfinite().all():
        raise DataError("has NaN or infinite pixels.")
    return x


def _of_picture(picture: Any) -> Tensor:
    """A PIL image: bytes, grey or RGB; of 16 bits floats in [0, 1]."""
    if picture.mode.startswith("I;16"):
        return torch.from_numpy(np.array(picture).astype(np.float32) / 65535)[None]
    try:
        if picture.mode in ("I", "F"):  # PIL would cut them off at 255
            raise ValueError("its values have no range that all agree on")
        return tensor_of(picture if picture.mode == "L" else picture.convert("RGB"))
    except ValueError as error:
        raise DataError(
            f"is {said(picture)}: {error}; make it 8 bits a channel in the Dataset, or a tensor (C, H, W)."
        ) from error


def _of_array(x: np.ndarray[Any, Any]) -> Any:
    """(H, W), (H, W, C) or (C, H, W), where it is certain which; else as it came."""
    if x.dtype.kind not in "uf" or not 2 <= x.ndim <= 3:
        return x
    x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    few = [[i for i in (0, 2) if x.ndim == 3 and x.shape[i] in counts] for counts in ((1, 3), (2, 4))]
    places = few[0] or few[1]
    if x.ndim == 3 and len(places) != 1:
        raise DataError(f"is {said(x)}: which side is the channels'? Make it a tensor (C, H, W).")
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    return tensor.permute(2, 0, 1).contiguous() if places == [2] else tensor


def label(y: Any, classes: Sequence[str]) -> Tensor:
    """A class, by number or by name."""
    if isinstance(y, str):
        if y not in classes:
            known = ", ".join(map(repr, classes[:6])) + (", …" if len(classes) > 6 else "")
            raise DataError(f"has the label {y!r}: expected a class's number, or its name, one of {known}.")
        return torch.tensor(classes.index(y))
    found = _tensor(y)
    found = found.reshape(()) if found is not None and found.numel() == 1 and found.dim() == 1 else found
    if found is None or found.dim() or found.is_floating_point() or found.is_complex():
        raise DataError(f"has the target {said(y)}: expected an integer class, or a class's name.")
    return found


def classes_of_pixels(y: Any) -> Tensor:
    """A mask (H, W) of integers."""
    values = np.array(y) if hasattr(y, "convert") else y
    found = _tensor(values)
    if found is not None and found.dim() == 3:  # one channel, first or last
        found = found[0] if found.shape[0] == 1 else found[..., 0] if found.shape[2] == 1 else found
    if found is None or found.dim() != 2 or found.is_floating_point() or found.is_complex():
        raise DataError(
            f"has the target {said(y)}: expected a mask (H, W) of integer classes, {IGNORE} where nothing is known; "
            "turn colours or fractions into classes in the Dataset."
        )
    return found


def _tensor(y: Any) -> Tensor | None:
    if isinstance(y, np.ndarray | np.generic) and y.dtype.kind == "u":
        y = y.astype(np.int64)  # torch knows few unsigned types
    try:
        return torch.as_tensor(y).detach().cpu()
    except (TypeError, ValueError, RuntimeError):  # as it says of None, words and objects
        return None


def said(value: Any) -> str:
    """What came, in a few words."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        return f"a {str(value.dtype).removeprefix('torch.')} {kind} of shape {tuple(value.shape)}"
    if hasattr(value, "convert"):
        return f"a PIL image of mode {value.mode}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        more = ", …" if len(value) > 4 else ""
        return f"a {type(value).__name__} of {len(value)} ({', '.join(map(said, value[:4]))}{more})"
    return f"{reprlib.repr(value)} ({type(value).__name__})"
