"""Metrics of segmentation: each class's overlap and accuracy, and the agreement of boundaries."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

COLUMNS = ("pixels", "iou", "accuracy", "dice")
"""The columns of the table of classes."""


class ClassOverlap(Metric):
    """Each class's intersection over union, accuracy (recall) and Dice, over the labelled pixels of a split.

    mean_accuracy: the mean over the classes that have pixels. dice: the mean over those that have pixels or
    predictions, as miou has it. The table `overlap` (C, 4): pixels, IoU, accuracy and Dice; NaN where a class has none.

    Args:
        classes: C, the number of classes.
        ignore_index: the target value that is ignored.
        options: options of torchmetrics.Metric.
    """

    true: Tensor
    predicted: Tensor
    right: Tensor

    def __init__(self, classes: int, ignore_index: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.ignore_index = classes, ignore_index
        for name in ("true", "predicted", "right"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch of predicted classes and targets, (B, H, W) each."""
        known = targets != self.ignore_index
        predictions, targets = predictions[known], targets[known]
        self.true = self.true + torch.bincount(targets, minlength=self.classes)
        self.predicted = self.predicted + torch.bincount(predictions, minlength=self.classes)
        self.right = self.right + torch.bincount(targets[targets == predictions], minlength=self.classes)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, and the table of classes."""
        true, predicted, right = (count.double().cpu() for count in (self.true, self.predicted, self.right))
        accuracy, dice = right / true, 2 * right / (true + predicted)
        figures = {"mean_accuracy": accuracy.nanmean().nan_to_num(), "dice": dice.nanmean().nan_to_num()}
        overlap = torch.stack([true, right / (true + predicted - right), accuracy, dice], dim=1)
        return figures | {"overlap": overlap}


class BoundaryAgreement(Metric):
    """Boundary F1 and boundary IoU of each class, and their means over the classes that have a boundary.

    A boundary pixel has a neighbour above, below or beside it of another class, both labelled. boundary_f1: of the
    precision and recall of boundary pixels that lie within the tolerance (a Euclidean distance) of one of the same
    class in the other mask. boundary_iou: the intersection over union of the class's pixels within the tolerance of its
    boundary. All counts are over the split, as for miou. The table `boundary` (C, 2) has both for each class.

    Csurka, Larlus, Perronnin. BMVC 2013; Cheng, Girshick, Dollár, Berg, Kirillov. CVPR 2021. arXiv:2103.16562.

    Args:
        classes: C, the number of classes.
        ignore_index: the target value that is ignored.
        tolerance: in pixels.
        options: options of torchmetrics.Metric.
    """

    counts: Tensor

    def __init__(self, classes: int, ignore_index: int, tolerance: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.ignore_index, self.tolerance = classes, ignore_index, tolerance
        self.add_state("counts", torch.zeros(classes, 6, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch of predicted classes and targets, (B, H, W) each."""
        predictions = predictions.where(targets != self.ignore_index, self.ignore_index)
        edges = [boundary_pixels(labels, self.ignore_index) for labels in (predictions, targets)]
        counts = self.counts.clone()
        for c in torch.cat([predictions.unique(), targets.unique()]).unique().tolist():
            if c != self.ignore_index:
                counts[c] += self._of_class([predictions == c, targets == c], edges)
        self.counts = counts

    def _of_class(self, masks: list[Tensor], edges: list[Tensor]) -> Tensor:
        """Return a class's counts; masks, edges: (B, H, W) of the predictions and of the targets."""
        lines = [mask & edge for mask, edge in zip(masks, edges, strict=True)]
        near = [dilate(line, self.tolerance) for line in lines]
        bands = [mask & around for mask, around in zip(masks, near, strict=True)]
        parts = [lines[0] & near[1], lines[0], lines[1] & near[0], lines[1], bands[0] & bands[1], bands[0] | bands[1]]
        return torch.stack([part.sum() for part in parts])

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, and the table of classes."""
        hit, predicted, recalled, true, both, either = self.counts.double().cpu().unbind(1)
        precision, recall = hit / predicted.clamp(min=1), recalled / true.clamp(min=1)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
        table = torch.stack([f1.where(predicted + true > 0, torch.nan), both / either], dim=1)
        means = table.nanmean(0).nan_to_num()
        return {"boundary_f1": means[0], "boundary_iou": means[1], "boundary": table}


def boundary_pixels(labels: Tensor, ignore_index: int) -> Tensor:
    """Return where a labelled pixel of (B, H, W) has a labelled neighbour of another class."""
    known, result = labels != ignore_index, torch.zeros_like(labels, dtype=torch.bool)
    for dim in (1, 2):
        length = labels.shape[dim] - 1
        first, second = (slice(None),) * dim + (slice(0, length),), (slice(None),) * dim + (slice(1, None),)
        differ = (labels[first] != labels[second]) & known[first] & known[second]
        result[first] |= differ
        result[second] |= differ
    return result


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Return the pixels of (B, H, W) within a Euclidean distance of the mask."""
    height, width = mask.shape[1:]
    padded, result = F.pad(mask, (radius,) * 4), mask.clone()
    for y, x in product(range(-radius, radius + 1), repeat=2):
        if 0 < y * y + x * x <= radius**2:
            result |= padded[:, radius + y : radius + y + height, radius + x : radius + x + width]
    return result
