"""Activations that are computed again in the backward pass instead of being kept.

The student's blocks run under `torch.utils.checkpoint`: of each, only the inputs are kept. What a block's forward
changes, such as the running statistics of batch norm, changes once; random numbers are those of the first time.
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
from tutelage.nn.model_profile import LayerInfo, first, trace
from tutelage.structures import Inputs
from tutelage.utils.compat import buffers_of, keeps_running_statistics, writes_in_place

SMALL = 1 / 8
"""A part of so much of the activations is not divided further."""

COVER = 0.9
"""A part is divided if its own parts hold so much of its activations."""


def recompute(student: FeatureExtractor, inputs: Inputs) -> None:
    """Keep a student's activations only at its blocks' inputs, until it is closed.

    Transformers without batch norm by their own switch, everything else by `blocks`.
    Raises: ModelError if the model has no blocks; in training, if a block's input is overwritten in place.
    """
    model = student.model
    own = getattr(model, "supports_gradient_checkpointing", False) and hasattr(model, "gradient_checkpointing_enable")
    if own and not any(keeps_running_statistics(m) for m in model.modules()):
        student.handles.append(_Switched(model))
        return
    names = blocks(model, inputs)
    if not names:
        raise ModelError(f"recompute: {type(model).__name__} has no blocks of several layers; use recompute=false.")
    student.handles += [_Recomputed(name, model.get_submodule(name)) for name in names]


def blocks(model: nn.Module, inputs: Inputs) -> list[str]:
    """The modules to compute again, each as a whole: those that repeat, divided until each holds little.

    Found from one forward: containers and stages are divided into what they repeat; a block of unlike parts is not.
    """
    layers = {layer.name: layer for layer in trace(model, first(inputs, 2))}
    leaves = {name: _size(layer) for name, layer in layers.items() if not any(_within(n, name) for n in layers)}
    return _divided(model, "", layers, leaves)


def _size(layer: LayerInfo) -> int:
    return math.prod(layer.shape) * layer.calls


def _within(name: str, outer: str) -> bool:
    return not outer or name.startswith(f"{outer}.")


def _held(name: str, leaves: dict[str, int]) -> int:
    return sum(size for leaf, size in leaves.items() if _within(leaf, name) or leaf == name)


def _divided(module: nn.Module, name: str, layers: dict[str, LayerInfo], leaves: dict[str, int]) -> list[str]:
    children = {f"{name}.{child}".removeprefix("."): m for child, m in module.named_children()}
    parts = {child: m for child, m in children.items() if sum(_within(leaf, child) for leaf in leaves) > 1}
    alike = isinstance(module, nn.Sequential) or max(Counter(map(type, parts.values())).values(), default=0) > 1
    whole, inner = _held(name, leaves), sum(_held(part, leaves) for part in parts)
    large = whole > SMALL * sum(leaves.values()) and inner >= COVER * whole and (alike or len(parts) == 1)
    if name in layers and not large:
        return [name]
    return [block for part, m in parts.items() for block in _divided(m, part, layers, leaves)]


class _Switched:
    """A transformers model whose own gradient checkpointing is on."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def remove(self) -> None:
        self.model.gradient_checkpointing_disable()


class _Recomputed:
    """A module's forward that is run again in the backward pass."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module, self.plain = name, module, module.forward
        self.own = vars(module).get("forward")
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.plain(*args, **kwargs)
        replay = _Replay(self.name, self.module, [*args, *kwargs.values()])
        contexts = nullcontext(), replay
        out = checkpoint(self.plain, *args, use_reentrant=False, context_fn=lambda: contexts, **kwargs)
        replay.check()
        return out

    def remove(self) -> None:
        del self.module.forward
        if self.own is not None:
            self.module.forward = self.own


class _Replay:
    """The second forward: on copies of the buffers as they were before the first, which thus change only once."""

    def __init__(self, name: str, module: nn.Module, given: Sequence[Any]) -> None:
        self.name = name
        self.given = [(x, writes_in_place(x)) for x in given if isinstance(x, Tensor)]
        self.buffers = [(own, _copies(own)) for m in module.modules() if (own := buffers_of(m))]

    def check(self) -> None:
        """Refuse inputs that aren't what they were."""
        if any(writes_in_place(x) != writes for x, writes in self.given):
            raise ModelError(
                f"recompute: what goes into block {self.name!r} is overwritten in place (an in-place ReLU or addition "
                "in it or after it); make that one `inplace=False`, or use recompute=false."
            )

    def __enter__(self) -> None:
        self.check()
        self.now = [dict(place) for place, _ in self.buffers]
        for place, before in self.buffers:
            place.update(_copies(before))

    def __exit__(self, *error: object) -> None:
        for (place, _), now in zip(self.buffers, self.now, strict=True):
            place.update(now)


def _copies(buffers: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if x is None else x.clone() for name, x in buffers.items()}
