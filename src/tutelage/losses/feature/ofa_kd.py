"""Hao, Guo, Han, Tang, Hu, Wang, Xu: features of any architecture, compared as class scores."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, Response, require_same_shape
from tutelage.losses.functional.target_class import target_mask
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import conv, dimensions_of, global_pool
from tutelage.utils.options import Positive, Temperature, Width


class OFAResponse(Response):
    r"""Match the teacher's class probabilities, with the true class's enhanced by a power.

    L = −Σ_c ((p_c(t) + 1_c)^ε − 1_c) · log p_c(s), p = softmax(z/T), 1_c 1 for the true class and 0 for others.

    power: ε; 1 is the cross-entropy of the two, larger values compensate for a teacher that is uncertain of the true
    class.
    Shapes: student, teacher (B, C, …) logits; targets (B, …) class numbers; returns (B, …).
    Paper: Hao, Guo, Han, Tang, Hu, Wang, Xu. NeurIPS 2023. arXiv:2310.19444, the adaptive target enhancement. See
    ofa_kd for a student's stages.
    Raises: ConfigError if an option isn't above 0, the two differ in shape, or the targets aren't class numbers.
    """

    name = "ofa_response"
    paper = "Hao, Guo, Han, Tang, Hu, Wang, Xu. NeurIPS 2023. arXiv:2310.19444"
    zero_at_equal = False
    ignores = ("shift of logits",)

    power: Positive = 1.0
    temperature: Temperature = 1.0

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        return enhanced_ce(student, teacher, targets, self.power, self.temperature)


class OFAKD(Feature):
    r"""Attach a classifier to each stage of the student, and match the teacher's class probabilities with all of them.

    L = Σ_l OFAResponse(H_l(s_l), z), z the teacher's logits.

    classes: the number of the teacher's classes. H_l: for each later stage two separable 3×3 convolutions with batch
    norm and ReLU, the first of stride 2, which double the channels and end with those of the wider of the two last
    stages; for the last stage a 1×1 convolution to as many channels; then the mean over positions and a linear layer.
    This loss trains them, and they aren't deployed.
    Shapes: student a list of maps (B, C, H, W), shallow to deep; teacher a list, of which only the widths are used;
    teacher_response (B, K) logits; targets (B,) class numbers. Returns (B,).
    Paper: Hao, Guo, Han, Tang, Hu, Wang, Xu. NeurIPS 2023. arXiv:2310.19444. The complete method is ofa_response +
    ofa_kd; the authors' heads for transformers are attention blocks. No published numbers were compared.
    Raises: ConfigError if an option isn't above 0, or the teacher has another number of classes than `classes`.
    """

    name = "ofa_kd"
    paper = "Hao, Guo, Han, Tang, Hu, Wang, Xu. NeurIPS 2023. arXiv:2310.19444"
    compares = "review"
    zero_at_equal = False

    classes: Width = 100
    power: Positive = 1.0
    temperature: Temperature = 1.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        student, teacher = ([torch.randn(6, c, side, side) for c, side in ((4, 8), (5, 4))] for _ in range(2))
        return student, teacher, {"teacher_response": torch.randn(6, 100), "targets": torch.randint(100, (6,))}

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        width, last = max(student[-1].shape[1], teacher[-1].shape[1]), len(student) - 1
        heads = (
            exit_head(dimensions_of(x), x.shape[1], width, last - depth, self.classes)
            for depth, x in enumerate(student)
        )
        self.heads = nn.ModuleList(heads).to(student[0])

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], *, teacher_response: Tensor, targets: Tensor
    ) -> Tensor:
        if teacher_response.shape[1] != self.classes:
            raise ConfigError(
                f"OFAKD(classes={self.classes}) for a teacher of {teacher_response.shape[1]} classes; "
                f"use classes={teacher_response.shape[1]}."
            )
        exits = [head(x) for head, x in zip(self.heads, student, strict=True)]
        losses = [enhanced_ce(z, teacher_response, targets, self.power, self.temperature) for z in exits]
        return torch.stack(losses).sum(0)


def enhanced_ce(student: Tensor, teacher: Tensor, targets: Tensor, power: float, temperature: float) -> Tensor:
    """Return −Σ_c ((p_c(t) + 1_c)^ε − 1_c) · log p_c(s) of logits (B, C, …), (B, …)."""
    true = target_mask(teacher, targets).to(teacher.dtype)
    enhanced = ((teacher / temperature).softmax(1) + true).pow(power) - true
    return -(enhanced * F.log_softmax(student / temperature, dim=1)).sum(1)


def exit_head(dimensions: int, channels: int, width: int, halvings: int, classes: int) -> nn.Sequential:
    """Build a head that halves a map's size `halvings` times, to `width` channels, and returns logits."""
    widths = [*(channels * 2**k for k in range(halvings)), width]
    steps = [layer for pair in pairwise(widths) for layer in halving_block(dimensions, *pair)] or [
        conv(dimensions, channels, width)
    ]
    return nn.Sequential(*steps, global_pool(dimensions), nn.Flatten(), nn.Linear(width, classes))


def halving_block(dimensions: int, channels: int, out_channels: int) -> list[nn.Module]:
    """Build two separable convolutions, the first of stride 2."""
    return [*separable(dimensions, channels, channels, 2), *separable(dimensions, channels, out_channels, 1)]


def separable(dimensions: int, channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    """Build a depthwise and a pointwise convolution with batch norm and ReLU."""
    depthwise = conv(dimensions, channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return [depthwise, conv(dimensions, channels, out_channels, bias=False), BatchNorm(out_channels), nn.ReLU()]
