"""The layers of a model, the layers that end its stages, and the pairing of two models' stages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, count, takewhile
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.feature_extractor import (
    FeatureExtractor,
    apply_model,
    eval_no_grad,
    is_channels_last,
    layer_norm_widths,
    run_once,
)
from tutelage.nn.layouts import is_series
from tutelage.nn.token_grid import is_series_feature, split_layer_name, with_form
from tutelage.structures import Batch, Inputs, response_of
from tutelage.utils.compat import count_inplace_writes, unwrap_compiled


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


@dataclass(frozen=True, eq=False)
class ModelProfile:
    """A model run on one example: its response, its layers, its stages, its embedding, and any layer's feature.

    model, inputs: what was run, the inputs being the example's first two samples. feature: returns the feature of a
    layer on these. is_series: whether a layer's feature is the map (B, C, T) of a series. is_trainable: whether a
    gradient from a layer's feature, or from the response if the name is empty, reaches anything trainable.
    metadata: facts of the model that losses may require. member_profiles: the profiles of several models whose outputs
    are joined.
    """

    model: nn.Module
    inputs: Inputs
    response: Tensor
    layers: Sequence[LayerInfo]
    stages: Sequence[LayerInfo]
    embedding: str
    metadata: dict[str, Any]
    feature: Callable[[str], Tensor]
    is_series: Callable[[str], bool]
    is_trainable: Callable[[str], bool]
    member_profiles: Sequence[ModelProfile] = ()

    def name_with_form(self, layer: str, form: str) -> str:
        """Return the layer's name, in that form (`tutelage.nn.token_grid`) if its feature is tokens.

        form: "map", "patches", or "" for the feature as it is. The map of a series (B, C, T) has a name in form
        "patches" unless a map is requested, so that every other feature of three dimensions is tokens.
        Raises: ConfigError if a map is requested of a name in form "patches".
        """
        feature = self.feature(layer)
        if feature.dim() != 3:
            return layer
        if form == "map" and split_layer_name(layer)[1] == "patches":
            raise ConfigError(
                f"layer {layer!r} is tokens {tuple(feature.shape)}, and a map is compared: name it without :patches."
            )
        if self.is_series(layer):
            return layer if form == "map" else with_form(layer, "patches")
        return with_form(layer, form) if form else layer

    def with_response(self, response: Tensor) -> ModelProfile:
        """Return the profile of one model of the same layers with this response."""
        return replace(self, response=response, member_profiles=())


def profile_model(model: nn.Module, batch: Batch) -> ModelProfile:
    """Run a model on the first two samples of a batch.

    Raises: ModelError if it overwrites its input in place.
    """
    model, inputs = unwrap_compiled(model), first_samples(batch.inputs, 2)
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    before = [count_inplace_writes(x) for x in tensors]
    response = run_once(model, inputs).response
    if before != [count_inplace_writes(x) for x in tensors]:
        raise ModelError(
            f"{type(model).__name__} overwrites its input in place, and other networks use the same input: make its "
            "first "
            "operation `inplace=False`, or let it work on a copy."
        )
    layers = trace_layers(model, inputs)
    stages = [layer for layer in layers if layer.stage is not None]
    embedding = _embedding(model, inputs, response) or _last_stage(stages)
    return ModelProfile(
        model,
        inputs,
        response,
        layers,
        stages,
        embedding,
        _metadata(model, embedding),
        feature=partial(_feature, model, inputs),
        is_series=cache(partial(_is_series, model, inputs)),
        is_trainable=partial(_learns, model, inputs),
    )


def _feature(model: nn.Module, inputs: Inputs, layer: str) -> Tensor:
    return run_once(model, inputs, [layer])[layer]


def _is_series(model: nn.Module, inputs: Inputs, layer: str) -> bool:
    name = split_layer_name(layer)[0]
    return is_series_feature(_feature(model, inputs, name), name, model)


def _learns(model: nn.Module, inputs: Inputs, layer: str) -> bool:
    free = [parameter.requires_grad for parameter in model.parameters()]
    if free and all(free):
        return True
    extractor = FeatureExtractor(model, [layer] if layer else [])
    try:
        with eval_no_grad(model), torch.enable_grad():
            outputs = extractor(inputs)
    finally:
        extractor.close()
    return (outputs[layer] if layer else outputs.response).requires_grad


def _metadata(model: nn.Module, embedding: str) -> dict[str, Any]:
    """Properties of the model that losses use: `head`, the weight (C, D) and bias (C,) of its linear classifier."""
    name, suffix, _ = embedding.partition(":in")
    head = model.get_submodule(name) if suffix else None
    return {"head": (head.weight, head.bias)} if isinstance(head, nn.Linear) and head.bias is not None else {}


def _last_stage(stages: Sequence[LayerInfo]) -> str:
    """The name of the last stage, as tokens without prefix if it has two dimensions; empty if there is none."""
    if not stages:
        return ""
    return with_form(stages[-1].name, "patches") if len(stages[-1].shape) == 2 else stages[-1].name


def first_samples(inputs: Inputs, n: int) -> Inputs:
    """Return the first n samples of the inputs."""
    return inputs[:n] if isinstance(inputs, Tensor) else {name: x[:n] for name, x in inputs.items()}


def trace_layers(model: nn.Module, inputs: Inputs) -> list[LayerInfo]:
    """List the modules that output a tensor (B, …), in the order in which they finish, with the stages marked."""
    outputs: dict[str, tuple[nn.Module, Tensor, int]] = {}
    calls: dict[str, int] = {}
    samples = len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))

    def record(name: str, module: nn.Module, out: object) -> None:
        out = out[0] if isinstance(out, tuple | list) and out else out
        if isinstance(out, Tensor) and out.dim() >= 2 and len(out) == samples:  # not the windows within attention
            outputs.pop(name, None)
            outputs[name] = module, out, count_inplace_writes(out)
            calls[name] = calls.get(name, 0) + 1

    raw = _visit_outputs(model, inputs, record)
    widths = layer_norm_widths(model)
    layers = [
        LayerInfo(
            name,
            type(module).__name__,
            _channels_first(tuple(out.shape[1:]), widths),
            (i + 1) / len(outputs),
            calls[name],
            is_series=is_series(model, name, tuple(out.shape[1:])),
        )
        for i, (name, (module, out, _)) in enumerate(outputs.items())
    ]
    intact = {name for name, (_, out, writes) in outputs.items() if count_inplace_writes(out) == writes}
    blocks = {name for name, (module, _, _) in outputs.items() if any(list(m.parameters()) for m in module.children())}
    left_out = _logit_maps(layers, raw) | _reductions(layers)
    kept = [x for x in layers if x.name in intact - left_out and x.calls == 1]
    candidates = _with_dimensions_of(inputs, kept)
    stages = {x.name: stage for stage, x in enumerate(_stages(candidates, blocks))}
    return [replace(x, stage=stages.get(x.name)) for x in layers]


def _with_dimensions_of(inputs: Inputs, layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Leave out maps of another number of dimensions than the inputs, or than most maps if none has as many."""
    own = {x.dim() - 2 for x in ([inputs] if isinstance(inputs, Tensor) else inputs.values())}
    counts = Counter(x.dimensions for x in layers if x.is_map)
    kept = own & counts.keys() or {dimensions for dimensions, _ in counts.most_common(1)}
    return [x for x in layers if not x.is_map or x.dimensions in kept]


