"""A network from a layer on: what follows it, run on features that come from elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, unknown
from tutelage.nn.feature_extractor import answer, channels_come_last, eval_no_grad, norm_widths
from tutelage.nn.shared_trunk import order, parents, remembered, repeated
from tutelage.structures import Inputs


class Tail(nn.Module):
    """What a network does after a layer; forward(feature) → response.

    The network's forward runs as it is, on zeros: the layer says the feature (channels first), and the other modules
    before it say zeros of the shapes that they gave on the example. So only what follows costs anything and is trained.
    Raises: ModelError if there is no such layer, if it runs more than once, or if what follows also depends on what
    comes before by another way.
    """

    def __init__(self, model: nn.Module, layer: str, inputs: Inputs) -> None:
        super().__init__()
        self.model, self.layer = model, layer
        _, ends = order(model, inputs)
        if layer not in ends:
            raise ModelError(unknown("layer", layer, ends))
        if len(ends[layer]) > 1:
            raise ModelError(f"layer {layer!r} runs {len(ends[layer])} times, so what follows it? Name another one.")
        before = {name: [end for end in found if end <= ends[layer][0]] for name, found in ends.items()}
        calls = {name: len(found) for name, found in before.items() if found}
        self.trunk = {name: count for name, count in calls.items() if not parents(name) & calls.keys()}
        modules = {model.get_submodule(name): count for name, count in self.trunk.items()}
        with eval_no_grad(model), remembered(modules) as kept:
            whole = answer(model, inputs)
        outputs = {name: kept[model.get_submodule(name)] for name in self.trunk}
        feature = outputs[layer][0]
        self.channels_last = channels_come_last(feature.shape[1:], norm_widths(model))
        self.blank = _blank({"inputs": inputs, "said": outputs}, len(feature))
        for name in self.trunk:
            if len(ends[name]) == self.trunk[name]:
                model.get_submodule(name).requires_grad_(False)
        self._check(feature.permute(0, 3, 1, 2) if self.channels_last else feature, whole)

    def _check(self, feature: Tensor, whole: Tensor) -> None:
        with eval_no_grad(self):
            mine = self(feature)
        if not torch.allclose(mine, whole, rtol=1e-4, atol=1e-5):
            raise ModelError(
                f"what follows {self.layer!r} depends on more than what it gives (a connection past it, or chance), so "
                "it can't be run by itself; name another layer (tutelage layers MODEL)."
            )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H, W) or tokens → the response."""
        blank = _sized(self.blank, feature)
        feature = feature.permute(0, 2, 3, 1) if self.channels_last else feature
        kept = {self.model.get_submodule(name): list(outputs) for name, outputs in blank["said"].items()}
        kept[self.model.get_submodule(self.layer)] = [feature]
        with repeated(kept):
            return answer(self.model, blank["inputs"])


def _blank(value: Any, samples: int) -> Any:
    """The shapes of tensors in dicts and lists, without the first dimension where that is the samples'."""
    if isinstance(value, Tensor):
        return value.shape[1:] if value.dim() and len(value) == samples else value
    if isinstance(value, dict):
        return {name: _blank(x, samples) for name, x in value.items()}
    return type(value)(_blank(x, samples) for x in value) if isinstance(value, tuple | list) else value


def _sized(value: Any, like: Tensor) -> Any:
    """Zeros of these shapes, for as many samples as `like` has."""
    if isinstance(value, torch.Size):
        return like.new_zeros(()).expand(len(like), *value)
    if isinstance(value, dict):
        return {name: _sized(x, like) for name, x in value.items()}
    return type(value)(_sized(x, like) for x in value) if isinstance(value, tuple | list) else value
