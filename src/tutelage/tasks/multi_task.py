"""Several classes for each image: one of each label column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.tasks.base import Task


class MultiTask(Task):
    """Several labels a sample: the mean over the label columns of cross-entropy, and of top-1 accuracy (0…1).

    columns: each one's number of classes, by name. Responses (B, C) have the columns' logits side by side; targets are
    (B, K) int64, below 0 where a sample has no label, which is left out. Losses of responses go column by column.
    """

    name = "multi_task"
    metric = "accuracy"

    def __init__(self, columns: Mapping[str, int]) -> None:
        self.columns = columns

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """The data's columns."""
        return cls(data.columns)

    def task_loss(self) -> Loss:
        """Cross-entropy, in each column."""
        return CE()

    def metrics(self, classes: int, shared: bool = False) -> Any:
        """accuracy, accuracy/NAME of each column, and the confusion matrix, where columns have no common cells."""
        from tutelage.tasks.multitask_metrics import MultiTaskMetrics

        return MultiTaskMetrics(self.columns, sync_on_compute=shared)
