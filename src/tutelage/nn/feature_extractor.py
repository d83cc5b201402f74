"""Layers of any nn.Module, captured by a wrapper whose forward returns them.

A store that hooks fill and others read is lost under `torch.compile` and hides gradients from DDP; here the hooks fill,
and the same forward empties the store into what it returns. `NAME` is a module's output, `NAME:in` its input;
`tutelage.nn.token_grid` says what else a name may hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, TutelageError, unknown
from tutelage.nn.token_grid import formed, module_of, split
from tutelage.structures import Inputs, Outputs, response_of
from tutelage.utils.compat import uncompiled, writes_in_place


class FeatureExtractor(nn.Module):
    """A model whose forward returns Outputs: its response and the features of the named layers, in float32.

    Raises: ModelError if a layer doesn't exist, isn't reached, runs twice, gives no tensor, or is overwritten in place
    by what follows it.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model = uncompiled(model)
        self.layers = tuple(dict.fromkeys(layers))
        self.store: dict[str, tuple[Tensor, int]] = {}
        self.listening = False  # the bare model may also be called by others
        self.norm_widths = norm_widths(model)
        modules = dict(model.named_modules())
        self.handles: list[Any] = []  # what is to be removed from the model again
        for layer in self.layers:
            name = module_of(layer)
            if name not in modules:
                raise ModelError(unknown("layer", name, [n for n in modules if n]))
            if split(layer)[0].endswith(":in"):
                hook = modules[name].register_forward_pre_hook(partial(self._keep_input, layer))
            else:
                hook = modules[name].register_forward_hook(partial(self._keep, layer))
            self.handles.append(hook)

    def _keep_input(self, layer: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._keep(layer, module, (), args[0] if args else None)

    def _keep(self, layer: str, module: nn.Module, args: Any, out: Any) -> None:
        if not self.listening:
            return
        out = out[0] if isinstance(out, tuple | list) and out else out
        if not isinstance(out, Tensor):
            raise ModelError(f"layer {layer!r} gives {type(out).__name__}, expected a tensor; name a layer inside it.")
        if layer in self.store:
            raise ModelError(f"layer {layer!r} ran twice in one forward, so which feature is meant? Name another one.")
        self.store[layer] = out, writes_in_place(out)

    def forward(self, inputs: Inputs) -> Outputs:
        """The response and features of one forward."""
        self.store.clear()
        self.listening = True
        try:
            response = answer(self.model, inputs)
            features = {layer: formed(self._taken(layer), layer, self.model, inputs) for layer in self.layers}
        finally:
            self.listening = False
            self.store.clear()
        return Outputs(to_float32(response), features)

    def _taken(self, layer: str) -> Tensor:
        if layer not in self.store:
            raise ModelError(f"layer {layer!r} wasn't reached by the forward; name one that runs.")
        feature, version = self.store[layer]
        if writes_in_place(feature) != version:
            raise ModelError(
                f"layer {layer!r} was overwritten in place by what follows it (an in-place ReLU or addition); "
                "name the layer that overwrites it, or make that one `inplace=False`."
            )
        return to_float32(self._channels_first(feature))

    def _channels_first(self, x: Tensor) -> Tensor:
        """(B, H, W, C) becomes (B, C, H, W)."""
        return x.permute(0, 3, 1, 2) if channels_come_last(x.shape[1:], self.norm_widths) else x

    def close(self) -> nn.Module:
        """Take the hooks away again; returns the bare model."""
        for handle in self.handles:
            handle.remove()
        return self.model


def apply_model(model: nn.Module, inputs: Inputs) -> Any:
    """What the model returns; a dict of inputs goes in by keyword."""
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def answer(model: nn.Module, inputs: Inputs) -> Tensor:
    """The response in what the model returns."""
    return response_of(apply_model(model, inputs))


def norm_widths(model: nn.Module) -> set[int]:
    """The widths of its LayerNorms."""
    return {m.normalized_shape[0] for m in model.modules() if isinstance(m, nn.LayerNorm)}


def channels_come_last(shape: Sequence[int], widths: set[int]) -> bool:
    """Whether a map's shape without the batch is (H, W, C), as Swin and its like give: their LayerNorms tell."""
    return len(shape) == 3 and shape[-1] in widths and shape[0] not in widths


def to_float32(x: Tensor) -> Tensor:
    """In float32, if it is in half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@contextmanager
def eval_no_grad(*modules: nn.Module) -> Iterator[None]:
    """Run models in eval mode, without gradients, and leave no trace: training flags and random state come back."""
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
    """What a model says of some inputs, undisturbed, with those layers' features."""
    with eval_no_grad(model):
        tapped = FeatureExtractor(model, layers)
        try:
            return tapped(inputs)
        except (TutelageError, MemoryError):
            raise
        except Exception as error:  # anybody's network may raise anything
            mend = _other_type(tapped.model, inputs)
            raise ModelError(
                f"{type(tapped.model).__name__} fails on inputs {_shapes(inputs)}: {error}{mend}"
            ) from error
        finally:
            tapped.close()


def _shapes(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return str(tuple(inputs.shape))
    return str({name: tuple(x.shape) for name, x in inputs.items()})


def _other_type(model: nn.Module, inputs: Inputs) -> str:
    """The mend for a model whose weights are of another type than its inputs."""
    given = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    types = {p.dtype for p in model.parameters() if p.is_floating_point()} - {given.dtype}
    if not types or not given.is_floating_point():
        return ""
    return (
        f". Its weights are {', '.join(sorted(map(str, types)))} and the inputs {given.dtype}: give it in float32 "
        "(model.float()); teacher_precision=bf16 and precision=bf16 compute in half precision where it is faster."
    )
