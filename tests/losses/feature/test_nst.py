"""NST against loops over pairs of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.feature.nst import NST


def plain_nst(s: np.ndarray, t: np.ndarray) -> float:
    def mean_kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean([(a @ b) ** 2 for a in x for b in y]))

    s, t = (x.reshape(len(x), -1) for x in (s, t))
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t))
    return mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t)


@pytest.mark.parametrize(("channels", "side"), [((2, 3), 4), ((6, 9), 2), ((5, 7), 1)])
def test_equals_the_formula(channels: tuple[int, int], side: int) -> None:
    """With more positions than channels, and with fewer."""
    s, t = (torch.randn(3, c, side, side).double() for c in channels)
    expected = [plain_nst(s[b].numpy(), t[b].numpy()) for b in range(3)]
    np.testing.assert_allclose(NST()(s, t), expected, rtol=1e-9, atol=1e-12)


def test_pools_the_larger_map() -> None:
    s, t = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(NST()(s, t), NST()(F.avg_pool2d(s, 2), t))
