"""Operations on feature maps that several losses share."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.maps import adaptive_avg_pool, adaptive_max_pool, max_pool


def pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps (B, C, …) to the size of the smaller."""
    return tuple(pool_to_smallest((student, teacher)))  # type: ignore[return-value]


def pool_to_smallest(maps: Sequence[Tensor]) -> list[Tensor]:
    """Average-pool maps (B, C, …) to the smallest of each side among them."""
    size = tuple(min(sides) for sides in zip(*(x.shape[2:] for x in maps), strict=True))
    return [x if x.shape[2:] == size else adaptive_avg_pool(x, size) for x in maps]


def max_pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Max-pool the larger of two maps (B, C, …) to the size of the smaller."""
    size = [min(lengths) for lengths in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return tuple(  # type: ignore[return-value]
        adaptive_max_pool(
            max_pool(x, [length // target for length, target in zip(x.shape[2:], size, strict=True)]), size
        )
        for x in (student, teacher)
    )


def labels_at(feature: Tensor, targets: Tensor) -> Tensor:
    """Return the class numbers (B, …) at the positions of a map (B, C, …), by nearest neighbour.

    Raises: ConfigError if the targets aren't maps of class numbers.
    """
    if targets.is_floating_point() or targets.dim() != feature.dim() - 1 or len(targets) != len(feature):
        raise ConfigError(
            f"{targets.dtype} targets {tuple(targets.shape)} for maps {tuple(feature.shape)}: expected class numbers "
            f"({len(feature)}, height, width); use this loss for segmentation."
        )
    return F.interpolate(targets[:, None].float(), feature.shape[2:], mode="nearest")[:, 0].long()
