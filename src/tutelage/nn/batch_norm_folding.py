"""Batch norms folded into the convolutions and linear layers before them, for networks that no longer train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from tutelage.errors import ModelError
from tutelage.nn.feature_extractor import apply_model, eval_no_grad, run_once
from tutelage.nn.model_profile import first
from tutelage.nn.token_grid import module_of, split
from tutelage.structures import Inputs, Outputs
from tutelage.utils.compat import TorchDispatchMode, has_forward_hooks, leaves

NORMS = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""The norm that may be folded into each layer."""
CLOSE = 1e-3
"""How far a folded network's answers may be off, as a share of the largest."""


@torch.no_grad()
def fold(model: nn.Module, inputs: Inputs, kept: Sequence[str] = ()) -> int:
    """Fold each batch norm into the layer before it, in place; returns how many were folded.

    w ← w · γ/√(σ² + ε);  b ← (b − μ) · γ/√(σ² + ε) + β. Exact up to rounding.

    An Identity stays in the norm's place, so its name still gives its feature. Found by one forward of `inputs`: both
    run once there, and nothing else uses what lies between them; pairs between which a `kept` layer feels stay.
    Raises: ModelError if the model is in train mode, or if it answers otherwise when folded.
    """
    kind, inputs = type(model).__name__, first(inputs, 2)
    if model.training:
        raise ModelError(f"{kind} is in train mode, and only what no longer trains can be folded: call eval() first.")
    before = run_once(model, inputs, kept)
    pairs = _pairs(model, inputs, kept)
    for layer_name, norm_name in pairs:
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        fused: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        model.set_submodule(layer_name, fused(layer, norm))
        model.set_submodule(norm_name, nn.Identity().eval())
    if pairs and not _agree(before, run_once(model, inputs, kept)):
        raise ModelError(
            f"{kind} answers otherwise with its batch norms folded: leave it as it is (teacher_fold=false)."
        )
    return len(pairs)


def _agree(before: Outputs, after: Outputs) -> bool:
    outputs = [(before.response, after.response), *((x, after.features[name]) for name, x in before.features.items())]
    return not any(
        (a - b).abs().max() > CLOSE * a.abs().max() for a, b in outputs
    )  # what isn't a number is no one's fault


def _pairs(model: nn.Module, inputs: Inputs, kept: Sequence[str]) -> list[tuple[str, str]]:
    """The names of each layer and norm that can become one."""
    watch = _Watch(model, kept)
    try:
        with eval_no_grad(model), watch:
            apply_model(model, inputs)
    finally:
        watch.close()
    return [
        (layer, norms[0])
        for key, (layer, out) in watch.made.items()
        if len(norms := watch.normed.get(key, [])) == 1
        and not watch.used[key]
        and all(out is not x for x in watch.kept)
        and watch.runs[layer] == watch.runs[norms[0]] == 1
        and _fit(model.get_submodule(layer), model.get_submodule(norms[0]), out)
    ]


def _fit(layer: nn.Module, norm: nn.Module, out: Tensor) -> bool:
    """Whether the norm's channels are the layer's, and it has statistics."""
    assert isinstance(layer.weight, Tensor)
    return NORMS[type(layer)] is type(norm) and out.dim() == layer.weight.dim() and norm.running_mean is not None


class _Watch(TorchDispatchMode):
    """Which norms get the outputs of which layers in one forward, and which of them are used otherwise."""

    def __init__(self, model: nn.Module, kept: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, tuple[str, Tensor]] = {}
        self.normed: dict[int, list[str]] = {}
        self.used: Counter[int] = Counter()
        self.runs: Counter[str] = Counter()
        self.kept: list[Any] = []
        self.inside = 0
        names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        self.handles: list[Any] = []
        for name, module in model.named_modules():
            if names[id(module)] > 1 or has_forward_hooks(module):
                continue
            if type(module) in NORMS:
                self._hook(module, lambda m, args, out, name=name: self._made(name, out))
            elif type(module) in NORMS.values():
                self.handles.append(
                    module.register_forward_pre_hook(lambda m, args, name=name: self._enter(name, args))
                )
                self._hook(module, lambda m, args, out: self._leave())
        for layer in kept:
            module, at = model.get_submodule(module_of(layer)), int(not split(layer)[0].endswith(":in"))
            self._hook(module, lambda m, *outputs, at=at: self._keep(outputs[at]))

    def _hook(self, module: nn.Module, hook: Any) -> None:
        self.handles.append(module.register_forward_hook(hook))

    def _made(self, name: str, out: Tensor) -> None:
        self.runs[name] += 1
        self.made[id(out)] = name, out

    def _enter(self, name: str, args: tuple[Any, ...]) -> None:
        self.runs[name] += 1
        self.inside = id(args[0]) if args else 0
        self.normed.setdefault(self.inside, []).append(name)

    def _leave(self) -> None:
        self.inside = 0

    def _keep(self, outputs: Any) -> None:
        self.kept.append(outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation's tensors, but for the norm's own input within the norm."""
        for x in leaves((args, kwargs)):
            if id(x) in self.made and id(x) != self.inside:
                self.used[id(x)] += 1
        return func(*args, **(kwargs or {}))

    def close(self) -> None:
        """Take the hooks away again."""
        for handle in self.handles:
            handle.remove()
