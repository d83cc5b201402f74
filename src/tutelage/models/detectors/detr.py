"""Hugging Face's detectors of queries: DETR, Conditional and Deformable DETR, RT-DETR …"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_convert

from tutelage.models.detectors.base import Detector
from tutelage.structures import Objects


class Detr(Detector):
    """A detector of Hugging Face that outputs N queries, each with logits and a box: centre, width and height, 0…1.

    The logits are of K classes and, in DETR itself, of no object as the last. Its own loss is `detr`: the weighted sum
    of those of classes and boxes that the library computes, after matching queries with objects.
    """

    loss_names = ("detr",)

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, objects: Objects | None = None) -> dict[str, Any]:
        """Return logits (B, K, N) or (B, K + 1, N), boxes (B, 4, N), and the loss if there are objects."""
        if objects is None:
            return self._outputs(self.detector(pixel_values=images))
        height, width = images.shape[2:]
        scale = images.new_tensor([width, height, width, height])
        labels = [
            {"class_labels": each["labels"], "boxes": box_convert(each["boxes"], "xyxy", "cxcywh") / scale}
            for each in self.targets(objects)
        ]
        count = len(labels)
        if count == len(images):
            raw = self.detector(pixel_values=images, labels=labels)
            return self._outputs(raw) | {"losses": {"detr": raw.loss}}
        with_loss = self.detector(pixel_values=images[:count], labels=labels)
        parts = [self._outputs(with_loss), self._outputs(self.detector(pixel_values=images[count:]))]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return joined | {"losses": {"detr": with_loss.loss}}

    def _outputs(self, raw: Any) -> dict[str, Any]:
        return {"response": raw.logits.mT, "boxes": raw.pred_boxes.mT}

    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return each image's 100 best pairs of query and class; of DETR, each query's best class."""
        raw = self.detector(pixel_values=images)
        height, width = images.shape[2:]
        boxes = box_convert(raw.pred_boxes, "cxcywh", "xyxy") * images.new_tensor([width, height, width, height])
        classes = self.detector.config.num_labels
        if raw.logits.shape[2] > classes:
            scores, labels = raw.logits.softmax(2)[..., :classes].max(2)
            return [{"boxes": b, "scores": s, "labels": k} for b, s, k in zip(boxes, scores, labels, strict=True)]
        scores, places = raw.logits.sigmoid().flatten(1).topk(min(100, raw.logits[0].numel()), 1)
        return [
            {"boxes": b[place // classes], "scores": s, "labels": place % classes}
            for b, s, place in zip(boxes, scores, places, strict=True)
        ]
