"""Activation checkpointing: activations are recomputed in the backward pass instead of being stored.

The student's blocks run under `torch.utils.checkpoint`, which stores only each block's inputs. Buffers that a block's
forward updates, such as the running statistics of batch norm, are updated once; the recomputation draws the same random
numbers as the first forward.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tutelage.errors import ModelError
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.nn.model_profile import first_samples, trace_layers
from tutelage.nn.stages import LayerInfo
from tutelage.structures import Inputs
from tutelage.utils.compat import buffers_of, count_inplace_writes, has_running_statistics

SMALL_FRACTION = 1 / 8
"""A module that holds at most this fraction of the activations isn't divided further."""

COVERED_FRACTION = 0.9
"""A module is divided if its children hold at least this fraction of its activations."""


def enable_checkpointing(student: FeatureExtractor, inputs: Inputs) -> None:
    """Store a student's activations only at its blocks' inputs, until the student is closed.

    Models of `transformers` without batch norm use their own gradient checkpointing; others use `find_blocks`.

    Args:
        student: The extractor whose model is changed in place; its `close` undoes the change.
        inputs: An example batch, (B, …) or a dict of such tensors; its first two samples find the blocks.

    Raises: ModelError if the model has no blocks; in training, if a block's input is overwritten in place.
    """
    model = student.model
    supported = getattr(model, "supports_gradient_checkpointing", False)
    has_switch = supported and hasattr(model, "gradient_checkpointing_enable")
    if has_switch and not any(has_running_statistics(m) for m in model.modules()):
        student.handles.append(_TransformersCheckpointing(model))
        return
    names = find_blocks(model, inputs)
    if not names:
        raise ModelError(f"recompute: {type(model).__name__} has no blocks of several layers; set recompute=false.")
    student.handles += [_CheckpointedForward(name, model.get_submodule(name)) for name in names]


def find_blocks(model: nn.Module, inputs: Inputs) -> list[str]:
    """The modules to recompute, each as a whole: repeated modules, divided until each holds few activations.

    One forward of the first two samples measures the activations. Containers and stages are divided into the modules
    that they repeat; a block whose children have different classes isn't divided.
    """
    layers = {layer.name: layer for layer in trace_layers(model, first_samples(inputs, 2))}
    leaves = {name: _size(layer) for name, layer in layers.items() if not any(_within(n, name) for n in layers)}
    return _divided(model, "", layers, leaves)


def _size(layer: LayerInfo) -> int:
    return math.prod(layer.shape) * layer.calls


def _within(name: str, outer: str) -> bool:
    return not outer or name.startswith(f"{outer}.")


def _activations(name: str, leaves: dict[str, int]) -> int:
    return sum(size for leaf, size in leaves.items() if _within(leaf, name) or leaf == name)


def _divided(module: nn.Module, name: str, layers: dict[str, LayerInfo], leaves: dict[str, int]) -> list[str]:
    children = {f"{name}.{child}".removeprefix("."): m for child, m in module.named_children()}
    parts = {child: m for child, m in children.items() if sum(_within(leaf, child) for leaf in leaves) > 1}
    repeats = isinstance(module, nn.Sequential) or max(Counter(map(type, parts.values())).values(), default=0) > 1
    total, inner = _activations(name, leaves), sum(_activations(part, leaves) for part in parts)
    large = (
        total > SMALL_FRACTION * sum(leaves.values())
        and inner >= COVERED_FRACTION * total
        and (repeats or len(parts) == 1)
    )
    if name in layers and not large:
        return [name]
    return [block for part, m in parts.items() for block in _divided(m, part, layers, leaves)]


class _TransformersCheckpointing:
    """The gradient checkpointing of a transformers model, switched on; `remove` switches it off."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def remove(self) -> None:
        self.model.gradient_checkpointing_disable()


class _CheckpointedForward:
    """A replacement of a module's forward, whose activations are recomputed in the backward pass."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module, self.forward = name, module, module.forward
        self.instance_forward = vars(module).get("forward")
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        recomputation = _Recomputation(self.name, self.module, [*args, *kwargs.values()])
        contexts = nullcontext(), recomputation
        out = checkpoint(self.forward, *args, use_reentrant=False, context_fn=lambda: contexts, **kwargs)
        recomputation.check_inputs()
        return out

    def remove(self) -> None:
        del self.module.forward
        if self.instance_forward is not None:
            self.module.forward = self.instance_forward


class _Recomputation:
    """The context of the second forward: it restores the buffers' first values, so that they are updated only once."""

    def __init__(self, name: str, module: nn.Module, args: Sequence[Any]) -> None:
        self.name = name
        self.inputs = [(x, count_inplace_writes(x)) for x in args if isinstance(x, Tensor)]
        self.buffers = [(own, _copies(own)) for m in module.modules() if (own := buffers_of(m))]

    def check_inputs(self) -> None:
        """Raise ModelError if an input was overwritten in place since the first forward."""
        if any(count_inplace_writes(x) != writes for x, writes in self.inputs):
            raise ModelError(
                f"recompute: the input of block {self.name!r} is overwritten in place (by an in-place ReLU or "
                "addition in the block or after it); make that operation `inplace=False`, or set recompute=false."
            )

    def __enter__(self) -> None:
        self.check_inputs()
        self.after = [dict(buffers) for buffers, _ in self.buffers]
        for buffers, before in self.buffers:
            buffers.update(_copies(before))

    def __exit__(self, *error: object) -> None:
        for (buffers, _), after in zip(self.buffers, self.after, strict=True):
            buffers.update(after)


def _copies(buffers: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if x is None else x.clone() for name, x in buffers.items()}
