"""One class for each pixel."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.structures import Batch
from tutelage.tasks.base import Task

IGNORE = 255


class Segmentation(Task):
    """One class a pixel: cross-entropy over labelled pixels, and the mean intersection over union (0…1).

    Responses (B, C, h, w) are resized bilinearly to the targets (B, H, W) int64, where 255 is unlabelled.
    """

    metric = "miou"
    positions = 2

    def task_loss(self) -> Loss:
        """Cross-entropy."""
        return CE()

    def metrics(self, classes: int, shared: bool = False) -> Any:
        """miou, pixel accuracy, and the confusion matrix with the truth in rows."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

        from tutelage.tasks.confusion import Confusion

        options: dict[str, Any] = {"ignore_index": IGNORE, "validate_args": False, "sync_on_compute": shared}
        return MetricCollection(
            {
                "miou": MulticlassJaccardIndex(classes, **options),
                "accuracy": MulticlassAccuracy(classes, average="micro", **options),
                "confusion": Confusion(classes, IGNORE, sync_on_compute=shared),
            },
            compute_groups=False,
        )

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """The response at the targets' size; one without positions as it is."""
        if batch.targets is None or response.dim() != 4 or response.shape[-2:] == batch.targets.shape[-2:]:
            return response
        return F.interpolate(response, size=batch.targets.shape[-2:], mode="bilinear", align_corners=False)

    def mask(self, batch: Batch) -> Tensor | None:
        """The labelled pixels."""
        return None if batch.targets is None else batch.targets != IGNORE
