"""Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan: focal and global distillation of detectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature
from tutelage.utils.options import NonNegative, Temperature


class FGD(Feature):
    r"""Match features where the teacher attends, for objects and background separately, its attention, and its context.

    A^S = H·W · softmax over positions of mean_c |F|/T,  A^C = C · softmax over channels of mean_hw |F|/T;
    "foreground": α · Σ M · A^S_t · A^C_t · (s − t)², M the largest 1/(h·w) of the boxes that cover a cell;
    "background": β · the same with M = 1/(number of cells outside all boxes) there;
    "attention": γ · (Σ|A^S_s − A^S_t| + Σ|A^C_s − A^C_t|);  "global": λ · Σ (G_s(s) − G_t(t))²,
    G(F) = F + W₂·ReLU(LN(W₁·Σ_j softmax_j(W_k·F)·F_j)), learned on both sides. One value per sample.

    Shapes: student (B, C', H, W), teacher (B, C, H, W), a 1×1 convolution between them where C' isn't C; boxes (B, M,
    4), x₁, y₁, x₂, y₂ in pixels of the inputs, those with x₂ < x₁ or y₂ < y₁ left out; inputs (B, …, H', W'), of which
    only the size is used. The parts are (B,). As in the authors' code a box covers the cells ⌊x₁⌋ to ⌈x₂⌉, both
    included.
    Paper: Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan. CVPR 2022. arXiv:2111.11837; weights for one-stage detectors.
    Raises: ConfigError if the temperature isn't above 0, or the boxes have the wrong shape.
    """

    paper = "Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan. CVPR 2022. arXiv:2111.11837"
    map_dimensions = (2,)
    response_kinds = ("detections",)

    temperature: Temperature = 0.5
    alpha: NonNegative = 1e-3
    beta: NonNegative = 5e-4
    gamma: NonNegative = 1e-3
    lambda_: NonNegative = 5e-6

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        boxes = torch.tensor([[[0.0, 8.0, 30.0, 40.0], [16.0, 16.0, 60.0, 50.0]]]).repeat(6, 1, 1)
        return torch.randn(6, 4, 8, 8), torch.randn(6, 4, 8, 8), {"boxes": boxes, "inputs": torch.randn(6, 3, 64, 64)}

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        channels = teacher.shape[1]
        same = student.shape[1] == channels
        self.align = nn.Identity() if same else nn.Conv2d(student.shape[1], channels, 1).to(student)
        self.context_s = Context(channels).to(student)
        self.context_t = Context(channels).to(student)

    def forward(self, student: Tensor, teacher: Tensor, *, boxes: Tensor, inputs: Tensor) -> dict[str, Tensor]:
        student = self.align(student)
        spatial_s, channel_s = attention(student, self.temperature)
        spatial_t, channel_t = attention(teacher, self.temperature)
        cells = object_cells(boxes, inputs.shape[-2:], teacher)
        outside = (cells == 0).to(teacher.dtype)
        outside = outside / outside.sum((1, 2), keepdim=True).clamp_min(1)
        weighted = (student - teacher).pow(2) * channel_t[:, :, None, None] * spatial_t[:, None]
        attention_gap = (spatial_s - spatial_t).abs().sum((1, 2)) + (channel_s - channel_t).abs().sum(1)
        context = student + self.context_s(student) - teacher - self.context_t(teacher)
        return {
            "foreground": self.alpha * (weighted * cells[:, None]).sum((1, 2, 3)),
            "background": self.beta * (weighted * outside[:, None]).sum((1, 2, 3)),
            "attention": self.gamma * attention_gap,
            "global": self.lambda_ * context.pow(2).sum((1, 2, 3)),
        }


class Context(nn.Module):
    """A global context block without its shortcut, (B, C, H, W) → (B, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = max(channels // 2, 1)
        self.mask = nn.Conv2d(channels, 1, 1)
        last = nn.Conv2d(half, channels, 1)
        self.add = nn.Sequential(nn.Conv2d(channels, half, 1), nn.LayerNorm([half, 1, 1]), nn.ReLU(), last)
        nn.init.kaiming_normal_(self.mask.weight)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Pool by attention over positions, then transform."""
        attention = self.mask(x).flatten(2).softmax(2)
        return self.add((x.flatten(2) @ attention.mT)[..., None])


def attention(x: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the spatial and channel attention of a map (B, C, H, W), (B, H, W) and (B, C), each of mean 1."""
    magnitude = x.abs()
    spatial = (magnitude.mean(1) / temperature).flatten(1).softmax(1).unflatten(1, x.shape[2:])
    channels = (magnitude.mean((2, 3)) / temperature).softmax(1)
    return spatial * spatial[0].numel(), channels * x.shape[1]


def object_cells(boxes: Tensor, image: torch.Size, feature: Tensor) -> Tensor:
    """Return the largest 1/area of the boxes (B, M, 4) that cover each cell of a map, (B, H, W); 0 outside."""
    if boxes.dim() != 3 or len(boxes) != len(feature) or boxes.shape[2] != 4:
        raise ConfigError(f"FGD: boxes {tuple(boxes.shape)} for {len(feature)} samples, expected (B, M, 4).")
    height, width = feature.shape[2:]
    x1, y1, x2, y2 = boxes.unbind(2)
    left, right = (x1 / image[1] * width).floor(), (x2 / image[1] * width).ceil()
    top, bottom = (y1 / image[0] * height).floor(), (y2 / image[0] * height).ceil()
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    in_rows = (rows >= top[..., None]) & (rows <= bottom[..., None])
    in_columns = (columns >= left[..., None]) & (columns <= right[..., None])
    inside = in_rows[..., :, None] & in_columns[..., None, :] & ((x2 >= x1) & (y2 >= y1))[..., None, None]
    area = (bottom + 1 - top) * (right + 1 - left)
    weights = torch.where(inside, (1 / area.clamp_min(1))[..., None, None], 0)
    no_box = weights.new_zeros(len(boxes), 1, height, width)
    return torch.cat([no_box, weights], dim=1).amax(1).to(feature.dtype)
