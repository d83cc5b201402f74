"""The cosine distance of patches against its formula, and between a map and a grid of tokens."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.patch_cosine import PatchCosine


def test_every_position_compares_directions() -> None:
    s, t = torch.randn(2, 5, 3, 4).double(), 2 * torch.randn(2, 5, 3, 4).double()
    expected = torch.stack([
        1 - (s[:, :, i, j] * t[:, :, i, j]).sum(1) / s[:, :, i, j].norm(dim=1) / t[:, :, i, j].norm(dim=1)
        for i in range(3) for j in range(4)
    ], dim=1).unflatten(1, (3, 4))  # fmt: skip
    torch.testing.assert_close(PatchCosine()(s, t), expected)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected equal shapes"):
        PatchCosine()(torch.randn(2, 5, 3, 3), torch.randn(2, 5, 4, 4))
