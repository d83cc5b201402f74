"""How many of each class were taken for each other one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Confusion(Metric):
    """Each pair of truth and answer that occurs, and how often, (3, N): as large as what was confused, not as (C, C).

    ignore_index: targets that don't count.
    """

    pairs: list[Tensor]
    counts: list[Tensor]

    def __init__(self, classes: int, ignore_index: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.classes, self.ignore_index = classes, ignore_index
        self.add_state("pairs", [], dist_reduce_fx="cat")
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, response: Tensor, targets: Tensor) -> None:
        """Count a batch: logits (B, C, …) against classes (B, …)."""
        outputs = response.argmax(1)
        if self.ignore_index is not None:
            known = targets != self.ignore_index
            outputs, targets = outputs[known], targets[known]
        self.count(targets.flatten(), outputs.flatten())

    def count(self, truth: Tensor, outputs: Tensor) -> None:
        """Add these pairs, so that each is kept once with all its counts."""
        pairs, counts = (truth * self.classes + outputs).unique(return_counts=True)
        once, where = torch.cat([*self.pairs, pairs]).unique(return_inverse=True)
        self.counts = [torch.zeros_like(once).index_add_(0, where, torch.cat([*self.counts, counts]))]
        self.pairs = [once]

    def compute(self) -> Any:
        """The counts; a pair may come once from each process."""
        pairs = dim_zero_cat(self.pairs)
        return torch.stack([pairs // self.classes, pairs % self.classes, dim_zero_cat(self.counts)])
