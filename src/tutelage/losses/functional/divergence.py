"""Divergences between distributions along dimension 1, one value for each position."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def softened_kl(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0, eps: float = 0.0) -> Tensor:
    """T² · KL(softmax(t/T) + ε ‖ softmax(s/T)) along dim 1 of (B, C, …), not renormalised; returns (B, …)."""
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    if eps:
        log_t = log_plus(log_t, eps)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(1) * temperature**2


def soft_ce(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """−Σ_c softmax(t/T)_c · log softmax(s/T)_c along dim 1 of (B, C, …); returns (B, …)."""
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1), reduction="none")


def log_plus(log_x: Tensor, eps: float) -> Tensor:
    """log(x + ε) from log x, without leaving the logarithm; ε = 0 or more."""
    return torch.logaddexp(log_x, log_x.new_tensor(math.log(eps) if eps else -math.inf))


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ p·(log p − log q) along dim 1, from logarithms."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def log_mixture(log_p: Tensor, log_q: Tensor, weight: float | Tensor) -> Tensor:
    """log(w·p + (1−w)·q) from logarithms, w from 0 to 1: a number, or a tensor that goes with them."""
    w = torch.as_tensor(weight, dtype=log_p.dtype, device=log_p.device)
    return torch.logaddexp(log_p + w.log(), log_q + torch.log1p(-w))
