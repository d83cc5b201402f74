"""FGD against loops over samples, boxes and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.fgd import FGD, Context

BOXES = torch.tensor(
    [[[3.0, 5.0, 20.0, 30.0], [10.0, 10.0, 40.0, 27.0]], [[50.0, 0.0, 90.0, 9.0], [0.0, 0.0, -1.0, -1.0]]]
).double()


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def attention(x: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The same for one sample (C, H, W)."""
    where = softmax(np.abs(x).mean(0).flatten() / temperature).reshape(x.shape[1:]) * x[0].size
    return where, softmax(np.abs(x).mean((1, 2)) / temperature) * len(x)


def foreground(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """For an image of 64×80."""
    cells = np.zeros((height, width))
    for x1, y1, x2, y2 in boxes:
        left, right = math.floor(x1 / 80 * width), math.ceil(x2 / 80 * width)
        top, bottom = math.floor(y1 / 64 * height), math.ceil(y2 / 64 * height)
        for i in range(top, min(bottom, height - 1) + 1):
            for j in range(left, min(right, width - 1) + 1):
                cells[i, j] = max(cells[i, j], 1 / (bottom + 1 - top) / (right + 1 - left))
    return cells


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "alpha": 1.6e-3, "beta": 8e-4, "gamma": 2e-3, "lambda_": 8e-6}]
)
def test_equals_the_formula(options: dict[str, float]) -> None:
    loss, s, t = FGD(**options), torch.randn(2, 4, 6, 7).double(), torch.randn(2, 4, 6, 7).double()
    loss.build(s, t, 10)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    parts = loss(s, t, boxes=BOXES, inputs=torch.empty(2, 3, 64, 80))
    weights = [options.get(k, v) for k, v in (("alpha", 1e-3), ("beta", 5e-4), ("gamma", 1e-3), ("lambda_", 5e-6))]
    for b, real in enumerate((2, 1)):
        (where_s, channel_s), (where_t, channel_t) = (attention(x[b].numpy(), loss.temperature) for x in (s, t))
        cells = foreground(BOXES[b, :real].numpy(), 6, 7)
        outside = (cells == 0) / (cells == 0).sum()
        square = (s[b] - t[b]).numpy() ** 2 * channel_t[:, None, None] * where_t
        drift = np.abs(where_s - where_t).sum() + np.abs(channel_s - channel_t).sum()
        context = s[b] + loss.context_s(s)[b] - t[b] - loss.context_t(t)[b]
        expected = [(square * cells).sum(), (square * outside).sum(), drift, float(context.detach().pow(2).sum())]
        for part, weight, value in zip(parts.values(), weights, expected, strict=True):
            assert part[b].item() == pytest.approx(weight * value)


def test_context_attends_to_positions() -> None:
    block, x = Context(4).double(), torch.randn(1, 4, 2, 3).double()
    with torch.no_grad():
        block.mask.weight.mul_(100)  # so that attention is on a single position
        best = block.mask(x).flatten().argmax()
        torch.nn.init.normal_(block.add[3].weight)
        torch.testing.assert_close(block(x), block.add(x.flatten(2)[..., best, None, None]))


def test_different_channels_are_aligned() -> None:
    loss, s, t = FGD(), torch.randn(2, 3, 6, 7), torch.randn(2, 4, 6, 7)
    loss.build(s, t, 10)
    values = loss(s, t, boxes=BOXES.float(), inputs=torch.empty(2, 3, 64, 80))
    assert all(part.shape == (2,) and part.isfinite().all() for part in values.values())


def test_raises_for_boxes_that_do_not_fit() -> None:
    loss, x = FGD(), torch.randn(2, 4, 6, 7)
    loss.build(x, x, 10)
    with pytest.raises(ConfigError, match="expected \\(B, M, 4\\)"):
        loss(x, x, boxes=torch.rand(5, 4), inputs=torch.empty(2, 3, 64, 80))
