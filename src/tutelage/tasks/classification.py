"""Classification: one class per image."""

from __future__ import annotations

from typing import Any

from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.tasks.base import Task


class Classification(Task):
    """One class per sample: cross-entropy, and top-1 accuracy (a fraction, 0…1).

    Responses (B, C), targets (B,) int64.
    """

    metric = "accuracy"

    def task_loss(self) -> Loss:
        """Return cross-entropy."""
        return CE()

    def metrics(self, classes: int, shared: bool = False) -> Any:
        """Return accuracy, and the confusion counts with targets first."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy

        from tutelage.tasks.confusion import Confusion

        options: dict[str, Any] = {"validate_args": False, "sync_on_compute": shared}
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro", **options),
                "confusion": Confusion(classes, sync_on_compute=shared),
            },
            compute_groups=False,
        )
