"""The layers of a model, and which of them end its stages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor

from tutelage.errors import ModelError
from tutelage.nn.token_grid import module_name
from tutelage.structures import Inputs, response_of


@dataclass(frozen=True)
class LayerInfo:
    """A module that ran: name, class, output shape without the batch, depth (order of finishing, 0…1), calls, stage.

    is_series: whether a shape of two dimensions is the map (C, T) of a series; if not it is tokens (N, C).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    depth: float
    calls: int = 1
    stage: int | None = None
    is_series: bool = False

    @property
    def is_map(self) -> bool:
        """True for a map (C, T), (C, H, W) or (C, D, H, W)."""
        return self.is_series or len(self.shape) in (3, 4)

    @property
    def dimensions(self) -> int:
        """The number of dimensions of its map; tokens are taken as the patches of an image."""
        return len(self.shape) - 1 if self.is_map else 2

    @property
    def grid(self) -> int:
        """The number of positions of its map, or of its tokens."""
        return math.prod(self.shape[1:]) if self.is_map else self.shape[0]

    def __str__(self) -> str:
        return f"{self.name} {self.shape}"


def with_dimensions_of(inputs: Inputs, layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Leave out maps of another number of dimensions than the inputs, or than most maps if none has as many."""
    own = {x.dim() - 2 for x in ([inputs] if isinstance(inputs, Tensor) else inputs.values())}
    counts = Counter(x.dimensions for x in layers if x.is_map)
    kept = own & counts.keys() or {dimensions for dimensions, _ in counts.most_common(1)}
    return [x for x in layers if not x.is_map or x.dimensions in kept]


def logit_maps(layers: Sequence[LayerInfo], raw: Any) -> set[str]:
    """Return the layers at the end that output the maps of a dense response before it is resized: no features."""
    try:
        response = response_of(raw)
    except ModelError:
        return set()
    if response.dim() < 4:
        return set()
    classes = response.shape[1]
    return {x.name for x in takewhile(lambda x: x.is_map and x.shape[0] == classes, reversed(layers))}


def reductions(layers: Sequence[LayerInfo]) -> set[str]:
    """Return the maps within a module of more tokens, such as an attention's reduced keys: they end no stage."""
    tokens = {x.name: x.grid for x in layers if not x.is_map and len(x.shape) == 2}
    around = {x.name: max((tokens.get(name, 0) for name in parent_names(x.name)), default=0) for x in layers}
    return {x.name for x in layers if x.is_map and around[x.name] > 2 * x.grid}


def pyramid_levels(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Return the maps of the last module that outputs a mapping of several: the levels of a feature pyramid."""
    pyramids: dict[str, list[LayerInfo]] = {}
    for x in layers:
        if ":" in x.name and x.is_map and x.grid > 1:
            pyramids.setdefault(module_name(x.name), []).append(x)
    return next((levels for levels in reversed(pyramids.values()) if _is_pyramid(levels)), [])


def _is_pyramid(levels: Sequence[LayerInfo]) -> bool:
    """Return whether maps are several, all as wide, each smaller than the one before."""
    grids, widths = [x.grid for x in levels], {x.shape[0] for x in levels}
    return len(levels) > 1 and len(widths) == 1 and grids == sorted({*grids}, reverse=True)


def find_stages(layers: Sequence[LayerInfo], blocks: set[str]) -> list[LayerInfo]:
    """The last layer of each resolution; for a single one (ViT, points), four blocks evenly spaced by depth."""
    maps = [x for x in layers if x.is_map and x.grid > 1]
    tokens = [x for x in layers if not x.is_map and len(x.shape) == 2 and x.grid > 1]
    grids: dict[int, list[LayerInfo]] = {}
    for x in maps:
        if x.grid <= min(grids, default=x.grid):  # a decoder's growing resolutions begin no new stage
            grids.setdefault(x.grid, []).append(x)
    sizes = list(grids)
    if len(sizes) > 2 and 2 * len(grids[sizes[0]]) < min(len(grids[g]) for g in sizes[1:]):
        del sizes[0]  # a stem isn't a stage
    if len(sizes) > 1:
        return [_stage_end(grids[grid], maps, blocks) for grid in sizes]
    candidates = max(tokens, maps, key=len)
    return _evenly_spaced(_siblings(candidates), 4) or candidates[-1:]


def _stage_end(stage: Sequence[LayerInfo], maps: Sequence[LayerInfo], blocks: set[str]) -> LayerInfo:
    """The last block of a resolution, or else its last layer; a block that reduces it is in the next stage."""
    grid = stage[0].grid
    inside = {x: {y.grid for y in maps if y.name.startswith(f"{x.name}.")} for x in maps if x.grid <= grid}
    single = {x.name: grids for x, grids in inside.items() if len(grids) <= 2}  # not a container of several stages
    reducers = tuple(f"{x.name}." for x in maps if x.grid < grid and max(single.get(x.name, ()), default=0) == grid)
    candidates = [x for x in stage if x.name in single and not x.name.startswith(reducers)] or stage
    return next((x for x in reversed(candidates) if x.name in blocks), candidates[-1])


def _siblings(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """The largest family of siblings of one class, of two the outer: blocks of one shape, or maps of any width."""
    families: dict[tuple[str, str, tuple[int, ...]], list[LayerInfo]] = {}
    for x in layers:
        family = x.name.rstrip("0123456789")
        if family != x.name:
            families.setdefault((family, x.kind, () if x.is_map else x.shape), []).append(x)
    return max(families.values(), key=lambda family: (len(family), -family[0].name.count(".")), default=[])


def _evenly_spaced(layers: list[LayerInfo], n: int) -> list[LayerInfo]:
    """Select n layers, or all if there are fewer, evenly spaced and including the last."""
    n = min(n, len(layers))
    return [layers[round((i + 1) * len(layers) / n) - 1] for i in range(n)]


def parent_names(name: str) -> set[str]:
    """Return the names of all modules that contain the named module."""
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(1, len(parts))}
