"""FGFI against a plain implementation, per anchor."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.fgfi import FGFI


def iou(a: list[float], b: list[float]) -> float:
    width, height = (max(min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + 1, 0) for k in (0, 1))
    area = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return width * height / (area - width * height)


def anchor(i: int, j: int, stride: float, size: float, ratio: float) -> list[float]:
    x, y, w, h = (j + 0.5) * stride, (i + 0.5) * stride, size / math.sqrt(ratio), size * math.sqrt(ratio)
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


@pytest.mark.parametrize(
    "options", [{"sizes": (12.0, 20.0)}, {"threshold": 0.8, "sizes": (10.0,), "ratios": (1.0, 3.0)}]
)
def test_equals_the_formula(options: dict[str, tuple[float, ...]]) -> None:
    student, teacher, inputs = (
        torch.randn(3, 2, 4, 6).double(),
        torch.randn(3, 5, 4, 6).double(),
        torch.zeros(3, 3, 32, 48),
    )
    boxes = torch.zeros(3, 2, 4)  # a box of one pixel is left out
    boxes[0] = torch.tensor([[2.0, 3.0, 15.0, 12.0], [20.0, 5.0, 45.0, 30.0]])
    boxes[1, 0] = torch.tensor([30.0, 20.0, 40.0, 31.0])
    loss = FGFI(**options)
    loss.build(student, teacher, 0)
    s = torch.nn.functional.conv2d(student, loss.adapt.weight, loss.adapt.bias, padding=1).relu()
    kinds = [(size, ratio) for size in loss.sizes for ratio in loss.ratios]
    values = loss(student, teacher, boxes=boxes, inputs=inputs)
    anchors = torch.tensor([anchor(i, j, 8, *kind) for i in range(4) for j in range(6) for kind in kinds])
    torch.testing.assert_close(loss(student, teacher, boxes=boxes, inputs=inputs, anchors=anchors), values)
    totals, counts = [], []
    for b, real in enumerate((2, 1, 0)):
        near = set()
        for box in boxes[b, :real].tolist():
            overlaps = {(i, j, k): iou(anchor(i, j, 8, *k), box) for i in range(4) for j in range(6) for k in kinds}
            near |= {key[:2] for key, overlap in overlaps.items() if overlap > loss.threshold * max(overlaps.values())}
        total = sum((s[b, :, i, j] - teacher[b, :, i, j]).pow(2).sum() for i, j in near)
        totals.append(torch.as_tensor(total))
        counts.append(len(near))
        assert 0 < len(near) < 24 or real == 0
    torch.testing.assert_close(values.mean(), sum(totals) / (2 * sum(counts)))  # N is the mean over the batch
    torch.testing.assert_close(values, torch.stack(totals) * 3 / (2 * sum(counts)))


def test_raises_for_invalid_arguments() -> None:
    x = torch.randn(2, 3, 4, 4)
    loss = FGFI()
    loss.build(x, x, 0)
    with pytest.raises(ConfigError, match=r"expected \(B, M, 4\)"):
        loss(x, x, boxes=torch.zeros(1, 2, 4), inputs=x)
    with pytest.raises(ConfigError, match=r"expected \(H·W·A, 4\)"):
        loss(x, x, boxes=torch.zeros(2, 2, 4), inputs=x, anchors=torch.zeros(17, 4))
    with pytest.raises(ConfigError, match="threshold=1"):
        FGFI(threshold=1)
    with pytest.raises(ConfigError, match="a number above 0"):
        FGFI(sizes=(0.0,))
