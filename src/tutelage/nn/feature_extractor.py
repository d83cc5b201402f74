"""Capture the features of layers of any nn.Module, by a wrapper whose forward returns them.

A store that hooks fill and other code reads is lost under `torch.compile` and hides gradients from DDP. Here the hooks
fill a store, and the same forward moves its contents into the returned Outputs. `NAME` is a module's output, `NAME:in`
its input, `NAME:KEY` a part of an output that is a mapping or a list, `NAME:call=N` the output of the N-th call, from
1; `tutelage.nn.token_grid` documents the suffixes for tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, TutelageError, unknown
from tutelage.nn.token_grid import LayerCall, convert_tokens
from tutelage.structures import (
    PART,
    Batch,
    Inputs,
    Objects,
    Outputs,
    joined_parts,
    part_of,
    response_of,
    rows_of_samples,
    training_outputs,
)
from tutelage.utils.compat import count_inplace_writes, unwrap_compiled


class FeatureExtractor(nn.Module):
    """A model whose forward returns Outputs: its response and the features of the named layers.

    Half-precision tensors are returned in float32, and channels-last maps (B, …, H, W, C) as (B, C, …, H, W).

    Args:
        model: Any network; the hooks are removed by `close`. A compiled one is replaced by the model that was compiled.
        layers: Names of modules, as `tutelage layers MODEL` lists them: `NAME` for the output, `NAME:in` for the input,
            `NAME:KEY` for a part of the output, `NAME:call=N` for the N-th of several calls; `:map`, `:patches` or
            `:HxW+P` at the end converts tokens; `@NAME` is a part of the model's output, where that is a mapping.
        view: The name of the batch's view that the model gets (`Batch.views`); empty: the inputs.

    Raises: ModelError if a layer doesn't exist, isn't reached, runs twice, doesn't output a tensor, or its output is
    overwritten in place by a later operation.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] = (), view: str = "") -> None:
        super().__init__()
        self.view = view
        self.model = model = unwrap_compiled(model)
        self.layers = tuple(dict.fromkeys(layers))
        self.store: dict[str, tuple[Tensor, int]] = {}
        self.calls: Counter[str] = Counter()
        self.capturing = False  # the wrapped model may also be called directly
        self.norm_widths = layer_norm_widths(model)
        modules = dict(model.named_modules())
        self.handles: list[Any] = []  # changes of the model that `close` removes
        for layer in self.layers:
            if layer.startswith(PART):
                continue
            call = LayerCall.parse(layer)
            if call.module not in modules:
                raise ModelError(unknown("layer", call.module, [n for n in modules if n]))
            if call.is_input:
                hook = modules[call.module].register_forward_pre_hook(partial(self._capture_input, layer, call))
            else:
                hook = modules[call.module].register_forward_hook(partial(self._capture, layer, call))
            self.handles.append(hook)

    def _capture_input(self, layer: str, call: LayerCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._capture(layer, call, module, (), args[0] if args else None)

    def _capture(self, layer: str, call: LayerCall, module: nn.Module, args: Any, out: Any) -> None:
        if not self.capturing:
            return
        self.calls[layer] += 1
        if call.call and self.calls[layer] != call.call:
            return
        out = _part_of_layer(out, layer, call.key)
        if layer in self.store:
            raise ModelError(
                f"layer {layer!r} ran twice in one forward, so its feature is ambiguous; name another layer, or which "
                f"of its calls ({layer}:call=1 is the first)."
            )
        self.store[layer] = out, count_inplace_writes(out)

    def forward(self, inputs: Inputs, objects: Objects | None = None) -> Outputs:
        """Run the model and return its response, the captured features and, as metadata, what it returns in training.

        objects: those of the first samples, for a model that computes its own losses.
        """
        self.store.clear()
        self.calls.clear()
        self.capturing = True
        try:
            raw = apply_model(self.model, inputs, objects)
            response = rows_of_samples(inputs, response_of(raw))
            features = {
                layer: to_float32(part_of(raw, layer.removeprefix(PART)))
                if layer.startswith(PART)
                else self._of_samples(layer, inputs)
                for layer in self.layers
            }
        finally:
            self.capturing = False
            self.store.clear()
        return Outputs(to_float32(response), features, training_outputs(raw))

    def select(self, batch: Batch) -> Batch:
        """Return the batch with the inputs that the model gets."""
        return batch.seen_as(self.view) if self.view else batch

    def respond(self, batch: Batch) -> Tensor:
        """Return the response to a batch."""
        seen = self.select(batch)
        return respond(self.model, seen) if hasattr(self.model, "respond") else self(seen.inputs).response

    def _of_samples(self, layer: str, inputs: Inputs) -> Tensor:
        """Return the feature in the form that its layer's name ends with, with a row for each sample."""
        feature = rows_of_samples(inputs, self._feature(layer))
        split: Any = getattr(self.model, "split_parts", None)
        seen = inputs if split is None else split(inputs)
        return joined_parts(self.model, inputs, convert_tokens(feature, layer, self.model, seen))

    def _feature(self, layer: str) -> Tensor:
        if layer not in self.store:
            raise ModelError(f"layer {layer!r} didn't run in the forward; name a layer that runs.")
        feature, version = self.store[layer]
        if count_inplace_writes(feature) != version:
            raise ModelError(
                f"layer {layer!r} was overwritten in place by a later operation (an in-place ReLU or addition); "
                "name the layer that overwrites it, or make that operation `inplace=False`."
            )
        return to_float32(channels_first(feature, self.norm_widths))

    def close(self) -> nn.Module:
        """Remove the hooks and return the wrapped model."""
        for handle in self.handles:
            handle.remove()
        return self.model


def apply_model(model: nn.Module, inputs: Inputs, objects: Objects | None = None) -> Any:
    """Call the model and return its raw output; a dict of inputs is passed as keyword arguments.

    A model that has `loss_names` computes losses of its own, and gets the objects for it.
    """
    more = {"objects": objects} if objects is not None and hasattr(model, "loss_names") else {}
    return model(**inputs, **more) if isinstance(inputs, dict) else model(inputs, **more)


def _part_of_layer(out: Any, layer: str, key: str) -> Tensor:
    """Return the part of a module's output that a layer's name means.

    Raises: ModelError if there is no such part, or it is no tensor.
    """
    parts: Mapping[str, Any] = {}
    if isinstance(out, Mapping):
        parts = {str(name): part for name, part in out.items()}
    elif isinstance(out, tuple | list):
        parts = {str(number): part for number, part in enumerate(out)}
    if key and key not in parts:
        raise ModelError(
            f"layer {layer!r}: {layer.partition(':')[0]} outputs {type(out).__name__}, which has no part {key!r}; its "
            f"parts: {', '.join(parts) or 'none'}."
        )
    out = parts[key] if key else parts["0"] if isinstance(out, tuple | list) and out else out
    if not isinstance(out, Tensor):
        named = ", ".join(f"{layer}:{name}" for name in parts)
        mend = f"name one of its parts, {named}" if named and not key else "name a layer inside it"
        raise ModelError(f"layer {layer!r} outputs {type(out).__name__}, expected a tensor; {mend}.")
    return out


def refuse_parts(model: nn.Module, what: str) -> None:
    """Refuse a model that runs a network on parts of each sample, where features take the place of a layer's output.

    what: what does so.
    Raises: ModelError.
    """
    if hasattr(model, "join_parts"):
        raise ModelError(
            f"{what} runs a part of a network on features, and {type(model).__name__} runs one on each frame, whose "
            "features are joined: use a network of whole samples, such as r3d10-8."
        )


def compute_response(model: nn.Module, inputs: Inputs) -> Tensor:
    """Call the model and return its response, such as logits (B, C)."""
    return rows_of_samples(inputs, response_of(apply_model(model, inputs)))


def respond(model: nn.Module, batch: Batch) -> Tensor:
    """Return a model's response to a batch; one that chooses its inputs or its answer has a method `respond`."""
    choose = getattr(model, "respond", None)
    return compute_response(model, batch.inputs) if choose is None else choose(batch)


def layer_norm_widths(model: nn.Module) -> set[int]:
    """The widths of the model's LayerNorms."""
    return {m.normalized_shape[0] for m in model.modules() if isinstance(m, nn.LayerNorm)}


def is_channels_last(shape: Sequence[int], widths: set[int]) -> bool:
    """Return whether a map's shape without the batch is (…, H, W, C), as in Swin: C is the width of a LayerNorm."""
    return len(shape) in (3, 4) and shape[-1] in widths and shape[0] not in widths


def channels_first(x: Tensor, widths: set[int]) -> Tensor:
    """Permute a channels-last map, (B, H, W, C) or (B, D, H, W, C), to (B, C, …); widths: of the model's LayerNorms."""
    return x.movedim(-1, 1) if is_channels_last(x.shape[1:], widths) else x


def to_float32(x: Tensor) -> Tensor:
    """Convert a half-precision tensor to float32; other dtypes stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@contextmanager
def eval_no_grad(*modules: nn.Module) -> Iterator[None]:
    """Run models in eval mode without gradients; training flags and random state are restored on exit."""
    flags = [(m, m.training) for root in modules for m in root.modules()]
    devices = {p.device.index for root in modules for p in root.parameters() if p.device.type == "cuda"}
    for root in modules:
        root.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[d for d in devices if d is not None]):
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def run_once(model: nn.Module, inputs: Inputs, layers: Sequence[str] = ()) -> Outputs:
    """Run a model once in eval mode without gradients; return its response and the features of `layers`.

    Raises: ModelError if a layer can't be captured, or if the model fails on these inputs.
    """
    with eval_no_grad(model):
        extractor = FeatureExtractor(model, layers)
        try:
            return extractor(inputs)
        except (TutelageError, MemoryError):
            raise
        except Exception as error:  # a user's network may raise any error
            advice = _dtype_advice(extractor.model, inputs)
            raise ModelError(
                f"{type(extractor.model).__name__} fails on inputs {_shapes(inputs)}: {error}{advice}"
            ) from error
        finally:
            extractor.close()


def _shapes(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return str(tuple(inputs.shape))
    return str({name: tuple(x.shape) for name, x in inputs.items()})


def _dtype_advice(model: nn.Module, inputs: Inputs) -> str:
    """Advice for a model whose weights have another dtype than its inputs; empty if they agree."""
    example = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    types = {p.dtype for p in model.parameters() if p.is_floating_point()} - {example.dtype}
    if not types or not example.is_floating_point():
        return ""
    return (
        f". Its weights are {', '.join(sorted(map(str, types)))} and the inputs {example.dtype}: pass the model in "
        "float32 (model.float()); teacher_precision=bf16 and precision=bf16 use half precision where it is faster."
    )
