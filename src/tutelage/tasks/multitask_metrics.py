"""Metrics of several label columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics.wrappers import MultitaskWrapper

from tutelage.data.multitask_targets import MISSING, column_slices
from tutelage.tasks.classification import accuracy_and_confusion


class MultiTaskMetrics(nn.Module):
    """The accuracy within each label column, their mean, and confusion counts in which columns share no classes.

    Args:
        columns: the number of classes of each column, by name.
        shared: True if each process evaluates a part of the data.
    """

    def __init__(self, columns: Mapping[str, int], shared: bool = False) -> None:
        super().__init__()
        self.columns = columns
        self.spans = column_slices([*columns.values()])
        # by number: columns may have names that submodules can't have, such as "type"
        metrics = [accuracy_and_confusion(classes, shared, MISSING) for classes in columns.values()]
        self.by_column = MultitaskWrapper({str(number): metric for number, metric in enumerate(metrics)})

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count the labelled samples of a batch, column by column."""
        labels = targets.clamp(min=MISSING).unbind(1)
        logits = [response[:, span] for span in self.spans]
        self.by_column.update(*({str(n): x for n, x in enumerate(columns)} for columns in (logits, labels)))

    def compute(self) -> dict[str, Tensor]:
        """Return the mean accuracy of the columns, the accuracy of each, and the confusion counts."""
        values = self.by_column.compute().values()
        accuracies = {f"accuracy/{name}": value["accuracy"] for name, value in zip(self.columns, values, strict=True)}
        confusions = [
            value["confusion"] + value["confusion"].new_tensor([[span.start], [span.start], [0]])
            for span, value in zip(self.spans, values, strict=True)
        ]
        mean = torch.stack([*accuracies.values()]).mean()
        return {"accuracy": mean, **accuracies, "confusion": torch.cat(confusions, dim=1)}
