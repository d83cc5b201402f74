"""HCL against loops over sizes and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.losses.feature.hcl import HCL


def pooled(x: np.ndarray, size: int) -> np.ndarray:
    """Return means over the cells of torch's adaptive pooling, (C, H, W) → (C, size, size)."""
    _, height, width = x.shape
    out = np.zeros((len(x), size, size))
    for i in range(size):
        for j in range(size):
            rows = slice(i * height // size, math.ceil((i + 1) * height / size))
            columns = slice(j * width // size, math.ceil((j + 1) * width / size))
            out[:, i, j] = x[:, rows, columns].mean((1, 2))
    return out


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
def test_equals_the_authors_code(side: int) -> None:
    s, t = torch.randn(3, 2, side, side).double(), torch.randn(3, 2, side, side).double()
    values = HCL()(s, t)
    for b in range(3):
        loss, weight, total = ((s[b] - t[b]) ** 2).mean().item(), 1.0, 1.0
        for size in (4, 2, 1):
            if size < side:
                weight /= 2
                loss += weight * ((pooled(s[b].numpy(), size) - pooled(t[b].numpy(), size)) ** 2).mean()
                total += weight
        assert values[b].item() == pytest.approx(loss / total, rel=1e-9)
