"""Figures of several label columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.data.multitask_targets import by_label, spans
from tutelage.tasks.confusion import Confusion


class MultiTaskMetrics(Confusion):
    """The confusion of each column's classes among themselves, and the accuracies that follow from it."""

    def __init__(self, columns: Mapping[str, int], **options: Any) -> None:
        super().__init__(sum(columns.values()), **options)
        self.spans = dict(zip(columns, spans([*columns.values()]), strict=True))

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count the samples that have a label, column by column."""
        sizes = [span.stop - span.start for span in self.spans.values()]
        for span, (outputs, truth) in zip(self.spans.values(), by_label(response, targets, sizes), strict=True):
            self.count(span.start + truth, span.start + outputs.argmax(1))

    def compute(self) -> dict[str, Tensor]:
        """The mean accuracy of the columns, each one's, and the confusion."""
        confusion = super().compute()
        truth, outputs, counts = confusion
        within = {name: (truth >= span.start) & (truth < span.stop) for name, span in self.spans.items()}
        each = {
            f"accuracy/{name}": counts[own & (truth == outputs)].sum() / counts[own].sum()
            for name, own in within.items()
        }
        return {"accuracy": torch.stack(list(each.values())).mean(), **each, "confusion": confusion}
