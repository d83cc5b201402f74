"""The part of a network that follows a layer, run on features of another network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, unknown
from tutelage.nn.feature_extractor import (
    compute_response,
    eval_no_grad,
    is_channels_last,
    layer_norm_widths,
    refuse_parts,
)
from tutelage.nn.model_profile import record_call_times
from tutelage.nn.replay import record_outputs, replay_outputs
from tutelage.nn.stages import parent_names
from tutelage.structures import Inputs


class Tail(nn.Module):
    """The part of a network after a layer; forward(feature) → response.

    The network's own forward is replayed on zero inputs, with the given feature (channels first) as the layer's output
    and zeros as the outputs of all earlier modules. So only the modules after the layer are computed and trained.

    Args:
        model: The network; parameters that run only before the layer are frozen.
        layer: The name of a module that runs once.
        inputs: An example batch, which gives the shapes.

    Raises: ModelError if there is no such layer, if it runs more than once, or if the modules after it also depend on
    earlier modules by another path; for a network that runs on parts of each sample.
    """

    def __init__(self, model: nn.Module, layer: str, inputs: Inputs) -> None:
        super().__init__()
        refuse_parts(model, "a tail")
        self.model, self.layer = model, layer
        _, ends = record_call_times(model, inputs)
        if layer not in ends:
            raise ModelError(unknown("layer", layer, ends))
        if len(ends[layer]) > 1:
            raise ModelError(
                f"layer {layer!r} runs {len(ends[layer])} times: expected a layer that runs once; name another."
            )
        before = {name: [end for end in times if end <= ends[layer][0]] for name, times in ends.items()}
        calls = {name: len(times) for name, times in before.items() if times}
        self.trunk = {name: count for name, count in calls.items() if not parent_names(name) & calls.keys()}
        modules = {model.get_submodule(name): count for name, count in self.trunk.items()}
        with eval_no_grad(model), record_outputs(modules) as recording:
            response = compute_response(model, inputs)
        outputs = {name: recording[model.get_submodule(name)] for name in self.trunk}
        feature = outputs[layer][0]
        self.channels_last = is_channels_last(feature.shape[1:], layer_norm_widths(model))
        self.shapes = _shapes({"inputs": inputs, "outputs": outputs}, len(feature))
        for name in self.trunk:
            if len(ends[name]) == self.trunk[name]:
                model.get_submodule(name).requires_grad_(False)
        self._check(feature.movedim(-1, 1) if self.channels_last else feature, response)

    def _check(self, feature: Tensor, expected: Tensor) -> None:
        with eval_no_grad(self):
            actual = self(feature)
        if not torch.allclose(actual, expected, rtol=1e-4, atol=1e-5):
            raise ModelError(
                f"the modules after {self.layer!r} depend on more than its output (on a skip connection past it, or on "
                "random numbers), so they can't run on their own; name another layer (tutelage layers MODEL)."
            )

    def forward(self, feature: Tensor) -> Tensor:
        """A map (B, C, …) or tokens (B, N, C) → the response."""
        zeros = _zeros(self.shapes, feature)
        feature = feature.movedim(1, -1) if self.channels_last else feature
        recording = {self.model.get_submodule(name): list(outputs) for name, outputs in zeros["outputs"].items()}
        recording[self.model.get_submodule(self.layer)] = [feature]
        with replay_outputs(recording):
            return compute_response(self.model, zeros["inputs"])


def _shapes(value: Any, samples: int) -> Any:
    """Replace tensors in dicts and lists by their shapes, without the batch dimension where they have one."""
    if isinstance(value, Tensor):
        return value.shape[1:] if value.dim() and len(value) == samples else value
    if isinstance(value, dict):
        return {name: _shapes(x, samples) for name, x in value.items()}
    return type(value)(_shapes(x, samples) for x in value) if isinstance(value, tuple | list) else value


def _zeros(value: Any, like: Tensor) -> Any:
    """Replace shapes in dicts and lists by zeros with the batch size, device and dtype of `like`."""
    if isinstance(value, torch.Size):
        return like.new_zeros(()).expand(len(like), *value)
    if isinstance(value, dict):
        return {name: _zeros(x, like) for name, x in value.items()}
    return type(value)(_zeros(x, like) for x in value) if isinstance(value, tuple | list) else value
