"""Multi-task classification: one class per image in each label column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.multitask_targets import column_slices
from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.tasks import class_checks
from tutelage.tasks.base import Sections, Task
from tutelage.tasks.classification import CLASS_SECTIONS
from tutelage.utils.finding import Finding


class MultiTask(Task):
    """Several labels per sample: the mean over the label columns of cross-entropy, and of top-1 accuracy (0…1).

    Responses (B, C) are the concatenated logits of the columns; targets are (B, K) int64, and those below 0 are missing
    labels, which are ignored. Response losses compare each column separately.

    Args:
        columns: the number of classes of each column, by name.
    """

    name = "multi_task"
    metric = "accuracy"

    def __init__(self, columns: Mapping[str, int]) -> None:
        self.columns = columns

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for the data's label columns."""
        return cls(data.columns)

    def task_loss(self) -> Loss:
        """Return cross-entropy, which is applied to each column."""
        return CE()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return accuracy, accuracy/NAME of each column, and confusion counts, in which columns share no classes."""
        from tutelage.tasks.multitask_metrics import MultiTaskMetrics

        return MultiTaskMetrics(self.columns, shared)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the accuracy in each label column with chance and its most frequent class."""
        shares = class_checks.class_shares(tables["confusion"], data)
        return [
            finding
            for name, span in zip(self.columns, column_slices([*self.columns.values()]), strict=True)
            for finding in class_checks.judge_accuracy(
                values[f"accuracy/{name}"], shares[span] / shares[span].sum(), f" in {name}"
            )
        ]

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of classes and confusions."""
        return CLASS_SECTIONS
