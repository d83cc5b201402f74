"""A sparse confusion matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Confusion(Metric):
    """The pairs of target and prediction that occur, and their counts, (3, N); smaller than a (C, C) matrix.

    Args:
        classes: C, the number of classes.
        ignore_index: the target value that is ignored; None: no target is ignored.
        options: options of torchmetrics.Metric.
    """

    pairs: list[Tensor]
    counts: list[Tensor]

    def __init__(self, classes: int, ignore_index: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.ignore_index = classes, ignore_index
        self.add_state("pairs", [], dist_reduce_fx="cat")
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count a batch of logits (B, C, …) or classes (B, …), and targets (B, …); each pair is stored once."""
        predictions = response.argmax(1) if response.dim() > targets.dim() else response
        if self.ignore_index is not None:
            known = targets != self.ignore_index
            predictions, targets = predictions[known], targets[known]
        pairs, counts = (targets * self.classes + predictions).unique(return_counts=True)
        distinct, inverse = torch.cat([*self.pairs, pairs]).unique(return_inverse=True)
        self.counts = [torch.zeros_like(distinct).index_add_(0, inverse, torch.cat([*self.counts, counts]))]
        self.pairs = [distinct]

    def compute(self) -> Any:
        """Return targets, predictions and counts, (3, N); with several processes, a pair may occur once per process."""
        pairs = dim_zero_cat(self.pairs)
        return torch.stack([pairs // self.classes, pairs % self.classes, dim_zero_cat(self.counts)])


def confusion_matrix(counts: Tensor, classes: int) -> Tensor:
    """Return confusion counts (3, N) as a matrix (C, C), with targets in rows."""
    targets, predictions, times = counts
    matrix = times.new_zeros(classes, classes)
    return matrix.index_put_((targets, predictions), times, accumulate=True)
