"""Figures of several label columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from tutelage.columns import by_label, spans


class ColumnFigures(Metric):
    """The confusion (C, C) of each column's classes among themselves, and the accuracies that follow from it."""

    confusion: Tensor

    def __init__(self, columns: Mapping[str, int], **options: Any) -> None:
        super().__init__(**options)
        self.spans = dict(zip(columns, spans([*columns.values()]), strict=True))
        count = sum(columns.values())
        self.add_state("confusion", torch.zeros(count, count, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count the samples that have a label, column by column."""
        sizes = [span.stop - span.start for span in self.spans.values()]
        for span, (said, truth) in zip(self.spans.values(), by_label(response, targets, sizes), strict=True):
            block = self.confusion[span, span]
            block += torch.bincount(truth * len(block) + said.argmax(1), minlength=block.numel()).view_as(block)

    def compute(self) -> dict[str, Tensor]:
        """The mean accuracy of the columns, each one's, and the confusion."""
        blocks = {name: self.confusion[span, span] for name, span in self.spans.items()}
        each = {f"accuracy/{name}": block.trace() / block.sum() for name, block in blocks.items()}
        return {"accuracy": torch.stack(list(each.values())).mean(), **each, "confusion": self.confusion}
