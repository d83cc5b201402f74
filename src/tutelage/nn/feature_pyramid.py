"""A feature pyramid that refines a network's features, deep to shallow and back, and classifies the refined features.

It is used in training only and isn't exported with the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.nn.blocks import BatchNorm, conv_bn
from tutelage.nn.connectors import as_map
from tutelage.nn.maps import adaptive_max_pool, average_positions, conv, dimensions_of

EPS = 1e-6


class FeaturePyramid(nn.Module):
    """One bidirectional feature pyramid whose l-th level has width·C_l channels, C_l being the l-th feature's.

    P_L = lat(F_L);  P_l = fuse(lat(F_l), up(P_{l+1}));  R_1 = P_1;  R_l = fuse(lat'(F_l), P_l, down(R_{l−1})), without
    P_L for l = L. The logits are those of a linear classifier of R_L's mean over positions. lat, lat': 1×1 convolution,
    batch norm, ReLU; up: nearest-neighbour upsampling to the size of F_l, down: adaptive max pooling, each followed by
    layers like lat.

    Args:
        features: An example of the features, two or more, shallow to deep: maps (B, C_l, …).
        classes: The number of logits.
        width: The factor of the channels of each level.
        depth: The number of separable convolutions in each `WeightedFusion`.

    Paper: Ji, Shin, Hwang, Park, Moon. CVPR 2021. arXiv:2103.08273 (BiFPNc). Sizes may decrease by any factor; the
    authors' code halves them, with pooling windows of 3 × 3.
    """

    def __init__(self, features: Sequence[Tensor], classes: int, width: int = 2, depth: int = 2) -> None:
        super().__init__()
        maps = [as_map(feature) for feature in features]
        dimensions, channels = dimensions_of(maps[0]), [x.shape[1] for x in maps]
        block, fusion = partial(_conv_bn_relu, dimensions), partial(WeightedFusion, dimensions)
        widths = [width * c for c in channels]
        self.lateral = nn.ModuleList(block(c, w) for c, w in zip(channels, widths, strict=True))
        self.lateral_back = nn.ModuleList(
            _conv_bn_relu(dimensions, c, w) for c, w in zip(channels[1:], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(block(deep, shallow) for shallow, deep in pairwise(widths))
        self.down = nn.ModuleList(block(shallow, deep) for shallow, deep in pairwise(widths))
        self.fuse = nn.ModuleList(fusion(2, w, depth) for w in widths[:-1])
        self.fuse_back = nn.ModuleList(
            [
                *(fusion(3, w, depth) for w in widths[1:-1]),
                fusion(2, widths[-1], depth),
            ]
        )
        self.fc = nn.Linear(widths[-1], classes)
        self.to(maps[0])

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Maps (B, C_l, …) → the refined maps (B, width·C_l, …) and the logits (B, classes)."""
        maps = [as_map(feature) for feature in features]
        refined = self._refine_upwards(maps, self._fuse_downwards(maps))
        return refined, self.fc(average_positions(refined[-1]))

    def _fuse_downwards(self, maps: list[Tensor]) -> list[Tensor]:
        """Compute P_1 … P_{L−1}, from deep to shallow, and return them shallow to deep."""
        lateral_maps = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        deeper, levels = lateral_maps[-1], list[Tensor]()
        for x, up, fuse in zip(lateral_maps[-2::-1], reversed(self.up), reversed(self.fuse), strict=True):
            deeper = fuse(x, up(F.interpolate(deeper, x.shape[2:], mode="nearest")))
            levels.insert(0, deeper)
        return levels

    def _refine_upwards(self, maps: list[Tensor], levels: list[Tensor]) -> list[Tensor]:
        """Compute R_1 … R_L, from shallow to deep."""
        refined = [levels[0]]
        middle = [*([level] for level in levels[1:]), []]  # there is no P_L
        for x, lateral, level, down, fuse in zip(
            maps[1:], self.lateral_back, middle, self.down, self.fuse_back, strict=True
        ):
            pooled = adaptive_max_pool(refined[-1], x.shape[2:])
            refined.append(fuse(lateral(x), *level, down(pooled)))
        return refined


class WeightedFusion(nn.Module):
    """A learned weighted sum of maps of one shape: ReLU(conv(Σ_i ŵ_i x_i)), ŵ = ReLU(w) / (Σ ReLU(w) + ε).

    conv: `depth` depthwise separable 3×3 convolutions with batch norm, with ReLU between them. Initially w = 1.

    Args:
        dimensions: The number of the maps' dimensions.
        count: The number of maps.
        channels: The number of channels of each map.
        depth: The number of convolutions.
    """

    def __init__(self, dimensions: int, count: int, channels: int, depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(count))
        self.convs = nn.ModuleList(_separable(dimensions, channels) for _ in range(depth))

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps (B, C, …) → their fused map (B, C, …)."""
        weight = F.relu(self.weight)
        x = torch.stack([w * x for w, x in zip(weight / (weight.sum() + EPS), maps, strict=True)]).sum(0)
        for separable in self.convs:
            x = F.relu(separable(x))
        return x


def _conv_bn_relu(dimensions: int, channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv_bn(dimensions, channels, out_channels), nn.ReLU())


def _separable(dimensions: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv(dimensions, channels, channels, 3, padding=1, groups=channels, bias=False),
        conv(dimensions, channels, channels, bias=False),
        BatchNorm(channels),
    )
