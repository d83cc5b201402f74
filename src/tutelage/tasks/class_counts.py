"""Metrics in which each class counts equally, however many samples it has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ClassCounts(Metric):
    """Balanced accuracy, macro F1 and each class's recall, as in scikit-learn.

    balanced_accuracy: the mean recall of the classes that have samples. macro_f1: the mean F1 of the classes that have
    samples or predictions. The table `recall` (C,): NaN for a class without samples.

    Args:
        classes: C, the number of classes.
        options: options of torchmetrics.Metric.
    """

    true: Tensor
    predicted: Tensor
    right: Tensor

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.classes = classes
        for name in ("true", "predicted", "right"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count a batch of logits (B, C, …) and targets (B, …)."""
        predictions, targets = response.argmax(1).flatten(), targets.flatten()
        self.true = self.true + torch.bincount(targets, minlength=self.classes)
        self.predicted = self.predicted + torch.bincount(predictions, minlength=self.classes)
        self.right = self.right + torch.bincount(targets[targets == predictions], minlength=self.classes)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, and the table of recalls."""
        true, predicted, right = (count.double().cpu() for count in (self.true, self.predicted, self.right))
        recall, f1 = right / true, 2 * right / (true + predicted)
        return {"balanced_accuracy": recall.nanmean(), "macro_f1": f1.nanmean(), "recall": recall}
