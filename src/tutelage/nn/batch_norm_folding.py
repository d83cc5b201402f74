"""Fold batch norms into the convolutions and linear layers before them, in networks that are no longer trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from tutelage.errors import ModelError
from tutelage.nn.feature_extractor import apply_model, eval_no_grad, run_once
from tutelage.nn.model_profile import first_samples
from tutelage.nn.token_grid import module_name, split_layer_name
from tutelage.structures import PART, Inputs, Outputs
from tutelage.utils.compat import TorchDispatchMode, has_forward_hooks, tree_leaves

NORMS = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""The class of norm that can be folded into each class of layer."""
TOLERANCE = 1e-3
"""The largest deviation of a folded network's outputs, as a fraction of the largest absolute output."""


@torch.no_grad()
def fold_batch_norms(model: nn.Module, inputs: Inputs, kept: Sequence[str] = ()) -> int:
    """Fold each batch norm into the layer before it, in place, and return the number of folded norms.

    w ← w · γ/√(σ² + ε);  b ← (b − μ) · γ/√(σ² + ε) + β. Exact up to rounding.

    An Identity replaces the norm, so the norm's name still gives its feature. One forward of `inputs` finds the pairs:
    layer and norm each run once, and no other operation uses the tensor between them.

    Args:
        model: A network in eval mode; it is changed in place.
        inputs: An example batch, (B, …) or a dict of such tensors; its first two samples are used.
        kept: Layers whose features are needed; a pair isn't folded if one of them is the tensor between the two.

    Raises: ModelError if the model is in train mode, or if its outputs differ after folding.
    """
    kind, inputs = type(model).__name__, first_samples(inputs, 2)
    if model.training:
        raise ModelError(
            f"{kind} is in train mode, and batch norms can be folded only in eval mode: call eval() first."
        )
    before = run_once(model, inputs, kept)
    pairs = _pairs(model, inputs, kept)
    for layer_name, norm_name in pairs:
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        fused: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        model.set_submodule(layer_name, fused(layer, norm))
        model.set_submodule(norm_name, nn.Identity().eval())
    if pairs and not _close(before, run_once(model, inputs, kept)):
        raise ModelError(
            f"the outputs of {kind} differ after its batch norms are folded: don't fold them (teacher_fold=false)."
        )
    return len(pairs)


def _close(before: Outputs, after: Outputs) -> bool:
    outputs = [(before.response, after.response), *((x, after.features[name]) for name, x in before.features.items())]
    # NaN and infinity that the model gave before aren't the folding's fault, others are
    return all(torch.allclose(b, a, rtol=0.0, atol=TOLERANCE * _largest(a), equal_nan=True) for a, b in outputs)


def _largest(x: Tensor) -> float:
    """Return the largest absolute finite value, 0 without one."""
    return x.abs().nan_to_num(0.0, 0.0).max().item()


def _pairs(model: nn.Module, inputs: Inputs, kept: Sequence[str]) -> list[tuple[str, str]]:
    """The (layer name, norm name) of each pair that can be folded."""
    recorder = _UseRecorder(model, kept)
    try:
        with eval_no_grad(model), recorder:
            apply_model(model, inputs)
    finally:
        recorder.close()
    return [
        (layer, norms[0])
        for key, (layer, out) in recorder.outputs.items()
        if len(norms := recorder.norms.get(key, [])) == 1
        and not recorder.other_uses[key]
        and all(out is not x for x in recorder.kept)
        and recorder.calls[layer] == recorder.calls[norms[0]] == 1
        and _can_fold(model.get_submodule(layer), model.get_submodule(norms[0]), out)
    ]


def _can_fold(layer: nn.Module, norm: nn.Module, out: Tensor) -> bool:
    """Return whether the norm normalises the layer's output channels and has running statistics."""
    assert isinstance(layer.weight, Tensor)
    return NORMS[type(layer)] is type(norm) and out.dim() == layer.weight.dim() and norm.running_mean is not None


class _UseRecorder(TorchDispatchMode):
    """A recorder, for one forward, of the norms that take layers' outputs and of other uses of these outputs."""

    def __init__(self, model: nn.Module, kept: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: dict[int, tuple[str, Tensor]] = {}
        self.norms: dict[int, list[str]] = {}
        self.other_uses: Counter[int] = Counter()
        self.calls: Counter[str] = Counter()
        self.kept: list[Any] = []
        self.current_input = 0  # the id of the tensor that the running norm normalises
        names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        self.handles: list[Any] = []
        for name, module in model.named_modules():
            if names[id(module)] > 1 or has_forward_hooks(module):
                continue
            if type(module) in NORMS:
                self._hook(module, lambda m, args, out, name=name: self._record_output(name, out))
            elif type(module) in NORMS.values():
                self.handles.append(
                    module.register_forward_pre_hook(lambda m, args, name=name: self._enter_norm(name, args))
                )
                self._hook(module, lambda m, args, out: self._leave_norm())
        for layer in kept:
            if layer.startswith(PART):
                continue  # the comparison after folding notices a part that has changed
            module, index = model.get_submodule(module_name(layer)), int(not split_layer_name(layer)[0].endswith(":in"))
            self._hook(module, lambda m, *outputs, index=index: self._keep(outputs[index]))

    def _hook(self, module: nn.Module, hook: Any) -> None:
        self.handles.append(module.register_forward_hook(hook))

    def _record_output(self, name: str, out: Tensor) -> None:
        self.calls[name] += 1
        self.outputs[id(out)] = name, out

    def _enter_norm(self, name: str, args: tuple[Any, ...]) -> None:
        self.calls[name] += 1
        self.current_input = id(args[0]) if args else 0
        self.norms.setdefault(self.current_input, []).append(name)

    def _leave_norm(self) -> None:
        self.current_input = 0

    def _keep(self, outputs: Any) -> None:
        self.kept.append(outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the uses of recorded outputs by an operation, except the running norm's use of its input."""
        for x in tree_leaves((args, kwargs)):
            if id(x) in self.outputs and id(x) != self.current_input:
                self.other_uses[id(x)] += 1
        return func(*args, **(kwargs or {}))

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
