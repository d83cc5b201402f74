"""A pyramid that refines a network's features, deep to shallow and back, and classifies with what comes out.

It helps to train and is left out of what is exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.nn.blocks import BatchNorm, conv_bn
from tutelage.nn.connectors import as_map

EPS = 1e-6


class Pyramid(nn.Module):
    """One bidirectional feature pyramid whose l-th level has width·C_l channels, C_l being the l-th feature's.

    P_L = lat(F_L);  P_l = fuse(lat(F_l), up(P_{l+1}));  R_1 = P_1;  R_l = fuse(lat'(F_l), P_l, down(R_{l−1})), without
    P_L for l = L. The logits are a linear classifier's of R_L's mean over positions. lat, lat': 1×1 convolution, batch
    norm, ReLU; up: nearest neighbour to the size of F_l, down: the largest of each window, then the like of lat.

    Made from an example of the features, two or more, shallow to deep: maps (B, C_l, H_l, W_l).
    Paper: Ji, Shin, Hwang, Park, Moon. CVPR 2021. arXiv:2103.08273 (BiFPNc). Sizes may go down by any step, where the
    authors' code halves them, by windows of 3 × 3.
    """

    def __init__(self, features: Sequence[Tensor], classes: int, width: int = 2, depth: int = 2) -> None:
        super().__init__()
        maps = [as_map(feature) for feature in features]
        given = [x.shape[1] for x in maps]
        wide = [width * channels for channels in given]
        self.lateral = nn.ModuleList(_to(c, w) for c, w in zip(given, wide, strict=True))
        self.lateral_back = nn.ModuleList(_to(c, w) for c, w in zip(given[1:], wide[1:], strict=True))
        self.up = nn.ModuleList(_to(deep, shallow) for shallow, deep in pairwise(wide))
        self.down = nn.ModuleList(_to(shallow, deep) for shallow, deep in pairwise(wide))
        self.fuse = nn.ModuleList(Fuse(2, w, depth) for w in wide[:-1])
        self.fuse_back = nn.ModuleList([*(Fuse(3, w, depth) for w in wide[1:-1]), Fuse(2, wide[-1], depth)])
        self.fc = nn.Linear(wide[-1], classes)
        self.to(maps[0])

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The features → the refined ones, (B, width·C_l, H_l, W_l), and the logits (B, classes)."""
        maps = [as_map(feature) for feature in features]
        refined = self._back(maps, self._forth(maps))
        return refined, self.fc(refined[-1].mean((2, 3)))

    def _forth(self, maps: list[Tensor]) -> list[Tensor]:
        """Deep to shallow; returns the levels but the deepest, shallow to deep."""
        flat = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        deeper, levels = flat[-1], list[Tensor]()
        for own, up, fuse in zip(flat[-2::-1], reversed(self.up), reversed(self.fuse), strict=True):
            deeper = fuse(own, up(F.interpolate(deeper, own.shape[2:], mode="nearest")))
            levels.insert(0, deeper)
        return levels

    def _back(self, maps: list[Tensor], levels: list[Tensor]) -> list[Tensor]:
        """Shallow to deep."""
        refined = [levels[0]]
        between = [*([level] for level in levels[1:]), []]  # the deepest level has but its own feature
        for x, lateral, level, down, fuse in zip(
            maps[1:], self.lateral_back, between, self.down, self.fuse_back, strict=True
        ):
            pooled = F.adaptive_max_pool2d(refined[-1], (x.shape[2], x.shape[3]))
            refined.append(fuse(lateral(x), *level, down(pooled)))
        return refined


class Fuse(nn.Module):
    """ReLU(conv(Σ_i ŵ_i x_i)), ŵ = ReLU(w) / (Σ ReLU(w) + ε): maps alike → such a map.

    conv: `depth` times a 3×3 convolution of each channel, 1×1 over all, and batch norm, with ReLU between. First w = 1.
    """

    def __init__(self, count: int, channels: int, depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))
        self.convs = nn.ModuleList(_separable(channels) for _ in range(depth))

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C, H, W)."""
        weight = F.relu(self.weight)
        x = torch.stack([w * x for w, x in zip(weight / (weight.sum() + EPS), maps, strict=True)]).sum(0)
        for conv in self.convs:
            x = F.relu(conv(x))
        return x


def _to(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(channels, out_channels), nn.ReLU())


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        BatchNorm(channels),
    )
