"""Liu, Huang, Lin, Xie, Wang, Chang, Liang: inter-channel correlation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Feature
from tutelage.nn.blocks import conv_bn
from tutelage.nn.maps import dimensions_of


class ICKD(Feature):
    r"""Match the correlations between the channels of a map.

    x = BN(W·s), W a 1×1 convolution;  G(f) = f·fᵀ over positions, C × C, with rows of unit length;
    L = ‖G(x) − G(t)‖² / C, one value per channel, from its row.

    normalised: False compares the plain G, as the paper writes it; True is as in the authors' code, which gave the
    published numbers.
    Shapes: student (B, C, H, W), teacher (B, C', H', W'); returns (B, C').
    Paper: Liu, Huang, Lin, Xie, Wang, Chang, Liang. ICCV 2021. arXiv:2202.03680, ICKD-C. Weight 2.5 as in their
    scripts.
    """

    paper = "Liu, Huang, Lin, Xie, Wang, Chang, Liang. ICCV 2021. arXiv:2202.03680"
    compares = "last"
    zero_at_equal = False
    default_weight = 2.5

    normalised: bool = True

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.embed = conv_bn(dimensions_of(student), student.shape[1], teacher.shape[1]).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (self.correlation(self.embed(student)) - self.correlation(teacher)).pow(2).sum(2)

    def correlation(self, feature: Tensor) -> Tensor:
        """Return the correlations between channels, (B, C, H, W) → (B, C, C)."""
        channels = feature.flatten(2)
        gram = channels @ channels.mT
        return F.normalize(gram, dim=2) if self.normalised else gram
