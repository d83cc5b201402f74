"""The knowledge quality against loops over pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.errors import DataError
from tutelage.nn.knowledge_quality import knowledge_quality


def shares(x: np.ndarray) -> np.ndarray:
    values = np.linalg.eigvalsh(x.T @ x)[::-1].clip(0)
    return values[: min(x.shape)] / values.sum()


def axes(share: np.ndarray, kept: float) -> int:
    count = 0
    while share[:count].sum() < kept and count < len(share):
        count += 1
    return max(count, 1)


def slow(x: np.ndarray, y: list[int], samples: int, kept: float) -> tuple[float, float, float]:
    classes = [[i for i in range(len(x)) if y[i] == k] for k in sorted(set(y))]

    def cos(i: int, j: int) -> float:
        return abs(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))

    intra = [[cos(i, j) for i in c for j in c if i < j] for c in classes]
    inter = [np.mean([cos(i, j) for i in c for j in d]) for c in classes for d in classes if c is not d]
    separation = np.mean([np.mean(p) for p in intra]) - np.mean(inter)
    share = [shares(x[c] - x[c].mean(0)) for c in classes]
    entropy = np.mean([-sum(p * math.log(p) for p in s if p > 0) for s in share])
    information = (1 - np.mean([min(p) for p in intra])) * entropy / math.log(5)
    gap = np.mean([min(np.linalg.norm(x[i] - x[j]) for i in c for j in range(len(x)) if j not in c) for c in classes])
    size = np.mean([np.mean([np.linalg.norm(x[i]) for i in c]) for c in classes])
    return separation, information, 2 * gap / size * (samples / math.pi) ** (1 / axes(shares(x), kept))


@pytest.mark.parametrize(("samples", "kept"), [(None, 0.95), (50000, 0.7)])
def test_equals_the_paper(samples: int | None, kept: float) -> None:
    y = torch.tensor([0] * 7 + [1] * 5 + [4] * 6)[torch.randperm(18)]
    x = torch.randn(18, 3, 2) + 2 * torch.randn(5, 3, 2)[y]
    quality = knowledge_quality(x, y, samples, kept)
    s, i, e = slow(x.flatten(1).double().numpy(), y.tolist(), samples or 18, kept)
    actual = quality.separation, quality.information, quality.efficiency
    assert actual == pytest.approx((s, i, e), rel=1e-6)
    assert quality.value == pytest.approx(s + math.sqrt(i * e), rel=1e-6)


def test_separated_classes_have_a_higher_value() -> None:
    y, noise, centres = torch.arange(40) % 4, torch.randn(40, 16), torch.randn(4, 16)
    near, far = (knowledge_quality(noise + gap * centres[y], y) for gap in (0.0, 3.0))
    assert far.separation > near.separation + 0.3
    assert far.value > near.value


def test_features_without_direction_have_no_quality() -> None:
    assert knowledge_quality(torch.zeros(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])).value == 0


def test_refuses() -> None:
    x = torch.randn(4, 3)
    for y in (torch.tensor([0, 0, 0, 1]), torch.zeros(4, dtype=torch.long), torch.zeros(3, dtype=torch.long)):
        with pytest.raises(DataError, match="expected"):
            knowledge_quality(x, y)
