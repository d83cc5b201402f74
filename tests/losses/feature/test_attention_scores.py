"""Attention scores against a plain implementation, per head and query."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.feature.attention_scores import AttentionCE, AttentionMSE

MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])


def scores(heads: int = 3) -> Tensor:
    return torch.randn(2, heads, 4, 4).double()


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize("heads", ["each", "mean", "sum"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_mse_equals_the_formula(heads: str, mask: Tensor | None) -> None:
    student, teacher = scores(), scores()
    s, t = student, teacher
    if heads != "each":
        s, t = (getattr(x, heads)(1, keepdim=True) for x in (student, teacher))
    kept = np.ones((2, 4)) if mask is None else mask.numpy()
    squares = [
        (s[b, h, i, j] - t[b, h, i, j]).item() ** 2
        for b in range(2)
        for h in range(s.shape[1])
        for i in range(4)
        for j in range(4)
        if kept[b, i] and kept[b, j]
    ]
    assert AttentionMSE(heads=heads)(student, teacher, mask=mask).mean().item() == pytest.approx(np.mean(squares))


@pytest.mark.parametrize("heads", ["each", "mean", "sum"])
@pytest.mark.parametrize("mask", [None, MASK])
def test_ce_equals_the_formula(heads: str, mask: Tensor | None) -> None:
    student, teacher = scores(), scores()
    s, t = student, teacher
    if heads != "each":
        s, t = (getattr(x, heads)(1, keepdim=True) for x in (student, teacher))
    kept = np.ones((2, 4)) if mask is None else mask.numpy()
    entropies = []
    for b in range(2):
        for h in range(s.shape[1]):
            for i in range(4):
                p, q = softmax(t[b, h, i].numpy()), softmax(s[b, h, i].numpy())
                if kept[b, i]:
                    entropies.append(-sum(p[j] * np.log(q[j]) for j in range(4) if kept[b, j]))
    assert AttentionCE(heads=heads)(student, teacher, mask=mask).mean().item() == pytest.approx(np.mean(entropies))


def test_scores_at_the_floor_are_masked_keys() -> None:
    student, teacher = scores(), scores()
    student[..., 3] = teacher[..., 3] = -10000.0
    squares = (student - teacher)[..., :3].pow(2)
    assert AttentionMSE()(student, teacher).sum().item() == pytest.approx(squares.sum().item())
    clipped = student.clamp_min(0) - teacher.clamp_min(0)
    assert AttentionMSE(floor=0)(student, teacher).sum().item() == pytest.approx(clipped.pow(2).sum().item())
    log_q = student.log_softmax(3)
    p = teacher.softmax(3) * (teacher > 0)
    assert AttentionCE(floor=0)(student, teacher).sum().item() == pytest.approx(-(p * log_q)[..., :3].sum().item())


@pytest.mark.parametrize("kind", [AttentionMSE, AttentionCE])
@pytest.mark.parametrize("mask", [None, MASK])
def test_keys_of_minus_infinity_do_no_harm(kind: type, mask: Tensor | None) -> None:
    student, teacher = scores(), scores()
    away = (MASK == 0)[:, None, None, :]
    s = student.masked_fill(away, -torch.inf).requires_grad_()
    value = kind()(s, teacher.masked_fill(away, -torch.inf), mask=mask).mean()
    (gradient,) = torch.autograd.grad(value, s)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_joined_heads_may_differ_in_number() -> None:
    assert AttentionMSE(heads="mean")(scores(3), scores(5)).shape == (2, 1, 4, 4)
    with pytest.raises(ConfigError, match="expected equal shapes"):
        AttentionMSE()(scores(3), scores(5))
    for kind in (AttentionMSE, AttentionCE):
        with pytest.raises(ConfigError, match="expected 'each', 'mean' or 'sum'"):
            kind(heads="max")
