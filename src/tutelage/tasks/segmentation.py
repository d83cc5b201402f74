"""Segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.report import prediction_sections
from tutelage.report.masks import masks
from tutelage.structures import Batch
from tutelage.tasks import class_checks
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding

IGNORE = 255


class Segmentation(Task):
    """One class per pixel: cross-entropy over labelled pixels, and the mean intersection over union (0…1).

    Responses (B, C, h, w) are resized bilinearly to the targets (B, H, W) int64, where 255 is unlabelled.
    """

    metric = "miou"
    positions = 2
    usage = "mask = outputs.argmax(1)  # a class of model.card.classes per pixel"

    def task_loss(self) -> Loss:
        """Return cross-entropy."""
        return CE()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return miou, pixel accuracy, and the confusion counts with targets first."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

        from tutelage.tasks.confusion import Confusion

        options: dict[str, Any] = {"ignore_index": IGNORE, "validate_args": False, "sync_on_compute": shared}
        return MetricCollection(
            {
                "miou": MulticlassJaccardIndex(outputs, **options),
                "accuracy": MulticlassAccuracy(outputs, average="micro", **options),
                "confusion": Confusion(outputs, IGNORE, sync_on_compute=shared),
            },
            compute_groups=False,
        )

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response resized to the targets' size; unchanged if it has no positions."""
        if batch.targets is None or response.dim() != 4 or response.shape[-2:] == batch.targets.shape[-2:]:
            return response
        return F.interpolate(response, size=batch.targets.shape[-2:], mode="bilinear", align_corners=False)

    def mask(self, batch: Batch) -> Tensor | None:
        """Return the mask of labelled pixels."""
        return None if batch.targets is None else batch.targets != IGNORE

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the pixel accuracy with chance and the most frequent class."""
        return class_checks.judge_by_shares(values, tables, data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of classes, confusions and masks."""
        return {
            "Gain by class": prediction_sections.gain_in_iou,
            "Confusions": prediction_sections.confusions,
            "Where teacher and student differ": masks,
        }
