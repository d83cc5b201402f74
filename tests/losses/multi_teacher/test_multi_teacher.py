"""Losses of several teachers against plain implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import entr, log_softmax, rel_entr, softmax

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.multi_teacher.aekd import AEKD
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.losses.multi_teacher.camkd import CAMKD, CAMKDFeature
from tutelage.losses.multi_teacher.ebkd import EBKD

M, B, C = 3, 6, 5


def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(B, C).double() * 2, torch.randn(M, B, C).double() * 2, torch.randint(C, (B,))


def kls(s: torch.Tensor, t: torch.Tensor, temperature: float) -> np.ndarray:
    p = softmax(s.numpy() / temperature, axis=-1)
    return temperature**2 * rel_entr(softmax(t.numpy() / temperature, axis=-1), p).sum(-1)


def confidences(teacher_logits: np.ndarray, y: torch.Tensor) -> np.ndarray:
    errors = -np.stack([[log_softmax(z[b])[y[b]] for b in range(B)] for z in teacher_logits])
    return (1 - softmax(errors, axis=0)) / (len(teacher_logits) - 1)


@pytest.mark.parametrize("temperature", [4.0, 1.5])
def test_the_weights_of_each_kind(temperature: float) -> None:
    s, t, y = logits()
    plain = kls(s, t, temperature)
    h = entr(softmax(t.numpy(), axis=-1)).sum(-1)
    np.testing.assert_allclose(AVER(temperature)(s, t), plain, rtol=1e-9)
    np.testing.assert_allclose(EBKD(temperature)(s, t), (1 - h / h.sum(0)) * plain, rtol=1e-9)
    np.testing.assert_allclose(CAMKD(temperature)(s, t, targets=y), confidences(t.numpy(), y) * plain, rtol=1e-9)


@pytest.mark.parametrize("loss", [AVER(), EBKD(), AEKD()])
def test_a_list_equals_a_stack_and_positions_are_samples(loss: Loss) -> None:
    s, t, _ = logits()
    torch.testing.assert_close(loss(s, list(t)), loss(s, t))
    maps = loss(s.reshape(2, 3, C).mT, t.reshape(M, 2, 3, C).mT)
    torch.testing.assert_close(maps.flatten(-2), loss(s, t))


def test_camkd_feature() -> None:
    student, teacher = ([torch.randn(B, c, 2, 2).double() for c in (2, 3, 4)] for _ in range(2))
    heads, y = torch.randn(M, B, C).double(), torch.randint(C, (B,))
    values = CAMKDFeature()(student, teacher, teacher_head_logits=heads, targets=y)
    errors = np.stack([((s - t) ** 2).numpy().mean((1, 2, 3)) for s, t in zip(student, teacher, strict=True)])
    np.testing.assert_allclose(values, confidences(heads.numpy(), y) * errors, rtol=1e-9)


@pytest.mark.parametrize(("nu", "normalise"), [(-1.0, True), (0.6, True), (0.5, False), (1.0, False)])
def test_aekd_finds_the_common_direction(nu: float, normalise: bool) -> None:
    s, t, _ = logits()
    errors = softmax(s.numpy() / 4, axis=1) - softmax(t.numpy() / 4, axis=-1)
    g = errors.mean(1)
    unit = g / np.linalg.norm(g, axis=1, keepdims=True) if normalise else g / np.linalg.norm(g)
    bound = min(1.0, 1 / (M * max(nu, 1 / M)))
    optimum = minimize(
        lambda a: np.sum((a @ unit) ** 2),
        np.full(M, 1 / M),
        bounds=[(0, bound)] * M,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        tol=1e-14,
    )
    weights = optimum.x / np.linalg.norm(g, axis=1) if normalise else optimum.x
    expected = (weights / weights.sum()) @ kls(s, t, 4.0)
    np.testing.assert_allclose(AEKD(nu=nu, normalise=normalise)(s, t), expected, rtol=1e-3)


@pytest.mark.parametrize("loss", [AVER(), EBKD(), AEKD()])
def test_raises_for_different_shapes(loss: Loss) -> None:
    with pytest.raises(ConfigError, match=r"the student's logits are \(6, 5\)"):
        loss(torch.randn(B, C), torch.randn(M, B, 1))
    with pytest.raises(ConfigError, match="got 0"):
        loss(torch.randn(B, C), [])
    with pytest.raises(ConfigError, match=r"got 6 of shape \(5,\)"):
        loss(torch.randn(B, C), torch.randn(B, C))
