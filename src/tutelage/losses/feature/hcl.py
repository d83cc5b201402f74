"""Chen, Liu, Zhao, Jia: hierarchical context loss, at several sizes."""

from __future__ import annotations

from torch import Tensor

from tutelage.losses.base import Feature, require_same_shape
from tutelage.losses.functional.distances import mean_by_sample
from tutelage.nn.maps import adaptive_avg_pool


class HCL(Feature):
    r"""Match paired maps at full size and average-pooled to 4×4, 2×2 and 1×1 (hierarchical context loss).

    L = Σ_k 2⁻ᵏ · mean (pool_k(s) − pool_k(t))² / Σ_k 2⁻ᵏ over full size (k = 0) and the sizes below it, largest first;
    one value per sample.

    Shapes: student, teacher (B, C, H, W) of equal shape; returns (B,).
    Paper: Chen, Liu, Zhao, Jia. CVPR 2021. arXiv:2104.09044, section 3.3. As in the authors' code a size that isn't
    below the map's height is left out, and the next size takes its weight.
    """

    paper = "Chen, Liu, Zhao, Jia. CVPR 2021. arXiv:2104.09044"
    connector = "conv1x1"
    ignores = ("swapped sides",)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return hierarchical_context(student, teacher)


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Return HCL of one pair of maps (B, C, …), (B,)."""
    difference = student - teacher
    sizes = [size for size in (4, 2, 1) if size < student.shape[2]]
    levels = [difference, *(adaptive_avg_pool(difference, size) for size in sizes)]
    weights = [0.5**k for k in range(len(levels))]
    squares = [weight * mean_by_sample(level.pow(2)) for weight, level in zip(weights, levels, strict=True)]
    return sum(squares[1:], squares[0]) / sum(weights)
