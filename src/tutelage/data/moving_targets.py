"""Targets with places in their inputs, which are augmented and resized as the inputs are: objects and maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from tutelage.data.map_targets import MapForm
from tutelage.data.modalities.base import Modality
from tutelage.data.splits import ViewSeed
from tutelage.structures import Objects


def moved_objects(
    kind: Modality,
    objects: Objects,
    raw: Any,
    size: tuple[int, ...],
    index: Tensor,
    view: ViewSeed,
    words: Collection[str],
) -> Objects:
    """Return the objects of raw inputs that are augmented by `words` and brought to the size."""
    before = _shape(raw)
    moved = kind.move_objects(objects, before, index.cpu(), view, words)
    return moved if before == size else kind.resize_objects(moved, before, size)


def moved_map(
    form: MapForm, maps: Tensor, raw: Any, size: tuple[int, ...], index: Tensor, view: ViewSeed, words: Collection[str]
) -> Tensor:
    """Return the maps of raw inputs that are augmented by `words` and brought to the size."""
    before = _shape(raw)
    return form.resize(form.augment(maps, before, index, view, words), before, size)


def _shape(raw: Tensor | Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the lengths of raw inputs' positions; of several fields, the first one's."""
    return tuple((raw if isinstance(raw, Tensor) else next(iter(raw.values()))).shape[2:])
