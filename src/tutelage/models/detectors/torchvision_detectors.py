"""torchvision's detectors: RetinaNet, FCOS, SSD and SSDlite, Faster R-CNN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from tutelage.models.detectors.base import Detector, joined, sizes_of
from tutelage.structures import Objects


class OneSize(nn.Module):
    """torchvision's transform of a detector's images, for images that are normalised and of one size already."""

    def forward(self, images: list[Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        """Return the images as a batch."""
        batch = torch.stack(images)
        return ImageList(batch, sizes_of(batch)), targets

    def postprocess(self, result: Any, image_sizes: Any, original_sizes: Any) -> Any:
        """Return the detections unchanged."""
        return result


class TorchvisionDetector(Detector):
    """Abstract: one of torchvision's, as `detector`; its layers are `detector.backbone…` and `detector.head…`."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        detector.transform = OneSize()
        self.detector = detector

    def features(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return the levels of the backbone's output by name."""
        levels = self.detector.backbone(images)
        return OrderedDict([("0", levels)]) if isinstance(levels, Tensor) else levels

    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return the detector's own detections, after non-maximum suppression."""
        found = self.detector(list(images))
        return [{**each, "labels": each["labels"] - self.first_class} for each in found]


class RetinaNet(TorchvisionDetector):
    """RetinaNet: independent logits of K classes at each anchor, and the anchors' offsets."""

    loss_names: tuple[str, ...] = ("classification", "bbox_regression")
    target_parts = ("boxes",)

    def forward(self, images: Tensor, objects: Objects | None = None) -> dict[str, Any]:
        """Return logits (B, K, N), boxes (B, 4, N), and the losses and the boxes' targets if there are objects."""
        levels = list(self.features(images).values())
        heads: dict[str, Tensor] = self.detector.head(levels)
        outputs: dict[str, Any] = {"response": heads["cls_logits"].mT, "boxes": heads["bbox_regression"].mT}
        outputs |= {name: x.mT for name, x in heads.items() if name not in ("cls_logits", "bbox_regression")}
        if objects is not None:
            labelled = slice(0, len(objects))
            first = ImageList(images[labelled], sizes_of(images[labelled]))
            anchors = self.detector.anchor_generator(first, [level[labelled] for level in levels])
            of_these = {name: x[labelled] for name, x in heads.items()}
            targets, count = self.targets(objects), [x.shape[2] * x.shape[3] for x in levels]
            matches = [
                self.match(each["boxes"], of_image, count)
                if len(each["boxes"])
                else of_image.new_full((len(of_image),), -1, dtype=torch.int64)
                for each, of_image in zip(targets, anchors, strict=True)
            ]
            outputs["losses"] = self.losses(targets, of_these, anchors, matches)
            outputs["part_targets"] = {"boxes": self.box_targets(targets, anchors, matches)}
        return outputs

    @property
    def box_coder(self) -> Any:
        """torchvision's coder of boxes."""
        return self.detector.box_coder

    def match(self, boxes: Tensor, anchors: Tensor, count: Sequence[int]) -> Tensor:
        """Return the number of the box (n, 4) that each anchor is assigned to, below 0 without; count: places a level.

        It is the one that overlaps most, as torchvision assigns them.
        """
        matches: Tensor = self.detector.proposal_matcher(box_iou(boxes, anchors))
        return matches

    def losses(
        self, targets: Objects, heads: dict[str, Tensor], anchors: list[Tensor], matches: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses by name; heads: the head's outputs of the labelled images."""
        return self.detector.head.compute_loss(targets, heads, anchors, matches)

    def box_targets(self, targets: Objects, anchors: list[Tensor], matches: list[Tensor]) -> Tensor:
        """Return the boxes that anchors are assigned to, in their own code, (B, 4, N); NaN without."""
        coded = []
        for each, of_image, matched in zip(targets, anchors, matches, strict=True):
            coded.append(of_image.new_full(of_image.shape, torch.nan))
            near = matched >= 0
            coded[-1][near] = self.encode(each["boxes"][matched[near]], of_image[near])
        return torch.stack(coded).mT

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Return boxes (n, 4) in the code of their anchors (n, 4)."""
        return self.box_coder.encode_single(boxes, anchors)


class FCOS(RetinaNet):
    """FCOS: points in place of anchors, and a further output `bbox_ctrness`, how central a point is in its object."""

    loss_names = ("classification", "bbox_regression", "bbox_ctrness")

    @property
    def box_coder(self) -> Any:
        """torchvision's coder of boxes."""
        return self.detector.head.box_coder

    def match(self, boxes: Tensor, anchors: Tensor, count: Sequence[int]) -> Tensor:
        """Return each point's box: the smallest of those whose centre is near, and whose sides are far for the level.

        Tian, Shen, Chen, He. ICCV 2019. arXiv:1904.01355, with the sampling near centres, as torchvision does it.
        """
        points, side = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2] - anchors[:, 0]
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        is_near = (points[:, None] - centres).abs().amax(2) < self.detector.center_sampling_radius * side[:, None]
        to_sides = torch.cat([points[:, None] - boxes[:, :2], boxes[:, 2:] - points[:, None]], 2)
        least, most = 4 * side, 8 * side
        least[: count[0]], most[-count[-1] :] = 0, torch.inf
        farthest = to_sides.amax(2)
        fits = is_near & (to_sides.amin(2) > 0) & (farthest > least[:, None]) & (farthest < most[:, None])
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        smallest = torch.where(fits, area, torch.inf).min(1)
        return torch.where(smallest.values < torch.inf, smallest.indices, -1)

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Return boxes (n, 4) in the code of their anchors (n, 4): distances of the sides, in sides of the anchor."""
        return self.box_coder.encode(anchors, boxes)


class SSD(RetinaNet):
    """SSD and SSDlite: at each anchor one of K + 1 classes, of which the first is the background."""

    loss_names = ("bbox_regression", "classification")
    first_class = 1

    def losses(
        self, targets: Objects, heads: dict[str, Tensor], anchors: list[Tensor], matches: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses by name."""
        return self.detector.compute_loss(targets, heads, anchors, matches)


class FasterRCNN(TorchvisionDetector):
    """Faster R-CNN: the response is the proposals' objectness (B, 1, N), `boxes` their offsets (B, 4, N).

    The classes and boxes of its second stage are of other proposals in each network, and aren't among the outputs.
    """

    loss_names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    first_class = 1

    def forward(self, images: Tensor, objects: Objects | None = None) -> dict[str, Any]:
        """Return the first stage's outputs, and the losses of both stages if there are objects."""
        levels = self.features(images)
        if objects is None:
            return self._outputs([self.detector.rpn.head(list(levels.values()))])
        count, kept = len(objects), []
        hook = self.detector.rpn.head.register_forward_hook(lambda module, args, outputs: kept.append(outputs))
        try:
            losses = self._losses(images[:count], {name: x[:count] for name, x in levels.items()}, objects)
        finally:
            hook.remove()
        if count < len(images):
            kept.append(self.detector.rpn.head([x[count:] for x in levels.values()]))
        return self._outputs(kept) | {"losses": losses}

    def _losses(self, images: Tensor, levels: dict[str, Tensor], objects: Objects) -> dict[str, Tensor]:
        targets = self.targets(objects)
        first = ImageList(images, sizes_of(images))
        with in_training(self.detector.rpn, self.detector.roi_heads):
            proposals, of_proposals = self.detector.rpn(first, levels, targets)
            _, of_objects = self.detector.roi_heads(levels, proposals, first.image_sizes, targets)
        return of_proposals | of_objects

    def _outputs(self, heads: Sequence[tuple[list[Tensor], list[Tensor]]]) -> dict[str, Any]:
        """Return the outputs; heads: of some of the samples each, objectness (b, A, h, w) and offsets by level."""
        objectness = [torch.cat([x.flatten(1) for x in levels], 1)[:, None] for levels, _ in heads]
        offsets = [torch.cat([_anchors_last(x) for x in levels], 2) for _, levels in heads]
        return {"response": joined(objectness), "boxes": joined(offsets)}


@contextmanager
def in_training(*parts: nn.Module) -> Iterator[None]:
    """Let parts of a detector compute their losses, which they do in training alone; their layers stay as they are."""
    flags = [part.training for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, flag in zip(parts, flags, strict=True):
            part.training = flag


def _anchors_last(offsets: Tensor) -> Tensor:
    """(B, A·4, H, W) → (B, 4, A·H·W)."""
    return offsets.unflatten(1, (-1, 4)).transpose(1, 2).flatten(2)
