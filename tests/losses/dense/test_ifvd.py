"""IFVD against loops over positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.ifvd import IFVD
from tutelage.losses.functional.feature_maps import labels_at


def similarity(x: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The same for one sample (C, H, W) with labels (H, W)."""
    out = np.ones(labels.shape)
    for i, j in np.ndindex(labels.shape):
        if 0 <= labels[i, j] < classes:
            f, p = x[:, i, j], x[:, labels == labels[i, j]].mean(1)
            out[i, j] = f @ p / np.linalg.norm(f) / np.linalg.norm(p)
    return out


def test_equals_the_formula() -> None:
    s, t = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 6, 4, 5).double()
    labels = torch.randint(4, (2, 4, 5))
    labels[0, 0, :2], labels[1, 2] = 255, -1
    for classes in (4, 3):
        values = IFVD(num_classes=classes)(s, t, targets=labels)
        for b in range(2):
            a, c = (similarity(x[b].numpy(), labels[b].numpy(), classes) for x in (s, t))
            np.testing.assert_allclose(values[b], (a - c) ** 2, rtol=1e-4, atol=1e-7)  # 1e-6 is added to the count


def test_labels_are_taken_at_the_nearest_position() -> None:
    labels = torch.arange(16).reshape(1, 4, 4) * 100
    feature = torch.randn(1, 3, 2, 2, dtype=torch.bfloat16)
    assert labels_at(feature, labels).tolist() == [[[0, 200], [800, 1000]]]


def test_raises_for_targets_without_positions() -> None:
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ConfigError, match="segmentation"):
        IFVD()(x, x, targets=torch.tensor([0, 1]))
