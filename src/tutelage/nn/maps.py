"""Operations on maps of one, two or three dimensions, (B, C, T), (B, C, H, W) and (B, C, D, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Operation = Callable[..., Tensor]
CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AVERAGE: dict[int, Operation] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMUM: dict[int, Operation] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
ADAPTIVE_AVERAGE: dict[int, Operation] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
ADAPTIVE_MAXIMUM: dict[int, Operation] = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def dimensions_of(feature: Tensor) -> int:
    """Return the number of dimensions of a map (B, C, …)."""
    return feature.dim() - 2


def conv(dimensions: int, channels: int, out_channels: int, kernel: Any = 1, **options: Any) -> nn.Module:
    """Return a convolution of maps of that number of dimensions; options: of torch's class."""
    return CONVOLUTIONS[dimensions](channels, out_channels, kernel, **options)


def conv_transpose(dimensions: int, channels: int, out_channels: int, kernel: Any, **options: Any) -> nn.Module:
    """Return a transposed convolution of maps of that number of dimensions; options: of torch's class."""
    return TRANSPOSED[dimensions](channels, out_channels, kernel, **options)


def global_pool(dimensions: int) -> nn.Module:
    """Return a module that averages over all positions, and keeps their dimensions at size 1."""
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dimensions - 1](1)


def apply_pointwise(feature: Tensor, weight: Tensor) -> Tensor:
    """Apply a weight (K, C) at each position of a map (B, C, …), which gives (B, K, …)."""
    dimensions = dimensions_of(feature)
    return (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1](feature, weight[(..., *[None] * dimensions)])


def is_pointwise(module: nn.Module) -> bool:
    """Return whether a module is a convolution that maps each position by itself."""
    kernel = getattr(module, "kernel_size", ()) if isinstance(module, tuple(CONVOLUTIONS.values())) else ()
    return bool(kernel) and all(side == 1 for side in kernel)


def average_positions(feature: Tensor, keepdim: bool = False) -> Tensor:
    """Average a map over its positions, (B, C, …) → (B, C)."""
    return feature.mean(tuple(range(2, feature.dim())), keepdim=keepdim)


def avg_pool(feature: Tensor, window: int | Sequence[int], **options: Any) -> Tensor:
    """Average-pool a map by windows; options: of torch's function."""
    return AVERAGE[dimensions_of(feature)](feature, window, **options)


def max_pool(feature: Tensor, window: int | Sequence[int], **options: Any) -> Tensor:
    """Max-pool a map by windows; options: of torch's function."""
    return MAXIMUM[dimensions_of(feature)](feature, window, **options)


def adaptive_avg_pool(feature: Tensor, size: int | Sequence[int]) -> Tensor:
    """Average-pool a map to a size, or to the same number of positions along each side."""
    return ADAPTIVE_AVERAGE[dimensions_of(feature)](feature, size)


def adaptive_max_pool(feature: Tensor, size: int | Sequence[int]) -> Tensor:
    """Max-pool a map to a size, or to the same number of positions along each side."""
    return ADAPTIVE_MAXIMUM[dimensions_of(feature)](feature, size)


def interpolate(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map (bi-, tri-)linearly."""
    return F.interpolate(feature, size, mode=LINEAR_MODES[dimensions_of(feature)], align_corners=False)
