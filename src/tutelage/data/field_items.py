"""Items of the user's Datasets with several inputs by name, each of a modality of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.data import modalities
from tutelage.data.item_values import as_tensor, describe_value
from tutelage.data.items import (
    IMAGES,
    TARGETS,
    Field,
    TargetReader,
    is_image_alone,
    to_image,
)
from tutelage.errors import ConfigError, DataError, unknown

Fields = tuple[Field | Sequence[Field], Field]
"""The inputs of an item, one or several, and its target, by name or number."""

SECOND = "target"
"""The name of the second of a pair (inputs by name, target)."""


def has_named_inputs(item: Any, fields: Fields | None, kinds: Mapping[str, str]) -> bool:
    """Return whether an item has inputs by name; False if it is one image, or a pair of an image and a target."""
    if kinds or (fields is not None and not isinstance(fields[0], Field)):
        return True
    if fields is not None or is_image_alone(item):
        return False
    if isinstance(item, tuple | list) and len(item) == 2:
        return isinstance(item[0], Mapping)
    names = item if isinstance(item, Mapping) else getattr(item, "_fields", ())
    pair = [sum(name in known for name in names) for known in (IMAGES, TARGETS)] == [1, 1]
    return len(names) > 1 and not pair


@dataclass(frozen=True)
class FieldReader:
    """A reader of items with several inputs by name, which has seen the first item.

    Args:
        targets: the reader of their targets.
        target: the name of the target's field.
        first: the first item's inputs.
        kinds: the modality of each input.
        exact: whether other fields are refused.
    """

    targets: TargetReader
    target: str
    first: Mapping[str, Tensor]
    kinds: Mapping[str, str]
    exact: bool

    is_certain = False

    @classmethod
    def from_first(cls, item: Any, targets: TargetReader, fields: Fields | None, kinds: Mapping[str, str]) -> Self:
        """Return the reader of items like this one.

        kinds: the modalities of inputs whose shape doesn't tell them.
        Raises: DataError for an item of another form; ConfigError for the modality of an unknown field.
        """
        values = _by_name(item)
        names, target = _chosen(item, values, fields)
        if wrong := [unknown("field in modalities", name, names) for name in kinds if name not in names]:
            raise ConfigError("\n".join(wrong))
        all_kinds = {name: kinds.get(name) or _modality(values[name]) for name in names}
        inputs = {name: _to_field(name, values[name], kind) for name, kind in all_kinds.items()}
        return cls(targets, target, inputs, all_kinds, fields is None)

    def sample(self, item: Any) -> tuple[dict[str, Tensor], Tensor | dict[str, Tensor]]:
        """Return the inputs by name, each of the first item's shape and dtype, and the target.

        Raises: DataError that names the field.
        """
        values, expected = _by_name(item), [*self.first, self.target]
        missing = [name for name in expected if name not in values]
        other = [name for name in values if name not in expected] if self.exact else []
        if missing or other:
            fault = f"has no field {missing[0]!r}" if missing else f"has the field {other[0]!r} too"
            raise DataError(f"{fault}: expected the fields of the first of train, {', '.join(map(repr, expected))}.")
        inputs = {name: _to_field(name, values[name], kind) for name, kind in self.kinds.items()}
        for name, x in inputs.items():
            like = self.first[name]
            if (x.shape, x.dtype) != (like.shape, like.dtype):
                raise DataError(
                    f"has the field {name!r}, {describe_value(x)}: expected {describe_value(like)}, as the first of "
                    f"train has it ({self.kinds[name]})."
                )
        return inputs, self.targets.read(values[self.target], next(iter(inputs.values())))

    def difference(self, x: Any, like: Any) -> str:
        """Return an empty text: `sample` has compared the fields."""
        return ""


def target_of(item: Any, fields: Fields | None) -> tuple[str, Any]:
    """Return the name of an item's target and its value.

    Raises: DataError if there isn't one, or there are several.
    """
    values = _by_name(item)
    target = _chosen(item, values, fields)[1]
    return target, values[target]


def _by_name(item: Any) -> dict[str, Any]:
    """Return an item's fields by name; those of a tuple by number."""
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], Mapping):
        if SECOND in item[0]:
            raise DataError(
                f"is {describe_value(item)}: its inputs have {SECOND!r} too, so that there are two targets."
            )
        return {**{str(name): x for name, x in item[0].items()}, SECOND: item[1]}
    if hasattr(item, "_asdict"):
        return dict(item._asdict())
    pairs = enumerate(item) if isinstance(item, tuple | list) else item.items() if isinstance(item, Mapping) else ()
    return {str(name): x for name, x in pairs}


def _chosen(item: Any, values: Mapping[str, Any], fields: Fields | None) -> tuple[list[str], str]:
    """Return the names of an item's inputs and of its target."""
    if fields is not None:
        inputs = [fields[0]] if isinstance(fields[0], Field) else fields[0]
        names, target = [str(name) for name in inputs], str(fields[1])
        if missing := [name for name in (*names, target) if name not in values]:
            raise DataError(f"is {describe_value(item)}: expected the field {missing[0]!r}.")
        return names, target
    targets = [name for name in values if name in TARGETS]
    names = [name for name in values if name not in targets]
    if len(targets) != 1 or not names:
        number = "two targets" if len(targets) > 1 else "no inputs" if targets else "no target"
        raise DataError(
            f"is {describe_value(item)}: expected inputs and one target ({', '.join(TARGETS)}), and it has {number}; "
            "name them, as in fields=(['rgb', 'depth'], 'label')."
        )
    return names, targets[0]


def _modality(x: Any) -> str:
    """Return the modality that an input's shape tells: a vector is a table's row; two or three axes are an image's."""
    return {1: "table", 4: "volume"}.get(getattr(x, "ndim", 0), "image")


def _to_field(name: str, x: Any, kind: str) -> Tensor:
    """Convert an input to (C, …), uint8 or float32.

    Raises: DataError that names the field.
    """
    if not hasattr(x, "convert") and not (hasattr(x, "dtype") and hasattr(x, "shape")):
        raise DataError(
            f"has the field {name!r}, which is {describe_value(x)}: expected a tensor, an array or a PIL image; name "
            f"the fields that are inputs, as in fields=(['rgb', 'depth'], 'label')."
        )
    try:
        image = to_image(x) if kind == "image" else _to_channels(x, kind)
    except DataError as error:
        raise DataError(f"has the field {name!r}, which {error}") from error
    return image.float() if image.is_floating_point() else image


def _to_channels(x: Any, kind: str) -> Tensor:
    """Convert numbers to (C, …), where one channel may be left out, uint8 or float32."""
    tensor, positions = as_tensor(x), modalities.find(kind).positions
    form = ", ".join("CDHW"[: positions + 1] if positions != 1 else "CT")
    if tensor is None or tensor.is_complex() or tensor.layout != torch.strided:
        raise DataError(f"is {describe_value(x)}: expected numbers ({form}) of {kind} data.")
    tensor = tensor[None] if tensor.dim() == positions > 0 else tensor
    if tensor.dim() != positions + 1 or 0 in tensor.shape:
        raise DataError(f"is {describe_value(x)}: expected ({form}), as {kind} data has; or name its modality.")
    if not tensor.isfinite().all():
        raise DataError("has NaN or infinite values.")
    is_bytes = tensor.dtype in (torch.uint8, torch.bool) and kind != "table"
    return tensor.to(torch.uint8 if is_bytes else torch.float32)
