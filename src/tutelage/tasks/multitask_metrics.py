"""Metrics of several label columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.data.multitask_targets import column_slices, split_columns
from tutelage.tasks.confusion import Confusion


class MultiTaskMetrics(Confusion):
    """The confusion counts within each column's classes, and the accuracies computed from them."""

    def __init__(self, columns: Mapping[str, int], **options: Any) -> None:
        super().__init__(sum(columns.values()), **options)
        self.spans = dict(zip(columns, column_slices([*columns.values()]), strict=True))

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count the labelled samples of a batch, column by column."""
        sizes = [span.stop - span.start for span in self.spans.values()]
        for span, (logits, labels) in zip(self.spans.values(), split_columns(response, targets, sizes), strict=True):
            self.count(span.start + labels, span.start + logits.argmax(1))

    def compute(self) -> dict[str, Tensor]:
        """Return the mean accuracy of the columns, the accuracy of each, and the confusion counts."""
        confusion = super().compute()
        targets, predictions, counts = confusion
        masks = {name: (targets >= span.start) & (targets < span.stop) for name, span in self.spans.items()}
        accuracies = {
            f"accuracy/{name}": counts[mask & (targets == predictions)].sum() / counts[mask].sum()
            for name, mask in masks.items()
        }
        return {"accuracy": torch.stack(list(accuracies.values())).mean(), **accuracies, "confusion": confusion}
