"""The base class of detectors: dense outputs to compare, losses of their own to learn from, detections to evaluate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tutelage.structures import Batch, Objects

ABSENT = -1
"""The class of a row of `detections` that has no detection."""


class Detector(nn.Module):
    """Abstract: a detector of objects in normalised images (B, C, H, W), all of one size.

    Its forward returns a mapping: `response`, the logits (B, K, N) of N anchors, points or queries; `boxes` (B, 4, N),
    their estimates of boxes in the detector's own code; further outputs (B, …, N); and, if there are objects, its own
    `losses`, scalars by name, and `part_targets`, both of the first len(objects) samples. `respond` returns detections.

    loss_names: the names of its losses. target_parts: the outputs for which it returns the truth in their own form, NaN
    at places that no object is assigned to: as `part_targets`, by name. first_class: the number that the detector gives
    to the first class: 1 if 0 is its background.
    """

    loss_names: tuple[str, ...]
    target_parts: tuple[str, ...] = ()
    first_class: int = 0

    @abstractmethod
    def forward(self, images: Tensor, objects: Objects | None = None) -> dict[str, Any]:
        """Return the outputs by name.

        objects: of the first samples, {"boxes": (n, 4) x₁, y₁, x₂, y₂ in pixels, "labels": (n,)} each; those with a
        truth in "iscrowd" are left out.
        """

    @abstractmethod
    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return each image's detections: boxes (n, 4) in pixels, scores (n,) and labels (n,), from 0."""

    def respond(self, batch: Batch) -> Tensor:
        """Return the detections of a batch (B, D, 6): x₁, y₁, x₂, y₂, score, class; -1 in rows without one.

        x and y are fractions of the image's width and height.
        """
        assert isinstance(batch.inputs, Tensor)
        sides = corner_scale(batch.inputs)
        rows = [
            torch.cat([each["boxes"] / sides, each["scores"][:, None], each["labels"][:, None].to(sides)], 1)
            for each in self.detect(batch.inputs)
        ]
        return pad_sequence(rows, batch_first=True, padding_value=ABSENT)

    def targets(self, objects: Objects) -> Objects:
        """Return the objects as the detector numbers them, without crowds."""
        return [
            {"boxes": single["boxes"].float(), "labels": single["labels"] + self.first_class}
            for single in (_without_crowds(each) for each in objects)
        ]


def _without_crowds(objects: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if "iscrowd" not in objects:
        return objects
    single = ~objects["iscrowd"].bool()
    return {name: objects[name][single] for name in ("boxes", "labels")}


def corner_scale(images: Tensor) -> Tensor:
    """Return the factors from fractions of images (B, C, H, W) to their pixels: W, H, W, H."""
    return images.new_tensor(images.shape[-2:]).flip(0).repeat(2)


def sizes_of(images: Tensor) -> list[tuple[int, int]]:
    """Return the height and width of each image of a batch."""
    return [(images.shape[2], images.shape[3])] * len(images)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return outputs of some samples and of others as one tensor."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
