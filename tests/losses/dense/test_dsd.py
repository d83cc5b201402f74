"""DSD against loops over layers and classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.losses.dense.dsd import DSD


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def residual(layers: list[torch.Tensor], b: int, m: int, n: int) -> np.ndarray:
    maps = [unit((layers[i][b].numpy() ** 2).mean(0).flatten()) for i in (m, n)]
    return unit(maps[1] - maps[0])


def classes(scores: torch.Tensor) -> np.ndarray:
    """The same for one sample (K, 5, 5), with separate patches for the last row and column."""
    x = scores.numpy()
    pooled = np.array([[[k[i : i + 2, j : j + 2].mean() for j in (0, 2, 4)] for i in (0, 2, 4)] for k in x])
    p = np.exp(pooled.reshape(len(x), -1) / 4)
    p /= p.sum(1, keepdims=True)
    return p @ p.T


@pytest.mark.parametrize("options", [{}, {"psd_weight": 2.0, "csd_weight": 3.0}])
def test_equals_the_formula(options: dict[str, float]) -> None:
    s, t = ([torch.randn(2, c, 5, 5).double() for c in channels] for channels in ((3, 2, 4), (6, 5, 4)))
    parts = DSD(**options)(s, t)
    psd, csd = options.get("psd_weight", 1000), options.get("csd_weight", 10)
    for b in range(2):
        for k, (m, n) in enumerate(((0, 1), (0, 2), (1, 2))):
            expected = psd * (residual(s, b, m, n) - residual(t, b, m, n)) ** 2
            np.testing.assert_allclose(parts["psd"][k, b], expected, rtol=1e-8)
        np.testing.assert_allclose(parts["csd"][b], csd * (classes(s[-1][b]) - classes(t[-1][b])) ** 2, rtol=1e-8)


def test_one_layer_has_no_residual() -> None:
    assert DSD()([torch.randn(2, 4, 5, 5)], [torch.randn(2, 4, 5, 5)]).keys() == {"csd"}
