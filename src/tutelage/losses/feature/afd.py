"""Wang, Gao, Zhao, Li, Dou, Xu: attentive feature distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.linalg import vector_norm

from tutelage.losses.base import Feature, require_same_shape
from tutelage.nn.maps import average_positions, conv, dimensions_of
from tutelage.utils.options import Positive


class AFD(Feature):
    r"""Match the channels of a map, weighted by a learned attention to important channels.

    ρ = sigmoid(W₂·relu(W₁·pool(t))), divided by its sum over channels;
    f̂ = f / (‖f‖₂ + 10⁻⁶) over each channel's positions;  L = Σ_c ρ_c · mean_hw (ŝ − t̂)², one value per sample.

    Shapes: student, teacher (B, C, H, W) of equal shape; returns (B,). The attention has ratio·C hidden channels and is
    trained by this loss itself.
    Paper: Wang, Gao, Zhao, Li, Dou, Xu. Pay Attention to Features, Transfer Learn Faster CNNs. ICLR 2020; ρ, for which
    the authors published no code, is as in Knowledge-Distillation-Zoo. Not the AFD of Ji et al., AAAI 2021.
    Raises: ConfigError if ratio isn't above 0.
    """

    paper = "Wang, Gao, Zhao, Li, Dou, Xu. ICLR 2020"
    compares = "last"
    connector = "conv1x1"

    ratio: Positive = 1.0

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        channels = teacher.shape[1]
        hidden = max(int(channels * self.ratio), 1)
        dimensions = dimensions_of(teacher)
        layers = conv(dimensions, channels, hidden), nn.ReLU(), conv(dimensions, hidden, channels)
        self.attention = nn.Sequential(*layers).to(student)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        rho = F.normalize(self.attention(average_positions(teacher, keepdim=True)).sigmoid().flatten(1), p=1, dim=1)
        return (rho * average_positions((unit_channels(student) - unit_channels(teacher)).pow(2))).sum(1)


def unit_channels(feature: Tensor) -> Tensor:
    """Scale each channel of (B, C, …) to unit length over positions."""
    return feature / (vector_norm(feature, dim=tuple(range(2, feature.dim())), keepdim=True) + 1e-6)
