"""Boxes that move with their images: cropped, resized and mirrored."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

VISIBLE = 0.25
"""The fraction of an object's box that must be left of it when an image is cropped; else the object is left out."""


def crop_boxes(
    objects: Mapping[str, Tensor], window: tuple[float, float, float, float], size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return the objects as seen through a window of the image that is resized; those outside are left out.

    window: x₁, y₁, x₂, y₂ in the boxes' pixels, also beyond the image. size: the result's height and width. An object
    stays if `VISIBLE` of its box is inside, and the rest a pixel wide and high.
    """
    x1, y1, x2, y2 = window
    scale = torch.tensor([size[1] / (x2 - x1), size[0] / (y2 - y1)] * 2)
    boxes = (objects["boxes"] - torch.tensor([x1, y1, x1, y1])) * scale
    inside = boxes.clone()
    inside[:, 0::2].clamp_(0, size[1])
    inside[:, 1::2].clamp_(0, size[0])
    sides = inside[:, 2:] - inside[:, :2]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    seen = (sides.prod(1) >= VISIBLE * whole) & (whole > 0)
    cut = (inside != boxes).any(1)
    kept = seen & ((sides >= 1).all(1) | ~cut)
    return _of_rows(objects, kept) | {"boxes": inside[kept]}


def flip_boxes(objects: Mapping[str, Tensor], width: float) -> dict[str, Tensor]:
    """Return the objects mirrored left-right in an image of this width."""
    x1, y1, x2, y2 = objects["boxes"].unbind(1)
    return {**objects, "boxes": torch.stack([width - x2, y1, width - x1, y2], 1)}


def _of_rows(objects: Mapping[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    return {name: value if name == "size" else value[kept] for name, value in objects.items()}
