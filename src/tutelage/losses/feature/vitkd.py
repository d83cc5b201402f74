"""Yang, Li, Zeng, Li, Yuan, Li: feature distillation for vision transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.losses.functional.tokens import map_as_tokens
from tutelage.nn.blocks import conv_relu_conv
from tutelage.nn.maps import dimensions_of
from tutelage.utils.options import NonNegative, OpenFraction


class ViTKD(Feature):
    r"""Match the shallow layers, and generate the last one from a part of its tokens.

    L = α · Σ_shallow Σ (W_l·s_l − t_l)² + (β/λ) · Σ_{masked tokens} (G(m(W·s)) − t)², one value per sample each;
    m replaces a random fraction λ by a learned token, G is two 3×3 convolutions over the grid with a ReLU between.

    masked: λ. W are linear layers if the widths differ.
    Shapes: student, teacher lists of maps (B, D, H, W) (a ViT's patch tokens as maps), of equal H, W in pairs; all but
    the last are shallow layers, in the paper the first two blocks. The parts "mimic" and "generate" are (B,).
    rand (B, H·W) orders the tokens, the last of which are masked, instead of torch's generator.
    Paper: Yang, Li, Zeng, Li, Yuan, Li. CVPR Workshops 2024. arXiv:2209.02432.
    Raises: ConfigError if masked isn't in (0, 1), or if the lists or grids differ.
    """

    name = "vitkd"
    paper = "Yang, Li, Zeng, Li, Yuan, Li. CVPR Workshops 2024. arXiv:2209.02432"
    compares = "review"
    zero_at_equal = False
    permutation_invariant = False

    alpha: NonNegative = 3e-5
    beta: NonNegative = 3e-6
    masked: OpenFraction = 0.5

    @classmethod
    def example(cls) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
        student, teacher = ([torch.randn(6, 16, 8, 8) for _ in range(3)] for _ in range(2))
        return student, teacher, {}

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        widths = [(s.shape[1], t.shape[1]) for s, t in zip(student, teacher, strict=True)]
        self.align = nn.ModuleList(nn.Identity() if s == t else nn.Linear(s, t) for s, t in widths).to(student[0])
        self.mask_token = nn.Parameter(student[0].new_zeros(1, 1, widths[-1][1]))
        self.generation = conv_relu_conv(dimensions_of(student[-1]), widths[-1][1]).to(student[0])

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, rand: Tensor | None = None) -> dict[str, Tensor]:
        require_equal_counts(self, student, teacher)
        aligned = [align(map_as_tokens(s)) for align, s in zip(self.align, student, strict=True)]
        teacher_tokens = [map_as_tokens(t) for t in teacher]
        for s, t in zip(aligned, teacher_tokens, strict=True):
            require_same_shape(self, s, t)
        mimic = sum(
            ((s - t).pow(2).sum((1, 2)) for s, t in zip(aligned[:-1], teacher_tokens[:-1], strict=True)),
            teacher_tokens[-1].new_zeros(()),
        )
        return {
            "mimic": self.alpha * mimic,
            "generate": self.generate(aligned[-1], teacher_tokens[-1], teacher[-1].shape[2:], rand),
        }

    def generate(self, student: Tensor, teacher: Tensor, size: torch.Size, rand: Tensor | None) -> Tensor:
        """Return the part "generate" for tokens (B, N, D) on a grid of that size."""
        tokens = student.shape[1]
        rand = torch.rand(student.shape[:2], device=student.device) if rand is None else rand
        hidden = (rand.argsort(1).argsort(1) >= int(tokens * (1 - self.masked)))[:, :, None]
        visible = torch.where(hidden, self.mask_token, student)
        generated = map_as_tokens(self.generation(visible.mT.unflatten(2, size)))
        return self.beta / self.masked * ((generated - teacher).pow(2) * hidden).sum((1, 2))
