"""Wang, Yuan, Zhang, Feng: fine-grained feature imitation, near objects."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_same_shape
from tutelage.utils.options import FractionBelowOne, Positives


class FGFI(Feature):
    r"""Match features where an anchor overlaps an object nearly as well as the best anchor does.

    I_hw = 1 if IoU(anchor at hw, box) > ψ·max over all anchors of IoU(anchor, box) for some box, 0 elsewhere;
    L = Σ_chw I_hw · (max(W·s, 0) − t)² / 2N, one value per sample, N the mean over the batch of Σ_hw I_hw; W a 3×3
    convolution.

    threshold: ψ. sizes, ratios: the detector's anchors at this layer, centred on its cells: of area size² in pixels of
    the inputs, and of height = width · ratio.
    Shapes: student (B, C', H, W), teacher (B, C, H, W); boxes (B, M, 4), x₁, y₁, x₂, y₂ in pixels of the inputs, a side
    being x₂ − x₁ + 1 long; boxes of one pixel or less are left out; anchors (H·W·A, 4), the detector's, in place of
    those of sizes and ratios; inputs (B, …, H', W'), of which only the size is used. Returns (B,), 0 without boxes.
    Paper: Wang, Yuan, Zhang, Feng. Distilling object detectors with fine-grained feature imitation. CVPR 2019.
    arXiv:1906.03609; ReLU, N and the added pixel of a side are as in the authors' code, anchors as in Faster R-CNN
    without a pyramid, except that it rounds their sides.
    Raises: ConfigError for a threshold outside [0, 1), sizes or ratios not above 0, or boxes or maps that don't fit.
    """

    name = "fgfi"
    paper = "Wang, Yuan, Zhang, Feng. CVPR 2019. arXiv:1906.03609"
    map_dimensions = (2,)
    response_kinds = ("detections",)
    compares = "last"
    zero_at_equal = False
    default_weight = 0.01

    threshold: FractionBelowOne = 0.5
    sizes: Positives = (128.0, 256.0, 512.0)
    ratios: Positives = (0.5, 1.0, 2.0)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        boxes = torch.tensor([[[0.0, 80.0, 300.0, 400.0], [160.0, 160.0, 600.0, 500.0]]]).repeat(6, 1, 1)
        return torch.randn(6, 4, 8, 8), torch.randn(6, 4, 8, 8), {"boxes": boxes, "inputs": torch.randn(6, 1, 640, 640)}

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.adapt = nn.Conv2d(student.shape[1], teacher.shape[1], 3, padding=1).to(student)

    def forward(
        self, student: Tensor, teacher: Tensor, *, boxes: Tensor, inputs: Tensor, anchors: Tensor | None = None
    ) -> Tensor:
        student = self.adapt(student).relu()
        require_same_shape(self, student, teacher)
        anchors = self.grid_anchors(inputs.shape[-2:], teacher) if anchors is None else anchors
        near = self.near_objects(boxes, anchors, teacher).to(teacher.dtype)
        squares = ((student - teacher).pow(2) * near[:, None]).sum((1, 2, 3))
        return squares * len(near) / (2 * near.sum().clamp_min(1))

    def near_objects(self, boxes: Tensor, anchors: Tensor, feature: Tensor) -> Tensor:
        """Return the mask I, (B, H, W)."""
        from torchvision.ops import box_iou

        cells = feature.shape[2] * feature.shape[3]
        if boxes.dim() != 3 or len(boxes) != len(feature) or boxes.shape[2] != 4:
            raise ConfigError(f"FGFI: boxes {tuple(boxes.shape)} for {len(feature)} samples, expected (B, M, 4).")
        if anchors.dim() != 2 or anchors.shape[1] != 4 or not len(anchors) or len(anchors) % cells:
            raise ConfigError(f"FGFI: anchors {tuple(anchors.shape)} for {cells} cells, expected (H·W·A, 4).")
        length = boxes[..., 2:] - boxes[..., :2] + 1
        valid = (length > 0).all(2) & (length != 1).any(2)
        pixel = anchors.new_tensor([0, 0, 1, 1])
        boxes = torch.where(valid[..., None], boxes.to(anchors) + pixel, 0)
        overlap = box_iou(anchors + pixel, boxes.flatten(0, 1)).nan_to_num()
        overlap = overlap.reshape(*feature.shape[2:], -1, *valid.shape)  # (H, W, anchors, B, M)
        near = (overlap > self.threshold * overlap.amax((0, 1, 2))) & valid
        return near.any(4).any(2).permute(2, 0, 1)

    def grid_anchors(self, image: torch.Size, feature: Tensor) -> Tensor:
        """Return the anchors of `sizes` and `ratios`, (H·W·A, 4): x₁, y₁, x₂, y₂ in pixels."""
        y, x = (
            (torch.arange(n, device=feature.device) + 0.5) * side / n
            for n, side in zip(feature.shape[2:], image, strict=True)
        )
        centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[:, :, None]
        shapes = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for size in self.sizes for ratio in self.ratios]
        half = torch.tensor(shapes, device=feature.device) / 2
        return torch.cat([centre - half, centre + half], dim=-1).flatten(0, 2)
