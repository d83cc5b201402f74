"""IRG's edges and transformations against loops over samples."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.relation.irg import IRGEdge, IRGTransformation


def test_edges_read_like_the_paper() -> None:
    s, t = torch.randn(5, 2, 3, 3).double(), torch.randn(5, 7).double()
    tables = []
    for x in (s.flatten(1), t):
        squared = torch.tensor([[float((a - b) @ (a - b)) for b in x] for a in x]).double()
        tables.append(squared / squared.max())
    torch.testing.assert_close(IRGEdge()(s, t), (tables[0] - tables[1]).pow(2).mean(1))
    assert IRGEdge()(s[:1], t[:1]).item() == 0


def moved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The change between maps (B, 2, 4, 4) and (B, 4, 2, 2)."""
    changes = []
    for f, g in zip(first, second, strict=True):
        pooled = torch.stack(
            [torch.stack([f[c, i : i + 2, j : j + 2].mean() for i in (0, 2) for j in (0, 2)]) for c in (0, 1)]
        )
        halved = (g[0::2] + g[1::2]) / 2
        changes.append((pooled - halved.flatten(1)).pow(2).sum())
    return torch.stack(changes) / max(changes)


def test_transformations_read_like_the_paper() -> None:
    s = [torch.randn(5, 2, 4, 4).double(), torch.randn(5, 4, 2, 2).double()]
    t = [torch.randn(5, 2, 4, 4).double(), torch.randn(5, 4, 2, 2).double()]
    torch.testing.assert_close(IRGTransformation()(s, t), (moved(*s) - moved(*t)).pow(2))


def test_one_layer_transforms_nothing() -> None:
    with pytest.raises(ConfigError, match="two or more"):
        IRGTransformation()([torch.randn(2, 3, 4, 4)], [torch.randn(2, 3, 4, 4)])
