"""Networks without their classifier, whose response is their pooled embedding."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.models.base import ModelRequest
from tutelage.nn.feature_extractor import compute_response, eval_no_grad


def without_classifier(model: nn.Module, request: ModelRequest) -> nn.Module:
    """Replace the classifier, the linear layer that computes the response, by the identity.

    Raises: ModelError if the response isn't that of a linear layer.
    """
    outputs: list[tuple[str, Tensor]] = []
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    handles = [
        module.register_forward_hook(lambda m, args, out, name=name: outputs.append((name, out)))
        for name, module in layers.items()
    ]
    try:
        with eval_no_grad(model):
            response = compute_response(model, torch.zeros(1, request.channels, *(request.size or (64, 64))))
    finally:
        for handle in handles:
            handle.remove()
    names = [name for name, out in outputs if out.shape == response.shape and bool((out == response).all())]
    if not names:
        name = request.name or type(model).__name__
        raise ModelError(f"{name} has no linear classifier that could be removed: use a network of timm.")
    model.set_submodule(names[-1], nn.Identity())
    return model


def resize_positions(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a timm model, with position embeddings of another image size interpolated to its own."""
    own, positions = model.state_dict(), "pos_embed"
    convert: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    differs = positions in own and positions in state and own[positions].shape != state[positions].shape
    return dict(convert(dict(state), model) if differs and convert is not None else state)
