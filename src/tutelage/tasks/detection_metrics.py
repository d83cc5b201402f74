"""Metrics of detections: average precision by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tutelage.errors import ModelError

FIGURES = ("map", "map50", "map75", "map_small", "map_medium", "map_large", "", "", "recall")
"""The names of pycocotools' first figures; empty: not reported."""
ALWAYS = ("map", "map50", "map75", "recall")
"""The figures that are 0 where there is nothing to find; the others are left out."""


class DetectionMetrics(Metric):
    """Mean average precision of detections, as pycocotools computes it, all as fractions.

    map: over IoU thresholds 0.5, 0.55 … 0.95, and over classes. map50, map75: at one threshold. map_small, map_medium,
    map_large: of objects of less than 32², up to 96² and more pixels of the file; left out if the split has none.
    recall: the average recall of at most 100 detections an image. Crowds don't count as objects, and detections in them
    aren't wrong. Without any object all are 0. Classes without an object are left out of the means.
    The table `classes` (C, 3): each class's objects, its average precision and that at 0.5; NaN without an object.
    """

    found: list[Tensor]
    found_counts: list[Tensor]
    truth: list[Tensor]
    truth_counts: list[Tensor]

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        try:
            import pycocotools  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModelError("detection needs pycocotools: pip install 'tutelage[detection]'") from error
        self.classes = classes
        for state in ("found", "found_counts", "truth", "truth_counts"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, detections: Sequence[Mapping[str, Tensor]], objects: Sequence[Mapping[str, Tensor]]) -> None:
        """Add images: detections of boxes, scores and labels; objects of boxes, labels and maybe iscrowd and area."""
        for each in detections:
            self.found.append(torch.cat([each["boxes"], each["scores"][:, None], each["labels"][:, None]], 1))
            self.found_counts.append(torch.tensor([len(each["labels"])], device=self.device))
        for each in objects:
            boxes = each["boxes"]
            crowds = each.get("iscrowd", boxes.new_zeros(len(boxes)))
            areas = each.get("area", (boxes[:, 2:] - boxes[:, :2]).prod(1))
            self.truth.append(torch.cat([boxes, *(x[:, None].to(boxes) for x in (each["labels"], crowds, areas))], 1))
            self.truth_counts.append(torch.tensor([len(boxes)], device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, and the table of classes."""
        truth, found = (
            dim_zero_cat(rows).double().cpu().split(dim_zero_cat(counts).tolist())
            for rows, counts in ((self.truth, self.truth_counts), (self.found, self.found_counts))
        )
        every = torch.cat(truth)
        objects = torch.bincount(every[every[:, 5] == 0, 4].long(), minlength=self.classes)
        table = torch.full((self.classes, 3), torch.nan, dtype=torch.float64)
        table[:, 0] = objects
        if not objects.sum():
            return {name: torch.zeros((), dtype=torch.float64) for name in ALWAYS} | {"classes": table}
        evaluation = evaluate(truth, found, self.classes)
        precision = torch.from_numpy(evaluation.eval["precision"])[:, :, :, 0, -1]  # thresholds, recalls, classes
        present = objects > 0
        table[present, 1], table[present, 2] = precision.mean((0, 1))[present], precision[0].mean(0)[present]
        figures = dict(zip(FIGURES, evaluation.stats.tolist(), strict=False))
        values = {name: max(value, 0.0) for name, value in figures.items() if name and (name in ALWAYS or value >= 0)}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()} | {"classes": table}


def evaluate(truth: Sequence[Tensor], found: Sequence[Tensor], classes: int) -> Any:
    """Return pycocotools' evaluation of images with objects (m, 7) and detections (n, 6).

    truth: x₁, y₁, x₂, y₂, class, whether a crowd, area. found: x₁, y₁, x₂, y₂, score, class.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [
        {"image_id": image, "category_id": int(label), "bbox": _sides(box), "iscrowd": int(crowd), "area": area}
        for image, rows in enumerate(truth, 1)
        for *box, label, crowd, area in rows.tolist()
    ]
    results = [
        {"image_id": image, "category_id": int(label), "bbox": _sides(box), "score": score}
        for image, rows in enumerate(found, 1)
        for *box, score, label in rows.tolist()
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        api = COCO()
        api.dataset = {
            "images": [{"id": image} for image in range(1, len(truth) + 1)],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": [entry | {"id": number} for number, entry in enumerate(annotations, 1)],
            "info": {},
        }
        api.createIndex()
        none = COCO()
        none.dataset = {**api.dataset, "annotations": []}
        none.createIndex()
        evaluation = COCOeval(api, api.loadRes(results) if results else none, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _sides(box: Sequence[float]) -> list[float]:
    """Return x, y, width and height of x₁, y₁, x₂, y₂."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
