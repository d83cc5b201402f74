"""Hugging Face's detectors of queries: DETR, Conditional and Deformable DETR, RT-DETR …"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.ops import box_convert

from tutelage.models.detectors.base import Detector, corner_scale, joined
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
        count, scale = len(objects), corner_scale(images)
        labels = [
            {"class_labels": each["labels"], "boxes": box_convert(each["boxes"], "xyxy", "cxcywh") / scale}
            for each in self.targets(objects)
        ]
        labelled = self.detector(pixel_values=images[:count], labels=labels)
        parts = [self._outputs(labelled)]
        if count < len(images):
            parts.append(self._outputs(self.detector(pixel_values=images[count:])))
        outputs = {name: joined([part[name] for part in parts]) for name in parts[0]}
        return outputs | {"losses": {"detr": labelled.loss}}

    def _outputs(self, raw: Any) -> dict[str, Any]:
        return {"response": raw.logits.mT, "boxes": raw.pred_boxes.mT}

    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return each image's 100 best pairs of query and class; of DETR, each query's best class."""
        raw = self.detector(pixel_values=images)
        boxes = box_convert(raw.pred_boxes, "cxcywh", "xyxy") * corner_scale(images)
        classes = self.detector.config.num_labels
        if raw.logits.shape[2] > classes:
            scores, labels = raw.logits.softmax(2)[..., :classes].max(2)
            return [{"boxes": b, "scores": s, "labels": k} for b, s, k in zip(boxes, scores, labels, strict=True)]
        scores, places = raw.logits.sigmoid().flatten(1).topk(min(100, raw.logits[0].numel()), 1)
        return [
            {"boxes": b[place // classes], "scores": s, "labels": place % classes}
            for b, s, place in zip(boxes, scores, places, strict=True)
        ]
