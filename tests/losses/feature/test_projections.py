"""Losses with one learned projection: NORM, V_kD, WKD-F, PAD."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.norm import NORM
from tutelage.losses.feature.pad import PAD
from tutelage.losses.feature.vkd import VKD
from tutelage.losses.feature.wkd import WKDF


@pytest.mark.parametrize("options", [{}, {"segments": 3}])
def test_norm_matches_each_segment(options: dict[str, int]) -> None:
    student, teacher = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 2, 2).double()
    loss = NORM(**options)
    loss.build(student, teacher, 0)
    values = loss(student, teacher)
    assert values.shape == (2, options.get("segments", 8), 5, 2, 2)
    for i in range(values.shape[1]):
        weight = loss.expand.weight[5 * i : 5 * i + 5, :, 0, 0]
        pooled = torch.nn.functional.max_pool2d(torch.einsum("dc,bchw->bdhw", weight, student), 2)
        torch.testing.assert_close(values[:, i], loss.segments * (pooled - teacher) ** 2)
    with pytest.raises(ConfigError, match="segments=0"):
        NORM(segments=0)


@pytest.mark.parametrize(("teacher_size", "student_size"), [(8, 4), (7, 3), (5, 4), (4, 4)])
def test_norm_takes_the_largest_of_a_larger_teacher(teacher_size: int, student_size: int) -> None:
    student, teacher = (
        torch.randn(2, 3, student_size, student_size).double(),
        torch.randn(2, 5, teacher_size, teacher_size).double(),
    )
    loss = NORM(segments=2)
    loss.build(student, teacher, 0)
    size = teacher_size // student_size  # a remainder is dropped, as in the authors' pooling
    cells = teacher[..., : size * student_size, : size * student_size] if size > 1 else teacher
    pooled = torch.nn.functional.adaptive_max_pool2d(cells, student_size)
    expected = 2 * (loss.expand(student).unflatten(1, (2, 5)) - pooled[:, None]) ** 2
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (4, 4)])
def test_vkd_projects_orthogonally(widths: tuple[int, int]) -> None:
    student, teacher = (torch.randn(6, width).double() for width in widths)
    loss = VKD()
    loss.build(student, teacher, 0)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        loss(student, teacher).mean().backward()
        optimiser.step()
    weight = loss.project.weight.detach()
    small = weight.T @ weight if widths[0] <= widths[1] else weight @ weight.T
    torch.testing.assert_close(small, torch.eye(min(widths)).double(), rtol=0, atol=1e-5)
    for s, t, values in zip(student, teacher, loss(student, teacher), strict=True):
        standardised = (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt()
        for i, value in enumerate(values):
            gap = abs(float(weight[i] @ s - standardised[i]))
            assert value.item() == pytest.approx(gap**2 / 2 if gap < 1 else gap - 0.5, rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"mean_weight": 1.0, "eps": 0.1}, {"grid": 2}, {"grid": 3}])
def test_wkd_f_is_the_distance_of_gaussians(options: dict[str, Any]) -> None:
    student, teacher = torch.randn(3, 4, 5, 7).double(), torch.randn(3, 4, 6, 6).double()
    weight, eps, grid = options.get("mean_weight", 4.0), options.get("eps", 1e-5), options.get("grid", 1)
    values = WKDF(**options)(student, teacher)

    def cells(x: torch.Tensor) -> list[torch.Tensor]:
        def cut(y: torch.Tensor, dim: int, k: int) -> torch.Tensor:
            n = y.shape[dim]
            first, end = math.floor(k * n / grid), math.ceil((k + 1) * n / grid)
            return y.narrow(dim, first, end - first)

        return [cut(cut(x, 0, i), 1, j) for i in range(grid) for j in range(grid)]

    for b in range(3):
        total = 0.0
        for c in range(4):
            for student_cell, teacher_cell in zip(cells(student[b, c]), cells(teacher[b, c]), strict=True):
                (m, s), (n, t) = ((x.mean(), math.sqrt(x.var() + eps)) for x in (student_cell, teacher_cell))
                total += (weight * (m - n) ** 2 + (s - t) ** 2) / grid**2
        torch.testing.assert_close(values[b], total)
    with pytest.raises(ConfigError, match="equal shapes"):
        WKDF()(student[:, :2], teacher)


@pytest.mark.parametrize("options", [{}, {"eps": 0.5}])
def test_pad_weighs_by_certainty(options: dict[str, float]) -> None:
    student, teacher = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    loss = PAD(**options)
    loss.build(student, teacher, 0)
    linear, _ = loss.log_variance
    values = loss(student, teacher)
    raw = (student @ linear.weight.T + linear.bias).detach()
    scaled = (raw - raw.mean(0)) / (raw.var(0, correction=0) + 1e-5).sqrt()
    for b in range(3):
        for d in range(4):
            variance = math.exp(scaled[b, d]) + loss.eps
            expected = float(student[b, d] - teacher[b, d]) ** 2 / variance + scaled[b, d].item()
            assert values[b, d].item() == pytest.approx(expected, rel=1e-9)