def _logit_maps(layers: Sequence[LayerInfo], raw: Any) -> set[str]:
    """Return the layers at the end that output the maps of a dense response before it is resized: no features."""
    try:
        response = response_of(raw)
    except ModelError:
        return set()
    if response.dim() < 4:
        return set()
    classes = response.shape[1]
    return {x.name for x in takewhile(lambda x: x.is_map and x.shape[0] == classes, reversed(layers))}


def _reductions(layers: Sequence[LayerInfo]) -> set[str]:
    """Return the maps within a module of more tokens, such as an attention's reduced keys: they end no stage."""
    tokens = {x.name: x.grid for x in layers if not x.is_map and len(x.shape) == 2}
    around = {x.name: max((tokens.get(name, 0) for name in parent_names(x.name)), default=0) for x in layers}
    return {x.name for x in layers if x.is_map and around[x.name] > 2 * x.grid}


def _visit_outputs(model: nn.Module, inputs: Inputs, visit: Callable[[str, nn.Module, object], None]) -> Any:
    """Run the model once without side effects; call visit(name, module, output) as each module finishes.

    Returns its raw output.
    """
    handles = [
        module.register_forward_hook(lambda m, a, out, name=name: visit(name, m, out))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with eval_no_grad(model):
            return apply_model(model, inputs)
    finally:
        for handle in handles:
            handle.remove()


def record_call_times(model: nn.Module, inputs: Inputs) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return, by module name, the times at which a module's calls begin and end in one forward, as counts of events."""
    begins: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    clock = count()
    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(partial(_record_time, begins, clock, name)))
            handles.append(module.register_forward_hook(partial(_record_time, ends, clock, name)))
    try:
        with eval_no_grad(model):
            apply_model(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return begins, ends


def _record_time(times: dict[str, list[int]], clock: Iterator[int], name: str, *args: Any) -> None:
    times.setdefault(name, []).append(next(clock))


def parent_names(name: str) -> set[str]:
    """Return the names of all modules that contain the named module."""
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(1, len(parts))}


