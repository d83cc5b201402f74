"""What several losses take of a teacher of whom only the most likely tokens are kept."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import IGNORED, Sequence


def top_tokens(
    loss: Any, tokens: Tensor, teacher: Tensor | None, ids: Tensor | None, values: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Ids and values (N, K) of the tokens: those kept, or the `top` largest of the teacher's log-probabilities.

    Raises: ConfigError if there is neither.
    """
    if ids is not None and values is not None:
        return ids[tokens], values[tokens]
    if teacher is None:
        raise ConfigError(
            f"{type(loss).__name__} got neither the teacher's logits nor teacher_topk_ids with teacher_topk_values; "
            "give one or the other."
        )
    found = F.log_softmax(teacher[tokens], dim=1).topk(min(loss.top, teacher.shape[-1]), dim=1)
    return found.indices, found.values


def counted(loss: Sequence, student: Tensor, targets: Tensor | None, mask: Tensor | None) -> Tensor:
    """The positions (B, T) that have a target and are in the mask."""
    tokens = loss.tokens(student, targets)
    return tokens if mask is None else tokens & (mask != 0)


def log_among_top(values: Tensor, log_target: bool, missing: str, temperature: float) -> Tensor:
    """Log-probabilities (N, K) at a temperature, from log-probabilities or logits (N, K) of the top tokens.

    missing: what the other tokens have: "zero", so that the top ones sum to 1, or "symmetric_uniform": what is left.
    """
    values = values / temperature
    if missing == "zero" or not log_target:
        return F.log_softmax(values, dim=1)
    if temperature == 1:
        return values
    left = (1 - (values * temperature).exp().sum(1, keepdim=True)).clamp(0, 1) ** (1 / temperature)
    return values - (values.exp().sum(1, keepdim=True) + left).log()


def log_rest(log_top: Tensor) -> Tensor:
    """log of the probability outside the top tokens, (N,)."""
    eps = max(1e-8, torch.finfo(log_top.dtype).eps)
    return torch.log1p(-log_top.exp().sum(1).clamp(eps, 1 - eps))


def with_rest(log_top: Tensor) -> Tensor:
    """Log-probabilities (N, K) with one more: of all other tokens."""
    return torch.cat([log_top, log_rest(log_top)[:, None]], dim=1)


def preferred(probabilities: Tensor, eps: float) -> Tensor:
    """Whether the teacher prefers token k to token l, (N, K, K), both of a probability above eps."""
    likely = probabilities > eps
    return (probabilities[:, :, None] > probabilities[:, None] + eps) & likely[:, :, None] & likely[:, None]


def kept_example() -> tuple[Tensor, None, dict[str, Any]]:
    """Logits of 9 tokens and the teacher's top 3 log-probabilities."""
    targets = torch.randint(9, (6, 5))
    targets[:, 0] = IGNORED
    values, ids = F.log_softmax(torch.randn(6, 5, 9), dim=-1).topk(3)
    return torch.randn(6, 5, 9), None, {"targets": targets, "teacher_topk_ids": ids, "teacher_topk_values": values}
