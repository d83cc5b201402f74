"""The true class and the other classes of a response."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError


def target_mask(logits: Tensor, targets: Tensor) -> Tensor:
    """Return a mask of the true class in logits (B, C, …), from class numbers (B, …).

    Raises: ConfigError if the targets aren't class numbers of that shape.
    """
    if targets.is_floating_point() or targets.shape != logits.shape[:1] + logits.shape[2:]:
        raise ConfigError(
            f"logits {tuple(logits.shape)} with {targets.dtype} targets {tuple(targets.shape)}: expected class numbers "
            f"{tuple(logits.shape[:1] + logits.shape[2:])}; don't mix labels (mixup, cutmix) with this loss."
        )
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, targets.unsqueeze(1), True)


def log_among_others(logits: Tensor, true: Tensor) -> Tensor:
    """Return log softmax over the classes other than the true one, along dim 1, with 0 at the true class."""
    return F.log_softmax(logits.masked_fill(true, torch.finfo(logits.dtype).min), dim=1).masked_fill(true, 0)