def _channels_first(shape: tuple[int, ...], widths: set[int]) -> tuple[int, ...]:
    return (shape[-1], *shape[:-1]) if is_channels_last(shape, widths) else shape


def _stages(layers: Sequence[LayerInfo], blocks: set[str]) -> list[LayerInfo]:
    """The last layer of each resolution; for a single resolution (ViT), four blocks evenly spaced by depth."""
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
    """The largest family of sibling modules of one class and shape: a transformer's blocks."""
    families: dict[tuple[str, str, tuple[int, ...]], list[LayerInfo]] = {}
    for x in layers:
        family = x.name.rstrip("0123456789")
        if family != x.name:
            families.setdefault((family, x.kind, x.shape), []).append(x)
    return max(families.values(), key=len, default=[])


def _evenly_spaced(layers: list[LayerInfo], n: int) -> list[LayerInfo]:
    """Select n layers, or all if there are fewer, evenly spaced and including the last."""
    n = min(n, len(layers))
    return [layers[round((i + 1) * len(layers) / n) - 1] for i in range(n)]


def _embedding(model: nn.Module, inputs: Inputs, response: Tensor) -> str:
    """`NAME:in` of the classifier, the last linear layer with the response's shape; empty if there is none."""
    if response.dim() != 2:
        return ""
    names: list[str] = []

    def record(name: str, module: nn.Module, out: object) -> None:
        if isinstance(module, nn.Linear) and isinstance(out, Tensor) and out.shape == response.shape:
            names.append(name)

    _visit_outputs(model, inputs, record)
    return f"{names[-1]}:in" if names else ""


def pair_stages(student: Sequence[LayerInfo], teacher: Sequence[LayerInfo]) -> list[tuple[LayerInfo, LayerInfo]]:
    """Pair two models' stages in order, so that resolutions and relative depths agree best.

    Each stage of the model with fewer stages is paired with one of the other model: of all increasing assignments, the
    one with the smallest Σ |log₂(grid/grid')|/d + |depth − depth'|, d the number of the maps' dimensions. Where the two
    differ in d, a side grid^(1/d) counts relative to the model's first stage.
    Raises: ModelError if a model has no stage.
    """
    for side, stages in (("student", student), ("teacher", teacher)):
        if not stages:
            raise ModelError(f"the {side} has no stage; name its layers (see `tutelage layers MODEL`).")
    fewer, more = sorted((student, teacher), key=len)

    def cost(pairs: Sequence[tuple[LayerInfo, LayerInfo]]) -> float:
        return sum(_resolution_gap(a, b, fewer[0], more[0]) + abs(a.depth - b.depth) for a, b in pairs)

    best = min((list(zip(fewer, chosen, strict=True)) for chosen in combinations(more, len(fewer))), key=cost)
    return best if fewer is student else [(b, a) for a, b in best]


def _resolution_gap(a: LayerInfo, b: LayerInfo, first_a: LayerInfo, first_b: LayerInfo) -> float:
    """The ratio of two stages' sides, as a power of 2; first_a, first_b: the first stages of the two models."""
    if a.dimensions == b.dimensions:
        return abs(math.log2(a.grid / b.grid)) / a.dimensions
    sides = (math.log2(x.grid / first.grid) / x.dimensions for x, first in ((a, first_a), (b, first_b)))
    return abs(next(sides) - next(sides))


def response_profile(response: Tensor) -> ModelProfile:
    """Return the profile of a teacher without layers, which outputs that response on the example batch."""

    def no_feature(layer: str) -> Tensor:
        raise ModelError(f"layer {layer!r}: this teacher has no layers; use a method that compares logits alone.")

    model, inputs = nn.Identity(), torch.empty(0)
    return ModelProfile(
        model,
        inputs,
        response,
        [],
        [],
        "",
        {},
        feature=no_feature,
        is_series=lambda layer: False,
        is_trainable=lambda layer: False,
    )
