"""Log-probabilities of a teacher whose most likely tokens alone are stored."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import IGNORE_INDEX, Sequence


def select_top_tokens(
    loss: Any, tokens: Tensor, teacher: Tensor | None, ids: Tensor | None, values: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return ids and values (N, K) of the tokens: the stored ones, or the teacher's `top` largest log-probabilities.

    Raises: ConfigError if the batch provides neither.
    """
    if ids is not None and values is not None:
        return ids[tokens], values[tokens]
    if teacher is None:
        raise ConfigError(
            f"{type(loss).__name__} got neither the teacher's logits nor teacher_topk_ids with teacher_topk_values: "
            "provide one or the other."
        )
    largest = F.log_softmax(teacher[tokens], dim=1).topk(min(loss.top, teacher.shape[-1]), dim=1)
    return largest.indices, largest.values


def counted_positions(loss: Sequence, student: Tensor, targets: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return the positions (B, T) that have a target and are in the mask."""
    tokens = loss.tokens(student, targets)
    return tokens if mask is None else tokens & (mask != 0)


def log_among_top(values: Tensor, log_target: bool, missing: str, temperature: float) -> Tensor:
    """Return log-probabilities (N, K) at a temperature, from log-probabilities or logits (N, K) of the top tokens.

    missing: the probability of the other tokens: "zero", so that the top ones sum to 1, or "symmetric_uniform", the
    rest of the probability.
    """
    values = values / temperature
    if missing == "zero" or not log_target:
        return F.log_softmax(values, dim=1)
    if temperature == 1:
        return values
    rest = (1 - (values * temperature).exp().sum(1, keepdim=True)).clamp(0, 1) ** (1 / temperature)
    return values - (values.exp().sum(1, keepdim=True) + rest).log()


def log_rest(log_top: Tensor) -> Tensor:
    """Return the log of the probability outside the top tokens, (N,)."""
    eps = max(1e-8, torch.finfo(log_top.dtype).eps)
    return torch.log1p(-log_top.exp().sum(1).clamp(eps, 1 - eps))


def append_log_rest(log_top: Tensor) -> Tensor:
    """Append the log-probability of all other tokens to log-probabilities (N, K)."""
    return torch.cat([log_top, log_rest(log_top)[:, None]], dim=1)


def preference_mask(probabilities: Tensor, eps: float) -> Tensor:
    """Return a mask (N, K, K) where the teacher prefers token k to token l, both of a probability above eps."""
    likely = probabilities > eps
    return (probabilities[:, :, None] > probabilities[:, None] + eps) & likely[:, :, None] & likely[:, None]


def topk_example() -> tuple[Tensor, None, dict[str, Any]]:
    """Return example logits of 9 tokens and the teacher's top 3 log-probabilities."""
    targets = torch.randint(9, (6, 5))
    targets[:, 0] = IGNORE_INDEX
    values, ids = F.log_softmax(torch.randn(6, 5, 9), dim=-1).topk(3)
    return torch.randn(6, 5, 9), None, {"targets": targets, "teacher_topk_ids": ids, "teacher_topk_values": values}
