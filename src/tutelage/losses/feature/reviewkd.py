"""Chen, Liu, Zhao, Jia: knowledge review."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts
from tutelage.losses.feature.hcl import hierarchical_context
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import Width


class ReviewKD(Feature):
    r"""Match the teacher's stages with the student's, each fused with all deeper ones.

    From the deepest stage up: r_i = ABF_i(s_i, r_{i+1}), which fuses by learned attention;
    L = Σ_i HCL(conv(r_i), t_i), one value per sample.

    Shapes: student and teacher lists of maps (B, C, H, W), shallow to deep, of equal length; returns (B,).
    Paper: Chen, Liu, Zhao, Jia. CVPR 2021. arXiv:2104.09044. mid_channels is 64 for CIFAR, 512 for ImageNet; the
    authors use weights from 0.6 to 8, warmed up over 20 of 240 epochs, which runs do in proportion.
    Raises: ConfigError if mid_channels isn't above 0 or the lists differ in length.
    """

    paper = "Chen, Liu, Zhao, Jia. CVPR 2021. arXiv:2104.09044"
    warmup_share = 20 / 240
    compares = "review"
    harmed_on = "Fashion-MNIST"
    zero_at_equal = False

    mid_channels: Width = 64

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        self.abfs = nn.ModuleList(
            AttentionFusion(dimensions_of(s), s.shape[1], self.mid_channels, t.shape[1], fuses=stage < len(student))
            for stage, (s, t) in enumerate(zip(student, teacher, strict=True), start=1)
        ).to(student[0])

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        require_equal_counts(self, student, teacher)
        reviewed, losses = None, []
        for abf, s, t in reversed(list(zip(self.abfs, student, teacher, strict=True))):
            out, reviewed = abf(s, reviewed, t.shape[2:])
            losses.append(hierarchical_context(out, t))
        return torch.stack(losses).sum(0)


class AttentionFusion(nn.Module):
    """Attention-based fusion (ABF) of a stage with the review of the deeper: x·z₀ + y·z₁, z = sigmoid(conv([x, y]))."""

    def __init__(self, dimensions: int, channels: int, mid_channels: int, out_channels: int, fuses: bool) -> None:
        super().__init__()
        reduce = conv(dimensions, channels, mid_channels, bias=False)
        expand = conv(dimensions, mid_channels, out_channels, 3, padding=1, bias=False)
        self.conv1 = nn.Sequential(reduce, BatchNorm(mid_channels))
        self.conv2 = nn.Sequential(expand, BatchNorm(out_channels))
        self.att_conv = nn.Sequential(conv(dimensions, 2 * mid_channels, 2), nn.Sigmoid()) if fuses else None
        for layer in (reduce, expand):
            nn.init.kaiming_uniform_(cast(Tensor, layer.weight), a=1)

    def forward(self, x: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Return the map to compare with the teacher's of that size, and the review for the next shallower stage."""
        x = self.conv1(x)
        if self.att_conv is not None and deeper is not None:
            y = F.interpolate(deeper, x.shape[2:], mode="nearest")
            z = self.att_conv(torch.cat([x, y], dim=1))
            x = x * z[:, :1] + y * z[:, 1:]
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="nearest")
        return self.conv2(x), x
