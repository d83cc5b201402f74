"""The layers of a model, the layers that end its stages, and the pairing of two models' stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, count
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.nn.feature_extractor import (
    FeatureExtractor,
    apply_model,
    channels_first,
    eval_no_grad,
    layer_norm_widths,
    run_once,
)
from tutelage.nn.layouts import is_series
from tutelage.nn.stages import (
    LayerInfo,
    find_stages,
    logit_maps,
    pyramid_levels,
    reductions,
    with_dimensions_of,
)
from tutelage.nn.token_grid import is_series_feature, module_name, split_layer_name, with_form
from tutelage.structures import Batch, Inputs, JoinedInputs, count_samples, joined_parts
from tutelage.utils.compat import count_inplace_writes, unwrap_compiled


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
    """Properties of the model that losses use: `head`, the weight (C, D) and bias (C,) of its linear classifier.

    Also of a model that computes losses of its own in training, `losses`: their names, each with 0; `part_targets`: the
    names of the parts of its output for which it returns targets.
    """
    name, suffix, _ = embedding.partition(":in")
    head = model.get_submodule(name) if suffix else None
    linear = {"head": (head.weight, head.bias)} if isinstance(head, nn.Linear) and head.bias is not None else {}
    losses = dict.fromkeys(getattr(model, "loss_names", ()), torch.zeros(()))
    targets = dict.fromkeys(getattr(model, "target_parts", ()))
    return linear | ({"losses": losses} if losses else {}) | ({"part_targets": targets} if targets else {})


def _last_stage(stages: Sequence[LayerInfo]) -> str:
    """The name of the last stage, as tokens without prefix if it has two dimensions; empty if there is none."""
    if not stages:
        return ""
    return with_form(stages[-1].name, "patches") if len(stages[-1].shape) == 2 else stages[-1].name


def first_samples(inputs: Inputs, n: int) -> Inputs:
    """Return the first n samples of the inputs."""
    if isinstance(inputs, JoinedInputs):
        return inputs.part(0, n)
    return inputs[:n] if isinstance(inputs, Tensor) else {name: x[:n] for name, x in inputs.items()}


def trace_layers(model: nn.Module, inputs: Inputs) -> list[LayerInfo]:
    """List the modules that output a tensor (B, …), in the order in which they finish, with the stages marked."""
    outputs: dict[str, tuple[nn.Module, Tensor, int]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    calls: dict[str, int] = {}
    samples, widths = count_samples(inputs), layer_norm_widths(model)

    def record(name: str, module: nn.Module, out: object) -> None:
        for key, part in out.items() if isinstance(out, Mapping) else ():  # an FPN's levels
            record(f"{name}:{key}", module, part)
        out = out[0] if isinstance(out, tuple | list) and out else out
        if not isinstance(out, Tensor) or out.dim() < 2:
            return
        of_samples = joined_parts(model, inputs, channels_first(out, widths))
        if len(of_samples) != samples:
            return  # such as the windows within attention
        outputs.pop(name, None)
        outputs[name], shapes[name] = (module, out, count_inplace_writes(out)), tuple(of_samples.shape[1:])
        calls[name] = calls.get(name, 0) + 1

    raw = _visit_outputs(model, inputs, record)
    layers = [
        LayerInfo(
            name,
            type(module).__name__,
            shapes[name],
            (i + 1) / len(outputs),
            calls[name],
            is_series=is_series(model, module_name(name), tuple(out.shape[1:])),
        )
        for i, (name, (module, out, _)) in enumerate(outputs.items())
    ]
    intact = {name for name, (_, out, writes) in outputs.items() if count_inplace_writes(out) == writes}
    blocks = {name for name, (module, _, _) in outputs.items() if any(list(m.parameters()) for m in module.children())}
    left_out = logit_maps(layers, raw) | reductions(layers)
    kept = [x for x in layers if x.name in intact - left_out and x.calls == 1]
    candidates = with_dimensions_of(inputs, kept)
    modules = [x for x in candidates if ":" not in x.name]
    stages = {x.name: stage for stage, x in enumerate(pyramid_levels(candidates) or find_stages(modules, blocks))}
    return [replace(x, stage=stages.get(x.name)) for x in layers]


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


def _embedding(model: nn.Module, inputs: Inputs, response: Tensor) -> str:
    """`NAME:in` of the classifier, the last linear layer with the response's shape; empty if there is none."""
    if response.dim() != 2:
        return ""
    names: list[str] = []

    def record(name: str, module: nn.Module, out: object) -> None:
        if (
            isinstance(module, nn.Linear)
            and isinstance(out, Tensor)
            and joined_parts(model, inputs, out).shape == response.shape
        ):
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
