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
        return accuracy_and_confusion(classes, shared)


def accuracy_and_confusion(classes: int, shared: bool, ignore_index: int | None = None) -> Any:
    """Return a MetricCollection of accuracy and confusion; targets of `ignore_index` aren't counted."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    from tutelage.tasks.confusion import Confusion

    options: dict[str, Any] = {"ignore_index": ignore_index, "sync_on_compute": shared}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False, **options),
            "confusion": Confusion(classes, **options),
        },
        compute_groups=False,
    )
