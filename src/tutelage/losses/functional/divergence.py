"""Divergences between distributions along dimension 1, one value per position."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def softened_kl(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0, eps: float = 0.0) -> Tensor:
    """Return T² · KL(softmax(t/T) + ε ‖ softmax(s/T)) along dim 1; ε is added without renormalising.

    Args:
        student: logits s (B, C, …).
        teacher: logits t (B, C, …).
        temperature: T, one number or a tensor that broadcasts with (B, …).
        eps: ε.

    Returns: (B, …).
    """
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    if eps:
        log_t = log_plus(log_t, eps)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(1) * temperature**2


def soft_ce(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return −Σ_c softmax(t/T)_c · log softmax(s/T)_c along dim 1.

    Args:
        student: logits s (B, C, …).
        teacher: logits t (B, C, …).
        temperature: T, one number or a tensor that broadcasts with (B, C, …).

    Returns: (B, …).
    """
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1), reduction="none")


def log_plus(log_x: Tensor, eps: float) -> Tensor:
    """Return log(x + ε) from log x, computed in the logarithm; ε is 0 or above."""
    return torch.logaddexp(log_x, log_x.new_tensor(math.log(eps) if eps else -math.inf))


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p ‖ q) = Σ p·(log p − log q) along dim 1, from log p and log q."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def log_mixture(log_p: Tensor, log_q: Tensor, weight: float | Tensor) -> Tensor:
    """Return log(w·p + (1−w)·q) from log p and log q; w in [0, 1] is a number or a tensor that broadcasts."""
    w = torch.as_tensor(weight, dtype=log_p.dtype, device=log_p.device)
    return torch.logaddexp(log_p + w.log(), log_q + torch.log1p(-w))
