"""Figures of key points: the peaks of heat maps, and their distances from the true ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.tasks.map_metrics import Figures

TINY = 1e-10


def find_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the peaks of heat maps (B, K, h, w): their places (B, K, 2), x and y in pixels, and heights (B, K).

    Between pixels by a parabola through the logarithms, which is exact for a Gaussian; where that isn't possible, such
    as at the border, the pixel itself. Zhang, Zhu, Dai, Ye, Zhu. CVPR 2020. arXiv:1910.06278, without its blur.
    """
    maps = maps.nan_to_num(0.0)
    width = maps.shape[3]
    scores, place = maps.flatten(2).max(2)
    x, y = place % width, place // width
    logs = F.pad(maps.clamp_min(TINY).log(), (1, 1, 1, 1), value=torch.nan).flatten(2)

    def at(dx: int, dy: int) -> Tensor:
        return logs.gather(2, ((y + 1 + dy) * (width + 2) + x + 1 + dx)[..., None])[..., 0]

    def between(before: Tensor, after: Tensor) -> Tensor:
        curve = before + after - 2 * at(0, 0)
        offset = 0.5 * (before - after) / torch.where(curve < -TINY, curve, torch.nan)
        return offset.nan_to_num(0.0).clamp(-0.5, 0.5)

    points = torch.stack([x + between(at(-1, 0), at(1, 0)), y + between(at(0, -1), at(0, 1))], -1)
    return points, scores


def point_figures(estimates: Tensor, targets: Tensor, kappa: float = 0.1) -> Figures:
    """Return each image's share of visible points found within 0.1 and 0.05, and their similarity, by their number.

    Distances are of the longer side of the box around an image's visible points; of one point, of the image's.
    Similarity: Lin et al. ECCV 2014 (COCO), with one κ for all points and the box's area.
    """
    visible = ~targets.isnan().flatten(2).any(2)
    (points, _), (true, _) = find_peaks(estimates), find_peaks(targets)
    inf = torch.inf
    low = torch.where(visible[..., None], true, inf).amin(1)
    high = torch.where(visible[..., None], true, -inf).amax(1)
    sides = (high - low).clamp_min(0)  # of nothing visible -inf
    longest = sides.amax(1, keepdim=True)
    whole = sides.new_tensor(targets.shape[:1:-1]).expand_as(sides)
    sides = torch.where(longest >= 1, sides.clamp_min(1), whole)
    longest, area = sides.amax(1, keepdim=True), sides.prod(1, keepdim=True)
    distance = (points - true).square().sum(2)
    number = visible.sum(1)

    def mean(values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(visible, values, 0).sum(1) / number.clamp_min(1), number.double()

    found = {name: (distance.sqrt() <= share * longest).double() for name, share in (("pck10", 0.1), ("pck05", 0.05))}
    return {name: mean(x) for name, x in found.items()} | {"oks": mean((-distance / (2 * area * kappa**2)).exp())}
