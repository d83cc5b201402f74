"""Values in items of the user's Datasets: as tensors, and in words."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_tensor(y: Any) -> Tensor | None:
    """Return a value as a tensor on the CPU; None for text and objects."""
    if isinstance(y, np.ndarray | np.generic) and y.dtype.kind == "u":
        y = y.astype(np.int64)  # torch supports few unsigned types
    try:
        return torch.as_tensor(y).detach().cpu()
    except (TypeError, ValueError, RuntimeError):  # raised for None, text and objects
        return None


def describe_value(value: Any) -> str:
    """Describe a value in a few words, for messages."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        return f"a {str(value.dtype).removeprefix('torch.')} {kind} of shape {tuple(value.shape)}"
    if hasattr(value, "convert"):
        return f"a PIL image of mode {value.mode}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        more = ", …" if len(value) > 4 else ""
        return f"a {type(value).__name__} of {len(value)} ({', '.join(map(describe_value, value[:4]))}{more})"
    return f"{reprlib.repr(value)} ({type(value).__name__})"
